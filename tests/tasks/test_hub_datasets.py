"""Data sets of the hub, as rows with its features: their examples equal those of the official files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from electra.cli import main
from electra.contracts import Example
from electra.errors import UserError
from electra.tasks import hub_datasets
from electra.tasks.registry import TASKS

datasets = pytest.importorskip("datasets")

GLUE = {
    "sst2": ("SST-2", ["negative", "positive"], ("sentence",)),
    "cola": ("CoLA", ["unacceptable", "acceptable"], ("sentence",)),
    "mrpc": ("MRPC", ["not_equivalent", "equivalent"], ("sentence1", "sentence2")),
    "rte": ("RTE", ["entailment", "not_entailment"], ("sentence1", "sentence2")),
    "wnli": ("WNLI", ["not_entailment", "entailment"], ("sentence1", "sentence2")),
    "stsb": ("STS-B", None, ("sentence1", "sentence2")),
}
"""Task -> its folder, the hub's names of its classes, the hub's columns of its texts (the data set's card)."""


def one_class(task: str, label: Any, names: list[str] | None) -> Any:
    if names is None or label is None:
        return -1 if label is None and names is not None else label
    return names.index(label) if label in names else int(label)


def rows_of(task: str, examples: Sequence[Example], names: list[str] | None, columns: Sequence[str]) -> Any:
    features = {column: datasets.Value("string") for column in columns}
    features["label"] = datasets.Value("float32") if names is None else datasets.ClassLabel(names=names)
    table: dict[str, list[Any]] = {columns[0]: [e.text for e in examples], "label": [one_class(task, e.label, names) for e in examples]}
    if len(columns) > 1:
        table[columns[1]] = [e.text_pair for e in examples]
    return datasets.Dataset.from_dict(table, features=datasets.Features(features))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[tuple[str, str | None], Any]:
    """(name, configuration) -> splits: what the stand-in for the hub has."""
    there: dict[tuple[str, str | None], Any] = {}

    def load(name: str, config: str | None = None, revision: str | None = None) -> Any:
        found = there.get((name, config))
        if found is None:
            raise ConnectionError("no network")
        if isinstance(found, tuple):
            if revision != "refs/convert/parquet":
                raise RuntimeError("Dataset scripts are no longer supported, but found conll2000.py")
            found = found[0]
        return found

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setenv("ELECTRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return there


@pytest.mark.realdata
@pytest.mark.parametrize("name", GLUE)
def test_glue_of_the_hub_is_glue(name: str, hub: dict[Any, Any], data_root: Path) -> None:
    folder, names, columns = GLUE[name]
    task = TASKS[name]
    splits = {"train": "train", "validation": "dev", "test": "test"}
    official = {}
    for theirs, ours in splits.items():
        try:
            official[theirs] = task.read(data_root / "glue" / folder, ours)[:200]
        except UserError:
            assert ours == "test"
            official[theirs] = [Example(id=f"test-{i}", text=f"a {i}", text_pair="b" if len(columns) > 1 else None) for i in range(3)]
    hub["nyu-mll/glue", name] = {split: rows_of(name, examples, names, columns) for split, examples in official.items()}
    for given in ("hub", "nyu-mll/glue", "glue"):
        for theirs, ours in splits.items():
            found = task.read(Path(given), ours)
            assert len(found) == len(official[theirs]) > 0
            for one, expected in zip(found, official[theirs], strict=True):
                assert (one.id, one.text, one.text_pair) == (expected.id, expected.text, expected.text_pair)
                assert one.label == (pytest.approx(expected.label) if names is None and expected.label is not None else expected.label)


def test_mnli_has_its_halves_and_its_diagnostic_set(hub: dict[Any, Any]) -> None:
    names = ["entailment", "neutral", "contradiction"]

    def rows(split: str, labels: list[int]) -> Any:
        features = {name: datasets.Value("string") for name in ("premise", "hypothesis")} | {"label": datasets.ClassLabel(names=names)}
        table = {"premise": [f"{split} {i}" for i in range(len(labels))], "hypothesis": ["x"] * len(labels), "label": labels}
        return datasets.Dataset.from_dict(table, features=datasets.Features(features))

    splits = ("train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched")
    hub["nyu-mll/glue", "mnli"] = {split: rows(split, [-1] if "test" in split else [0, 1, 2]) for split in splits}
    hub["nyu-mll/glue", "ax"] = {"test": rows("ax", [-1, -1])}
    task = TASKS["mnli"]
    place = Path("hub")
    assert [e.label for e in task.read(place, "train")] == names
    assert [e.text for e in task.read(place, "dev")][2:4] == ["validation_matched 2", "validation_mismatched 0"]
    assert [e.id for e in task.read(place, "dev")][2:4] == ["dev_matched-2", "dev_mismatched-0"]
    assert [e.text for e in task.read(place, "ax")] == ["ax 0", "ax 1"] and task.read(place, "test")[0].label is None


@pytest.mark.realdata
def test_squad_of_the_hub_is_squad(hub: dict[Any, Any], data_root: Path) -> None:
    task = TASKS["squad"]
    official = task.read(data_root / "squad" / "dev-v1.1.json", "dev")[:300]
    rows = [
        {
            "id": e.id,
            "title": "t",
            "context": e.text_pair,
            "question": e.text,
            "answers": {"text": [a.text for a in e.answers or ()], "answer_start": [a.start for a in e.answers or ()]},
        }
        for e in official
    ]
    loaded = datasets.Dataset.from_list(rows)
    hub["rajpurkar/squad", None] = {"train": loaded, "validation": loaded}
    found = {e.id: e for e in task.read(Path("rajpurkar/squad"), "dev")}
    assert len(found) == len(official) and all(found[e.id] == e for e in official)


def test_questions_without_answers(hub: dict[Any, Any]) -> None:
    rows = [
        {"id": "1", "title": "t", "context": "a b", "question": "q", "answers": {"text": ["b"], "answer_start": [2]}},
        {"id": "2", "title": "t", "context": "a b", "question": "r", "answers": {"text": [], "answer_start": []}},
    ]
    loaded = datasets.Dataset.from_list(rows)
    hub["rajpurkar/squad_v2", None] = {"train": loaded, "validation": loaded}
    task = TASKS["squad2"]
    assert [len(e.answers or ()) for e in task.read(Path("hub"), "train")] == [1, 0]


def test_one_subset_of_mrqa(hub: dict[Any, Any]) -> None:
    rows = [
        {
            "subset": subset,
            "qid": subset,
            "context": "the chef ate",
            "question": "who?",
            "answers": ["chef"],
            "detected_answers": {"text": ["chef"], "char_spans": [{"start": [4], "end": [7]}]},
        }
        for subset in ("NewsQA", "SearchQA")
    ]
    loaded = datasets.Dataset.from_list(rows)
    hub["mrqa-workshop/mrqa", None] = {"train": loaded, "validation": loaded}
    task = TASKS["newsqa"]
    (example,) = task.read(Path("mrqa-workshop/mrqa"), "train")
    assert example.id == "NewsQA" and example.answers is not None and (example.answers[0].text, example.answers[0].start) == ("chef", 4)


@pytest.mark.realdata
def test_chunks_of_the_hub_are_conll(hub: dict[Any, Any], data_root: Path) -> None:
    """The hub keeps this set as a script's; its plain copy is read instead."""
    task = TASKS["chunk"]
    sentences = [block.split("\n") for block in (data_root / "conll2000" / "test.txt").read_text().strip().split("\n\n")[:100]]
    words = [[line.split() for line in sentence] for sentence in sentences]
    tags = [sorted({word[i] for sentence in words for word in sentence}) for i in (1, 2)]
    sequence = [datasets.Sequence(datasets.ClassLabel(names=names)) for names in tags]
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "pos_tags": sequence[0], "chunk_tags": sequence[1]})
    table = {name: [[word[i] for word in sentence] for sentence in words] for i, name in enumerate(("tokens", "pos_tags", "chunk_tags"))}
    loaded = datasets.Dataset.from_dict(table, features=features)
    hub["eriktks/conll2000", None] = ({"train": loaded, "test": loaded},)
    found = task.read(Path("conll2000"), "dev")
    official = task.read(data_root / "conll2000", "dev")[:100]
    assert [(e.words, e.label) for e in found] == [(e.words, e.label) for e in official]


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["tnews", "iflytek", "csl", "cluewsc", "ocnli"])
def test_clue_of_the_hub_is_clue(name: str, hub: dict[Any, Any], data_root: Path) -> None:
    import json

    from electra.tasks.clue import choose_fold

    folder = data_root / "clue" / "FewCLUE" / name
    rows = [json.loads(line) for line in (folder / "train_0.json").read_text().splitlines()]
    labels = list(TASKS[name].head([]).labels)
    texts = {"sentence", "sentence1", "sentence2", "abst", "keyword", "text", "target"}
    kept = [{k: v for k, v in row.items() if k in texts} | {"idx": i, "label": labels.index(str(row["label"]))} for i, row in enumerate(rows)]
    loaded = datasets.Dataset.from_list(kept).cast_column("label", datasets.ClassLabel(names=labels))
    hub["clue/clue", "cluewsc2020" if name == "cluewsc" else name] = {"train": loaded, "validation": loaded, "test": loaded}
    found = TASKS[name].read(Path("clue/clue"), "train")
    official = choose_fold(TASKS[name], "0").read(folder, "train")
    assert [(e.text, e.text_pair, e.label) for e in found] == [(e.text, e.text_pair, e.label) for e in official]


