"""Task names as in `transformers` -> callables on texts, with its inputs, options and forms of answers.

Where they differ: longer texts are read as the model was trained (its first tokens, or windows) unless `truncation` or `max_length` is given; models
run in float32; an unknown option or input is refused by name. `docs/compatibility.md` lists what is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, Unpack, overload

import numpy as np

from electra.data.tokenizer import Tokenizer
from electra.data.windows import WindowInput, run_sorted, split
from electra.errors import UserError, did_you_mean, require
from electra.inference import call_forms, masked_lm
from electra.inference.answerer import (
    Answerer,
    ClassificationChoices,
    as_question,
    classification_choices,
    cut_features,
    label_records,
    question_features,
    question_input,
    question_item,
    question_records,
    with_choices,
)
from electra.inference.backends import architecture_of, load_options
from electra.inference.call_forms import Call, Cut, one_text
from electra.inference.predictor import Predictor, load
from electra.inference.replaced_tokens import detection_records
from electra.inference.text_io import Text, ranked_pair
from electra.inference.token_classification import (
    Record,
    TaggingUnits,
    strided_units,
    tagging_options,
    text_records,
    unit_features,
    units_for,
    with_offsets,
    without_overlaps,
)
from electra.storage import resolve

TextClassificationName: TypeAlias = Literal["sentiment-analysis", "text-classification"]
TokenClassificationName: TypeAlias = Literal["token-classification", "ner"]


class TextPipeline:
    """A loaded model with the options of its calls."""

    task: ClassVar[str]
    options: ClassVar[type]
    """A TypedDict of the options."""
    tuples: ClassVar[bool] = False
    """Whether a tuple is a list of texts."""

    def __init__(self, predictor: Predictor, **defaults: Any) -> None:
        """Keep a model, and options for every call.

        Raises:
            UserError: an unknown option, or a value of a wrong kind.
        """
        self.predictor = predictor
        call_forms.check_names(self.task, defaults, self.options.__annotations__)
        self.defaults = defaults
        self.checked(dict(defaults))

    @property
    def model(self) -> Any:
        """What runs: a torch.nn.Module, or an artifact's runner."""
        return self.predictor.model

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's."""
        return self.predictor.tokenizer

    def checked(self, options: dict[str, Any]) -> Any:
        """Options with their defaults, checked.

        Raises:
            UserError: a value of a wrong kind.
        """
        raise NotImplementedError

    def predict(self, X: Any) -> Any:
        """A call without options, as scikit-learn names it."""
        return self(X)  # type: ignore[operator]

    transform = predict

    def _call(self, given: tuple[Any, ...], options: Mapping[str, Any], single: Callable[[Any], bool] = lambda item: isinstance(item, str)) -> Call:
        """The arguments of a call -> what is answered, with all options."""
        chosen = dict(options)
        item = call_forms.the_input(self.task, given, chosen)
        return self._of(list(item) if self.tuples and isinstance(item, tuple) else item, chosen, single)

    def _of(self, item: Any, options: Mapping[str, Any], single: Callable[[Any], bool]) -> Call:
        call_forms.check_names(self.task, options, self.options.__annotations__)
        return call_forms.as_call(self.task, item, {**self.defaults, **options}, self.predictor.batch_size, single)


# ---- labels ----


