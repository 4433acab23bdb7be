"""Texts with marked spans, as annotation tools export them -> examples of words with BIO2 tags.

Forms, known by their fields (sources: the tools' own documentation of their exports):

- text and spans: {"text", "label" or "labels" or "entities" or "spans"}. A span is a list [start, end, type] (doccano; spaCy's training
  examples) or an object {"start", "end", "label"} (Prodigy), {"start_offset", "end_offset", "label"} (doccano with relations), {"start", "end",
  "labels": [type]} (Label Studio's JSON-MIN);
- a list [text, {"entities": [[start, end, type], ...]}] (spaCy before version 3);
- {"data": {"text"}, "annotations": [{"result": [{"type": "labels", "value": {...}}]}]} (Label Studio's JSON);
- {"tokenized_text": [words], "ner": [[first word, last word, type]]} (GLiNER).

Offsets count characters (Unicode code points, as Python does) from 0, ends excluded; only GLiNER's count words, ends included. Prodigy's
"tokens" are the words of its texts. How spans become tags: `electra.tasks.span_tags`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from electra.contracts import Example
from electra.data.tables import cell, column_in, numbered_lines, read_rows, string_cell, table_format
from electra.errors import UserError, parse_json
from electra.tasks.span_tags import REMEDY, AnnotatedSpan, AnnotatedText, Place, SpanNotes, split_text, tag_words

TEXT_FIELD = "text"
SPAN_FIELDS = ("spans", "entities", "label", "labels")
OWN_WORDS = ("tokens", "words")
"""Fields with the words of a text: texts, or objects {"text", "start", "end"}."""
ANNOTATIONS = ("annotations", "completions")
"""Label Studio's field of what people marked; the second until version 1.0."""
ANSWERS = ("accept", "reject", "ignore")
"""What people answer in Prodigy; only the first is data."""

# ---- records ----


def read_records(path: Path, what: str) -> Iterator[tuple[str, Any]]:
    """A table, or json whose records are lists -> (place, record) of each: an object, or a list.

    Raises:
        UserError: missing, or a record that cannot be read.
    """
    kind = table_format(path)
    begins = _beginning(path) if kind in ("json", "jsonl") and path.is_file() else ""
    if begins.startswith(("[[", '["')):
        yield from _read_lists(path, line_by_line=begins[1] == '"')
        return
    unit = "item" if begins.startswith("[") else "line" if kind in ("json", "jsonl") else "row"
    yield from ((f"{path}, {unit} {number}", row) for number, row in read_rows(path, what))


def _beginning(path: Path) -> str:
    """The first characters of a file that are no white space."""
    found = ""
    for _, line in numbered_lines(path, longest=sys.maxsize):
        found += line.lstrip()[:64].rstrip()
        if len(found) > 1:
            break
    return "".join(found.split())


def _read_lists(path: Path, line_by_line: bool) -> Iterator[tuple[str, Any]]:
    """A list a line, or one list of lists."""
    lines = numbered_lines(path, longest=sys.maxsize)
    for number, text in lines if line_by_line else ((0, "".join(line for _, line in lines)),):
        if not text.strip():
            continue
        place = f"{path}, line {number}" if line_by_line else str(path)
        try:
            content = parse_json(text)
        except ValueError as error:
            raise UserError(f'{place}: not valid JSON ({str(error)[:100]}); give one list a line, or a list of [text, {{"entities": ...}}]') from None
        yield from [(place, content)] if line_by_line else ((f"{path}, item {index}", record) for index, record in enumerate(content, 1))


def form_of(record: Any, word: str | None = None, tag: str | None = None) -> str | None:
    """The form of a record; None: it is no text with marked spans, or has none by which that shows.

    `word`, `tag`: names of the fields of the text and of the spans.
    """
    if isinstance(record, list):
        return "spaCy" if len(record) == 2 and isinstance(record[0], str) and isinstance(record[1], Mapping) else None
    if not isinstance(record, Mapping):
        return None
    if isinstance(record.get("tokenized_text"), list):
        return "GLiNER"
    if _is_task(record):
        return "Label Studio"
    name = next((name for name in ([tag] if tag else SPAN_FIELDS) if _are_spans(_value(record, name))), None)
    if name is None or not isinstance(_value(record, word or TEXT_FIELD), str) or _are_answered(record):
        return None
    span = _value(record, name)[0]
    if isinstance(span, list):
        return "spaCy" if name == "entities" else "doccano"
    if "start_offset" in span:
        return "doccano"
    return "Label Studio (JSON-MIN)" if "labels" in span else "Prodigy" if name == "spans" else "text with spans"


def _are_answered(record: Mapping[str, Any]) -> bool:
    """Whether a record's words have tags, as `electra predict` writes them."""
    return any(isinstance(word, Mapping) and "tag" in word for word in _named_words(record))


