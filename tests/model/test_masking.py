"""Masking and sampling: counts, places, distributions, and independence of everything but the key."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch
from scipy import stats

from electra.data.pretraining_batches import ExampleBuilder, collate, example_key
from electra.model import masking
from electra.settings import DataSettings

SPECIAL = torch.tensor([0, 1, 2, 3, 4])


def some_batch(rows: int = 6, seed: int = 3):
    rng = np.random.default_rng(seed)
    features = []
    for n in rng.integers(4, 40, rows):
        middle = int(n) // 2
        ids = [2, *rng.integers(5, 90, middle), 3, *rng.integers(5, 90, n - middle), 3]
        features.append((ids, [0] * (middle + 2) + [1] * (len(ids) - middle - 2)))
    return collate(features, [example_key(seed, i) for i in range(rows)])


def test_exact_counts_distinct_places_never_special() -> None:
    batch = some_batch(40)
    counts = masking.num_masked(batch.lengths, 0.15)
    assert all(c == max(1, min(round(n * 0.15), n - 3)) for c, n in zip(counts, batch.lengths, strict=True))
    chosen = masking.choose_positions(batch, counts, SPECIAL)
    assert len(set(chosen.tolist())) == len(chosen) == sum(counts)
    assert not torch.isin(batch.ids[chosen], SPECIAL).any()
    assert torch.equal(torch.bincount(batch.rows[chosen], minlength=40), torch.tensor(counts))


def test_a_sequence_of_unknown_tokens_has_fewer_places_and_still_no_special_one() -> None:
    """[CLS], [SEP] and [UNK] stay, however few others there are; sequences without any get none."""
    rng = np.random.default_rng(1)
    features = []
    for number in range(60):
        ids = np.where(rng.random(30) < number / 59, 1, rng.integers(5, 90, 30))
        features.append((np.array([2, *ids, 3]), np.zeros(32, np.int64), rng.random(32) < 0.7))
    tokenizer = SimpleNamespace(cls_id=2, sep_id=3, special_ids=frozenset(range(5)))
    batch = ExampleBuilder(DataSettings(data=()), tokenizer).batch(features, range(60))
    counts = masking.num_masked(batch.lengths, 0.15, batch.maskable)
    assert min(counts) == 0 and max(counts) == 5
    for words in (None, torch.from_numpy(np.concatenate([starts for *_, starts in features]))):
        chosen = masking.choose_positions(replace(batch, word_starts=words), counts, SPECIAL)
        assert not torch.isin(batch.ids[chosen], SPECIAL).any() and len(set(chosen.tolist())) == sum(counts)
        assert torch.equal(torch.bincount(batch.rows[chosen], minlength=60), torch.tensor(counts))


def test_the_shortest_example_masks_its_one_token() -> None:
    batch = collate([([2, 50, 3], [0, 0, 0]), ([2, 50, 3, 51, 3], [0, 0, 0, 1, 1])])
    chosen = masking.choose_positions(batch, masking.num_masked(batch.lengths, 0.15), SPECIAL)
    assert chosen.tolist()[0] == 1
    assert chosen.tolist()[1] in (4, 6)


def test_what_is_random_about_an_example_does_not_depend_on_its_batch() -> None:
    features = [([2, *range(10 + i, 40 + i), 3], [0] * 32) for i in range(4)]
    keys = [example_key(1, i) for i in range(4)]
    together = collate(features, keys)
    chosen = masking.choose_positions(together, masking.num_masked(together.lengths, 0.2), SPECIAL)
    for i in range(4):
        alone = collate([features[i]], [keys[i]])
        mine = masking.choose_positions(alone, masking.num_masked(alone.lengths, 0.2), SPECIAL)
        assert torch.equal(together.positions[chosen[together.rows[chosen] == i]], alone.positions[mine])


def test_positions_are_chosen_uniformly() -> None:
    rows, length = 4000, 22
    batch = collate([([2, *[50] * (length - 2), 3], [0] * length)] * rows, [example_key(9, i) for i in range(rows)])
    chosen = masking.choose_positions(batch, masking.num_masked(batch.lengths, 0.15), SPECIAL)
    seen = torch.bincount(batch.positions[chosen], minlength=length)[1:-1]
    assert stats.chisquare(seen.numpy()).pvalue > 1e-4


def test_uniforms_are_uniform_and_differ_by_purpose() -> None:
    keys = torch.tensor([example_key(1, i) for i in range(5000)])
    positions = torch.zeros_like(keys)
    a, b = (masking.uniforms(keys, positions, purpose).numpy() for purpose in (masking.KEEP, masking.SAMPLE))
    assert a.min() >= 0 and a.max() < 1
    assert stats.kstest(a, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


def test_the_hash_is_splitmix64() -> None:
    def finalize(x: int) -> int:
        m = (1 << 64) - 1
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & m
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & m
        return x ^ (x >> 31)

    values = [0, 1, -1, 2**63 - 1, -(2**63), 123456789]
    found = masking._mix(torch.tensor(values)).tolist()
    assert [v & ((1 << 64) - 1) for v in found] == [finalize(v & ((1 << 64) - 1)) for v in values]


def test_mask_token_share() -> None:
    rows, length = 800, 40
    batch = collate([([2, *[50] * (length - 2), 3], [0] * length)] * rows, [example_key(4, i) for i in range(rows)])
    chosen = masking.choose_positions(batch, masking.num_masked(batch.lengths, 0.15), SPECIAL)
    masked = masking.mask_positions(batch, chosen, 4, 0.85)
    changed = masked != batch.ids
    assert not changed[torch.isin(torch.arange(len(changed)), chosen, invert=True)].any()
    share = changed[chosen].float().mean().item()
    assert abs(share - 0.85) < 0.02
    assert (masked[chosen][changed[chosen]] == 4).all()


def test_samples_follow_the_softmax_over_the_vocabulary() -> None:
    logits = torch.tensor([0.0, 2.0, -1.0, 0.5, -30.0])
    num = 40_000
    chance = torch.rand(num, generator=torch.Generator().manual_seed(0))
    for temperature in (1.0, 0.5):
        drawn = masking.sample_tokens(logits.expand(num, 5), chance, temperature)
        expected = torch.softmax(logits.double() / temperature, -1).numpy()
        seen = np.bincount(drawn.numpy(), minlength=5)
        keep = expected > 1e-6
        assert seen[~keep].sum() == 0
        assert stats.chisquare(seen[keep], expected[keep] / expected[keep].sum() * num).pvalue > 1e-4


def test_samples_stay_inside_the_vocabulary_at_the_edges() -> None:
    chance = torch.tensor([0.0, 1 - 2**-24, 0.999999])
    drawn = masking.sample_tokens(torch.randn(3, 30522, generator=torch.Generator().manual_seed(1)), chance)
    assert drawn.min() >= 0 and drawn.max() < 30522
    certain = torch.full((3, 7), -100.0)
    certain[:, 3] = 100.0
    assert masking.sample_tokens(certain, chance).tolist() == [3, 3, 3]


def test_a_sample_equal_to_the_original_counts_as_original() -> None:
    batch = collate([([2, 10, 11, 12, 3], [0] * 5)])
    corrupted, replaced = masking.replace_tokens(batch, torch.tensor([1, 3]), torch.tensor([10, 77]))
    assert corrupted.tolist() == [2, 10, 11, 77, 3]
    assert replaced.tolist() == [False, False, False, True, False]
