"""Several tasks under one encoder, teachers, early stopping, half precision and accumulation."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import checkpoints, oracle, random_start

from electra import cli
from electra.contracts import Features, Head
from electra.data.task_batches import FeatureStream, TaskMixture, collate_features
from electra.errors import UserError
from electra.finetuning.hyperparameters import mixing_power

torch = pytest.importorskip("torch")
SIZES = {"embedding_size": 16, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, tiny_vocab: Path) -> Path:
    return random_start(tmp_path_factory.mktemp("start") / "start", tiny_vocab)


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SST-2 (is there a good word?), STS-B (its number), RTE: labels that a word gives away."""
    root, rng = tmp_path_factory.mktemp("glue"), random.Random(3)
    headers = {"SST-2": "sentence\tlabel", "RTE": "sentence1\tsentence2\tlabel", "STS-B": "sentence1\tsentence2\tscore"}
    for name, header in headers.items():
        (root / name).mkdir()
        for split, count in (("train", 96 if name == "SST-2" else 32), ("dev", 30)):
            rows = [header]
            for _ in range(count):
                good = rng.randrange(2)
                text = f"{' '.join(rng.choices('the film story was a of'.split(), k=4))} {'good' if good else 'bad'}"
                row = {"SST-2": f"{text}\t{good}", "RTE": f"{text}\ta film\t{'entailment' if good else 'not_entailment'}"}
                rows.append({**row, "STS-B": f"{text}\ta film\t{4.5 if good else 0.5}"}[name])
            (root / name / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return root


QUICK = ("--batch-size", "16", "--threads", "1", "--device", "cpu", "--max-length", "20", "--layerwise-lr-decay", "1", "--dropout", "0")


def _finetune(task: str, start: Path, glue: Path, output: Path, *more: str) -> int:
    words = ["finetune", task, "--model", str(start), "--data", str(glue), "--output", str(output), *QUICK]
    return cli.main([*words, *(() if "--learning-rate" in more else ("--learning-rate", "2e-3")), *more])


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def _lines(path: Path, kind: str) -> list[dict[str, Any]]:
    return [line for row in path.read_text().splitlines() if (line := json.loads(row))["kind"] == kind]


# ---- several tasks ----


@pytest.fixture(scope="module")
def both(start: Path, glue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("multitask") / "run"
    assert _finetune("sst2+RTE", start, glue, output, "--epochs", "10", "--seeds", "2") == 0
    return output


def test_all_tasks_are_learned_by_one_encoder(both: Path) -> None:
    from safetensors.torch import load_file

    scores = _read(both / "scores.json")
    assert scores["tasks"]["sst2"]["scores"]["accuracy"]["mean"] > 0.9 and scores["tasks"]["rte"]["scores"]["accuracy"]["mean"] > 0.9
    assert scores["tasks"]["sst2"]["train_examples"] == 96 and scores["seed"] == [1, 2]
    each = [np.mean([scores["tasks"][name]["scores"]["accuracy"]["each"][i] for name in ("sst2", "rte")]) for i in (0, 1)]
    assert scores["average"]["each"] == pytest.approx(each)
    weights = {name: load_file(both / "best" / name / "model.safetensors") for name in ("sst2", "rte")}
    shared = [key for key in weights["sst2"] if key.startswith("electra.")]
    assert shared and all(torch.equal(weights["sst2"][key], weights["rte"][key]) for key in shared)
    assert not torch.equal(weights["sst2"]["classifier.dense.weight"], weights["rte"]["classifier.dense.weight"])
    assert "sst2 together" in (both / "best" / "rte" / "README.md").read_text()


def test_each_opens_in_transformers_and_answers_the_same(both: Path, glue: Path) -> None:
    transformers = pytest.importorskip("transformers")
    best = _read(both / "scores.json")["best_seed"]
    for name, folder, labels in (("sst2", "SST-2", ("0", "1")), ("rte", "RTE", ("entailment", "not_entailment"))):
        model = transformers.AutoModelForSequenceClassification.from_pretrained(both / "best" / name).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(both / "best" / name)
        rows = [line.split("\t") for line in (glue / folder / "dev.tsv").read_text().splitlines()[1:]]
        texts = [[row[0] for row in rows], *([[row[1] for row in rows]] if name == "rte" else [])]
        with torch.no_grad():
            p = model(**tokenizer(*texts, padding=True, return_tensors="pt")).logits.softmax(-1)
        said = [json.loads(line) for line in (both / f"predictions-{name}.jsonl").read_text().splitlines()]
        assert [row["prediction"] for row in said] == [labels[int(i)] for i in p.argmax(-1)]
        assert [row["probability"] for row in said] == pytest.approx(p.max(-1).values.tolist(), abs=2e-5)
        assert said == [json.loads(line) for line in (both / f"seed-{best}" / f"predictions-{name}.jsonl").read_text().splitlines()]


def test_an_interrupted_run_goes_on_bit_by_bit(start: Path, glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from electra.tasks import metrics

    more = ("--epochs", "3", "--mixing", "size0.75")
    assert _finetune("rte+stsb", start, glue, tmp_path / "whole", *more) == 0
    correlation = metrics.spearman

    def stop(*values: Any) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return correlation(*values)

    monkeypatch.setattr(metrics, "spearman", stop)
    assert _finetune("rte+stsb", start, glue, tmp_path / "cut", *more) == 128 + signal.SIGTERM
    monkeypatch.undo()
    assert _finetune("rte+stsb", start, glue, tmp_path / "cut", *more, "--resume", "--mixing", "all") == 2
    assert _finetune("rte+stsb", start, glue, tmp_path / "cut", *more, "--resume") == 0
    for name in ("rte", "stsb"):
        whole, cut = ((tmp_path / run / "best" / name / "model.safetensors").read_bytes() for run in ("whole", "cut"))
        assert whole == cut
    assert _read(tmp_path / "cut" / "scores.json")["tasks"]["stsb"]["train_examples"] == 64  # swapped copies, as by itself


def _stream(count: int, seed: int = 1) -> FeatureStream:
    return FeatureStream([Features(ids=[1, 5 + i, 2], segments=[0] * 3, example=i, label=0) for i in range(count)], 4, seed)


def test_an_epoch_holds_every_example_of_every_task_once() -> None:
    mixture = TaskMixture({"a": _stream(40), "b": _stream(13)}, seed=1)
    orders = []
    for _ in range(2):
        seen: Counter[tuple[str, int]] = Counter()
        order = []
        for _ in range(mixture.batches_per_epoch):
            batch = next(mixture)
            order.append(batch.task)
            seen.update((batch.task, int(i)) for i in batch.ids[1::3])
        assert set(seen.values()) == {1} and len(seen) == 53 and order != sorted(order)
        orders.append(order)
    assert orders[0] != orders[1] and Counter(orders[0]) == {"a": 10, "b": 4}


def test_a_power_draws_by_size() -> None:
    mixture = TaskMixture({"a": _stream(400), "b": _stream(25)}, seed=1, power=0.75)
    expected = 400**0.75 / (400**0.75 + 25**0.75)
    assert mixture.shares()["a"] == pytest.approx(expected)
    drawn = Counter(next(mixture).task for _ in range(4000))
    assert drawn["a"] / 4000 == pytest.approx(expected, abs=0.03)


def test_the_mixtures_position_is_restored() -> None:
    for power in (None, 0.5):
        one, two = (TaskMixture({"a": _stream(30), "b": _stream(9)}, seed=2, power=power) for _ in range(2))
        for _ in range(17):
            next(one)
        two.load_state(json.loads(json.dumps(one.state())))
        for _ in range(25):
            left, right = next(one), next(two)
            assert left.task == right.task and torch.equal(left.ids, right.ids)


def test_a_batchs_loss_is_its_tasks_mean() -> None:
    """The gradient of a batch is that of the task by itself; other heads' are zero, not missing."""
    from electra.model.encoder import Encoder, EncoderConfig
    from electra.model.task_models import MultitaskObjective, share_encoder, task_network, task_objective

    torch.manual_seed(0)
    config = EncoderConfig(vocab_size=30, max_position_embeddings=10, dropout=0.0, **SIZES)
    heads = {"a": Head(kind="classification", labels=("x", "y")), "b": Head(kind="tagging", labels=("O", "B"))}
    networks = {name: task_network(Encoder(config), head) for name, head in heads.items()}
    share_encoder(networks)
    objective = MultitaskObjective({name: task_objective(networks[name], heads[name]) for name in heads})
    batches = {
        "a": collate_features([Features(ids=[1, 7, 2], segments=[0] * 3, example=0, label=1)] * 3, [1, 2, 3]),
        "b": collate_features([Features(ids=[1, 7, 8, 2], segments=[0] * 4, example=0, token_labels=[-100, 1, 0, -100])] * 2, [1, 2]),
    }
    for name, batch in batches.items():
        objective.zero_grad()
        output = objective(replace(batch, task=name))
        (output.losses["loss"].total / objective.counts(batch)["loss"]).backward()
        found = {key: value.grad.clone() for key, value in networks[name].named_parameters()}
        assert all((p.grad == 0).all() for other in heads if other != name for p in networks[other].head.parameters())
        objective.zero_grad()
        alone = task_objective(networks[name], heads[name])
        (alone(batch).losses["loss"].total / alone.counts(batch)["loss"]).backward()
        for key, value in networks[name].named_parameters():
            torch.testing.assert_close(found[key], value.grad)


@pytest.mark.parametrize("mixing", ["sized", "size", "size2", "size-1", "0.75"])
def test_wrong_mixtures(mixing: str) -> None:
    with pytest.raises(UserError, match="such as size"):
        mixing_power(mixing)


# ---- early stopping ----


def test_early_stopping_keeps_the_best_evaluation(start: Path, glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from electra.model.huggingface import load_checkpoint
    from electra.tasks import metrics

    told = iter([0.2, 0.6, 0.9, 0.5, 0.9, 0.3, 0.1, 0.1, 0.1])
    weights: list[bytes] = []
    accuracy = metrics.accuracy
    monkeypatch.setattr(metrics, "accuracy", lambda gold, predicted: next(told))
    assert _finetune("sst2", start, glue, tmp_path / "run", "--epochs", "20", "--early-stopping", "3") == 0
    evaluations = _lines(tmp_path / "run" / "seed-1" / "metrics.jsonl", "evaluation")
    # The third is the best (the fifth only equals it), so three more are waited for; six steps an epoch.
    assert [line["accuracy"] for line in evaluations] == [0.2, 0.6, 0.9, 0.5, 0.9, 0.3] and evaluations[-1]["step"] == 36
    scores = _read(tmp_path / "run" / "scores.json")
    assert scores["selected_steps"] == [18] and scores["steps"] == [36] and "optimistic" in scores["selection"]
    assert "optimistic" in (tmp_path / "run" / "best" / "README.md").read_text()
    assert not list((tmp_path / "run" / "seed-1").glob("*.safetensors"))
    # The same run stopped at step 18 by its own schedule has the very weights, and so the very answers.
    monkeypatch.setattr(metrics, "accuracy", accuracy)
    weights.append((tmp_path / "run" / "best" / "model.safetensors").read_bytes())
    more = ("--epochs", "20", "--keep-steps", "18", "--checkpoint-every", "18")
    stopped = iter([0] * 2 + [1])

    def stop_at_the_third(gold: Any, predicted: Any) -> float:
        if next(stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        return accuracy(gold, predicted)

    monkeypatch.setattr(metrics, "accuracy", stop_at_the_third)
    assert _finetune("sst2", start, glue, tmp_path / "same", *more) == 128 + signal.SIGTERM
    # The signal is noted by the next update, so the newest checkpoint is one step on; the third evaluation's own was kept.
    kept = load_checkpoint(tmp_path / "same" / "seed-1" / "checkpoints" / "step-00000018", "classifier").module.state_dict()
    best = load_checkpoint(tmp_path / "run" / "best", "classifier").module.state_dict()
    assert kept.keys() == best.keys() and all(torch.equal(kept[name], best[name]) for name in kept)


def test_early_stopping_survives_an_interruption(start: Path, glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from electra.tasks import metrics

    def told(values: list[float], stop_at: int = -1) -> Any:
        numbered = iter(enumerate(values))

        def accuracy(gold: Any, predicted: Any) -> float:
            number, value = next(numbered)
            if number == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return value

        return accuracy

    more = ("--epochs", "20", "--early-stopping", "3")
    monkeypatch.setattr(metrics, "accuracy", told([0.2, 0.9, 0.5], stop_at=2))
    assert _finetune("sst2", start, glue, tmp_path / "run", *more) == 128 + signal.SIGTERM
    monkeypatch.setattr(metrics, "accuracy", told([0.6, 0.1, 0.9]))
    assert _finetune("sst2", start, glue, tmp_path / "run", *more, "--resume") == 0
    scores = _read(tmp_path / "run" / "scores.json")
    assert scores["selected_steps"] == [12] and scores["steps"] == [30]


def test_several_tasks_stop_early_by_their_average(start: Path, glue: Path, tmp_path: Path) -> None:
    assert _finetune("sst2+rte", start, glue, tmp_path / "run", "--epochs", "60", "--early-stopping", "2") == 0
    found = _read(tmp_path / "run" / "scores.json")
    evaluations = _lines(tmp_path / "run" / "seed-1" / "metrics.jsonl", "evaluation")
    averages = [line["average"] for line in evaluations]
    assert found["steps"][0] < 480 and averages.index(max(averages)) == len(averages) - 3
    assert found["selected_step"] == [evaluations[-3]["step"]] and found["average"]["each"] == [max(averages)]


# ---- a teacher ----


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELECTRA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "teachers"


def test_a_teacher_alone_is_enough(both: Path, start: Path, glue: Path, tmp_path: Path, cache: Path) -> None:
    """Labels turned round and of no weight: the student learns the teacher's, which are right."""
    wrong = tmp_path / "glue" / "SST-2"
    wrong.mkdir(parents=True)
    rows = (glue / "SST-2" / "train.tsv").read_text().splitlines()
    turned = [f"{text}\t{1 - int(label)}" for text, label in (row.split("\t") for row in rows[1:])]
    (wrong / "train.tsv").write_text("\n".join([rows[0], *turned]) + "\n")
    (wrong / "dev.tsv").write_text((glue / "SST-2" / "dev.tsv").read_text())
    more = ("--teacher", str(both / "best" / "sst2"), "--distill-weight", "1", "--epochs", "10")
    assert _finetune("sst2", start, tmp_path / "glue", tmp_path / "run", *more) == 0
    assert _read(tmp_path / "run" / "scores.json")["scores"]["accuracy"]["mean"] > 0.9
    (kept,) = cache.glob("*.npy")
    answers, before = np.load(kept), kept.stat().st_mtime_ns
    said = _probabilities(both / "best" / "sst2", [row.split("\t")[0] for row in turned])
    np.testing.assert_allclose(answers, said, atol=1e-5)
    # Asked a second time, the answers come from the cache: other ones put there are believed.
    np.save(kept, answers[:, ::-1])
    assert _finetune("sst2", start, tmp_path / "glue", tmp_path / "again", *more) == 0
    assert _read(tmp_path / "again" / "scores.json")["scores"]["accuracy"]["mean"] < 0.1 and before


def _probabilities(folder: Path, texts: list[str]) -> Any:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        inputs = transformers.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
        return model(**inputs).logits.softmax(-1).numpy()


def test_unlabelled_texts_are_labelled_by_the_teacher(both: Path, start: Path, glue: Path, tmp_path: Path) -> None:
    few = tmp_path / "glue" / "SST-2"
    few.mkdir(parents=True)
    rows = (glue / "SST-2" / "train.tsv").read_text().splitlines()
    (few / "train.tsv").write_text("\n".join([*rows[:3]]) + "\n")
    (few / "dev.tsv").write_text((glue / "SST-2" / "dev.tsv").read_text())
    (tmp_path / "more.txt").write_text("\n".join(row.split("\t")[0] for row in rows[3:]) + "\n")
    more = ("--teacher", str(both / "best" / "sst2"), "--epochs", "10", "--unlabelled", str(tmp_path / "more.txt"))
    assert _finetune("sst2", start, tmp_path / "glue", tmp_path / "run", *more) == 0
    scores = _read(tmp_path / "run" / "scores.json")
    assert scores["train_examples"] == 96 and scores["scores"]["accuracy"]["mean"] > 0.9


def test_a_regressions_teacher_is_scaled_like_the_labels(start: Path) -> None:
    from electra.contracts import Example
    from electra.data.tokenizer import load_tokenizer
    from electra.finetuning import distillation
    from electra.settings import DistillationSettings, FinetuneSettings
    from electra.tasks.registry import find_task

    teacher = checkpoints()["regression"]
    task, texts = find_task("stsb"), ["the chef cooked the meal", "it was good"]
    examples = [Example(id=f"train-{i}", text=text, text_pair="a film", label=float(i)) for i, text in enumerate(texts)]
    chosen = DistillationSettings(teacher=str(teacher))
    settings = FinetuneSettings(task="stsb", model="m", output=Path("o"), distillation=chosen)
    shown, features = distillation.featurize(task, examples, load_tokenizer(start), task.head([]), settings)
    model = oracle("ElectraForSequenceClassification", "regression")
    for example, feature, text in zip(shown, features, texts, strict=True):
        assert feature.soft_targets == pytest.approx([float(model.logits(text, "a film")[0]) / 5.0], abs=1e-5)
        assert feature.label == pytest.approx(float(str(example.label)) / 5.0)


def test_a_bert_teaches_with_its_own_vocabulary(start: Path, tiny_vocab: Path, tmp_path: Path) -> None:
    from electra.contracts import Example
    from electra.data.tokenizer import load_tokenizer
    from electra.finetuning import distillation
    from electra.settings import DistillationSettings, FinetuneSettings
    from electra.tasks.registry import find_task

    transformers = pytest.importorskip("transformers")
    pieces = tiny_vocab.read_text().splitlines()
    (tmp_path / "vocab.txt").write_text("\n".join([*pieces[:5], *sorted(pieces[5:])]) + "\n")
    shape = {key: SIZES[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")}
    config = transformers.BertConfig(vocab_size=len(pieces), max_position_embeddings=40, initializer_range=0.3, **shape)
    torch.manual_seed(3)
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "bert")
    load_tokenizer(tmp_path / "vocab.txt").save(tmp_path / "bert")
    examples = [Example(id=f"train-{i}", text=text, label="1") for i, text in enumerate(["the chef cooked the meal", "it was good"])]
    chosen = DistillationSettings(teacher=str(tmp_path / "bert"))
    settings = FinetuneSettings(task="sst2", model="m", output=Path("o"), distillation=chosen)
    task = find_task("sst2")
    _, features = distillation.featurize(task, examples, load_tokenizer(start), task.head([]), settings)
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    for example, feature in zip(examples, features, strict=True):
        with torch.no_grad():
            expected = model(**tokenizer(example.text, return_tensors="pt")).logits.softmax(-1)[0]
        assert feature.soft_targets == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_the_distance_is_hintons(kind: str) -> None:
    """Against the definition, written with plain sums."""
    from electra.contracts import Loss, StepOutput
    from electra.model.task_models import DistillationObjective, TaskObjective

    class Own(TaskObjective):
        def forward(self, batch: Any) -> StepOutput:
            return StepOutput(losses={"loss": Loss(total=self.network(batch).sum(), count=2)})

    rng, heat = np.random.default_rng(1), 3.0
    logits = rng.normal(size=(2, 1 if kind == "regression" else 3))
    taught = rng.normal(size=logits.shape)
    odds = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    soft = lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)  # noqa: E731
    if kind == "regression":
        targets, expected = taught, ((logits - taught) ** 2).sum()
    elif kind == "multilabel":
        p, q, targets = odds(taught / heat), odds(logits / heat), odds(taught)
        expected = heat**2 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum()
    else:
        p, q, targets = soft(taught / heat), soft(logits / heat), soft(taught)
        expected = heat**2 * (p * np.log(p / q)).sum()
    module = torch.nn.Identity()
    objective = DistillationObjective(Own(module, Head(kind=kind, labels=("a", "b", "c"))), 0.3, heat)
    found = objective.distance(torch.tensor(logits).float(), torch.tensor(targets).float())
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def test_wrong_teachers(both: Path, start: Path, glue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs.txt").write_text("one\ttwo\n")
    for more, said in (
        (("--teacher", str(both / "best" / "rte")), "answers with entailment"),
        (("--teacher", str(both / "best" / "sst2"), "--distill-weight", "2"), "within 0..1"),
        (("--teacher", str(both / "best" / "sst2"), "--unlabelled", str(tmp_path / "pairs.txt")), "line 1: 2 texts"),
        (("--unlabelled", str(tmp_path / "pairs.txt")), "needs a --teacher"),
        (("--teacher", str(start)), "no classifier head"),
    ):
        assert _finetune("sst2", start, glue, tmp_path / "run", *more) == 2
        assert said in capsys.readouterr().err


# ---- half precision, accumulation ----


def test_half_precision_learns(start: Path, glue: Path, tmp_path: Path) -> None:
    assert _finetune("sst2", start, glue, tmp_path / "half", "--epochs", "8", "--precision", "bf16") == 0
    assert _finetune("sst2", start, glue, tmp_path / "full", "--epochs", "8") == 0
    half, full = (_read(tmp_path / name / "scores.json")["scores"]["accuracy"]["mean"] for name in ("half", "full"))
    assert half > 0.9 and full > 0.9
    weights = [(tmp_path / name / "best" / "model.safetensors").read_bytes() for name in ("half", "full")]
    assert weights[0] != weights[1]  # bf16 was indeed in use


def test_accumulated_microbatches_are_one_batch() -> None:
    """Two microbatches of one update give the gradient of both together."""
    from electra.model.encoder import Encoder, EncoderConfig
    from electra.model.task_models import task_network, task_objective

    torch.manual_seed(0)
    head = Head(kind="classification", labels=("x", "y"))
    network = task_network(Encoder(EncoderConfig(vocab_size=30, max_position_embeddings=10, dropout=0.0, **SIZES)), head)
    objective = task_objective(network, head)
    features = [Features(ids=[1, 5 + i, 9, 2][: 3 + i % 2], segments=[0] * (3 + i % 2), example=i, label=i % 2) for i in range(6)]
    parts = [features, features[:4], features[4:]]
    grads = []
    for chosen in (parts[:1], parts[1:]):
        objective.zero_grad()
        batches = [collate_features(part, [1] * len(part)) for part in chosen]
        count = sum(objective.counts(batch)["loss"] for batch in batches)
        for batch in batches:
            (objective(batch).losses["loss"].total / count).backward()
        grads.append([p.grad.clone() for p in network.parameters()])
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two)


def test_accumulation_takes_as_many_updates_fewer(start: Path, glue: Path, tmp_path: Path) -> None:
    assert _finetune("sst2", start, glue, tmp_path / "run", "--epochs", "16", "--accumulation", "2", "--batch-size", "8") == 0
    scores = _read(tmp_path / "run" / "scores.json")
    assert scores["steps"] == [96] and scores["scores"]["accuracy"]["mean"] > 0.9
