"""A masked LM's predictions: a text with [MASK] -> words for every mask; texts -> pseudo-log-likelihoods (also by an Electric)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from electra.data.windows import WindowInput, run_windows, text_windows
from electra.errors import UserError
from electra.inference.call_forms import Cut, each, names
from electra.inference.replaced_tokens import EncodedText, encoded, likeliest
from electra.tasks.text_tasks import softmax

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer
    from electra.inference.backends import Backend


Proposal = tuple[str, int, float, str]
"""Token, its id, its probability, the text filled with it."""


def require_mask(text: str, mask: str = "[MASK]") -> None:
    """Check that there is something to fill: [MASK], or the tokenizer's own mask token.

    Raises:
        UserError: no [MASK].
    """
    if "[MASK]" not in text and mask not in text:
        raise UserError(f"no [MASK] in {text if len(text) <= 60 else text[:57] + '...'!r}; write [MASK] where a word is missing")


def fill(
    backend: Backend, tokenizer: Tokenizer, text: MarkedText, max_length: int, top_k: int, targets: str | Sequence[str] | None = None
) -> list[list[Proposal]]:
    """A text -> per mask, the best proposals, with the decoded text filled; as in `transformers` this has [CLS], [SEP] and the other masks where
    there are several.

    With `targets` only these words are proposed, each as its first token. Probabilities are those among all rows of the output, as in
    `transformers`; a row without a token, of a table that is padded to a round size, is never proposed.
    """
    ids, marks = text.ids, text.marks
    several = len(marks) > 1

    def filled(mark: int, token: int) -> str:
        whole = [*ids[:mark], token, *ids[mark + 1 :]]
        return tokenizer.decode(
            [i for i in ([tokenizer.cls_id, *whole, tokenizer.sep_id] if several else whole) if i != tokenizer.pad_id], skip_special=not several
        )

    allowed = None if targets is None else _target_ids(targets, tokenizer)
    out = []
    for item in text_windows(ids, tokenizer, max_length):
        window = item.window
        here = [mark for mark in marks if window.first <= mark < window.last]
        if not here:
            continue
        query = WindowInput(item.ids, item.segments, window, queries=tuple((1 + mark - window.start, 0.0) for mark in here))
        for mark, row in zip(here, softmax(backend.word_logits([query])[0]), strict=True):
            ranked = likeliest(row[: tokenizer.vocab_size], top_k) if allowed is None else sorted(allowed, key=lambda i: -row[i])
            out.append([(tokenizer.decode([i], skip_special=False), i, float(row[i]), filled(mark, i)) for i in ranked[:top_k]])
    return out


def _target_ids(targets: str | Sequence[str], tokenizer: Tokenizer) -> list[int]:
    """Words -> the ids of their first tokens; none twice.

    Raises:
        UserError: no list of words, or no word among them has a token.
    """
    words = (targets,) if isinstance(targets, str) else names("fill-mask", "targets", targets)
    found = [tokenizer.backend.token_to_id(word) for word in words]
    ids = [number if number is not None else next(iter(tokenizer.encode([word])[0]), None) for word, number in zip(words, found, strict=True)]
    known = list(dict.fromkeys(number for number in ids if number is not None))
    if not known:
        raise UserError("none of the targets is a word; give at least one")
    return known


@dataclass(frozen=True)
class MarkedText:
    """A text with [MASK] in it, tokenized."""

    ids: list[int]
    """Without [CLS] and [SEP]."""
    marks: list[int]
    """Index of each mask in `ids`."""


def encode_marked(text: str, tokenizer: Tokenizer) -> MarkedText:
    """A text with [MASK] in it -> its tokens.

    Raises:
        UserError: no [MASK].
    """
    mask = tokenizer.pieces[tokenizer.mask_id]
    require_mask(text, mask)
    # In one piece: a mask token may take the space before it (lstrip), and Metaspace marks only the first word of a text.
    ids = tokenizer.encode([text if mask in text else text.replace("[MASK]", mask)])[0]
    return MarkedText(ids, _marks(ids, tokenizer))


def cut_marked(text: MarkedText, cut: Cut, tokenizer: Tokenizer, limit: int, place: str) -> MarkedText:
    """What is left of a text that is cut as by `transformers`.

    Raises:
        UserError: no mask is left, or the text is above `limit` tokens.
    """
    ids = cut.apply(text.ids, None, tokenizer, limit, place)[0][1:-1]
    if not (marks := _marks(ids, tokenizer)):
        raise UserError(f"{place}: no [MASK] is left in the first {len(ids) + 2} tokens; give a larger max_length")
    return MarkedText(ids, marks)


def _marks(ids: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    return [index for index, token in enumerate(ids) if token == tokenizer.mask_id]


def mask_records(masks: Sequence[Sequence[Proposal]]) -> list[Any]:
    """The proposals of a text's masks -> records; a list of lists where it has several masks."""
    records = [[{"score": score, "token": number, "token_str": word, "sequence": filled} for word, number, score, filled in mask] for mask in masks]
    return records[0] if len(records) == 1 else records


