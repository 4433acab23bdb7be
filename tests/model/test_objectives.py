"""Objectives: losses and the nine metrics against scikit-learn on the same predictions; gradients; learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as sk
from small_objectives import MASK, MODEL, SPECIAL, VOCAB, make, some_batches, untie
from torch import Tensor

from electra.contracts import Batch
from electra.data.pretraining_batches import collate, example_key
from electra.model import heads, masking
from electra.model.heads import Sampling, VocabularyOutput
from electra.model.pretraining_models import build_objective, discriminator_config, generator_config
from electra.settings import ModelSettings, ObjectiveSettings
from electra.train.evaluation import evaluate


def test_metrics_equal_scikit_learn_on_the_same_predictions() -> None:
    objective = make()
    untie(objective)
    objective.eval()
    batches = some_batches()
    found = evaluate(objective, batches)

    truth, logits_all, per_sequence, padded_truth, padded_scores = [], [], [], [], []
    wanted, predicted, drawn, mlm = [], [], [], []
    for batch in batches:
        counts = masking.num_masked(batch.lengths, 0.15)
        chosen = masking.choose_positions(batch, counts, objective.special_ids)
        with torch.no_grad():
            logits = objective.generator(batch, masking.mask_positions(batch, chosen, MASK, 0.85))[chosen]
            chance = masking.uniforms(batch.keys[batch.rows[chosen]], batch.positions[chosen], masking.SAMPLE)
            sampled = masking.sample_tokens(logits, chance)
            corrupted, replaced = masking.replace_tokens(batch, chosen, sampled)
            scores = objective.discriminator(batch, corrupted)
        wanted += batch.ids[chosen].tolist()
        predicted += logits.argmax(-1).tolist()
        drawn += sampled.tolist()
        mlm += F.cross_entropy(logits, batch.ids[chosen], reduction="none").tolist()
        truth += replaced.tolist()
        logits_all += scores.tolist()
        for row, length in enumerate(batch.lengths):
            at = batch.rows == row
            per_sequence.append(F.binary_cross_entropy_with_logits(scores[at], replaced[at].float()).item())
            padded_truth += replaced[at].tolist() + [False] * (40 - length)
            padded_scores += torch.sigmoid(scores[at]).tolist() + [0.0] * (40 - length)
    detected = np.array(logits_all) > 0
    probability = 1 / (1 + np.exp(-np.array(logits_all)))
    expected = {
        "masked_lm_accuracy": sk.accuracy_score(wanted, predicted),
        "masked_lm_loss": np.mean(mlm),
        "sampled_masked_lm_accuracy": sk.accuracy_score(wanted, drawn),
        "disc_accuracy": sk.accuracy_score(truth, detected),
        "disc_auc": sk.roc_auc_score(truth, probability),
        "disc_loss": sk.log_loss(truth, np.stack([1 - probability, probability], 1)),
        "disc_precision": sk.precision_score(truth, detected),
        "disc_recall": sk.recall_score(truth, detected),
        "disc_loss_original": np.mean(per_sequence),
        "disc_auc_original": sk.roc_auc_score(padded_truth, padded_scores),
    }
    expected["loss"] = expected["masked_lm_loss"] + 50 * expected["disc_loss"]
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=2e-5), name


def test_counts_are_known_before_the_forward_pass() -> None:
    for kind in ("electra", "mlm"):
        objective = make(kind)
        for batch in some_batches():
            assert objective.counts(batch) == {name: loss.count for name, loss in objective(batch).losses.items()}


def test_the_generator_is_not_trained_through_its_samples() -> None:
    objective = make(generator_weight=0.0)
    output = objective(some_batches(1)[0])
    output.losses["disc_loss"].total.backward()
    own = [p for name, p in objective.generator.named_parameters() if "embeddings" not in name and "output.weight" not in name]
    assert own and all(p.grad is None or p.grad.abs().max() == 0 for p in own)
    assert objective.discriminator.encoder.embeddings.word.weight.grad.abs().max() > 0


def test_embeddings_are_shared_and_counted_once() -> None:
    objective = make()
    assert objective.generator.encoder.embeddings is objective.discriminator.encoder.embeddings
    assert objective.generator.head.output.weight is objective.discriminator.encoder.embeddings.word.weight
    names = [name for name, _ in objective.named_parameters()]
    assert sum("word" in name or (name.endswith("head.output.weight") and "generator" in name) for name in names) == 1


def test_generator_shape_follows_the_original() -> None:
    small = discriminator_config(ModelSettings(), 30522)
    generator = generator_config(ModelSettings(), small)
    assert (generator.hidden_size, generator.num_attention_heads, generator.intermediate_size, generator.num_hidden_layers) == (64, 1, 256, 12)
    assert generator.embedding_size == small.embedding_size == 128


def test_the_loss_of_all_positions_is_that_of_the_masked_ones() -> None:
    """Logits only at masked positions are the logits of all positions, taken there."""
    objective = make()
    batch = some_batches(1)[0]
    at = torch.tensor([3, 1, 20])
    with torch.no_grad():
        assert torch.allclose(objective.generator(batch)[at], objective.generator(batch, at=at), atol=1e-6)


@pytest.mark.parametrize("attention", ["normal", "local"])
def test_it_learns_to_find_what_breaks_a_pattern(attention: str) -> None:
    """Rows count upwards; a few steps are enough to predict a masked number and to see a replaced one."""
    objective = make(
        model=ModelSettings(**{**MODEL.__dict__, "attention_init": attention, "embedding_size": 32, "generator_size": 1.0}), mask_prob=0.2
    )
    rng = np.random.default_rng(1)
    adam = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    losses = []
    for step in range(120 if attention == "local" else 60):
        starts = rng.integers(5, VOCAB - 20, 16)
        batch = collate([([2, *range(s, s + 18), 3], [0] * 20) for s in starts], [example_key(step, i) for i in range(16)])
        output = objective(batch)
        sum(loss.weight * loss.total / loss.count for loss in output.losses.values()).backward()
        adam.step()
        adam.zero_grad()
        losses.append((output.losses["masked_lm_loss"].total / output.losses["masked_lm_loss"].count).item())
    assert losses[-1] < losses[0] * (0.75 if attention == "local" else 0.98), losses[-1]


def test_local_attention_starts_on_its_offsets() -> None:
    """Before any training, each local head of the first layer looks most at its offset, give or take the words' noise; the rest look everywhere."""
    from electra.model.initialization import OFFSETS

    model = ModelSettings(**{**MODEL.__dict__, "attention_init": "local", "embedding_size": 64, "hidden_size": 64, "num_attention_heads": 4})
    objective = make("mlm", model=model)
    encoder = objective.generator.encoder
    batch = collate([([2, *range(20, 60), 3], [0] * 42)])
    with torch.no_grad():
        hidden = encoder.embeddings(batch.ids, batch.segments, batch.positions)
        q, k, _ = encoder.layers[0].qkv(hidden).view(42, 3, 4, 16).permute(1, 2, 0, 3)
        attention = torch.softmax(q @ k.transpose(1, 2) / 4.0, -1)
    assert attention[2:].amax(-1).mean() < 0.3, attention[2:].amax(-1)
    for head in range(2):
        peak = attention[head].argmax(-1) - torch.arange(42)
        inner = peak[8:-8].float()
        assert abs(inner.mean() - OFFSETS[head]) < 0.5 and inner.std() < 1.0, (OFFSETS[head], inner)