def _named_words(record: Mapping[str, Any]) -> list[Any]:
    """What a record names as the words of its text; empty where it names none."""
    return next((record[name] for name in OWN_WORDS if isinstance(record.get(name), list) and record[name]), [])


def _value(record: Mapping[str, Any], name: str) -> Any:
    """The value of a field, also a nested one; None where there is none."""
    return cell(record, name, "", "") if column_in(record, name) else None


def _is_task(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("data"), Mapping) and any(isinstance(record.get(name), list) for name in ANNOTATIONS)


def _are_spans(value: Any) -> bool:
    """Whether a value is a list of spans and not empty."""
    return isinstance(value, list) and bool(value) and all(map(_is_span, value))


def _is_span(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) == 3 and isinstance(value[0], int | float) and isinstance(value[1], int | float)
    return isinstance(value, Mapping) and ("start" in value or "start_offset" in value) and ("label" in value or "labels" in value)


def words_in(record: Any, text: str, place: str) -> list[Place]:
    """The places of the words of a record's text: the record's own, else those of BERT's rules.

    Raises:
        UserError: its own words are not those of the text.
    """
    own = _own_words(record, text, place) if isinstance(record, Mapping) else None
    return split_text(text) if own is None else own


def has_tokens(record: Mapping[str, Any]) -> bool:
    """Whether a record names the words of its text with their places, as Prodigy does."""
    words = _named_words(record)
    return isinstance(record.get(TEXT_FIELD), str) and bool(words) and all(isinstance(w, Mapping) and {"text", "start"} <= w.keys() for w in words)


def texts_of_records(path: Path) -> Iterator[tuple[str, str, list[Place]]] | None:
    """A file of records that have no column of texts (lists, Label Studio's and GLiNER's) -> place, text and its words of each, whatever is marked
    in them; None: a file of another form.

    Raises:
        UserError: a record that cannot be read, or without a text.
    """
    first = next((record for _, record in read_records(path, "the file of texts")), None)
    has_column = isinstance(first, Mapping) and TEXT_FIELD in first
    return _texts_of_records(path) if form_of(first) in ("spaCy", "Label Studio", "GLiNER") and not has_column else None


def _texts_of_records(path: Path) -> Iterator[tuple[str, str, list[Place]]]:
    for place, record in read_records(path, "the file of texts"):
        if isinstance(record, Mapping) and "tokenized_text" in record:
            tokens = _tokens(record, place)
            yield place, " ".join(tokens), _words_of(tokens)
        else:
            text = _text(record, None, place)
            yield place, text, words_in(record, text, place)


# ---- a record -> its text and spans ----


def _text(record: Any, word: str | None, place: str) -> str:
    """The text of a record that is not GLiNER's."""
    if isinstance(record, list):
        if form_of(record) is None:
            raise UserError(f'{place}: {str(record)[:40]} is no text with spans; expected [text, {{"entities": [[start, end, type], ...]}}]')
        text = record[0]
    elif isinstance(record, Mapping):
        text = string_cell(record["data"] if _is_task(record) else record, word or TEXT_FIELD, place, "--word-column")
    else:
        raise UserError(f"{place}: {str(record)[:40]} is no text with spans; expected an object, or a list of a text and its spans")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{place}: \\u{ord(text[error.start]):x} is half of a character, which no text holds; correct the row") from None
    return str(text)


def parse_record(record: Any, word: str | None, tag: str | None, place: str) -> AnnotatedText:
    """A record -> its text and what is marked in it.

    Raises:
        UserError: a field is missing or of another form.
    """
    if isinstance(record, Mapping) and "tokenized_text" in record:
        return _parse_tokens(record, tag or "ner", place)
    text = _text(record, word, place)
    if isinstance(record, list):
        return AnnotatedText(place=place, text=text, spans=_spans(record[1].get("entities"), place, "entities"))
    if _is_task(record):
        return _parse_task(record, text, tag, place)
    name = _span_field(record, tag, place)
    if omitted := _omitted(record, place) if name == "spans" or "_task_hash" in record or "_view_id" in record else "":
        return AnnotatedText(place=place, text=text, omitted=omitted)
    spans = None if name is None else _spans(cell(record, name, place, "--tag-column"), place, name)
    return AnnotatedText(place=place, text=text, words=_own_words(record, text, place), spans=spans)


