"""BERTs of other people with each head: every command answers as `transformers` does, and artifacts as the checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from conformance import case, conforms
from question_sets import write_squad
from served_models import call, in_thread
from tiny_models import SHAPE, checkpoints, vocabulary

from electra import cli
from electra.data.tokenizer import load_tokenizer
from electra.exporting.targets import build_artifact
from electra.inference.artifact import read_manifest
from electra.inference.pipelines import pipeline
from electra.inference.predictor import load

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXTS = ("the chef cooked the meal", "it was an old film , and good !", "she walked home again in the rain .")
MARKED = ("the chef [MASK] the meal", "[MASK] was a [MASK] film")
QUESTION, CONTEXT = "who cooked the meal ?", "the chef cooked the meal . she walked home again ."
HEADS: dict[str, dict[str, Any]] = {
    "BertForSequenceClassification": {"id2label": {0: "bad", 1: "fair", 2: "good"}},
    "BertForTokenClassification": {"id2label": {0: "O", 1: "B-PER", 2: "I-PER"}},
    "BertForQuestionAnswering": {},
    "BertForMaskedLM": {},
    "BertForPreTraining": {},
    "BertModel": {},
}
ROLES = dict(zip(HEADS, ("classifier", "token-classification", "question-answering", "generator", "generator", "encoder"), strict=True))
Answers = list[Any]
"""Numbers and names of all answers, in order; numbers are compared with a tolerance."""


@cache
def saved(kind: str) -> Path:
    torch.manual_seed(17)
    folder = Path(mkdtemp()) / kind
    shape = {name: value for name, value in SHAPE.items() if name != "embedding_size"}
    getattr(transformers, kind)(transformers.BertConfig(vocab_size=len(vocabulary()), **shape, **HEADS[kind])).eval().save_pretrained(folder)
    load_tokenizer(checkpoints()["vocab"]).save(folder)
    return folder


@cache
def built(kind: str, target: str) -> Path:
    folder = Path(mkdtemp()) / f"{kind}-{target}"
    build_artifact(str(saved(kind)), target, folder)
    return folder


# ---- the same questions to both ----


def flat(values: Any) -> Answers:
    """All numbers and words in a nest of records, in order, without names of files."""
    if isinstance(values, dict):
        return [item for key in sorted(values) for item in flat(values[key])]
    if isinstance(values, list | tuple | np.ndarray):
        return [item for value in values for item in flat(value)]
    return [values.item() if isinstance(values, np.generic) else values]


def same(ours: Any, theirs: Any, tolerance: float = 1e-4) -> None:
    one, two = flat(ours), flat(theirs)
    assert [value for value in one if isinstance(value, str)] == [value for value in two if isinstance(value, str)]
    numbers = [[value for value in values if not isinstance(value, str)] for values in (one, two)]
    assert numbers[0] == pytest.approx(numbers[1], abs=tolerance)


def words(answers: Iterable[Any]) -> list[Any]:
    """Proposals for masks -> their scores and tokens; the filled text is written otherwise by `transformers`, which keeps [CLS] and [SEP]."""
    return [[[row["score"], row["token"]] for row in np.ravel(answer).tolist()] for answer in answers]


def theirs(kind: str) -> Any:
    """The answers of `transformers`."""
    folder = str(saved(kind))
    if kind == "BertForSequenceClassification":
        return transformers.pipeline("text-classification", model=folder, top_k=None)(list(TEXTS))
    if kind == "BertForTokenClassification":
        return transformers.pipeline("token-classification", model=folder, ignore_labels=[])(list(TEXTS))
    if kind == "BertForQuestionAnswering":
        return span_probabilities()
    if kind == "BertForMaskedLM":
        return words(transformers.pipeline("fill-mask", model=folder, top_k=4)(text) for text in MARKED)
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(folder), getattr(transformers, kind).from_pretrained(folder).eval()
    if kind == "BertForPreTraining":
        # No pipeline of `transformers` reads this class.
        return words(likeliest(tokenizer, model, text) for text in MARKED)
    with torch.no_grad():
        return [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy() for text in TEXTS]


def likeliest(tokenizer: Any, model: Any, text: str) -> list[dict[str, Any]]:
    ids = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        rows = model(**ids).prediction_logits[0].softmax(-1)[ids["input_ids"][0] == tokenizer.mask_token_id]
    found = [[{"score": float(row[i]), "token": int(i)} for i in row.argsort(descending=True)[:4]] for row in rows]
    return found[0] if len(found) == 1 else found  # type: ignore[return-value]


def span_probabilities() -> list[float]:
    """Of the likeliest answer within the context: the product of the probabilities of its ends over context and [CLS]."""
    folder = saved("BertForQuestionAnswering")
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(folder), transformers.BertForQuestionAnswering.from_pretrained(folder).eval()
    ids = tokenizer(QUESTION, CONTEXT, return_tensors="pt", return_offsets_mapping=True)
    offsets = ids.pop("offset_mapping")[0]
    with torch.no_grad():
        out = model(**ids)
    inside = torch.tensor([part == 1 for part in ids.sequence_ids()])
    allowed = inside.clone()
    allowed[0] = True
    first, last = (logits[0].masked_fill(~allowed, -torch.inf).softmax(-1) for logits in (out.start_logits, out.end_logits))
    scores = (first[:, None] * last[None, :]).triu().tril(29) * inside[:, None] * inside[None, :]
    best = int(scores.argmax())
    begin, end = divmod(best, len(scores))
    return [float(scores[begin, end]), int(offsets[begin][0]), int(offsets[end][1])]


def ours(kind: str, place: Path) -> Any:
    """The same from us, by pipelines and `load`."""
    if kind == "BertForSequenceClassification":
        return pipeline("text-classification", place)(list(TEXTS), top_k=None)
    if kind == "BertForTokenClassification":
        return pipeline("token-classification", place)(TEXTS, ignore_labels=())
    if kind == "BertForQuestionAnswering":
        found = pipeline("question-answering", place)(question=QUESTION, context=CONTEXT)
        return [found["score"], found["start"], found["end"]]
    if kind in ("BertForMaskedLM", "BertForPreTraining"):
        return words(pipeline("fill-mask", place)(text, top_k=4) for text in MARKED)
    return load(place).embed(TEXTS)


PYTHON = [case(kind, form=kind, where=("Python", "load"), outcome="exact") for kind in HEADS]


@pytest.mark.parametrize("kind", PYTHON)
def test_python_answers_as_transformers(kind: str) -> None:
    same(ours(kind, saved(kind)), theirs(kind), 1e-5)


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize("kind", [case(kind, form=kind, where="build", outcome="exact") for kind in HEADS])
def test_artifacts_answer_as_transformers(kind: str, target: str) -> None:
    manifest = read_manifest(built(kind, target))
    assert (manifest["architecture"], manifest["role"]) == (kind, ROLES[kind])
    assert json.loads((built(kind, target) / "config.json").read_text())["model_type"] == "bert"
    same(ours(kind, built(kind, target)), theirs(kind), 1e-4)


@pytest.mark.parametrize("kind", HEADS)
def test_8_bit_artifacts_are_near(kind: str) -> None:
    assert read_manifest(built(kind, "onnx-int8"))["architecture"] == kind
    vectors = load(built(kind, "onnx-int8")).embed(TEXTS), load(saved(kind)).embed(TEXTS)
    cosines = (vectors[0] * vectors[1]).sum(1) / np.linalg.norm(vectors[0], axis=1) / np.linalg.norm(vectors[1], axis=1)
    assert cosines.min() > 0.99


@pytest.mark.parametrize("kind", [case(kind, form=kind, where=("serve", "HTTP"), outcome="exact") for kind in HEADS])
def test_http_answers_as_transformers(kind: str) -> None:
    with in_thread("m", places={"m": saved(kind)}) as served:
        found = call(served.url, "/models").json
        if kind == "BertForSequenceClassification":
            answer: Any = call(served.url, "/predict", {"inputs": [[text] for text in TEXTS]}).json
        elif kind == "BertForTokenClassification":
            parameters = {"aggregation_strategy": "none", "ignore_labels": []}
            answer = [call(served.url, "/", {"inputs": text, "parameters": parameters}).json for text in TEXTS]
        elif kind == "BertForQuestionAnswering":
            row = call(served.url, "/", {"inputs": {"question": QUESTION, "context": CONTEXT}}).json
            answer = [row["score"], row["start"], row["end"]]
        elif kind == "BertModel":
            answer = call(served.url, "/embed", {"inputs": list(TEXTS), "normalize": False}).json
        else:
            answer = words(call(served.url, "/", {"inputs": text, "parameters": {"top_k": 4}}).json for text in MARKED)
    same(answer, theirs(kind), 1e-4)
    assert "embed" in str(found)


# ---- commands ----


Run = Callable[..., list[str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*words: str | Path) -> list[str]:
        capsys.readouterr()
        assert cli.main([str(word) for word in words]) == 0, capsys.readouterr().err
        return capsys.readouterr().out.splitlines()

    return command


def texts(folder: Path, lines: tuple[str, ...] = TEXTS) -> Path:
    (folder / "texts.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder / "texts.txt"


@pytest.mark.parametrize("kind", [case(kind, form=kind, where="predict", outcome="exact") for kind in list(HEADS)[:3]])
def test_predict(kind: str, run: Run, tmp_path: Path) -> None:
    lines = (f"{QUESTION}\t{CONTEXT}",) if kind == "BertForQuestionAnswering" else TEXTS
    rows = [json.loads(line) for line in run("predict", saved(kind), texts(tmp_path, lines), "--json")]
    if kind == "BertForSequenceClassification":
        same([row["probabilities"] for row in rows], [{one["label"]: one["score"] for one in table} for table in theirs(kind)], 1e-5)
    elif kind == "BertForQuestionAnswering":
        same([rows[0]["probability"], rows[0]["start"], rows[0]["end"]], theirs(kind), 1e-5)
    else:
        # A word by its first token, as token classifiers are trained.
        for row, tokens in zip(rows, theirs(kind), strict=True):
            first = {token["start"]: token for token in tokens}
            expected = [[first[word["start"]]["entity"], float(first[word["start"]]["score"])] for word in row["words"]]
            same([[word["tag"], word["probability"]] for word in row["words"]], expected, 1e-5)


@pytest.mark.parametrize("kind", [case(kind, form=kind, where="embed", outcome="exact") for kind in HEADS])
def test_embed(kind: str, run: Run, tmp_path: Path) -> None:
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(saved(kind)), transformers.BertModel.from_pretrained(saved(kind)).eval()
    with torch.no_grad():
        expected = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy() for text in TEXTS]
    same([json.loads(line) for line in run("embed", saved(kind), texts(tmp_path))], expected, 1e-5)


@pytest.mark.parametrize("kind", [case(kind, form=kind, where="score", outcome="exact") for kind in ("BertForMaskedLM", "BertForPreTraining")])
def test_score(kind: str, run: Run, tmp_path: Path) -> None:
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(saved(kind)), getattr(transformers, kind).from_pretrained(saved(kind)).eval()
    (row,) = [json.loads(line) for line in run("score", saved(kind), texts(tmp_path, TEXTS[:1]), "--json")]
    ids = tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    for at, token in enumerate(row["tokens"], start=1):
        masked = ids.clone()
        masked[0, at] = tokenizer.mask_token_id
        with torch.no_grad():
            out = model(input_ids=masked)
        logits = out.logits if kind == "BertForMaskedLM" else out.prediction_logits
        assert token["score"] == pytest.approx(float(logits[0, at].log_softmax(-1)[ids[0, at]]), abs=1e-4)


@pytest.mark.parametrize("kind", [case(kind, form=kind, where="inspect", outcome="exact") for kind in HEADS])
def test_inspect(kind: str, run: Run) -> None:
    found = json.loads("\n".join(run("inspect", saved(kind), "--json")))
    model = getattr(transformers, kind).from_pretrained(saved(kind))
    assert (found["architecture"], found["model_type"], found["hidden_act"]) == (kind, "bert", "gelu")
    assert found["num_parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert found.get("labels", []) == list(HEADS[kind].get("id2label", {}).values())
    assert (found["tokenizer_kind"], found["tokens"], found["rows_without_token"]) == ("WordPiece, uncased", len(vocabulary()), 0)


def labelled(kind: str, folder: Path) -> list[str]:
    """Words of the command line for a labelled file, whose labels are the answers of `transformers` except the last."""
    found = theirs(kind)
    if kind == "BertForSequenceClassification":
        best = [max(table, key=lambda row: row["score"])["label"] for table in found]
        best[-1] = next(name for name in ("bad", "good") if name != best[-1])
        rows = "".join(f'"{text}",{label}\n' for text, label in zip(TEXTS, best, strict=True))
        (folder / "new.csv").write_text(f"text,label\n{rows}")
        return ["--task", "own", "--data", str(folder / "new.csv")]
    # Each word has the tag of its first token.
    starts = [{token["start"]: token["entity"] for token in tokens} for tokens in found]
    sentences = [[(m.group(), tags[m.start()]) for m in re.finditer(r"\S+", text)] for text, tags in zip(TEXTS, starts, strict=True)]
    (folder / "new.txt").write_text("".join("".join(f"{word} {tag}\n" for word, tag in rows) + "\n" for rows in sentences))
    return ["--task", "tagging", "--data", str(folder / "new.txt")]


@pytest.mark.parametrize("kind", [case(kind, form=kind, where=("evaluate", "compare"), outcome="exact") for kind in list(HEADS)[:2]])
def test_evaluate_and_compare(kind: str, run: Run, tmp_path: Path) -> None:
    data, main = labelled(kind, tmp_path), "accuracy" if kind == "BertForSequenceClassification" else "f1"
    expected = 2 / 3 if main == "accuracy" else 1.0
    assert json.loads(run("evaluate", saved(kind), *data, "--json")[-1])[main] == pytest.approx(expected)
    compared = json.loads(run("compare", saved(kind), built(kind, "onnx"), *data, "--calls", "10", "--threads", "1", "--json")[-1])
    for row in compared["rows"]:
        assert row["error"] is None and row["score"] == pytest.approx(expected)
    assert compared["rows"][1]["agreement"] == 1.0 and compared["rows"][1]["largest_difference"] < 1e-4


@conforms(form="BertForQuestionAnswering", where=("evaluate", "compare"), outcome="exact")
def test_evaluate_and_compare_answers(run: Run, tmp_path: Path) -> None:
    """The gold answer of one question is what `transformers` finds, of the other a word it does not find."""
    start, end = theirs("BertForQuestionAnswering")[1:]
    answers = [{"text": CONTEXT[start:end], "answer_start": start}, {"text": "home", "answer_start": CONTEXT.index("home")}]
    assert "home" not in CONTEXT[start:end]
    rows = [{"context": CONTEXT, "qas": [{"id": str(i), "question": QUESTION, "answers": [answer]}]} for i, answer in enumerate(answers)]
    file = write_squad(tmp_path / "dev.json", rows)
    data = ["--task", "squad", "--data", file]
    assert json.loads(run("evaluate", saved("BertForQuestionAnswering"), *data, "--json")[-1])["exact_match"] == pytest.approx(0.5)
    models = saved("BertForQuestionAnswering"), built("BertForQuestionAnswering", "onnx")
    compared = json.loads(run("compare", *models, *data, "--calls", "10", "--threads", "1", "--json")[-1])
    assert [row["score"] for row in compared["rows"]] == [compared["rows"][0]["score"]] * 2 and compared["rows"][1]["agreement"] == 1.0


@pytest.mark.parametrize("kind", [case(kind, form=kind, where="finetune", outcome="exact") for kind in HEADS])
def test_finetune_keeps_a_bert(kind: str, run: Run, tmp_path: Path) -> None:
    """The fine-tuned model is a BertForSequenceClassification, which `transformers` opens with equal answers."""
    rows = "".join(f'"{text}",{label}\n' for text, label in zip(TEXTS * 4, ("bad", "good", "bad") * 4, strict=True))
    (tmp_path / "train.csv").write_text(f"text,label\n{rows}")
    data = ["--train", tmp_path / "train.csv", "--dev", tmp_path / "train.csv"]
    run("finetune", "own", "--model", saved(kind), *data, "--output", tmp_path / "run", "--epochs", "1", "--device", "cpu")
    assert json.loads((tmp_path / "run" / "best" / "config.json").read_text())["architectures"] == ["BertForSequenceClassification"]
    expected = transformers.pipeline("text-classification", model=str(tmp_path / "run" / "best"), top_k=None)(list(TEXTS))
    same(pipeline("text-classification", tmp_path / "run")(list(TEXTS), top_k=None), expected, 1e-5)


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        case(task, kind, form="no architectures, weights that fit two heads", where="Python", outcome="exact")
        for task, kind in (("text-classification", "BertForSequenceClassification"), ("token-classification", "BertForTokenClassification"))
    ],
)
def test_the_pipeline_decides_between_two_heads(task: str, kind: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pooler and `classifier` fit both; the pipeline says which, `predict` asks for it."""
    torch.manual_seed(17)
    shape = {name: value for name, value in SHAPE.items() if name != "embedding_size"}
    transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=len(vocabulary()), **shape)).eval().save_pretrained(tmp_path / "m")
    load_tokenizer(checkpoints()["vocab"]).save(tmp_path / "m")
    values = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps({key: value for key, value in values.items() if key != "architectures"}))
    options = {"ignore_labels": []} if task == "token-classification" else {"top_k": None}
    expected = transformers.pipeline(task, model=str(tmp_path / "m"), **options)(list(TEXTS))
    same(pipeline(task, tmp_path / "m")(list(TEXTS), **options), expected, 1e-5)
    assert cli.main(["predict", str(tmp_path / "m"), str(texts(tmp_path))]) == 2
    assert "architectures" in capsys.readouterr().err