def test_reviews_and_sentiments(hub: dict[Any, Any]) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    loaded = datasets.Dataset.from_dict({"text": ["bad,\nvery", 'a "good" one'], "label": [0, 1]}, features=features)
    hub["stanfordnlp/imdb", None] = {"train": loaded, "test": loaded, "unsupervised": loaded}
    task = TASKS["imdb"]
    assert [(e.text, e.label) for e in task.read(Path("imdb"), "train")] == [("bad,\nvery", "neg"), ('a "good" one', "pos")]
    plain = datasets.Dataset.from_dict({"text": ["好\t吃", "差"], "label": [1, 0]})
    hub["lansinuote/ChnSentiCorp", None] = dict.fromkeys(("train", "validation", "test"), plain)
    task = TASKS["chnsenticorp"]
    assert [(e.text, e.label) for e in task.read(Path("hub"), "dev")] == [("好\t吃", "1"), ("差", "0")]


def test_a_hub_that_is_not_there_or_has_changed(hub: dict[Any, Any], tmp_path: Path) -> None:
    read = TASKS["sst2"].read
    with pytest.raises(
        UserError, match=r"nyu-mll/glue could not be read from the hub \(.*ConnectionError\); try again with a network, or give the folder"
    ):
        read(Path("hub"), "train")
    loaded = datasets.Dataset.from_dict({"text": ["a"], "label": [0]})
    hub["nyu-mll/glue", "sst2"] = {"train": loaded, "test": loaded.select([])}
    with pytest.raises(UserError, match=r"nyu-mll/glue on the hub has no column 'sentence'; give the folder of its official files"):
        read(Path("hub"), "train")
    with pytest.raises(UserError, match=r"nyu-mll/glue on the hub has no split 'validation' \(it has train, test\); give the folder"):
        read(Path("hub"), "dev")
    with pytest.raises(UserError, match=r"nyu-mll/glue on the hub has no rows of sst2 in 'test'; give the folder"):
        read(Path("hub"), "test")
    with pytest.raises(UserError, match=r"nyu-mll/glue on the hub has no split 'ax' of sst2; it has train, dev, test"):
        read(Path("hub"), "ax")
    rows = {"sentence": ["a", None], "label": [0, 7]}
    hub["nyu-mll/glue", "sst2"] = {"train": datasets.Dataset.from_dict(rows), "validation": datasets.Dataset.from_dict(rows).select([1])}
    with pytest.raises(UserError, match=r"has other rows than expected \('sentence' is NoneType, not text\)"):
        read(Path("hub"), "dev")
    hub["nyu-mll/glue", "sst2"] = {"train": datasets.Dataset.from_dict({"sentence": ["a"], "label": [7]})}
    with pytest.raises(UserError, match=r"has other rows than expected \(label 7, expected one of 0, 1\)"):
        read(Path("hub"), "train")
    (tmp_path / "glue").mkdir()
    with pytest.raises(UserError, match=r"glue contains neither train\.tsv nor a folder SST-2"):
        read(Path("glue"), "train")  # what lies here comes first
    assert hub_datasets.local(TASKS["sst2"], Path("elsewhere")) == Path("elsewhere")
    assert set(hub_datasets.DATASETS) < set(TASKS)


