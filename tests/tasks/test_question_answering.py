"""Questions: files, windows equal to the original's, n-best answers that stand in the text, official scores written again."""

from __future__ import annotations

import gzip
import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import case, conforms
from question_sets import paragraphs, write_squad

from electra.contracts import Answer, Example, Features, Head, SpanPrediction
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.errors import UserError
from electra.tasks.input_spec import with_options
from electra.tasks.question_answering import (
    QUESTION_TASKS,
    QuestionOptions,
    answer_tokens,
    decode_answers,
    encode_context,
    featurize_questions,
    most_context,
    windows,
)
from electra.tasks.question_metrics import normalize_answer
from electra.tasks.registry import find_task
from electra.tasks.squad_files import read_mrqa, read_squad

SPAN = Head(kind="span")


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab: Path) -> Tokenizer:
    return load_tokenizer(tiny_vocab)


# ---- files ----


def test_squad_in_a_folder_of_official_names(tmp_path: Path) -> None:
    write_squad(tmp_path / "train-v1.1.json", paragraphs(5, 1))
    write_squad(tmp_path / "dev-v1.1.json", paragraphs(3, 2))
    task = find_task("SQuAD")
    train, dev = task.read(tmp_path, "train"), task.read(tmp_path, "dev")
    assert [len(train), len(dev)] == [5, 3] and train[0].id == "q1-0"
    for example in [*train, *dev]:
        (answer,) = example.answers or ()
        assert example.text_pair is not None and example.text_pair[answer.start :].startswith(answer.text)
    assert task.read(tmp_path / "dev-v1.1.json", "dev") == dev


def test_questions_without_answer_are_squad2s(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        write_squad(tmp_path / f"{split}-v2.0.json", paragraphs(6, 3, unanswerable=True))
    read = find_task("squad2").read(tmp_path, "train")
    assert [example.answers == () for example in read] == [True, False, False] * 2
    with pytest.raises(UserError, match="use the task squad2"):
        read_squad(tmp_path / "dev-v2.0.json", "dev")


def _paragraph(context: str, *answers: tuple[str, int]) -> dict[str, Any]:
    return {"context": context, "qas": [{"id": context, "question": "q", "answers": [{"text": t, "answer_start": s} for t, s in answers]}]}


def test_wrong_offsets_are_corrected_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        _paragraph("a film, a film, a film", ("film", 12)),  # the nearest is the second
        _paragraph("The old  City", ("the old city", 0)),  # the words there say it but for case and white space
        _paragraph("rain", ("sun", 0)),
        _paragraph("the city", ("City ", 3)),
    ]
    path = write_squad(tmp_path / "x.json", rows)
    starts = [example.answers[0].start for example in read_squad(path, "dev") if example.answers]
    assert starts == [10, 0, -1, 4]
    assert "2 of 4 answers were not at their offsets and were found elsewhere in the text, 1 are not in it" in capsys.readouterr().err
    assert [example.id for example in read_squad(path, "train")] == [rows[i]["context"] for i in (0, 1, 3)]
    assert "1 of 4 questions left out" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train.jsonl", "train.jsonl.gz", "train/NewsQA.jsonl.gz"])