class TextClassification(TextPipeline):
    """Texts -> {"label", "score"}; lists of classes, best first, with `top_k`."""

    task = "text-classification"
    options = call_forms.ClassificationOptions

    @overload
    def __call__(self, inputs: Mapping[str, str], /, **options: Unpack[call_forms.ClassificationOptions]) -> Any: ...
    @overload
    def __call__(self, inputs: Any, /, **options: Unpack[call_forms.ClassificationOptions]) -> list[Any]: ...
    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Label texts.

        Args:
            inputs: a text, a (text, text) tuple, {"text", "text_pair"}, or several: a list, array, column, generator or data set of these.
            options: see `ClassificationOptions`.

        Returns:
            for a text [{"label", "score"}], for a dict that record alone, for a list one for each, for a generator an iterator of them. With
            `top_k` a list of records takes the place of each (of a text it is the answer). The score is a probability, or a regression's value.

        Raises:
            UserError: an input or option of a wrong kind.
        """
        call = self._call(inputs, options, lambda item: isinstance(item, str | Mapping | tuple | Text))
        answer = call.answer(self._answers(call, self.checked(dict(call.options))))
        # A pair as a tuple, which `transformers` does not take, is a list of one.
        listed = (tuple, Text) if "top_k" in options else (tuple, Text, str)
        return [answer] if call.form == "one" and isinstance(next(iter(call.items)), listed) else answer

    def checked(self, options: dict[str, Any]) -> ClassificationChoices:
        """Transform, number of classes, and how texts are cut."""
        return classification_choices(self.task, options, self.predictor.limit)

    def _answers(self, call: Call, chosen: ClassificationChoices) -> Iterator[Any]:
        model, labels = self.predictor.classifier(), self.predictor.backend.labels
        transform = model.pipeline_transform(chosen.transform)
        for chunk in call.chunks(chosen.read, lambda row: len(row[0].text) + len(row[0].text_pair or "")):
            features = cut_features(model, chunk)
            for prediction in model.answer_features([row[0] for row in chunk], features, call.batch_size, transform=transform):
                rows = label_records(prediction, labels, ranked=chosen.ranked)
                yield rows[: chosen.top_k] if chosen.listed else rows[0]


# ---- tokens: replaced ones, their states, words for masks ----


class ReplacedTokenDetection(TextPipeline):
    """Texts -> for each, [{"token", "start", "end", "score", "replaced"}, ...], the score the probability of 'replaced'."""

    task = "replaced-token-detection"
    options = call_forms.DetectionOptions
    tuples = True

    def __call__(self, *inputs: Any, **options: Unpack[call_forms.DetectionOptions]) -> Any:
        """A text or several -> a list of tokens for each; a generator -> an iterator of such lists.

        Raises:
            UserError: an input or option of a wrong kind.
        """
        call = self._call(inputs, options)
        threshold = self.checked(dict(call.options))
        found = (
            detection_records(one)
            for chunk in call.parts(one_text)
            for one in self.predictor.iterate_detections(chunk, threshold=threshold, batch_size=call.batch_size)
        )
        return [call.answer(found)] if call.form == "one" else call.answer(found)

    def checked(self, options: dict[str, Any]) -> float:
        """The threshold."""
        return call_forms.probability(self.task, "threshold", options.get("threshold", 0.5))


class FeatureExtraction(TextPipeline):
    """Texts -> for each [[[...]]] of (1, L, D) numbers: the last hidden state of [CLS], every token, [SEP]."""

    task = "feature-extraction"
    options = call_forms.ExtractionOptions

    def __call__(self, *inputs: Any, **options: Unpack[call_forms.ExtractionOptions]) -> Any:
        """One text -> its states; several -> a list of them, or an iterator for a generator.

        Nested lists, or with `return_tensors` tensors of shape (1, L, D); each text has its own length, whatever the batch. For one vector per
        text see `Predictor.embed`, for (L, D) arrays `Predictor.token_vectors`.

        Raises:
            UserError: an input or option of a wrong kind.
        """
        call = self._call(inputs, options)
        kind, cut = self.checked(dict(call.options))
        return call.answer(self._as(kind, states) for states in self._states(call, cut))

    def checked(self, options: dict[str, Any]) -> tuple[str, Cut | None]:
        """The kind of tensors, and how texts are cut."""
        place, kind = self.task, options.get("return_tensors")
        known = {None: "list", False: "list", True: "pt", "pt": "pt", "np": "np"}
        if not isinstance(kind, str | bool | None) or kind not in known:
            raise UserError(f"{place}: return_tensors {call_forms.shown(kind)}; expected True or 'pt' (torch), 'np' (numpy), or False for lists")
        options = call_forms.nested(place, "tokenize_kwargs", options)
        return known[kind], call_forms.read_cut(place, options, self.predictor.limit)

    def _states(self, call: Call, cut: Cut | None) -> Iterator[np.ndarray]:
        if cut is None:
            for chunk in call.parts(one_text):
                yield from self.predictor.token_vectors(chunk, batch_size=call.batch_size)
            return
        backend, tokenizer = self.predictor.backend, self.tokenizer
        for chunk in call.chunks(lambda item, place: (one_text(item, place), place), lambda row: len(row[0])):
            rows = [
                cut.apply(ids, None, tokenizer, backend.max_length, place)
                for ids, (_, place) in zip(tokenizer.encode([text for text, _ in chunk]), chunk, strict=True)
            ]
            inputs = [WindowInput(ids, segments, split(len(ids), len(ids))[0]) for ids, segments in rows]
            yield from run_sorted(inputs, backend.hidden_states, lambda item: len(item.ids), call.batch_size)

    @staticmethod
    def _as(kind: str, states: np.ndarray) -> Any:
        if kind == "list":
            return [states.tolist()]
        return states[None] if kind == "np" else require("torch", "train").from_numpy(np.ascontiguousarray(states[None]))


class FillMask(TextPipeline):
    """Texts with [MASK] -> for each mask, [{"score", "token", "token_str", "sequence"}, ...], the best first."""

    task = "fill-mask"
    options = call_forms.FillOptions

    def __call__(self, *inputs: Any, **options: Unpack[call_forms.FillOptions]) -> Any:
        """A text, or a list of one -> its mask's proposals, of `targets` alone if given (a list of lists where it has several); texts -> a list
        of those, a generator -> an iterator.

        Raises:
            UserError: no [MASK], or an input or option of a wrong kind.
        """
        call = self._call(inputs, options)
        top_k, targets, cut = self.checked(dict(call.options))
        predictor, backend = self.predictor, self.predictor.generator

        def read(item: Any, place: str) -> masked_lm.MarkedText:
            marked = masked_lm.encode_marked(one_text(item, place), predictor.tokenizer)
            return marked if cut is None else masked_lm.cut_marked(marked, cut, predictor.tokenizer, backend.max_length, place)

        longest = backend.max_length if cut is not None else min(predictor.max_length, backend.max_length)
        found = (
            masked_lm.mask_records(masked_lm.fill(backend, predictor.tokenizer, marked, longest, top_k, targets))
            for chunk in call.chunks(read, lambda marked: len(marked.ids))
            for marked in chunk
        )
        answer = call.answer(found)
        # Of a list of one `transformers` returns the answer alone.
        return answer[0] if call.form == "list" and len(answer) == 1 else answer

    def checked(self, options: dict[str, Any]) -> tuple[int, str | Sequence[str] | None, Cut | None]:
        """Number of proposals, targets, and how texts are cut."""
        place, top_k = self.task, options.get("top_k")
        chosen = 5 if top_k is None else call_forms.whole(place, "top_k", top_k)
        if chosen > self.predictor.generator.vocab_size:
            raise UserError(f"{place}: top_k {chosen} is above the vocabulary's {self.predictor.generator.vocab_size}; give less")
        targets = options.get("targets")
        targets = targets if targets is None or isinstance(targets, str) else call_forms.names(place, "targets", targets)
        inner = call_forms.nested(place, "tokenizer_kwargs", {"tokenizer_kwargs": options.get("tokenizer_kwargs")})
        return chosen, targets, call_forms.read_cut(place, inner, self.predictor.limit)


class TokenClassification(TextPipeline):
    """Texts -> for each, its tokens with their tags, or with a strategy its entities; those outside of any are left out.

    'none' gives every token ("entity", "score", "index", "word", "start", "end"); the others give "entity_group" in place of "entity" and
    "index". 'simple' joins neighboring tokens of one type; 'first', 'average' and 'max' first agree on one tag for all tokens of a word.
    So does `transformers`, which knows B- and I- alone. 'spans' is ours: each word by its first token, as token classifiers are trained, joined
    by the rules of the tags' scheme (BIO, BIES and the like); words alone where tags mark no spans.
    """

    task = "token-classification"
    options = call_forms.TaggingOptions

    def __init__(self, predictor: Predictor, **defaults: Any) -> None:
        """Keep a model, and options for every call.

        Raises:
            UserError: an unknown option, a value of a wrong kind, or one that `transformers` ignores here.
        """
        for name in ("is_split_into_words", "delimiter", "offset_mapping"):
            if name in defaults:
                raise UserError(f"{self.task}: {name} is an option of the call; give it with the texts")
        super().__init__(predictor, **defaults)

    def __call__(self, *inputs: Any, **options: Unpack[call_forms.TaggingOptions]) -> Any:
        """A text -> a list of records; several -> a list of such lists, or an iterator for a generator.

        With `is_split_into_words` a text is a list of words, and the answer to one such list is a list of one, as in `transformers`. Texts above
        the model's length are read in windows, each token where it has most context; with `stride` as `transformers` reads them.

        Raises:
            UserError: an input or option of a wrong kind.
        """
        given = dict(options)
        item = call_forms.the_input(self.task, inputs, given)
        split_words = given.get("is_split_into_words", False)
        item = list(item) if isinstance(item, tuple) else item
        if split_words and isinstance(item, list) and item and not isinstance(item[0], list | tuple):
            item = [item]
        call = self._of(item, given, lambda item: isinstance(item, str) and not split_words)
        return call.answer(self._answers(call, self.checked(dict(call.options))))

    def checked(self, options: dict[str, Any]) -> dict[str, Any]:
        """Strategy, labels, stride, and how words are joined."""
        return tagging_options(self.task, options, self.predictor.max_length - 2)

    def _answers(self, call: Call, chosen: Mapping[str, Any]) -> Iterator[list[Record]]:
        model, strategy = self.predictor.token_classifier(), chosen["strategy"]

        def read(item: Any, place: str) -> TaggingUnits:
            if not chosen["words"]:
                units = units_for(strategy, one_text(item, place), self.tokenizer)
                return units if chosen["mapping"] is None else with_offsets(units, chosen["mapping"], place)
            if not isinstance(item, list | tuple) or not all(isinstance(word, str) for word in item):
                raise UserError(f"{place}: got {type(item).__name__} {call_forms.shown(item)}; with is_split_into_words expected a list of words")
            return units_for(strategy, item, self.tokenizer, chosen["delimiter"])

        for chunk in call.chunks(read, lambda units: len(units.text)):
            parts = [
                [units] if chosen["stride"] is None else [*strided_units(units, self.predictor.max_length - 2, chosen["stride"])] for units in chunk
            ]
            windows = [window for part in parts for window in part]
            rows = iter(text_records(model, windows, unit_features(model, windows), strategy, chosen["ignored"], call.batch_size))
            for part in parts:
                found = [next(rows) for _ in part]
                yield found[0] if len(found) == 1 else without_overlaps(found)


class QuestionAnswering(TextPipeline):
    """Questions and contexts -> {"score", "start", "end", "answer"}, in the call forms of `transformers` 4 (version 5 has no such pipeline).

    `handle_impossible_answer`, `max_answer_len`, `max_seq_len`, `max_question_len` and the windows of long contexts are those that the model was
    trained with (otherwise False, 30, 384, 64, and a window every 128 tokens); `doc_stride` is what a window shares with the next. Answers begin
    and end with tokens, as in `electra predict`, unless `align_to_words` is True (the default of version 4).
    """

    task = "question-answering"
    options = call_forms.QuestionForms

    def __call__(self, *inputs: Any, **options: Unpack[call_forms.QuestionForms]) -> Any:
        """Answer one question or several.

        Args:
            inputs: {"question", "context"} or an object such as SquadExample, several of these, or the question and the context.
            options: question and context by name (one context for all questions, or one each), or see `QuestionForms`.

        Returns:
            a dict for one question with top_k 1, also in a list of one, as in `transformers` 4; a list of dicts for more of either, a list of
            lists for more of both; at most 20 answers each.

        Raises:
            UserError: no question, lists of different lengths, or an option of a wrong kind.
        """
        given: dict[str, Any] = dict(options)
        call = self._of(question_input(self.task, inputs, given), given, lambda item: isinstance(item, Mapping) or hasattr(item, "question_text"))
        model, top_k, overlap, align = self.checked(dict(call.options))
        answer = call.answer(self._answers(call, model, top_k, overlap, align))
        return answer[0] if call.form == "list" and len(answer) == 1 else answer

    def checked(self, options: dict[str, Any]) -> tuple[Answerer, int, int | None, bool]:
        """The model with the options, the number of answers, tokens that windows share, and whether answers are whole words."""
        place, model = self.task, self.predictor.question_answerer()
        if options.get("max_seq_len") is not None:
            length = call_forms.whole(place, "max_seq_len", options["max_seq_len"])
            if length > self.predictor.backend.max_length:
                raise UserError(f"{place}: max_seq_len {length} is above the model's {self.predictor.backend.max_length} positions; give less")
            model = model.with_max_length(length)
        top_k = options.get("top_k", options.get("topk"))
        model, count = with_choices(
            model,
            {
                "top_k": 1 if top_k is None else top_k,
                "handle_impossible": options.get("handle_impossible_answer"),
                "max_answer_length": options.get("max_answer_len"),
                "max_question_length": options.get("max_question_len"),
            },
        )
        call_forms.read_cut(place, {"padding": options.get("padding", False)}, 0)
        overlap = options.get("doc_stride")
        align = call_forms.flag(place, "align_to_words", options.get("align_to_words", False))
        return model, count, None if overlap is None else call_forms.whole(place, "doc_stride", overlap, 0), align

    def _answers(self, call: Call, model: Answerer, top_k: int, overlap: int | None, align: bool) -> Iterator[Any]:
        for chunk in call.chunks(question_item, lambda pair: len(pair[0]) + len(pair[1])):
            examples = [as_question(*pair) for pair in chunk]
            features = question_features(model, examples, overlap)
            for example, prediction in zip(examples, model.answer_features(examples, features, call.batch_size), strict=True):
                yield question_records(model, example, prediction, top_k, align)


class Reranking(TextPipeline):
    """A query and its passages -> {"index", "score", "text"} of each, the most relevant first, as `rank` of sentence-transformers' CrossEncoder."""

    task = "rerank"
    options = call_forms.RerankOptions

    def __call__(self, query: str, passages: Iterable[str], **options: Unpack[call_forms.RerankOptions]) -> list[dict[str, Any]]:
        """Sort the passages of one query.

        Args:
            query: the query.
            passages: texts.
            options: see `RerankOptions`.

        Returns:
            a list of dicts: the passage's place in `passages`, its relevance by the activation that the model's files name, and the passage.

        Raises:
            UserError: no texts, or an option of a wrong kind.
        """
        call_forms.check_names(self.task, options, self.options.__annotations__)
        chosen = {**self.defaults, **options}
        top_k = self.checked(chosen)
        if isinstance(passages, str):
            raise UserError(f"{self.task}: passages is one text; give a list of texts")
        query, texts = one_text(query, self.task), list(call_forms.each(passages, self.task))
        size = chosen.get("batch_size") or self.predictor.batch_size
        pairs = (ranked_pair(query, text) for text in texts)
        scores = [float(str(answer.label)) for answer in self.predictor.reranker().stream(pairs, size)]
        order = sorted(range(len(texts)), key=lambda place: -scores[place])[:top_k]
        return [{"index": place, "score": scores[place], "text": texts[place]} for place in order]

    def checked(self, options: dict[str, Any]) -> int | None:
        """The number of passages to return."""
        self.predictor.reranker()
        if options.get("batch_size") is not None:
            call_forms.whole(self.task, "batch_size", options["batch_size"])
        return None if options.get("top_k") is None else call_forms.whole(self.task, "top_k", options["top_k"])


