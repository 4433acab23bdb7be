"""What can be asked of a model: how much a question costs, and the call of the predictor that answers a batch of them.

Operations are values: two requests that ask the same way are equal, and their texts may share a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from electra.data.tokenizer import encodable
from electra.data.windows import pair_pieces, single_pieces, split, split_pair
from electra.inference.pipelines import (
    AggregationStrategy,
    FillMask,
    QuestionAnswering,
    ReplacedTokenDetection,
    TextClassification,
    TokenClassification,
)
from electra.inference.replaced_tokens import probabilities_of
from electra.inference.text_io import Text
from electra.tasks.question_answering import longest_question, recorded_reading

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer
    from electra.inference.predictor import Predictor

Transform = Literal["default", "softmax", "sigmoid", "none"]
Record = dict[str, Any]
MOST_WINDOWS = 100_000
"""More windows of a pair are not counted: no limit lets them through."""


@dataclass(frozen=True)
class Cost:
    """What answering one text takes."""

    tokens: int
    """Word pieces of the text, without special ones."""
    pieces: int
    """Windows the network reads."""
    longest: int
    """Tokens of the longest of them, special ones included."""
    written: int = 0
    """Tokens or numbers in the answer, where these can be many times what was read."""

    @property
    def read(self) -> int:
        """Tokens that go through the network, at most."""
        return self.pieces * self.longest


@dataclass(frozen=True)
class Operation:
    """One way of asking. Subclasses say how a text is answered."""

    name: ClassVar[str] = ""
    """As in the metrics and the log."""

    @property
    def alone(self) -> bool:
        """Whether each text needs a call of its own."""
        return False

    def measure(self, predictor: Predictor, item: Any) -> Cost:
        """What an item costs; of a plain text its windows."""
        return single_cost(count_tokens(predictor.tokenizer, item), predictor.max_length)

    def run(self, predictor: Predictor, items: list[Any]) -> list[Any]:
        """Items -> an answer for each, ready for JSON."""
        raise NotImplementedError


@dataclass(frozen=True)
class Classify(Operation):
    """Text -> [{"label", "score"}, ...], the best first."""

    name: ClassVar[str] = "classify"
    transform: Transform = "default"
    """How logits become scores; 'default': as the model was trained, which for a regression is not at all."""

    def measure(self, predictor: Predictor, item: Text) -> Cost:
        """A pair too long is read as every window of one text with every window of the other."""
        first = count_tokens(predictor.tokenizer, item.text)
        if not item.pair:
            return single_cost(first, predictor.max_length)
        second = count_tokens(predictor.tokenizer, item.pair)
        if first + second + 3 <= predictor.max_length:
            return Cost(first + second, 1, first + second + 3)
        windows = islice(split_pair(first, second, predictor.max_length - 3), MOST_WINDOWS)
        return Cost(first + second, sum(1 for _ in windows), predictor.max_length)

    def run(self, predictor: Predictor, items: list[Text]) -> list[list[Record]]:
        """Every class of every text."""
        if self.transform == "default":
            return [answers for answers in TextClassification(predictor)(items, top_k=None)]  # type: ignore[misc]
        return [_ranked(predictor.network.labels, _transformed(row, self.transform)) for row in mean_logits(predictor, items)]


@dataclass(frozen=True)
class Tag(Operation):
    """Text -> its entities, or its pieces with their tags."""

    name: ClassVar[str] = "tag"
    strategy: AggregationStrategy = "simple"
    ignore_labels: tuple[str, ...] = ("O",)

    def run(self, predictor: Predictor, items: list[str]) -> list[list[Record]]:
        """Records as the pipeline 'token-classification' gives them."""
        return TokenClassification(predictor)(items, aggregation_strategy=self.strategy, ignore_labels=self.ignore_labels)


@dataclass(frozen=True)
class Answer(Operation):
    """(question, context) -> the answer, or with top_k above 1 a list of them."""

    name: ClassVar[str] = "answer"
    top_k: int = 1
    handle_impossible_answer: bool | None = None
    max_answer_len: int | None = None
    doc_stride: int | None = None

    def measure(self, predictor: Predictor, item: tuple[str, str]) -> Cost:
        """A context is read in windows that begin every `doc_stride` tokens, or closer where a question leaves less room than that."""
        reading, trained = recorded_reading(predictor.network.hf_config)
        longest = min(predictor.max_length, trained or predictor.max_length)
        question, context = (count_tokens(predictor.tokenizer, part) for part in item)
        asked = min(question, longest_question(reading, longest))
        room = longest - asked - 3
        windows = 1 + max(0, -((room - context) // min(room, self.doc_stride or reading.stride)))
        return Cost(question + context, windows, min(longest, asked + context + 3))

    def run(self, predictor: Predictor, items: list[tuple[str, str]]) -> list[Any]:
        """Records as the pipeline 'question-answering' gives them."""
        asked = [{"question": question, "context": context} for question, context in items]
        options = {"handle_impossible_answer": self.handle_impossible_answer, "max_answer_len": self.max_answer_len, "doc_stride": self.doc_stride}
        return list(QuestionAnswering(predictor)(asked, top_k=self.top_k, **options))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Fill(Operation):
    """Text with [MASK] -> its proposals, a list of lists where it has several masks."""

    name: ClassVar[str] = "fill"
    top_k: int = 5
    targets: tuple[str, ...] = ()

    def measure(self, predictor: Predictor, item: str) -> Cost:
        """Each proposal of each mask is the whole text again."""
        cost = super().measure(predictor, item)
        return replace(cost, written=cost.tokens * item.count("[MASK]") * (len(self.targets) or self.top_k))

    def run(self, predictor: Predictor, items: list[str]) -> list[Any]:
        """Records as the pipeline 'fill-mask' gives them."""
        return list(FillMask(predictor)(items, top_k=self.top_k, targets=self.targets or None))


@dataclass(frozen=True)
class Embed(Operation):
    """Text -> one vector."""

    name: ClassVar[str] = "embed"
    normalize: bool = True

    def run(self, predictor: Predictor, items: list[str]) -> list[list[float]]:
        """(D,) numbers each."""
        return [row.tolist() for row in predictor.embed(items, normalize=self.normalize)]


@dataclass(frozen=True)
class EmbedAll(Operation):
    """Text -> a vector for every token, [CLS] and [SEP] included."""

    name: ClassVar[str] = "embed_all"

    def measure(self, predictor: Predictor, item: str) -> Cost:
        """`hidden_size` numbers for each token."""
        cost = super().measure(predictor, item)
        return replace(cost, written=(cost.tokens + 2) * predictor.network.hidden_size)

    def run(self, predictor: Predictor, items: list[str]) -> list[list[list[float]]]:
        """(L, D) numbers each."""
        return [rows.tolist() for rows in predictor.token_vectors(items)]


@dataclass(frozen=True)
class Detect(Operation):
    """Text -> its tokens with the probability that each was replaced."""

    name: ClassVar[str] = "detect"
    threshold: float = 0.5

    def run(self, predictor: Predictor, items: list[str]) -> list[list[Record]]:
        """Records as the pipeline 'replaced-token-detection' gives them."""
        return ReplacedTokenDetection(predictor)(items, threshold=self.threshold)


@dataclass(frozen=True)
class Corrupt(Operation):
    """Text -> masked, filled by the generator, judged by the discriminator."""

    name: ClassVar[str] = "corrupt"
    mask_prob: float = 0.15
    temperature: float = 1.0
    seed: int = 1

    @property
    def alone(self) -> bool:
        """What is drawn depends on the seed and a text's number: in a batch it would depend on the other requests."""
        return True

    def run(self, predictor: Predictor, items: list[str]) -> list[Record]:
        """{"text", "corrupted", "tokens"} each; the offsets count in the corrupted text."""
        out = []
        for text in items:
            (found,) = predictor.corrupt([text], mask_prob=self.mask_prob, temperature=self.temperature, seed=self.seed)
            masked = {item.index: item for item in found.replacements}
            tokens = []
            for index, token in enumerate(found.corrupted.tokens):
                hidden = masked.get(index)
                record: Record = {"token": token.token, "original": hidden.original if hidden else token.token}
                record |= {"start": token.start, "end": token.end, "masked": hidden is not None, "changed": hidden is not None and hidden.changed}
                proposals = [{"token": piece, "score": probability} for piece, probability in hidden.proposals] if hidden else []
                tokens.append({**record, "score": token.probability, "proposals": proposals})
            out.append({"text": found.text, "corrupted": found.corrupted.text, "tokens": tokens})
        return out


