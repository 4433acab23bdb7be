"""Which tokens of a text were replaced: the discriminator's answer, and the whole workflow beside the generator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from electra.data.windows import Piece, answer, single_pieces

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer
    from electra.inference.backends import Array, Network

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Token:
    """One word piece of a text and the discriminator's opinion of it."""

    token: str
    """The word piece; '##' marks one that continues a word."""
    start: int
    """First character in the text."""
    end: int
    """Character behind the last."""
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


@dataclass(frozen=True)
class Replacement:
    """One masked token: what stood there, what the generator proposed, what was drawn, what the discriminator said."""

    index: int
    """Index among the tokens of the text."""
    start: int
    """First character in the original text."""
    end: int
    original: str
    proposals: tuple[tuple[str, float], ...]
    """The generator's most probable word pieces, with probabilities."""
    sampled: str
    """The word piece drawn from all of them."""
    changed: bool
    """Whether it differs from the original: only then is it a replacement."""
    probability: float
    """The discriminator's probability of 'replaced'."""
    verdict: bool
    """Whether the discriminator calls it replaced."""


@dataclass(frozen=True)
class Corruption:
    """Replaced-token detection on one text, step by step."""

    text: str
    masked: str
    """The text with [MASK] where tokens were hidden."""
    replacements: tuple[Replacement, ...]
    corrupted: Detection
    """What the discriminator read and answered; offsets count in `corrupted.text`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        out = asdict(self)
        for item in out["replacements"]:
            item["proposals"] = [{"token": token, "probability": p} for token, p in item["proposals"]]
        return out


def detect(network: Network, tokenizer: Tokenizer, texts: Iterable[str], *, threshold: float = 0.5, batch_size: int = 32) -> Iterator[Detection]:
    """Texts, any number and length -> one Detection each, in order.

    A text longer than the network reads is seen through overlapping windows; each token is answered by the window in which
    it has most context on both sides.
    """

    def prepare(chunk: list[str]) -> list[tuple[tuple[str, list[int], Spans], list[Piece]]]:
        encoded = [(text, *tokenizer.encode_offsets(text)) for text in chunk]
        return [(item, single_pieces(item[1], tokenizer, network.max_length)) for item in encoded]

    for (text, ids, spans), pieces, results in answer(texts, prepare=prepare, run=network.replaced_logits, size=len, batch_size=batch_size):
        yield _detection(text, [tokenizer.pieces[i] for i in ids], spans, _join(pieces, results), threshold)


def _join(pieces: Sequence[Piece], results: Sequence[Array]) -> Array:
    """Logits of every piece, special tokens included -> probabilities of the text's tokens."""
    logits = np.concatenate([result[piece.inside] for piece, result in zip(pieces, results, strict=True)])
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def _detection(text: str, words: Sequence[str], spans: Spans, probabilities: Array, threshold: float) -> Detection:
    rows = zip(words, spans, probabilities.tolist(), strict=True)
    return Detection(text, tuple(Token(word, start, end, p, p >= threshold) for word, (start, end), p in rows))


# ---- the whole workflow ----


@dataclass(frozen=True)
class _Masked:
    """A text whose `chosen` tokens are hidden; `chances` are the random numbers that will draw the replacements."""

    text: str
    ids: list[int]
    spans: Spans
    chosen: list[int]
    chances: list[float]


Draw = tuple[list[tuple[int, float]], int]
"""The generator's most probable ids with their probabilities, and the id drawn."""


@dataclass(frozen=True)
class _Filled:
    """A masked text, what was drawn at each mask, and the ids the discriminator reads."""

    masked: _Masked
    draws: list[Draw]
    ids: list[int]


def corrupt(
    discriminator: Network,
    generator: Network,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    mask_prob: float = 0.15,
    temperature: float = 1.0,
    seed: int = 1,
    threshold: float = 0.5,
    num_proposals: int = 5,
    batch_size: int = 32,
) -> Iterator[Corruption]:
    """Texts -> the workflow of replaced-token detection on each (paper, figure 2).

    `mask_prob` of a text's tokens, at least one, become [MASK]; the generator's distribution over the vocabulary, at
    `temperature`, is drawn from once at each; the discriminator reads the result. What is hidden and drawn depends on the
    seed and the text's number alone.
    """
    limit = min(discriminator.max_length, generator.max_length)
    numbered = enumerate(texts)

    def prepare(chunk: list[tuple[int, str]]) -> list[tuple[_Masked, list[Piece]]]:
        out = []
        for number, text in chunk:
            ids, spans = tokenizer.encode_offsets(text)
            eligible = [i for i, word in enumerate(ids) if word not in tokenizer.special_ids]
            masked = _choose(text, ids, spans, eligible, mask_prob, np.random.default_rng([seed, number]))
            hidden = list(ids)
            for index in masked.chosen:
                hidden[index] = tokenizer.mask_id
            pieces = [_ask(piece, masked) for piece in single_pieces(hidden, tokenizer, limit)]
            out.append((masked, [piece for piece in pieces if piece.queries]))
        return out

    def run(pieces: list[Piece]) -> list[list[Draw]]:
        return [
            [_draw(logits, chance, temperature, num_proposals) for logits, (_, chance) in zip(rows, piece.queries, strict=True)]
            for piece, rows in zip(pieces, generator.word_logits(pieces), strict=True)
        ]

    def judge(chunk: list[_Filled]) -> list[tuple[_Filled, list[Piece]]]:
        return [(filled, single_pieces(filled.ids, tokenizer, discriminator.max_length)) for filled in chunk]

    def fill() -> Iterator[_Filled]:
        for masked, _, results in answer(numbered, prepare=prepare, run=run, size=lambda item: len(item[1]), batch_size=batch_size):
            draws = [draw for result in results for draw in result]
            sampled = {index: drawn for index, (_, drawn) in zip(masked.chosen, draws, strict=True)}
            yield _Filled(masked, draws, [sampled.get(index, word) for index, word in enumerate(masked.ids)])

    for filled, pieces, logits in answer(
        fill(), prepare=judge, run=discriminator.replaced_logits, size=lambda f: len(f.masked.text), batch_size=batch_size
    ):
        yield _tell(filled.masked, filled.draws, _join(pieces, logits), tokenizer, threshold)


