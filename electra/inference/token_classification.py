"""Texts, or lists of words -> a tag for every word with its place, and the entities that the tags mark, as lines or plain values.

Also the records of the pipeline 'token-classification': those of single tokens, of words, and of neighbors of one type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from electra.contracts import Example, Features, TagPrediction
from electra.data.tables import table_format
from electra.data.windows import chunks
from electra.errors import UserError
from electra.inference.answerer import Answerer
from electra.inference.call_forms import choice, flag, names, one_text, whole
from electra.inference.text_io import Text, TextColumns, TypedText, read_texts
from electra.tasks.conll_files import TagColumns, read_tagged, span_form
from electra.tasks.data_warnings import TAGGED, looks_tagged
from electra.tasks.span_files import TEXT_FIELD, has_tokens, texts_of_records, words_in
from electra.tasks.tag_schemes import find_spans, marks_spans
from electra.tasks.tagging import word_pieces, word_probabilities, word_windows
from electra.terminal import say

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class WordsInText:
    """A text, and the places of its words."""

    text: str
    places: Sequence[tuple[int, int]]
    """Characters (first, end) of each word."""


Sentence: TypeAlias = str | Sequence[str] | WordsInText
"""A text, its words, or both."""


@dataclass(frozen=True)
class TaggedWord:
    """A word and its predicted tag."""

    word: str
    tag: str
    probability: float
    start: int
    """Its first character in the text; words that were given as a list are joined by single blanks."""
    end: int


@dataclass(frozen=True)
class Entity:
    """Words of one type."""

    text: str
    kind: str
    """The type, such as PER."""
    probability: float
    """Mean of its words'."""
    start: int
    """Its first character in the text."""
    end: int
    first_word: int
    end_word: int
    """Index after its last word."""


@dataclass(frozen=True)
class Tagged:
    """A sentence with its tags."""

    text: str
    words: tuple[TaggedWord, ...]
    entities: tuple[Entity, ...]
    """Empty where tags are plain and mark no spans."""
    num_windows: int = 1


@dataclass(frozen=True)
class TaggingUnits:
    """What is tagged in a text: its words, or its single tokens."""

    text: str
    ids: Sequence[Sequence[int]]
    """Token ids of each unit."""
    places: Sequence[tuple[int, int]]
    """Characters (first, end) of each unit in the text."""


def tag(model: Answerer, sentences: Iterable[Sentence], batch_size: int) -> Iterator[Tagged]:
    """Sentences -> their tags, in constant memory and in order; each word is tagged at its first token, where it has most context.

    Raises:
        UserError: a sentence is neither a text nor a list of words.
    """
    units = (word_units(sentence, model.tokenizer) for sentence in sentences)
    for chunk in chunks(units, lambda unit: len(unit.text), batch_size):
        yield from tag_units(model, chunk, unit_features(model, chunk), batch_size)


def tag_units(model: Answerer, chunk: Sequence[TaggingUnits], features: Sequence[Features], batch_size: int) -> Iterator[Tagged]:
    """Sentences in units and their inputs -> their tags."""
    spanned = marks_spans(model.head.labels)
    examples = [Example(id="", text=unit.text) for unit in chunk]
    for unit, prediction in zip(chunk, model.answer_features(examples, features, batch_size), strict=True):
        assert isinstance(prediction, TagPrediction) and isinstance(prediction.label, tuple)
        rows = zip(unit.places, prediction.label, prediction.word_probabilities, strict=True)
        words = [TaggedWord(unit.text[start:end], name, probability, start, end) for (start, end), name, probability in rows]
        yield Tagged(unit.text, tuple(words), tuple(entities(unit.text, words) if spanned else ()), prediction.num_windows)


def unit_features(model: Answerer, chunk: Sequence[TaggingUnits], most: int | None = None) -> list[Features]:
    """Sentences in units -> the model's inputs, at most `most`."""
    segment, length = int(model.spec.options.get("token_segment", 0)), model.spec.max_length
    windows = (window for i, unit in enumerate(chunk) for window in word_windows(unit.ids, model.tokenizer, length, i, segment))
    return list(islice(windows, most))


