"""Texts -> which of their tokens were replaced: the discriminator's probabilities, and replaced-token detection step by step with its generator;
the same of words, for corruption sets that models with any tokenizer are compared on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from electra.data.corruption_set import SOURCES, WORD, CorruptedText, find_words, replace_words
from electra.data.windows import WindowInput, run_windows, text_windows
from electra.inference.call_forms import one_text
from electra.tasks.text_tasks import sigmoid, softmax

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer
    from electra.inference.backends import Array, Backend

Spans = Sequence[tuple[int, int]]
"""Characters (first, end) of each token."""


@dataclass(frozen=True)
class EncodedText:
    """A text and its tokens, so that it is tokenized once."""

    text: str
    ids: list[int]
    """Without special tokens."""
    spans: Spans


def encoded(item: str | EncodedText, tokenizer: Tokenizer) -> EncodedText:
    """A text -> its tokens; what is encoded already stays as it is."""
    return item if isinstance(item, EncodedText) else EncodedText(item, *tokenizer.encode_offsets(item))


def text_or_tokens(item: Any, place: str) -> str | EncodedText:
    """A text, or one that is encoded already.

    Raises:
        UserError: something else.
    """
    return item if isinstance(item, EncodedText) else one_text(item, place)


def text_size(item: str | EncodedText) -> int:
    """Characters."""
    return len(item.text if isinstance(item, EncodedText) else item)


@dataclass(frozen=True)
class Token:
    """One token of a text and the discriminator's prediction for it."""

    token: str
    """'##' marks one that continues a word."""
    start: int
    """First character in the text."""
    end: int
    """Character after the last."""
    probability: float
    """Probability that the token was replaced."""
    replaced: bool
    """Whether that reaches the threshold."""


@dataclass(frozen=True)
class Detection:
    """A text and its tokens: `text[token.start:token.end]` is what a token was read from."""

    text: str
    tokens: tuple[Token, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"text": self.text, "tokens": [asdict(token) for token in self.tokens]}


def detection_records(detection: Detection) -> list[dict[str, Any]]:
    """A detection -> {"token", "start", "end", "score", "replaced"} of every token."""
    return [{"token": t.token, "start": t.start, "end": t.end, "score": t.probability, "replaced": t.replaced} for t in detection.tokens]


@dataclass(frozen=True)
class MaskedToken:
    """One masked token: the original, the generator's proposals and sample, the discriminator's prediction."""

    index: int
    """Index among the tokens of the text."""
    start: int
    """First character in the original text."""
    end: int
    original: str
    proposals: tuple[tuple[str, float], ...]
    """The generator's most probable tokens, with probabilities."""
    sampled: str
    """The token sampled from its whole distribution."""
    changed: bool
    """Whether it differs from the original: only then is it a replacement."""
    probability: float
    """The discriminator's probability of 'replaced'."""
    verdict: bool
    """Whether the discriminator predicts that it was replaced."""


@dataclass(frozen=True)
class Corruption:
    """Replaced-token detection on one text, step by step."""

    text: str
    masked: str
    """The text with [MASK] where tokens were hidden."""
    replacements: tuple[MaskedToken, ...]
    corrupted: Detection
    """The discriminator's input and predictions; offsets count in `corrupted.text`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        out = asdict(self)
        for item in out["replacements"]:
            item["proposals"] = [{"token": token, "probability": p} for token, p in item["proposals"]]
        return out


def detect(
    backend: Backend, tokenizer: Tokenizer, texts: Iterable[str | EncodedText], *, max_length: int, threshold: float = 0.5, batch_size: int = 32
) -> Iterator[Detection]:
    """Texts, any number and length -> one Detection each, in order.

    A text longer than `max_length` is read in overlapping windows; each token is predicted in the window in which it has most context on both
    sides.
    """

    def prepare(chunk: list[str | EncodedText]) -> list[tuple[EncodedText, list[WindowInput]]]:
        found = [encoded(item, tokenizer) for item in chunk]
        return [(item, text_windows(item.ids, tokenizer, max_length)) for item in found]

    for item, windows, results in run_windows(texts, prepare=prepare, run=backend.replaced_logits, size=text_size, batch_size=batch_size):
        yield _detection(item.text, [tokenizer.pieces[i] for i in item.ids], item.spans, _join(windows, results), threshold)


def _join(windows: Sequence[WindowInput], results: Sequence[Array]) -> Array:
    """Logits of every window, special tokens included -> probabilities of the text's tokens."""
    return sigmoid(np.concatenate([result[window.inside] for window, result in zip(windows, results, strict=True)]))


