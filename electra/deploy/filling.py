"""A text with [MASK] in it -> words for every mask, by a masked LM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from electra.deploy.detection import likeliest, probabilities_of
from electra.deploy.windows import Piece, single_pieces
from electra.errors import UserError

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer
    from electra.deploy.network import Network

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