def unit_probabilities(model: Answerer, chunk: Sequence[TaggingUnits], features: Sequence[Features], batch_size: int) -> Iterator[np.ndarray]:
    """TaggingUnits of texts and their inputs -> (N, C) probabilities of their tags."""
    for rows, _ in word_probabilities(model.outputs(features, batch_size), features, len(chunk)):
        yield rows


def entities(text: str, words: Sequence[TaggedWord]) -> list[Entity]:
    """The spans of tagged words, from left to right."""
    out = []
    for span in find_spans([word.tag for word in words]):
        inside = words[span.first : span.end]
        start, end = inside[0].start, inside[-1].end
        probability = sum(word.probability for word in inside) / len(inside)
        out.append(Entity(text[start:end], span.kind, probability, start, end, span.first, span.end))
    return out


def word_units(sentence: Sentence, tokenizer: Tokenizer, delimiter: str = " ") -> TaggingUnits:
    """A text -> its words by the tokenizer's own rules, so that tokens are those of the whole text; or given words, each by itself.

    The text of words without one is these joined by `delimiter`.

    Raises:
        UserError: neither.
    """
    if isinstance(sentence, str):
        found = tokenizer.encode_words(sentence)
        return TaggingUnits(sentence, [ids for ids, _ in found], [place for _, place in found])
    if isinstance(sentence, WordsInText):
        words = [sentence.text[start:end] for start, end in sentence.places]
        return TaggingUnits(sentence.text, word_pieces(words, tokenizer), sentence.places)
    if not isinstance(sentence, list | tuple) or not all(isinstance(word, str) for word in sentence):
        raise UserError(f"expected a text or a list of words, got {type(sentence).__name__} {str(sentence)[:60]!r}; split it into words")
    return TaggingUnits(delimiter.join(sentence), word_pieces(sentence, tokenizer), _places(sentence, delimiter))


def _places(words: Sequence[str], delimiter: str) -> list[tuple[int, int]]:
    places, start = [], 0
    for word in words:
        places.append((start, start + len(word)))
        start += len(word) + len(delimiter)
    return places


def token_units(text: str | Sequence[str], tokenizer: Tokenizer, delimiter: str = " ") -> TaggingUnits:
    """A text, or words that are joined by `delimiter` -> its tokens, each a unit; of given words each is tokenized by itself."""
    if isinstance(text, str):
        ids, offsets = tokenizer.encode_offsets(text)
        return TaggingUnits(text, [[index] for index in ids], offsets)
    units: list[list[int]] = []
    places: list[tuple[int, int]] = []
    for word, (first, _) in zip(text, _places(text, delimiter), strict=True):
        ids, offsets = tokenizer.encode_offsets(word)
        units += [[index] for index in ids]
        places += [(first + start, first + end) for start, end in offsets]
    return TaggingUnits(delimiter.join(text), units, places)


def units_for(strategy: str, text: str | Sequence[str], tokenizer: Tokenizer, delimiter: str = " ") -> TaggingUnits:
    """What a strategy of the pipeline tags in a text, or in words: its words with 'spans', else its tokens."""
    return (word_units if strategy == "spans" else token_units)(text, tokenizer, delimiter)


# ---- files ----


def sentence_of(text: Text) -> Sentence:
    """What is tagged in a text that was read."""
    return WordsInText(text.text, text.places) if text.places is not None else text.text if text.words is None else text.words


