"""Whole words and rare tokens: where words start, how they are kept in shards, what is then masked."""

from __future__ import annotations

import dataclasses
import lzma
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from prepared import prepare_shards
from scipy import stats

from electra.cli import main
from electra.contracts import Batch
from electra.data import word_boundaries
from electra.data.pretraining_batches import ExampleBuilder, PretrainingStream, collate, example_key, held_out_batches
from electra.data.shards import Shards, Split, open_shards
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.tokenizer_files import bert_rules
from electra.data.word_boundaries import WordSpelling
from electra.data.word_statistics import FREQUENT, MaskingInfo, masking_info
from electra.errors import UserError, missing_package
from electra.model import masking
from electra.settings import DataSettings, ObjectiveSettings

SPECIAL = torch.tensor([0, 1, 2, 3, 4])
CHINESE = ("我们中出了一个叛徒，他穿着红色的衣服。", "unaffable 中国人民 2024年 [MASK]", "", "，。", "中\u0301国 a中b 丽中")


@pytest.fixture(scope="module")
def chinese() -> Tokenizer:
    """A vocabulary of the characters and words of CHINESE, but for one character."""
    characters = dict.fromkeys(c for c in "".join(CHINESE) if not c.isascii() and c not in "叛\u0301\uf988")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, "un", "##aff", "##able", "2024", "a", "b"]
    return Tokenizer(words_rules(dict.fromkeys(pieces)))


def words_rules(pieces: dict[str, None]) -> tokenizers.Tokenizer:
    return bert_rules({piece: index for index, piece in enumerate(pieces)}, lowercase=True)


def random_batch(rows: int = 50, seed: int = 0, *, longest_word: int = 5, shortest: int = 2, length: int = 60) -> Batch:
    """Rows of words of 1..longest_word tokens; ids from 5 up."""
    rng = np.random.default_rng(seed)
    features, starts = [], []
    for _ in range(rows):
        n = int(rng.integers(shortest, length))
        sizes = rng.integers(1, longest_word + 1, n)
        opens = np.concatenate([[1] + [0] * (s - 1) for s in sizes])[:n]
        features.append(([2, *rng.integers(5, 90, n), 3], [0] * (n + 2)))
        starts.append(np.array([1, *opens, 1], bool))
    batch = collate(features, [example_key(seed, i) for i in range(rows)])
    return MaskingInfo(spelling=WordSpelling(np.ones(100, bool))).annotate(batch, starts)


def words_of(batch: Batch) -> np.ndarray:
    """(T,) number of each token's word; [CLS] and [SEP] are words of their own."""
    assert batch.word_starts is not None
    return np.cumsum(batch.word_starts.numpy() | np.isin(batch.ids.numpy(), [2, 3]))


def cut_words(batch: Batch, chosen: torch.Tensor) -> int:
    """Words of which some tokens are chosen and some not."""
    number = words_of(batch)
    mask = np.zeros(len(number), bool)
    mask[chosen.numpy()] = True
    size, hit = np.bincount(number), np.bincount(number, weights=mask)
    return int(((hit > 0) & (hit < size)).sum())


def choose(batch: Batch, share: float = 0.15) -> torch.Tensor:
    return masking.choose_positions(batch, masking.num_masked(batch.lengths, share), SPECIAL)


# ---- choosing ----


@pytest.mark.parametrize("longest", [1, 2, 5])
def test_whole_words_have_exact_counts_and_are_hardly_ever_cut(longest: int) -> None:
    batch = random_batch(200, longest_word=longest)
    counts = masking.num_masked(batch.lengths, 0.15)
    chosen = masking.choose_positions(batch, counts, SPECIAL)
    assert len(set(chosen.tolist())) == len(chosen) == sum(counts)
    assert not torch.isin(batch.ids[chosen], SPECIAL).any()
    assert torch.equal(torch.bincount(batch.rows[chosen], minlength=200), torch.tensor(counts))
    # Where no word fits what is left of a row, one of its words is cut: seldom where, as in text, many words are one piece.
    assert cut_words(batch, chosen) <= {1: 0, 2: 10, 5: 40}[longest]
    assert len(chosen) > 600


