"""A fine-tuned model and a task -> predictions: the one way from texts to labels, numbers, tags and answers.

examples -> Task.featurize -> Backend (batches of similar length) -> Task.decode -> predictions

`electra evaluate`, `predict`, `compare`, `submit`, the accuracy check of `build --target auto`, `serve` and pipelines all go through here. Nothing
here imports torch; the backend does where it is PyTorch's. The last part is about questions: the options of a call, and a prediction's answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from electra.contracts import Example, Features, Head, Prediction, SpanPrediction, Task
from electra.data.windows import chunks, run_sorted
from electra.errors import UserError
from electra.inference.backends import Backend
from electra.inference.call_forms import Cut, check_names, choice, flag, nested, one_example, one_text, read_cut, refuse, shown, whole
from electra.inference.text_io import Text
from electra.storage import resolve
from electra.tasks.data_warnings import head_line
from electra.tasks.input_spec import InputSpec, activation_name, input_spec, with_options

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class AnsweredChunk:
    """Neighboring examples of a stream, which were run together."""

    examples: Sequence[Example]
    features: Sequence[Features]
    """Their inputs; `Features.example` counts from 0 in this chunk."""
    outputs: Sequence[np.ndarray]
    """Of each input."""
    predictions: Sequence[Prediction]
    """Of each example."""


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """A model that answers a task."""

    backend: Backend
    tokenizer: Tokenizer
    task: Task
    """With the options of the input spec."""
    head: Head
    spec: InputSpec

    def featurize(self, examples: Sequence[Example], most: int | None = None) -> list[Features]:
        """Examples -> the model's inputs, at most `most` of them (a custom task's: all)."""
        limit: dict[str, Any] = {} if most is None else {"most": most}
        return self.task.featurize(examples, self.tokenizer, self.spec.max_length, self.head, **limit)

    def outputs(self, features: Sequence[Features], batch_size: int = 32) -> list[np.ndarray]:
        """Inputs -> what `Task.decode` takes: (C,) logits of a text, (L, C) of its tokens, or a span head's outputs; float32, in order."""
        run = {"tagging": self.backend.token_logits, "span": self.backend.span_outputs}.get(self.head.kind, self.backend.class_logits)
        return run_sorted(features, run, lambda feature: len(feature.ids), batch_size)

    def run(self, examples: Iterable[Example], batch_size: int = 32, features: Sequence[Features] | None = None) -> Iterator[AnsweredChunk]:
        """Any number of examples -> all that is known of them, chunk by chunk, in order and in constant memory.

        Every interface chunks alike: the answers of an 8-bit model, whose scales depend on the batch, are the same for the same texts.

        Args:
            examples: texts, pairs, sentences or questions.
            batch_size: inputs at a time.
            features: the inputs of all of them, where they are made already.
        """
        start = first = 0
        for chunk in chunks(examples, example_size, batch_size):
            if features is None:
                inputs = self.featurize(chunk)
            else:
                inputs = list(takewhile(lambda feature: feature.example < start + len(chunk), islice(features, first, None)))  # noqa: B023
                first += len(inputs)
                inputs = [replace(feature, example=feature.example - start) for feature in inputs]
            start += len(chunk)
            outputs = self.outputs(inputs, batch_size)
            yield AnsweredChunk(chunk, inputs, outputs, self.task.decode(outputs, inputs, chunk, self.head))

    def stream(self, examples: Iterable[Example], batch_size: int = 32) -> Iterator[Prediction]:
        """Any number of examples -> a prediction of each, in order and in constant memory."""
        return (prediction for chunk in self.run(examples, batch_size) for prediction in chunk.predictions)

    def answer(self, examples: Sequence[Example], batch_size: int = 32) -> list[Prediction]:
        """Examples -> a prediction of each, in order."""
        return list(self.stream(examples, batch_size))

    def answer_features(self, examples: Sequence[Example], features: Sequence[Features], batch_size: int = 32, **decoding: Any) -> list[Prediction]:
        """Examples whose inputs are made already -> a prediction of each; `decoding`: further arguments of `Task.decode`."""
        return self.task.decode(self.outputs(features, batch_size), features, examples, self.head, **decoding) if features else []

    def pipeline_transform(self, given: str) -> str:
        """How pipelines turn logits into scores: 'default' is that of `transformers`, which does not know a CrossEncoder's activation."""
        if given != "default" or activation_name(self.backend.hf_config) is None:
            return given
        if self.backend.is_regression:
            return "none"
        return "sigmoid" if self.backend.is_multilabel or len(self.backend.labels) == 1 else "softmax"

    def with_options(self, **changes: Any) -> Answerer:
        """The same model with other options of its task."""
        task = with_options(self.task, {**self.task.options, **changes})
        return replace(self, task=task, spec=replace(self.spec, options=task.options))

    def with_max_length(self, max_length: int) -> Answerer:
        """The same model with inputs of at most so many tokens."""
        return replace(self, spec=replace(self.spec, max_length=max_length))