def _omitted(record: Mapping[str, Any], place: str) -> str:
    """Why a row of Prodigy is no data; '' where it is."""
    if record.get("_is_binary") is True or (record.get("_view_id") == "ner" and record.get("_is_binary") is None):
        remedy = "give rows in which all spans are marked (ner.manual, ner.correct)"
        raise UserError(f"{place}: the answer is about one span (Prodigy's binary interface) and says nothing about the other words; {remedy}")
    answer = record.get("answer", ANSWERS[0])
    if answer not in ANSWERS:
        raise UserError(f"{place}: answer {answer!r:.60}; expected 'accept', 'reject' or 'ignore'")
    return "" if answer == ANSWERS[0] else f"answer {answer}"


def _span_field(record: Mapping[str, Any], tag: str | None, place: str) -> str | None:
    """The name of the field of spans."""
    if tag is not None:
        return tag if column_in(record, tag) else None
    present = [name for name in SPAN_FIELDS if record.get(name) is not None]
    filled = [name for name in present if _are_spans(record[name])]
    if len(filled) > 1:
        raise UserError(f"{place}: '{filled[0]}' and '{filled[1]}' both hold spans; name one by --tag-column")
    return next((name for name in (*filled, *(name for name in present if record[name] == []), *present)), None)


def _spans(value: Any, place: str, name: str) -> list[AnnotatedSpan]:
    """The spans of a field."""
    if value is None:
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        raise UserError(f"{place}: '{name}' holds a list that is written as text ({value[:40]}); save the file as jsonl")
    if not isinstance(value, list):
        raise UserError(f"{place}: '{name}' holds {value!r:.60}, expected a list of spans [start, end, type]; name another field by --tag-column")
    return [_span(item, place, name) for item in value]


def _span(item: Any, place: str, name: str) -> AnnotatedSpan:
    """[start, end, type], or an object."""
    if isinstance(item, list) and len(item) == 3:
        start, end, kind = item
        text = None
    elif isinstance(item, Mapping):
        start, end = (
            next((item[key] for key in keys if item.get(key) is not None), None) for keys in (("start", "start_offset"), ("end", "end_offset"))
        )
        kind, text = item.get("label"), item.get("text")
        if kind is None and isinstance(item.get("labels"), list):
            kinds = item["labels"]
            if len(kinds) != 1:
                raise UserError(
                    f"{place}: the span {start}-{end} in '{name}' has {len(kinds)} labels ({', '.join(map(str, kinds))[:60]}); give it one"
                )
            kind = kinds[0]
    else:
        expected = '[start, end, type] or {"start", "end", "label"}'
        raise UserError(f"{place}: '{name}' holds {item!r:.60}, expected a span {expected}; correct it, or name another field by --tag-column")
    if not isinstance(kind, str) or not kind.strip():
        raise UserError(f"{place}: the type of the span {start}-{end} in '{name}' is {kind!r:.60}; expected a name, such as PER")
    return AnnotatedSpan(_offset(start, place, name), _offset(end, place, name), kind, text if isinstance(text, str) else None)