def test_the_command_prints_the_next_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", "sst2", "--model", "none", "--output", str(tmp_path / "out")]) == 2
    assert "--data hub" in capsys.readouterr().err


def test_fine_tuning_reads_rows_as_they_are(hub: dict[Any, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tiny_models import checkpoints

    rows = {"sentence1": ["the chef\tate ", "the  film", "it was"], "sentence2": ["the chef", "good", "boring"], "label": [0, 1, 1]}
    loaded = datasets.Dataset.from_dict(rows).cast_column("label", datasets.ClassLabel(names=["entailment", "not_entailment"]))
    hub["nyu-mll/glue", "rte"] = {"train": loaded, "validation": loaded}
    words = ["finetune", "rte", "--model", str(checkpoints()["lone"]), "--data", "hub", "--output", str(tmp_path / "run")]
    assert main([*words, "--epochs", "1", "--batch-size", "2", "--device", "cpu", "--json"]) == 0
    import json

    scores = json.loads(capsys.readouterr().out)
    assert scores["train_examples"] == scores["dev_examples"] == 3
    assert [e.text for e in TASKS["rte"].read(Path("hub"), "train")] == rows["sentence1"]
    assert main(["evaluate", str(tmp_path / "run"), "--task", "rte", "--data", "glue", "--json"]) == 0
