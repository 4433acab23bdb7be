"""Examples and batches: the original's segment rules, nothing lost, order and position exact."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from electra.data import pretraining_batches
from electra.data.pretraining_batches import ExampleBuilder, PretrainingStream, collate, example_key, held_out_batches, split_chunks
from electra.data.shards import Split
from electra.settings import DataSettings

CLS, SEP = 2, 3
TOKENIZER = SimpleNamespace(cls_id=CLS, sep_id=SEP, special_ids=frozenset({CLS, SEP}))


def corpus(num_documents: int = 60, seed: int = 0) -> Split:
    """Random documents whose tokens number themselves, so that every token can be found again."""
    rng = np.random.default_rng(seed)
    lines, documents = [0], [0]
    for _ in range(num_documents):
        for length in rng.integers(1, 70, rng.integers(1, 12)):
            lines.append(lines[-1] + int(length))
        documents.append(len(lines) - 1)
    return Split(np.arange(lines[-1], dtype=np.int32) + 100, np.array(lines), np.array(documents))


def original_examples(documents: list[list[list[int]]], length: int, first_target: list[int], coin: list[bool]) -> list[tuple[list[int], list[int]]]:
    """The rule of the original's ExampleBuilder, written as a plain loop over lines with its draws given."""
    out = []
    for lines in documents:
        held: list[list[int]] = []
        for position, line in enumerate(lines):
            held.append(line)
            if sum(map(len, held)) >= length or position == len(lines) - 1:
                target, flip = first_target.pop(0), coin.pop(0)
                one: list[int] = []
                two: list[int] = []
                for sentence in held:
                    if not one or len(one) + len(sentence) < target or (not two and len(one) < target and flip):
                        one = one + sentence
                    else:
                        two = two + sentence
                one = one[: length - 2]
                two = two[: max(0, length - len(one) - 3)]
                out.append((one, two))
                held = []
    return out


