"""How likely is a text? Its pseudo-log-likelihood: the sum over its tokens of log p(token | all the others).

An Electric answers for all tokens in one pass: minus its energies, up to a constant per token (Clark et al. 2020b). A masked LM
is asked once per token, with that token masked (Salazar et al. 2020).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from electra.deploy.windows import Piece, answer, single_pieces

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer
    from electra.deploy.network import Network


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