def _choose(text: str, ids: list[int], spans: Spans, eligible: list[int], mask_prob: float, random: np.random.Generator) -> _Masked:
    """`mask_prob` of the text's tokens, at least one, never a special one (nor an unknown word, as in pre-training)."""
    count = min(len(eligible), max(1, round(len(ids) * mask_prob)))
    chosen = sorted(eligible[i] for i in random.permutation(len(eligible))[:count])
    return _Masked(text, ids, spans, chosen, random.random(count).tolist())


def _ask(piece: Piece, masked: _Masked) -> Piece:
    """The piece with a query at each hidden token it answers for."""
    window = piece.window
    here = [(c, u) for c, u in zip(masked.chosen, masked.chances, strict=True) if window.first <= c < window.last]
    return replace(piece, queries=tuple((1 + c - window.start, u) for c, u in here))


def probabilities_of(logits: Array, temperature: float = 1.0) -> Array:
    """(..., N) logits -> softmax of logits / temperature over the last axis, float64."""
    scaled = logits.astype(np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(-1, keepdims=True))
    return scaled / scaled.sum(-1, keepdims=True)


def likeliest(values: Array, count: int) -> list[int]:
    """(V,) -> indices of the `count` largest, the largest first, equal ones in their order: a stable sort's beginning without sorting all."""
    bound = np.partition(values, max(0, len(values) - count))[max(0, len(values) - count)]
    found = np.flatnonzero(values >= bound)
    ranked: list[int] = found[np.argsort(-values[found], kind="stable")][:count].tolist()
    return ranked


def _draw(logits: Array, chance: float, temperature: float, num_proposals: int) -> Draw:
    """(V,) logits, a uniform number -> the most probable ids with probabilities, and the id drawn by the inverse CDF."""
    probabilities = probabilities_of(logits, temperature)
    cumulative = probabilities.cumsum()
    sampled = min(int(np.searchsorted(cumulative, chance * cumulative[-1], side="right")), len(probabilities) - 1)
    return [(i, float(probabilities[i])) for i in likeliest(probabilities, num_proposals)], sampled


def _tell(
    masked: _Masked,
    draws: Sequence[Draw],
    probabilities: Array,
    tokenizer: Tokenizer,
    threshold: float,
) -> Corruption:
    words = [tokenizer.pieces[i] for i in masked.ids]
    sampled = dict(zip(masked.chosen, (tokenizer.pieces[drawn] for _, drawn in draws), strict=True))
    hidden_text, _ = _rewrite(masked.text, masked.spans, words, dict.fromkeys(masked.chosen, "[MASK]"))
    changed = {i: word for i, word in sampled.items() if word != words[i]}
    corrupted_text, spans = _rewrite(masked.text, masked.spans, words, changed)
    detection = _detection(corrupted_text, [sampled.get(i, word) for i, word in enumerate(words)], spans, probabilities, threshold)
    replacements = []
    for index, (proposals, _) in zip(masked.chosen, draws, strict=True):
        verdict = detection.tokens[index]
        best = tuple((tokenizer.pieces[i], p) for i, p in proposals)
        start, end = masked.spans[index]
        shown = Replacement(index, start, end, words[index], best, sampled[index], index in changed, verdict.probability, verdict.replaced)
        replacements.append(shown)
    return Corruption(masked.text, hidden_text, tuple(replacements), detection)


def _rewrite(text: str, spans: Spans, words: Sequence[str], put: dict[int, str]) -> tuple[str, list[tuple[int, int]]]:
    """The text with other words at some tokens -> new text, and where each token now stands in it.

    A drawn piece that starts a word, put where one continued, is set off by a space; '##' stays visible only where a
    continuation was put at the start of a word, as the discriminator too reads it there.
    """
    out: list[str] = []
    length = behind = 0
    places = []

    def add(part: str) -> None:
        nonlocal length
        out.append(part)
        length += len(part)

    for index, (start, end) in enumerate(spans):
        # Two pieces may share a character (one that normalization expands): its text is written once.
        add(text[behind:start])
        word = put.get(index)
        continues = words[index].startswith("##")
        if word is not None and continues and word.startswith("##"):
            word = word.removeprefix("##")
        elif word is not None and continues and word != "[MASK]":
            add(" ")
        where = length
        add(text[max(start, behind) : end] if word is None else word)
        places.append((where if length > where else max(0, where - (end - start)), length))
        behind = max(behind, end)
    add(text[behind:])
    return "".join(out), places