def _detection(text: str, words: Sequence[str], spans: Spans, probabilities: Array, threshold: float) -> Detection:
    rows = zip(words, spans, probabilities.tolist(), strict=True)
    return Detection(text, tuple(Token(word, start, end, p, p >= threshold) for word, (start, end), p in rows))


# ---- corruption ----


@dataclass(frozen=True)
class _Masked:
    """A text whose `chosen` tokens are masked; `uniform` are the random numbers that choose the samples."""

    text: str
    ids: list[int]
    spans: Spans
    chosen: list[int]
    uniform: list[float]


Sample = tuple[list[tuple[int, float]], int]
"""The generator's most probable ids with their probabilities, and the id sampled."""


@dataclass(frozen=True)
class _Filled:
    """A masked text, the sample at each mask, and the ids that the discriminator reads."""

    masked: _Masked
    samples: list[Sample]
    ids: list[int]


@dataclass(frozen=True, kw_only=True)
class CorruptOptions:
    """How texts are corrupted."""

    mask_prob: float
    """Share of the tokens that are masked."""
    temperature: float
    """Of the generator's distribution; below 1 likely tokens become likelier."""
    seed: int
    threshold: float
    """Probability from which a token counts as replaced."""
    num_proposals: int
    """The generator's likeliest tokens that are listed for each masked one."""


def corrupt(
    discriminator: Backend,
    generator: Backend,
    tokenizer: Tokenizer,
    texts: Iterable[str | EncodedText],
    options: CorruptOptions,
    *,
    max_length: int,
    batch_size: int = 32,
) -> Iterator[Corruption]:
    """Texts -> the workflow of replaced-token detection on each (paper, figure 2).

    Some of a text's tokens, at least one, become [MASK]; each is sampled from the generator's distribution over the vocabulary (without the rows
    of a padded output table, which have no token); the discriminator reads the result. Masks and samples depend on the seed and the text's
    number alone.
    """
    numbered = enumerate(texts)

    def prepare(chunk: list[tuple[int, str | EncodedText]]) -> list[tuple[_Masked, list[WindowInput]]]:
        out = []
        for number, text in chunk:
            item = encoded(text, tokenizer)
            eligible = [i for i, word in enumerate(item.ids) if word not in tokenizer.special_ids]
            masked = _choose(item, eligible, options.mask_prob, np.random.default_rng([options.seed, number]))
            hidden = list(item.ids)
            for index in masked.chosen:
                hidden[index] = tokenizer.mask_id
            windows = [_with_queries(window, masked) for window in text_windows(hidden, tokenizer, max_length)]
            out.append((masked, [window for window in windows if window.queries]))
        return out

    def run(windows: list[WindowInput]) -> list[list[Sample]]:
        found = zip(windows, generator.word_logits(windows), strict=True)
        return [
            [
                _sample(logits[: tokenizer.vocab_size], uniform, options.temperature, options.num_proposals)
                for logits, (_, uniform) in zip(rows, window.queries, strict=True)
            ]
            for window, rows in found
        ]

    def discriminate(chunk: list[_Filled]) -> list[tuple[_Filled, list[WindowInput]]]:
        return [(filled, text_windows(filled.ids, tokenizer, max_length)) for filled in chunk]

    def fill() -> Iterator[_Filled]:
        for masked, _, results in run_windows(numbered, prepare=prepare, run=run, size=lambda item: text_size(item[1]), batch_size=batch_size):
            samples = [sample for result in results for sample in result]
            sampled = {index: new for index, (_, new) in zip(masked.chosen, samples, strict=True)}
            yield _Filled(masked, samples, [sampled.get(index, word) for index, word in enumerate(masked.ids)])

    for filled, windows, logits in run_windows(
        fill(), prepare=discriminate, run=discriminator.replaced_logits, size=lambda f: len(f.masked.text), batch_size=batch_size
    ):
        yield _corruption(filled.masked, filled.samples, _join(windows, logits), tokenizer, options.threshold)


def _choose(item: EncodedText, eligible: list[int], mask_prob: float, random: np.random.Generator) -> _Masked:
    """`mask_prob` of the text's tokens, at least one, never a special one (nor an unknown word, as in pre-training)."""
    count = min(len(eligible), max(1, round(len(item.ids) * mask_prob)))
    chosen = sorted(eligible[i] for i in random.permutation(len(eligible))[:count])
    return _Masked(item.text, item.ids, item.spans, chosen, random.random(count).tolist())