def answerer(backend: Backend, tokenizer: Tokenizer, task: Task, head: Head, spec: InputSpec) -> Answerer:
    """A model, a task and an input spec -> what answers it."""
    return Answerer(backend=backend, tokenizer=tokenizer, task=with_options(task, spec.options), head=head, spec=spec)


def example_size(example: Example) -> int:
    """Characters of an example."""
    return len(example.text) + len(example.text_pair or "")


def text_example(item: Any, place: str) -> Example:
    """A text, a pair, or a dict of both -> an example.

    Raises:
        UserError: something else, or a dict with arguments of the tokenizer.
    """
    example, own = one_example((item.text, item.pair or "") if isinstance(item, Text) else item, place)
    check_names(f"{place}: a dict", own, ("text", "text_pair"), "key")
    return example


# ---- heads ----


PRETRAINED_OUTPUTS = {
    "replaced-tokens": "whether each token was replaced",
    "masked-lm": "words for the masked tokens",
    "encoder": "none, its last hidden states",
    "cloze": "words for tokens from those before and after",
}
"""Heads of models that are pre-trained only."""


def head_of(backend: Backend) -> Head | None:
    """The head of a fine-tuned model; None for one that is pre-trained only. A regression answers in the label's unit.

    Outputs become scores as in the pipeline 'text-classification' of `transformers`: a regression's as they are, several labels' and a single
    output's by a sigmoid, others' by a softmax.
    """
    kind = resolve.head_of(backend.architecture)
    if kind in PRETRAINED_OUTPUTS:
        return None
    if kind != "classification":
        return Head(kind=kind, labels=tuple(backend.labels) if kind == "tagging" else ())
    labels = tuple(backend.labels)
    if (name := activation_name(backend.hf_config)) is not None and (head := _cross_encoder_head(name, labels)) is not None:
        return head
    if backend.is_regression:
        return Head(kind="regression") if len(labels) < 2 else Head(kind="classification", labels=labels, transform="none")
    if backend.is_multilabel:
        return Head(kind="multilabel", labels=labels)
    return Head(kind="classification", labels=labels) if len(labels) != 1 else Head(kind="regression", transform="sigmoid")


def _cross_encoder_head(name: str, labels: tuple[str, ...]) -> Head | None:
    """The head of a CrossEncoder of sentence-transformers: one score is as its `predict` gives it; None: as that of other classifiers.

    Raises:
        UserError: an activation that is not implemented.
    """
    known = {"": "sigmoid" if len(labels) == 1 else "", "Identity": "none" if len(labels) == 1 else "", "Sigmoid": "sigmoid"}
    kind = name.rpartition(".")[2]
    if kind not in known or (name and not name.startswith("torch.nn.")):
        raise UserError(f"config.json: activation_fn {name} is not supported; expected torch.nn.modules.activation.Sigmoid or .linear.Identity")
    if not known[kind]:
        return None
    return Head(kind="classification" if len(labels) > 1 else "regression", labels=labels if len(labels) > 1 else (), transform=known[kind])


def require_head(name: str, backend: Backend) -> Head:
    """The head of a fine-tuned model.

    Raises:
        UserError: it is pre-trained only.
    """
    head = head_of(backend)
    if head is None:
        kind = resolve.with_article(backend.architecture)
        raise UserError(f"{name} has no task head (it is {kind}, pre-trained only); fine-tune it first: electra finetune --help")
    return head


def task_of(head: Head) -> Task:
    """The task of a kind of head: all models of that kind featurize texts and decode outputs alike, whatever they were fine-tuned on."""
    # Only the module that is needed: the table of all tasks takes a tenth of an artifact's start.
    if head.kind == "tagging":
        from electra.tasks.tagging import TAGGING

        return TAGGING
    if head.kind == "span":
        from electra.tasks.question_answering import QUESTION_TASKS

        return QUESTION_TASKS["squad"]
    from electra.tasks.custom import OWN

    return OWN


