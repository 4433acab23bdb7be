"""`electra finetune --few-shot`: draws, pairs, a checkpoint that is scikit-learn's regression on vectors, methods on the same draws, refusals."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tiny_models import checkpoints
from toy_glue import trials_in_process

from electra.cli import main
from electra.contracts import Example, Features, Head
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.finetuning import few_shot
from electra.inference.predictor import load
from electra.train.run_log import read_metrics

WORDS = {"weather": "rain snow wind storm".split(), "food": "meal chef cook bread".split(), "story": "film book song poem".split()}
QUICK = ("--device", "cpu", "--threads", "1", "--max-length", "16")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.csv with 12, 12 and 3 examples of three classes, dev.csv with 8 of each; a word gives the class away."""
    folder, rng = tmp_path_factory.mktemp("few"), random.Random(2)
    for name, counts in (("train", (12, 12, 3)), ("dev", (8, 8, 8))):
        rows = [
            (f"{' '.join(rng.choices('the a was is of it'.split(), k=4))} {rng.choice(words)}", label)
            for (label, words), count in zip(WORDS.items(), counts, strict=True)
            for _ in range(count)
        ]
        rng.shuffle(rows)
        (folder / f"{name}.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return folder


def tune(data: Path, output: Path, *flags: str, train: str = "train.csv", count: int = 3) -> int:
    words = ["finetune", "own", "--train", data / train, "--dev", data / "dev.csv", "--model", checkpoints()["lone"], "--output", output]
    return main([*map(str, words), *QUICK, "--few-shot", str(count), *flags])


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def table(path: Path) -> tuple[list[str], list[str]]:
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    return [text for text, _ in rows], [label for _, label in rows]


# ---- draws and pairs ----

HEAD = Head(kind="classification", labels=("a", "b", "c"))
EXAMPLES = [Example(id=str(i), text=f"text {i}", label="aab"[i % 3] if i < 60 else "c") for i in range(64)]


def test_a_draw_has_its_number_of_each_class() -> None:
    drawn = few_shot.draw(EXAMPLES, HEAD, 8, 1)
    assert Counter(example.label for example in drawn) == {"a": 8, "b": 8, "c": 4} and len({example.id for example in drawn}) == 20
    assert drawn == few_shot.draw(EXAMPLES, HEAD, 8, 1) != few_shot.draw(EXAMPLES, HEAD, 8, 2)
    assert {example.id for example in few_shot.draw(EXAMPLES, HEAD, 5, 1)} < {example.id for example in drawn}
    chosen = Counter(example.id for seed in range(400) for example in few_shot.draw(EXAMPLES, HEAD, 10, seed))
    # Each of 40 examples of 'a' is drawn by a quarter of the seeds: four standard deviations.
    assert all(abs(chosen[example.id] - 100) < 4 * np.sqrt(400 * 0.25 * 0.75) for example in EXAMPLES if example.label == "a")


def test_a_class_without_examples_is_refused_and_a_small_one_is_named() -> None:
    with pytest.raises(UserError, match="the training set has no example of the class 'c'"):
        few_shot.draw(EXAMPLES[:60], HEAD, 8, 1)
    (first, second) = few_shot.lines("own", EXAMPLES, HEAD, 8)
    assert "each seed draws 8 of the training examples of each of 3 classes, 64 in all" in first
    assert second == "own: fewer than 8 training examples of 1 of 3 classes, all of them are used: 'c' 4"


def test_every_text_begins_twenty_pairs_of_both_kinds() -> None:
    texts = [Features(ids=[i], segments=[0], example=i, label=label) for i, label in enumerate([0, 0, 0, 1, 1, 2])]
    found = few_shot.pairs(texts, 1)
    assert len(found) == 2 * 20 * len(texts) and [pair.example for pair in found] == list(range(len(found)))
    labels, pairs = [text.label for text in texts], [(pair.ids[0], pair.others[0].ids[0], pair.label) for pair in found]
    assert all((labels[first] == labels[second]) == similarity for first, second, similarity in pairs)
    assert Counter((first, similarity) for first, _, similarity in pairs) == {(i, kind): 20 for i in range(6) for kind in (0.0, 1.0)}
    # A text is paired with itself only where its class has no other.
    assert {first for first, second, _ in pairs if first == second} == {5}
    assert {second for first, second, kind in pairs if first == 0 and kind} == {1, 2}
    assert {second for first, second, kind in pairs if first == 0 and not kind} == {3, 4, 5}
    assert pairs != [(pair.ids[0], pair.others[0].ids[0], pair.label) for pair in few_shot.pairs(texts, 2)]


# ---- equality with transformers, PyTorch and scikit-learn ----


def mean_vectors(model: Any, tokenizer: Any, texts: list[str]) -> torch.Tensor:
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=16, return_tensors="pt")
    mask = inputs["attention_mask"][..., None].float()
    return (model(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1)


def opened(folder: Path) -> tuple[Any, Any]:
    import transformers

    return transformers.ElectraModel.from_pretrained(folder).eval(), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(("method", "classes"), [("contrastive", 3), ("frozen", 3), ("contrastive", 2)])
def test_the_checkpoint_is_the_regression(method: str, classes: int, data: Path, tmp_path: Path) -> None:
    """All training examples are drawn, so that the regression can be fitted again, on the vectors of `transformers`."""
    texts, labels = table(data / "train.csv")
    kept = [(text, label) for text, label in zip(texts, labels, strict=True) if classes == 3 or label != "story"]
    dev = [row for row in zip(*table(data / "dev.csv"), strict=True) if classes == 3 or row[1] != "story"]
    for name, rows in (("train", kept), ("dev", dev)):
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    assert tune(tmp_path, tmp_path / "run", "--few-shot-method", method, "--learning-rate", "1e-4", count=12) == 0
    best = tmp_path / "run" / "best"
    model, tokenizer = opened(best)
    with torch.no_grad():
        train, test = (mean_vectors(model, tokenizer, [text for text, _ in rows]).numpy() for rows in (kept, dev))
        start = mean_vectors(*opened(checkpoints()["lone"]), [text for text, _ in dev]).numpy()
    assert np.allclose(test, start, atol=1e-5) == (method == "frozen")
    theirs = LogisticRegression(tol=1e-8, max_iter=10_000).fit(train.astype(np.float64), [label for _, label in kept])
    expected = theirs.predict_proba(test)
    predictor = load(str(best))
    answers = predictor.predict([text for text, _ in dev])
    found = np.array([[answer.probabilities[name] for name in theirs.classes_] for answer in answers])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    scores = read(tmp_path / "run" / "scores.json")
    assert scores["scores"]["accuracy"]["mean"] == pytest.approx(theirs.score(test, [label for _, label in dev]))
    assert scores["train_examples"] == len(kept) and scores["preset"] == "few-shot"
    rows = [json.loads(line) for line in (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()]
    assert [row["prediction"] for row in rows] == theirs.predict(test).tolist()


def test_the_recipe_in_plain_pytorch(data: Path, tmp_path: Path) -> None:
    """Three steps on all pairs at once without dropout, by AdamW and the squared error of cosines."""
    rows = list(zip(*table(data / "train.csv"), strict=True))
    chosen = [next(row for row in rows if row[1] == label) for label in ("food", "weather") for _ in (0,)]
    chosen += [next(row for row in reversed(rows) if row[1] == label) for label in ("food", "weather")]
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in chosen))
    (tmp_path / "dev.csv").write_text((tmp_path / "train.csv").read_text())
    flags = (
        "--dropout",
        "0",
        "--batch-size",
        "160",
        "--num-train-steps",
        "3",
        "--learning-rate",
        "1e-3",
        "--warmup-fraction",
        "0",
        "--log-every",
        "1",
    )
    assert tune(tmp_path, tmp_path / "run", *flags, count=2) == 0
    rates = [line["learning_rate"] for line in read_metrics(tmp_path / "run" / "seed-1" / "metrics.jsonl") if line["kind"] == "train"]
    losses = [line["loss"] for line in read_metrics(tmp_path / "run" / "seed-1" / "metrics.jsonl") if line["kind"] == "train"]
    model, tokenizer = opened(checkpoints()["lone"])
    ids = load_tokenizer(checkpoints()["lone"]).encode([text for text, _ in chosen])
    features = [Features(ids=row, segments=[0] * len(row), example=i, label=int(chosen[i][1] == "weather")) for i, row in enumerate(ids)]
    pairs = few_shot.pairs(features, 1)
    first, second = [pair.ids for pair in pairs], [pair.others[0].ids for pair in pairs]
    order = [row.tolist() if isinstance(row, np.ndarray) else list(row) for row in ids]
    similarity = torch.tensor([pair.label for pair in pairs])
    without = ("bias", "LayerNorm.weight")
    groups = [
        {"params": [p for name, p in model.named_parameters() if name.endswith(without) == plain], "weight_decay": 0.0 if plain else 0.01}
        for plain in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, eps=1e-6)
    for rate, loss in zip(rates, losses, strict=True):
        vectors = mean_vectors(model, tokenizer, [text for text, _ in chosen])
        a, b = (vectors[[order.index(list(row)) for row in rows]] for rows in (first, second))
        value = torch.nn.functional.mse_loss(torch.cosine_similarity(a, b), similarity)
        assert loss == pytest.approx(float(value.detach()), abs=2e-4)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    texts = table(data / "dev.csv")[0]
    trained, start = opened(tmp_path / "run" / "best")[0], opened(checkpoints()["lone"])[0]
    with torch.no_grad():
        ours, theirs, before = (mean_vectors(each, tokenizer, texts) for each in (trained, model, start))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
    assert float((ours - before).abs().max()) > 2e-2