def test_the_choice_is_first_fit_over_words_in_random_order() -> None:
    """Against a plain loop: words by their chance, each taken if it fits; where they do not fill the row, they are chosen all the same."""
    batch = random_batch(120, seed=4, longest_word=4)
    counts = masking.num_masked(batch.lengths, 0.3)
    chosen = set(masking.choose_positions(batch, counts, SPECIAL).tolist())
    chance = masking.uniforms(batch.keys[batch.rows], batch.positions, masking.CHOOSE).numpy()
    number, whole = words_of(batch), 0
    for row, count in enumerate(counts):
        at = np.flatnonzero(batch.rows.numpy() == row)
        at = at[~np.isin(batch.ids.numpy()[at], [2, 3])]
        groups = sorted((at[number[at] == n] for n in np.unique(number[at])), key=lambda g: chance[g[0]])
        expected: set[int] = set()
        for group in groups:
            if len(expected) + len(group) <= count:
                expected |= set(group.tolist())
        if len(expected) == count:
            whole += 1
            assert expected == chosen & set(at.tolist())
        else:
            assert expected <= chosen
    assert whole > 100


def test_whole_words_are_chosen_as_often_whatever_their_length() -> None:
    """Nearly: a long word is the one that no longer fits more often. The share of all tokens is exact."""
    batch = random_batch(3000, seed=1, longest_word=3, shortest=125, length=126)
    chosen = choose(batch)
    number = words_of(batch)
    size = np.bincount(number)[number]
    mask = np.zeros(len(number), bool)
    mask[chosen.numpy()] = True
    ordinary = ~np.isin(batch.ids.numpy(), [2, 3])
    shares = [mask[ordinary & (size == n)].mean() for n in (1, 2, 3)]
    assert max(shares) / min(shares) < 1.35, shares


def test_a_words_choice_does_not_depend_on_its_batch() -> None:
    batch = random_batch(6, seed=2)
    mine = choose(batch)
    ends = np.cumsum(batch.lengths)
    assert batch.word_starts is not None
    for row in range(6):
        at = slice(int(ends[row]) - batch.lengths[row], int(ends[row]))
        alone = collate([(batch.ids[at].numpy(), batch.segments[at].numpy())], [int(batch.keys[row])])
        alone = MaskingInfo(spelling=WordSpelling(np.ones(100, bool))).annotate(alone, [batch.word_starts[at].numpy()])
        assert torch.equal(batch.positions[mine[batch.rows[mine] == row]].sort().values, choose(alone).sort().values)


def test_unknown_characters_are_never_chosen_with_their_neighbours() -> None:
    ids = [2, 10, 1, 11, 12, 13, 3]
    batch = collate([(ids, [0] * 7)] * 200, [example_key(0, i) for i in range(200)])
    starts = np.array([1, 1, 0, 0, 0, 1, 1], bool)
    batch = MaskingInfo(spelling=WordSpelling(np.ones(20, bool))).annotate(batch, [starts] * 200)
    chosen = masking.choose_positions(batch, (2,) * 200, SPECIAL)
    picked = batch.positions[chosen].view(200, 2).sort(1).values.tolist()
    assert all(pair in ([3, 4], [1, 5]) for pair in picked)
    assert [3, 4] in picked and [1, 5] in picked


# ---- rare tokens ----


def test_weights_are_followed_and_none_is_todays_choice() -> None:
    """One position of each row: then drawn in proportion to the weights. Equal weights and no hints choose the same."""
    rows = 20_000
    weights = torch.tensor([1.0, 0.5, 0.25, 0.25])
    batch = collate([([2, 10, 11, 12, 13, 3], [0] * 6)] * rows, [example_key(3, i) for i in range(rows)])
    table = torch.ones(20)
    table[10:14] = weights
    found = masking.choose_positions(MaskingInfo(weights=table).annotate(batch, [None] * rows), (1,) * rows, SPECIAL)
    seen = torch.bincount(batch.ids[found], minlength=20)[10:14].numpy()
    assert stats.chisquare(seen, (weights / weights.sum()).numpy() * rows).pvalue > 1e-4
    plain = masking.choose_positions(batch, (2,) * rows, SPECIAL)
    even = masking.choose_positions(MaskingInfo(weights=torch.ones(20)).annotate(batch, [None] * rows), (2,) * rows, SPECIAL)
    assert (plain == even).float().mean() > 0.999
    assert masking_info(ObjectiveSettings(), {}, (), tiny_tokenizer()) is None