def model_spec(values: Mapping[str, Any], head: Head | None, limit: int, *, max_length: int = 0, truncate: str | None = None) -> InputSpec:
    """A model's config.json and head -> its input spec (see `electra.tasks.input_spec`), with all options of its record."""
    task = None if head is None else task_of(head)
    return input_spec(values, task, limit, max_length=max_length, names=() if task is None else tuple(task.options), truncate=truncate)


def describe_head(name: str, backend: Backend) -> str:
    """'runs/sst2/best: ElectraForSequenceClassification, head: classification into 2 classes (0, 1)', and which weights are not used."""
    head, kind = head_of(backend), resolve.head_of(backend.architecture)
    extra = [weight for weight in getattr(backend, "ignored", ()) if kind != "encoder" and ".pooler." not in weight]
    unused = f"; not used, as in transformers: {', '.join(extra[:3])}{', ...' if len(extra) > 3 else ''}" if extra else ""
    if head is not None:
        return head_line(name, {"architectures": [backend.architecture]}, head) + unused
    what = "how likely each token is (Electric)" if backend.is_electric else PRETRAINED_OUTPUTS[kind]
    return f"{name}: {backend.architecture}, head: {what}{unused}"


def label_records(prediction: Prediction, labels: Sequence[str], *, ranked: bool = True) -> list[dict[str, Any]]:
    """A text's prediction -> {"label", "score"} of every class, the best first unless in the model's order; of a regression its value."""
    if not prediction.probabilities:
        return [{"label": (labels or ("value",))[0], "score": float(str(prediction.label))}]
    found = [{"label": label, "score": score} for label, score in prediction.probabilities.items()]
    return sorted(found, key=lambda row: -float(str(row["score"]))) if ranked else found


@dataclass(frozen=True, kw_only=True)
class ClassificationChoices:
    """The options of the pipeline 'text-classification'."""

    place: str
    """Named in errors."""
    transform: str
    top_k: int | None
    listed: bool
    """Whether each answer is a list of classes."""
    ranked: bool
    """Whether its best class is the first; else the model's order."""
    pair: str | None
    """The second text of all."""
    tokenizer: Mapping[str, Any]
    cut: Cut | None
    """What the tokenizer's arguments say; None: as the model was trained."""
    limit: int
    """The tokenizer's `model_max_length`."""

    def read(self, item: Any, place: str) -> tuple[Example, Cut | None, str]:
        """An input -> its example, how it is cut, and what errors name.

        Raises:
            UserError: an input of a wrong kind, or two second texts.
        """
        example, own = one_example((item.text, item.pair or "") if isinstance(item, Text) else item, place)
        if self.pair is not None:
            if example.text_pair is not None or isinstance(item, Mapping):
                raise UserError(f"{place}: text_pair is given twice, with the text and as an option; leave one out")
            example = Example(id="", text=example.text, text_pair=self.pair or None)
        return example, read_cut(self.place, {**self.tokenizer, **own}, self.limit) if own else self.cut, place


def classification_choices(place: str, options: Mapping[str, Any], limit: int) -> ClassificationChoices:
    """The options of a call, checked; `limit`: the tokenizer's `model_max_length`.

    Raises:
        UserError: a value of a wrong kind.
    """
    options = nested(place, "tokenizer_kwargs", options)
    function, pair = options.get("function_to_apply"), options.get("text_pair")
    everything = options.get("return_all_scores") is not None and flag(place, "return_all_scores", options["return_all_scores"])
    top_k = options.get("top_k", None if everything else 1)
    return ClassificationChoices(
        place=place,
        transform="default" if function is None else choice(place, "function_to_apply", function, ("default", "sigmoid", "softmax", "none")),
        top_k=None if top_k is None else whole(place, "top_k", top_k, 0),
        listed="top_k" in options or everything,
        ranked="top_k" in options or not everything,
        pair=None if pair is None else one_text(pair, f"{place}: text_pair"),
        tokenizer=options,
        cut=read_cut(place, options, limit),
        limit=limit,
    )


