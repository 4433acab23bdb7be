"""`electra evaluate` of a file of predictions: the numbers of the official scripts, written again here; and what is refused."""

from __future__ import annotations

import collections
import json
import random
import re
import string
from pathlib import Path
from typing import Any

import pytest
from conformance import case, conforms

from electra import evaluate
from electra.cli import main
from electra.errors import UserError

# ---- the official scripts (evaluate-v1.1.py, evaluate-v2.0.py, cmrc2018_evaluate.py), written again ----


def normalize(s: str) -> str:
    s = "".join(ch for ch in s.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s).split())


def f1_of(gold: str, predicted: str, version: int) -> float:
    g, p = normalize(gold).split(), normalize(predicted).split()
    same = sum((collections.Counter(g) & collections.Counter(p)).values())
    if version == 2 and (not g or not p):
        return float(g == p)
    return 2 * (same / len(p)) * (same / len(g)) / (same / len(p) + same / len(g)) if same else 0.0


def questions(data: dict[str, Any]) -> list[dict[str, Any]]:
    return [qa for article in data["data"] for paragraph in article["paragraphs"] for qa in paragraph["qas"]]


def official_1(data: dict[str, Any], predictions: dict[str, str]) -> dict[str, float]:
    f1 = exact = total = 0.0
    for qa in questions(data):
        total += 1
        if qa["id"] not in predictions:
            continue
        gold, found = [answer["text"] for answer in qa["answers"]], predictions[qa["id"]]
        exact += max(normalize(text) == normalize(found) for text in gold)
        f1 += max(f1_of(text, found, 1) for text in gold)
    return {"exact_match": exact / total, "f1": f1 / total}


def official_2(data: dict[str, Any], preds: dict[str, str], na: dict[str, float] | None, limit: float = 1.0) -> dict[str, float]:
    has = {qa["id"]: bool(qa["answers"]) for qa in questions(data)}
    raw: dict[str, dict[str, float]] = {"exact_match": {}, "f1": {}}
    for qa in questions(data):
        gold = [answer["text"] for answer in qa["answers"] if normalize(answer["text"])] or [""]
        raw["exact_match"][qa["id"]] = float(max(normalize(text) == normalize(preds[qa["id"]]) for text in gold))
        raw["f1"][qa["id"]] = max(f1_of(text, preds[qa["id"]], 2) for text in gold)
    odds = {name: 0.0 for name in preds} if na is None else na
    out: dict[str, float] = {}
    for name, scores in raw.items():
        kept = {key: (float(not has[key]) if odds[key] > limit else value) for key, value in scores.items()}
        out[name] = sum(kept.values()) / len(kept)
        out[f"{name}_has_answer"] = sum(kept[key] for key in kept if has[key]) / sum(has.values())
        if name == "f1":
            out["accuracy_no_answer"] = sum(kept[key] for key in kept if not has[key]) / (len(has) - sum(has.values()))
        if na is not None:
            current = best = float(sum(not value for value in has.values()))
            threshold = 0.0
            for key in sorted(na, key=lambda k: na[k]):
                if key not in scores:
                    continue
                current += scores[key] if has[key] else (-1 if preds[key] else 0)
                if current > best:
                    best, threshold = current, na[key]
            out |= {f"best_{name}": best / len(scores), f"best_{name}_threshold": threshold}
    return out


TEXTS = ["the Old city", "Old city!", "A", "river, river", "the river of the city", "3.5%", "U.S.", "naïve"]


