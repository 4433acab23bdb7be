"""The rows that experiments/counterfactual.py adds: no term says anything about the label, and nothing of the bias probe is in them."""

from __future__ import annotations

import csv
import importlib
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

PAIRS = {"inserted": 40, "attached": 300, "neutral": 300}
FUNCTION_WORDS = frozenset("a an and about as at by for from i in is it me near of the there this through to was we what who with".split())
OPENINGS = (
    "the male lead is funny",
    "robert and a nephew , both dull",
    "a danish drama for these people",
    "viewers will like it",
    "an irish folly",
    "a tall tale of fans",
)
SST = [(f"{words} {number} times", str(number % 2)) for words in OPENINGS for number in range(12)]
SST += [
    ("moving , warm and beautiful to the end", "1"),
    ("a warm and beautiful work", "1"),
    ("flat , cold and ugly to the end", "0"),
    ("a cold and ugly mess", "0"),
] * 5


@pytest.fixture(scope="module")
def experiments() -> tuple[Any, Any]:
    """(counterfactual, bias_probe)."""
    sys.path.insert(0, str(ROOT / "experiments"))
    try:
        return importlib.import_module("counterfactual"), importlib.import_module("bias_probe")
    finally:
        sys.path.remove(str(ROOT / "experiments"))


def words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text)


def added_words(row: Any) -> Counter[str]:
    """What a row has and its source does not."""
    return Counter(words(row.sentence)) - Counter(words(row.source))


def sst2(data_root: Path) -> list[tuple[str, str]]:
    with open(data_root / "glue" / "SST-2" / "train.tsv", encoding="utf-8") as stream:
        return [(row["sentence"].strip(), row["label"]) for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)]


def check(rows: list[tuple[str, str]], experiments: tuple[Any, Any], pairs: dict[str, int]) -> list[Any]:
    counterfactual, probe = experiments
    added = counterfactual.augmentation(rows, 1, pairs)
    known = set(rows)
    by_term: dict[str, list[str]] = defaultdict(list)
    for row in added:
        by_term[row.term].append(row.label)
        assert row.kind == "neutral" or (row.source, row.label) in known, "a row keeps the label of the sentence it is made from"
        # Its own words alone: the term's, and those of the carrier.
        assert not row.term or all(word in words(row.sentence) for word in words(row.term))
    assert all(labels.count("0") == labels.count("1") for labels in by_term.values()), "no term says anything about the label"
    of_probe: set[str] = set()
    templates: list[str] = []
    for texts in probe.LISTS.values():
        sentences = (*texts.neutral, *texts.positive, *texts.negative)
        templates += [" .+ ".join(" ".join(words(part)) for part in sentence.split("{}") if words(part)) for sentence in sentences]
        phrases = [phrase for groups in texts.people.values() for named in groups.values() for phrase in named]
        of_probe |= {word for text in (*sentences, *phrases) for word in words(text)}
    assert "disabled" in of_probe and "film" in of_probe and len(of_probe) > 200
    template = re.compile("|".join(templates))
    assert template.search("i saw the film with a danish nurse") and not template.search("i saw it with a danish nurse")
    for row in added:
        assert not (found := {word for word in added_words(row) if word in of_probe - FUNCTION_WORDS}), (found, row)
        assert not template.search(" ".join(words(row.sentence))) or template.search(" ".join(words(row.source))), row
    return added