def cut_features(model: Answerer, chunk: Sequence[tuple[Example, Cut | None, str]]) -> list[Features]:
    """Texts -> the model's inputs, each cut as its call says, or made as the model was trained.

    Raises:
        UserError: a text above the model's positions.
    """
    if not any(cut for _, cut, _ in chunk):
        return model.featurize([example for example, _, _ in chunk])
    out = []
    for number, (example, cut, place) in enumerate(chunk):
        if cut is None:
            out += [replace(feature, example=number) for feature in model.featurize([example])]
            continue
        first, *second = model.tokenizer.encode([example.text, *([] if example.text_pair is None else [example.text_pair])])
        ids, segments = cut.apply(first, second[0] if second else None, model.tokenizer, model.backend.max_length, place)
        out.append(Features(ids=ids, segments=segments, example=number))
    return out


# ---- questions ----


CHOICES = {
    "handle_impossible": "unanswerable",
    "null_threshold": "null_threshold",
    "max_answer_length": "max_answer_length",
    "max_question_length": "max_query_length",
    "stride": "stride",
}
"""Argument of `Predictor.answer` -> the option of the task that it replaces; None leaves the model's."""


@dataclass(frozen=True, kw_only=True)
class FoundAnswer:
    """An answer, `context[start:end]`; empty (0..0) for 'the context does not say'."""

    text: str
    start: int
    end: int
    score: float
    """Probability, 0..1."""


def with_choices(model: Answerer, choices: Mapping[str, Any]) -> tuple[Answerer, int]:
    """A model and the arguments of `Predictor.answer` -> the model with these options, and top_k.

    Raises:
        UserError: an unknown argument, or a value of a wrong kind or out of range.
    """
    from electra.tasks.question_answering import SHORTEST, QuestionOptions

    known = ("top_k", *CHOICES)
    if unknown := sorted(choices.keys() - set(known)):
        raise UserError(f"unknown choice '{unknown[0]}'; known: {', '.join(known)}")
    top_k = whole("answers", "top_k", choices.get("top_k", 1))
    given = {CHOICES[name]: value for name, value in choices.items() if name in CHOICES and value is not None}
    for name, value in given.items():
        if name == "unanswerable":
            flag("answers", "handle_impossible", value)
        elif name == "null_threshold":
            if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
                raise UserError(f"answers: null_threshold {value!r}; expected a number")
        else:
            whole("answers", name, value)
    model = model.with_options(**given)
    QuestionOptions(**model.spec.options).check(SHORTEST)
    return model, top_k


def as_question(question: str, context: str) -> Example:
    """A question and its context as an example."""
    return Example(id="", text=question, text_pair=context)


def question_features(model: Answerer, examples: Sequence[Example], overlap: int | None = None, most: int | None = None) -> list[Features]:
    """Questions -> the windows of each, at most `most` of one; `overlap`: tokens that a window shares with the next, whatever the question's length.

    Raises:
        UserError: a window would be no longer than its overlap.
    """
    if overlap is None:
        return model.featurize(examples, most)
    from electra.tasks.question_answering import QuestionOptions, longest_question

    longest, out = longest_question(QuestionOptions(**model.spec.options), model.spec.max_length), []
    for number, (example, ids) in enumerate(zip(examples, model.tokenizer.encode([example.text for example in examples]), strict=True)):
        capacity = model.spec.max_length - 3 - min(len(ids), longest)
        if overlap >= capacity:
            raise UserError(
                f"doc_stride {overlap}: a window holds {capacity} tokens of the context next to the question; give less, or a longer input"
            )
        found = model.with_options(stride=capacity - overlap).featurize([example], most)
        out += [replace(feature, example=number) for feature in found]
    return out


def answer_questions(model: Answerer, questions: Iterable[tuple[str, str]], top_k: int, batch_size: int) -> Iterator[list[FoundAnswer]]:
    """(question, context) -> the `top_k` likeliest answers of each, the best first."""
    for prediction in model.stream((as_question(*question) for question in questions), batch_size):
        yield best_answers(prediction, bool(model.spec.options["unanswerable"]), top_k)


def best_answers(prediction: Prediction, unanswerable: bool, top_k: int) -> list[FoundAnswer]:
    """A prediction -> its answers; 'no answer' among them where it is possible, first where it is the prediction."""
    assert isinstance(prediction, SpanPrediction)
    found = [FoundAnswer(text=c.text, start=c.start, end=c.end, score=c.score) for c in prediction.candidates]
    if unanswerable:
        none = FoundAnswer(text="", start=0, end=0, score=prediction.null_score)
        place = 0 if not prediction.label else 1 + sum(other.score >= none.score for other in found[1:])
        found.insert(place, none)
    return found[:top_k]