def read_sentences(file: str, labels: Sequence[str], column: str | None = None, kind: str | None = None) -> Iterator[Text]:
    """A file -> texts, words, or texts and their words: the words that `electra evaluate` reads in it.

    Args:
        file: as in `text_io.read_texts`; also a file of tagged words in columns.
        labels: the model's tags.
        column: the column that is read, as a text or a list of words; None: the usual ones.
        kind: the file's format; None: as its name and content say.

    Raises:
        UserError: as `text_io.read_texts`, or words that are not those of their text.
    """
    known = file != "-" and not isinstance(file, TypedText) and not kind and not column
    texts = (_annotated(file) or _in_columns(Path(file), labels)) if known else None
    if texts is not None:
        return texts
    columns = TextColumns(text=column, usual=("text", "words", "tokens"))
    texts = read_texts(file, columns, pairs=False, words=True, kind=kind)
    return texts if column else (_with_words(text) if text.words is None and has_tokens(text.row) else text for text in texts)


def _with_words(text: Text) -> Text:
    """The text of an annotation tool's record, with its words."""
    return replace(text, places=tuple(words_in(text.row, text.text, text.place)))


def _annotated(file: str) -> Iterator[Text] | None:
    """The texts of an annotation tool's export and their words; None: it is another file."""
    if table_format(file) in (None, "csv", "tsv"):
        return None
    if (found := texts_of_records(Path(file))) is not None:
        return (Text(text, places=tuple(places), place=place) for place, text, places in found)
    if span_form(Path(file), TagColumns()) in (None, TEXT_FIELD):
        return None
    return map(_with_words, read_texts(file, TextColumns(text=TEXT_FIELD), pairs=False))


def _in_columns(path: Path, labels: Sequence[str]) -> Iterator[Text] | None:
    """The sentences of a file of tagged words, by its suffix, or where its last column holds the model's tags alone; None: it is another file."""
    named = path.name.lower().removesuffix(".gz").endswith(TAGGED)
    if not path.is_file() or (not named and (table_format(path) not in (None, "tsv") or not looks_tagged(path))):
        return None
    sentences = read_tagged(path, TagColumns(), "test")
    if not named:
        if not all(tag in labels for sentence in sentences for tag in sentence.label or ()):  # type: ignore[union-attr]
            return None
        say(f"{path}: read as words and tags in columns, one word a line; for a text a line give --input-format lines")
    places = ((sentence.words or (), f"{path}, sentence {number}") for number, sentence in enumerate(sentences, 1))
    return (Text(" ".join(words), words=tuple(words), place=place) for words, place in places)


# ---- records of a pipeline ----


Record: TypeAlias = dict[str, Any]
AggregationStrategy: TypeAlias = Literal["none", "simple", "first", "average", "max", "spans"]


def tagging_options(place: str, options: Mapping[str, Any], capacity: int) -> dict[str, Any]:
    """The options of the pipeline -> strategy, labels, stride, and how words are joined; `capacity`: tokens of a window.

    `grouped_entities` and `ignore_subwords` are those of transformers 4.

    Raises:
        UserError: a value of a wrong kind, or options that do not fit.
    """
    strategy = options.get("aggregation_strategy")
    if strategy is None and ("grouped_entities" in options or "ignore_subwords" in options):
        flags = [flag(place, name, options.get(name) or False) for name in ("grouped_entities", "ignore_subwords")]
        strategy = "none" if not flags[0] else "first" if flags[1] else "simple"
    stride, ignored = options.get("stride"), options.get("ignore_labels")
    chosen = "none" if strategy is None else choice(place, "aggregation_strategy", strategy, get_args(AggregationStrategy))
    if stride is not None:
        if whole(place, "stride", stride, 0) >= capacity:
            raise UserError(f"{place}: stride {stride}; expected less than the {capacity} tokens of a window")
        if chosen == "spans" or (chosen == "none" and strategy is not None):
            raise UserError(f"{place}: stride with aggregation_strategy '{chosen}'; expected 'simple', 'first', 'average' or 'max'")
    words = flag(place, "is_split_into_words", options.get("is_split_into_words", False))
    if words and options.get("offset_mapping") is not None:
        raise UserError(f"{place}: offset_mapping with is_split_into_words; give one of them")
    delimiter = options.get("delimiter")
    return {
        "strategy": chosen,
        "ignored": ("O",) if ignored is None else names(place, "ignore_labels", ignored),
        "stride": stride,
        "words": words,
        "delimiter": " " if delimiter is None else one_text(delimiter, f"{place}: delimiter"),
        "mapping": options.get("offset_mapping"),
    }