def _with_queries(item: WindowInput, masked: _Masked) -> WindowInput:
    """The window with a query at each masked token it answers for."""
    window = item.window
    here = [(c, u) for c, u in zip(masked.chosen, masked.uniform, strict=True) if window.first <= c < window.last]
    return replace(item, queries=tuple((1 + c - window.start, u) for c, u in here))


def likeliest(values: Array, count: int) -> list[int]:
    """(V,) -> indices of the `count` largest, the largest first, equal ones in their order: a stable sort's beginning without sorting all."""
    bound = np.partition(values, max(0, len(values) - count))[max(0, len(values) - count)]
    found = np.flatnonzero(values >= bound)
    ranked: list[int] = found[np.argsort(-values[found], kind="stable")][:count].tolist()
    return ranked


def _sample(logits: Array, uniform: float, temperature: float, num_proposals: int) -> Sample:
    """(V,) logits, a uniform number -> the most probable ids with probabilities, and the id sampled by the inverse CDF."""
    probabilities = softmax(logits, temperature)
    cumulative = probabilities.cumsum()
    sampled = min(int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right")), len(probabilities) - 1)
    return [(i, float(probabilities[i])) for i in likeliest(probabilities, num_proposals)], sampled


def _corruption(
    masked: _Masked,
    samples: Sequence[Sample],
    probabilities: Array,
    tokenizer: Tokenizer,
    threshold: float,
) -> Corruption:
    words = [tokenizer.pieces[i] for i in masked.ids]
    sampled = dict(zip(masked.chosen, (tokenizer.pieces[new] for _, new in samples), strict=True))
    hidden_text, _ = _rewrite(masked.text, masked.spans, words, dict.fromkeys(masked.chosen, "[MASK]"))
    changed = {i: word for i, word in sampled.items() if word != words[i]}
    corrupted_text, spans = _rewrite(masked.text, masked.spans, words, changed)
    detection = _detection(corrupted_text, [sampled.get(i, word) for i, word in enumerate(words)], spans, probabilities, threshold)
    replacements = []
    for index, (proposals, _) in zip(masked.chosen, samples, strict=True):
        verdict = detection.tokens[index]
        best = tuple((tokenizer.pieces[i], p) for i, p in proposals)
        start, end = masked.spans[index]
        shown = MaskedToken(index, start, end, words[index], best, sampled[index], index in changed, verdict.probability, verdict.replaced)
        replacements.append(shown)
    return Corruption(masked.text, hidden_text, tuple(replacements), detection)


def _rewrite(text: str, spans: Spans, words: Sequence[str], put: dict[int, str]) -> tuple[str, list[tuple[int, int]]]:
    """The text with other words at some tokens -> new text, and the place of each token in it.

    A sample that starts a word in place of one that continued is set off by a space; '##' stays visible only where a
    continuation was sampled at the start of a word, as the discriminator reads it there too.
    """
    out: list[str] = []
    length = done = 0
    places = []

    def add(part: str) -> None:
        nonlocal length
        out.append(part)
        length += len(part)

    for index, (start, end) in enumerate(spans):
        # Two tokens may share a character (one that normalization expands): its text is written once.
        add(text[done:start])
        word = put.get(index)
        continues = words[index].startswith("##")
        if word is not None and continues and word.startswith("##"):
            word = word.removeprefix("##")
        elif word is not None and continues and word != "[MASK]":
            add(" ")
        where = length
        add(text[max(start, done) : end] if word is None else word)
        places.append((where if length > where else max(0, where - (end - start)), length))
        done = max(done, end)
    add(text[done:])
    return "".join(out), places


# ---- words: a corruption set that models with any tokenizer are compared on ----

FEWEST_WORDS, MOST_WORDS = 5, 60
"""Words of a text of a corruption set: enough context, and nothing cut by any model."""


def word_scores(detection: Detection, words: Iterable[tuple[int, int, bool]]) -> list[float]:
    """A text's tokens -> for each of its words the largest probability of the tokens that share characters with it; 0 where none does."""
    return [max((t.probability for t in detection.tokens if t.start < end and first < t.end), default=0.0) for first, end, _ in words]


def corrupt_words(
    generator: Backend, tokenizer: Tokenizer, texts: Sequence[str], counts: Mapping[str, int], *, seed: int, batch_size: int = 32
) -> Iterator[tuple[int, tuple[CorruptedText, CorruptedText]]]:
    """Texts -> number of a text, the same words replaced by the generator and by word frequency; too short and too long texts are left out.

    15% of a text's words, at least one, are chosen; each becomes one [MASK], and a word that is one token is sampled from the generator's
    distribution over such tokens (temperature 1). A sample equal to the word stays the word. `counts`: how often words occur, in lower case.
    Choices and samples depend on the seed and the text's number alone. A text of which the tokenizer does not read the replacements back is left out.
    """
    known, rates = list(counts), np.cumsum(np.array(list(counts.values()), np.float64))
    whole = _whole_words(tokenizer)

    def prepare(chunk: list[tuple[int, str]]) -> list[tuple[tuple[int, _MaskedWords], list[WindowInput]]]:
        out = []
        for number, text in chunk:
            masked = _mask_words(encoded(text, tokenizer), tokenizer.mask_id, np.random.default_rng([seed, number]))
            windows = text_windows(masked.ids, tokenizer, generator.max_length) if masked.words else []
            fits = len(windows) == 1
            queries = tuple((1 + at, uniform) for (at, _), uniform in zip(masked.words.values(), masked.uniforms, strict=True))
            out.append(((number, masked), [replace(windows[0], queries=queries)] if fits else []))
        return out

    def run(windows: list[WindowInput]) -> list[list[int]]:
        found = zip(windows, generator.word_logits(windows), strict=True)
        return [[int(whole[_sample(row[whole], u, 1.0, 1)[1]]) for row, (_, u) in zip(rows, window.queries, strict=True)] for window, rows in found]

    for (number, masked), _, results in run_windows(
        enumerate(texts), prepare=prepare, run=run, size=lambda item: len(item[1]), batch_size=batch_size
    ):
        if not results:
            continue
        sampled = {word: new for (word, (_, old)), new in zip(masked.words.items(), results[0], strict=True) if [new] != old}
        first = replace_words(masked.text, {word: tokenizer.decode([new]).strip() for word, new in sampled.items()}, SOURCES[0])
        drawn = [known[min(int(np.searchsorted(rates, u * rates[-1], side="right")), len(known) - 1)] for u in masked.drawn]
        spans = find_words(masked.text)
        other = {word: new for word, new in zip(masked.words, drawn, strict=True) if new != masked.text[slice(*spans[word])].lower()}
        if _read_back(first, sampled, tokenizer):
            yield number, (first, replace_words(masked.text, other, SOURCES[1]))


@dataclass(frozen=True)
class _MaskedWords:
    """A text whose chosen words are one mask each."""

    text: str
    ids: list[int]
    words: dict[int, tuple[int, list[int]]]
    """Number of a word -> index of its mask, and the ids it had."""
    uniforms: list[float]
    """A random number for each sample of the generator."""
    drawn: list[float]
    """The same for the sample by frequency."""


def _mask_words(item: EncodedText, mask_id: int, random: np.random.Generator) -> _MaskedWords:
    """A text -> some of its words masked; none of a text with too few or too many, and none that shares a token with what is next to it."""
    spans = find_words(item.text)
    inside = [[at for at, (start, end) in enumerate(item.spans) if start < last and first < end] for first, last in spans]
    own = [n for n, (at, span) in enumerate(zip(inside, spans, strict=True)) if at and (item.spans[at[0]][0], item.spans[at[-1]][1]) == span]
    count = max(1, round(0.15 * len(spans))) if FEWEST_WORDS <= len(spans) <= MOST_WORDS else 0
    chosen = sorted(own[i] for i in random.permutation(len(own))[:count])
    ids: list[int] = []
    words: dict[int, tuple[int, list[int]]] = {}
    done = 0
    for number in chosen:
        ids += item.ids[done : inside[number][0]]
        done = inside[number][-1] + 1
        words[number] = (len(ids), item.ids[inside[number][0] : done])
        ids.append(mask_id)
    uniforms, drawn = random.random((2, len(chosen))).tolist()
    return _MaskedWords(item.text, [*ids, *item.ids[done:]], words, uniforms, drawn)


def _whole_words(tokenizer: Tokenizer) -> Array:
    """Ids of the tokens that are a word by themselves."""
    plain = [i for i in range(tokenizer.vocab_size) if i not in tokenizer.special_ids and not tokenizer.pieces[i].startswith("##")]
    spelled = {i: tokenizer.decode([i]).strip() for i in plain}
    return np.array([i for i, word in spelled.items() if WORD.fullmatch(word)], np.int64)


def _read_back(text: CorruptedText, sampled: dict[int, int], tokenizer: Tokenizer) -> bool:
    """Whether each new word is the token that was sampled, nothing more and nothing less."""
    ids, spans = tokenizer.encode_offsets(text.text)
    read = {span: token for span, token in zip(spans, ids, strict=True)}
    return all(read.get(text.words[word][:2]) == token for word, token in sampled.items())