def answer_records(found: Sequence[FoundAnswer], top_k: int) -> Any:
    """A question's answers -> {"score", "start", "end", "answer"}, or a list of these with top_k above 1."""
    rows = [{"score": one.score, "start": one.start, "end": one.end, "answer": one.text} for one in found]
    return rows[0] if top_k == 1 else rows


def whole_words(found: FoundAnswer, context: str, words: Sequence[tuple[int, int]]) -> FoundAnswer:
    """An answer that begins and ends with words, whose (first, end) characters are given."""
    if not found.text:
        return found
    start = min((first for first, end in words if first <= found.start < end), default=found.start)
    end = max((end for first, end in words if first < found.end <= end), default=found.end)
    return replace(found, text=context[start:end], start=start, end=end)


def question_records(model: Answerer, example: Example, prediction: Prediction, top_k: int, align: bool) -> Any:
    """A question's prediction -> the record of its answer, or with top_k above 1 a list of them; `align`: whole words."""
    found = best_answers(prediction, bool(model.spec.options["unanswerable"]), top_k)
    if align:
        context = example.text_pair or ""
        words = [place for _, place in model.tokenizer.encode_words(context)]
        found = [whole_words(one, context, words) for one in found]
    return answer_records(found, top_k)


def question_pair(item: Any, place: str) -> tuple[str, str]:
    """(question, context).

    Raises:
        UserError: something else.
    """
    if not isinstance(item, tuple | list) or len(item) != 2:
        refuse(place, item, "(question, context)")
    return one_text(item[0], f"{place}: question"), one_text(item[1], f"{place}: context")


def question_item(item: Any, place: str) -> tuple[str, str]:
    """{'question', 'context'}, or an object such as SquadExample -> question and context.

    Raises:
        UserError: something else.
    """
    if isinstance(item, Mapping):
        check_names(f"{place}: a dict", [str(key) for key in item], ("question", "context"), "key")
        found = {key: item.get(key) for key in ("question", "context")}
    elif hasattr(item, "question_text") and hasattr(item, "context_text"):
        found = {"question": item.question_text, "context": item.context_text}
    else:
        raise UserError(f"{place}: got {type(item).__name__} {shown(item)}; expected {{'question': text, 'context': text}}")
    for key, value in found.items():
        if not isinstance(value, str):
            what = f"no {key}" if value is None else f"{key} {shown(value)}"
            raise UserError(f"{place}: {what}; expected {{'question': text, 'context': text}}")
    return str(found["question"]), str(found["context"])


def question_input(place: str, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The inputs of a call in the forms of `transformers` 4 -> one question, or several; inputs by name are taken out of the options.

    Raises:
        UserError: no question, several forms at once, or lists of different lengths.
    """
    names = {name: options.pop(name) for name in ("question", "context", "data", "X", "inputs") if options.get(name) is not None}
    if len(given) == 2 and all(isinstance(part, str) for part in given):
        given = ({"question": given[0], "context": given[1]},)
    elif len(given) > 1:
        given = (list(given),)
    found = [*given, *(names[name] for name in ("data", "X", "inputs") if name in names)]
    if len(found) + bool({"question", "context"} & names.keys()) > 1:
        raise UserError(f"{place}: questions are given twice; give question=... and context=..., or {{'question': ..., 'context': ...}}")
    if found:
        return found[0]
    if not {"question", "context"} <= names.keys():
        raise UserError(f"{place}: nothing to answer; give question=... and context=..., or {{'question': ..., 'context': ...}}")
    question, context = names["question"], names["context"]
    if isinstance(question, str) and isinstance(context, str):
        return {"question": question, "context": context}
    if isinstance(question, str) or not isinstance(question, Iterable):
        raise UserError(
            f"{place}: question {shown(question)} with {type(context).__name__} context; expected a list of questions, or one text of each"
        )
    questions = list(question)
    contexts = [context] * len(questions) if isinstance(context, str) else list(context)
    if len(questions) != len(contexts):
        raise UserError(f"{place}: {len(questions)} questions and {len(contexts)} contexts; give one context each, or one for all")
    return [{"question": one, "context": other} for one, other in zip(questions, contexts, strict=True)]
