"""What a model can be asked over HTTP: a text -> its inputs and their cost (`prepare`), a batch of prepared texts -> JSON answers (`run`).

A text is tokenized once: what is measured is what is run. Operations are values: two requests with equal operations may share a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from electra.contracts import Features
from electra.data.windows import split
from electra.inference.answerer import Answerer, as_question, best_answers, with_choices
from electra.inference.masked_lm import encode_marked
from electra.inference.pipelines import AggregationStrategy, TokenClassification, answer_records, label_records, mask_records, token_records
from electra.inference.replaced_tokens import EncodedText
from electra.inference.text_io import Text, as_example
from electra.inference.token_classification import unit_features

if TYPE_CHECKING:
    from electra.inference.predictor import Predictor

Transform = Literal["default", "softmax", "sigmoid", "none"]
Record = dict[str, Any]
SHORTEST_WINDOW = 8
"""Tokens; a text of more than so many windows is above any limit of tokens, and no more of them are made."""


@dataclass(frozen=True)
class TextCost:
    """What answering one text takes."""

    tokens: int
    """Tokens read, without special ones."""
    windows: int
    """Inputs of the model."""
    longest: int
    """Tokens of the longest of them, special ones included."""
    written: int = 0
    """Tokens or numbers in the answer, where these can be many times what was read."""

    @property
    def read(self) -> int:
        """Tokens that go through the model, at most."""
        return self.windows * self.longest


@dataclass(frozen=True)
class PreparedText:
    """A text as an operation runs it."""

    item: Any
    """An example, the units of a text, or its tokens."""
    cost: TextCost
    features: Sequence[Features] = field(default=(), repr=False)
    """The inputs of a fine-tuned model."""


@dataclass(frozen=True)
class Operation:
    """One way of asking a model."""

    name: ClassVar[str] = ""
    """As in the metrics and the log."""

    @property
    def alone(self) -> bool:
        """Whether each text needs a call of its own."""
        return False

    def prepare(self, predictor: Predictor, item: Any, max_tokens: int) -> PreparedText:
        """A text -> its inputs and their cost; above `max_tokens` not all inputs need be made. Several threads may call this at once."""
        raise NotImplementedError

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[Any]:
        """Prepared texts -> an answer for each, ready for JSON."""
        raise NotImplementedError


@dataclass(frozen=True)
class Classify(Operation):
    """Text -> [{"label", "score"}, ...], the best first."""

    name: ClassVar[str] = "classify"
    transform: Transform = "default"
    """How logits become scores; 'default': as the model was trained, which for a regression is not at all."""
    truncate: bool = False
    """Whether a longer text is cut at its end, whatever the model's input spec says."""

    def _model(self, predictor: Predictor) -> Answerer:
        return predictor.classifier().with_options(truncate="head") if self.truncate else predictor.classifier()

    def prepare(self, predictor: Predictor, item: Text, max_tokens: int) -> PreparedText:
        """A pair that is read in windows has every window of one text with every window of the other."""
        example = as_example(item)
        features = self._model(predictor).featurize([example], max_tokens // SHORTEST_WINDOW + 1)
        return PreparedText(example, _cost(features, 3 if example.text_pair else 2), features)

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[list[Record]]:
        """Every class of every text."""
        examples = [text.item for text in prepared]
        predictions = predictor.classifier().answer_features(examples, joined(prepared), batch_size, transform=self.transform)
        return [label_records(prediction, predictor.backend.labels) for prediction in predictions]


@dataclass(frozen=True)
class Tag(Operation):
    """Text -> its entities, or its tokens with their tags."""

    name: ClassVar[str] = "tag"
    strategy: AggregationStrategy = "simple"
    ignore_labels: tuple[str, ...] = ("O",)

    def prepare(self, predictor: Predictor, item: str, max_tokens: int) -> PreparedText:
        """Words or tokens, after the strategy."""
        units = TokenClassification(predictor).units(item, self.strategy)
        features = unit_features(predictor.token_classifier(), [units], max_tokens // SHORTEST_WINDOW + 1)
        return PreparedText(units, _cost(features, 2), features)

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[list[Record]]:
        """Records as the pipeline 'token-classification' returns them."""
        asked = predictor.token_classifier(), [text.item for text in prepared], joined(prepared)
        return TokenClassification(predictor).records(*asked, self.strategy, self.ignore_labels, batch_size)


@dataclass(frozen=True)
class AnswerQuestion(Operation):
    """(question, context) -> the answer, or with top_k above 1 a list of them."""

    name: ClassVar[str] = "answer"
    top_k: int = 1
    handle_impossible_answer: bool | None = None
    max_answer_len: int | None = None
    doc_stride: int | None = None

    def _model(self, predictor: Predictor) -> Answerer:
        choices = {
            "top_k": self.top_k,
            "handle_impossible": self.handle_impossible_answer,
            "max_answer_length": self.max_answer_len,
            "stride": self.doc_stride,
        }
        return with_choices(predictor.question_answerer(), choices)[0]

    def prepare(self, predictor: Predictor, item: tuple[str, str], max_tokens: int) -> PreparedText:
        """A context is read in windows that begin every `doc_stride` tokens, or closer where the question is long."""
        example = as_question(*item)
        features = self._model(predictor).featurize([example], max_tokens // SHORTEST_WINDOW + 1)
        return PreparedText(example, _cost(features, 3), features)

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[Any]:
        """Records as the pipeline 'question-answering' returns them."""
        model = self._model(predictor)
        predictions = model.answer_features([text.item for text in prepared], joined(prepared), batch_size)
        unanswerable = bool(model.spec.options["unanswerable"])
        return [answer_records(best_answers(prediction, unanswerable, self.top_k), self.top_k) for prediction in predictions]


@dataclass(frozen=True)
class Fill(Operation):
    """Text with [MASK] -> its proposals, a list of lists where it has several masks."""

    name: ClassVar[str] = "fill"
    top_k: int = 5
    targets: tuple[str, ...] = ()

    def prepare(self, predictor: Predictor, item: str, max_tokens: int) -> PreparedText:
        """Each proposal of each mask is the whole text again."""
        text = encode_marked(item, predictor.tokenizer)
        cost = single_cost(len(text.ids), predictor.max_length)
        return PreparedText(text, replace(cost, written=cost.tokens * len(text.marks) * (len(self.targets) or self.top_k)))

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[Any]:
        """Records as the pipeline 'fill-mask' returns them."""
        return [mask_records(predictor.fill(text.item, top_k=self.top_k, targets=self.targets or None)) for text in prepared]


@dataclass(frozen=True)
class TokensOperation(Operation):
    """An operation on the tokens of one text, read in windows."""

    truncate: bool = False
    """Whether a longer text is cut at its end."""

    def prepare(self, predictor: Predictor, item: str, max_tokens: int) -> PreparedText:
        """The text's tokens."""
        ids, spans = predictor.tokenizer.encode_offsets(item)
        length = predictor.max_length - 2 if self.truncate else len(ids)
        return PreparedText(EncodedText(item, ids[:length], spans[:length]), single_cost(min(len(ids), length), predictor.max_length))


@dataclass(frozen=True)
class Embed(TokensOperation):
    """Text -> one vector."""

    name: ClassVar[str] = "embed"
    normalize: bool = True

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[list[float]]:
        """(D,) numbers each."""
        texts = (text.item for text in prepared)
        return [row.tolist() for row in predictor.iterate_embeddings(texts, normalize=self.normalize, batch_size=batch_size)]


@dataclass(frozen=True)
class EmbedAll(TokensOperation):
    """Text -> a vector for every token, [CLS] and [SEP] included."""

    name: ClassVar[str] = "embed_all"

    def prepare(self, predictor: Predictor, item: str, max_tokens: int) -> PreparedText:
        """`hidden_size` numbers for each token."""
        text = super().prepare(predictor, item, max_tokens)
        return replace(text, cost=replace(text.cost, written=(text.cost.tokens + 2) * predictor.backend.hidden_size))

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[list[list[float]]]:
        """(L, D) numbers each."""
        return [rows.tolist() for rows in predictor.token_vectors((text.item for text in prepared), batch_size=batch_size)]


@dataclass(frozen=True)
class Detect(TokensOperation):
    """Text -> its tokens with the probability that each was replaced."""

    name: ClassVar[str] = "detect"
    threshold: float = 0.5

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[list[Record]]:
        """Records as the pipeline 'replaced-token-detection' returns them."""
        texts = (text.item for text in prepared)
        return [token_records(found) for found in predictor.iterate_detections(texts, threshold=self.threshold, batch_size=batch_size)]


@dataclass(frozen=True)
class Corrupt(TokensOperation):
    """Text -> masked, filled by the generator, read by the discriminator."""

    name: ClassVar[str] = "corrupt"
    mask_prob: float = 0.15
    temperature: float = 1.0
    seed: int = 1

    @property
    def alone(self) -> bool:
        """Masks and samples depend on the seed and a text's number: in a batch they would depend on the other requests."""
        return True

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[Record]:
        """{"text", "corrupted", "tokens"} each; the offsets count in the corrupted text."""
        out = []
        for text in prepared:
            (found,) = predictor.corrupt([text.item], mask_prob=self.mask_prob, temperature=self.temperature, seed=self.seed)
            masked = {item.index: item for item in found.replacements}
            tokens = []
            for index, token in enumerate(found.corrupted.tokens):
                hidden = masked.get(index)
                record: Record = {"token": token.token, "original": hidden.original if hidden else token.token}
                record |= {"start": token.start, "end": token.end, "masked": hidden is not None, "changed": hidden is not None and hidden.changed}
                proposals = [{"token": word, "score": probability} for word, probability in hidden.proposals] if hidden else []
                tokens.append({**record, "score": token.probability, "proposals": proposals})
            out.append({"text": found.text, "corrupted": found.corrupted.text, "tokens": tokens})
        return out


def joined(prepared: Sequence[PreparedText]) -> list[Features]:
    """The inputs of several texts, each with the number of its text."""
    return [replace(feature, example=number) for number, text in enumerate(prepared) for feature in text.features]


def unknown_tokens(text: PreparedText, unk_id: int) -> int:
    """How many of a text's tokens, those of overlapping windows twice, are [UNK]."""
    return sum(list(ids).count(unk_id) for ids in ([feature.ids for feature in text.features] or [text.item.ids]))


def _cost(features: Sequence[Features], num_special: int) -> TextCost:
    lengths = [len(feature.ids) for feature in features]
    return TextCost(sum(lengths) - num_special * len(lengths), len(lengths), max(lengths))


def single_cost(num_tokens: int, max_length: int) -> TextCost:
    """Number of tokens of one text -> its cost."""
    if num_tokens + 2 <= max_length:
        return TextCost(num_tokens, 1, num_tokens + 2)
    return TextCost(num_tokens, len(split(num_tokens, max_length - 2)), max_length)