def tiny_tokenizer() -> Tokenizer:
    return Tokenizer(words_rules(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])))


def test_a_power_aims_at_rare_tokens(made: Shards, tokenizer: Tokenizer) -> None:
    split = made.train
    frequency = np.bincount(split.ids, minlength=tokenizer.vocab_size) / split.num_tokens
    shares = {}
    for power in (0.0, 0.5, 1.0):
        hints = masking_info(ObjectiveSettings(mask_frequency_power=power), {"made": made}, (), tokenizer)
        assert (hints is None) == (power == 0)
        stream = PretrainingStream([split], ExampleBuilder(DataSettings(data=(), sequence_length=64), tokenizer, hints), 16, 1)
        batches = [next(stream) for _ in range(20)]
        rare = [frequency[b.ids[choose(b)].numpy()] < np.median(frequency[split.ids]) for b in batches]
        shares[power] = np.concatenate(rare).mean()
    assert shares[0.0] + 0.02 < shares[0.5] < shares[1.0] - 0.02, shares
    hints = masking_info(ObjectiveSettings(mask_frequency_power=0.5), {"made": made}, (), tokenizer)
    assert hints is not None and hints.weights is not None
    smoothed = (np.bincount(split.ids, minlength=tokenizer.vocab_size) + 1) / (split.num_tokens + tokenizer.vocab_size)
    assert np.allclose(hints.weights.numpy(), np.minimum(1, np.sqrt(FREQUENT / smoothed)), rtol=1e-4)


# ---- words of a text ----


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab: Path) -> Tokenizer:
    return load_tokenizer(tiny_vocab)


