"""What a model answers over HTTP: a text -> its inputs and their cost (`prepare`), a batch of prepared texts -> JSON answers (`run`).

A text is tokenized once: what is measured is what is run. Operations are values: two requests with equal operations may share a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from electra.contracts import Example, Features
from electra.data.windows import split
from electra.errors import UserError
from electra.inference.answerer import Answerer, as_question, cut_features, label_records, question_features, question_records
from electra.inference.call_forms import Cut
from electra.inference.masked_lm import encode_marked, mask_records
from electra.inference.pipelines import FillMask, QuestionAnswering
from electra.inference.replaced_tokens import EncodedText, detection_records, encoded
from electra.inference.text_io import Text
from electra.inference.token_classification import (
    AggregationStrategy,
    TaggingUnits,
    strided_units,
    tagging_options,
    text_records,
    unit_features,
    units_for,
    without_overlaps,
)

if TYPE_CHECKING:
    from electra.inference.embeddings import Embedder
    from electra.inference.predictor import Predictor

Transform = Literal["default", "softmax", "sigmoid", "none"]
End = Literal["", "right", "left", "none"]
"""The end that a longer text loses; '': as the model's input spec says; 'none': it is refused."""
Record = dict[str, Any]
TokenIds = list[int]
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
    needs: ClassVar[str] = ""
    """What a model must be, where its name does not say it."""

    @property
    def alone(self) -> bool:
        """Whether each text needs a call of its own."""
        return False

    @property
    def immediate(self) -> bool:
        """Whether `prepare` is all the work: every model can do it, and nothing waits in the queue."""
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
    cut: Cut | None = None
    """How a longer text is cut; None: as the model's input spec says."""
    whole: bool = False
    """Whether a longer text is refused."""

    def prepare(self, predictor: Predictor, item: Text, max_tokens: int) -> PreparedText:
        """A pair that is read in windows has every window of one text with every window of the other; an empty text is a second text, too."""
        model, example = predictor.classifier(), Example(id="", text=item.text, text_pair=item.pair)
        texts = [item.text] if item.pair is None else [item.text, item.pair]
        if self.whole:
            windows = model.spec.truncate == "windows"
            check_length(1 + sum(len(ids) + 1 for ids in model.tokenizer.encode(texts)), model.spec.max_length, windows=windows)
        cut = Cut("longest_first", model.spec.max_length) if self.cut is None and item.pair == "" else self.cut
        most = max_tokens // SHORTEST_WINDOW + 1
        features = cut_features(model, [(example, cut, "`inputs`")]) if cut else model.featurize([example], most)
        return PreparedText(example, _cost(features, 1 + len(texts)), features)

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[Any]:
        """Every class of every text."""
        examples = [text.item for text in prepared]
        model = predictor.classifier()
        predictions = model.answer_features(examples, joined(prepared), batch_size, transform=model.pipeline_transform(self.transform))
        return [label_records(prediction, predictor.backend.labels) for prediction in predictions]


@dataclass(frozen=True)
class Rerank(Classify):
    """(query, text) -> the only output of a cross-encoder."""

    name: ClassVar[str] = "rerank"
    needs: ClassVar[str] = "; a re-ranker is a classifier of one output"
    transform: Transform = "sigmoid"

    def prepare(self, predictor: Predictor, item: Text, max_tokens: int) -> PreparedText:
        """One output only."""
        if len(predictor.backend.labels) > 1:
            raise UserError(f"{predictor.name} is not a re-ranker (it has {len(predictor.backend.labels)} classes); use /predict")
        return super().prepare(predictor, item, max_tokens)

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[Any]:
        """A number for every text."""
        return [rows[0]["score"] for rows in super().run(predictor, prepared, batch_size)]


def check_length(num_tokens: int, max_length: int, *, windows: bool = False) -> None:
    """Raise a UserError, in the words of text-embeddings-inference, if a text that must not be cut is too long; `windows`: whether the model reads
    all of it where nothing is said."""
    if num_tokens > max_length:
        remedy = f"set `truncate` to true{', or leave it out to have all of it read' if windows else ' to cut it, or split the text'}"
        raise UserError(f"`inputs` must have less than {max_length} tokens. Given: {num_tokens}; {remedy}")