def test_counted_words_start_as_companions() -> None:
    """Tokens with the same neighbours start near each other, frequencies become the output bias, the rest of the embedding stays random."""
    from electra.contracts import WordStatistics
    from electra.data.shards import Split
    from electra.data.word_statistics import word_statistics
    from electra.model.initialization import word_dimensions

    rng = np.random.default_rng(0)
    # Two topics; a document has one of them, words of both never meet. Pieces 90 and above never occur.
    lines = [rng.integers(10 + 40 * (i % 2), 50 + 40 * (i % 2), 30) for i in range(200)]
    starts = np.arange(0, 30 * 200 + 1, 30)
    split = Split(np.concatenate(lines).astype(np.uint16), starts, np.arange(201))
    model = ModelSettings(**{**MODEL.__dict__, "attention_init": "local", "embedding_size": 32, "generator_size": 1.0})
    dimensions = word_dimensions(32, "local")
    assert dimensions == 24
    words = word_statistics([split], [], VOCAB, dimensions)
    assert isinstance(words, WordStatistics) and words.num_tokens == 6000
    counts = np.bincount(split.ids, minlength=VOCAB) + 1
    assert np.allclose(np.diff(words.log_frequencies), np.diff(np.log(counts)), atol=1e-5)
    assert not words.vectors[90:].any() and np.allclose(np.linalg.norm(words.vectors[10:90], axis=1), 1, atol=1e-4)
    likeness = words.vectors[10:90] @ words.vectors[10:90].T
    assert likeness[:40, :40].mean() > likeness[:40, 40:].mean() + 0.1
    again = word_statistics([split], [], VOCAB, dimensions)
    assert np.array_equal(again.vectors, words.vectors)
    settings = ObjectiveSettings(objective="mlm")
    kinds = {"vocab_size": VOCAB, "mask_id": MASK, "special_ids": SPECIAL, "sequence_length": 40, "seed": 5}
    plain, counted = (build_objective(model, settings, **kinds, words=given).generator for given in (None, words))
    assert torch.equal(counted.head.output.bias, torch.from_numpy(words.log_frequencies))
    before, after = plain.encoder.embeddings.word.weight, counted.encoder.embeddings.word.weight
    assert torch.equal(before[90:], after[90:]) and torch.equal(before[:10], after[:10])
    assert torch.equal(before[:, :8], after[:, :8]) and abs(after[10:90, 8:].std() / before[10:90, 8:].std() - 1) < 0.1


