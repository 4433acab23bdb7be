"""Labels of other people's classifiers: matched by name, by number or by --labels, always printed; never guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import case, conforms
from tiny_models import SHAPE, checkpoints, vocabulary

from electra import cli
from electra.contracts import Example, Head
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.inference.predictor import load
from electra.tasks.registry import find_task

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SENTENCES = ("the chef cooked the meal", "an old film", "it was good", "she walked home again", "the city", "a meal again", "the chef walked")


def classifier(folder: Path, labels: tuple[str, ...], **more: Any) -> Path:
    torch.manual_seed(5)
    config = transformers.ElectraConfig(vocab_size=len(vocabulary()), **SHAPE, id2label=dict(enumerate(labels)), **more)
    transformers.ElectraForSequenceClassification(config).eval().save_pretrained(folder)
    load_tokenizer(checkpoints()["vocab"]).save(folder)
    return folder


def gold(folder: Path, names: tuple[str, ...], right: int) -> list[str]:
    """The task's labels of the sentences: those of the model's outputs, if they are called `names`, for the first `right`."""
    answers = load(folder).predict(SENTENCES)
    ids = [load(folder).backend.labels.index(str(answer.label)) for answer in answers]
    return [names[i if at < right else (i + 1) % len(names)] for at, i in enumerate(ids)]


def data(folder: Path, labels: list[str], pair: bool = False) -> Path:
    folder.mkdir()
    if pair:
        rows = "".join(f"{i}\t{text}\tthe film\t{label}\n" for i, (text, label) in enumerate(zip(SENTENCES, labels, strict=True)))
        (folder / "dev.tsv").write_text(f"index\tsentence1\tsentence2\tlabel\n{rows}")
    else:
        (folder / "dev.tsv").write_text("sentence\tlabel\n" + "".join(f"{t}\t{label}\n" for t, label in zip(SENTENCES, labels, strict=True)))
    return folder


EVALUATE = {"where": "evaluate", "outcome": "exact"}


@pytest.mark.parametrize(
    ("labels", "names", "flags", "printed"),
    [
        case(
            ("LABEL_0", "LABEL_1"),
            ("0", "1"),
            (),
            "by number: LABEL_0 = 0 (negative), LABEL_1 = 1 (positive)",
            form="labels LABEL_0, LABEL_1",
            **EVALUATE,
        ),
        case(
            ("LABEL_0", "LABEL_1"), ("1", "0"), ("--labels", "1", "0"), "by --labels: LABEL_0 = 1 (positive)", form="--labels for LABEL_0", **EVALUATE
        ),
        case(("NEGATIVE", "POSITIVE"), ("0", "1"), (), "by name: NEGATIVE = 0, POSITIVE = 1", form="labels NEGATIVE, POSITIVE", **EVALUATE),
        case(("Pos", "Neg"), ("1", "0"), (), "by name: Pos = 1 (positive), Neg = 0 (negative)", form="labels Pos, Neg", **EVALUATE),
        case(("bad", "good"), ("0", "1"), ("--labels", "0", "1"), "by --labels: bad = 0 (negative)", form="--labels for other names", **EVALUATE),
    ],
)
def test_a_task_names_the_labels(
    labels: tuple[str, ...], names: tuple[str, ...], flags: tuple[str, ...], printed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = classifier(tmp_path / "m", labels)
    place = data(tmp_path / "SST-2", gold(folder, names, right=5))
    assert cli.main(["evaluate", str(folder), "--task", "sst2", "--data", str(place), "--json", *flags]) == 0
    out = capsys.readouterr()
    assert json.loads(out.out)["accuracy"] == pytest.approx(5 / 7)
    assert printed in out.err


@pytest.mark.parametrize("labels", [("ENTAILMENT", "NOT ENTAILMENT"), ("not-entailment", "Entailment")])
def test_names_that_differ_in_form(labels: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = classifier(tmp_path / "m", labels)
    names = ("entailment", "not_entailment") if labels[0].startswith("ENT") else ("not_entailment", "entailment")
    answers = load(folder).predict([(text, "the film") for text in SENTENCES])
    place = data(tmp_path / "RTE", [names[labels.index(str(answer.label))] for answer in answers], pair=True)
    assert cli.main(["evaluate", str(folder), "--task", "rte", "--data", str(place), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1.0


REFUSED = {"where": "evaluate", "outcome": "refused"}


@pytest.mark.parametrize(
    ("task", "labels", "flags", "message"),
    [
        case("rte", ("LABEL_0", "LABEL_1"), (), "--labels entailment not_entailment", form="labels LABEL_0, LABEL_1 of a task with names", **REFUSED),
        case("sst2", ("bad", "good"), (), "--labels 0 1", form="labels with other names", **REFUSED),
        case("sst2", ("neg", "neutral", "pos"), (), "fine-tune on it", form="another number of labels", **REFUSED),
        case("sst2", ("bad", "good"), ("--labels", "1"), "1 labels, ", form="--labels with another number of labels", **REFUSED),
        case("sst2", ("bad", "good"), ("--labels", "1", "2"), "sst2 has no label '2'; known: 0, 1", form="--labels with an unknown label", **REFUSED),
        case("sst2", ("bad", "good"), ("--labels", "1", "1"), "given twice", form="--labels with a label twice", **REFUSED),
    ],
)
def test_labels_are_never_guessed(
    task: str, labels: tuple[str, ...], flags: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = classifier(tmp_path / "m", labels)
    place = data(tmp_path / "d", ["entailment"] * 7 if task == "rte" else ["0"] * 7, pair=task == "rte")
    assert cli.main(["evaluate", str(folder), "--task", task, "--data", str(place), *flags]) == 2
    assert message in capsys.readouterr().err


def test_finetuning_task_of_someone_else_says_nothing_about_the_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`run_glue.py` of `transformers` wrote it with labels in another order than GLUE's."""
    folder = classifier(tmp_path / "m", ("LABEL_0", "LABEL_1"), finetuning_task="rte")
    place = data(tmp_path / "d", ["entailment"] * 7, pair=True)
    assert cli.main(["evaluate", str(folder), "--task", "rte", "--data", str(place)]) == 2
    assert "--labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "theirs", "flags"),
    [
        (("LABEL_0", "LABEL_1"), ("0", "1"), ()),
        (("LABEL_0", "LABEL_1"), ("bad", "good"), ("--labels", "bad", "good")),
        (("VERY_GOOD", "BAD"), ("very good", "bad"), ()),
    ],
)
def test_a_custom_file_names_the_labels(
    labels: tuple[str, ...], theirs: tuple[str, ...], flags: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = classifier(tmp_path / "m", labels)
    rows = zip(SENTENCES, gold(folder, theirs, right=5), strict=True)
    (tmp_path / "new.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    words = ["--task", "own", "--data", str(tmp_path / "new.csv"), "--json", *flags]
    assert cli.main(["evaluate", str(folder), *words]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(5 / 7)
    assert cli.main(["compare", str(folder), *words, "--calls", "10", "--threads", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["score"] == pytest.approx(5 / 7)


def test_a_custom_file_of_other_labels_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = classifier(tmp_path / "m", ("LABEL_0", "LABEL_1"))
    (tmp_path / "new.csv").write_text("text,label\nthe film,bad\na meal,good\n")
    assert cli.main(["evaluate", str(folder), "--task", "own", "--data", str(tmp_path / "new.csv")]) == 2
    assert "give the data's labels in the order of the model's outputs: --labels" in capsys.readouterr().err


@conforms(form="one output without problem_type (cross-encoder)", where="evaluate", outcome="exact")
def test_a_cross_encoder_answers_with_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = classifier(tmp_path / "m", ("LABEL_0",))
    scores = [rows[0]["score"] for rows in transformers.pipeline("text-classification", model=str(folder), top_k=None)(list(SENTENCES))]
    gold = [0.1, 0.9, 0.4, 0.3, 0.8, 0.2, 0.5]
    (tmp_path / "new.csv").write_text("text,label\n" + "".join(f"{text},{value}\n" for text, value in zip(SENTENCES, gold, strict=True)))
    words = ["--task", "own", "--data", str(tmp_path / "new.csv"), "--predictions", str(tmp_path / "p.jsonl"), "--json"]
    assert cli.main(["evaluate", str(folder), *words]) == 0
    out = capsys.readouterr()
    assert json.loads(out.out)["pearson"] == pytest.approx(np.corrcoef(scores, gold)[0, 1], abs=1e-5) and "a sigmoid" in out.err
    assert [json.loads(line)["prediction"] for line in (tmp_path / "p.jsonl").read_text().splitlines()] == pytest.approx(scores, abs=1e-5)
    assert cli.main(["evaluate", str(folder), "--task", "own", "--data", str(tmp_path / "new.csv"), "--labels", "a"]) == 2
    assert "not with labels" in capsys.readouterr().err


@conforms(form="--labels for other names", where=("compare", "build"), outcome="exact")
def test_build_auto_takes_the_mapping(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = classifier(tmp_path / "m", ("bad", "good"))
    place = data(tmp_path / "SST-2", gold(folder, ("0", "1"), right=5))
    skip = ["onnx-fp16", "onnx-int8", "onnx-int8-static", "openvino", "openvino-bf16", "openvino-int8"]
    words = ["--target", "auto", "--task", "sst2", "--data", str(place), "--calls", "10", "--threads", "1", "--skip", *skip]
    assert cli.main(["build", str(folder), *words, "--output", str(tmp_path / "none")]) == 2
    assert "--labels 0 1" in capsys.readouterr().err and not (tmp_path / "none").exists()
    assert cli.main(["build", str(folder), *words, "--output", str(tmp_path / "onnx"), "--labels", "0", "1"]) == 0
    manifest = json.loads((tmp_path / "onnx" / "artefact.json").read_text())
    assert [row["score"] for row in manifest["measured"]] == pytest.approx([5 / 7, 5 / 7])


@pytest.mark.parametrize(
    ("labels", "given", "expected"),
    [
        case(
            ("Not Entailment", "ENTAILMENT"),
            (),
            ("ENTAILMENT", "Not Entailment"),
            form="labels that differ in form",
            where="--teacher",
            outcome="exact",
        ),
        case(
            ("LABEL_0", "LABEL_1"),
            ("not_entailment", "entailment"),
            ("LABEL_1", "LABEL_0"),
            form="--teacher-labels",
            where="--teacher",
            outcome="exact",
        ),
        case(("LABEL_0", "LABEL_1"), (), None, form="labels LABEL_0, LABEL_1 of a task with names", where="--teacher", outcome="refused"),
    ],
)
def test_a_teachers_labels(labels: tuple[str, ...], given: tuple[str, ...], expected: tuple[str, ...] | None, tmp_path: Path) -> None:
    from electra.finetuning.distillation import matching_labels
    from electra.model.huggingface import load_checkpoint

    checkpoint, task = load_checkpoint(classifier(tmp_path / "m", labels)), find_task("rte")
    if expected is None:
        with pytest.raises(UserError, match="--teacher-labels entailment not_entailment"):
            matching_labels("m", checkpoint, task.head([]), task, given)
    else:
        assert matching_labels("m", checkpoint, task.head([]), task, given) == expected


@pytest.mark.parametrize(
    ("theirs", "flags", "form"),
    [(("o", "b_per", "i_per"), (), "by name"), (("LABEL_0", "LABEL_1", "LABEL_2"), ("--labels", "O", "B-PER", "I-PER"), "by --labels")],
)
@conforms(form="tags of other names", where=("evaluate", "compare"), outcome="exact")
def test_tags_of_other_names(theirs: tuple[str, ...], flags: tuple[str, ...], form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(5)
    shape = {name: value for name, value in SHAPE.items() if name != "embedding_size"}
    config = transformers.BertConfig(vocab_size=len(vocabulary()), **shape, id2label=dict(enumerate(theirs)))
    transformers.BertForTokenClassification(config).eval().save_pretrained(tmp_path / "m")
    load_tokenizer(checkpoints()["vocab"]).save(tmp_path / "m")
    names = dict(zip(theirs, ("O", "B-PER", "I-PER"), strict=True))
    sentences = [[(word.word, names[word.tag]) for word in tagged.words] for tagged in load(tmp_path / "m").tag([text.split() for text in SENTENCES])]
    (tmp_path / "new.txt").write_text("".join("".join(f"{word} {tag}\n" for word, tag in rows) + "\n" for rows in sentences))
    words = [str(tmp_path / "m"), "--task", "tagging", "--data", str(tmp_path / "new.txt"), "--json", *flags]
    assert cli.main(["evaluate", *words]) == 0
    out = capsys.readouterr()
    assert json.loads(out.out)["f1"] == 1.0 and form in out.err
    assert cli.main(["compare", *words, "--calls", "10", "--threads", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["score"] == 1.0
    if flags:
        assert cli.main(["evaluate", *words[:-4]]) == 2
        assert "give the data's labels in the order of the model's outputs: --labels" in capsys.readouterr().err


@conforms(form="one output without problem_type (cross-encoder)", where="--teacher", outcome="exact")
def test_a_cross_encoder_teaches_with_its_sigmoid(tmp_path: Path) -> None:
    """As the pipeline of `transformers` answers, where the labels are from 0 to 1; other ranges are refused."""
    from electra.finetuning import distillation
    from electra.settings import DistillationSettings, FinetuneSettings

    folder = classifier(tmp_path / "m", ("LABEL_0",))
    task = find_task("own")
    examples = [Example(id=str(i), text=text, label=0.5) for i, text in enumerate(SENTENCES)]
    settings = FinetuneSettings(task="own", model="m", output=tmp_path / "o", distillation=DistillationSettings(teacher=str(folder)))
    expected = [rows[0]["score"] for rows in transformers.pipeline("text-classification", model=str(folder), top_k=None)(list(SENTENCES))]
    answers = distillation.teacher_answers(str(folder), task, examples, Head(kind="regression"), settings)
    assert answers[:, 0] == pytest.approx(np.array(expected), abs=1e-5)
    with pytest.raises(UserError, match="numbers from 0 to 1, the task's labels are 0 to 5"):
        distillation.teacher_answers(str(folder), task, examples, Head(kind="regression", scale=5.0), settings)