def test_segments_follow_the_original_rule_line_by_line() -> None:
    """With the draws fixed (two segments, no short target, the coin always the same), equal to the plain loop."""
    rng = np.random.default_rng(1)
    length = 40
    documents = [[list(range(100 * d + 10 * i, 100 * d + 10 * i + int(n))) for i, n in enumerate(rng.integers(1, 9, 9))] for d in range(1, 30)]
    lines = [line for document in documents for line in document]
    line_starts = np.concatenate([[0], np.cumsum([len(line) for line in lines])])
    document_starts = np.concatenate([[0], np.cumsum([len(d) for d in documents])])
    ids = np.concatenate(lines)
    for coin in (0.0, 0.99):

        class Fixed:
            def random(self, size: int | None = None, coin: float = coin):
                return coin if size is None else np.full(size, 0.99)

            def integers(self, low: int, high: int, size: int, endpoint: bool = True):
                return np.full(size, high)

        plan = pretraining_batches.plan_examples(line_starts, document_starts, length, Fixed(), 0.05)  # type: ignore[arg-type]
        expected = original_examples(documents, length, [(length - 3) // 2] * 500, [coin < 0.5] * 500)
        assert len(plan) == len(expected)
        for i, (one, two) in enumerate(expected):
            found, segments = pretraining_batches.example_layout(plan, i, length, Fixed(), 0.0).fill(ids, CLS, SEP)  # type: ignore[arg-type]
            want = [CLS, *one, SEP] + ([*two, SEP] if two else [])
            assert found.tolist() == want
            assert segments.tolist() == [0] * (len(one) + 2) + [1] * (len(two) + 1 if two else 0)


@pytest.mark.parametrize("length", [8, 24, 64, 128])
def test_every_example_is_well_formed_and_within_one_document(length: int) -> None:
    split = corpus()
    bounds = split.line_starts[split.document_starts] + 100
    plan = pretraining_batches.plan_examples(split.line_starts, split.document_starts, length, np.random.default_rng(0), 0.05)
    assert len(plan)
    for i in range(len(plan)):
        ids, segments = pretraining_batches.example_layout(plan, i, length, np.random.default_rng(i), 0.1).fill(split.ids, CLS, SEP)
        assert len(ids) == len(segments) <= length
        assert ids[0] == CLS and ids[-1] == SEP
        real = ids[ids >= 100]
        assert len(np.unique(np.searchsorted(bounds, real, side="right"))) == 1
        assert (np.diff(segments) >= 0).all()


def test_no_text_is_lost_to_long_lines() -> None:
    split = corpus()
    length = 32
    plan = pretraining_batches.plan_examples(split.line_starts, split.document_starts, length, np.random.default_rng(0), 0.0)
    assert plan.spans[plan.first[0]] == 0 and plan.spans[plan.last[-1]] == len(split.ids)
    assert (plan.first[1:] == plan.last[:-1]).all()
    assert np.diff(plan.spans).max() <= length - 3


@pytest.mark.parametrize(("sizes", "least"), [([5000], 1.0), ([400] * 20, 1.0), ([300, 3, 40] * 30, 0.9)], ids=["one line", "paragraphs", "mixed"])
@pytest.mark.parametrize("length", [16, 48, 128])
def test_an_epoch_has_every_token_of_long_lines(length: int, sizes: list[int], least: float) -> None:
    """What lines shorter than an example lose is the original's rule; here the only ones that are have 3 and 40 tokens."""
    starts = np.cumsum([0, *sizes])
    plan = pretraining_batches.plan_examples(starts, np.array([0, len(sizes)]), length, np.random.default_rng(0), 0.05)
    seen = np.zeros(starts[-1], bool)
    for i in range(len(plan)):
        ids, _ = pretraining_batches.example_layout(plan, i, length, np.random.default_rng(i), 0.1).fill(np.arange(starts[-1]) + 100, CLS, SEP)
        seen[ids[ids >= 100] - 100] = True
    assert seen.mean() >= least


def test_shares_of_single_segments_and_short_examples() -> None:
    split = Split(np.arange(200_000) + 100, np.arange(0, 200_001, 5), np.array([0, 40_000]))
    plan = pretraining_batches.plan_examples(split.line_starts, split.document_starts, 64, np.random.default_rng(0), 0.05)
    assert abs((plan.targets < 64).mean() - 0.05) < 0.015
    single = 0
    for i in range(len(plan)):
        _, segments = pretraining_batches.example_layout(plan, i, 64, np.random.default_rng(i), 0.1).fill(split.ids, CLS, SEP)
        single += int(segments.max() == 0)
    # Very short targets have no second segment either.
    assert 0.08 < single / len(plan) < 0.16


def stream(**changes: int) -> PretrainingStream:
    options = {"batch_size": 4, "seed": 3} | changes
    settings = DataSettings(data=(), sequence_length=48, weights=(3.0, 1.0))
    return PretrainingStream([corpus(60, 0), corpus(40, 1)], ExampleBuilder(settings, TOKENIZER), **options)  # type: ignore[arg-type]


def same(a: object, b: object) -> bool:
    return a.lengths == b.lengths and all(torch.equal(getattr(a, n), getattr(b, n)) for n in ("ids", "segments", "positions", "rows", "keys"))  # type: ignore[attr-defined]


def test_a_saved_position_gives_the_batches_that_would_have_come() -> None:
    one = stream()
    for stop in (0, 7, 250):  # 250 batches are several epochs of this corpus
        for _ in range(stop):
            next(one)
        saved = one.state()
        expected = [next(one) for _ in range(5)]
        other = stream()
        other.load_state(saved)
        assert all(same(a, next(other)) for a in expected)
    assert one.orders[0].epoch > 1


@pytest.mark.parametrize(("lines", "said"), [(5, False), (500, True)])
def test_a_position_of_an_earlier_version_says_that_long_lines_differ(lines: int, said: bool, capsys: pytest.CaptureFixture[str]) -> None:
    split = Split(np.arange(5000) + 100, np.arange(0, 5001, lines), np.array([0, 5000 // lines]))
    one = PretrainingStream([split], ExampleBuilder(DataSettings(data=(), sequence_length=48), TOKENIZER), 4, 3)  # type: ignore[arg-type]
    one.load_state(one.state())
    assert capsys.readouterr().err == ""
    one.load_state({name: value for name, value in one.state().items() if name != "planning"})
    assert ("a version that cut long lines" in capsys.readouterr().err) == said


def test_two_ranks_together_see_what_one_sees() -> None:
    whole = stream(batch_size=8)
    ranks = [stream(batch_size=4, rank=r, world_size=2) for r in range(2)]
    for _ in range(30):
        expected = next(whole)
        parts = [next(r) for r in ranks]
        assert sorted(expected.keys.tolist()) == sorted(k for p in parts for k in p.keys.tolist())
        rows = {key: expected.ids[expected.rows == i].tolist() for i, key in enumerate(expected.keys.tolist())}
        for part in parts:
            for i, key in enumerate(part.keys.tolist()):
                assert part.ids[part.rows == i].tolist() == rows[key]


def test_folders_are_mixed_by_weight() -> None:
    source = stream(batch_size=64)
    batch = [next(source) for _ in range(20)]
    drawn = np.array([o.offset for o in source.orders], float)
    assert len(batch) == 20 and source.index == 1280
    per_epoch = [
        sum(len(pretraining_batches.plan_examples(p.line_starts, p.document_starts, 48, np.random.default_rng(0), 0.0)) for p in o.chunks)
        for o in source.orders
    ]
    taken = drawn + np.array([o.epoch for o in source.orders]) * per_epoch
    assert abs(taken[0] / taken.sum() - 0.75) < 0.05


def test_an_epoch_covers_everything_once_also_in_many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining_batches, "CHUNK_TOKENS", 500)
    monkeypatch.setattr(pretraining_batches, "WINDOW_CHUNKS", 3)
    split = corpus(80, 5)
    settings = DataSettings(data=(), sequence_length=32, short_example_prob=0.0)
    order = pretraining_batches.ExampleOrder(split_chunks(split, 500), settings, seed=1)
    assert len(order.chunks) > 10
    seen: list[int] = []
    while order.epoch == 0:
        chunk, plan, index = next(order)
        if order.epoch == 0:
            seen += chunk.ids[plan.spans[plan.first[index]] : plan.spans[plan.last[index]]].tolist()
    assert sorted(seen) == split.ids.tolist()
    assert seen != sorted(seen)


def epochs(order: pretraining_batches.ExampleOrder, num: int) -> list[list[tuple[int, int]]]:
    """The first epochs of an order -> (part, example in it) of every example, parts numbered as the order has them."""
    number = {id(chunk): i for i, chunk in enumerate(order.chunks)}
    out: list[list[tuple[int, int]]] = [[] for _ in range(num)]
    while True:
        chunk, _, index = next(order)
        if order.epoch == num:
            return out
        out[order.epoch].append((number[id(chunk)], index))


def test_every_epoch_has_the_chunks_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining_batches, "WINDOW_CHUNKS", 1)
    order = pretraining_batches.ExampleOrder(split_chunks(corpus(80, 5), 500), DataSettings(data=(), sequence_length=32), seed=1)
    assert len(order.chunks) > 10
    parts = [tuple(dict.fromkeys(part for part, _ in epoch)) for epoch in epochs(order, 3)]
    assert all(sorted(epoch) == list(range(len(order.chunks))) for epoch in parts)
    assert len({*parts}) == 3


def test_every_epoch_shuffles_a_window_anew() -> None:
    """One part, the same examples in every epoch: only their order can differ."""
    order = pretraining_batches.ExampleOrder(split_chunks(corpus(), 10**9), DataSettings(data=(), sequence_length=32, short_example_prob=0.0), seed=1)
    assert len(order.chunks) == 1
    found = epochs(order, 3)
    assert sorted(found[0]) == sorted(found[1]) == sorted(found[2]) and len(found[0]) > 50
    assert len({tuple(epoch) for epoch in found}) == 3


def test_held_out_examples_are_the_same_every_time() -> None:
    settings = DataSettings(data=(), sequence_length=48)
    one, two = (held_out_batches([corpus(60)], ExampleBuilder(settings, TOKENIZER), 8, 40, seed=0) for _ in range(2))
    assert sum(len(b.lengths) for b in one) == 40
    assert all(same(a, b) for a, b in zip(one, two, strict=True))


def test_collate_lays_rows_end_to_end() -> None:
    batch = collate([([2, 9, 3], [0, 0, 0]), ([2, 3], [0, 1])], [5, 6], labels=[1, 0])
    assert batch.ids.tolist() == [2, 9, 3, 2, 3] and batch.positions.tolist() == [0, 1, 2, 0, 1]
    assert batch.rows.tolist() == [0, 0, 0, 1, 1] and batch.lengths == (3, 2)
    assert batch.labels is not None and batch.labels.tolist() == [1, 0]


def test_keys_differ_between_examples_and_seeds() -> None:
    keys = {example_key(seed, i) for seed in range(20) for i in range(500)}
    assert len(keys) == 10_000 and all(-(2**63) <= k < 2**63 for k in keys)