def test_mrqa(name: str, tmp_path: Path) -> None:
    question = {
        "qid": "7",
        "question": "where ?",
        "answers": ["the river"],
        "detected_answers": [{"text": "river", "char_spans": [[4, 8], [14, 18]]}, {"text": "old", "char_spans": [[10, 12]]}],
    }
    lines = [{"header": {"dataset": "NewsQA"}}, {"context": "the river old river", "qas": [question]}]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    task = find_task("newsqa")
    (example,) = task.read(tmp_path, "train")
    river, again, old, given = Answer("river", 4), Answer("river", 14), Answer("old", 10), Answer("the river", -1)
    assert example == Example(id="7", text="where ?", text_pair="the river old river", answers=(river, again, old, given))
    # 'old' is not what the official score counts.
    assert read_mrqa(path, "dev")[0].answers == (river, again, given)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "no list 'data'"),
        ('{"data": [{"paragraphs": [{"qas": [{"question": "q"}]}]}]}', "article 0, paragraph 0: no text 'context'"),
        ('{"data": [{"paragraphs": [{"context": "c", "qas": [{"question": 3}]}]}]}', "no text 'question'"),
        ('{"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "7", "question": "q", "answers": []}]}]}]}', "question 7 has no answer"),
        ('{"data": []}', "has no questions"),
    ],
)
def test_wrong_files_are_one_clear_line(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text(content)
    with pytest.raises(UserError, match=re.escape(message)):
        find_task("squad").read(tmp_path, "dev")
    with pytest.raises(UserError, match=r"holds none of train-v1\.1\.json"):
        find_task("squad").read(tmp_path, "train")


def test_a_damaged_gzip_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl.gz").write_bytes(gzip.compress(b"{}" * 999)[:-9])
    with pytest.raises(UserError, match="is damaged"):
        find_task("triviaqa").read(tmp_path, "dev")


# ---- tables of questions ----

ROWS = {
    "id": ["a", "b"],
    "question": ["who ?", "where ?"],
    "context": ["the chef cooked", "by the river"],
    "answers": [{"text": ["the chef", "chef"], "answer_start": [0, 4]}, {"text": ["the river"], "answer_start": [3]}],
}
EVERYWHERE = ("finetune", "evaluate")


def squad_table(name: str, folder: Path, rows: dict[str, list[Any]]) -> Path:
    """The rows as another library writes them."""
    datasets, pandas, path = pytest.importorskip("datasets"), pytest.importorskip("pandas"), folder / name
    table = datasets.Dataset.from_dict(rows)
    if name.endswith("parquet"):
        table.to_parquet(path)
    elif name == "saved":
        table.save_to_disk(str(path))
    elif name == "list.json":
        pandas.DataFrame(rows).to_json(path, orient="records")
    elif name.endswith(".csv"):
        table.to_csv(path)
    elif name == "run_qa.json":
        path.write_text(json.dumps({"version": "2.0", "data": [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]}))
    elif name == "paragraphs.jsonl":
        qas = [
            {"id": i, "question": q, "answers": [{"text": t, "answer_start": s} for t, s in zip(a["text"], a["answer_start"], strict=True)]}
            for i, q, a in zip(rows["id"], rows["question"], rows["answers"], strict=True)
        ]
        path.write_text("".join(json.dumps({"context": c, "qas": [q]}) + "\n" for c, q in zip(rows["context"], qas, strict=True)))
    else:
        table.to_json(path)
    return path


def squad_form(name: str, form: str) -> object:
    return case(name, form=form, where=EVERYWHERE, outcome="exact", section="tables")


@pytest.mark.parametrize(
    "name",
    [
        squad_form("rows.jsonl", "SQuAD of datasets as jsonl (answers.text, answers.answer_start)"),
        squad_form("rows.json", "SQuAD of datasets as to_json writes it"),
        squad_form("rows.parquet", "SQuAD of datasets as parquet"),
        squad_form("saved", "SQuAD of datasets, save_to_disk"),
        squad_form("list.json", "SQuAD rows in a .json list of pandas"),
        squad_form("run_qa.json", "the flat json of transformers' run_qa.py"),
        squad_form("paragraphs.jsonl", "SQuAD paragraphs, one a line"),
    ],
)
def test_tables_of_questions(name: str, tmp_path: Path) -> None:
    path = squad_table(name, tmp_path, ROWS)
    expected = [
        Example(id="a", text="who ?", text_pair="the chef cooked", answers=(Answer("the chef", 0), Answer("chef", 4))),
        Example(id="b", text="where ?", text_pair="by the river", answers=(Answer("the river", 3),)),
    ]
    assert find_task("squad").read(path, "train") == expected
    if name.startswith("rows"):
        path.rename(tmp_path / f"validation{path.suffix}")
        assert find_task("squad").read(tmp_path, "dev") == expected


@conforms(form="SQuAD 2.0 of datasets: empty lists of answers", where=EVERYWHERE, outcome="exact", section="tables")
def test_rows_without_an_answer(tmp_path: Path) -> None:
    rows = ROWS | {"answers": [{"text": [], "answer_start": []}, ROWS["answers"][1]]}
    path = squad_table("rows.parquet", tmp_path, rows)
    assert [example.answers for example in find_task("squad2").read(path, "train")] == [(), (Answer("the river", 3),)]
    with pytest.raises(UserError, match="question a has no answer; use the task squad2"):
        find_task("squad").read(path, "train")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        case(
            "x.csv",
            {},
            r"line 2: column 'answers' holds a list that is written as text",
            form="SQuAD of datasets as csv",
            where=EVERYWHERE,
            outcome="refused",
            section="tables",
        ),
        case(
            "rows.jsonl",
            {"answers": [{"text": ["a", "b"], "answer_start": [0]}] * 2},
            r"line 1: 2 answers but 1 numbers in answer_start",
            form="answers and starts of unequal length",
            where=EVERYWHERE,
            outcome="refused",
            section="tables",
        ),
        case(
            "rows.jsonl",
            {"answers": [None, None]},
            r"line 1: column 'answers' holds no value",
            form="null in place of answers",
            where=EVERYWHERE,
            outcome="refused",
            section="tables",
        ),
        case(
            "rows.jsonl",
            {"answers": [["chef"], ["river"]]},
            r"line 1: column 'answers' holds \['chef'\], expected \{\"text\"",
            form="answers as plain texts",
            where=EVERYWHERE,
            outcome="refused",
            section="tables",
        ),
        case(
            "rows.parquet",
            {"context": ["a", None]},
            r"line 2: column 'context' has no value",
            form="a null among contexts",
            where=EVERYWHERE,
            outcome="refused",
            section="tables",
        ),
    ],
)
def test_wrong_tables_of_questions(name: str, changes: dict[str, list[Any]], message: str, tmp_path: Path) -> None:
    path = squad_table(name, tmp_path, ROWS | changes)
    with pytest.raises(UserError, match=message):
        find_task("squad").read(path, "dev")


