"""Files of questions -> examples: text is the question, text_pair its context, answers what people marked.

SQuAD's json (1.1, 2.0, and what is laid out alike: CMRC 2018, XQuAD), the rows that `datasets` makes of it (jsonl, json, parquet, arrow, saved
folders: id, question, context, answers {"text": [...], "answer_start": [...]}), and the json lines of MRQA 2019. Every answer's offset is checked
against its context. One that is wrong is looked for in the text; where it is not there either, its start is -1: it still counts when
answers are scored, and nothing is learned from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from electra.contracts import Answer, Example
from electra.data.tables import SUFFIXES, is_missing, is_saved, read_rows, string_cell, table_format
from electra.errors import UserError, did_you_mean, parse_json
from electra.storage import atomic
from electra.tasks.question_metrics import normalize_answer
from electra.tasks.text_tasks import read_text
from electra.terminal import say

WHITE_SPACE = " \t\r\n\u202f"
"""What separates words of a context in the original."""


def find_file(data: Path, names: Sequence[str], what: str) -> Path:
    """A file itself, or the first of `names` in a folder.

    Raises:
        UserError: none is there.
    """
    atomic.existing_path(data, f"the folder of {what}")
    if data.is_file() or is_saved(data):
        return data
    stems = list(dict.fromkeys(name.partition(".json")[0] for name in names))
    stems += ["validation"] * ("dev" in stems)
    tables = [data / f"{stem}{suffix}" for stem in stems for suffix in ("", *SUFFIXES)]
    for path in (*(data / name for name in names), *tables):
        if path.is_file() or is_saved(path):
            return path
    raise UserError(f"{data} holds none of {', '.join(names[:6])}; give the folder of {what}, or files by --train FILE --dev FILE")


def read_squad(path: Path, split: str, *, unanswerable: bool = False) -> list[Example]:
    """SQuAD's json, or a table of questions -> examples in the file's order. In 'train' those whose answer cannot be found are left out and counted.

    Raises:
        UserError: no such layout, no question, or questions without answer where `unanswerable` does not allow them.
    """
    counts: Counter[str] = Counter()
    examples = []
    for place, part in _parts(path):
        if "paragraphs" not in part and "qas" not in part:
            examples.append(question_row(part, place, unanswerable, counts))
            continue
        for number, paragraph in enumerate(_list(part, "paragraphs", place) if "paragraphs" in part else [part]):
            within = f"{place}, paragraph {number}" if "paragraphs" in part else place
            for question in _list(paragraph, "qas", within):
                examples.append(squad_example(question, _text(paragraph, "context", within), within, unanswerable, counts))
    return usable(examples, split, path, counts)


def _parts(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, article, paragraph or question) of a file."""
    atomic.existing_path(path, "the file of questions")
    kind = table_format(path)
    if kind not in (None, "json"):
        yield from ((f"{path}, line {number}", row) for number, row in read_rows(path, "the file of questions", ("question", "context")))
        return
    text = read_text(path, "the file of questions")
    try:
        content = parse_json(text)
    except ValueError as error:
        if str(error).startswith("Extra data") and text.lstrip().startswith("{"):
            yield from ((f"{path}, line {number}", row) for number, row in read_rows(path, "the file of questions", kind="jsonl"))
            return
        raise UserError(f"{path} is not valid JSON ({str(error)[:100]}); give a file in SQuAD's layout") from None
    articles = iter(content) if isinstance(content, list) and content else _list(content, "data", str(path))
    for number, article in enumerate(articles):
        place = f"{path}, article {number}"
        if not isinstance(article, Mapping):
            raise UserError(f"{place}: {str(article)[:40]} is no object; is this a file of questions in the layout of the task?")
        yield place if "paragraphs" in article else f"{path}, item {number + 1}", article


