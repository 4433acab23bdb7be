"""Exports of annotation tools -> the same words and tags; what is no such file is named; fine-tuned, evaluated and answered from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conformance import case, conforms
from tiny_models import checkpoints

from electra.cli import main
from electra.contracts import Example
from electra.errors import UserError
from electra.tasks.conll_files import TagColumns, read_tagged
from electra.tasks.data_warnings import describe_file
from electra.tasks.tagging import tagging_task

EVERYWHERE = ("finetune", "evaluate")
ADA, NONE, LONDON = "Ada left.", "Nobody left.", "in New York"


def lines(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def prodigy(text: str, *spans: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "text": text,
        "_input_hash": 1,
        "_task_hash": -2,
        "spans": [*spans],
        "_is_binary": False,
        "_view_id": "ner_manual",
        "answer": "accept",
        **more,
    }


def tokens(text: str, *words: str) -> list[dict[str, Any]]:
    found, at = [], 0
    for number, word in enumerate(words):
        start = text.index(word, at)
        at = start + len(word)
        found.append({"text": word, "start": start, "end": at, "id": number, "ws": text[at : at + 1] == " "})
    return found


def task(text: str, *results: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A task of Label Studio's JSON export."""
    annotation = {"id": 9, "completed_by": 1, "result": [*results], "was_cancelled": False, "ground_truth": False, "lead_time": 8.6, **more}
    return {"id": 1, "annotations": [annotation], "file_upload": "a.txt", "drafts": [], "predictions": [], "data": {"text": text}, "meta": {}}


def region(start: int, end: int, kind: str, **more: Any) -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": [kind], **more}
    return {"value": value, "id": "Xw", "from_name": "label", "to_name": "text", "type": "labels", "origin": "manual"}