# ---- numbers ----


def count_tokens(tokenizer: Tokenizer, text: str) -> int:
    """Word pieces of a text. Asked of the backend itself, which several threads may use, past the cache, which one may."""
    return len(tokenizer.backend.encode(encodable(text), add_special_tokens=False).ids)


def single_cost(num_tokens: int, max_length: int) -> Cost:
    """Number of tokens of one text -> its cost."""
    if num_tokens + 2 <= max_length:
        return Cost(num_tokens, 1, num_tokens + 2)
    return Cost(num_tokens, len(split(num_tokens, max_length - 2)), max_length)


def mean_logits(predictor: Predictor, texts: Sequence[Text]) -> list[np.ndarray]:
    """Texts -> (C,) logits each, the mean over a long text's windows weighted by the tokens they answer for."""
    tokenizer, length = predictor.tokenizer, predictor.max_length
    parts = []
    for text in texts:
        first, *second = tokenizer.encode([text.text, *([text.pair] if text.pair else [])])
        parts.append(pair_pieces(first, second[0], tokenizer, length) if second else single_pieces(first, tokenizer, length))
    pieces = [piece for part in parts for piece in part]
    rows = np.concatenate(
        [predictor.network.class_logits(pieces[i : i + predictor.batch_size]) for i in range(0, len(pieces), predictor.batch_size)]
    ).astype(np.float64)
    out, start = [], 0
    for part in parts:
        out.append(np.average(rows[start : start + len(part)], axis=0, weights=[piece.weight for piece in part]))
        start += len(part)
    return out


