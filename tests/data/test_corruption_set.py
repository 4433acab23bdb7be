"""Corruption sets of words in texts: places, capitals, the file, the detector without context, and `electra evaluate --corruption FILE.jsonl`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import average_precision_score, roc_auc_score
from tiny_models import checkpoints, oracle

import electra
from electra.cli import main
from electra.data.corruption_set import CorruptedText, context_free_scores, find_words, load_texts, replace_words, save_texts
from electra.errors import UserError
from electra.inference.predictor import load
from electra.inference.replaced_tokens import Detection, Token, corrupt_words, word_scores

TEXTS = [
    "the chef cooked a meal for the old man",
    "She walked home in the cold Rain , and the sun was dark .",
    "a film with a good story and one moving scene",
    "they ate soup near the river in the evening ( again ) .",
    "it was",
    "the actor was boring , the music was not , and I was cold",
]


def test_words_are_found_and_replaced_at_their_places() -> None:
    text = "The CHEF's meal, naïve_2nd-rate."
    assert [text[first:end] for first, end in find_words(text)] == ["The", "CHEF", "s", "meal", "naïve", "2nd", "rate"]
    found = replace_words(text, {0: "a", 1: "river", 4: "Oslo", 6: "one"}, "by hand")
    assert found.text == "A RIVER's meal, Oslo_2nd-one."
    assert [(found.text[first:end], replaced) for first, end, replaced in found.words] == [
        ("A", True),
        ("RIVER", True),
        ("s", False),
        ("meal", False),
        ("Oslo", True),
        ("2nd", False),
        ("one", True),
    ]
    assert replace_words(text, {}, "none").text == text and found.source == "by hand"


def test_the_file_is_read_as_written_and_by_hand(tmp_path: Path) -> None:
    texts = [replace_words(text, {1: "Élan"}, source) for text in TEXTS for source in ("generator", "frequency")]
    save_texts(texts, tmp_path / "words.jsonl")
    assert load_texts(tmp_path / "words.jsonl") == texts
    (tmp_path / "mine.jsonl").write_text('{"text": "a b", "words": [[0, 1, 0], [2, 3, 1]]}\n')
    assert load_texts(tmp_path / "mine.jsonl") == [CorruptedText("a b", ((0, 1, False), (2, 3, True)), "generator")]


WRONG = {
    "no words": ('{"text": "a"}', 'line 2: expected {"text": TEXT, "words"'),
    "words of another kind": ('{"text": "a", "words": ["a"]}', 'line 2: word "a"; expected [first character'),
    "outside": ('{"text": "ab", "words": [[0, 3, 1]]}', "line 2: word [0, 3, 1]; expected [first character, end, whether it was replaced] within 2"),
    "backwards": ('{"text": "ab", "words": [[1, 1, 1]]}', "line 2: word [1, 1, 1]"),
    "no object": ("[1]", "line 2: expected a JSON object"),
    "no JSON": ("{", "line 2: not valid JSON"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_damaged_file_names_its_line(case: str, tmp_path: Path) -> None:
    line, message = WRONG[case]
    (tmp_path / "words.jsonl").write_text('{"text": "a b", "words": []}\n' + line + "\n")
    with pytest.raises(UserError) as error:
        load_texts(tmp_path / "words.jsonl")
    assert message in str(error.value)
    (tmp_path / "words.jsonl").write_text("")
    with pytest.raises(UserError, match="has no texts"):
        load_texts(tmp_path / "words.jsonl")


def test_the_detector_without_context_counts_word_forms_of_the_other_half() -> None:
    random = np.random.default_rng(1)
    texts = [replace_words(text, {int(random.integers(0, 9)): "river"}, "generator") for text in TEXTS * 5]
    wanted = []
    for number, text in enumerate(texts):
        others = [(o.text[first:end].lower(), r) for o in texts[1 - number % 2 :: 2] for first, end, r in o.words]
        average = np.mean([r for _, r in others])
        total, hits = Counter(form for form, _ in others), Counter(form for form, r in others if r)
        wanted += [(hits[form] + average) / (total[form] + 1) for form in (text.text[first:end].lower() for first, end, _ in text.words)]
    np.testing.assert_allclose(context_free_scores(texts), wanted)


def test_a_words_score_is_its_tokens_largest() -> None:
    spans, values = [(0, 3), (3, 5), (6, 7), (8, 12)], [0.2, 0.7, 0.9, 0.4]
    tokens = tuple(Token("t", first, end, value, False) for (first, end), value in zip(spans, values, strict=True))
    # The last token is of two words, as some tokenizers have them; of a word without a token nothing is known.
    assert word_scores(Detection("acting , in a z", tokens), [(0, 5, False), (8, 9, True), (10, 12, False), (14, 15, False)]) == [0.7, 0.4, 0.4, 0.0]


def test_words_are_replaced_as_by_transformers() -> None:
    """Masks, distribution and samples by `transformers` and plain NumPy; nothing else of a text changes."""
    model, reference = load(checkpoints()["discriminator"], batch_size=4), oracle("ElectraForMaskedLM", "generator")
    vocabulary = reference.tokenizer.get_vocab()
    whole = np.array(sorted(i for word, i in vocabulary.items() if word.isalnum()))
    names = {i: word for word, i in vocabulary.items()}
    counts = {"the": 8, "soup": 1, "rain": 3}
    made = dict(corrupt_words(model.generator, model.tokenizer, TEXTS, counts, seed=3, batch_size=2))
    assert set(made) == {0, 1, 2, 3, 5}, "'it was' is too short"
    unchanged = 0
    for number, (first, second) in made.items():
        text, random = TEXTS[number], np.random.default_rng([3, number])
        spans = find_words(text)
        chosen = sorted(random.permutation(len(spans))[: round(0.15 * len(spans))].tolist())
        masked = text
        for word in reversed(chosen):
            masked = masked[: spans[word][0]] + "[MASK]" + masked[spans[word][1] :]
        at = np.flatnonzero(np.array(reference.tokenizer(masked)["input_ids"]) == reference.tokenizer.mask_token_id)
        cumulative = softmax(reference.logits(masked)[at][:, whole].astype(np.float64), axis=1).cumsum(1)
        uniforms, drawn = random.random((2, len(chosen)))
        for source, found in (("generator", first), ("frequency", second)):
            new = [names[whole[np.searchsorted(row, u)]] for row, u in zip(cumulative, uniforms, strict=True)]
            if source == "frequency":
                new = [list(counts)[np.searchsorted(np.cumsum([8, 1, 3]) / 12, u)] for u in drawn]
            wanted = {word: name for word, name in zip(chosen, new, strict=True) if name != text[slice(*spans[word])].lower()}
            unchanged += len(chosen) - len(wanted)
            assert found == replace_words(text, wanted, source)
    assert unchanged, "a sample that equals the word is among them"


# ---- the command ----


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """A set of 30 texts made by the command, and what it printed."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "texts.csv").write_text("number,sentence\n" + "".join(f'{n},"{text} {n}"\n' for n in range(5) for text in TEXTS))
    metrics = electra.evaluate(
        checkpoints()["discriminator"], corruption=folder / "words.jsonl", data=folder / "texts.csv", text="sentence", seed=2
    ).metrics
    return folder / "words.jsonl", dict(metrics)