@dataclass(frozen=True)
class Tag(Operation):
    """Text -> its entities, or its tokens with their tags."""

    name: ClassVar[str] = "tag"
    strategy: AggregationStrategy = "simple"
    ignore_labels: tuple[str, ...] = ("O",)
    stride: int | None = None
    """Tokens that a window of a long text shares with the next, as `transformers` reads it; None: each token where it has most context."""

    def prepare(self, predictor: Predictor, item: str, max_tokens: int) -> PreparedText:
        """Words or tokens, after the strategy, of each window."""
        model, capacity = predictor.token_classifier(), predictor.max_length - 2
        tagging_options("token-classification", {"aggregation_strategy": self.strategy, "stride": self.stride}, capacity)
        units = units_for(self.strategy, item, predictor.tokenizer)
        most = max_tokens // SHORTEST_WINDOW + 1
        windows = [units] if self.stride is None else list(islice(strided_units(units, capacity, self.stride), most))
        features = unit_features(model, windows, most)
        return PreparedText(windows, _cost(features, 2), features)

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[list[Record]]:
        """Records as the pipeline 'token-classification' returns them."""
        windows: list[TaggingUnits] = []
        features: list[Features] = []
        for text in prepared:
            features += [replace(feature, example=len(windows) + feature.example) for feature in text.features]
            windows += text.item
        rows = iter(text_records(predictor.token_classifier(), windows, features, self.strategy, self.ignore_labels, batch_size))
        return [without_overlaps([next(rows) for _ in text.item]) for text in prepared]