def token_records(source: TaggingUnits, rows: np.ndarray, labels: Sequence[str], tokenizer: Tokenizer) -> list[Record]:
    """(N, C) probabilities of a text's tokens -> a record for every token."""
    records = []
    for index, ((token,), (start, end), row) in enumerate(zip(source.ids, source.places, rows, strict=True), start=1):
        word = source.text[start:end] if token == tokenizer.unk_id else tokenizer.pieces[token]
        best = int(row.argmax())
        records.append({"entity": labels[best], "score": float(row[best]), "index": index, "word": word, "start": start, "end": end})
    return records


def word_records(source: TaggingUnits, rows: np.ndarray, labels: Sequence[str], tokenizer: Tokenizer, strategy: str) -> Iterator[Record]:
    """(N, C) probabilities of a text's tokens -> a record for every word, a token and those after it that continue it.

    `strategy`: 'first', 'max' or 'average', which tokens decide on the word's tag.
    """
    records = token_records(source, rows, labels, tokenizer)
    tokens = zip(source.ids, source.places, strict=True)
    begins = [i for i, ((token,), place) in enumerate(tokens) if not i or not _continues(source.text, token, place, tokenizer)]
    for first, end in pairwise([*begins, len(records)]):
        if strategy == "first":
            row = rows[first]
        elif strategy == "max":
            row = rows[max(range(first, end), key=lambda i: float(rows[i].max()))]
        else:
            row = rows[first:end].mean(0)
        best = int(row.argmax())
        place = {"start": records[first]["start"], "end": records[end - 1]["end"]}
        yield {"entity": labels[best], "score": float(row[best]), "word": _join(records[first:end], tokenizer), **place}


def _continues(text: str, token: int, place: tuple[int, int], tokenizer: Tokenizer) -> bool:
    """Whether a token continues a word, by the rule of `transformers`: its piece is longer than its text, or no space is before it."""
    start, end = place
    if token == tokenizer.unk_id:
        return False
    if getattr(tokenizer.backend.model, "continuing_subword_prefix", None):
        return len(tokenizer.pieces[token]) != len(text[start:end])
    return start > 0 and " " not in text[start - 1 : start + 1]


def group_records(records: Iterable[Record], tokenizer: Tokenizer) -> list[Record]:
    """Neighboring records of one type, where the later is no B-, -> one record each."""
    groups: list[list[Record]] = []
    for record in records:
        letter, kind = _parts(record["entity"])
        if groups and letter != "B" and kind == _parts(groups[-1][-1]["entity"])[1]:
            groups[-1].append(record)
        else:
            groups.append([record])
    return [
        {
            "entity_group": group[0]["entity"].split("-", 1)[-1],
            "score": float(np.mean([record["score"] for record in group])),
            "word": _join(group, tokenizer),
            "start": group[0]["start"],
            "end": group[-1]["end"],
        }
        for group in groups
    ]


def _join(records: Sequence[Record], tokenizer: Tokenizer) -> str:
    words, decoder = [record["word"] for record in records], tokenizer.backend.decoder
    return " ".join(words) if decoder is None else str(decoder.decode(words))


def _parts(entity: str) -> tuple[str, str]:
    """'B-PER' -> ('B', 'PER'); what begins with neither B- nor I- continues its like."""
    return (entity[0], entity[2:]) if entity.startswith(("B-", "I-")) else ("I", entity)