@pytest.fixture(scope="module")
def made(tiny_corpus: Path, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return prepare_shards([tiny_corpus], tokenizer, tmp_path_factory.mktemp("made") / "shards", workers=1, held_out=0.2)


def test_ids_are_the_tokenizers_and_words_are_the_segmenters(chinese: Tokenizer) -> None:
    rjieba = pytest.importorskip("rjieba")
    found, starts = word_boundaries.ChineseWords(chinese).encode(CHINESE)
    assert found == [np.array(e.ids, np.uint16).tobytes() for e in chinese.backend.encode_batch(list(CHINESE), add_special_tokens=False)]
    text = CHINESE[0]
    expected = np.zeros(len(text), bool)
    expected[np.cumsum([0, *map(len, rjieba.cut(text))])[:-1]] = True
    assert starts[0].tolist() == expected.tolist()
    spelled = [chinese.pieces[i] for i in np.frombuffer(found[1], np.uint16)]
    marked = " ".join(("|" if start else "") + piece for piece, start in zip(spelled, starts[1], strict=True))
    assert marked.startswith("|un ##aff ##able |中 国 ") and marked.endswith("|2024 |年 |[MASK]")
    assert [len(s) for s in starts] == [len(f) // 2 for f in found]


def test_every_chinese_character_is_one_token_everywhere(chinese: Tokenizer) -> None:
    pytest.importorskip("rjieba")
    edges = [code for first, last in word_boundaries.CHINESE for code in (first - 1, first, last, last + 1)] + list(range(0x2B81F, 0x2B922))
    texts = [f"a{chr(c)}b中{chr(c)}{chr(c)}\u0301a" for c in edges]
    found, _ = word_boundaries.ChineseWords(chinese).encode(texts)
    assert found == [np.array(e.ids, np.uint16).tobytes() for e in chinese.backend.encode_batch(texts, add_special_tokens=False)]


def test_whole_parts_have_the_same_ids_and_marks(chinese: Tokenizer) -> None:
    pytest.importorskip("rjieba")
    edges = [code for first, last in word_boundaries.CHINESE for code in (first - 1, first, last, last + 1)]
    texts = [*CHINESE * 3, *(f"a{chr(c)}中国{chr(c)}人民 {chr(c)}" for c in edges), "", "我们中出了一个" * 9]
    ids, counts, marks = word_boundaries.ChineseWords(chinese).encode_lines("\n".join(texts).encode())
    found, starts = word_boundaries.ChineseWords(chinese).encode(texts)
    assert ids.tobytes() == b"".join(found) and counts.tolist() == [len(line) for line in starts]
    assert marks.tolist() == np.concatenate(starts).tolist() and 0 < marks.sum() < len(marks)


def test_bits_are_read_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.random(n) < 0.6 for n in (0, 3, 17, 1, 200, 0, 8)]
    with open(tmp_path / "bits", "wb") as stream:
        word_boundaries.write_bits(stream, iter(arrays))
    packed = np.fromfile(tmp_path / "bits", np.uint8)
    whole = np.concatenate(arrays)
    assert len(packed) == word_boundaries.packed_size(len(whole))
    bits = word_boundaries.PackedBits(packed)
    for first, last in rng.integers(0, len(whole) + 1, (200, 2)).tolist():
        if first <= last:
            assert bits[first:last].tolist() == whole[first:last].astype(int).tolist()


def test_auto_knows_a_chinese_vocabulary(chinese: Tokenizer, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert word_boundaries.resolve_words("auto", tokenizer) == ("none", "")
    assert word_boundaries.resolve_words("none", chinese) == ("none", "")

    def absent(module: str, extra: str) -> None:
        raise missing_package(module, extra)

    monkeypatch.setattr(word_boundaries, "require", lambda module, extra: None)
    assert word_boundaries.resolve_words("auto", chinese) == ("chinese", "")
    monkeypatch.setattr(word_boundaries, "require", absent)
    assert word_boundaries.resolve_words("auto", chinese)[0] == "none" and "-e '.[data]'" in word_boundaries.resolve_words("auto", chinese)[1]
    with pytest.raises(UserError, match=r"rjieba.*\[data\]"):
        word_boundaries.resolve_words("chinese", chinese)


# ---- through shards and batches ----


@pytest.fixture(scope="module")
def chinese_shards(chinese: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shards]:
    """The same text with and without word boundaries, 'none' by an older version, which did not write the field."""
    pytest.importorskip("rjieba")
    folder = tmp_path_factory.mktemp("zh")
    rng = np.random.default_rng(0)
    lines = ["\n".join(CHINESE[i] or "一个中国" for i in rng.integers(0, 5, 6)) for _ in range(60)]
    (folder / "a.txt").write_text("\n\n".join(lines), encoding="utf-8")
    options = {"workers": 1, "held_out": 0.2, "chunk_bytes": 1500, "deduplicate": False}
    return {kind: prepare_shards([folder / "a.txt"], chinese, folder / kind, words=kind, **options) for kind in ("none", "chinese")}


def test_shards_keep_a_bit_per_token_and_the_same_ids(chinese_shards: dict[str, Shards], chinese: Tokenizer) -> None:
    plain, kept = chinese_shards["none"], chinese_shards["chinese"]
    reader = word_boundaries.ChineseWords(chinese)
    for name in ("train", "held_out"):
        one, two = plain.split(name), kept.split(name)
        assert np.array_equal(one.ids, two.ids) and np.array_equal(one.line_starts, two.line_starts)
        assert one.word_starts is None and two.word_starts is not None
        texts = {reader.encode([text])[0][0]: reader.encode([text])[1][0] for text in (*CHINESE, "一个中国")}
        for first, last in zip(two.line_starts[:-1].tolist(), two.line_starts[1:].tolist(), strict=True):
            assert two.word_starts[first:last].astype(bool).tolist() == texts[two.ids[first:last].tobytes()].tolist()
    assert kept.verify() == []
    assert (plain.words, kept.words) == ("none", "chinese")
    assert kept.train.num_tokens % 8, "the last byte is to be a part of one"
    shards = Shards(plain.path, {key: value for key, value in plain.manifest.items() if key != "words"})
    assert shards.words == "none" and shards.train.word_starts is None


def test_batches_carry_the_words_to_their_tokens(chinese_shards: dict[str, Shards], chinese: Tokenizer) -> None:
    """Tokens with their starts, read off the batches, are those of the shards; the batches are else the same."""
    kept = chinese_shards["chinese"]
    settings = DataSettings(data=(), sequence_length=32)
    hints = masking_info(ObjectiveSettings(mask_unit="word"), chinese_shards | {"none": kept}, (), chinese)
    streams = [PretrainingStream([kept.train], ExampleBuilder(settings, chinese, given), 8, 1) for given in (None, hints)]
    reader = word_boundaries.ChineseWords(chinese)
    known = {text: pair for text in (*CHINESE, "一个中国") for pair in [[x[0] for x in reader.encode([text])]]}
    whole = {np.frombuffer(ids, np.uint16).astype(int).tobytes(): starts.tolist() for ids, starts in known.values()}
    matched = 0
    for _ in range(20):
        plain, marked = next(streams[0]), next(streams[1])
        assert plain.word_starts is None and torch.equal(plain.ids, marked.ids) and marked.word_starts is not None
        values = marked.ids.numpy()
        for tokens, starts in whole.items():
            ids = np.frombuffer(tokens, int)
            for at in range(len(values) - len(ids) + 1):
                if len(ids) > 4 and np.array_equal(values[at : at + len(ids)], ids):
                    assert marked.word_starts[at : at + len(ids)].tolist() == starts
                    matched += 1
        assert cut_words(marked, choose(marked)) <= cut_words(marked, choose(plain))
    assert matched > 50
    assert all(b.word_starts is not None for b in held_out_batches([kept.held_out], ExampleBuilder(settings, chinese, hints), 8, 9, 0))


def test_spelled_words_need_no_boundaries(made: Shards, tokenizer: Tokenizer) -> None:
    hints = masking_info(ObjectiveSettings(mask_unit="word"), {"made": made}, (), tokenizer)
    split = Split(*(np.array(a) for a in ([6, 100, 7, 101, 102, 8], [0, 3, 6], [0, 2])))
    assert hints is not None
    batch = next(PretrainingStream([split], ExampleBuilder(DataSettings(data=(), sequence_length=16), tokenizer, hints), 1, 1))
    assert batch.word_starts is not None
    assert batch.word_starts.tolist() == [not tokenizer.pieces[i].startswith("##") for i in batch.ids.tolist()]


def test_chinese_words_from_shards_without_them_are_refused(
    chinese_shards: dict[str, Shards], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--mask-unit", "word", "--num-train-steps", "2", "--sequence-length", "32"]
    assert main(["pretrain", "tiny", "--data", str(chinese_shards["none"].path), "--output", str(tmp_path / "run"), *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "prepare it again with --words chinese" in error and str(chinese_shards["none"].path) in error


# ---- real text ----


@pytest.mark.realdata
@pytest.mark.parametrize(("language", "vocabulary"), [("en", "uncased-en.txt"), ("zh", "zh.txt")])
def test_share_of_words_cut_in_real_text(language: str, vocabulary: str, data_root: Path, tmp_path: Path) -> None:
    """Of the masked words of several tokens, masking by token cuts nearly all, by whole word nearly none."""
    if language == "zh":
        pytest.importorskip("rjieba")
    with lzma.open(data_root / f"corpus-{language}" / "wikipedia-0.txt.xz", "rt", encoding="utf-8") as stream:
        (tmp_path / "a.txt").write_text(stream.read(250_000), encoding="utf-8")
    tokenizer = load_tokenizer(data_root / "vocab" / vocabulary)
    chosen_words, _ = word_boundaries.resolve_words("auto", tokenizer)
    assert chosen_words == ("chinese" if language == "zh" else "none")
    prepare_shards([tmp_path / "a.txt"], tokenizer, tmp_path / "s", workers=1, words=chosen_words)
    shards = open_shards(tmp_path / "s")
    hints = masking_info(ObjectiveSettings(mask_unit="word"), {"s": shards}, (), tokenizer)
    stream = PretrainingStream([shards.train], ExampleBuilder(DataSettings(data=()), tokenizer, hints), 32, 1)
    cut, touched = {"piece": 0, "word": 0}, {"piece": 0, "word": 0}
    for _ in range(15):
        batch = next(stream)
        for unit in cut:
            seen = batch if unit == "word" else dataclasses.replace(batch, word_starts=None)
            chosen = choose(seen)
            number = words_of(batch)
            size = np.bincount(number)
            touched[unit] += int((size[np.unique(number[chosen.numpy()])] > 1).sum())
            cut[unit] += cut_words(batch, chosen)
    print(language, {unit: f"{cut[unit]}/{touched[unit]}" for unit in cut})
    assert cut["piece"] / touched["piece"] > 0.6
    assert cut["word"] / touched["word"] < 0.01
