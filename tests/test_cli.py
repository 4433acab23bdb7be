"""The command table: help, examples, mistakes, and what may not be imported on the way."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from electra import __version__, cli, config, settings
from electra.cli import COMMANDS, main
from electra.command_line import from_command_line
from electra.errors import UserError, require

ROOT = Path(__file__).resolve().parent.parent


def help_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What `electra NAME --help` prints."""
    with pytest.raises(SystemExit) as leaving:
        main([name, "--help"])
    assert leaving.value.code == 0
    return capsys.readouterr().out


def lines_of_commands(text: str) -> Iterator[list[str]]:
    """The words of every `electra COMMAND ...` line of a text; pipes, redirections and comments are cut off."""
    for line in text.replace("\\\n", " ").splitlines():
        found = re.search(r"(?:^|\|)\s*\$?\s*electra ([a-z]+ .*)$", line)
        if found and found.group(1).split()[0] in COMMANDS:
            yield shlex.split(re.split(r" [|>#]", found.group(1))[0])


def parse(words: list[str]) -> object:
    """Words of a command line -> settings, exactly as `electra` would read them, without running the command."""
    command = COMMANDS[words[0]]
    return from_command_line(getattr(settings, command.settings), words[1:], f"electra {words[0]}")


@pytest.fixture
def with_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with the run directory and the preset that examples read their settings from."""
    folder = tmp_path / "runs" / "mini"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(config.to_toml(parse(["pretrain", "mini", "--data", "shards", "--output", "runs/mini"])))
    (tmp_path / "runs" / "sst2").mkdir()
    words = ["finetune", "sst2", "--model", "runs/mini", "--data", "glue", "--output", "runs/sst2"]
    (tmp_path / "runs" / "sst2" / "config.toml").write_text(config.to_toml(parse(words)))
    (tmp_path / "my-preset.toml").write_text('base = "small"\n')
    monkeypatch.chdir(tmp_path)


# ---- help ----


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ([], ["--help"], ["-h"], ["help"]):
        assert main(argv) == 0
        out = capsys.readouterr().out
        assert all(re.search(rf"^  {name} +{re.escape(command.summary)}$", out, re.M) for name, command in COMMANDS.items())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"electra {__version__}\n" == f"electra {importlib.metadata.version('electra')}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = help_of(name, capsys)
    examples = out.partition("examples:\n")[2]
    assert len(re.findall(rf"electra {name}", examples)) >= 2


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_valid(name: str, capsys: pytest.CaptureFixture[str], with_a_run: None) -> None:
    """Every example of the help is a command line that parses."""
    examples = [["demo"]] if name == "demo" else []
    examples += lines_of_commands(help_of(name, capsys).partition("examples:\n")[2])
    assert examples
    for words in examples:
        parse(words)


def test_the_journey_is_valid(with_a_run: None) -> None:
    journey = list(lines_of_commands(cli._usage().partition("from text to server:")[2]))
    assert len(journey) == 7
    for words in journey:
        parse(words)


@pytest.mark.parametrize("name", COMMANDS)
def test_json_where_a_program_reads(name: str) -> None:
    leaves = {path[-1] for path, _, _ in config.leaves(getattr(settings, COMMANDS[name].settings))}
    read_by_programs = {"prepare", "evaluate", "compare", "finetune", "significance", "predict", "detect", "score", "embed", "inspect", "build"} | {
        "ablate",
        "rerank",
    }
    assert ("json" in leaves) == (name in read_by_programs)


def test_help_imports_nothing_heavy() -> None:
    """`electra --help` and every `electra X --help`, in one fresh process: only the standard library and the lowest packages."""
    code = f"""
import contextlib, io, json, sys
from electra.cli import main
heavy = ["torch", "numpy", "tokenizers", "transformers", "rich", "huggingface_hub"]
heavy += ["electra." + name for name in ("api", "commands", "recipes", "inference", "tasks", "finetuning", "pretraining", "model", "train", "data")]
heavy += ["electra.contracts"]
seen = {{}}
for argv in [["--help"], *[[name, "--help"] for name in {list(COMMANDS)!r}]]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main(argv)
    seen[" ".join(argv)] = [name for name in heavy if name in sys.modules]
print(json.dumps(seen))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {key: [] for key in ["--help", *(f"{name} --help" for name in COMMANDS)]}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_run(name: str) -> None:
    assert callable(COMMANDS[name].load())


# ---- mistakes: one line, the nearest name, exit code 2 ----


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["pretrian"], "unknown command 'pretrian'; did you mean 'pretrain'?"),
        (["xyzzy"], "unknown command 'xyzzy'; known: "),
        (["pretrain"], "give a preset or a config.toml; presets: all-tokens-mlm, base, "),
        (["pretrain", "smal", "--output", "o"], "unknown preset 'smal'; did you mean 'small'?"),
        (["vocab", "a.txt", "--output", "o", "--sise", "3"], "unknown flag '--sise'; did you mean '--size'?"),
        (["vocab", "a.txt", "--output", "o", "--size", "big"], "'big': expected int"),
        (["vocab", "a.txt"], "required: --output"),
        (["vocab", "--output", "o"], "required: CORPUS"),
        (["prepare", "a.txt", "--tokenizer", "t", "--output", "o", "--held-out", "200%"], "expected a fraction such as 0.005 or 0.5%"),
        (["inspect", "a", "b"], "unexpected argument 'b'"),
        (["plot", "runs", "--x", "time"], "'time'"),
    ],
)
def test_mistakes(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("electra: ") and captured.err.count("\n") == 1
    assert message in captured.err


def fake(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `electra demo` raise `error`."""

    class Module:
        @staticmethod
        def run(_: object) -> None:
            raise error

    monkeypatch.setattr(cli.importlib, "import_module", lambda _: Module)


def test_a_message_of_several_lines_becomes_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake(monkeypatch, UserError("x.txt:\n  not text;\n  give text"))
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "electra: x.txt: not text; give text\n"


def test_an_unforeseen_path_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake(monkeypatch, PermissionError(13, "Permission denied", "/locked/file"))
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "electra: /locked/file: Permission denied; check the path and its permissions\n"


def test_internal_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, AssertionError("ours"))
    with pytest.raises(AssertionError, match="ours"):
        main(["demo"])


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake(monkeypatch, KeyboardInterrupt())
    assert main(["demo"]) == 130
    assert capsys.readouterr().err == "electra: interrupted\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-m", "electra.cli", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_missing_package_is_the_line_to_type() -> None:
    with pytest.raises(UserError, match=r"'nosuchpackage' of the extra 'train': pip install -e '\.\[train\]'"):
        require("nosuchpackage", "train")


def test_the_optional_file_may_follow_flags() -> None:
    from electra.command_line import from_command_line
    from electra.settings import ScoreSettings

    for argv in (["m", "f.jsonl", "--nbest", "h"], ["m", "--nbest", "h", "f.jsonl"], ["--nbest", "h", "m", "f.jsonl"]):
        found = from_command_line(ScoreSettings, argv, "electra score")
        assert (found.model, found.file, found.nbest) == ("m", "f.jsonl", "h")