def _offset(value: Any, place: str, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value % 1:
        raise UserError(f"{place}: a span in '{name}' has the offset {value!r:.60}, expected a whole number; {REMEDY}")
    return int(value)


def _own_words(record: Mapping[str, Any], text: str, place: str) -> list[Place] | None:
    """The places of the words that a record names; those of white space alone are none. None: it names no words."""
    if not (tokens := _named_words(record)):
        return None
    places, at = [], 0
    for number, token in enumerate(tokens, 1):
        word, given = (token.get("text"), token.get("start")) if isinstance(token, Mapping) else (token, None)
        if not isinstance(word, str):
            raise UserError(f"{place}: token {number} is {token!r:.60}; expected a text, or an object with text, start and end")
        start = text.find(word, at) if given is None else _offset(given, place, "tokens")
        skipped = text[at:start] if given is None else ""
        wrong_end = given is not None and token.get("end", start + len(word)) != start + len(word)
        if start < at or text[start : start + len(word)] != word or skipped.strip() or wrong_end:
            found = text[at : at + 20] if given is None else text[max(0, start) : max(0, start) + len(word)]
            raise UserError(f"{place}: token {number} is {word!r:.60}, the text has {found!r:.60} there; correct the tokens, or leave them out")
        at = start + len(word)
        if word.strip():
            places.append((start, at))
    return places


def _tokens(record: Mapping[str, Any], place: str) -> list[str]:
    tokens = record["tokenized_text"]
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise UserError(f"{place}: 'tokenized_text' holds {tokens!r:.60}, expected a list of texts; correct the row")
    return tokens


def _parse_tokens(record: Mapping[str, Any], name: str, place: str) -> AnnotatedText:
    """A record of GLiNER: spans count words, and name their last one."""
    tokens = _tokens(record, place)
    places, spans = _places(tokens), []
    for span in _spans(record.get(name), place, name):
        if not 0 <= span.start <= span.end < len(tokens):
            remedy = "indices count words from 0, the last one included: correct them"
            raise UserError(f"{place}: the span {span} in '{name}' is not within the {len(tokens)} words; {remedy}")
        spans.append(AnnotatedSpan(places[span.start][0], places[span.end][1], span.kind))
    return AnnotatedText(place=place, text=" ".join(tokens), words=_words_of(tokens), spans=spans)


def _places(tokens: Sequence[str]) -> list[Place]:
    """The places of tokens that are joined by blanks."""
    ends = list(accumulate(len(token) + 1 for token in tokens))
    return [(end - 1 - len(token), end - 1) for token, end in zip(tokens, ends, strict=True)]


def _words_of(tokens: Sequence[str]) -> list[Place]:
    """The places of those that are not white space alone."""
    return [place for place, token in zip(_places(tokens), tokens, strict=True) if token.strip()]


def _parse_task(record: Mapping[str, Any], text: str, tag: str | None, place: str) -> AnnotatedText:
    """A task of Label Studio: what its annotation marks, which is the one that was not skipped, or that is the ground truth."""
    given = next(record[name] for name in ANNOTATIONS if isinstance(record.get(name), list))
    if not all(isinstance(each, Mapping) and isinstance(each.get("result"), list) for each in given):
        raise UserError(f"{place}: an annotation without a list 'result'; export the project as JSON, with its annotations")
    done = [each for each in given if not each.get("was_cancelled") and not each.get("skipped")]
    done = [each for each in done if each.get("ground_truth")] or done
    found = [_results(each["result"], tag, place) for each in done]
    if any(sorted(spans) != sorted(found[0]) for spans in found):
        raise UserError(f"{place}: {len(found)} annotations that differ; keep one, or mark one as ground truth")
    return AnnotatedText(place=place, text=text, spans=found[0] if found else [], omitted="" if found else "no annotation")


def _results(results: Sequence[Any], tag: str | None, place: str) -> list[AnnotatedSpan]:
    """The spans of an annotation; choices, relations and other answers are none."""
    labels = [each for each in results if isinstance(each, Mapping) and str(each.get("type")).endswith("labels")]
    labels = [each for each in labels if tag is None or each.get("from_name") == tag]
    if other := next((each["type"] for each in labels if each["type"] != "labels"), None):
        raise UserError(f"{place}: annotations of the kind '{other}'; only 'labels', which mark characters of a text, are read")
    if len(names := sorted({str(each.get("to_name")) for each in labels})) > 1:
        raise UserError(f"{place}: spans of several texts ({', '.join(names)[:60]}); give one text a task")
    return _spans([each.get("value") for each in labels], place, "result")


# ---- files ----


def read_annotated(path: Path, split: str, word: str | None = None, tag: str | None = None) -> list[Example]:
    """A file of texts with marked spans -> their words and BIO2 tags, ids "split-0", ...; what is left out is said in a line.

    A text that says nothing of spans has none, where another of the file does; in a split other than train and dev, a file without any is
    one of texts without tags.

    Args:
        path: a file of one of the forms above.
        split: whose texts they are.
        word: the name of the text's field; None: 'text'.
        tag: the name of the spans' field (of Label Studio's JSON the `from_name` of its labels); None: the usual names.

    Raises:
        UserError: a record that is none of the forms, wrong offsets, spans that overlap, or no spans where they are needed.
    """
    records = list(read_records(path, f"the {split} file"))
    texts = [parse_record(record, word, tag, place) for place, record in records]
    known = any(text.spans is not None for text in texts)
    if split in ("train", "dev") and not known:
        wanted = f"no field '{tag}'" if tag else f"no field of spans ({', '.join(SPAN_FIELDS)})"
        fields = ", ".join(dict.fromkeys(str(name) for _, record in records[:100] for name in record))
        raise UserError(f"{path}: {wanted} among {fields[:200]}; name it by --tag-column")
    notes = SpanNotes()
    examples: list[Example] = []
    for text in texts:
        if text.omitted:
            notes.omitted[text.omitted] += 1
            continue
        places = split_text(text.text) if text.words is None else text.words
        tags = tag_words(text, places, notes) if known else None
        if places and (tags is not None or not known):
            words = tuple(text.text[start:end] for start, end in places)
            examples.append(Example(id=f"{split}-{len(examples)}", text=text.text, words=words, label=None if tags is None else tuple(tags)))
    notes.say(path, len(texts))
    if not examples:
        raise UserError(f"{path}: none of its {len(texts)} records is left; give texts with spans that begin and end with words")
    if split == "train" and all({*(example.label or ())} <= {"O"} for example in examples):  # type: ignore[misc]
        raise UserError(f"{path}: none of its {len(examples)} texts has a span; name their field by --tag-column")
    return examples