@conforms(form="questions and contexts under other names", where=EVERYWHERE, outcome="refused", section="tables")
def test_a_missing_column_of_questions_is_named(tmp_path: Path) -> None:
    path = squad_table("rows.jsonl", tmp_path, {"id": ["a"], "query": ["who ?"], "context": ["c"]})
    with pytest.raises(UserError, match=r"line 1: no column 'question' \(.*columns: id, query, context\); a table of questions has id, question"):
        find_task("squad").read(path, "dev")


# ---- features ----


@pytest.mark.realdata
def test_features_equal_the_originals(data_root: Path, reference_root: Path) -> None:
    reference = json.loads((reference_root / "tf1-features" / "squadv1.json").read_text())
    rows, settings = reference["features"], reference["settings"]
    question_ids = {row["question_id"] for row in rows}
    examples = [example for example in read_squad(data_root / "squad" / "dev-v1.1.json", "train") if example.id in question_ids]
    task = with_options(find_task("squad"), {"stride": settings["doc_stride"]})
    found = task.featurize(examples, load_tokenizer(data_root / "vocab" / "uncased-en.txt"), settings["max_seq_length"], SPAN)
    assert len(found) == len(rows) == 334 and sum(row["start_position"] == 0 for row in rows) > 30
    for feature, row in zip(found, rows, strict=True):
        assert examples[feature.example].id == row["question_id"]
        assert list(feature.ids) == row["input_ids"] and list(feature.segments) == row["segment_ids"]
        assert feature.label == (row["start_position"], row["end_position"])


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("file", "vocabulary", "task", "questions", "least"),
    [("squad/dev-v1.1.json", "uncased-en", "squad", 10570, 10534), ("cmrc2018/dev.json", "zh", "cmrc2018", 3219, 3219)],
)
def test_answers_cut_by_offsets_are_the_answers(file: str, vocabulary: str, task: str, questions: int, least: int, data_root: Path) -> None:
    """All of them, but for the few answers of SQuAD that are a part of a word piece ('gold' of 'golden')."""
    examples = find_task(task).read(data_root / file, "dev")
    tokenizer = load_tokenizer(data_root / "vocab" / f"{vocabulary}.txt")
    right = 0
    contexts: dict[str, Any] = {}
    for example in examples:
        assert example.text_pair is not None
        context = contexts.get(example.text_pair) or contexts.setdefault(example.text_pair, encode_context(example.text_pair, tokenizer))
        answer = next(answer for answer in example.answers or () if answer.start >= 0)
        first, last = answer_tokens(context, answer, tokenizer.encode([answer.text])[0])
        cut = example.text_pair[context.offsets[first, 0] : context.offsets[last, 1]]
        right += "".join(cut.split()) == "".join(answer.text.split())
    assert len(examples) == questions and right == least


