"""The demo: which text it collects, which labelled sentences it takes, what it repeats and skips. Its page: `test_demo_report`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from demo_results import FOUND, LINES

from electra.bundled import located
from electra.errors import UserError
from electra.recipes.demo import corpus, run
from electra.settings import DemoSettings

DOCSTRING = '''
"""Tools for reading a list of numbers from a file.

The first line of the file holds the number of values, and the others hold the
values themselves, one to a line.  It raises an error if the file is empty.

>>> read_numbers("the values that are in this file")
[1, 2, 3]

.. note:: This is the directive that should not be kept at all.

Example of how it is used in the tests::

    this is the code in a literal block that should be dropped

=====  =====
one    two
=====  =====

Use :func:`~tools.write_numbers` to put the numbers back into the same file.
Copyright 2020 by the author of this file and all rights reserved by them.
"""
raise RuntimeError("this file must never be imported")

def f(x):
    """Return the sum of all the values that are in the list."""
'''


def test_docstrings_become_sentences_without_code_or_markup(tmp_path: Path) -> None:
    (tmp_path / "numbers.py").write_text(DOCSTRING.lstrip())
    assert corpus.sentences_of(tmp_path / "numbers.py") == [
        "Tools for reading a list of numbers from a file.",
        "The first line of the file holds the number of values, and the others hold the values themselves, one to a line.",
        "It raises an error if the file is empty.",
        "Example of how it is used in the tests.",
        "Use tools.write_numbers to put the numbers back into the same file.",
        "Return the sum of all the values that are in the list.",
    ]


def test_long_strings_are_read_like_docstrings(tmp_path: Path) -> None:
    text = "This is a long help text that is kept in a variable and is printed for the users of the tool. " * 3
    (tmp_path / "m.py").write_text(f'"""The tools that are in this module."""\nHELP = {{"a": """{text}"""}}\n')
    assert any("kept in a variable" in sentence for sentence in corpus.sentences_of(tmp_path / "m.py"))


def _tree(root: Path, count: int = 60) -> Path:
    for number in range(count):
        package = root / f"package{number % 7}"
        package.mkdir(parents=True, exist_ok=True)
        name = "".join(chr(97 + int(digit)) for digit in str(number))
        text = f"This is the {name} tool of the package.\n\nIt is used for the {name} part of all the work that we do."
        (package / f"{name}.py").write_text(f'"""{text}\n\nThis sentence is in every one of the files here.\n"""\n')
    (root / "package0" / "broken.py").write_text('"""This is the text of a file that cannot be parsed.""" ) (')
    (root / "package0" / "LICENSE.txt").write_text("This is the text of the licence that should not be in the corpus.")
    (root / "package1" / "tests").mkdir()
    (root / "package1" / "tests" / "t.rst").write_text("This is the text of a test that should not be in the corpus.")
    (root / "package2" / "latin.rst").write_bytes(b"This is the text of a caf\xe9 that is not in UTF-8.")
    return root


def test_collect_writes_documents_in_an_order_that_does_not_depend_on_processes(tmp_path: Path) -> None:
    roots = (_tree(tmp_path / "site"),)
    one = corpus.collect(tmp_path / "one.txt", roots=roots, workers=1)
    two = corpus.collect(tmp_path / "two.txt", roots=roots, workers=2)
    text = one.path.read_text()
    assert text == two.path.read_text() and one.num_documents == two.num_documents == 60
    documents = text.removesuffix("\n\n").split("\n\n")
    assert len(documents) == 60 and all(len(document.splitlines()) in (2, 3) for document in documents)
    assert text.count("in every one of the files") == 1 and one.num_duplicates == 59
    assert one.size_bytes == one.path.stat().st_size
    assert "licence" not in text and "test that" not in text and "parsed" not in text


def test_collect_keeps_to_its_limit(tmp_path: Path) -> None:
    done = corpus.collect(tmp_path / "text.txt", roots=(_tree(tmp_path / "site"),), workers=1, limit_bytes=2000)
    assert 1500 < done.size_bytes == done.path.stat().st_size <= 2000


def test_this_python_has_text(tmp_path: Path) -> None:
    import sysconfig

    done = corpus.collect(tmp_path / "text.txt", roots=(Path(sysconfig.get_path("stdlib")) / "email",), workers=1)
    assert done.num_documents >= 5 and done.size_bytes > 5000


# ---- labelled sentences ----


def test_given_data_is_taken(tmp_path: Path) -> None:
    assert run.choose(tmp_path, tmp_path / "x")[0] == tmp_path


@pytest.mark.parametrize("failure", ["offline", "refused", "silent", "missing"])
def test_without_the_hub_the_reviews_are_taken_quickly(failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(run, "ANSWER_SECONDS", 0.3)

    def ask() -> None:
        if failure == "refused":
            raise ConnectionError("no route")
        if failure == "silent":
            time.sleep(5)
        raise ModuleNotFoundError("no", name="datasets")

    if failure == "offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(run, "_ask", ask)
    start = time.monotonic()
    folder, source = run.choose(None, tmp_path / "sst2")
    assert time.monotonic() - start < 3
    assert folder == run.REVIEWS and "written for this project" in source and not (tmp_path / "sst2").exists()
    assert "cannot be reached" in capsys.readouterr().err


def test_the_hubs_sst2_is_written_in_glues_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from electra.tasks.registry import find_task

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(run, "_ask", lambda: None)
    monkeypatch.setattr(run, "_read", lambda: {"train": [("a fine\tfilm ", 1), ("dull", 0)], "dev": [("so so", 0)]})
    folder, source = run.choose(None, tmp_path / "sst2")
    assert folder == tmp_path / "sst2" and "hub" in source
    assert [(e.text, e.label) for e in find_task("sst2").read(folder, "train")] == [("a fine film", "1"), ("dull", "0")]


# ---- steps ----


def _stub(monkeypatch: pytest.MonkeyPatch, fail_at: str | None) -> list[str]:
    ran: list[str] = []

    def make(name: str) -> Any:
        def step(place: run.Workspace) -> dict[str, Any]:
            """A step"""
            if name == fail_at:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            ran.append(name)
            if name == "pretrain":
                (place.folder / "pretrained").mkdir()
                (place.folder / "pretrained" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
            return FOUND[name]

        return step

    monkeypatch.setattr(run, "STEPS", {name: (make(name), 1) for name in run.STEPS})
    return ran


def test_a_second_call_skips_what_is_done_and_prints_the_report_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    pytest.importorskip("torch")
    names = list(run.STEPS)
    settings = DemoSettings(output=tmp_path / "demo")
    ran = _stub(monkeypatch, fail_at="detect")
    assert run.run(settings) == 143 and ran == names[: names.index("detect")]
    assert "same command continues" in capsys.readouterr().err
    ran = _stub(monkeypatch, fail_at=None)
    assert run.run(settings) == 0 and ran == names[names.index("detect") :]
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "demo" / "report.html")
    assert (tmp_path / "demo" / "report.html").exists()
    with pytest.raises(UserError, match=r"began with minutes = 4\.0, now it is 9\.0"):
        run.run(DemoSettings(output=tmp_path / "demo", minutes=9.0))


def test_too_few_minutes_can_be_corrected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A demo that failed before or in its pre-training goes on with other minutes, in the same folder."""
    pytest.importorskip("torch")
    _stub(monkeypatch, fail_at="pretrain")
    assert run.run(DemoSettings(output=tmp_path / "demo", minutes=0.1)) != 0
    ran = _stub(monkeypatch, fail_at=None)
    assert run.run(DemoSettings(output=tmp_path / "demo", minutes=2.0)) == 0 and ran[0] == "pretrain"


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="already exists"):
        run.run(DemoSettings(output=tmp_path))
    with pytest.raises(UserError, match="not found"):
        run.run(DemoSettings(output=tmp_path / "new", data=tmp_path / "SST-3"))


