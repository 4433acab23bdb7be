"""predict and embed: equal to `transformers`, in order, in constant memory, nothing cut."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from tiny_models import TEXTS, checkpoints, oracle

from electra.cli import main
from electra.contracts import Features
from electra.data import windows
from electra.data.windows import split
from electra.errors import UserError
from electra.inference.pipelines import pipeline
from electra.inference.predictor import Predictor, describe, load
from electra.tasks.text_tasks import fit

PAIRS = (("the chef cooked", "she ate the meal"), ("", "rain"), ("a film", ""), ("the old city " * 8, "it was good"))


@pytest.fixture(scope="module")
def classifier() -> Predictor:
    return load(checkpoints()["classifier"], batch_size=4)


def test_probabilities_equal_transformers(classifier: Predictor) -> None:
    reference = oracle("ElectraForSequenceClassification", "classifier")
    inputs = [*TEXTS, *PAIRS]
    for item, answer in zip(inputs, classifier.predict(inputs), strict=True):
        wanted = softmax(reference.logits(*([item] if isinstance(item, str) else item)))
        np.testing.assert_allclose(list(answer.probabilities.values()), wanted, atol=1e-5)
        assert answer.label == ("negative", "neutral", "positive")[wanted.argmax()]
        assert answer.probability == max(answer.probabilities.values())
        assert answer.num_windows == 1


def test_a_regression_gives_its_number() -> None:
    model = load(checkpoints()["regression"])
    reference = oracle("ElectraForSequenceClassification", "regression")
    for text, answer in zip(TEXTS, model.predict(TEXTS), strict=True):
        assert answer.label == pytest.approx(float(reference.logits(text)[0]), abs=1e-5)
        assert answer.probability is None


def test_a_long_text_is_the_weighted_mean_of_its_windows(classifier: Predictor) -> None:
    """150 words, 62 a window: the label must be able to depend on every word, the last one included."""
    words = ["good", "bad", "rain"] * 50
    answer = classifier.predict([" ".join(words)])[0]
    parts = split(150, 62)
    assert answer.num_windows == len(parts) == 3
    reference = oracle("ElectraForSequenceClassification", "classifier")
    rows = [softmax(reference.logits(" ".join(words[w.start : w.stop]))) for w in parts]
    wanted = np.average(rows, axis=0, weights=[w.last - w.first for w in parts])
    np.testing.assert_allclose(list(answer.probabilities.values()), wanted, atol=1e-5)
    changed = classifier.predict([" ".join([*words[:-1], "brilliant"])])[0]
    assert changed.probabilities != answer.probabilities


@pytest.mark.parametrize("capacity", [1, 2, 7, 62, 510])
@pytest.mark.parametrize("num_tokens", [0, 1, 6, 62, 63, 200, 1011])
def test_windows_answer_every_token_once(num_tokens: int, capacity: int) -> None:
    found = split(num_tokens, capacity)
    assert [i for w in found for i in range(w.first, w.last)] == list(range(num_tokens))
    for window in found:
        assert 0 <= window.start <= window.first <= window.last <= window.stop <= num_tokens
        assert window.stop - window.start == min(capacity, num_tokens)
    if capacity >= 62:  # away from a text's ends, a token has context on both sides
        assert all(w.first == 0 or w.first - w.start >= capacity // 10 for w in found)
        assert all(w.last == num_tokens or w.stop - w.last >= capacity // 10 for w in found)


@pytest.mark.parametrize(("first", "second"), [(3, 4), (0, 5), (200, 10), (10, 200), (100, 100), (61, 0), (30, 31), (31, 31)])
def test_pairs_of_any_length_are_read_whole(classifier: Predictor, first: int, second: int) -> None:
    a, b = list(range(1000, 1000 + first)), list(range(5000, 5000 + second))
    windows = [ids for ids, _, _ in fit(a, b, classifier.tokenizer, 64, "windows")]
    assert all(len(ids) <= 64 for ids in windows)
    assert {i for ids in windows for i in ids} >= {*a, *b}
    if first + second <= 61:
        assert len(windows) == 1
    if (first, second) == (200, 10):  # the short text is whole in every window
        assert all(set(b) <= set(ids) for ids in windows)


def test_answers_keep_their_order_and_lengths_are_grouped(classifier: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["rain " * (1 + (i * 37) % 50) for i in range(200)]
    alone = [load_alone.probabilities for text in texts[:40] for load_alone in classifier.predict([text])]
    batches: list[list[int]] = []
    run = classifier.network.class_logits

    def watch(features: list[Features]) -> np.ndarray:
        batches.append([len(feature.ids) for feature in features])
        return run(features)

    monkeypatch.setattr(classifier.network, "class_logits", watch)
    together = classifier.predict(texts)
    for one, other in zip(alone, together[:40], strict=True):
        np.testing.assert_allclose(list(one.values()), list(other.probabilities.values()), atol=1e-5)
    spread = [max(lengths) - min(lengths) for lengths in batches]
    assert max(map(len, batches)) == classifier.batch_size
    assert np.mean(spread) < 5, "batches are not of similar lengths"


def test_texts_are_read_as_they_are_answered(classifier: Predictor) -> None:
    """An endless stream gives answers: at most a chunk is held."""
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield "the film was good"

    answers = classifier.iterate_predictions(endless())
    next(answers)
    assert read <= classifier.batch_size
    for _ in range(1000):
        next(answers)
    assert read <= 1001 + 2 * windows.CHUNK_BATCHES * classifier.batch_size


def test_vectors_equal_the_mean_of_transformers_states(classifier: Predictor) -> None:
    """Mean pooling as sentence encoders do it: over all tokens, [CLS] and [SEP] included."""
    model = load(checkpoints()["discriminator"], role="encoder", batch_size=3)
    reference = oracle("ElectraForPreTraining", "discriminator")
    wanted = [reference(text).hidden_states[-1][0].mean(0).numpy() for text in TEXTS]
    found = model.embed(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(model.embed(TEXTS, normalize=True), axis=1), 1, atol=1e-5)
    assert model.embed([]).shape == (0, 32)


def test_a_long_text_has_one_vector_of_all_its_tokens() -> None:
    model = load(checkpoints()["discriminator"], role="encoder")
    text = "good bad rain " * 50
    states = next(model.token_vectors([text]))
    assert states.shape == (152, 32)
    np.testing.assert_allclose(model.embed([text])[0], states.mean(0), atol=1e-5)


# ---- the commands ----


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    assert main(argv) == 0, capsys.readouterr().err
    return capsys.readouterr().out.splitlines()


def test_predict_prints_label_probability_text(tmp_path: Path, capsys: pytest.CaptureFixture[str], classifier: Predictor) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes("\ufeffthe chef cooked\r\n\nshe ate\tthe meal\n".encode())
    rows = [line.split("\t") for line in run(capsys, "predict", str(checkpoints()["classifier"]), str(file))]
    wanted = classifier.predict(["the chef cooked", "", ("she ate", "the meal")])
    assert rows == [
        [p.label, f"{p.probability:.4f}", *text] for p, text in zip(wanted, (["the chef cooked"], [""], ["she ate", "the meal"]), strict=True)
    ]


def test_predict_reads_jsonl_and_writes_jsonl(tmp_path: Path, capsys: pytest.CaptureFixture[str], classifier: Predictor) -> None:
    file = tmp_path / "texts.jsonl"
    records = [{"review": "good\tfilm\n", "other": "bad"}, {"review": "dull"}]
    file.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    argv = ["predict", str(checkpoints()["classifier"]), str(file), "--text", "review", "--text-pair", "other", "--json"]
    found = [json.loads(line) for line in run(capsys, *argv)]
    wanted = classifier.predict([("good\tfilm\n", "bad"), "dull"])
    assert [f["label"] for f in found] == [p.label for p in wanted]
    assert [f["probabilities"] for f in found] == [pytest.approx(p.probabilities, abs=1e-6) for p in wanted]
    assert [{key: f[key] for key in f if key in records[0]} for f in found] == records
    old = ["--text-field" if word == "--text" else "--pair-field" if word == "--text-pair" else word for word in argv]
    assert [json.loads(line) for line in run(capsys, *old)] == found, "the deprecated names"
    columns = run(capsys, *argv[:-1])  # tabs and line ends inside a text do not break the table
    assert columns[0].split("\t")[2:] == ["good film", "bad"]


@pytest.mark.parametrize("content", ["good film\n", '{"text": "good film"}\n'])
def test_predict_reads_standard_input(content: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    assert run(capsys, "predict", str(checkpoints()["classifier"]))[0].endswith("\tgood film")


def test_lines_before_a_bad_line_are_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes(b"good\nbad\n\xff\xfe\n")
    assert main(["predict", str(checkpoints()["classifier"]), str(file)]) == 2
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "line 3" in captured.err and "UTF-8" in captured.err


def test_embed_writes_npy_and_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(checkpoints()["discriminator"])
    file, output = tmp_path / "texts.txt", tmp_path / "vectors.npy"
    file.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    run(capsys, "embed", model, str(file), "--output", str(output))
    vectors = np.load(output, allow_pickle=False)
    np.testing.assert_allclose(vectors, load(model).embed(TEXTS), atol=1e-6)
    lines = run(capsys, "embed", model, str(file), "--json")
    np.testing.assert_array_equal(np.array([json.loads(line) for line in lines], np.float32), vectors)
    assert main(["embed", model, str(file), "--output", str(output)]) == 2, "an existing file is kept"


def test_max_length_is_the_window(classifier: Predictor) -> None:
    short = load(checkpoints()["classifier"], max_length=20)
    assert short.predict(["rain " * 40])[0].num_windows > classifier.predict(["rain " * 40])[0].num_windows == 1
    with pytest.raises(UserError, match="at least 8"):
        load(checkpoints()["classifier"], max_length=3)


def test_a_pretrained_model_reads_the_length_it_was_trained_at(tmp_path: Path) -> None:
    """Positions beyond it hold initial noise: tokens, vectors, likelihoods and words for masks come from windows of that length."""
    folder = shutil.copytree(checkpoints()["discriminator"], tmp_path / "model")
    for place in (folder, folder / "generator"):
        values = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps(values | {"electra_input_spec": {"max_length": 20}}))
    trained, whole = load(folder), load(checkpoints()["discriminator"])
    explicit = load(checkpoints()["discriminator"], max_length=20)
    assert (trained.max_length, whole.max_length) == (20, 64) and trained.spec.describe() == "input: windows of 20 tokens (as trained)"
    text = "the chef cooked the meal and it was good " * 4

    def numbers(model: Predictor) -> list[float]:
        found = [token.probability for token in model.detect([text])[0].tokens] + model.embed([text])[0].tolist()
        return [*found, model.score([text])[0].score, model.fill(text + "[MASK]", top_k=1)[0][0][2]]

    np.testing.assert_allclose(numbers(trained), numbers(explicit), atol=1e-6)
    assert not np.allclose(numbers(trained), numbers(whole), atol=1e-3)


def test_a_tokenizer_limits_a_model_without_a_record(tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoints()["classifier"], tmp_path / "model")
    values = json.loads((folder / "tokenizer_config.json").read_text())
    for length, wanted in ((24, 24), (512, 64), (1_000_000_000_000_000_019_884_624_838_656, 64)):
        (folder / "tokenizer_config.json").write_text(json.dumps(values | {"model_max_length": length}))
        assert load(folder).max_length == wanted


def test_an_artifact_keeps_the_input_spec_or_the_one_it_is_built_with(tmp_path: Path) -> None:
    from electra.exporting.targets import build_artifact

    build_artifact(str(checkpoints()["classifier"]), "onnx", tmp_path / "built", max_length=16, truncate="tail")
    assert load(tmp_path / "built").spec.describe() == "input: the last 16 tokens (as trained)"
    assert json.loads((tmp_path / "built" / "tokenizer_config.json").read_text())["model_max_length"] == 16


@pytest.mark.parametrize(
    ("kind", "description"),
    [
        ("classifier", "ElectraForSequenceClassification, head: classification into"),
        ("discriminator", "ElectraForPreTraining, head: whether each token was replaced"),
        ("generator", "ElectraForMaskedLM, head: words for the masked tokens"),
    ],
)
def test_the_head_that_answers_is_named(kind: str, description: str) -> None:
    assert description in describe(load(checkpoints()[kind]))


def test_the_command_names_its_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts.txt").write_text("a film\n")
    assert main(["predict", str(checkpoints()["classifier"]), str(tmp_path / "texts.txt")]) == 0
    assert "ElectraForSequenceClassification, head: classification into" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": "all"}, r"top_k 'all'; expected a whole number"),
        ({"max_lenght": 8}, r"unknown option 'max_lenght' of a pipeline; did you mean 'max_length'\?"),
        ({"threads": 1}, r"threads is an option of load, and the model is loaded already; give it there: load\(\.\.\., threads=\.\.\.\)"),
    ],
)
def test_options_that_a_pipeline_cannot_use_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        pipeline("text-classification", model=load(checkpoints()["classifier"]), **options)