def test_offsets_are_those_of_the_text_as_it_is(tokenizer: Tokenizer) -> None:
    text = "\t Épic\u202ffilm: na\u00efve cafe\u0301 東京 \U0001d400 city"
    context = encode_context(text, tokenizer)
    cut = [text[a:b] for a, b in context.offsets]
    assert "".join(cut) == "".join(text.split())
    words = [text.split()[i] for i in context.words]
    assert all(piece in word for piece, word in zip(cut, words, strict=True)) and context.num_words == len(text.split())
    for wanted in ("Épic", "film", "cafe\u0301", "京", "naïve cafe\u0301"):
        first, last = answer_tokens(context, Answer(wanted, text.index(wanted)), tokenizer.encode([wanted])[0])
        assert text[context.offsets[first, 0] : context.offsets[last, 1]] == wanted


def test_a_marked_answer_is_not_taken_for_an_earlier_one(tokenizer: Tokenizer) -> None:
    """Without spaces a sentence is one word, and the original's rule would take its first match."""
    context = encode_context("東京有東京的東京", tokenizer)
    assert answer_tokens(context, Answer("東京", 3), tokenizer.encode(["東京"])[0]) == (3, 4)
    # Where pieces do not end with the answer, its words are taken.
    context = encode_context("an old house", tokenizer)
    first, last = answer_tokens(context, Answer("ouse", 8), tokenizer.encode(["ouse"])[0])
    assert context.offsets[first, 0] == 7 and context.offsets[last, 1] == 12


def test_windows_and_most_context_equal_the_originals_rule() -> None:
    for num_tokens, room, stride in [(0, 10, 4), (7, 10, 4), (10, 10, 4), (11, 10, 4), (50, 10, 4), (50, 10, 40), (53, 16, 5)]:
        spans = windows(num_tokens, room, stride)
        assert {i for start, end in spans for i in range(start, end)} == set(range(num_tokens)) and spans[-1][1] == num_tokens
        chosen = most_context(spans, num_tokens)
        for token in range(num_tokens):
            rated = [
                (min(token - start, end - 1 - token) + 0.01 * (end - start), -number)
                for number, (start, end) in enumerate(spans)
                if start <= token < end
            ]
            assert chosen[token] == -max(rated)[1]


def test_unanswerable_windows_are_marked(tokenizer: Tokenizer) -> None:
    examples = [
        Example(id="0", text="where ?", text_pair="the old city " * 20 + "river", answers=(Answer("river", 260),)),
        Example(id="1", text="where ?", text_pair="the old city", answers=()),
        Example(id="2", text="where ?", text_pair="the old city"),
        Example(id="3", text="where ? " * 50, text_pair="", answers=(Answer("lost", -1),)),
    ]
    found = featurize_questions(examples, tokenizer, 32, SPAN, options=QuestionOptions(unanswerable=True, stride=16))
    labels = [feature.label for feature in found if feature.example == 0]
    assert labels[:-1] == [(0, 0, 0)] * (len(labels) - 1) and len(labels) == 4
    place = labels[-1]
    assert isinstance(place, tuple) and [tokenizer.pieces[found[3].ids[int(i)]] for i in place[:2]] == ["river", "river"] and place[2] == 0
    assert [feature.label for feature in found[4:]] == [(0, 0, 1), None, None]
    assert all(len(feature.ids) <= 32 for feature in found)
    with pytest.raises(UserError, match="is too short"):
        featurize_questions(examples, tokenizer, 10, SPAN, options=QuestionOptions())
    with pytest.raises(UserError, match="stride 0 must be at least 1"):
        featurize_questions(examples, tokenizer, 32, SPAN, options=QuestionOptions(stride=0))


