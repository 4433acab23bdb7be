"""One answer: every interface gives the same for the same model, for every kind of task, backend and length of text.

`electra evaluate`, `predict`, pipelines, the worker of `compare` and `serve` over HTTP: probabilities to 1e-4, labels wherever the margin is above
1e-3; and PyTorch against the fp32 exports. 8-bit artifacts are compared with themselves, one input at a time: their scales depend on the batch.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from built_models import artifact
from served_models import Served, call, in_thread
from task_models import HEADS, WORDS, make

from electra import cli
from electra.benchmark.worker import open_electra
from electra.contracts import Example, Prediction, SpanPrediction, TagPrediction
from electra.inference.pipelines import pipeline
from electra.inference.predictor import load, open_fine_tuned
from electra.settings import EvaluateSettings
from electra.tasks.evaluate import assess
from electra.tasks.input_spec import OLD_RECORD, RECORD

pytest.importorskip("torch")

TRUNCATE = {"classification": "windows", "original": "head-tail", "mean": "windows", "regression": "tail", "multilabel": "head"}
"""Each way of truncation once; words and questions are always read in windows."""
PAIRS = ("original", "regression")
BACKENDS = ("pytorch", "onnx", "onnx-int8", "openvino")
LENGTHS = (1, 3, 30, 39, 90, 160)
"""Words of the texts, besides the empty one; the models read 40 tokens."""
INTERFACES: dict[str, Callable[[str, Path, list[Example], Served], list[Any]]] = {}


@dataclass(frozen=True)
class Answer:
    """What an interface returns for one example: values to compare to 1e-4, and a label that counts where `margin` is above 1e-3."""

    label: Any
    values: tuple[float, ...]
    margin: float


def interface(function: Callable[[str, Path, list[Example], Served], list[Any]]) -> Callable[[str, Path, list[Example], Served], list[Any]]:
    INTERFACES[function.__name__] = function
    return function


# ---- models, data ----


@cache
def checkpoint(name: str) -> Path:
    """A fine-tuned model of a kind with random weights, which reads 40 tokens."""
    folder = make(name, Path(mkdtemp()) / name)
    values = json.loads((folder / "config.json").read_text())
    values[RECORD] = {**values[RECORD], **({"truncate": TRUNCATE[name]} if name in TRUNCATE else {})}
    if name == "original":  # the key of version 0.1
        values[OLD_RECORD] = values.pop(RECORD)
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def source(name: str, backend: str) -> Path:
    if backend == "openvino":
        pytest.importorskip("openvino")
    return checkpoint(name) if backend == "pytorch" else artifact(checkpoint(name), backend)


def examples(name: str) -> list[Example]:
    """Short, long and empty texts, pairs, sentences or questions."""
    rng = random.Random(4)
    texts = ["", *(" ".join(rng.choices(WORDS, k=count)) for count in LENGTHS)]
    if name == "tagging":
        return [Example(id=str(i), text=text, words=tuple(text.split()), label=("O",) * len(text.split())) for i, text in enumerate(texts) if text]
    if name in ("span", "joint"):
        return [Example(id=str(i), text=text[:60], text_pair=texts[-i - 1] or "the") for i, text in enumerate(texts)]
    label = {"regression": 1.5, "multilabel": ("a",)}.get(name, HEADS[name][0].labels[:1] and HEADS[name][0].labels[0])
    seconds = texts[::-1] if name in PAIRS else [None] * len(texts)  # type: ignore[list-item]
    return [Example(id=str(i), text=text, text_pair=second, label=label) for i, (text, second) in enumerate(zip(texts, seconds, strict=True))]


def labelled_file(name: str, rows: list[Example], folder: Path) -> EvaluateSettings:
    """The examples as a labelled file, and the settings of `electra evaluate` for it."""
    common: dict[str, Any] = {"model": "", "split": "dev", "batch_size": 1}
    if name == "tagging":
        (folder / "dev.txt").write_text("\n".join("".join(f"{word} O\n" for word in row.words or ()) for row in rows))
        return EvaluateSettings(task="tagging", data=(str(folder / "dev.txt"),), **common)
    if name in ("span", "joint"):
        impossible = name == "joint"
        answers = [[] if impossible else [{"text": (row.text_pair or "").split()[0], "answer_start": 0}] for row in rows]
        questions = [
            {"id": row.id, "question": row.text, "answers": one, "is_impossible": impossible} for row, one in zip(rows, answers, strict=True)
        ]
        paragraphs = [{"context": row.text_pair, "qas": [one]} for row, one in zip(rows, questions, strict=True)]
        (folder / "dev.json").write_text(json.dumps({"version": "v2.0", "data": [{"title": "a", "paragraphs": paragraphs}]}))
        return EvaluateSettings(task="squad2" if name == "joint" else "squad", data=(str(folder),), **common)
    lines = [{"text": row.text, "text_pair": row.text_pair, "label": list(row.label) if isinstance(row.label, tuple) else row.label} for row in rows]
    (folder / "dev.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pair = {"text_pair": "text_pair"} if name in PAIRS else {}
    return EvaluateSettings(task="own", data=(str(folder / "dev.jsonl"),), **pair, **common)


# ---- interfaces: (name, model, examples, server) -> an Answer each ----


def of_prediction(prediction: Prediction) -> Answer:
    if isinstance(prediction, TagPrediction):
        return Answer(prediction.label, prediction.word_probabilities, 1.0)
    if isinstance(prediction, SpanPrediction):
        return span(str(prediction.label), prediction.probability or 0.0)
    if not prediction.probabilities:
        return Answer(None, (float(str(prediction.label)),), 0.0)
    return classes(dict(prediction.probabilities), prediction.label)


def classes(table: dict[str, float], label: Any = None) -> Answer:
    ranked = sorted(table.values())
    margin = min(abs(p - 0.5) for p in ranked) if isinstance(label, tuple) else ranked[-1] - ranked[-2]
    best = max(table, key=lambda name: table[name])
    return Answer(label if label is not None else best, tuple(table[name] for name in sorted(table)), margin)


def span(text: str, probability: float) -> Answer:
    return Answer(text, (probability,), 1.0)


def records(rows: list[dict[str, Any]], name: str) -> Answer:
    """{"label", "score"} of every class."""
    if name == "regression":
        return Answer(None, (rows[0]["score"],), 0.0)
    table = {row["label"]: row["score"] for row in rows}
    return classes(table, tuple(sorted(key for key, p in table.items() if p > 0.5)) if name == "multilabel" else None)


def evaluate_with(name: str, model: Path, rows: list[Example], open_model: Any = open_fine_tuned) -> list[Answer]:
    settings = labelled_file(name, rows, Path(mkdtemp()))
    found = assess(EvaluateSettings(**{**settings.__dict__, "model": str(model)}), open_model)
    return [of_prediction(prediction) for prediction in found.predictions]


@interface
def evaluate(name: str, model: Path, rows: list[Example], served: Served) -> list[Answer]:
    return evaluate_with(name, model, rows)


@interface
def predict(name: str, model: Path, rows: list[Example], served: Served) -> list[Answer]:
    """The command, with --json."""
    file = Path(mkdtemp()) / "texts.jsonl"
    keys = {"tagging": ("text",), "span": ("question", "context"), "joint": ("question", "context")}.get(name, ("text", "text_pair"))
    values = [(list(row.words),) if row.words else (row.text, row.text_pair) for row in rows]
    file.write_text("".join(json.dumps({k: v for k, v in zip(keys, row, strict=False) if v is not None}) + "\n" for row in values))
    out = printed("predict", str(model), str(file), "--json", "--batch-size", "1")
    if name == "tagging":
        return [Answer(tuple(w["tag"] for w in one["words"]), tuple(w["probability"] for w in one["words"]), 1.0) for one in out]
    if name in ("span", "joint"):
        return [span(one["answer"], one["probability"]) for one in out]
    if name == "regression":
        return [Answer(None, (one["label"],), 0.0) for one in out]
    return [classes(one["probabilities"], tuple(one["label"]) if name == "multilabel" else one["label"]) for one in out]


@interface
def pipelines(name: str, model: Path, rows: list[Example], served: Served) -> list[Answer]:
    opened = load(model, device="cpu", batch_size=1)
    if name == "tagging":  # a text in place of words: those of the tokenizer, here the same
        found = [one.words for one in opened.tag([row.text for row in rows])]
        return [Answer(tuple(word.tag for word in words), tuple(word.probability for word in words), 1.0) for words in found]
    if name in ("span", "joint"):
        ask = pipeline("question-answering", model=opened)
        return [span(one["answer"], one["score"]) for one in (ask(question=row.text, context=row.text_pair or "") for row in rows)]
    classify = pipeline("text-classification", model=opened)
    items = [row.text if row.text_pair is None else (row.text, row.text_pair) for row in rows]
    return [records(found, name) for found in classify(items, top_k=None)]  # type: ignore[arg-type]


@interface
def compare(name: str, model: Path, rows: list[Example], served: Served) -> list[Answer]:
    """What a worker of `electra compare` and of `build --target auto` measures."""
    settings = labelled_file(name, rows, Path(mkdtemp()))
    worker = open_electra(str(model), EvaluateSettings(**{**settings.__dict__, "model": str(model)}), "cpu", 1)
    return [of_prediction(prediction) for prediction in worker.examine(rows, 1).predictions]


@interface
def serve(name: str, model: Path, rows: list[Example], served: Served) -> list[Answer]:
    """HTTP, a request for each example."""
    if name == "tagging":
        return [tagged_over_http(row, served) for row in rows]
    if name in ("span", "joint"):
        found = [call(served.url, "/", {"inputs": {"question": row.text, "context": row.text_pair}}).json for row in rows]
        return [span(one["answer"], one["score"]) for one in found]
    inputs = [row.text if row.text_pair is None else [row.text, row.text_pair] for row in rows]
    return [records(call(served.url, "/predict", {"inputs": one}).json, name) for one in inputs]


def tagged_over_http(row: Example, served: Served) -> Answer:
    """Tokens with their tags; every word of these texts is one token."""
    parameters = {"aggregation_strategy": "none", "ignore_labels": []}
    found = call(served.url, "/", {"inputs": row.text, "parameters": parameters}).json
    return Answer(tuple(one["entity"] for one in found), tuple(one["score"] for one in found), 1.0)


def printed(*argv: str) -> list[Any]:
    """What a command prints, as JSON lines."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        assert cli.main(argv) == 0
    return [json.loads(line) for line in out.getvalue().splitlines()]