def text_records(
    model: Answerer, units: Sequence[TaggingUnits], features: Sequence[Features], strategy: str, ignore_labels: Sequence[str], batch_size: int
) -> list[list[Record]]:
    """Units of texts (words for the strategy 'spans', else tokens) and their inputs -> the records of each text."""
    out: list[list[Record]] = []
    if strategy == "spans":
        found: Iterable[list[Record]] = (span_records(tagged, model.head.labels) for tagged in tag_units(model, units, features, batch_size))
    else:
        named = (model.head.labels, model.tokenizer)
        rows = zip(units, unit_probabilities(model, units, features, batch_size), strict=True)
        single = strategy in ("none", "simple")
        found = (token_records(*row, *named) if single else list(word_records(*row, *named, strategy)) for row in rows)
    for records in found:
        kept = records if strategy in ("none", "spans") else group_records(records, model.tokenizer)
        out.append([r for r in kept if r.get("entity") not in ignore_labels and r.get("entity_group") not in ignore_labels])
    return out


def span_records(tagged: Tagged, labels: Sequence[str]) -> list[Record]:
    """Entities as `electra predict` finds them; a word each where the labels are plain tags."""
    spans = [(span.kind, span.probability, span.start, span.end) for span in tagged.entities]
    words = [(word.tag, word.probability, word.start, word.end) for word in tagged.words]
    return [
        {"entity_group": kind, "score": score, "word": tagged.text[start:end], "start": start, "end": end}
        for kind, score, start, end in (spans if marks_spans(labels) else words)
    ]


def with_offsets(units: TaggingUnits, mapping: Any, place: str) -> TaggingUnits:
    """The tokens of a text with other places: (first, end) of each, [CLS] and [SEP] included.

    Raises:
        UserError: no such list, or another number of tokens.
    """
    rows = list(mapping) if isinstance(mapping, Sequence) else []
    if len(rows) == 1 and len(rows[0]) and not isinstance(rows[0][0], int):
        rows = list(rows[0])
    wanted = len(units.ids) + 2
    if len(rows) != wanted or not all(isinstance(row, tuple | list) and len(row) == 2 and all(isinstance(n, int) for n in row) for row in rows):
        raise UserError(
            f"{place}: offset_mapping of {len(rows)} entries; expected {wanted} pairs of whole numbers, one a token of one text with [CLS] and [SEP]"
        )
    return TaggingUnits(units.text, units.ids, [(first, end) for first, end in rows[1:-1]])


def strided_units(units: TaggingUnits, capacity: int, stride: int) -> Iterator[TaggingUnits]:
    """The tokens of a text -> those of each of its windows, which share `stride` tokens with the next, as `tokenizers` makes them."""
    for start in range(0, max(1, len(units.ids)), capacity - stride):
        yield TaggingUnits(units.text, units.ids[start : start + capacity], units.places[start : start + capacity])
        if start + capacity >= len(units.ids):
            break


def without_overlaps(windows: Sequence[Sequence[Record]]) -> list[Record]:
    """The records of a text's windows -> those that are left where they overlap: the longer, of equal lengths the likelier."""
    records = sorted((record for window in windows for record in window), key=lambda record: record["start"])
    if len(windows) < 2 or not records:
        return records
    out, last = [], records[0]
    for record in records:
        if not last["start"] <= record["start"] < last["end"]:
            out.append(last)
            last = record
        elif (record["end"] - record["start"], record["score"]) > (last["end"] - last["start"], last["score"]):
            last = record
    return [*out, last]


# ---- output ----


def tagged_columns(tagged: Tagged) -> str:
    """A line per word with its tag after a tab, and an empty line."""
    # White space inside a given word would break the columns.
    return "".join(f"{' '.join(word.word.split()) or '_'}\t{word.tag}\n" for word in tagged.words) + "\n"


def tagged_record(tagged: Tagged) -> dict[str, Any]:
    """Text, words and entities as plain values, for JSON."""
    words, entities = [asdict(word) for word in tagged.words], [asdict(entity) for entity in tagged.entities]
    return {"text": tagged.text, "words": words, "entities": entities, "windows": tagged.num_windows}
