"""The forms in which a pipeline is called: inputs, options and the tokenizer's arguments as `transformers` takes them, or refused by name.

A text, a pair or a dict is answered at once; a list, an array or a column by a list; a generator or a data set of torch by an iterator that reads
no further than it answers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, TypedDict

from electra.contracts import Example
from electra.data.windows import chunks
from electra.errors import UserError, did_you_mean
from electra.tasks.text_tasks import longest_first

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer

Form: TypeAlias = Literal["one", "list", "stream"]

# ---- options ----


class SharedOptions(TypedDict, total=False):
    """Options of every pipeline."""

    batch_size: int | None
    """Inputs at a time. A stream is read in batches of so many; without it one by one, as by `transformers`."""
    num_workers: int | None
    """Taken, and without effect: texts are tokenized in this process."""


class TokenizerOptions(TypedDict, total=False):
    """Arguments of a tokenizer that `transformers` passes on."""

    truncation: bool | str | None
    """True or 'longest_first', 'only_first', 'only_second'; False or 'do_not_truncate' reads the whole text."""
    max_length: int | None
    """Tokens, [CLS] and [SEP] included; None with truncation: the tokenizer's `model_max_length`."""
    padding: bool | str
    """Like the next three taken and without effect: no answer depends on padding."""
    pad_to_multiple_of: int | None
    padding_side: str | None
    verbose: bool


class ClassificationOptions(SharedOptions, TokenizerOptions, total=False):
    """Options of 'text-classification'."""

    top_k: int | None
    """The best so many classes of each text as a list; None: all. Without it the best class alone."""
    return_all_scores: bool
    """Of transformers 4: all classes, in the model's order."""
    function_to_apply: str | None
    """'sigmoid', 'softmax', 'none', or 'default': as the model was trained."""
    text_pair: str | None
    """The second text of every text."""
    tokenizer_kwargs: Mapping[str, Any] | None


class TaggingOptions(SharedOptions, total=False):
    """Options of 'token-classification'."""

    aggregation_strategy: str
    """'none', 'simple', 'first', 'average', 'max', or 'spans'."""
    ignore_labels: Sequence[str] | None
    stride: int | None
    """Tokens that a window of a long text shares with the next; texts are then read as `transformers` does."""
    offset_mapping: Sequence[Any] | None
    is_split_into_words: bool
    delimiter: str | None
    grouped_entities: bool
    ignore_subwords: bool


class FillOptions(SharedOptions, total=False):
    """Options of 'fill-mask'."""

    top_k: int | None
    targets: str | Sequence[str] | None
    tokenizer_kwargs: Mapping[str, Any] | None


class ExtractionOptions(SharedOptions, total=False):
    """Options of 'feature-extraction'."""

    truncation: bool | str | None
    padding: bool | str
    return_tensors: bool | str | None
    """True or 'pt': torch tensors; 'np': numpy arrays; else nested lists."""
    tokenize_kwargs: Mapping[str, Any] | None


class DetectionOptions(SharedOptions, total=False):
    """Options of 'replaced-token-detection'."""

    threshold: float


class QuestionForms(SharedOptions, total=False):
    """Inputs by name, and options of 'question-answering'."""

    question: str | Sequence[str]
    context: str | Sequence[str]
    data: Any
    X: Any
    top_k: int
    topk: int
    handle_impossible_answer: bool | None
    max_answer_len: int | None
    max_seq_len: int | None
    max_question_len: int | None
    doc_stride: int | None
    align_to_words: bool
    padding: bool | str


class RerankOptions(SharedOptions, total=False):
    """Options of 'rerank'."""

    top_k: int | None
    """The most relevant so many passages; None: all."""


def shown(value: Any) -> str:
    """A value as an error line shows it: at most 60 characters."""
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_names(place: str, options: Collection[str], known: Collection[str], what: str = "option") -> None:
    """Check that every option (or key) is known.

    Raises:
        UserError: all that are not, with what is known.
    """
    unknown = [name for name in options if name not in known]
    if not unknown:
        return
    named = "', '".join(unknown)
    near = did_you_mean(unknown[0], known)
    hint = f"; {near}" if len(unknown) == 1 and near.startswith("did") else ""
    raise UserError(f"{place}: unknown {what}{'s'[: len(unknown) > 1]} '{named}'; expected {', '.join(sorted(known))}{hint}")


def plain(value: Any) -> Any:
    """A member of an enumeration of `transformers` -> its value; anything else as it is."""
    return getattr(value, "value", value) if type(value).__module__.partition(".")[0] == "transformers" else value


