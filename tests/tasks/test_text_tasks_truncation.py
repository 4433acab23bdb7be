"""What is read of texts longer than the network: against rules written out here, and from the command line to the model's config.json."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from tiny_models import random_start

from electra import cli
from electra.contracts import Example, Head
from electra.data import windows
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.errors import UserError
from electra.tasks import input_spec
from electra.tasks.evaluate import task_input_spec
from electra.tasks.registry import find_task
from electra.tasks.text_tasks import decode_texts, featurize_texts, fit

HEAD = Head(kind="classification", labels=("a", "b"))


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab: Path) -> Tokenizer:
    return load_tokenizer(tiny_vocab)


def body(ids: list[int]) -> list[int]:
    return ids[1:-1]


def test_head_and_tail_of_one_text(tokenizer: Tokenizer) -> None:
    ids = list(range(100, 1100))
    for how, expected in {
        "head": ids[:510],
        "tail": ids[-510:],
        "head-tail": ids[:128] + ids[-382:],  # Sun et al. 2019, of 512 tokens
    }.items():
        ((found, segments, _),) = fit(ids, None, tokenizer, 512, how)
        assert body(found) == expected and len(found) == len(segments) == 512
        assert (found[0], found[-1]) == (tokenizer.cls_id, tokenizer.sep_id)


@pytest.mark.parametrize("how", ["head", "tail", "head-tail", "windows"])
def test_what_fits_stays_whole(how: str, tokenizer: Tokenizer) -> None:
    for first, second in (([7] * 30, None), ([7] * 10, [8] * 19), ([], None)):
        assert list(fit(first, second, tokenizer, 32, how)) == [(*tokenizer.wrap(first, second), 1)]


@pytest.mark.parametrize("how", ["tail", "head-tail"])
def test_pairs_keep_as_many_tokens_of_each_as_the_original(how: str, tokenizer: Tokenizer) -> None:
    rng = random.Random(3)
    for _ in range(50):
        first, second = (list(range(start, start + rng.randrange(40))) for start in (100, 200))
        wanted, segments = tokenizer.wrap(first, second, 24)
        ((found, kinds, _),) = fit(first, second, tokenizer, 24, how)
        assert kinds == segments and len(found) == len(wanted)
        one, two = (sum(start <= i < start + 100 for i in found) for start in (100, 200))
        kept = [i for i in found if 100 <= i < 200], [i for i in found if 200 <= i < 300]
        for ids, text, count in zip(kept, (first, second), (one, two), strict=True):
            before = 0 if how == "tail" or count == len(text) else (count + 2) // 4
            assert ids == text[:before] + text[len(text) - count + before :]


@pytest.mark.parametrize("pair", [False, True])
def test_windows_read_everything(pair: bool, tokenizer: Tokenizer) -> None:
    first, second = list(range(100, 190)), list(range(300, 337)) if pair else None
    parts = list(fit(first, second, tokenizer, 24, "windows"))
    assert len(parts) > 3 and all(len(ids) <= 24 for ids, _, _ in parts)
    assert {i for ids, _, _ in parts for i in ids} >= {*first, *(second or ())}


def test_a_window_too_short_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="--max-length 7 is too short for windows; give at least 8"):
        list(fit([5] * 20, None, tokenizer, 7, "windows"))


def test_windows_carry_the_label_and_are_averaged(tokenizer: Tokenizer) -> None:
    import numpy as np

    examples = [Example(id="0", text="the chef " * 30, label="b"), Example(id="1", text="the chef", label="a")]
    features = featurize_texts(examples, tokenizer, 16, HEAD, truncate="windows")
    assert [f.label for f in features[:-1]] == [1] * (len(features) - 1) and features[-1].label == 0 and len(features) > 4
    assert [f.example for f in features] == [0] * (len(features) - 1) + [1]
    outputs = [np.array([0.0, float(i % 3)], np.float32) for i in range(len(features))]
    first, second = decode_texts(outputs, features, examples, HEAD)
    assert first.num_windows == len(features) - 1 and second.num_windows == 1
    chances = [1 / (1 + np.exp(-(i % 3))) for i in range(len(features) - 1)]
    answered = [window.last - window.first for window in windows.split(60, 14)]  # every token counts once
    assert first.probabilities["b"] == pytest.approx(np.average(chances, weights=answered))


def test_options_are_set_recorded_and_read_again() -> None:
    """A flag for a task that has no such option is refused; a flag overrides a checkpoint's config.json."""
    from electra.settings import EvaluateSettings, FinetuneSettings

    settings = FinetuneSettings(task="sst2", model="m", output=Path("o"), truncate="windows")
    input_spec.check_asked(find_task("sst2"), settings)
    task = input_spec.as_set(find_task("sst2"), settings)
    assert task.options == {"truncate": "windows"}
    with pytest.raises(UserError, match=r"--truncate is not an option of chunk; it has --token-segment, --constrained"):
        input_spec.check_asked(find_task("chunk"), settings)
    written = input_spec.record(task, 64)
    for values in (written, {"electra_reading": written["electra_input_spec"]}):
        again = input_spec.input_spec(values, find_task("sst2"), 512)
        assert (again.options, again.max_length, again.overridden) == ({"truncate": "windows"}, 64, {}), "the key of version 0.1 too"
    flags = EvaluateSettings(model="m", task="sst2", truncate="tail", sequence_length=32)
    again = task_input_spec(written, find_task("sst2"), 512, flags)
    assert (again.options, again.max_length) == ({"truncate": "tail"}, 32)
    assert again.describe() == "input: the last 32 tokens (by request; trained with truncate windows, max_length 64)"
    capped = input_spec.input_spec(written, find_task("sst2"), 64, max_length=512)
    assert capped.max_length == 64 and capped.describe() == "input: windows of 64 tokens (as trained; 512 is above the model's limit)"
    plain = input_spec.input_spec({}, find_task("squad"), 512)
    assert plain.options["stride"] == 128 and plain.max_length == 384, "a checkpoint of someone else, as `transformers` reads questions"
    assert input_spec.input_spec({}, find_task("sst2"), 512).describe() == (
        "input: windows of 512 tokens (the model's limit, its training length is not recorded)"
    )
    assert not input_spec.input_spec({"electra_reading": {"unanswerable": True}}, find_task("squad"), 512).options["unanswerable"]