def test_the_bundled_model_is_fine_tuned_too_and_then_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def finetune(place: run.Workspace, command: str, *argv: object, quiet: bool = False) -> str:
        words = [str(word) for word in argv]
        if command == "evaluate":
            return as_typed(place, command, *argv, quiet=True)
        started.append(words[words.index("--model") + 1])
        output = Path(words[words.index("--output") + 1])
        output.mkdir()
        (output / "scores.json").write_text(json.dumps({"scores": {"accuracy": {"mean": 0.5 + 0.1 * len(started)}}}))
        return ""

    as_typed = run.Workspace.electra
    monkeypatch.setattr(run.Workspace, "electra", finetune)
    monkeypatch.setattr(run, "choose", lambda data, folder: (run.REVIEWS, "reviews"))
    final = str(tmp_path / "pretrained" / "final")
    found = run.sentiment(run.Workspace(DemoSettings(output=tmp_path), {}))
    assert started == [final, f"random:{final}", "shipped:mini"] and located(started[-1]).is_dir()
    assert found["answers"] == "sentiment-shipped" and (tmp_path / found["answers"]).is_dir() and found["shipped"] == pytest.approx(0.8)
    # The package's classifier is really run, and is better than one answer for all.
    assert found["classifier"] > found["majority"] + 0.1


def test_without_its_runtime_the_classifier_has_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run.bundled_classifier(run.Workspace(DemoSettings(output=tmp_path), {}), run.REVIEWS) == {}
    assert "left out: shipped:sentiment: this needs the package 'onnxruntime'" in capsys.readouterr().err


def test_what_make_demo_installs_is_enough_to_build() -> None:
    """The extra of the Makefile names every package of the step's target, and the measuring's."""
    from packaging.requirements import Requirement

    from electra.exporting.targets import target
    from electra.recipes.demo.run import TARGET

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "--editable '.[demo]'" in (ROOT / "Makefile").read_text()
    named, waiting = set(), ["demo"]
    while waiting:
        for requirement in map(Requirement, extras[waiting.pop()]):
            named.add(requirement.name)
            waiting += sorted(requirement.extras) if requirement.name == "electra" else []
    assert {*target(TARGET).packages, target(TARGET).runtime, "psutil", "torch"} <= named


def test_an_artifact_that_cannot_be_built_leaves_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(run, "TARGET", "openvino-bf16")
    monkeypatch.setattr("electra.exporting.targets.require", lambda *_: (_ for _ in ()).throw(UserError("needs openvino")))
    assert run.build(run.Workspace(DemoSettings(output=tmp_path), {})) == {"left_out": "needs openvino"}
    assert "left out: needs openvino" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    library = Path(json.__file__).parents[1]
    roots = tuple(library / name for name in ("email", "asyncio", "unittest", "logging", "concurrent", "importlib", "multiprocessing", "http"))
    monkeypatch.setattr(corpus, "installation", lambda: (Path(run.__file__).parents[2], *roots))
    assert run.run(DemoSettings(output=tmp_path / "demo", minutes=0.1)) == 0
    page = Path(capsys.readouterr().out.splitlines()[-1]).read_text()
    assert "written for this project" in page and page.count("<svg") == 4 + 1 + 1 + 2