def test_the_command_scores_words_by_source(made: tuple[Path, dict[str, float]], capsys: pytest.CaptureFixture[str]) -> None:
    """Scores of `transformers`' probabilities by scikit-learn; a second model on the same words."""
    path, metrics = made
    place = str(checkpoints()["discriminator"])
    assert main(["evaluate", place, "--corruption", str(path), "--json", "--batch-size", "3"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == pytest.approx(metrics, abs=1e-6) and f"{path}, generator: 25 texts" in printed.err
    texts = [text for text in load_texts(path) if text.source == "generator"]
    values: dict[str, list[list[float]]] = {"discriminator": [], "lone": []}
    for name, found in values.items():
        reference = oracle("ElectraForPreTraining", name)
        for text in texts:
            spans = reference.tokenizer(text.text, return_offsets_mapping=True)["offset_mapping"][1:-1]
            tokens = expit(reference.logits(text.text)[1:-1])
            found.append([max(p for p, (s, e) in zip(tokens, spans, strict=True) if s < end and first < e) for first, end, _ in text.words])
    labels = [replaced for text in texts for *_, replaced in text.words]
    flat = {name: [value for each in found for value in each] for name, found in values.items()}
    assert metrics["generator_auc"] == pytest.approx(roc_auc_score(labels, flat["discriminator"]), abs=1e-3)
    assert metrics["generator_average_precision"] == pytest.approx(average_precision_score(labels, flat["discriminator"]), abs=1e-3)
    assert metrics["generator_replaced_fraction"] == np.mean(labels) and {"frequency_auc", "frequency_context_free_auc"} <= set(metrics)
    assert main(["evaluate", place, "--corruption", str(path), "--json", "--against", str(checkpoints()["lone"])]) == 0
    both = json.loads(capsys.readouterr().out)
    assert both["generator_auc_against"] == pytest.approx(roc_auc_score(labels, flat["lone"]), abs=1e-3)
    assert both["generator_auc_difference"] == pytest.approx(both["generator_auc"] - both["generator_auc_against"])
    assert both["generator_auc_difference_low"] < both["generator_auc_difference"] < both["generator_auc_difference_high"]


def test_a_bundled_artifact_and_a_masked_lm(made: tuple[Path, dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A detector with another vocabulary reads the same words; a masked LM makes a set and detects nothing."""
    path, metrics = made
    found = electra.evaluate("shipped:detector", corruption=path).metrics
    for name in ("generator_context_free_auc", "generator_replaced_fraction"):
        assert found[name] == metrics[name]
    assert 0 < found["generator_auc"] < 1
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    words = ["evaluate", str(checkpoints()["masked"]), "--corruption", str(tmp_path / "words.jsonl"), "--data", str(tmp_path / "texts.txt")]
    for _ in range(2):  # made, then read
        assert main([*words, "--num-examples", "4", "--json"]) == 0
        printed = capsys.readouterr()
        assert {name.partition("_")[2] for name in json.loads(printed.out)} == {"context_free_auc", "replaced_fraction"}
        assert "is a masked LM, which detects nothing" in printed.err
    assert len(load_texts(tmp_path / "words.jsonl")) == 8


REFUSED = {
    "a length": (["--sequence-length", "32"], "--sequence-length has no effect on a corruption set of texts"),
    "against without texts": (["--corruption", "set.npz", "--against", "shipped:mini"], "--against shipped:mini needs --corruption FILE.jsonl"),
    "against with a task": (["--task", "sst2", "--against", "shipped:mini"], "--against shipped:mini needs --corruption FILE.jsonl"),
    "no texts": (["--corruption", "none.jsonl"], "none.jsonl not found; give --data FILE"),
    "a classifier": (["--model", "shipped:sentiment"], "detects no replaced tokens"),
    "a masked LM against": (["--model", "MASKED", "--against", "shipped:mini"], "is a masked LM, which detects nothing; --against"),
    "short texts": (["--corruption", "new.jsonl", "--data", "short.txt"], "short.txt: no text of 5 to 60 words; give a sentence a line"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_scored_is_refused(
    case: str, made: tuple[Path, dict[str, float]], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.txt").write_text("two words\n")
    words, message = REFUSED[case]
    model = str(checkpoints()["discriminator"])
    if words[0] == "--model":
        model, words = words[1].replace("MASKED", str(checkpoints()["masked"])), words[2:]
    if not {"--corruption", "--task"} & set(words):
        words = [*words, "--corruption", str(made[0])]
    assert main(["evaluate", model, *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") <= 2 and not captured.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["short.txt"], "nothing is left behind"