def whole(place: str, name: str, value: Any, least: int = 1) -> int:
    """A whole number of at least `least`.

    Raises:
        UserError: something else.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise UserError(f"{place}: {name} {shown(value)}; expected a whole number from {least}")
    if value < least:
        raise UserError(f"{place}: {name} {value} must be at least {least}; give more")
    return int(value)


def flag(place: str, name: str, value: Any) -> bool:
    """True or False.

    Raises:
        UserError: something else.
    """
    if value is not True and value is not False:
        raise UserError(f"{place}: {name} {shown(value)}; expected True or False")
    return bool(value)


def probability(place: str, name: str, value: Any) -> float:
    """A number from 0 to 1.

    Raises:
        UserError: something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"{place}: {name} {shown(value)}; expected a number from 0 to 1")
    return float(value)


def choice(place: str, name: str, value: Any, known: Sequence[str]) -> str:
    """One of the known names, in any case.

    Raises:
        UserError: something else.
    """
    found = str(plain(value)).lower() if isinstance(plain(value), str) else ""
    if found not in known:
        near = did_you_mean(found, known)
        listed = f" Expected {', '.join(known)}" if near.startswith("did") else ""
        raise UserError(f"{place}: unknown {name} {shown(plain(value))}; {near}{listed}")
    return found


def names(place: str, name: str, value: Any) -> tuple[str, ...]:
    """A list of names.

    Raises:
        UserError: a single text, or anything else.
    """
    found = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    if isinstance(value, str) or not all(isinstance(one, str) for one in found):
        example = shown(value) if isinstance(value, str) else "'O'"
        raise UserError(f"{place}: {name} {shown(value)}; expected a list of texts, such as [{example}]")
    return tuple(found)


# ---- the tokenizer's arguments ----


STRATEGIES = ("longest_first", "only_first", "only_second", "do_not_truncate")
PADDINGS = ("longest", "max_length", "do_not_pad")


@dataclass(frozen=True)
class Cut:
    """How `transformers` cuts the ids of one or two texts."""

    strategy: str
    max_length: int
    """Tokens with [CLS] and [SEP]; 0: nothing is cut."""
    left: bool | None = None
    """Whether the beginning is cut off; None: as the tokenizer's files say."""

    def apply(self, first: Sequence[int], second: Sequence[int] | None, tokenizer: Tokenizer, limit: int, place: str) -> tuple[list[int], list[int]]:
        """Ids of one or two texts -> (ids, segments) of the model's input, at most `limit` tokens.

        Source: `truncate_encodings` of `tokenizers`, which cuts a pair otherwise than the original's rule in `Tokenizer.wrap`.

        Raises:
            UserError: an input above the model's positions, or a text too short to lose as many tokens as it must.
        """
        special = 2 if second is None else 3
        lengths = [len(first), len(second or ())]
        if self.strategy != "do_not_truncate" and self.max_length and sum(lengths) + special > self.max_length:
            lengths = self._kept(lengths, second is not None, self.max_length - special, place)
        if (length := sum(lengths) + special) > limit:
            raise UserError(f"{place}: an input of {length} tokens is above the model's {limit}; give truncation=True and max_length={limit} at most")
        left = tokenizer.settings.truncate_left if self.left is None else self.left
        a, b = (part[len(part) - min(kept, len(part)) :] if left else part[:kept] for part, kept in zip((first, second or ()), lengths, strict=True))
        return tokenizer.wrap(a, None if second is None else b)

    def _kept(self, lengths: list[int], paired: bool, capacity: int, place: str) -> list[int]:
        if capacity < 0:
            raise UserError(f"{place}: max_length {self.max_length}; expected at least {3 if paired else 2}, for [CLS] and [SEP]")
        first, second = lengths
        if self.strategy == "longest_first":
            return [*longest_first(first, second, capacity)] if paired else [capacity, 0]
        if self.strategy == "only_second" and not paired:
            raise UserError(f"{place}: truncation 'only_second' of a single text; expected a pair, or truncation=True")
        kept = capacity - (second if self.strategy == "only_first" else first)
        if kept <= 0:
            raise UserError(f"{place}: truncation '{self.strategy}' cannot reach max_length {self.max_length}; give 'longest_first' or more tokens")
        return [kept, second] if self.strategy == "only_first" else [first, kept]