# ---- they agree ----


def assert_agree(found: list[Answer], wanted: list[Answer], what: str) -> None:
    assert len(found) == len(wanted), what
    for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
        assert one.values == pytest.approx(other.values, abs=1e-4), (what, number)
        if other.margin > 1e-3:
            assert one.label == other.label, (what, number)


@pytest.fixture(params=[(name, backend) for name in HEADS for backend in BACKENDS], ids="-".join)
def case(request: pytest.FixtureRequest) -> Iterator[tuple[str, str, Path, Served]]:
    name, backend = request.param
    model = source(name, backend)
    # One input at a time: windows of one text share no batch.
    with in_thread("model", places={"model": model}, max_batch_tokens=1) as served:
        yield name, backend, model, served


def test_every_interface_gives_the_same_answer(case: tuple[str, str, Path, Served]) -> None:
    name, backend, model, served = case
    rows = examples(name)
    answers = {key: function(name, model, rows, served) for key, function in INTERFACES.items()}
    for key, found in answers.items():
        assert_agree(found, answers["evaluate"], f"{key} against evaluate")
    if backend in ("onnx", "openvino"):
        assert_agree(answers["predict"], evaluate_with(name, checkpoint(name), rows), f"{backend} against PyTorch")


def test_the_test_sees_an_interface_that_deviates() -> None:
    """Windows in place of the recorded truncation, a shorter input, or another threshold: each would be seen."""
    rows, model = examples("multilabel"), checkpoint("multilabel")
    wanted = evaluate_with("multilabel", model, rows)
    for changes in ({"truncate": "windows"}, {"max_length": 20}):
        other = [of_prediction(prediction) for prediction in load(model, device="cpu", **changes).predict([row.text for row in rows])]  # type: ignore[arg-type]
        with pytest.raises(AssertionError):
            assert_agree(other, wanted, "another input spec")