# ---- answers ----


def _brute_force(outputs: list[np.ndarray], features: list[Features], context: str, longest: int) -> list[tuple[str, float]]:
    """Every span of every window, by loops, as the original tries them."""
    rated = []
    for output, feature in zip(outputs, features, strict=True):
        starts = sorted(range(len(output)), key=lambda i: -output[i, 0])[:20]
        ends = sorted(range(len(output)), key=lambda i: -output[i, 1])[:20]
        offsets, shown = np.asarray(feature.offsets), feature.has_most_context
        for a in starts:
            for b in ends:
                if a == 0 or offsets[a, 0] < 0 or offsets[b, 0] < 0 or b < a or b - a + 1 > longest or (shown is not None and not shown[a]):
                    continue
                rated.append((float(output[a, 0] + output[b, 1]), context[offsets[a, 0] : offsets[b, 1]]))
    out: dict[str, float] = {}
    for total, text in sorted(rated, key=lambda pair: -pair[0]):
        out.setdefault(text, total)
    return list(out.items())[:20]


def test_n_best_equal_brute_force(tokenizer: Tokenizer) -> None:
    rng, words = np.random.default_rng(3), random.Random(3)
    for count in (4, 60):
        context = " ".join(words.choices("the a chef city river walked cooked meals".split(), k=count))
        example = Example(id="0", text="where ?", text_pair=context)
        reading = QuestionOptions(stride=9, max_answer_length=5, unanswerable=True)
        features = featurize_questions([example], tokenizer, 32, SPAN, options=reading)
        outputs = [rng.normal(size=(len(feature.ids), 2)).astype(np.float32) for feature in features]
        (found,) = decode_answers(outputs, features, [example], SPAN, options=reading)
        assert isinstance(found, SpanPrediction)
        wanted = _brute_force(outputs, features, context, 5)
        assert [c.text for c in found.candidates] == [text for text, _ in wanted]
        np.testing.assert_allclose([c.start_logit + c.end_logit for c in found.candidates], [total for _, total in wanted], rtol=1e-6)
        assert all(context[c.start : c.end] == c.text for c in found.candidates)
        odds = min(float(output[0].sum()) for output in outputs) - wanted[0][1]
        assert found.null_odds == pytest.approx(odds, abs=1e-5) and found.num_windows == len(features)
        assert found.label == ("" if odds > 0 else wanted[0][0])
        for threshold, label in ((odds - 0.01, ""), (odds + 0.01, wanted[0][0])):
            reading = QuestionOptions(stride=9, max_answer_length=5, unanswerable=True, null_threshold=threshold)
            assert decode_answers(outputs, features, [example], SPAN, options=reading)[0].label == label


def test_no_possible_span_is_an_empty_answer(tokenizer: Tokenizer) -> None:
    example = Example(id="0", text="where ?", text_pair="")
    features = featurize_questions([example], tokenizer, 32, SPAN, options=QuestionOptions())
    (found,) = decode_answers([np.zeros((len(features[0].ids), 2), np.float32)], features, [example], SPAN, options=QuestionOptions())
    assert found.label == "" and isinstance(found, SpanPrediction) and len(found.candidates) == 1


@pytest.mark.parametrize("name", QUESTION_TASKS)
def test_every_task_of_questions(name: str) -> None:
    task = find_task(name)
    assert task.head([]) == SPAN and task.main_metric == "f1" and "dev" in task.splits and normalize_answer(task.name)