def read_cut(place: str, options: Mapping[str, Any], limit: int) -> Cut | None:
    """The tokenizer's arguments among the options -> how texts are cut; None: as the model was trained.

    Args:
        place: what is named in errors.
        options: of the call.
        limit: the tokenizer's `model_max_length`; 0: none.

    Raises:
        UserError: an unknown strategy, or no length.
    """
    truncation, length, padding = plain(options.get("truncation")), options.get("max_length"), plain(options.get("padding", False))
    if padding is not None and not isinstance(padding, bool):
        choice(place, "padding", padding, PADDINGS)
    if length is not None:
        whole(place, "max_length", length, 2)
    if truncation is None and length is None:
        return None
    if truncation is None:
        # As in `transformers`: a length alone cuts, next to a padding it is the padding's.
        truncation = padding is False
    if isinstance(truncation, bool):
        truncation = "longest_first" if truncation else "do_not_truncate"
    return Cut(choice(place, "truncation", truncation, STRATEGIES), limit if length is None else int(length))


def nested(place: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with those of a dict among them, such as `tokenizer_kwargs`, in its place.

    Raises:
        UserError: not a dict, an option that is unknown or given twice.
    """
    inner = options.get(name)
    if inner is None:
        return dict(options)
    if not isinstance(inner, Mapping):
        raise UserError(f"{place}: {name} {shown(inner)}; expected a dict, such as {{'truncation': True}}")
    check_names(f"{place}: {name}", inner, TokenizerOptions.__annotations__)
    if twice := [key for key in inner if key in options]:
        raise UserError(f"{place}: {twice[0]} is given twice, by itself and in {name}; leave one out")
    return {**options, **inner}


# ---- inputs ----


MISSING = ("NAType", "NaTType", "NoneType")


def refuse(place: str, item: Any, expected: str) -> NoReturn:
    """The error for an input of a wrong kind.

    Raises:
        UserError: always; it names the value and the remedy.
    """
    kind = type(item).__name__
    if kind in MISSING or (isinstance(item, float) and item != item):
        remedy = "leave out missing values, or fill them"
    elif isinstance(item, bytes | bytearray):
        remedy = "decode it: value.decode()"
    elif kind == "DataFrame":
        remedy = "give one of its columns: frame['text']"
    elif kind.endswith("Scalar"):
        remedy = "give column.to_pylist()"
    elif isinstance(item, Mapping):
        remedy = "give the text alone"
    elif isinstance(item, list | tuple):
        remedy = "give one flat list of texts"
    elif isinstance(item, str):
        remedy = "give a list"
    elif isinstance(item, set | frozenset):
        remedy = "a set has no order; give a list"
    else:
        remedy = "write it as a text: str(value)"
    raise UserError(f"{place}: got {kind} {shown(item)}; expected {expected}; {remedy}")


def one_text(item: Any, place: str) -> str:
    """A text.

    Raises:
        UserError: something else.
    """
    if isinstance(item, str):
        return item
    refuse(place, item, "a text")


def one_example(item: Any, place: str) -> tuple[Example, dict[str, Any]]:
    """A text, a pair, or a dict of `text` and `text_pair` -> an example, and arguments of the tokenizer that the dict holds.

    A pair may be a tuple or a list; `transformers` takes it as [[text, pair]].

    Raises:
        UserError: something else.
    """
    if isinstance(item, str):
        return Example(id="", text=item), {}
    if isinstance(item, Mapping):
        own = TokenizerOptions.__annotations__
        if "text" not in item:
            raise UserError(f"{place}: got a dict of {', '.join(map(str, item)) or 'nothing'}; expected 'text', and perhaps 'text_pair'")
        check_names(f"{place}: a dict", [key for key in item if key not in own], ("text", "text_pair"), "key")
        pair = item.get("text_pair")
        example = Example(
            id="", text=one_text(item["text"], f"{place}: text"), text_pair=None if pair is None else one_text(pair, f"{place}: text_pair")
        )
        return example, {key: item[key] for key in item if key in own}
    if isinstance(item, list) and len(item) == 1 and isinstance(item[0], list | tuple):
        item = item[0]
    if isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(part, str) for part in item):
        return Example(id="", text=item[0], text_pair=item[1] or None), {}
    if isinstance(item, tuple | list):
        raise UserError(
            f"{place}: got {type(item).__name__} {shown(item)}; expected a text, a (text, text) pair, or {{'text': ..., 'text_pair': ...}}"
        )
    refuse(place, item, "a text or a (text, text) pair")


def each(items: Any, place: str, read: Callable[[Any, str], Any] = one_text) -> Iterator[Any]:
    """Several inputs -> each of them, checked when it is reached, with its number.

    Raises:
        UserError: a single text, or no sequence of texts.
    """
    if isinstance(items, str | bytes | Mapping | set | frozenset) or not isinstance(items, Iterable) or type(items).__name__ == "DataFrame":
        if isinstance(items, str):
            raise UserError(f"{place}: got the text {shown(items)}; expected several; give a list: [text]")
        refuse(place, items, "a list of texts")
    return (read(item, f"{place}: item {number}") for number, item in enumerate(items, start=1))


class Answers(Iterator[Any]):
    """The answers of a data set, made as they are read."""

    def __init__(self, rows: Iterator[Any], length: int) -> None:
        self.rows = rows
        self.length = length

    def __next__(self) -> Any:
        return next(self.rows)

    def __len__(self) -> int:
        return self.length


@dataclass(frozen=True)
class Call:
    """A call of a pipeline: what is answered, and how."""

    place: str
    """Named in errors."""
    items: Iterable[Any]
    """As given, not checked."""
    form: Form
    length: int | None
    """Of a data set that is read as a stream."""
    options: Mapping[str, Any]
    batch_size: int

    def chunks(self, read: Callable[[Any, str], Any], size: Callable[[Any], int]) -> Iterator[list[Any]]:
        """The inputs, checked by `read`, in lists that are run together: of a stream no more than one batch.

        Raises:
            UserError: an input of a wrong kind, with its number.
        """
        for part in self.parts(read):
            yield from [part] if isinstance(part, list) else chunks(part, size, self.batch_size)

    def parts(self, read: Callable[[Any, str], Any]) -> Iterator[list[Any] | Iterator[Any]]:
        """The inputs, checked by `read`: all of them, or of a stream one batch after the other.

        Raises:
            UserError: an input of a wrong kind, with its number.
        """
        checked = (read(item, self.place if self.form == "one" else f"{self.place}: item {i}") for i, item in enumerate(self.items, start=1))
        if self.form != "stream":
            yield checked
        else:
            while batch := list(islice(checked, self.batch_size)):
                yield batch

    def answer(self, rows: Iterator[Any]) -> Any:
        """The answers in the form of the inputs."""
        if self.form == "one":
            return next(rows)
        if self.form == "list":
            return list(rows)
        return rows if self.length is None else Answers(rows, self.length)


def as_call(place: str, given: Any, options: Mapping[str, Any], batch_size: int, single: Callable[[Any], bool]) -> Call:
    """An input and the options -> a call; `single` says which inputs are one. A tuple that is not one is refused where `transformers` answers its
    first text alone, or all as one.

    Raises:
        UserError: nothing that can be answered, or a batch size below one.
    """
    wanted = options.get("batch_size")
    size = batch_size if wanted is None else whole(place, "batch_size", wanted)
    if options.get("num_workers") is not None:
        whole(place, "num_workers", options["num_workers"], 0)
    if single(given):
        return Call(place, [given], "one", None, options, size)
    dimensions = getattr(given, "ndim", 1)
    if (
        isinstance(given, str | bytes | Mapping | set | frozenset | tuple)
        or not (hasattr(given, "__iter__") or _is_dataset(given))
        or dimensions != 1
    ):
        refuse(place, given, "a text or several")
    if not isinstance(given, Iterator) and hasattr(given, "__len__") and not _is_dataset(given):
        return Call(place, given, "list", None, options, size)
    length = len(given) if hasattr(given, "__len__") and not isinstance(given, Iterator) else None
    items = given if length is None else (given[index] for index in range(length))
    return Call(place, items, "stream", length, options, 1 if wanted is None else size)


def _is_dataset(value: Any) -> bool:
    """Whether it is a data set of torch, such as `KeyDataset`: `transformers` reads these as a stream."""
    data = sys.modules.get("torch.utils.data")
    return data is not None and isinstance(value, data.Dataset)


def the_input(place: str, given: tuple[Any, ...], options: dict[str, Any], aliases: Sequence[str] = ("inputs", "texts")) -> Any:
    """The positional arguments of a call, and its keyword arguments (an input by name is taken out) -> the one input.

    Raises:
        UserError: none, or several.
    """
    found = [*given, *(options.pop(name) for name in aliases if name in options)]
    if len(found) != 1:
        what = f"{len(found)} inputs" if found else "no input"
        raise UserError(f"{place}: {what}; expected one text or a list of them; {'give a list: [text, text]' if found else 'give it first'}")
    return found[0]
