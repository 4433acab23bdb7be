"""Files of tagged words -> examples -> windows -> tags: equal to the original's, no word lost; fine-tuned from the command line."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import case, conforms
from tiny_models import checkpoints

from electra.cli import main
from electra.contracts import Example, Features, Head
from electra.data.tokenizer import load_tokenizer
from electra.data.windows import split_words
from electra.errors import UserError
from electra.finetuning.hyperparameters import resolve
from electra.settings import FinetuneSettings
from electra.tasks import input_spec
from electra.tasks.conll_files import TagColumns
from electra.tasks.custom import resolve_metric
from electra.tasks.input_spec import with_options
from electra.tasks.registry import TASKS, find_task
from electra.tasks.tag_schemes import find_spans
from electra.tasks.tagging import NO_TAG, decode_words, featurize_words, find_tags, scheme_lines, tagging_task, with_scheme

# ---- files ----

FILES = {
    "conll2000.txt": "Ada NNP B-PER\nleft VBD O\n\nLondon NNP B-LOC\n",
    "conll2003.txt": "-DOCSTART- -X- O O\n\nAda NNP I-NP B-PER\nleft VBD B-VP O\n\n-DOCSTART- -X- O O\nLondon NNP I-NP B-LOC\n\n\n",
    "windows.conll": "\ufeffAda B-PER\r\nleft O\r\n \r\nLondon B-LOC\r\n",
    "tabs.tsv": "# sent_id = 1\nAda\tB-PER\nleft\tO\n\n# 2\nLondon\tB-LOC\n",
    "universal.conllu": "# sent_id = 1\n# text = Ada left\n1-2\tAdaleft\t_\t_\t_\t_\t_\t_\t_\t_\n1\tAda\tada\tB-PER\tX\t_\t2\ta\t_\t_\n"
    "1.1\tnone\tnone\tVERB\t_\t_\t_\t_\t_\t_\n2\tleft\tleave\tO\tX\t_\t0\tb\t_\t_\n\n# sent_id = 2\n1\tLondon\tl\tB-LOC\tX\t_\t0\ta\t_\t_\n\n",
    "comment-rows.tsv": "#\thttp://example.org/1\t[2009-10-17]\textra\nAda\tB-PER\nleft\tO\n\n#\thttp://example.org/2\t[2009]\textra\nLondon\tB-LOC\n",
    "old-mac.txt": "Ada B-PER\rleft O\r\rLondon B-LOC\r",
    "header.tsv": "Word\tPOS\tTag\nAda\tNNP\tB-PER\nleft\tVBD\tO\n\nLondon\tNNP\tB-LOC\n",
    "plus.conllup": "# global.columns = ID FORM UPOS\n# sent_id = 1\n1-2\tAdaleft\t_\n1\tAda\tB-PER\n2\tleft\tO\n\n1\tLondon\tB-LOC\n",
    "mixed-ends.txt": "Ada B-PER\r\nleft O\n\rLondon B-LOC\r",
    "converted-twice.txt": "Ada B-PER\r\r\nleft O\r\r\n\r\r\nLondon B-LOC\r\r\n",
    "spaces.txt": "Ada   B-PER\nleft \t O \n   \nLondon  B-LOC\n",
    "documents.txt": "-DOCSTART- O\n\nAda B-PER\nleft O\n\n\n-DOCSTART- O\n\nLondon B-LOC\n",
    "no-break-space.tsv": "Ada\tB-PER\nleft\tO\n\u00a0\nLondon\tB-LOC\n",
    "list.json": '[{"words": ["Ada", "left"], "tags": ["B-PER", "O"]}, {"words": ["London"], "tags": ["B-LOC"]}]',
    "words.jsonl": '{"words": ["Ada", "left"], "tags": ["B-PER", "O"]}\n\n{"words": ["London"], "tags": ["B-LOC"]}\n',
    "tokens.jsonl": '{"tokens": ["Ada", "left"], "ner_tags": ["B-PER", "O"], "id": 3}\n{"tokens": ["London"], "ner_tags": ["B-LOC"]}\n',
}


FORMS = {
    "conll2000.txt": "CoNLL-2000's columns",
    "conll2003.txt": "CoNLL-2003's columns with -DOCSTART-",
    "windows.conll": "tag columns with a byte-order mark and CR LF",
    "tabs.tsv": "tag columns with comments (# sent_id)",
    "universal.conllu": "CoNLL-U with ranges and empty nodes",
    "comment-rows.tsv": "GermEval's comment rows (#)",
    "old-mac.txt": "tag columns with lines ended by CR",
    "header.tsv": "tag columns below a header",
    "plus.conllup": "CoNLL-U Plus (# global.columns)",
    "mixed-ends.txt": "tag columns with mixed ends of lines",
    "converted-twice.txt": "tag columns with CR CR LF",
    "spaces.txt": "tag columns with several blanks between them",
    "documents.txt": "-DOCSTART- with fewer columns",
    "no-break-space.tsv": "a no-break space alone between sentences",
    "list.json": "tags in a .json list",
    "words.jsonl": "tags in jsonl (words, tags)",
    "tokens.jsonl": "tags in jsonl (tokens, ner_tags)",
}
EVERYWHERE = ("finetune", "evaluate")


@pytest.mark.parametrize("name", [case(name, form=FORMS[name], where=EVERYWHERE, outcome="exact", section="tables") for name in FILES])
def test_layouts_mean_the_same(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name].encode())
    assert TASKS["tagging"].read(tmp_path / name, "train") == [
        Example(id="train-0", text="Ada left", words=("Ada", "left"), label=("B-PER", "O")),
        Example(id="train-1", text="London", words=("London",), label=("B-LOC",)),
    ]


def test_columns_are_chosen_and_odd_white_space_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 a\u00a0b X P\n2 # Y Q\n")
    (example,) = tagging_task(TagColumns(word="2", tag="3")).read(tmp_path / "a.txt", "dev")
    assert (example.words, example.label) == (("a\u00a0b", "#"), ("X", "Y"))
    (tmp_path / "b.tsv").write_text("#\tNN\nNew York\tNN\n")
    (example,) = tagging_task(TagColumns()).read(tmp_path / "b.tsv", "dev")
    assert example.words == ("#", "New York")
    (tmp_path / "c.jsonl").write_text('{"form": ["a"], "xpos": [3]}\n')
    (example,) = tagging_task(TagColumns(word="form", tag="xpos")).read(tmp_path / "c.jsonl", "dev")
    assert example.label == ("3",)


def test_tags_that_are_numbers_get_their_names(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"tokens": ["Ada", "left"], "ner_tags": [1, 0]}\n')
    (example,) = tagging_task(TagColumns(names=("O", "B-PER"))).read(tmp_path / "a.jsonl", "train")
    assert example.label == ("B-PER", "O")


@pytest.mark.parametrize(
    ("tags", "line"),
    [
        ("I-PER O I-PER B-PER", "tags: IOB1, 1 types (PER), scored by spans"),
        ("0 1 1 2", "tags: plain, scored by accuracy: 0, 1, 2; to score spans, name the numbers in order: --tag-names O B-PER ..."),
        ("I-PER O B-PER O", "tags: mixed, 1 types (PER), scored by spans"),
    ],
)
def test_the_scheme_is_recorded_and_printed(tags: str, line: str) -> None:
    examples = [Example(id="0", text="a b c d", words=("a", "b", "c", "d"), label=tuple(tags.split()))]
    task = with_scheme(tagging_task(TagColumns()), examples)
    assert scheme_lines(task, find_tags(examples))[0] == line
    assert input_spec.record(task, 64)[input_spec.RECORD]["tag_scheme"] == line.split()[1].rstrip(",")


def test_folders_and_sentences_without_tags(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        (tmp_path / f"{split}.conll").write_text("a X\nb Y\n")
    (tmp_path / "test.txt").write_text("a\nb\n\nc\n")
    task = TASKS["tagging"]
    assert [e.words for e in task.read(tmp_path, "test")] == [("a", "b"), ("c",)] and task.read(tmp_path, "test")[0].label is None
    assert task.read(tmp_path, "dev")[0].label == ("X", "Y")
    (tmp_path / "dev.txt").write_text("a X\n")
    with pytest.raises(UserError, match=r"has 2 files dev\.txt, dev\.conll"):
        task.read(tmp_path, "dev")


def wrong(content: str, columns: dict[str, object], message: str, form: str) -> object:
    return case(content, columns, message, form=form, where=EVERYWHERE, outcome="refused", section="tables")


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        wrong("a X\nb\n", {}, r"line 2: 1 columns, the lines before have 2; correct the line", "a word without its tag"),
        wrong("a X Y\n\nb X\n", {}, r"line 3: 2 columns, the lines before have 3", "a line with fewer columns"),
        wrong("a\nb\n", {}, r"line 1: 1 column, expected a word and its tag", "words without tags"),
        wrong(
            "a X\n",
            {"tag": "3"},
            r"line 1: no column '3' among 2; --tag-column is a number from 1 to 2, 'last', or a name in",
            "a column that is not there",
        ),
        wrong("a X\n", {"word": "0"}, r"no column '0' among 2; --word-column", "column 0"),
        wrong("word\ttag\na\tX\n", {"tag": "ner"}, r"line 2: no column 'ner' \(.*columns: word, tag\)", "a column's name that the header lacks"),
        wrong("a X\n", {"word": "last"}, r"both taken from column 2", "words and tags from one column"),
        wrong("a\tX\nb\t\n", {}, r"line 2: the tag is empty", "an empty tag"),
        wrong("a\tX\n\tX\n", {}, r"line 2: the word is empty", "an empty word"),
        wrong("-DOCSTART- O\n\n", {}, r"holds no words", "tag columns without words"),
        wrong("", {}, r"is empty", "an empty file of tags"),
        wrong(
            "Ada left\tB-PER O\n",
            {},
            r"line 1: a whole sentence \(2 words and 2 tags\) in one line; give a word and its tag a line",
            "a sentence and its tags in a line",
        ),
        wrong(
            "['Ada', 'left']\t['B-PER', 'O', 'O']\n",
            {},
            r"line 1: a whole sentence \(2 words and 3 tags\) in one line",
            "lists as text in two columns",
        ),
        wrong("Ada/B-PER left/O\n", {}, r"line 1: words and tags in one line, as 'Ada/B-PER'", "tagged text (word/TAG)"),
        wrong("EU|NNP rejects|VBZ German|JJ call|NN\n", {}, r"line 1: words and tags in one line, as 'EU\|NNP'", "tagged text (word|TAG)"),
        wrong("EU_NNP rejects_VBZ German_JJ call_NN\n", {}, r"line 1: words and tags in one line, as 'EU_NNP'", "tagged text (word_TAG)"),
        wrong(
            "1\ta\tO\tO\n2\tb\tO\tO\n3\tc\tB-X\tO\n",
            {},
            r"the first column counts the words .* --word-column 2 --tag-column 3",
            "a first column that counts words (GermEval)",
        ),
        wrong(
            "1 EU NNP I-NP I-ORG\n2 rejects VBZ I-VP O\n3 German JJ I-NP I-MISC\n",  # github.com/XuezheMax/NeuroNLP2/issues/14
            {},
            r"the first column counts the words \(1, 2, 3, ...\)",
            "CoNLL-2003 with a column of word numbers",
        ),
        wrong("a (PER*\nb *)\nc *\n", {}, r"tags are brackets, as '\(PER\*' of CoNLL-2012", "tags as brackets (CoNLL-2012)"),
        wrong(
            "a 7\n",
            {"names": ("O", "B-X")},
            r"sentence 1: tag '7' is neither one of --tag-names nor a number from 0 to 1",
            "a number beyond --tag-names",
        ),
        wrong("a X\0\n", {}, r"binary", "a binary file as tags"),
        wrong('{"words": ["a", "b"], "tags": ["X"]}\n', {}, r"line 1: 2 words but 1 tags", "lists of unequal length"),
        wrong('{"words": ["a", "b"], "tags": ["X", ""]}\n', {}, r"line 1: the tag of word 2 \('b'\) is empty", "an empty tag in a list"),
        wrong('{"words": ["a", "b"], "tags": ["X", null]}\n', {}, r"line 1: the tag of word 2 \('b'\) is missing", "a null among tags"),
        wrong(
            '{"words": ["a", "b"], "tags": [3, -100]}\n',
            {},
            r"line 1: the tag of word 2 \('b'\) is missing \(-100\)",
            "-100 among tags (tokenized data)",
        ),
        wrong('{"words": ["a"], "tags": [0.5]}\n', {}, r"line 1: column 'tags' holds the number 0\.5", "a fraction among tags"),
        wrong('{"words": ["a"], "tags": [true]}\n', {}, r"line 1: column 'tags' holds \[True\], expected a list of texts", "booleans as tags"),
        wrong('{"words": [["a"]], "tags": [["X"]]}\n', {}, r"expected a list of texts", "lists of lists as words"),
        wrong('{"words": "[\'a\', \'b\']", "tags": "[0, 1]"}\n', {}, r"holds a list that is written as text", "lists that pandas wrote as text"),
        wrong(
            '{"word": ["a"], "tags": ["X"]}\n',
            {},
            r"line 1: no column 'words' \(did you mean 'word'\? columns: word, tags\); choose one by --word-column",
            "words under another name",
        ),
        wrong(
            '{"words": ["a"], "tag": ["X"]}\n',
            {},
            r"no column 'tags' \(did you mean 'tag'\? columns: words, tag\); choose one by --tag-column",
            "tags under another name",
        ),
        wrong('{"words": "a", "tags": ["X"]}\n', {}, r"column 'words' holds 'a', expected a list of texts", "a text in place of a list"),
        wrong('{"words": [null], "tags": ["X"]}\n', {}, r"line 1: word 1 has no value \(null\)", "a null among words"),
        wrong('{"words": ["a"]\n', {}, r"not valid JSON", "tags in damaged jsonl"),
    ],
)
def test_wrong_files_are_named(content: str, columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.jsonl" if content.startswith("{") else "a.txt")
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        tagging_task(TagColumns(**columns)).read(path, "train")


SENTENCES = {"tokens": [["Ada", "left"], ["London"]], "ner_tags": [["B-PER", "O"], ["B-LOC"]]}
NUMBERED = {"tokens": SENTENCES["tokens"], "ner_tags": [[1, 0], [2]]}
TAG_NAMES = ["O", "B-PER", "B-LOC"]


def saved(kind: str, folder: Path) -> Path:
    """The sentences as another library writes them."""
    datasets, pandas = pytest.importorskip("datasets"), pytest.importorskip("pandas")
    classes = datasets.List(datasets.ClassLabel(names=TAG_NAMES))
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": classes})
    path = folder / kind
    if kind.startswith("numbers"):
        pandas.DataFrame(NUMBERED).to_parquet(path)
    elif kind.startswith("classes"):
        numbered = datasets.Dataset.from_dict(NUMBERED, features=features)
        {".parquet": numbered.to_parquet, ".arrow": lambda p: numbered.save_to_disk(str(p)), ".jsonl": numbered.to_json}[path.suffix](path)
    elif kind.startswith("dict"):
        datasets.DatasetDict({name: datasets.Dataset.from_dict(NUMBERED, features=features) for name in ("train", "validation")}).save_to_disk(
            str(path)
        )
    elif kind.endswith(".feather"):
        pandas.DataFrame(SENTENCES).to_feather(path)
    elif kind.endswith(".parquet"):
        pandas.DataFrame(SENTENCES).to_parquet(path)
    elif kind.endswith(".arrow"):
        datasets.Dataset.from_dict(SENTENCES).save_to_disk(str(path))
    else:
        pandas.DataFrame(SENTENCES).to_json(path, orient="records", lines=".jsonl" in kind, force_ascii=False)
    return path


def table(kind: str, form: str, **columns: object) -> object:
    return case(kind, columns, form=form, where=EVERYWHERE, outcome="exact", section="tables")


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        table("texts.parquet", "tags in parquet of pandas"),
        table("texts.feather", "tags in Feather of pandas"),
        table("texts.jsonl", "tags in jsonl of pandas"),
        table("texts.jsonl.gz", "tags in .jsonl.gz"),
        table("texts.json", "tags in .json of pandas (a list of records)"),
        table("texts.arrow", "tags in a folder of save_to_disk"),
        table("classes.parquet", "integer tags with ClassLabel names, parquet"),
        table("classes.arrow", "integer tags with ClassLabel names, save_to_disk"),
        table("dict", "a DatasetDict of save_to_disk with train and validation"),
        table("classes.jsonl", "integer tags without names (to_json) and --tag-names", names=tuple(TAG_NAMES)),
        table("numbers.parquet", "integer tags in parquet and --tag-names", names=tuple(TAG_NAMES)),
        table("classes-renamed.parquet", "--tag-names in place of ClassLabel names", names=("O", "B-X", "B-Y")),
    ],
)
def test_tables_of_other_libraries(kind: str, columns: dict[str, Any], tmp_path: Path) -> None:
    task, path = tagging_task(TagColumns(**columns)), saved(kind, tmp_path)
    labels = [[columns["names"][i] for i in row] for row in NUMBERED["ner_tags"]] if columns else SENTENCES["ner_tags"]
    for split in ("train", "dev") if kind == "dict" else ("train",):
        examples = task.read(path, split)
        assert [list(e.words or ()) for e in examples] == SENTENCES["tokens"]
        assert [list(e.label or ()) for e in examples] == labels  # type: ignore[arg-type]


@conforms(form="nested lists by dotted names (doc.words)", where=EVERYWHERE, outcome="exact", section="tables")
def test_nested_fields_and_hidden_tags(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    (tmp_path / "a.jsonl").write_text('{"doc": {"words": ["Ada"], "tags": [1.0]}}\n')
    (example,) = tagging_task(TagColumns(word="doc.words", tag="doc.tags", names=("O", "B-PER"))).read(tmp_path / "a.jsonl", "train")
    assert (example.words, example.label) == (("Ada",), ("B-PER",))
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(datasets.ClassLabel(names=TAG_NAMES))})
    datasets.Dataset.from_dict({"tokens": [["Ada"]], "ner_tags": [[-1]]}, features=features).to_parquet(tmp_path / "test.parquet")
    (hidden,) = TASKS["tagging"].read(tmp_path / "test.parquet", "test")
    assert hidden.label is None
    with pytest.raises(UserError, match=r"the tag of word 1 \('Ada'\) is missing \(null or -1\)"):
        TASKS["tagging"].read(tmp_path / "test.parquet", "dev")


@conforms(form="a csv of words and tags", where=EVERYWHERE, outcome="refused", section="tables")
def test_files_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Sentence #,Word,Tag\nSentence: 1,Ada,B-PER\n")
    with pytest.raises(UserError, match=r"a\.csv: csv has no lists; give jsonl or parquet with lists"):
        TASKS["tagging"].read(tmp_path / "a.csv", "train")
    (tmp_path / "a.txt").write_text('{"tokens": ["a"], "tags": ["O"]}\n')
    with pytest.raises(UserError, match=r"line 1: JSON in a file of columns; name it \.jsonl"):
        TASKS["tagging"].read(tmp_path / "a.txt", "train")
    (tmp_path / "b.txt").write_bytes("a O\n".encode("utf-16"))
    with pytest.raises(UserError, match=r"b\.txt is UTF-16 text, expected UTF-8; convert it"):
        TASKS["tagging"].read(tmp_path / "b.txt", "train")
    (tmp_path / "universal.conllu").write_text("1\tAda\tada\tNOUN\tNNP\t_\t0\troot\t_\t_\n")
    (example,) = tagging_task(TagColumns(tag="xpos")).read(tmp_path / "universal.conllu", "train")
    assert (example.words, example.label) == (("Ada",), ("NNP",))


def test_a_tag_that_training_never_showed(tiny_vocab: Path) -> None:
    tokenizer = load_tokenizer(tiny_vocab)
    head = Head(kind="tagging", labels=("B-PER", "E-PER", "O"))
    with pytest.raises(UserError, match=r"sentence dev-0, word 'meal': tag 'B-PRE' is none of the training sentences'; did you mean 'B-PER'"):
        featurize_words([Example(id="dev-0", text="the meal", words=("the", "meal"), label=("O", "B-PRE"))], tokenizer, 16, head)
    (known_type,) = featurize_words([Example(id="dev-0", text="the", words=("the",), label=("I-PER",))], tokenizer, 16, head)
    assert known_type.token_labels == [NO_TAG, NO_TAG, NO_TAG], "it can only be answered wrongly, and is not learned from"


# ---- features ----


@pytest.mark.realdata
def test_chunking_features_equal_the_originals(data_root: Path, reference_root: Path) -> None:
    expected = json.loads((reference_root / "tf1-features" / "chunk.json").read_text())
    task = with_options(find_task("CoNLL-2000"), {"token_segment": 1})
    examples = task.read(data_root / "conll2000", "train")
    assert len(examples) == expected["examples_in_total"]
    head = task.head(examples)
    assert {label: number for number, label in enumerate(head.labels)} == expected["label_mapping"]
    tokenizer = load_tokenizer(data_root / "vocab" / "uncased-en.txt")
    length = expected["settings"]["max_seq_length"]
    cut = 0
    features = task.featurize(examples[: len(expected["features"])], tokenizer, length, head)
    for example, feature, wanted in zip(examples[: len(features)], features, expected["features"], strict=True):
        assert list(example.words or ()) == wanted["words"] and feature.word_ids is not None and feature.token_labels is not None
        positions = [token for token, word in enumerate(feature.word_ids) if word >= 0]
        ids, labels = list(feature.ids), [feature.token_labels[token] for token in positions]
        kept = len(wanted["input_ids"])
        if len(ids) > kept:
            # The original counts the sentence's words on top of the tokens written so far, and so cuts some that would fit.
            assert len(wanted["words"]) + 2 + kept > length
            ids, positions, labels = [*ids[: kept - 1], tokenizer.sep_id], positions[: len(wanted["labels"])], labels[: len(wanted["labels"])]
            cut += 1
        assert (ids, positions, labels) == (wanted["input_ids"], wanted["labeled_positions"], wanted["labels"])
        assert list(feature.segments)[:kept] == wanted["segment_ids"]
    assert cut == 1
    assert set(TASKS["chunk"].featurize(examples[:1], tokenizer, length, head)[0].segments) == {0}, "a segment of 1 is asked for"


@pytest.mark.realdata
@pytest.mark.parametrize("max_length", [16, 128])
def test_every_word_of_conll2000_is_learned_and_decided_once(max_length: int, data_root: Path) -> None:
    task = TASKS["chunk"]
    tokenizer = load_tokenizer(data_root / "vocab" / "uncased-en.txt")
    sizes = []
    for split in ("train", "dev"):
        examples = task.read(data_root / "conll2000", split)
        head = task.head(examples)
        features = task.featurize(examples, tokenizer, max_length, head)
        learned: list[list[str]] = [[] for _ in examples]
        for feature in features:
            assert len(feature.ids) <= max_length and feature.word_ids is not None and feature.token_labels is not None
            for token, (word, label) in enumerate(zip(feature.word_ids, feature.token_labels, strict=True)):
                decides = feature.has_most_context is None or feature.has_most_context[token]
                assert (label != NO_TAG) == (word >= 0 and decides)
                if label != NO_TAG:
                    assert word == len(learned[feature.example]), "each once, in order"
                    learned[feature.example].append(head.labels[label])
        assert [tuple(tags) for tags in learned] == [example.label for example in examples]
        sizes.append((len(examples), sum(map(len, learned)), len(features)))
    assert [size[:2] for size in sizes] == [(8936, 211727), (2012, 47377)]
    assert [size[2] for size in sizes] == ([24355, 5527] if max_length == 16 else [8936, 2012])


@pytest.mark.realdata
def test_chunks_in_bioes_are_the_official_ones(data_root: Path) -> None:
    for split, file in (("train", "train.txt"), ("dev", "test.txt")):
        official = tagging_task(TagColumns(), {split: data_root / "conll2000" / file}).read(data_root, split)
        for before, after in zip(official, TASKS["chunk"].read(data_root / "conll2000", split), strict=True):
            assert before.words == after.words and find_spans(before.label or ()) == find_spans(after.label or ())  # type: ignore[arg-type]


def test_the_dev_file_of_the_originals_folder_comes_first(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("a DT B-NP\nb NN I-NP\n")
    assert TASKS["chunk"].read(tmp_path, "dev")[0].label == ("B-NP", "E-NP")
    (tmp_path / "dev.txt").write_text("a DT B-NP\n")
    assert TASKS["chunk"].read(tmp_path, "dev")[0].label == ("S-NP",)


def test_windows_decide_words_where_they_have_most_context() -> None:
    rng = random.Random(2)
    for _ in range(300):
        lengths = [rng.choice([1, 1, 2, 3, 30]) for _ in range(rng.randint(0, 60))]
        capacity = rng.randint(1, 20)
        windows = split_words(lengths, capacity)
        sizes = [min(length, capacity) for length in lengths]
        owned = [word for window in windows for word in range(window.first, window.last)]
        assert owned == list(range(len(lengths)))
        for window in windows:
            assert sum(sizes[window.start : window.stop]) <= capacity or len(windows) == 1
            assert window.start <= window.first and window.last <= window.stop and (window.first < window.last or not lengths)
        for window in windows:
            for word in range(window.first, window.last):
                contexts = [
                    min(sum(sizes[w.start : word]), sum(sizes[word : w.stop]) - 1) if w.start <= word < w.stop else -1 for w in [window, *windows]
                ]
                assert contexts[0] == max(contexts)


def test_a_word_without_tokens_is_learned_and_answered(tiny_vocab: Path) -> None:
    tokenizer = load_tokenizer(tiny_vocab)
    head = Head(kind="tagging", labels=("X", "Y"))
    example = Example(id="0", text="", words=("the", "\x01", "cooking", ""), label=("X", "Y", "X", "Y"))
    (feature,) = featurize_words([example], tokenizer, 16, head)
    assert [tokenizer.pieces[i] for i in feature.ids] == ["[CLS]", "the", "[UNK]", "c", "##o", "##o", "##k", "##ing", "[UNK]", "[SEP]"]
    assert feature.word_ids == [-1, 0, 1, 2, -1, -1, -1, -1, 3, -1] and feature.has_most_context is None
    assert feature.token_labels == [-100, 0, 1, 0, -100, -100, -100, -100, 1, -100]


def test_tags_come_from_the_windows_that_decide() -> None:
    head = Head(kind="tagging", labels=("X", "Y"))
    features = [
        Features(ids=[0] * 4, segments=[0] * 4, example=0, word_ids=[-1, 0, 1, -1], has_most_context=[False, True, False, False]),
        Features(ids=[0] * 5, segments=[0] * 5, example=0, word_ids=[-1, 0, 1, 2, -1], has_most_context=[False, False, True, True, False]),
        Features(ids=[0] * 3, segments=[0] * 3, example=1, word_ids=[-1, 0, -1]),
    ]
    answers = ["XXXX", "XYYXX", "XYX"]
    outputs = [np.array([[a == "X", a == "Y"] for a in row], np.float32) for row in answers]
    examples = [Example(id="0", text="", words=("a", "b", "c")), Example(id="1", text="", words=("d",))]
    first, second = decode_words(outputs, features, examples, head)
    assert (first.label, first.num_windows) == (("X", "Y", "X"), 2) and (second.label, second.num_windows) == (("Y",), 1)


@conforms(form="--constrained on a B and I model without a recorded scheme", where="predict", outcome="exact", section="tables")
def test_an_assumed_scheme_is_said_and_a_recorded_one_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    head = Head(kind="tagging", labels=("B-PER", "I-PER", "O"))
    features = [Features(ids=[0] * 4, segments=[0] * 4, example=0, word_ids=[-1, 0, 1, -1])]
    outputs = [np.array([[0, 0, 0], [0, 5, 0], [0, 5, 0], [0, 0, 0]], np.float32)]
    examples = [Example(id="0", text="", words=("a", "b"))]
    for scheme, tags in (("", ("B-PER", "I-PER")), ("IOB1", ("I-PER", "I-PER")), ("BIO2", ("B-PER", "I-PER"))):
        (found,) = decode_words(outputs, features, examples, head, constrained=True, tag_scheme=scheme)
        assert found.label == tags
        assert ("records no scheme of tags, and --constrained takes BIO2" in capsys.readouterr().err) == (not scheme)


# ---- recipes and commands ----


def test_recipes_for_chunking() -> None:
    settings = FinetuneSettings(task="chunk", model="m", output=Path("o"))
    paper, code = resolve(settings, "chunk", 256), resolve(replace(settings, preset="original-code"), "chunk", 256)
    assert (paper.max_length, paper.token_segment, code.max_length, code.token_segment) == (256, 0, 256, 1)
    assert resolve_metric(TASKS["tagging"], Head(kind="tagging", labels=("NN", "VB"))).main_metric == "accuracy"
    assert resolve_metric(TASKS["tagging"], Head(kind="tagging", labels=("B-X", "O"))).main_metric == "f1"


NAMES = {"chef": "B-PER", "actor": "B-PER", "london": "B-LOC", "paris": "B-LOC"}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.txt and dev.txt in which the word alone decides its tag, and a long sentence."""
    folder = tmp_path_factory.mktemp("names")
    rng = random.Random(5)
    for name, count in (("train", 120), ("dev", 20)):
        sentences = [[rng.choice([*NAMES, "the", "and", "walked", "in"]) for _ in range(rng.choice([4, 7, 60]))] for _ in range(count)]
        rows = ["".join(f"{word} X {NAMES.get(word, 'O')}\n" for word in words) for words in sentences]
        (folder / f"{name}.txt").write_text("\n".join(rows))
    return folder


