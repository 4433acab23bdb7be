"""The demo: which text it collects, which labelled sentences it takes, what it repeats and skips. Its page: `test_demo_report`."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from demo_results import FOUND, LINES

from electra.contracts import Example
from electra.errors import UserError
from electra.finetuning.baselines import tfidf_right
from electra.recipes.demo import corpus, report, run
from electra.settings import DemoSettings
from electra.tasks.registry import find_task

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
Use :ref:`the other tools <tools>` to put the numbers back into the file of the list.
Set the option max_length so that it is as long as the list
The numbers can be given one to a line, but they have no full stop

Model
    An object that stands for the message that is in a file.

Args:
    path (str, *optional*, defaults to "numbers"):
        The file that the numbers are to be read from.
    limit (int): The number of values that are to be read at most.
:returns: The list of all the numbers that are in the file.
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
        "Use the other tools to put the numbers back into the file of the list.",
        "An object that stands for the message that is in a file.",
        "The file that the numbers are to be read from.",
        "The number of values that are to be read at most.",
        "The list of all the numbers that are in the file.",
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
        name = "t" + "".join(chr(97 + int(digit)) for digit in str(number))
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


def test_given_data_is_taken_then_that_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "glue" / "SST-2").mkdir(parents=True)
    monkeypatch.setenv("ELECTRA_DATA", str(tmp_path))
    assert corpus.films(tmp_path, tmp_path / "x") == (tmp_path, str(tmp_path))
    assert corpus.films(None, tmp_path / "x")[0] == tmp_path / "glue" / "SST-2"


@pytest.mark.parametrize("failure", ["offline", "refused", "silent", "missing"])
def test_without_the_hub_film_reviews_are_left_out_quickly(failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("ELECTRA_DATA", raising=False)
    monkeypatch.setattr(corpus, "ANSWER_SECONDS", 0.3)

    def ask() -> None:
        if failure == "refused":
            raise ConnectionError("no route")
        if failure == "silent":
            time.sleep(5)
        raise ModuleNotFoundError("no", name="datasets")

    if failure == "offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(corpus, "_ask", ask)
    start = time.monotonic()
    folder, reason = corpus.films(None, tmp_path / "sst2")
    assert time.monotonic() - start < 3
    assert folder is None and "cannot be reached" in reason and not (tmp_path / "sst2").exists()


def test_the_hubs_sst2_is_written_in_glues_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("ELECTRA_DATA", raising=False)
    monkeypatch.setattr(corpus, "_ask", lambda: None)
    monkeypatch.setattr(corpus, "_read", lambda: {"train": [("a fine\tfilm ", 1), ("dull", 0)], "dev": [("so so", 0)]})
    folder, source = corpus.films(None, tmp_path / "sst2")
    assert folder == tmp_path / "sst2" and "hub" in source
    assert [(e.text, e.label) for e in find_task("sst2").read(folder, "train")] == [("a fine film", "1"), ("dull", "0")]


def test_samples_are_balanced_and_nested() -> None:
    examples = [Example(id=str(i), text=str(i), label="1" if i % 3 else "0") for i in range(90)]
    small, large = corpus.sample(examples, 16, 1), corpus.sample(examples, 31, 1)
    assert large[:16] == small and len({example.id for example in large}) == 31
    assert [sum(example.label == "1" for example in found) for found in (small, large)] == [8, 15]
    assert corpus.sample(examples, 16, 2) != small
    assert sorted(example.id for example in corpus.sample(examples, 90, 1)) == sorted(example.id for example in examples)


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
    assert capsys.readouterr().out.splitlines()[-2:] == [str(tmp_path / "demo" / "report.html"), report.learned(FOUND["sentiment"])]
    assert (tmp_path / "demo" / "report.html").exists()
    with pytest.raises(UserError, match=r"began with minutes = 2\.5, now it is 9\.0"):
        run.run(DemoSettings(output=tmp_path / "demo", minutes=9.0))


def test_too_few_minutes_can_be_corrected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A demo that failed before or in its pre-training goes on with other minutes, in the same folder."""
    pytest.importorskip("torch")
    _stub(monkeypatch, fail_at="pretrain")
    assert run.run(DemoSettings(output=tmp_path / "demo", minutes=0.1)) != 0
    ran = _stub(monkeypatch, fail_at=None)
    assert run.run(DemoSettings(output=tmp_path / "demo", minutes=2.0)) == 0 and ran[0] == "pretrain"


def test_a_demo_keeps_the_encoder_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`make demo` gives shipped:mini where the public encoder cannot be fetched; once networks are compared, the network's return changes nothing."""
    pytest.importorskip("torch")
    demo, later = tmp_path / "demo", str(tmp_path / "fetched-later")  # it is not even opened
    _stub(monkeypatch, fail_at="sentiment")
    assert run.run(DemoSettings(output=demo)) == 143
    with pytest.raises(UserError, match="fetched-later"):  # nothing depends on the encoder yet
        run.run(DemoSettings(output=demo, encoder=later))
    (demo / "labelled").mkdir()
    capsys.readouterr()
    place = run.open_workspace(DemoSettings(output=demo, encoder=later))
    assert place.settings.encoder == "shipped:mini" == place.found["about"]["asked"]["encoder"]
    assert capsys.readouterr().err == f"{demo} began with the encoder shipped:mini and continues with it; for {later} choose another --output\n"
    _stub(monkeypatch, fail_at=None)
    assert run.run(DemoSettings(output=demo)) == 0 and "began with" not in capsys.readouterr().err


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="already exists"):
        run.run(DemoSettings(output=tmp_path))
    with pytest.raises(UserError, match="not found"):
        run.run(DemoSettings(output=tmp_path / "new", data=tmp_path / "SST-3"))