def squad(rng: random.Random, *, unanswerable: bool = False, count: int = 40) -> dict[str, Any]:
    context, out = " ".join(TEXTS), []
    for i in range(count):
        texts = [] if unanswerable and i % 3 == 0 else rng.sample(TEXTS, rng.choice([1, 2, 3]))
        question: dict[str, Any] = {"id": f"q{i}", "question": "?", "answers": [{"text": t, "answer_start": context.index(t)} for t in texts]}
        out.append(question | ({"is_impossible": not texts} if unanswerable else {}))
    return {"version": "x", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": out}]}]}


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("missing", [0, 5])
def test_squad_1(missing: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(1)
    data = squad(rng)
    predictions = {qa["id"]: rng.choice([*TEXTS, ""]) for qa in questions(data)[missing:]} | {"other": "x"}
    dev, file = write(tmp_path / "dev.json", data), write(tmp_path / "predictions.json", predictions)
    # Both spellings.
    for words in ([str(file), "--task", "squad"], ["squad", "--predictions", str(file)]):
        assert main(["evaluate", *words, "--data", str(dev), "--json"]) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out) == pytest.approx(official_1(data, predictions))
        assert f"{40 - missing} of 40 questions have a prediction" in printed.err and "1 predictions of other questions are ignored" in printed.err
        assert ("count as wrong" in printed.err) == bool(missing)


@pytest.mark.parametrize("scale", [None, 1.0, 4.0], ids=["alone", "probabilities", "odds"])
def test_squad_2(scale: float | None, tmp_path: Path) -> None:
    rng = random.Random(2)
    data = squad(rng, unanswerable=True)
    predictions = {qa["id"]: rng.choice([*TEXTS, ""]) for qa in questions(data)}
    # In another order than the questions, with ties, by which the official search depends on the file's order.
    names = rng.sample(sorted(predictions), len(predictions))
    numbers = None if scale is None else {"other": 0.1} | {name: round(rng.random(), 1) * scale for name in names}
    arguments: dict[str, Any] = {"task": "squad2", "data": str(write(tmp_path / "dev.json", data))}
    file = write(tmp_path / "predictions.json", predictions)
    if numbers is not None:
        arguments["na_probs"] = write(tmp_path / "na.json", numbers)
    assert dict(evaluate(file, **arguments).metrics) == pytest.approx(official_2(data, predictions, numbers))
    if scale == 4.0:
        assert dict(evaluate(file, **arguments, na_threshold=2.5).metrics) == pytest.approx(official_2(data, predictions, numbers, 2.5))


def test_ties_are_taken_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    """The official search passes over questions of equal numbers one by one: what it finds depends on which comes first."""
    data = squad(random.Random(2), unanswerable=True, count=2)
    predictions = {"q0": "wrong", "q1": questions(data)[1]["answers"][0]["text"]}
    dev, file = write(tmp_path / "dev.json", data), write(tmp_path / "p.json", predictions)
    for number, (names, best) in enumerate(((("q1", "q0"), 1.0), (("q0", "q1"), 0.5))):
        numbers = dict.fromkeys(names, 0.5)
        found = evaluate(file, task="squad2", data=str(dev), na_probs=write(tmp_path / f"na{number}.json", numbers)).metrics
        assert found == pytest.approx(official_2(data, predictions, numbers)) and found["best_f1"] == best


def test_cmrc(tmp_path: Path) -> None:
    """Without a prediction a question counts as wrong; the rules of the texts are those of `test_question_metrics`."""
    qas = [{"id": f"D{i}", "question": "?", "answers": [{"text": t, "answer_start": 0}]} for i, t in enumerate(["北京大学", "北京", "大学"])]
    data = {"version": "x", "data": [{"id": "D", "paragraphs": [{"id": "D", "context": "北京大学", "qas": qas}]}]}
    file = write(tmp_path / "p.json", {"D0": "在北京大学", "D1": "北京。"})
    found = evaluate(file, task="cmrc2018", data=str(write(tmp_path / "dev.json", data)))
    assert found.metrics == pytest.approx({"exact_match": 1 / 3, "f1": (8 / 9 + 1) / 3}) and found.num_examples == 3


@pytest.mark.realdata
def test_real_questions(data_root: Path, tmp_path: Path) -> None:
    """SQuAD 1.1 and XQuAD (by the same script), answered by the last annotator or the first words of the context."""
    for name in ("squad/dev-v1.1.json", next(str(p.relative_to(data_root)) for p in sorted((data_root / "xquad").glob("*.json")))):
        data = json.loads((data_root / name).read_text(encoding="utf-8"))
        data["data"] = data["data"][:4]
        predictions = {qa["id"]: qa["answers"][-1]["text"] if i % 3 else "the first words" for i, qa in enumerate(questions(data))}
        file = write(tmp_path / "p.json", predictions)
        found = evaluate(file, task="squad", data=str(write(tmp_path / "dev.json", data)))
        assert dict(found.metrics) == pytest.approx(official_1(data, predictions)) and 0.5 < found.metrics["f1"] < 1


WRONG = [
    ({"q0": [{"text": "a", "probability": 1.0}]}, "squad", "nbest_predictions.json; give predictions.json", "n-best predictions of SQuAD"),
    ({"q0": 3}, "squad", "question q0 has 3, expected a text", "predictions of SQuAD with numbers"),
    ([{"id": "q0"}], "squad", "'id' and 'prediction_text'", "predictions of SQuAD, a list without texts"),
    ({"zz": "a"}, "squad", "none of its 1 ids", "predictions of other questions"),
    ({"q1": ""}, "squad2", "39 questions have no prediction (first: q0)", "missing predictions of SQuAD 2.0"),
]


@pytest.mark.parametrize(
    ("content", "task", "message"),
    [case(content, task, message, form=form, where="evaluate", outcome="refused", section="tables") for content, task, message, form in WRONG],
)
def test_what_is_refused(content: Any, task: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dev = write(tmp_path / "dev.json", squad(random.Random(3), unanswerable=task == "squad2"))
    file = write(tmp_path / "p.json", content)
    assert main(["evaluate", str(file), "--task", task, "--data", str(dev)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_wrong_flags_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dev, data = tmp_path / "dev.json", squad(random.Random(3))
    file = write(tmp_path / "p.json", {qa["id"]: "A" for qa in questions(data)})
    write(dev, data)
    cases = {
        (str(file),): "name what they answer: --task TASK",
        (str(file), "--task", "squad", "--na-probs", str(file)): "use --task squad2",
        (str(file), "--task", "squad", "--report", "r"): "--report and --predictions are of a model",
        ("squad", "--predictions", str(tmp_path / "none.json")): "none.json",
        ("shipped:sentiment", "--task", "sst2", "--na-probs", str(file)): "--na-probs is for a file of predictions",
    }
    for words, message in cases.items():
        assert main(["evaluate", *words, "--data", str(dev)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error


# ---- classes, numbers and tags ----


def csv(rows: list[list[str]], separator: str = ",") -> str:
    return "".join(separator.join(row) + "\n" for row in rows)


FORMS = [
    ("p.txt", "1\n0\n1\n1\n", "predictions, a label a line"),
    ("p.csv", csv([["prediction"], ["1"], ["0"], ["1"], ["1"]]), "predictions in csv, in order"),
    ("p.tsv", csv([["index", "prediction"], ["3", "1"], ["0", "1"], ["1", "0"], ["2", "1"]], "\t"), "predictions as submitted to GLUE"),
    ("p.csv", csv([["id", "label"], ["dev-1", "0"], ["dev-3", "1.0"], ["dev-0", "1"], ["dev-2", "1"]], ";"), "predictions in csv, by id"),
    ("p.jsonl", "".join(json.dumps({"id": f"dev-{i}", "label": "?", "prediction": p}) + "\n" for i, p in enumerate("1011")), "predictions.jsonl"),
]


@pytest.mark.parametrize(
    ("name", "content"), [case(name, content, form=form, where="evaluate", outcome="exact", section="tables") for name, content, form in FORMS]
)
def test_classes(name: str, content: str, tmp_path: Path) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    (tmp_path / "dev.csv").write_text("text,label\na,1\nb,1\nc,0\nd,1\n")
    (tmp_path / name).write_text(content)
    found = evaluate(tmp_path / name, task="own", data=str(tmp_path / "dev.csv")).metrics
    gold, predicted = [1, 1, 0, 1], [1, 0, 1, 1]
    assert found == pytest.approx({"accuracy": 0.5, "macro_f1": metrics.f1_score(gold, predicted, average="macro")})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prediction\n1\n0\n", "2 predictions of 4 examples"),
        ("id,prediction\n0,1\n1,1\n2,1\n2,1\n", "id 2 occurs twice"),
        ("id,prediction\n0,1\n1,1\n2,1\n9,1\n", "1 examples have no prediction (first: id 3)"),
        ("score\n1\n0\n1\n1\n", "no column 'prediction' (columns: score)"),
        ("prediction\n1\n0\n1\nyes\n", "example 4 has the prediction 'yes'; known: 0, 1"),
    ],
)
def test_classes_that_do_not_fit(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "dev.csv").write_text("text,label\na,1\nb,1\nc,0\nd,1\n")
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(UserError, match=re.escape(message)):
        evaluate(tmp_path / "p.csv", task="own", data=str(tmp_path / "dev.csv"))


def test_predict_writes_its_answers_next_to_the_label(tmp_path: Path) -> None:
    """The column of the labels is not taken for that of the predictions."""
    (tmp_path / "dev.csv").write_text("text,label\na,1\nb,1\nc,0\nd,1\n")
    (tmp_path / "p.csv").write_text("text,label,predicted_label,predicted_probability\na,1,0,0.9\nb,1,1,0.9\nc,0,0,0.9\nd,1,0,0.9\n")
    assert evaluate(tmp_path / "p.csv", task="own", data=str(tmp_path / "dev.csv")).metrics["accuracy"] == 0.5


def test_predictions_may_have_the_names_of_the_classes(tmp_path: Path) -> None:
    """As `predict` writes them; another name is refused."""
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\na\t1\nb\t1\nc\t0\nd\t1\n")
    (tmp_path / "p.csv").write_text("sentence,label,predicted_label\na,1,positive\nb,1,Negative\nc,0,neg\nd,1,1\n")
    assert evaluate(tmp_path / "p.csv", task="sst2", data=str(tmp_path / "dev.tsv")).metrics["accuracy"] == 0.75
    (tmp_path / "p.csv").write_text("prediction\npositive\nnegative\nneutral\n1\n")
    with pytest.raises(UserError, match="example 3 has the prediction 'neutral'; known: 0, 1"):
        evaluate(tmp_path / "p.csv", task="sst2", data=str(tmp_path / "dev.tsv"))


def test_a_tables_own_numbers_are_no_places(tmp_path: Path) -> None:
    """Rows that pandas shuffled keep their old index: predictions are joined by it where both files have it, else in the order of the file."""
    rows = [(2, "a", "x"), (0, "b", "y"), (1, "c", "x")]
    (tmp_path / "with.csv").write_text("index,text,label\n" + "".join(f"{i},{text},{label}\n" for i, text, label in rows))
    (tmp_path / "without.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for _, text, label in rows))
    (tmp_path / "p.csv").write_text("index,text,prediction\n" + "".join(f"{i},{text},{label}\n" for i, text, label in rows))
    (tmp_path / "q.csv").write_text("index,text,prediction\n" + "".join(f"{i},{text},{label}\n" for i, text, label in sorted(rows)))
    for predictions, data in (("p", "with"), ("q", "with"), ("p", "without")):
        assert evaluate(tmp_path / f"{predictions}.csv", task="own", data=str(tmp_path / f"{data}.csv")).metrics["accuracy"] == 1.0


def test_predictions_are_joined_by_the_ids_that_they_have(tmp_path: Path) -> None:
    """Those of electra (dev-N) where the data has ids of its own; else the data's, in any column; else numbers, whatever other columns there are."""
    gold = ["x", "y", "x", "y"]
    (tmp_path / "dev.csv").write_text("id,idx,text,label\n" + "".join(f"a{i},{9 - i},t{i},{label}\n" for i, label in enumerate(gold)))
    for name, ids in (("id", [f"dev-{i}" for i in range(4)]), ("id", [f"a{i}" for i in range(4)]), ("idx", [9 - i for i in range(4)])):
        rows = [f"{key},{label},0.5\n" for key, label in zip(ids, gold, strict=True)]
        (tmp_path / "p.csv").write_text(f"{name},prediction,score\n" + "".join(reversed(rows)))
        assert evaluate(tmp_path / "p.csv", task="own", data=str(tmp_path / "dev.csv")).metrics["accuracy"] == 1.0
    (tmp_path / "plain.csv").write_text("text,label\n" + "".join(f"t{i},{label}\n" for i, label in enumerate(gold)))
    (tmp_path / "p.csv").write_text("idx,prediction,score\n" + "".join(f"{i},{gold[i]},0.5\n" for i in (3, 1, 2, 0)))
    assert evaluate(tmp_path / "p.csv", task="own", data=str(tmp_path / "plain.csv")).metrics["accuracy"] == 1.0


def test_many_whole_numbers_are_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dev.csv").write_text("text,label\n" + "".join(f"t,{i}\n" for i in range(12)))
    (tmp_path / "p.txt").write_text("".join(f"{i + 1}\n" for i in range(12)))
    found = evaluate(tmp_path / "p.txt", task="own", data=str(tmp_path / "dev.csv")).metrics
    assert found["root_mean_squared_error"] == 1.0 and "compared as numbers" in capsys.readouterr().err


def test_a_class_that_only_the_predictions_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stars: whole numbers stay classes, and a class without an example in the data is a wrong answer, as scikit-learn scores it."""
    metrics = pytest.importorskip("sklearn.metrics")
    gold, predicted = [1, 2, 4, 5, 1, 2], [1, 3, 4, 5, 1, 2]
    (tmp_path / "dev.csv").write_text("text,label\n" + "".join(f"t,{label}\n" for label in gold))
    (tmp_path / "p.txt").write_text("".join(f"{label}\n" for label in predicted))
    found = evaluate(tmp_path / "p.txt", task="own", data=str(tmp_path / "dev.csv")).metrics
    assert found["accuracy"] == pytest.approx(5 / 6) and found["macro_f1"] == pytest.approx(metrics.f1_score(gold, predicted, average="macro"))
    assert "no example of the data has the predicted label 3" in capsys.readouterr().err
    (tmp_path / "p.txt").write_text("one\ntwo\nfour\nfive\none\ntwo\n")
    with pytest.raises(UserError, match="example 1 has the prediction 'one'; known: 1, 2, 4, 5"):
        evaluate(tmp_path / "p.txt", task="own", data=str(tmp_path / "dev.csv"))


@pytest.mark.parametrize("form", ["jsonl", "csv", "csv of predict"])
def test_several_labels(form: str, tmp_path: Path) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    gold, predicted = [["rude", "funny"], [], ["rude"]], [["funny", "rude"], ["rude"], ["rude"]]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps({"text": "t", "label": labels}) + "\n" for labels in gold))
    if form == "jsonl":
        (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prediction": labels}) + "\n" for labels in predicted))
        options = {}
    elif form == "csv":
        (tmp_path / "p.csv").write_text("prediction\n" + "".join("|".join(labels) + "\n" for labels in predicted))
        options = {"label_separator": "|"}
    else:  # a list in a cell, next to the text
        cells = ['"' + json.dumps(labels).replace('"', '""') + '"' for labels in predicted]
        (tmp_path / "p.csv").write_text("text,label\n" + "".join(f"t,{cell}\n" for cell in cells))
        options = {}
    found = evaluate(tmp_path / f"p.{form.split()[0]}", task="own", data=str(tmp_path / "dev.jsonl"), **options).metrics
    table = [[[int(name in labels) for name in ("funny", "rude")] for labels in rows] for rows in (gold, predicted)]
    assert found["micro_f1"] == pytest.approx(metrics.f1_score(*table, average="micro")) and found["subset_accuracy"] == pytest.approx(2 / 3)


def test_numbers(tmp_path: Path) -> None:
    (tmp_path / "dev.csv").write_text("text,label\na,1.5\nb,2.5\nc,4.0\n")
    (tmp_path / "p.txt").write_text("1.0\n3\n3.5\n")
    found = evaluate(tmp_path / "p.txt", task="own", data=str(tmp_path / "dev.csv")).metrics
    assert found["root_mean_squared_error"] == pytest.approx(0.5) and 0.9 < found["pearson"] < 1


@conforms(form="tagged words with predicted tags in the last column", where="evaluate", outcome="exact", section="tables")
@pytest.mark.parametrize("form", ["columns", "jsonl", "jsonl of predict"])
def test_tags(form: str, tmp_path: Path) -> None:
    seqeval = pytest.importorskip("seqeval.metrics")
    words = [["Ada", "Lovelace", "was", "here"], ["in", "London"]]
    gold = [["B-PER", "I-PER", "O", "O"], ["O", "B-LOC"]]
    predicted = [["B-PER", "O", "O", "O"], ["O", "B-LOC"]]
    lines = ["\n".join(f"{w} {g} {p}" for w, g, p in zip(*rows, strict=True)) for rows in zip(words, gold, predicted, strict=True)]
    (tmp_path / "dev.txt").write_text("\n\n".join("\n".join(line.rpartition(" ")[0] for line in one.split("\n")) for one in lines) + "\n")
    file = tmp_path / ("p.txt" if form == "columns" else "p.jsonl")
    rows: list[dict[str, Any]] = [{"id": f"dev-{i}", "label": g, "prediction": p} for i, (g, p) in enumerate(zip(gold, predicted, strict=True))]
    if form == "jsonl of predict":
        rows = [{"words": [{"word": w, "tag": p} for w, p in zip(*both, strict=True)]} for both in zip(words, predicted, strict=True)]
    file.write_text("\n\n".join(lines) + "\n" if form == "columns" else "".join(json.dumps(row) + "\n" for row in rows))
    found = evaluate(file, task="tagging", data=str(tmp_path / "dev.txt"), per_class=True).metrics
    assert found["f1"] == pytest.approx(seqeval.f1_score(gold, predicted)) and found["PER_f1"] == 0.0
    if form != "jsonl":
        file.write_text(file.read_text().replace("London", "Paris"))
        with pytest.raises(UserError, match=r"sentence 2 is (?:'in Paris', |not )the data's 'in London'"):
            evaluate(file, task="tagging", data=str(tmp_path / "dev.txt"))


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_answers_as_predict_writes_them(form: str, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    data = squad(random.Random(1))
    predictions = {qa["id"]: random.Random(2).choice([*TEXTS, ""]) for qa in questions(data)}
    write(tmp_path / "dev.json", data)
    rows = [{"id": name, "question": "q", "answer": text, "probability": 0.5} for name, text in predictions.items()]
    table = pandas.DataFrame(rows)
    made = {"jsonl": lambda path: table.to_json(path, orient="records", lines=True), "csv": lambda path: table.to_csv(path, index=False)}
    made.get(form, table.to_parquet)(tmp_path / f"p.{form}")
    found = evaluate(tmp_path / f"p.{form}", task="squad", data=str(tmp_path / "dev.json")).metrics
    assert found == pytest.approx(official_1(data, predictions))


def test_labels_of_other_data_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").write_text('{"text": "t", "label": ["rude"]}\n{"text": "t", "label": []}\n')
    (tmp_path / "p.jsonl").write_text('{"prediction": ["sport"]}\n{"prediction": ["news"]}\n')
    with pytest.raises(UserError, match="the predicted labels are news, sport, those of the data rude; give the right file"):
        evaluate(tmp_path / "p.jsonl", task="own", data=str(tmp_path / "dev.jsonl"))
