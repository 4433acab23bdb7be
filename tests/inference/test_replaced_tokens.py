"""detect: every token's probability as `transformers` gives it, its place in the text; --corrupt shows the whole workflow."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, softmax
from tiny_models import TEXTS, checkpoints, oracle

from electra.cli import main
from electra.commands.detect import show_corruption, show_detection
from electra.data.windows import split
from electra.errors import UserError
from electra.inference.predictor import Predictor, load


@pytest.fixture(scope="module")
def discriminator() -> Predictor:
    return load(checkpoints()["discriminator"], batch_size=4)


def test_probabilities_and_offsets_equal_transformers(discriminator: Predictor) -> None:
    reference = oracle("ElectraForPreTraining", "discriminator")
    for text, found in zip(TEXTS, discriminator.detect(TEXTS), strict=True):
        wanted = expit(reference.logits(text)[1:-1])
        np.testing.assert_allclose([t.probability for t in found.tokens], wanted, atol=1e-5)
        encoded = reference.tokenizer(text, return_offsets_mapping=True)
        assert [t.token for t in found.tokens] == reference.tokenizer.convert_ids_to_tokens(encoded["input_ids"])[1:-1]
        assert [(t.start, t.end) for t in found.tokens] == [tuple(pair) for pair in encoded["offset_mapping"][1:-1]]
        assert [t.replaced for t in found.tokens] == [p >= 0.5 for p in wanted]


def test_offsets_cut_the_word_out_of_the_text(discriminator: Predictor) -> None:
    text = "  The  Chef,\tÉtait good\u3000rain 🌧 ."
    tokens = discriminator.detect([text])[0].tokens
    whole = [text[t.start : t.end] for t in tokens]
    assert whole[:3] == ["The", "Chef", ","]
    assert "good" in whole and "rain" in whole and whole[-1] == "."


def test_a_long_text_is_answered_token_by_token(discriminator: Predictor) -> None:
    """Each token's probability is that of the window in which it is farthest from the border."""
    words = ["good", "bad", "rain", "chef", "old"] * 40
    tokens = discriminator.detect([" ".join(words)])[0].tokens
    assert [t.token for t in tokens] == words
    reference = oracle("ElectraForPreTraining", "discriminator")
    for window in split(200, 62):
        wanted = expit(reference.logits(" ".join(words[window.start : window.stop])))[1:-1]
        found = [t.probability for t in tokens[window.first : window.last]]
        np.testing.assert_allclose(found, wanted[window.first - window.start : window.last - window.start], atol=1e-5)


def test_threshold_decides_what_counts(discriminator: Predictor) -> None:
    strict = discriminator.detect(["the chef cooked the meal"], threshold=1.0)[0]
    lenient = discriminator.detect(["the chef cooked the meal"], threshold=0.0)[0]
    assert not any(t.replaced for t in strict.tokens) and all(t.replaced for t in lenient.tokens)


# ---- the whole workflow ----


def test_corruption_is_consistent_with_both_networks(discriminator: Predictor) -> None:
    text = "the chef cooked the meal near the old river in the evening ."
    found = next(discriminator.corrupt([text], mask_prob=0.4, seed=3))
    tokenizer = discriminator.tokenizer
    ids, spans = tokenizer.encode_offsets(text)
    assert len(found.replacements) == round(0.4 * len(ids))
    assert found.masked.count("[MASK]") == len(found.replacements)

    logits = oracle("ElectraForMaskedLM", "generator").logits(found.masked)[1:-1]
    for item in found.replacements:
        assert text[item.start : item.end] == item.original == tokenizer.pieces[ids[item.index]]
        assert (item.start, item.end) == spans[item.index]
        wanted = softmax(logits[item.index])
        best = np.argsort(-wanted)[:5]
        assert [word for word, _ in item.proposals] == [tokenizer.pieces[i] for i in best]
        np.testing.assert_allclose([p for _, p in item.proposals], wanted[best], atol=1e-5)
        assert item.changed == (item.sampled != item.original)

    put = {item.index: item.sampled for item in found.replacements}
    corrupted = [put.get(i, tokenizer.pieces[n]) for i, n in enumerate(ids)]
    assert [t.token for t in found.corrupted.tokens] == corrupted
    import torch

    reference = oracle("ElectraForPreTraining", "discriminator")
    inputs = torch.tensor([[tokenizer.cls_id, *(tokenizer.pieces.index(word) for word in corrupted), tokenizer.sep_id]])
    with torch.no_grad():
        wanted = expit(reference.model(inputs).logits[0, 1:-1].numpy())
    np.testing.assert_allclose([t.probability for t in found.corrupted.tokens], wanted, atol=1e-5)
    for item in found.replacements:
        assert item.probability == found.corrupted.tokens[item.index].probability