def question_row(row: Mapping[str, Any], place: str, unanswerable: bool, counts: Counter[str]) -> Example:
    """A row of a table, as `datasets` has SQuAD -> Example; `counts` are those of `locate`.

    Raises:
        UserError: a column is missing, answers of another form, or none where `unanswerable` does not allow that.
    """
    for name in ("question", "context"):
        if name not in row:
            listed = f"{did_you_mean(name, row)} columns: {', '.join(map(str, row))[:200]}"
            raise UserError(f"{place}: no column '{name}' ({listed}); a table of questions has id, question, context and answers: rename it")
    question: dict[str, Any] = {name: string_cell(row, name, place, "name") for name in ("question", "context")}
    question["id"] = row.get("id") if row.get("id") is not None else place
    if "answers" in row:
        question["answers"] = _row_answers(row["answers"], place)
        given = row.get("is_impossible")
        question["is_impossible"] = not question["answers"] and unanswerable if given is None else given
    return squad_example(question, question["context"], place, unanswerable, counts)


def _row_answers(value: Any, place: str) -> list[dict[str, Any]]:
    """{"text": [...], "answer_start": [...]}, or a list of {"text", "answer_start"} -> the latter."""
    if isinstance(value, str):
        raise UserError(f"{place}: column 'answers' holds a list that is written as text ({value[:40]}); save the table as jsonl or parquet")
    texts, starts = (value.get("text"), value.get("answer_start")) if isinstance(value, Mapping) else (None, None)
    if isinstance(texts, list) and isinstance(starts, list):
        if len(texts) != len(starts):
            raise UserError(f"{place}: {len(texts)} answers but {len(starts)} numbers in answer_start; give one for each")
        return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if isinstance(value, list) and all(isinstance(answer, Mapping) for answer in value):
        return [dict(answer) for answer in value]
    what = "no value" if is_missing(value) else f"{value!r:.60}"
    raise UserError(f'{place}: column \'answers\' holds {what}, expected {{"text": [...], "answer_start": [...]}}; correct the row')


def squad_example(question: Any, context: str, place: str, unanswerable: bool, counts: Counter[str]) -> Example:
    """One question of SQuAD's json; `counts` are those of `locate`.

    Raises:
        UserError: a field is missing, or there is no answer where `unanswerable` does not allow that.
    """
    asked = _text(question, "question", place)
    name = str(question.get("id", question.get("qid", f"{place}: {asked}")))
    if question.get("is_impossible") is True:
        if not unanswerable:
            raise UserError(f"{place}: question {name} has no answer (is_impossible); this is SQuAD 2.0's form: use the task squad2")
        return Example(id=name, text=asked, text_pair=context, answers=())
    if "answers" not in question:
        return Example(id=name, text=asked, text_pair=context)
    answers = []
    for answer in _list(question, "answers", f"{place}, question {name}"):
        start = answer.get("answer_start", -1) if isinstance(answer, Mapping) else -1
        answers.append(locate(context, _text(answer, "text", f"{place}, question {name}"), start if isinstance(start, int) else -1, counts))
    if not answers and not unanswerable:
        raise UserError(f"{place}: question {name} has no answer; use the task squad2 for such questions")
    return Example(id=name, text=asked, text_pair=context, answers=tuple(answers))


def read_mrqa(path: Path, split: str) -> list[Example]:
    """MRQA 2019's json lines, plain or .gz: a header, then {"context", "qas": [{"qid", "question", "answers", "detected_answers"}]}.

    Detected answers come first, for the first of them is learned. The official score counts "answers" alone, so in other splits than 'train'
    a detected one which is not among them is left out.

    Raises:
        UserError: no such layout, no question.
    """
    counts: Counter[str] = Counter()
    examples = []
    for number, line in enumerate(read_text(path, "the file of questions").split("\n"), start=1):
        place = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            paragraph = parse_json(line)
        except ValueError as error:
            raise UserError(f"{place} is not valid JSON ({str(error)[:100]}); MRQA has one object a line") from None
        if isinstance(paragraph, dict) and "header" in paragraph:
            continue
        for question in _list(paragraph, "qas", place):
            context, asked = _text(paragraph, "context", place), _text(question, "question", place)
            name = str(question.get("qid", question.get("id", f"{number}: {asked}")))
            answers = mrqa_answers(question, context, f"{place}, question {name}", split, counts)
            examples.append(Example(id=name, text=asked, text_pair=context, answers=answers))
    return usable(examples, split, path, counts)