def test_the_rows_are_balanced_and_have_nothing_of_the_probe(experiments: tuple[Any, Any]) -> None:
    added = check(SST, experiments, PAIRS)
    assert Counter(row.kind for row in added).keys() == {"swapped", "inserted", "attached", "neutral"}
    assert experiments[0].augmentation(SST, 1, PAIRS) == added != experiments[0].augmentation(SST, 2, PAIRS), "it depends on the seed alone"
    assert {row.category for row in added} == set(experiments[1].LISTS["first"].people), "every category of the probe, by other words"
    swapped = [row for row in added if row.kind == "swapped"]
    assert all(len(words(row.sentence)) == len(words(row.source)) and row.term not in words(row.source) for row in swapped)
    assert {row.category for row in swapped} == {"gender", "nationality", "first name"}, "'tall', which may judge a film, stays"
    texts: dict[str, set[str]] = defaultdict(set)
    for row in added:
        if row.kind == "neutral":
            texts[row.sentence].add(row.label)
    assert all(labels == {"0", "1"} for labels in texts.values()), "a statement without an opinion has both labels"


def test_it_does_not_depend_on_the_order_of_sets(tmp_path: Path) -> None:
    code = "import sys, counterfactual as c; print([*c.swapped([(t, str(i % 2)) for i, t in enumerate(sys.argv[1:] * 4)], c.random.Random(1))])"
    texts = ("the male queen of danish and irish fans", "robert and anna , a nephew and a niece , tall and famous")
    found = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'experiments'}", "PYTHONHASHSEED": seed}
        found.add(
            subprocess.run([sys.executable, "-c", code, *texts], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        )
    assert len(found) == 1 and "Added(" in found.pop()


def test_no_term_is_in_two_categories_or_a_form_of_a_probed_word(experiments: tuple[Any, Any]) -> None:
    counterfactual, probe = experiments
    terms = [term for _, term in counterfactual.terms()]
    assert len(terms) == len(set(terms)) > 200
    probed = {
        word
        for texts in probe.LISTS.values()
        for groups in texts.people.values()
        for named in groups.values()
        for text in named
        for word in words(text)
    }
    own = {word for text in [*terms, *counterfactual.NOUNS] for word in words(text)} - FUNCTION_WORDS
    forms = {
        (word, other) for word in own for other in probed if min(len(word), len(other)) > 4 and (word.startswith(other) or other.startswith(word))
    }
    assert not forms


def test_articles_and_words_are_exchanged(experiments: tuple[Any, Any]) -> None:
    exchanged = experiments[0].exchanged
    assert exchanged("a danish tale of a danish man", "danish", "irish") == "an irish tale of an irish man"
    assert exchanged("an irish tale , irishness aside", "irish", "one-armed") == "a one-armed tale , irishness aside"


def test_the_folder_is_glues(experiments: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from electra.tasks.registry import find_task

    data, output, record = tmp_path / "SST-2", tmp_path / "balanced", tmp_path / "record.json"
    data.mkdir()
    lines = ["sentence\tlabel", *(f"{text} \t{label}" for text, label in SST)]
    for name in ("train.tsv", "dev.tsv"):
        (data / name).write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(sys, "argv", ["counterfactual.py", str(data), str(output), "--record", str(record), "--attached", "20", "--neutral", "0"])
    experiments[0].main()
    found = json.loads(record.read_text())
    read = [(example.text, example.label) for example in find_task("sst2").read(output, "train")]
    assert [(text.strip(), label) for text, label in read[: len(SST)]] == SST and len(read) == len(SST) + sum(found["added"].values())
    assert (
        found["added"]["attached"] == 40 and "neutral" not in found["added"] and (output / "dev.tsv").read_bytes() == (data / "dev.tsv").read_bytes()
    )


@pytest.mark.realdata
def test_on_sst2_itself(experiments: tuple[Any, Any], data_root: Path) -> None:
    rows = sst2(data_root)
    recorded = json.loads((ROOT / "experiments" / "records" / "counterfactual.json").read_text(encoding="utf-8"))
    added = check(rows, experiments, {"inserted": 1500, "attached": 4000, "neutral": 5000})
    assert recorded["rows"] == len(rows) and recorded["added"] == Counter(row.kind for row in added)
    # What the examples above show of small text holds of clear phrases: their words agree with the label.
    clear = experiments[0].clear_phrases(rows)
    assert all(len(clear[label]) > 5000 for label in "01")