@pytest.mark.realdata
def test_predict_and_evaluate_label_imdb_reviews_alike(data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """60 positive and 60 negative reviews, most of them longer than the bundled classifier reads; version 0.1 gave 20 of them two labels."""
    from electra.tasks.imdb import read_imdb

    found = read_imdb(data_root / "imdb" / "aclImdb_v1.tar.xz", "dev")
    rows = [row for label in ("negative", "positive") for row in [row for row in found if row.label in (label, label[:3])][:60]]
    names = {"neg": "negative", "pos": "positive"}
    file, answers = tmp_path / "dev.jsonl", tmp_path / "answers.jsonl"
    records = [{"text": " ".join(row.text.split()), "label": names.get(str(row.label), row.label)} for row in rows]
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    assert len(rows) == 120
    assert cli.main(["evaluate", "shipped:sentiment", "--task", "own", "--data", str(file), "--predictions", str(answers), "--json"]) == 0
    accuracy = json.loads(capsys.readouterr().out)["accuracy"]
    evaluated = [json.loads(line)["prediction"] for line in answers.read_text(encoding="utf-8").splitlines()]
    assert cli.main(["predict", "shipped:sentiment", str(file), "--json"]) == 0
    predicted = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["label"] for row in predicted] == evaluated, "0 of 120"
    assert all(row["windows"] == 1 for row in predicted), "the first 128 tokens, as it was trained"
    assert accuracy == pytest.approx(sum(label == record["label"] for label, record in zip(evaluated, records, strict=True)) / 120)
    print(f"accuracy {accuracy}")
    assert 0.7 < accuracy < 0.9