def mrqa_answers(question: Mapping[str, Any], context: str, place: str, split: str, counts: Counter[str]) -> tuple[Answer, ...] | None:
    """The answers of one of MRQA's questions, see `read_mrqa`; None: none is given.

    Raises:
        UserError: a field is missing.
    """
    given = [str(text) for text in _optional_list(question, "answers", place)]
    known = {normalize_answer(text) for text in given}
    answers = []
    for detected in _optional_list(question, "detected_answers", place):
        text = _text(detected, "text", place)
        for span in _list(detected, "char_spans", place):
            if not isinstance(span, list) or len(span) != 2 or not all(isinstance(end, int) for end in span):
                raise UserError(f"{place}: char_spans holds {str(span)[:40]}, expected [first, last]; is this MRQA's layout?")
            if split == "train" or not known or normalize_answer(text) in known:
                answers.append(locate(context, text, span[0], counts))
    answers += [Answer(text, -1) for text in given]
    return tuple(answers) or None


def locate(context: str, text: str, start: int, counts: Counter[str]) -> Answer:
    """An answer at its given place, or where it is found; -1 where it is not. `counts` counts 'moved' and 'lost' ones.

    It is looked for as it is written, then without regard to case. At last the original's rule holds: an offset is right when the words it
    touches hold the answer, whatever the white space.
    """
    counts["answers"] += 1
    if text.strip() and start >= 0 and context.startswith(text, start):
        return Answer(text, start)
    text, lower = text.strip(), context.lower()
    found = nearest(context, text, start)
    if found is None and len(lower) == len(context):
        found = nearest(lower, text.lower(), start)
    if found is None and text and 0 <= start <= len(context) - len(text) and _plain(text) in _plain(_words_at(context, start, start + len(text))):
        return Answer(text, start)
    counts["lost" if found is None else "moved"] += 1
    return Answer(text, -1 if found is None else found)


def nearest(context: str, text: str, start: int) -> int | None:
    """The place of `text` in `context` nearest to `start`; None where it is nowhere, or is empty."""
    around = (context.rfind(text, 0, max(0, start + len(text))), context.find(text, max(0, start))) if text else ()
    return min((place for place in around if place >= 0), key=lambda place: (abs(place - start), place), default=None)


def _words_at(context: str, start: int, end: int) -> str:
    while start > 0 and context[start - 1] not in WHITE_SPACE:
        start -= 1
    while end < len(context) and context[end] not in WHITE_SPACE:
        end += 1
    return context[start:end]


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()


def usable(examples: list[Example], split: str, path: Path, counts: Counter[str]) -> list[Example]:
    """The usable examples; problems are counted on standard error."""
    if counts["moved"] or counts["lost"]:
        moved = f"{counts['moved']:,} of {counts['answers']:,} answers were not at their offsets and were found elsewhere in the text"
        say(f"{path.name}: {moved}, {counts['lost']:,} are not in it")
    kept = examples
    if split == "train":
        kept = [e for e in examples if e.answers is not None and (not e.answers or any(answer.start >= 0 for answer in e.answers))]
        if len(kept) < len(examples):
            say(f"{path.name}: {len(examples) - len(kept):,} of {len(examples):,} questions left out: no answer found")
    if not kept:
        raise UserError(f"{path} has no questions" + (" with an answer in their contexts" if examples else "") + "; give a file with some")
    return kept


def _list(holder: Any, name: str, place: str) -> Iterator[Any]:
    found = holder.get(name) if isinstance(holder, Mapping) else None
    if not isinstance(found, list):
        raise UserError(f"{place}: no list '{name}'; is this a file of questions in the layout of the task?")
    return iter(found)


def _optional_list(holder: Mapping[str, Any], name: str, place: str) -> Iterator[Any]:
    return _list(holder, name, place) if holder.get(name) is not None else iter(())


def _text(holder: Any, name: str, place: str) -> str:
    found = holder.get(name) if isinstance(holder, Mapping) else None
    if not isinstance(found, str):
        raise UserError(f"{place}: no text '{name}'; is this a file of questions in the layout of the task?")
    return found