def test_evaluation_reads_as_the_model_learned_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The label is the last word: only what reads the end can know it."""
    pytest.importorskip("torch")
    from tiny_models import checkpoints

    rng = random.Random(2)
    rows = ["sentence\tlabel"]
    for i in range(120):
        words = rng.choices("the film story actor scene was a and of music".split(), k=24)
        rows.append(f"{' '.join(words)} {'good' if i % 2 else 'bad'}\t{i % 2}")
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("\n".join(rows))
    words = ["finetune", "sst2", "--model", f"random:{checkpoints()['discriminator']}", "--data", str(tmp_path), "--output", str(tmp_path / "run")]
    words += ["--truncate", "tail", "--max-length", "12", "--epochs", "8", "--learning-rate", "2e-3", "--layerwise-lr-decay", "1", "--dropout", "0"]
    assert cli.main([*words, "--threads", "1", "--device", "cpu", "--batch-size", "16", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)["scores"]["accuracy"]["mean"]
    assert trained > 0.9
    written = json.loads((tmp_path / "run" / "best" / "config.json").read_text())
    assert written["electra_input_spec"] == {"truncate": "tail", "max_length": 12}
    evaluate = ["evaluate", str(tmp_path / "run" / "best"), "--task", "sst2", "--data", str(tmp_path), "--json"]
    scores = {}
    for name, more in {"recorded": [], "head": ["--truncate", "head"], "whole": ["--sequence-length", "40"]}.items():
        assert cli.main([*evaluate, *more]) == 0
        scores[name] = json.loads(capsys.readouterr().out)["accuracy"]
    assert scores["recorded"] == pytest.approx(trained) and scores["head"] < 0.7 and scores["whole"] != scores["head"]
    assert "lost their beginning" in (tmp_path / "run" / "best" / "README.md").read_text()


@pytest.mark.parametrize("how", ["head", "windows"])
def test_a_document_of_two_hundred_thousand_words(how: str, tmp_path: Path, tiny_vocab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained on, scored and predicted; every window of it is read."""
    words = ["the", "film", "good", "bad"]
    long = " ".join(words[i % 4] for i in range(200_000))
    rows = [{"text": long, "label": "a"}, {"text": "the film", "label": "b"}]
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row | {"id": name}) + "\n" for row in rows))
    sizes = {"embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    start = random_start(tmp_path / "start", tiny_vocab, **sizes)
    files = ["--train", str(tmp_path / "train.jsonl"), "--dev", str(tmp_path / "dev.jsonl"), "--model", str(start), "--output", str(tmp_path / "run")]
    assert cli.main(["finetune", "own", *files, "--truncate", how, "--num-train-steps", "2", "--device", "cpu"]) == 0
    assert cli.main(["predict", str(tmp_path / "run"), str(tmp_path / "dev.jsonl"), "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{"text"')]
    tokens = len(load_tokenizer(tiny_vocab).encode([long])[0])
    assert answers[1]["windows"] == 1
    assert answers[0]["windows"] >= tokens / 126 if how == "windows" else answers[0]["windows"] == 1, "as it was trained"
    assert cli.main(["predict", str(tmp_path / "run"), str(tmp_path / "dev.jsonl"), "--truncate", "windows"]) == 0
    error = capsys.readouterr().err
    assert "input: windows of 40 tokens (" in error and ("trained with truncate head" in error) == (how == "head")