# ---- pseudo-log-likelihood: the sum over a text's tokens of log p(token | all the others) ----


@dataclass(frozen=True)
class ScoredToken:
    """One token of a text."""

    token: str
    start: int
    """First character in the text."""
    end: int
    """Character after the last."""
    score: float
    """log p(token | all the others), natural; of an Electric up to a constant."""


@dataclass(frozen=True)
class TextLikelihood:
    """A text and its pseudo-log-likelihood."""

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
class _MaskedWindow(WindowInput):
    """A window with one token masked, and the original one."""

    target: int = 0


def score(backend: Backend, tokenizer: Tokenizer, texts: Iterable[str], *, max_length: int, batch_size: int = 32) -> Iterator[TextLikelihood]:
    """Texts, any number and length -> their likelihoods in order; long texts in overlapping windows, each token where it has most context."""

    def energies(windows: list[WindowInput]) -> list[np.ndarray]:
        return [-logits[window.inside] for window, logits in zip(windows, backend.replaced_logits(windows), strict=True)]

    def masked(windows: list[WindowInput]) -> list[np.ndarray]:
        out = []
        for window, logits in zip(windows, backend.word_logits(windows), strict=True):
            assert isinstance(window, _MaskedWindow)
            row = logits[0].astype(np.float64)
            top = row.max()
            out.append(np.array([row[window.target] - top - np.log(np.exp(row - top).sum())]))
        return out

    def prepare(chunk: list[str]) -> list[tuple[EncodedText, list[WindowInput]]]:
        whole = [(item, text_windows(item.ids, tokenizer, max_length)) for item in (encoded(text, tokenizer) for text in chunk)]
        if backend.is_electric:
            return whole
        return [(item, [one for window in windows for one in _one_at_a_time(window, tokenizer.mask_id)]) for item, windows in whole]

    def size(text: str) -> int:
        # A masked LM reads a text as many times as it has tokens.
        return len(text) if backend.is_electric else len(text) * (1 + len(text) // 8)

    run = energies if backend.is_electric else masked
    for item, _, results in run_windows(each(texts, "score"), prepare=prepare, run=run, size=size, batch_size=batch_size):
        values = np.concatenate([*results, np.zeros(0)]).tolist()
        rows = zip(item.ids, item.spans, values, strict=True)
        tokens = tuple(ScoredToken(tokenizer.pieces[i], start, end, value) for i, (start, end), value in rows)
        yield TextLikelihood(item.text, sum(values), tokens)


def _one_at_a_time(item: WindowInput, mask_id: int) -> Iterator[WindowInput]:
    """A window -> for every token it answers for, the window with that token masked."""
    inside = item.inside
    for at in range(inside.start, inside.stop):
        ids = [*item.ids[:at], mask_id, *item.ids[at + 1 :]]
        yield _MaskedWindow(ids, item.segments, item.window, queries=((at, 0.0),), target=item.ids[at])