def _nearly_sure(batch: Batch, ids: Tensor, at: Tensor, wanted: Tensor, draw: Sampling) -> VocabularyOutput:
    """Logits of 6 for the truth, 0 for the rest."""
    return heads.vocabulary_output(F.one_hot(wanted, VOCAB).float() * 6, torch.eye(VOCAB), torch.zeros(VOCAB), wanted, draw)


def test_disallow_correct_replaces_every_chosen_token() -> None:
    """With it no sample is the original; without it, some are, from the same random numbers."""
    batch = collate([([2, *range(20, 60), 3], [0] * 42)] * 8)
    counts = {}
    for flag in (False, True):
        objective = make(disallow_correct=flag)
        with torch.no_grad():
            # A generator that is nearly sure of the truth.
            objective.generator.forward = _nearly_sure  # type: ignore[method-assign]
            output = objective(batch)
        counts[flag] = output.metrics["sampled_masked_lm_accuracy"][0].item()
    assert counts[True] == 0 < counts[False]


def test_sampling_without_a_token_is_the_distribution_without_it() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).repeat(40_000, 1)
    chance = torch.rand(40_000, generator=torch.Generator().manual_seed(1))
    found = torch.bincount(masking.sample_tokens(logits, chance, forbidden=torch.full((40_000,), 2)), minlength=4) / 40_000
    expected = torch.softmax(torch.tensor([0.0, 1.0, -torch.inf, 3.0]), 0)
    assert found[2] == 0 and torch.allclose(found, expected, atol=0.01)


def test_untied_embeddings_are_two() -> None:
    tied, untied = (make(model=ModelSettings(**{**MODEL.__dict__, "embedding_sharing": kind})) for kind in ("tied", "untied"))
    assert tied.generator.encoder.embeddings is tied.discriminator.encoder.embeddings
    assert untied.generator.encoder.embeddings is not untied.discriminator.encoder.embeddings
    extra = sum(p.numel() for p in untied.discriminator.encoder.embeddings.parameters())
    assert sum(p.numel() for p in untied.parameters()) == sum(p.numel() for p in tied.parameters()) + extra