@dataclass(frozen=True)
class AnswerQuestion(Operation):
    """(question, context) -> the answer, or with top_k above 1 a list of them."""

    name: ClassVar[str] = "answer"
    top_k: int = 1
    handle_impossible_answer: bool | None = None
    max_answer_len: int | None = None
    doc_stride: int | None = None
    max_seq_len: int | None = None
    max_question_len: int | None = None
    align_to_words: bool = False

    def _chosen(self, predictor: Predictor) -> tuple[Answerer, int, int | None, bool]:
        return QuestionAnswering(predictor).checked(asdict(self))

    def prepare(self, predictor: Predictor, item: tuple[str, str], max_tokens: int) -> PreparedText:
        """A context is read in windows, of which each shares `doc_stride` tokens with the next."""
        model, _, overlap, _ = self._chosen(predictor)
        example = as_question(*item)
        features = question_features(model, [example], overlap, max_tokens // SHORTEST_WINDOW + 1)
        return PreparedText(example, _cost(features, 3), features)

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[Any]:
        """Records as the pipeline 'question-answering' returns them."""
        model, top_k, _, align = self._chosen(predictor)
        examples = [text.item for text in prepared]
        predictions = model.answer_features(examples, joined(prepared), batch_size)
        return [question_records(model, example, found, top_k, align) for example, found in zip(examples, predictions, strict=True)]


@dataclass(frozen=True)
class Fill(Operation):
    """Text with [MASK] -> its proposals, a list of lists where it has several masks."""

    name: ClassVar[str] = "fill"
    top_k: int = 5
    targets: tuple[str, ...] | None = None

    def prepare(self, predictor: Predictor, item: str, max_tokens: int) -> PreparedText:
        """Each proposal of each mask is the whole text again."""
        FillMask(predictor).checked({"top_k": self.top_k, "targets": self.targets})
        try:
            text = encode_marked(item, predictor.tokenizer)
        except UserError:  # it quotes the text, which a caller's log would keep
            raise UserError("`inputs`: no [MASK] in a text; write [MASK] where a word is missing") from None
        cost = single_cost(len(text.ids), predictor.max_length)
        return PreparedText(text, replace(cost, written=cost.tokens * len(text.marks) * (len(self.targets or ()) or self.top_k)))

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[Any]:
        """Records as the pipeline 'fill-mask' returns them."""
        return [mask_records(predictor.fill(text.item, top_k=self.top_k, targets=self.targets)) for text in prepared]


@dataclass(frozen=True)
class TokensOperation(Operation):
    """An operation on the tokens of one text, read in windows."""

    cut: End = ""
    prompt: str = ""
    """What comes before each text."""

    def reads_windows(self, predictor: Predictor) -> bool:
        """Whether all of a long text is read where the request does not say."""
        return True

    def prepare(self, predictor: Predictor, item: str | TokenIds, max_tokens: int) -> PreparedText:
        """The tokens of prompt and text; the text is kept without its prompt."""
        length = predictor.max_length
        text = read_ids(predictor, item, self.prompt) if not isinstance(item, str) else encoded(self.prompt + item, predictor.tokenizer)
        text = replace(text, text=text.text.removeprefix(self.prompt))
        if self.cut == "none":
            check_length(len(text.ids) + 2, length, windows=self.reads_windows(predictor))
        elif self.cut and (lost := len(text.ids) + 2 - length) > 0:
            kept = slice(lost, None) if self.cut == "left" else slice(-lost)
            text = EncodedText(text.text, text.ids[kept], text.spans[kept])
        return PreparedText(text, single_cost(len(text.ids), length))


def read_ids(predictor: Predictor, ids: TokenIds, prompt: str) -> EncodedText:
    """Token ids of a request -> the text's tokens, as text-embeddings-inference reads ids: decoded, then tokenized again.

    Raises:
        UserError: an id that the vocabulary lacks, no [CLS] or [SEP] at the ends, or too many ids.
    """
    backend, tokenizer = predictor.tokenizer.backend, predictor.tokenizer
    check_ids(predictor, ids)
    if len(ids) > predictor.max_length:
        raise UserError(f"`inputs` must have less than {predictor.max_length} tokens. Given: {len(ids)}; send the text, or fewer ids")
    if prompt:
        return encoded(prompt + backend.decode(ids, skip_special_tokens=True), tokenizer)
    text = backend.decode(ids, skip_special_tokens=False)
    again = backend.encode(text, add_special_tokens=False)
    if len(again.ids) < 2 or (again.ids[0], again.ids[-1]) != (tokenizer.cls_id, tokenizer.sep_id):
        ends = f"{tokenizer.cls_id} ([CLS]) and end with {tokenizer.sep_id} ([SEP])"
        raise UserError(f"token ids of a text begin with {ends}, as /tokenize gives them; ids of another tokenizer mean other words: send the text")
    return EncodedText(text, again.ids[1:-1], again.offsets[1:-1])


def check_ids(predictor: Predictor, ids: TokenIds) -> None:
    """Raise a UserError for an id that the vocabulary lacks."""
    if (largest := max(ids, default=0)) >= (size := predictor.tokenizer.backend.get_vocab_size()):
        raise UserError(f"id {largest} is not in the vocabulary of {predictor.name}, which has {size} tokens (0 to {size - 1})")


@dataclass(frozen=True)
class Embed(TokensOperation):
    """Text -> one vector."""

    name: ClassVar[str] = "embed"
    normalize: bool = True
    dimensions: int | None = None
    """Only so many numbers of each vector, its first."""

    def reads_windows(self, predictor: Predictor) -> bool:
        """As the model's files say."""
        return self._embedder(predictor).truncate == "windows"

    def prepare(self, predictor: Predictor, item: str | TokenIds, max_tokens: int) -> PreparedText:
        """The text's tokens; more dimensions than there are cannot be given."""
        size = predictor.modules.width(predictor.backend.hidden_size, self.dimensions and 2**31)
        if self.dimensions is not None and self.dimensions > size:
            raise UserError(f"`dimensions` {self.dimensions}: the vectors of {predictor.name} have {size}; give at most that")
        text = super().prepare(predictor, item, max_tokens)
        # A model that reads no windows reads one input of at most its length.
        fits = self.reads_windows(predictor) or text.cost.windows == 1
        return text if fits else replace(text, cost=single_cost(predictor.max_length - 2, predictor.max_length))

    def _embedder(self, predictor: Predictor) -> Embedder:
        found = predictor.embedder
        return replace(found, truncate={"right": "head", "left": "tail"}.get(self.cut, found.truncate))

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[list[float]]:
        """(D,) numbers each."""
        texts, embedder = (text.item for text in prepared), self._embedder(predictor)
        rows = embedder.vectors(texts, batch_size, normalize=self.normalize, prompt=self.prompt, truncate_dim=self.dimensions)
        return [row.tolist() for row in rows]


@dataclass(frozen=True)
class EmbedAll(TokensOperation):
    """Text -> a vector for every token, [CLS] and [SEP] included."""

    name: ClassVar[str] = "embed_all"

    def prepare(self, predictor: Predictor, item: str | TokenIds, max_tokens: int) -> PreparedText:
        """`hidden_size` numbers for each token."""
        text = super().prepare(predictor, item, max_tokens)
        return replace(text, cost=replace(text.cost, written=(text.cost.tokens + 2) * predictor.backend.hidden_size))

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[list[list[float]]]:
        """(L, D) numbers each."""
        return [rows.tolist() for rows in predictor.token_vectors((text.item for text in prepared), batch_size=batch_size)]


@dataclass(frozen=True)
class Tokens:
    """Ids and what is answered about them."""

    ids: list[int]
    answer: Any


@dataclass(frozen=True)
class TokenizerOperation(Operation):
    """An operation of the tokenizer alone."""

    @property
    def immediate(self) -> bool:
        """No model runs."""
        return True

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[Any]:
        """What `prepare` found."""
        return [text.item.answer for text in prepared]


@dataclass(frozen=True)
class Tokenize(TokenizerOperation):
    """Text -> [{"id", "text", "special", "start", "stop"}, ...], as text-embeddings-inference gives them: the places count bytes."""

    name: ClassVar[str] = "tokenize"
    add_special_tokens: bool = True
    prompt: str = ""

    def prepare(self, predictor: Predictor, item: str, max_tokens: int) -> PreparedText:
        """The text's tokens; one that the text itself spells, such as [MASK], is no special one."""
        text, tokenizer = self.prompt + item, predictor.tokenizer
        records: list[dict[str, Any]] = []
        character = byte = 0
        for index, (start, end) in tokenizer.encode_tokens(text):
            byte += len(text[character:start].encode()) if start >= character else -len(text[start:character].encode())
            stop = byte + len(text[start:end].encode())
            records.append({"id": index, "text": text[start:end], "special": False, "start": byte, "stop": stop})
            character, byte = end, stop
            if len(records) > max_tokens:  # it will be refused
                break
        if self.add_special_tokens:
            first, last = (
                {"id": index, "text": tokenizer.pieces[index], "special": True, "start": None, "stop": None}
                for index in (tokenizer.cls_id, tokenizer.sep_id)
            )
            records = [first, *records, last]
        ids = [record["id"] for record in records]
        return PreparedText(Tokens(ids, records), TextCost(len(ids), 1, len(ids)))


@dataclass(frozen=True)
class Decode(TokenizerOperation):
    """Token ids -> text."""

    name: ClassVar[str] = "decode"
    skip_special_tokens: bool = True

    def prepare(self, predictor: Predictor, item: TokenIds, max_tokens: int) -> PreparedText:
        """The text."""
        check_ids(predictor, item)
        text = predictor.tokenizer.backend.decode(item, skip_special_tokens=self.skip_special_tokens)
        return PreparedText(Tokens(item, text), TextCost(len(item), 1, len(item)))


@dataclass(frozen=True)
class Detect(TokensOperation):
    """Text -> its tokens with the probability that each was replaced."""

    name: ClassVar[str] = "detect"
    threshold: float = 0.5

    def run(self, predictor: Predictor, prepared: Sequence[PreparedText], batch_size: int) -> list[list[Record]]:
        """Records as the pipeline 'replaced-token-detection' returns them."""
        texts = (text.item for text in prepared)
        return [detection_records(found) for found in predictor.iterate_detections(texts, threshold=self.threshold, batch_size=batch_size)]


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