def _transformed(logits: np.ndarray, transform: Transform) -> np.ndarray:
    if transform == "softmax":
        return probabilities_of(logits)
    return 0.5 + 0.5 * np.tanh(logits / 2) if transform == "sigmoid" else logits


def _ranked(labels: Sequence[str], scores: np.ndarray) -> list[Record]:
    rows = sorted(zip(labels, scores.tolist(), strict=True), key=lambda row: -row[1])
    return [{"label": label, "score": score} for label, score in rows]


def truncated(predictor: Predictor, item: Text) -> Text:
    """A text, or pair, cut to what the network reads at once, as text-embeddings-inference's `truncate` does: a pair loses from its longer end."""
    tokenizer = predictor.tokenizer
    parts = [item.text, item.pair] if item.pair else [item.text]
    offsets = [tokenizer.encode_offsets(part)[1] for part in parts]
    kept = [len(places) for places in offsets]
    room = predictor.max_length - 1 - len(parts)
    if len(kept) == 1:
        kept = [min(room, *kept)]
    elif sum(kept) > room:
        shorter = min(room // 2, *kept)
        kept = [shorter, room - shorter] if kept[0] <= kept[1] else [room - shorter, shorter]
    cut = [
        part if count == len(places) else part[: places[count - 1][1] if count else 0]
        for part, places, count in zip(parts, offsets, kept, strict=True)
    ]
    return Text(cut[0], cut[1] if len(cut) > 1 else None)
