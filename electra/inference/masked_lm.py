"""A text with [MASK] in it -> words for every mask, by a masked LM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from electra.data.windows import Piece, answer, single_pieces
from electra.errors import UserError
from electra.inference.replaced_tokens import likeliest, probabilities_of

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer
    from electra.inference.backends import Network


Proposal = tuple[str, int, float, str]
"""Word piece, its id, its probability, the text filled with it."""


def require_mask(text: str) -> None:
    """Nothing, when there is something to fill.

    Raises:
        UserError: no [MASK].
    """
    if "[MASK]" not in text:
        raise UserError(f"no [MASK] in {text if len(text) <= 60 else text[:57] + '...'!r}; write [MASK] where a word is wanted")


def fill(
    network: Network, tokenizer: Tokenizer, text: str, max_length: int, top_k: int, targets: Sequence[str] | None = None
) -> list[list[Proposal]]:
    """A text -> per mask, the best proposals. The filled text is the decoded one, with every other mask left as it is.

    With `targets` only these words are proposed, each as its first word piece; probabilities stay those among all pieces.
    """
    ids, marks = encode_marked(text, tokenizer)
    allowed = None if targets is None else _target_ids(targets, tokenizer)
    out = []
    for piece in single_pieces(ids, tokenizer, min(max_length, network.max_length)):
        window = piece.window
        here = [mark for mark in marks if window.first <= mark < window.last]
        if not here:
            continue
        asked = Piece(piece.ids, piece.segments, window, queries=tuple((1 + mark - window.start, 0.0) for mark in here))
        for mark, row in zip(here, probabilities_of(network.word_logits([asked])[0]), strict=True):
            ranked = likeliest(row, top_k) if allowed is None else sorted(allowed, key=lambda i: -row[i])
            out.append([(tokenizer.pieces[i], i, float(row[i]), tokenizer.decode([*ids[:mark], i, *ids[mark + 1 :]])) for i in ranked[:top_k]])
    return out


def _target_ids(targets: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    """Words -> the ids of their pieces, or of their first pieces; none twice.

    Raises:
        UserError: no word among them has a piece.
    """
    found = [tokenizer.backend.token_to_id(word) for word in targets]
    ids = [number if number is not None else next(iter(tokenizer.encode([word])[0]), None) for word, number in zip(targets, found, strict=True)]
    known = list(dict.fromkeys(number for number in ids if number is not None))
    if not known:
        raise UserError("none of the targets is a word; give at least one")
    return known


def encode_marked(text: str, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """A text with [MASK] in it -> its ids, and where in them the masks stand."""
    ids: list[int] = []
    marks: list[int] = []
    for number, part in enumerate(tokenizer.encode(text.split("[MASK]"))):
        if number:
            marks.append(len(ids))
            ids.append(tokenizer.mask_id)
        ids.extend(part)
    return ids, marks


# ---- How likely is a text? Its pseudo-log-likelihood: the sum over its tokens of log p(token | all the others) ----


@dataclass(frozen=True)
class ScoredToken:
    """One word piece of a text."""

    token: str
    start: int
    """First character in the text."""
    end: int
    """Character behind the last."""
    score: float
    """log p(token | all the others), natural; of an Electric up to a constant."""


@dataclass(frozen=True)
class Score:
    """A text and how likely it is."""

    text: str
    score: float
    """Sum of the tokens' scores."""
    tokens: tuple[ScoredToken, ...]

    @property
    def per_token(self) -> float:
        """The mean of the tokens' scores; 0 for a text without tokens."""
        return self.score / max(1, len(self.tokens))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"text": self.text, "score": self.score, "num_tokens": len(self.tokens), "tokens": [asdict(token) for token in self.tokens]}


@dataclass(frozen=True)
class _Asked(Piece):
    """A piece with one token masked, whose original it asks for."""

    target: int = 0


def score(network: Network, tokenizer: Tokenizer, texts: Iterable[str], *, batch_size: int = 32) -> Iterator[Score]:
    """Texts, any number and length -> one Score each, in order; long texts through overlapping windows, each token where it has most context."""

    def energies(pieces: list[Piece]) -> list[np.ndarray]:
        return [-logits[piece.inside] for piece, logits in zip(pieces, network.replaced_logits(pieces), strict=True)]

    def masked(pieces: list[Piece]) -> list[np.ndarray]:
        out = []
        for piece, logits in zip(pieces, network.word_logits(pieces), strict=True):
            assert isinstance(piece, _Asked)
            row = logits[0].astype(np.float64)
            top = row.max()
            out.append(np.array([row[piece.target] - top - np.log(np.exp(row - top).sum())]))
        return out

    def prepare(chunk: list[str]) -> list[tuple[Any, list[Piece]]]:
        encoded = [(text, *tokenizer.encode_offsets(text)) for text in chunk]
        whole = [(item, single_pieces(item[1], tokenizer, network.max_length)) for item in encoded]
        if network.is_electric:
            return whole
        return [(item, [asked for piece in pieces for asked in _one_at_a_time(piece, tokenizer.mask_id)]) for item, pieces in whole]

    def size(text: str) -> int:
        # A masked LM reads a text as many times as it has tokens.
        return len(text) if network.is_electric else len(text) * (1 + len(text) // 8)

    run = energies if network.is_electric else masked
    for (text, ids, spans), _, results in answer(texts, prepare=prepare, run=run, size=size, batch_size=batch_size):
        values = np.concatenate([*results, np.zeros(0)]).tolist()
        rows = zip(ids, spans, values, strict=True)
        tokens = tuple(ScoredToken(tokenizer.pieces[i], start, end, value) for i, (start, end), value in rows)
        yield Score(text, sum(values), tokens)


def _one_at_a_time(piece: Piece, mask_id: int) -> Iterator[Piece]:
    """A piece -> for every token it answers for, the piece with that token masked."""
    inside = piece.inside
    for at in range(inside.start, inside.stop):
        ids = [*piece.ids[:at], mask_id, *piece.ids[at + 1 :]]
        yield _Asked(ids, piece.segments, piece.window, queries=((at, 0.0),), target=piece.ids[at])