FILES = {
    "doccano.jsonl": lines(
        {"id": 1, "text": ADA, "label": [[0, 3, "PER"]], "Comments": []},
        {"id": 2, "text": NONE, "label": [], "Comments": []},
        {"id": 3, "text": LONDON, "label": [[3, 11, "LOC"]], "Comments": []},
    ),
    "doccano-1.jsonl": lines(
        {"doc_id": 1, "text": ADA, "labels": [[0, 3, "PER"]], "username": "admin"},
        {"doc_id": 2, "text": NONE, "labels": []},
        {"doc_id": 3, "text": LONDON, "labels": [[3, 11, "LOC"]]},
    ),
    "doccano-relations.jsonl": lines(
        {"id": 1, "text": ADA, "entities": [{"id": 5, "label": "PER", "start_offset": 0, "end_offset": 3}], "relations": [], "Comments": []},
        {"id": 2, "text": NONE, "entities": [], "relations": [], "Comments": []},
        {
            "id": 3,
            "text": LONDON,
            "entities": [{"id": 7, "label": "LOC", "start_offset": 3, "end_offset": 11}],
            "relations": [{"from_id": 7, "to_id": 7}],
        },
    ),
    "doccano-slots.jsonl": lines(
        {"text": ADA, "cats": ["x"], "entities": [[0, 3, "PER"]]}, {"text": NONE, "cats": []}, {"text": LONDON, "entities": [[3, 11, "LOC"]]}
    ),
    "prodigy.jsonl": lines(
        prodigy(ADA, {"start": 0, "end": 3, "label": "PER", "text": "Ada", "token_start": 0, "token_end": 0}, tokens=tokens(ADA, "Ada", "left", ".")),
        prodigy(NONE, tokens=tokens(NONE, "Nobody", "left", ".")),
        prodigy(LONDON, {"start": 3, "end": 11, "label": "LOC", "token_start": 1, "token_end": 2}, tokens=tokens(LONDON, "in", "New", "York")),
    ),
    "prodigy-without-tokens.jsonl": lines(
        {"text": ADA, "spans": [{"start": 0, "end": 3, "label": "PER"}]},
        {"text": NONE},
        {"text": LONDON, "spans": [{"start": 3, "end": 11, "label": "LOC"}]},
    ),
    "spacy.json": json.dumps([[ADA, {"entities": [[0, 3, "PER"]]}], [NONE, {"entities": []}], [LONDON, {"entities": [[3, 11, "LOC"]]}]], indent=2),
    "spacy.jsonl": lines([ADA, {"entities": [[0, 3, "PER"]]}], [NONE, {}], [LONDON, {"entities": [[3, 11, "LOC"]]}]),
    "spacy-objects.json": json.dumps(
        [{"text": ADA, "entities": [[0, 3, "PER"]]}, {"text": NONE, "entities": []}, {"text": LONDON, "entities": [[3, 11, "LOC"]]}]
    ),
    "studio.json": json.dumps(
        [
            task(ADA, region(0, 3, "PER", text="Ada")),
            task(NONE, {"value": {"choices": ["neutral"]}, "from_name": "tone", "to_name": "text", "type": "choices"}),
            task(
                LONDON,
                region(3, 11, "LOC", text="New York", globalOffsets={"start": 3, "end": 11}),
                {"type": "relation", "from_id": "Xw", "to_id": "Xw"},
            ),
        ],
        indent=4,
    ),
    "studio-min.json": json.dumps(
        [
            {"text": ADA, "id": 1, "label": [{"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]}], "annotator": 1, "annotation_id": 1},
            {"text": NONE, "id": 2, "annotator": 1, "annotation_id": 2, "lead_time": 2.5},
            {"text": LONDON, "id": 3, "label": [{"start": 3, "end": 11, "text": "New York", "labels": ["LOC"]}], "annotator": 1},
        ]
    ),
    "gliner.json": json.dumps(
        [
            {"tokenized_text": ["Ada", "left", "."], "ner": [[0, 0, "PER"]]},
            {"tokenized_text": ["Nobody", "left", "."], "ner": []},
            {"tokenized_text": ["in", "New", "York"], "ner": [[1, 2, "LOC"]]},
        ]
    ),
    "gliner.jsonl": lines(
        {"tokenized_text": ["Ada", "left", "."], "ner": [[0, 0, "PER"]]},
        {"tokenized_text": ["Nobody", "left", "."]},
        {"tokenized_text": ["in", "New", "York"], "ner": [[1, 2, "LOC"]]},
    ),
    "words.jsonl": lines(
        {"text": ADA, "tokens": ["Ada", "left", "."], "spans": [{"start": 0, "end": 3, "label": "PER"}]},
        {"text": NONE, "tokens": ["Nobody", "left", "."], "spans": []},
        {"text": LONDON, "tokens": ["in", "New", "York"], "spans": [{"start": 3, "end": 11, "label": "LOC"}]},
    ),
}
FORMS = {
    "doccano.jsonl": ("doccano's jsonl (text, label)", "doccano"),
    "doccano-1.jsonl": ("doccano's jsonl (text, labels)", "doccano"),
    "doccano-relations.jsonl": ("doccano's jsonl with relations (start_offset)", "doccano"),
    "doccano-slots.jsonl": ("doccano's jsonl with cats and entities", "spaCy"),
    "prodigy.jsonl": ("Prodigy's jsonl with tokens", "Prodigy"),
    "prodigy-without-tokens.jsonl": ("Prodigy's jsonl without tokens", "Prodigy"),
    "spacy.json": ("spaCy 2's training examples in .json", "spaCy"),
    "spacy.jsonl": ("spaCy 2's training examples in jsonl", "spaCy"),
    "spacy-objects.json": ("objects of text and entities", "spaCy"),
    "studio.json": ("Label Studio's JSON", "Label Studio"),
    "studio-min.json": ("Label Studio's JSON-MIN", "Label Studio (JSON-MIN)"),
    "gliner.json": ("GLiNER's training data in .json", "GLiNER"),
    "gliner.jsonl": ("GLiNER's training data in jsonl", "GLiNER"),
    "words.jsonl": ("text and spans with words of its own", "Prodigy"),
}


@pytest.mark.parametrize(
    "name", [case(name, form=form, where=(*EVERYWHERE, "inspect"), outcome="exact", section="tables") for name, (form, _) in FORMS.items()]
)
def test_forms_mean_the_same(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    path.write_text(FILES[name])
    words = [("Ada", "left", "."), ("Nobody", "left", "."), ("in", "New", "York")]
    tags = [("B-PER", "O", "O"), ("O", "O", "O"), ("O", "B-LOC", "I-LOC")]
    for split in ("train", "dev", "test"):
        found = tagging_task(TagColumns()).read(path, split)
        assert [(e.id, e.words, e.label) for e in found] == [(f"{split}-{i}", w, t) for i, (w, t) in enumerate(zip(words, tags, strict=True))]
    assert [e.text for e in found] == ([ADA, NONE, LONDON] if "gliner" not in name else ["Ada left .", "Nobody left .", LONDON])
    described = describe_file(path)
    assert described is not None and {**described, "tags": None} == {
        "kind": "tagged words",
        "path": str(path),
        "form": FORMS[name][1],
        "sentences": 3,
        "words": 9,
        "scheme": "BIO2",
        "types": ["LOC", "PER"],
        "tags": None,
    }
    assert capsys.readouterr().err == ""


def read(tmp_path: Path, content: str, split: str = "train", name: str = "", **columns: Any) -> list[Example]:
    path = tmp_path / (name or ("a.json" if content.startswith("[") and not content.startswith('["') else "a.jsonl"))
    path.write_text(content)
    return read_tagged(path, TagColumns(**columns), split)


def test_saved_data_sets_hold_spans_too(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    rows = [{"text": ADA, "spans": [{"start": 0, "end": 3, "label": "PER"}]}, {"text": NONE, "spans": []}]
    pandas.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    assert [e.label for e in read_tagged(tmp_path / "a.parquet", TagColumns(), "train")] == [("B-PER", "O", "O"), ("O", "O", "O")]


def test_only_accepted_answers_of_prodigy_are_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    span = {"start": 0, "end": 3, "label": "PER"}
    rows = [
        prodigy(ADA, span),
        prodigy(ADA, span, answer="reject"),
        prodigy(NONE, answer="ignore"),
        {**prodigy(ADA), "spans": "x", "answer": "reject"},
    ]
    assert [e.id for e in read(tmp_path, lines(*rows))] == ["train-0"]
    error = capsys.readouterr().err
    assert error == (
        f"{tmp_path}/a.jsonl: 2 of 4 records are left out (answer reject)\n{tmp_path}/a.jsonl: 1 of 4 records are left out (answer ignore)\n"
    )


def test_prodigys_own_tokens_are_the_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """spaCy keeps "U.S." and makes a token of a line end, which is no word."""
    text = "In the U.S.\n\nhe doesn't"
    row = prodigy(text, {"start": 7, "end": 11, "label": "LOC"}, tokens=tokens(text, "In", "the", "U.S.", "\n\n", "he", "does", "n't"))
    (example,) = read(tmp_path, lines(row))
    assert example.words == ("In", "the", "U.S.", "he", "does", "n't") and example.label == ("O", "O", "B-LOC", "O", "O", "O")
    assert capsys.readouterr().err == ""


def test_tasks_of_label_studio_without_an_annotation_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skipped, open_task = task(NONE, was_cancelled=True), {**task(NONE), "annotations": []}
    twice = task(ADA, region(0, 3, "PER"))
    twice["annotations"] = [*twice["annotations"], *task(ADA, region(0, 4, "PER"))["annotations"]]
    twice["annotations"][0]["ground_truth"] = True
    same = task(ADA, region(0, 3, "PER"))
    same["annotations"] *= 2
    found = read(tmp_path, json.dumps([skipped, open_task, twice, same]))
    assert [e.label for e in found] == [("B-PER", "O", "O")] * 2
    assert capsys.readouterr().err == f"{tmp_path}/a.json: 2 of 4 records are left out (no annotation)\n"


def test_fields_are_named_by_the_flags_of_columns(tmp_path: Path) -> None:
    row = {"review": ADA, "marks": [[0, 3, "PER"]], "label": "positive"}
    (example,) = read(tmp_path, lines(row), word="review", tag="marks")
    assert example.label == ("B-PER", "O", "O")
    both = {**task(ADA, region(0, 3, "PER"), {**region(4, 8, "V"), "from_name": "verbs"}), "data": {"review": ADA}}
    (example,) = read(tmp_path, json.dumps([both]), word="review", tag="verbs")
    assert example.label == ("O", "B-V", "O")
    (example,) = read(tmp_path, lines({"doc": {"text": ADA, "spans": [[0, 3, "PER"]]}}), word="doc.text", tag="doc.spans")
    assert example.label == ("B-PER", "O", "O")
    (example,) = read(tmp_path, lines({"text": ADA, "label": [[0, 3, "PER"]]}), names=("O", "B-PER"))
    assert example.label == ("B-PER", "O", "O")


def test_texts_without_spans(tmp_path: Path) -> None:
    (example,) = read(tmp_path, lines({"text": ADA}), split="test")
    assert example.words == ("Ada", "left", ".") and example.label is None
    (example,) = read(tmp_path, lines({"text": ADA, "label": []}), split="dev")
    assert example.label == ("O", "O", "O")
    spans = {"text": "a", "label": [[0, 1, "X"]]}
    assert len(read(tmp_path, lines(spans, {"text": "  ", "label": []}))) == 1, "a text without a word is none"


def test_lists_of_words_and_tags_come_first(tmp_path: Path) -> None:
    """A row that has tags, too, is read as before: `datasets` of nested entities hold both."""
    (example,) = read(tmp_path, lines({"text": ADA, "tokens": ["Ada", "left."], "ner_tags": ["B-X", "O"], "entities": [[0, 3, "PER"]]}))
    assert example.label == ("B-X", "O")
    (example,) = read(tmp_path, lines({"text": ADA, "tokens": ["Ada", "left."]}), split="test")
    assert example.words == ("Ada", "left.") and example.label is None


def wrong(content: object, message: str, form: str) -> object:
    text = content if isinstance(content, str) else json.dumps(content) if isinstance(content, list) else lines(content)
    return case(text, message, form=form, where=EVERYWHERE, outcome="refused", section="tables")


TWO = task(ADA, region(0, 3, "PER"))
TWO["annotations"] = [*TWO["annotations"], *task(ADA, region(4, 8, "V"))["annotations"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        wrong({"text": "New York", "label": [[0, 8, "X"], [4, 8, "Y"]]}, r"a\.jsonl, line 1: the spans 'New York' .* are nested", "nested spans"),
        wrong([task(ADA, region(0, 3, "P"), region(0, 3, "Q"))], r"a\.json, item 1: the spans 'Ada' .* are the same words", "a span with two types"),
        wrong([TWO], r"item 1: 2 annotations that differ; keep one, or mark one as ground truth", "Label Studio's annotations that differ"),
        wrong(
            [task(ADA, {**region(0, 3, "P"), "value": {"start": 0, "end": 3, "labels": ["P", "Q"]}})],
            r"item 1: the span 0-3 .* has 2 labels \(P, Q\)",
            "a region of Label Studio with two labels",
        ),
        wrong(
            [task(ADA, {**region(0, 3, "P"), "type": "hypertextlabels"})],
            r"item 1: annotations of the kind 'hypertextlabels'; only 'labels'",
            "Label Studio's labels of html",
        ),
        wrong(
            [task(ADA, region(0, 3, "P"), {**region(0, 3, "P"), "to_name": "title"})],
            r"item 1: spans of several texts \(text, title\)",
            "Label Studio's labels of two texts",
        ),
        wrong(
            [{**task(ADA), "data": {"review": ADA}}],
            r"item 1: no column 'text' \(.*columns: review\); choose one by --word-column",
            "Label Studio's text under another name",
        ),
        wrong(
            [{**task(ADA), "annotations": [7]}],
            r"item 1: an annotation without a list 'result'; export the project as JSON",
            "Label Studio's annotations as numbers",
        ),
        wrong(
            [task("😀 Ada", region(3, 6, "PER", text="Ada"))],
            r"item 1: the offsets of the span \[3, 6, 'PER'\] count UTF-16 code units",
            "offsets in UTF-16 code units",
        ),
        wrong(
            {"text": "é Ada", "label": [[3, 6, "PER"]]}, r"line 1: the offsets of the span \[3, 6, 'PER'\] count bytes of UTF-8", "offsets in bytes"
        ),
        wrong(
            [task(ADA, region(1, 4, "PER", text="Ada"))],
            r"item 1: the span \[1, 4, 'PER'\] is 'Ada', the text has 'da ' there",
            "offsets that differ from the span's text",
        ),
        wrong(
            {"text": ADA, "label": [[0, 30, "X"]]},
            r"line 1: the span \[0, 30, 'X'\] is not within the text's 9 characters",
            "offsets beyond the text",
        ),
        wrong({"text": ADA, "label": [["0", 3, "X"]]}, r"line 1: a span in 'label' has the offset '0', expected a whole number", "offsets as text"),
        wrong({"text": ADA, "label": [[True, 3, "X"]]}, r"has the offset True", "offsets as booleans"),
        wrong({"text": ADA, "label": [[0.5, 3, "X"]]}, r"has the offset 0\.5", "offsets as fractions"),
        wrong({"text": ADA, "spans": [{"start": 0, "label": "X"}]}, r"line 1: a span in 'spans' has the offset None", "a span without an end"),
        wrong({"text": ADA, "label": [[0, 3]]}, r"line 1: 'label' holds \[0, 3\], expected a span \[start, end, type\] or", "a span without a type"),
        wrong({"text": ADA, "label": [[0, 3, 7]]}, r"line 1: the type of the span 0-3 in 'label' is 7; expected a name", "a type as a number"),
        wrong({"text": ADA, "label": [[0, 3, " "]]}, r"is ' '; expected a name, such as PER", "an empty type"),
        wrong(
            {"text": ADA, "label": "positive"},
            r"line 1: 'label' holds 'positive', expected a list of spans \[start, end, type\]; name another field",
            "a class in place of spans",
        ),
        wrong(
            {"text": ADA, "labels": ["positive"]},
            r"line 1: 'labels' holds 'positive', expected a span \[start, end, type\]",
            "classes in place of spans",
        ),
        wrong({"text": ADA, "tags": ["O", "O"]}, r"no field of spans \(.*\) among text, tags", "a text with a list of tags"),
        wrong({"text": ADA, "spans": "[{'start': 0}]"}, r"line 1: 'spans' holds a list that is written as text", "spans as text"),
        wrong(
            {"text": ADA, "lable": [[0, 3, "X"]]},
            r"a\.jsonl: no field of spans \(spans, entities, label, labels\) among text, lable; name it by --tag-column",
            "spans under another name",
        ),
        wrong(
            {"text": ADA, "label": [[0, 3, "X"]], "spans": [[0, 3, "X"]]},
            r"line 1: 'spans' and 'label' both hold spans; name one by",
            "spans in two fields",
        ),
        wrong({"text": ADA, "label": []}, r"a\.jsonl: none of its 1 texts has a span", "training texts without a span"),
        wrong(lines({"text": ADA, "label": [[0, 3, "X"]]}, {"label": []}), r"line 2: no column 'text'", "a row without its text"),
        wrong(
            lines({"text": ADA, "label": [[0, 3, "X"]]}, {"text": 7}),
            r"line 2: column 'text' holds 7 \(int\), not text",
            "a number in place of a text",
        ),
        wrong(prodigy(ADA, answer="maybe"), r"line 1: answer 'maybe'; expected 'accept', 'reject' or 'ignore'", "an unknown answer of Prodigy"),
        wrong(prodigy(ADA, _is_binary=True), r"line 1: the answer is about one span \(Prodigy's binary interface\)", "Prodigy's binary answers"),
        wrong(
            prodigy(ADA, {"start": 0, "end": 3, "label": "X"}, tokens=[{"text": "Ada", "start": 1, "end": 4}]),
            r"line 1: token 1 is 'Ada', the text has 'da ' there; correct",
            "tokens that differ from the text",
        ),
        wrong(
            {"text": ADA, "tokens": ["Ada", "."], "spans": [{"start": 0, "end": 3, "label": "X"}]},
            r"line 1: token 2 is '\.', the text has ' left\.' there",
            "tokens that leave out a word",
        ),
        wrong(
            {"tokenized_text": ["a"], "ner": [[0, 1, "X"]]},
            r"line 1: the span \[0, 1, 'X'\] in 'ner' is not within the 1 words; indices count words",
            "GLiNER's indices beyond the words",
        ),
        wrong({"tokenized_text": "a b", "ner": [[0, 1, "X"]]}, r"line 1: ", "GLiNER's words as text"),
        wrong(
            [["a", {"entities": [[0, 1, "X"]]}], ["b", 7]],
            r"a\.json, item 2: \['b', 7\] is no text with spans; expected \[text, \{",
            "a list of another form among spaCy's",
        ),
        wrong([["a", {"entities": [[0, 1, "X"]]}], None], r"a\.json, item 2: None is no text with spans", "null among spaCy's examples"),
        wrong('["a", {"entities": [[0, 1, "X"]]}]\n["b"\n', r"a\.jsonl, line 2: not valid JSON", "damaged jsonl of spaCy's examples"),
        wrong('[["a", {"entities": [[0, 1, "X"]]}]\n', r"a\.json: not valid JSON", "damaged .json of spaCy's examples"),
        wrong('["\\ud800", {"entities": []}]\n', r"line 1: \\ud800 is half of a character", "half a character in spaCy's examples"),
        wrong(
            {"text": "Berliner", "label": [[0, 6, "X"]]},
            r"a\.jsonl: none of its 1 records is left; give texts with spans that begin and end",
            "spans inside of words alone",
        ),
    ],
)
def test_wrong_files_are_named(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as raised:
        read(tmp_path, content)
    assert "\n" not in str(raised.value)


# ---- commands ----

PLACES = {"chef": "PER", "london": "LOC", "new river": "LOC"}


def doccano(count: int, **more: Any) -> str:
    rows = []
    for number in range(count):
        name = [*PLACES][number % 3]
        text = f"the {name} walked, in the meal."
        rows.append({"id": number, "text": text, "label": [[4, 4 + len(name), PLACES[name]]], **more})
    return lines(*rows)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on an export of doccano."""
    folder = tmp_path_factory.mktemp("spans")
    (folder / "train.jsonl").write_text(doccano(24))
    (folder / "dev.jsonl").write_text(doccano(6))
    words = ["--train", str(folder / "train.jsonl"), "--dev", str(folder / "dev.jsonl"), "--model", str(checkpoints()["discriminator"])]
    quick = ["--num-train-steps", "2", "--batch-size", "8", "--threads", "1", "--device", "cpu"]
    assert main(["finetune", "tagging", *words, *quick, "--output", str(folder / "run")]) == 0
    return folder


def test_a_model_is_trained_evaluated_and_answers_alike(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The gold words of an export are those that `predict` finds in its texts, so that its answers can be scored against it."""
    scores = json.loads((done / "run" / "scores.json").read_text())
    assert scores["main_metric"] == "f1"
    dev = done / "dev.jsonl"
    capsys.readouterr()
    assert main(["evaluate", str(done / "run"), "--task", "tagging", "--data", str(dev), "--json", "--per-class"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["LOC_support"] == 4 and found["PER_support"] == 2
    assert main(["predict", str(done / "run"), str(dev), "--json"]) == 0
    answers = capsys.readouterr().out
    (done / "answers.jsonl").write_text(answers)
    words = [[word["word"] for word in json.loads(line).get("predicted_words", json.loads(line).get("words"))] for line in answers.splitlines()]
    assert words == [list(e.words or ()) for e in read_tagged(dev, TagColumns(), "dev")]
    assert main(["evaluate", str(done / "answers.jsonl"), "--task", "tagging", "--data", str(dev), "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert {name: scored[name] for name in ("f1", "accuracy")} == {name: pytest.approx(found[name]) for name in ("f1", "accuracy")}


@pytest.mark.parametrize(
    "name",
    [
        case(name, form=FORMS[name][0], where="predict", outcome="exact", section="tables")
        for name in ("spacy.json", "spacy.jsonl", "studio.json", "gliner.json")
    ],
)
def test_predict_reads_exports_without_a_column_of_texts(name: str, done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text(FILES[name])
    (tmp_path / "same.jsonl").write_text(lines({"text": ADA}, {"text": NONE}, {"text": LONDON}))
    capsys.readouterr()
    outputs = []
    for file in (name, "same.jsonl"):
        assert main(["predict", str(done / "run"), str(tmp_path / file)]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] and outputs[0].count("\n\n") == 3


BAY = "In the U.S.\n\nhe doesn't"
OTHER_WORDS = {
    "prodigy.jsonl": lines(
        prodigy(BAY, {"start": 7, "end": 11, "label": "LOC"}, tokens=tokens(BAY, "In", "the", "U.S.", "\n\n", "he", "does", "n't"))
    ),
    "nothing-marked-yet.jsonl": lines({"text": BAY, "tokens": tokens(BAY, "In", "the", "U.S.", "\n\n", "he", "does", "n't")}),
    "words.jsonl": lines({"text": "I can't", "tokens": ["I", "ca", "n't"], "spans": [{"start": 0, "end": 1, "label": "PER"}]}),
    "gliner.jsonl": lines({"tokenized_text": ["I", "ca", " ", "n't"], "ner": [[0, 0, "PER"]]}),
    "lists.jsonl": lines({"text": "I can't", "tokens": ["I", "ca", "n't"], "ner_tags": ["B-PER", "O", "O"]}),
}
"""Exports whose words are not those of BERT's rules."""


@pytest.mark.parametrize("name", [*FILES, *(f"other {name}" for name in OTHER_WORDS)])
def test_predict_and_evaluate_read_the_same_words(name: str, done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name.removeprefix("other ")
    path.write_text(OTHER_WORDS[path.name] if name.startswith("other") else FILES[name])
    capsys.readouterr()
    assert main(["predict", str(done / "run"), str(path), "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [row.get("predicted_words", row.get("words")) for row in answers]
    examples = read_tagged(path, TagColumns(), "test")
    assert [[word["word"] for word in row] for row in found] == [list(example.words or ()) for example in examples]
    texts = [row.get("predicted_text", row.get("text")) for row in answers]
    assert all(text[word["start"] : word["end"]] == word["word"] for text, row in zip(texts, found, strict=True) for word in row)
    if any(example.label is not None for example in examples):
        assert main(["evaluate", str(done / "run"), "--task", "tagging", "--data", str(path), "--predictions", str(tmp_path / "out.jsonl")]) == 0
        recorded = [json.loads(line)["prediction"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert [[word["tag"] for word in row] for row in found] == recorded


def test_the_words_of_a_record_on_standard_input_are_read_too(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_text(OTHER_WORDS["prodigy.jsonl"])
    outputs = []
    for file in (str(tmp_path / "a.jsonl"), "-"):
        with (tmp_path / "a.jsonl").open() as stream:
            monkeypatch.setattr("sys.stdin", stream)
            capsys.readouterr()
            assert main(["predict", str(done / "run"), file]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] and "U.S." in outputs[0]


def test_words_that_are_not_those_of_their_text_are_refused(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = prodigy(ADA, {"start": 0, "end": 3, "label": "X"}, tokens=[{"text": "Ada", "start": 1, "end": 4}])
    (tmp_path / "a.jsonl").write_text(lines(row))
    capsys.readouterr()
    assert main(["predict", str(done / "run"), str(tmp_path / "a.jsonl")]) == 2
    assert "a.jsonl, line 1: token 1 is 'Ada'" in capsys.readouterr().err.splitlines()[-1]
    assert main(["predict", str(done / "run"), str(tmp_path / "a.jsonl"), "--text", "text"]) == 0, "a column that is named is read as a text"


def test_a_wrong_export_is_one_line_before_a_model_is_opened(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.jsonl").write_text(doccano(3) + lines({"text": "the chef", "label": [[4, 40, "PER"]]}))
    words = ["--train", str(tmp_path / "bad.jsonl"), "--dev", str(done / "dev.jsonl"), "--model", str(checkpoints()["discriminator"])]
    capsys.readouterr()
    assert main(["finetune", "tagging", *words, "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.endswith(
        "bad.jsonl, line 4: the span [4, 40, 'PER'] is not within the text's 8 characters; offsets count "
        "characters from 0, the end excluded: correct them\n"
    )
    assert not (tmp_path / "out").exists()
    assert main(["evaluate", str(done / "run"), "--task", "tagging", "--data", str(tmp_path / "bad.jsonl")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "bad.jsonl, line 4" in error


@conforms(form="predictions of a token classifier (predict --json)", where="inspect", outcome="exact", section="tables")
def test_answers_of_predict_are_no_export(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They hold entities, too, and are described as what they are."""
    capsys.readouterr()
    assert main(["predict", str(done / "run"), str(done / "dev.jsonl"), "--json"]) == 0
    (done / "again.jsonl").write_text(capsys.readouterr().out)
    described = describe_file(done / "again.jsonl")
    assert described is not None and described["kind"] != "tagged words"


@pytest.mark.realdata
@pytest.mark.parametrize("form", ["doccano", "Prodigy", "GLiNER"])
def test_conll_2000_comes_back(form: str, data_root: Path, tmp_path: Path) -> None:
    """Chunks as spans of characters, or of words: the same tags where the file names its words, the same characters where it does not."""
    from electra.tasks.tag_schemes import find_spans

    examples = read_tagged(data_root / "conll2000" / "test.txt", TagColumns(), "dev")[:300]
    rows: list[dict[str, Any]] = []
    wanted = []
    for example in examples:
        words, text = [*(example.words or ())], example.text
        places = [(token["start"], token["end"]) for token in tokens(text, *words)]
        chunks = find_spans([*(example.label or ())])  # type: ignore[misc]
        spans = [[places[chunk.first][0], places[chunk.end - 1][1], chunk.kind] for chunk in chunks]
        wanted.append(spans)
        if form == "doccano":
            rows.append({"text": text, "label": spans})
        elif form == "Prodigy":
            rows.append(prodigy(text, *({"start": a, "end": b, "label": kind} for a, b, kind in spans), tokens=tokens(text, *words)))
        else:
            rows.append({"tokenized_text": words, "ner": [[chunk.first, chunk.end - 1, chunk.kind] for chunk in chunks]})
    found = read(tmp_path, lines(*rows))
    if form != "doccano":
        assert [(e.words, e.label) for e in found] == [(e.words, e.label) for e in examples]
        return
    for example, spans in zip(found, wanted, strict=True):
        places = [(token["start"], token["end"]) for token in tokens(example.text, *(example.words or ()))]
        chunks = find_spans([*(example.label or ())])  # type: ignore[misc]
        assert [[places[chunk.first][0], places[chunk.end - 1][1], chunk.kind] for chunk in chunks] == spans
    alike = [(new.label, old.label) for new, old in zip(found, examples, strict=True) if new.words == old.words]
    assert len(alike) > 50 and all(new == old for new, old in alike)