# ---- pipeline() ----


Pipeline: TypeAlias = TextClassification | TokenClassification | ReplacedTokenDetection | FeatureExtraction | FillMask | QuestionAnswering | Reranking
Source: TypeAlias = str | Path | Predictor | None

PIPELINES: dict[str, tuple[type[Pipeline], str]] = {
    "sentiment-analysis": (TextClassification, "classifier"),
    "text-classification": (TextClassification, "classifier"),
    "ner": (TokenClassification, "token-classification"),
    "token-classification": (TokenClassification, "token-classification"),
    "replaced-token-detection": (ReplacedTokenDetection, "discriminator"),
    "feature-extraction": (FeatureExtraction, "encoder"),
    "fill-mask": (FillMask, "any"),
    "question-answering": (QuestionAnswering, "question-answering"),
    "rerank": (Reranking, "classifier"),
}
"""Task name -> its class, and the role that its model needs."""
TASKS = {
    "classification": "text-classification",
    "tagging": "token-classification",
    "span": "question-answering",
    "masked-lm": "fill-mask",
    "replaced-tokens": "replaced-token-detection",
    "encoder": "feature-extraction",
}
"""What a model's head does -> the task where none is named."""


@overload
def pipeline(task: TextClassificationName, model: Source = None, **options: Any) -> TextClassification: ...
@overload
def pipeline(task: TokenClassificationName, model: Source = None, **options: Any) -> TokenClassification: ...
@overload
def pipeline(task: Literal["replaced-token-detection"], model: Source = None, **options: Any) -> ReplacedTokenDetection: ...
@overload
def pipeline(task: Literal["feature-extraction"], model: Source = None, **options: Any) -> FeatureExtraction: ...
@overload
def pipeline(task: Literal["fill-mask"], model: Source = None, **options: Any) -> FillMask: ...
@overload
def pipeline(task: Literal["question-answering"], model: Source = None, **options: Any) -> QuestionAnswering: ...
@overload
def pipeline(task: Literal["rerank"], model: Source = None, **options: Any) -> Reranking: ...
@overload
def pipeline(task: str | None = None, model: Source = None, **options: Any) -> Pipeline: ...
def pipeline(task: str | None = None, model: Source = None, *more: Any, **options: Any) -> Pipeline:
    """A task's name and a model -> a callable on texts.

    Args:
        task: 'sentiment-analysis' or 'text-classification', 'token-classification' or 'ner', 'question-answering',
            'replaced-token-detection', 'feature-extraction', 'fill-mask', 'rerank'; None: what the model's head is for.
        model: checkpoint folder, run directory, hub name, or what `load` returned; None: the bundled one, where there is one.
        options: of `load` (device, threads, max_length, truncate, batch_size, tokenizer), of every call of the pipeline (such as top_k), and of
            `transformers.pipeline` where they change nothing (dtype float32, framework 'pt', ...).

    Raises:
        UserError: an unknown task or option, no such model, or a model without the head the task needs; the message says how to make one.

    Examples:
        >>> from electra import pipeline  # doctest: +SKIP
        >>> classifier = pipeline("sentiment-analysis")  # doctest: +SKIP
        >>> classifier(["ELECTRA is surprisingly fast and accurate."])  # doctest: +SKIP
        [{'label': 'positive', 'score': 0.98}]
    """
    if more:
        raise UserError(f"pipeline: got {len(more) + 2} positional arguments; expected a task and a model; give the others by name")
    kind, role = PIPELINES[_known_task(task, model)]
    known = set(kind.options.__annotations__) - {"question", "context", "data", "X"}
    loading = load_options(model.name if isinstance(model, Predictor) else model, options, known)
    defaults = {name: loading.pop(name) for name in list(loading) if name in known}
    if "truncate" in loading and "max_length" in defaults:
        loading["max_length"] = defaults.pop("max_length")
    if isinstance(model, Predictor):
        if loading:
            name = next(iter(loading))
            raise UserError(f"{name} is an option of load, and the model is loaded already; give it there: load(..., {name}=...)")
        return kind(model, **defaults)
    if model is not None and not isinstance(model, str | Path):
        raise UserError(f"pipeline: model is {type(model).__name__}; expected a folder, a hub's name, or what electra.load returned; save it first")
    if defaults.get("batch_size") is not None:
        loading["batch_size"] = call_forms.whole("pipeline", "batch_size", defaults["batch_size"])
    return kind(load(model, role=role, **loading), **defaults)


def _known_task(task: str | None, model: Source) -> str:
    """A task's name, checked; without one the task of the model's head."""
    if task is None:
        if model is None:
            raise UserError(f"pipeline: no task and no model; give one of {', '.join(PIPELINES)}")
        architecture = model.backend.architecture if isinstance(model, Predictor) else architecture_of(model)
        task = TASKS.get(head := resolve.head_of(architecture), head)
    if not isinstance(task, str) or task not in PIPELINES:
        near = f"{near} " if (near := did_you_mean(str(task), PIPELINES)).startswith("did") else ""
        raise UserError(f"unknown task {call_forms.shown(task)}; {near}supported: {', '.join(PIPELINES)}")
    return task