def test_corrupted_text_holds_its_tokens(discriminator: Predictor) -> None:
    """Offsets count in the corrupted text, and each shows the token put there."""
    texts = ["the chefs walked slowly near the city .", "rain, rain: it was (not) cold!"]
    for found in discriminator.corrupt(texts, mask_prob=0.5, seed=5):
        for token in found.corrupted.tokens:
            shown = found.corrupted.text[token.start : token.end]
            assert shown in (token.token, token.token.removeprefix("##"))


def test_the_seed_and_the_number_of_the_text_decide(discriminator: Predictor) -> None:
    texts = ["the chef cooked the meal near the river"] * 9
    one = [c.to_dict()["replacements"] for c in discriminator.corrupt(texts, seed=1)]
    small = load(checkpoints()["discriminator"], batch_size=2)
    again = [c.to_dict()["replacements"] for c in small.corrupt(texts, seed=1)]
    other = [c.to_dict()["replacements"] for c in discriminator.corrupt(texts, seed=2)]
    assert [[(r["index"], r["sampled"]) for r in row] for row in one] == [[(r["index"], r["sampled"]) for r in row] for row in again]
    assert one != other
    assert len({json.dumps(row) for row in one}) > 1


def test_draws_follow_the_generators_distribution(discriminator: Predictor) -> None:
    """2,000 draws for one masked word against its probabilities (chi-square over the frequent ones)."""
    from scipy.stats import chisquare

    draws = [c.replacements[0].sampled for c in discriminator.corrupt(["rain"] * 2000, mask_prob=0.01)]
    wanted = softmax(oracle("ElectraForMaskedLM", "generator").logits("[MASK]")[1].astype(float))
    order = np.argsort(-wanted)[:12]
    counts = np.array([draws.count(discriminator.tokenizer.pieces[i]) for i in order])
    observed = [*counts, 2000 - counts.sum()]
    expected = [*(2000 * wanted[order]), 2000 * (1 - wanted[order].sum())]
    assert chisquare(observed, expected).pvalue > 1e-4


def test_long_and_empty_texts_can_be_corrupted(discriminator: Predictor) -> None:
    long, empty = discriminator.corrupt(["good bad rain chef " * 50, ""], mask_prob=0.2)
    assert len(long.replacements) == 40 and len(long.corrupted.tokens) == 200
    assert empty.replacements == () and empty.corrupted.tokens == ()


def test_what_is_missing_is_named(discriminator: Predictor) -> None:
    with pytest.raises(UserError, match="without its generator"):
        next(load(checkpoints()["lone"]).corrupt(["rain"]))
    with pytest.raises(UserError, match="detects no replaced tokens"):
        load(checkpoints()["classifier"]).detect(["rain"])
    with pytest.raises(UserError, match="mask_prob"):
        discriminator.corrupt(["rain"], mask_prob=0)
    with pytest.raises(UserError, match="temperature"):
        discriminator.corrupt(["rain"], temperature=0)


# ---- the command ----


def test_detect_prints_json_lines_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], discriminator: Predictor) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    assert main(["detect", str(checkpoints()["discriminator"]), str(file)]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [f["text"] for f in found] == list(TEXTS)
    assert set(found[0]["tokens"][0]) == {"token", "start", "end", "probability", "replaced"}
    assert main(["detect", str(checkpoints()["discriminator"]), str(file), "--corrupt", "--seed", "4"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    wanted = [c.to_dict() for c in discriminator.corrupt(TEXTS, seed=4)]
    assert [f["masked"] for f in found] == [w["masked"] for w in wanted]
    assert set(found[0]) == {"text", "masked", "replacements", "corrupted"}


def test_a_terminal_is_coloured_and_cannot_be_steered(discriminator: Predictor) -> None:
    from rich.console import Console

    text = "the chef \x1b[31m cooked [bold]the meal"
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="truecolor", width=100)
    show_detection(discriminator.detect([text], threshold=0.0)[0], console)
    show_corruption(next(discriminator.corrupt([text])), console)
    shown = out.getvalue()
    assert "[bold]" in shown.replace("\x1b[0m", "").replace("\x1b[1;37;41m", ""), "a text is not markup"
    assert "\x1b[31m" not in shown
    assert "\x1b[1;37;41mthe" in shown
    assert "generator's proposals" in shown and "masked" in shown