# ---- runs ----


def test_all_commands_read_the_result(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(data, tmp_path / "run", "--seeds", "2", count=6) == 0
    printed = capsys.readouterr()
    assert "own: fewer than 6 training examples of 1 of 3 classes, all of them are used: 'story' 3" in printed.err and "(sd " in printed.out
    scores, best = read(tmp_path / "run" / "scores.json"), tmp_path / "run" / "best"
    assert len(scores["scores"]["accuracy"]["each"]) == 2 and scores["train_examples"] == 15
    assert main(["evaluate", str(tmp_path / "run"), "--task", "own", "--data", str(data / "dev.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(max(scores["scores"]["accuracy"]["each"]))
    assert main(["build", str(tmp_path / "run"), "--target", "onnx", "--output", str(tmp_path / "model.zip")]) == 0
    texts = table(data / "dev.csv")[0]
    ours, built = (load(str(place)).predict(texts) for place in (best, tmp_path / "model.zip"))
    for one, other in zip(ours, built, strict=True):
        assert one.label == other.label and one.probability == pytest.approx(other.probability, abs=1e-4)
    card = (best / "README.md").read_text()
    assert "at most 6 examples of each class, drawn by the seed" in card and "Preset `few-shot`" in card
    assert main(["finetune", "--resume", str(tmp_path / "run"), "--seeds", "3"]) == 0
    assert read(tmp_path / "run" / "scores.json")["scores"]["accuracy"]["each"][:2] == scores["scores"]["accuracy"]["each"]


def test_methods_learn_from_the_same_draws(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials_in_process(monkeypatch)
    flags = ("--seeds", "2", "--baselines", "--workers", "1")
    assert tune(data, tmp_path / "run", *flags) == 0
    row = read(tmp_path / "run" / "results.json")["tasks"]["own"]
    found = {point["hyper_parameters"]["few_shot_method"]: point for point in row["points"]}
    assert [*found] == ["contrastive", "fine-tune", "frozen"] and all(point["train_examples"] == 9 for point in found.values())
    assert {name: config_of(tmp_path / "run", name)["preset"] for name in found} == {
        "contrastive": "few-shot",
        "fine-tune": "few-shot-fine-tune",
        "frozen": "few-shot",
    }
    texts, labels = table(data / "train.csv")
    examples = [Example(id=str(i), text=text, label=label) for i, (text, label) in enumerate(zip(texts, labels, strict=True))]
    head = Head(kind="classification", labels=("food", "story", "weather"))
    dev_texts, dev_labels = table(data / "dev.csv")
    model, tokenizer = opened(checkpoints()["lone"])
    for place, seed in enumerate((1, 2)):
        drawn = few_shot.draw(examples, head, 3, seed)
        with torch.no_grad():
            train, test = (mean_vectors(model, tokenizer, part).numpy() for part in ([example.text for example in drawn], dev_texts))
        theirs = LogisticRegression(tol=1e-8, max_iter=10_000).fit(train.astype(np.float64), [example.label for example in drawn])
        assert found["frozen"]["score"]["each"][place] == pytest.approx(theirs.score(test, dev_labels))
    tfidf = row["baselines"]["TF-IDF"]
    each = tfidf["draws"]["accuracy"]["each"]
    assert (
        len(each) == 2
        and tfidf["accuracy"] == pytest.approx(np.mean(each))
        and tfidf["draws"]["accuracy"]["sd"] == pytest.approx(np.std(each, ddof=1))
    )
    text = (tmp_path / "run" / "table.md").read_text()
    assert "3 training examples of each class, drawn by the seed" in text and f"TF-IDF {100 * tfidf['accuracy']:.2f} (sd " in text
    assert f"| own | without a network: TF-IDF | accuracy | {100 * tfidf['accuracy']:.2f} | {100 * np.std(each, ddof=1):.2f} | 2 |" in text
    assert tune(data, tmp_path / "run", "--seeds", "3", "--baselines", "--workers", "1", "--resume") == 0
    again = read(tmp_path / "run" / "results.json")["tasks"]["own"]
    assert len(again["baselines"]["TF-IDF"]["draws"]["accuracy"]["each"]) == 3 and again["points"][0]["seeds"] == [1, 2, 3]


def config_of(run: Path, method: str) -> dict[str, Any]:
    import tomllib

    return tomllib.loads((run / "search" / f"few_shot_method-{method}" / "seed-1" / "config.toml").read_text())


# ---- refusals ----


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--kind", "multilabel"), "--few-shot is for tasks with one of several classes for each text; own: its head is of kind multilabel"),
        (("--max-train-examples", "5"), "--max-train-examples has no effect with --few-shot 3"),
        (("--calibrate",), "--calibrate has no effect with --few-shot 3"),
        (("--class-weights", "balanced"), "--class-weights has no effect with --few-shot 3"),
        (("--freeze-encoder-epochs", "0.5"), "--freeze-encoder-epochs has no effect with --few-shot 3"),
        (("--teacher", "runs/x"), "--teacher has no effect with --few-shot 3"),
        (("--truncate", "windows"), "--few-shot makes one vector of each text: give --truncate head, tail or head-tail"),
        (("--head", "original"), "--head original: the regression of --few-shot reads the mean of all states"),
        (("--few-shot-method", "linear"), "invalid choice: 'linear' (choose from"),
        (("--few-shot", "1"), "--few-shot 1: expected at least 2"),
    ],
)
def test_what_cannot_work_is_refused(flags: tuple[str, ...], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(data, tmp_path / "run", *flags) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_other_tasks_are_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.tsv").write_text("rain B-X\n\nsnow O\n")
    start = ["--model", str(checkpoints()["lone"]), "--output", str(tmp_path / "run"), *QUICK]
    files = ["--train", str(tmp_path / "train.tsv"), "--dev", str(tmp_path / "train.tsv")]
    assert main(["finetune", "tagging", *files, *start, "--few-shot", "8"]) == 2
    assert "tagging: its head is of kind tagging" in capsys.readouterr().err
    table_files = ["--train", str(data / "train.csv"), "--dev", str(data / "dev.csv")]
    assert main(["finetune", "embed", *table_files, *start, "--few-shot", "8"]) == 2
    assert "embed: its head is of kind embedding" in capsys.readouterr().err
    assert main(["finetune", "own", *table_files, *start, "--few-shot-method", "frozen"]) == 2
    assert "--few-shot-method frozen needs --few-shot" in capsys.readouterr().err
    assert main(["finetune", "sst2+rte", "--data", str(tmp_path), *start, "--few-shot", "8"]) == 2
    assert "--few-shot is for one task" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