def test_a_demo_of_another_version_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "about.json").write_text(json.dumps({"version": "0.1.0", "asked": {"minutes": 4.0, "data": None}}))
    with pytest.raises(UserError, match="holds a demo of another version of electra"):
        run.run(DemoSettings(output=tmp_path))


def test_an_encoder_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(UserError, match="nowhere"):
        run.run(DemoSettings(output=tmp_path / "demo", encoder=str(tmp_path / "nowhere")))
    assert not (tmp_path / "demo").exists()


def test_networks_are_compared_on_the_same_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three samples of few texts and one of all (random weights: one); weights are kept of the encoder on all; what is there is not repeated."""
    started: list[tuple[str, str, str]] = []
    train = [Example(id=str(i), text=f"{'good' if i % 2 else 'bad'} thing {i}", label=str(i % 2)) for i in range(40)]
    dev = train[:10]

    def finetune(place: run.Workspace, command: str, *argv: object, quiet: bool = False) -> str:
        words = [str(word) for word in argv]
        start, data, output = (words[words.index(flag) + 1] for flag in ("--model", "--data", "--output"))
        started.append((start, Path(data).name, words[words.index("--epochs") + 1]))
        held = find_task("sst2").read(Path(data), "dev")
        assert [(e.text, e.label) for e in held] == [(e.text, e.label) for e in dev]
        (Path(output) / "best").mkdir(parents=True)
        (Path(output) / "scores.json").write_text("{}")
        right = 9 if start == "an-encoder" else 5
        rows = [{"id": e.id, "label": e.label, "prediction": e.label if i < right else "x"} for i, e in enumerate(held)]
        (Path(output) / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return ""

    monkeypatch.setattr(run.Workspace, "electra", finetune)
    place = run.Workspace(DemoSettings(output=tmp_path, encoder="an-encoder"), {})
    found = run.compare_networks(place, "reviews", train, dev, [16, 40])
    own, few = str(tmp_path / "pretrained" / "final"), [f"reviews-16-{seed}" for seed in (1, 2, 3)]
    assert sorted(started) == sorted(
        [("an-encoder", name, "20") for name in few]
        + [(own, name, "40") for name in few]
        + [
            ("random:an-encoder", few[0], "20"),
            ("an-encoder", "reviews-40-1", "2"),
            (own, "reviews-40-1", "4"),
        ]
    )
    assert [path.parent.name for path in tmp_path.glob("fine-tuned/*/best")] == ["encoder-reviews-40-1"]
    means = {(row["network"], row["size"]): row["mean"] for row in found["rows"]}
    assert means["encoder", 16] == means["encoder", 40] == 0.9 and means["random", 16] == 0.5
    # A gap is paired, its interval that of the difference of each test text.
    tfidf = tfidf_right(corpus.sample(train, 40, 1), dev)
    assert means["tfidf", 40] == tfidf.mean() and found["gaps"][1]["mean"] == pytest.approx(0.9 - tfidf.mean())
    assert all(row["low"] <= row["mean"] <= row["high"] for row in found["rows"])
    started.clear()
    assert run.compare_networks(place, "reviews", train, dev, [16, 40]) == found and started == []


def test_the_interval_of_an_accuracy_is_that_of_its_spread() -> None:
    """The bootstrap's interval is close to the normal one of a share."""
    right = np.array([True] * 240 + [False] * 60)
    found, half = run.accuracy(right.astype(float)), 1.96 * math.sqrt(0.8 * 0.2 / 300)
    assert found["mean"] == 0.8 and found["low"] == pytest.approx(0.8 - half, abs=0.01) and found["high"] == pytest.approx(0.8 + half, abs=0.01)


def test_the_loss_of_frequencies_is_the_cross_entropy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Opened:
        train = type("S", (), {"ids": np.array([0, 0, 0, 1], dtype=np.uint16)})
        held_out = type("S", (), {"ids": np.array([0, 1, 2], dtype=np.uint16)})

    monkeypatch.setattr(run, "open_shards", lambda path: Opened)
    # Counts plus one: 4, 2 and 1 of 7.
    assert run.frequency_loss(tmp_path) == pytest.approx(-(math.log(4 / 7) + math.log(2 / 7) + math.log(1 / 7)) / 3)


def test_without_its_runtime_the_classifier_has_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run.bundled_classifier(run.Workspace(DemoSettings(output=tmp_path), {})) == {}
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
    assert {*target(TARGET).packages, target(TARGET).runtime, "torch"} <= named


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
    page = Path(capsys.readouterr().out.splitlines()[-2]).read_text()
    assert "written for this project" in page and page.count("<svg") == 4 + 1 + 2