def finetune(output: Path, *more: str, start: Path | None = None) -> int:
    words = [
        "--model",
        str(start or checkpoints()["discriminator"]),
        "--output",
        str(output),
        "--batch-size",
        "16",
        "--threads",
        "1",
        "--device",
        "cpu",
    ]
    quick = ["--layerwise-lr-decay", "1", "--dropout", "0", "--learning-rate", "2e-3"]
    return main(["finetune", *more, *words, *quick])


@pytest.fixture(scope="module")
def done(names: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on user-defined tags."""
    output = tmp_path_factory.mktemp("runs") / "ner"
    assert finetune(output, "tagging", "--train", str(names / "train.txt"), "--dev", str(names / "dev.txt"), "--epochs", "4") == 0
    return output


def test_user_tags_are_learned_from_sentences_of_any_length(done: Path, names: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = json.loads((done / "scores.json").read_text())
    assert scores["main_metric"] == "f1" and scores["scores"]["f1"]["mean"] > 0.95
    rows = [json.loads(line) for line in (done / "predictions.jsonl").read_text().splitlines()]
    assert all(len(row["label"]) == len(row["prediction"]) for row in rows) and max(len(row["label"]) for row in rows) == 60
    card = (done / "best" / "README.md").read_text()
    assert "token-classification" in card and "AutoModelForTokenClassification" in card
    capsys.readouterr()
    assert main(["evaluate", str(done), "--task", "tagging", "--data", str(names / "dev.txt"), "--json", "--per-class"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: found[name] for name in scores["scores"]} == {name: pytest.approx(s["mean"]) for name, s in scores["scores"].items()}
    assert found["PER_support"] + found["LOC_support"] == sum(tag != "O" for row in rows for tag in row["label"])


@conforms(form="a file of any name with tags", where=("evaluate", "predict"), outcome="exact", section="tables")
def test_one_file_of_tags_is_read_whatever_its_name(done: Path, names: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns, jsonl and a saved data set give the same scores, and `predict` reads their words alone, not the tags as words."""
    datasets = pytest.importorskip("datasets")
    (tmp_path / "some.txt").write_text("the X O\nchef X B-PER\n\nlondon X B-LOC\nand X O\nthe X O\n")
    (tmp_path / "some.conll").write_bytes((tmp_path / "some.txt").read_bytes())
    rows = {"tokens": [["the", "chef"], ["london", "and", "the"]], "ner_tags": [["O", "B-PER"], ["B-LOC", "O", "O"]]}
    table = datasets.Dataset.from_dict(rows)
    table.save_to_disk(str(tmp_path / "saved"))
    table.to_json(tmp_path / "some.jsonl")
    capsys.readouterr()
    found, predicted = [], []
    for name in ("some.txt", "some.conll", "some.jsonl", "saved"):
        assert main(["evaluate", str(done), "--task", "tagging", "--data", str(tmp_path / name), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
        assert main(["predict", str(done), str(tmp_path / name)]) == 0
        captured = capsys.readouterr()
        predicted.append(captured.out)
        assert ("read as words and tags in columns" in captured.err) == (name == "some.txt")
    assert found[1:] == found[:1] * 3 and found[0]["f1"] > 0
    assert predicted[1:] == predicted[:1] * 3
    assert [line.partition("\t")[0] for line in predicted[0].splitlines()] == ["the", "chef", "", "london", "and", "the", ""]
    (tmp_path / "texts.txt").write_text("the chef\nand london\nthe chef\nand paris\nthe chef\n")
    assert main(["predict", str(done), str(tmp_path / "texts.txt")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("\t")[0] for line in lines[:6]] == ["the", "chef", "", "and", "london", ""], "few last words, but no tags"


def test_evaluate_refuses_what_does_not_fit(done: Path, names: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dev.txt").write_text("the O\nchef B-ORG\n")
    for words, message in (
        ([str(done), "--task", "tagging", "--data", str(tmp_path)], "tag 'B-ORG'"),
        ([str(done), "--task", "tagging", "--data", str(names), "--tag-column", "9"], "no column '9'"),
        ([str(checkpoints()["classifier"]), "--task", "tagging", "--data", str(names)], "is made for classification, tagging asks for tagging"),
        ([str(done), "--task", "sst2", "--data", str(names)], "sst2"),
    ):
        assert main(["evaluate", *words]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and (message in error or message == "sst2"), error


def test_another_benchmarks_folder_is_no_chunking(tmp_path: Path) -> None:
    """Its labels would pass for words outside of all chunks."""
    task = find_task("chunk")
    for name, content, tag in (("tsv", "sentence\tlabel\na fine film\t1\n", "1"), ("txt", "the DT B-PER\nmeal NN I-PER\n", "B-PER")):
        (tmp_path / f"train.{name}").write_text(content)
        with pytest.raises(UserError, match=f"tag '{tag}' is none of CoNLL-2000's"):
            task.read(tmp_path, "train")
        (tmp_path / f"train.{name}").unlink()
    (tmp_path / "train.txt").write_text("the DT B-NP\nmeal NN I-NP\nand CC O\n")
    assert task.read(tmp_path, "train")[0].label == ("B-NP", "E-NP", "O")


def test_finetune_refuses_bad_files_before_a_model_is_opened(names: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = str(names / "dev.txt")
    bad = {"few.txt": b"a X O\nb O\n", "empty.txt": b"", "binary.txt": b"\x00\x01\xff" * 50, "unknown.txt": b"a X B-ORG\n"}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    cases = [
        (["--train", "few.txt", "--dev", good], "few.txt, line 2: 2 columns"),
        (["--train", good, "--dev", "empty.txt"], "empty.txt is empty"),
        (["--train", "binary.txt", "--dev", good], "binary.txt"),
        (["--train", good, "--dev", "unknown.txt"], "tag 'B-ORG'"),
        (["--train", good, "--dev", good, "--tag-column", "7"], "no column '7'"),
        (["--train", good], "--dev FILE"),
        (["--train", str(names), "--dev", good], "is a folder"),
    ]
    for words, message in cases:
        argv = [str(tmp_path / word) if word in bad else word for word in words]
        assert finetune(tmp_path / "out", "tagging", *argv) == 2, message
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
        assert not (tmp_path / "out").exists()


def test_plain_tags_and_jsonl(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        rows = [{"tokens": ["the", "chef", "walked"], "pos": ["DT", "NN", "VB"]}, {"tokens": ["the", "river"], "pos": ["DT", "NN"]}]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert finetune(tmp_path / "run", "tagging", "--data", str(tmp_path), "--tag-column", "pos", "--num-train-steps", "40") == 0
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["main_metric"] == "accuracy" and set(scores["scores"]) == {"accuracy", "macro_f1"} and scores["scores"]["accuracy"]["mean"] == 1


@pytest.mark.realdata
def test_chunking_end_to_end(data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A random network learns some of CoNLL-2000 from 200 sentences, as the original reads them (segments of 1)."""
    from electra.model.encoder import Encoder, EncoderConfig
    from electra.model.huggingface import reinitialize, save_checkpoint
    from electra.model.objectives import Discriminator

    tokenizer = load_tokenizer(data_root / "vocab" / "uncased-en.txt")
    sizes = {"embedding_size": 32, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    module = Discriminator(Encoder(EncoderConfig(vocab_size=tokenizer.vocab_size, max_position_embeddings=64, initializer_range=0.1, **sizes)))
    reinitialize(module, 7)
    save_checkpoint(module, tmp_path / "start")
    tokenizer.save(tmp_path / "start")
    for file, count in (("train.txt", 300), ("test.txt", 60)):
        sentences = (data_root / "conll2000" / file).read_text().split("\n\n")
        (tmp_path / file).write_text("\n\n".join(sentences[:count]) + "\n")
    assert (
        finetune(tmp_path / "run", "conll2000", "--data", str(tmp_path), "--preset", "original-code", "--epochs", "4", start=tmp_path / "start") == 0
    )
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["scores"]["accuracy"]["mean"] > 0.45 and scores["scores"]["f1"]["mean"] > 0.3, "the most frequent tag alone: 0.2 and 0.1"
    assert json.loads((tmp_path / "run" / "best" / "config.json").read_text())["electra_input_spec"]["token_segment"] == 1
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), "--task", "chunk", "--data", str(tmp_path), "--json", "--sequence-length", "64"]) == 0
    assert json.loads(capsys.readouterr().out) == {name: pytest.approx(s["mean"]) for name, s in scores["scores"].items()}
