"""Spans of a text -> BIO2 tags: words are those that prediction sees, no span is moved, and wrong offsets are named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import tokenizers

from electra import bundled
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.tokenizer_files import bert_rules
from electra.errors import UserError
from electra.tasks.span_tags import AnnotatedSpan, AnnotatedText, SpanNotes, split_text, tag_words

ALPHABET = [
    *map(chr, range(33, 127)),
    *"éÀßİſ中文，。「한ไاعر\u0301\u200b\u200d\ufeff\u00a0\u2028\u3000\x00\t\n\u00ad\ufffd😀≠½ﬁ",
    "[MASK]",
    *" " * 30,
]


def texts(count: int) -> list[str]:
    rng = random.Random(1)
    return ["".join(rng.choice(ALPHABET) for _ in range(rng.randint(0, 25))) for _ in range(count)]


def test_words_are_those_of_prediction_with_any_vocabulary(tiny_vocab: Path) -> None:
    """Both the places of a raw text's words, and, of these words alone, the ids of the raw text."""
    for tokenizer in (load_tokenizer(tiny_vocab), load_tokenizer(bundled.folder("mini"))):
        for text in texts(1500):
            found = tokenizer.encode_words(text)
            assert split_text(text) == [place for _, place in found], text
            words = [text[start:end] for start, end in split_text(text)]
            assert [i for ids in tokenizer.encode(words) for i in ids] == [i for ids, _ in found for i in ids], text


def test_words_of_plain_text_are_those_of_berts_pre_tokenizer() -> None:
    pieces = tokenizers.pre_tokenizers.BertPreTokenizer()
    for text in ("EU rejects German call, to boycott British lamb.", "the U.K.-based firm's 1.5% (net)", " a  b\t\nc "):
        assert split_text(text) == [place for _, place in pieces.pre_tokenize_str(text)]
    assert split_text("") == split_text(" \u200b\n") == []


def test_a_cased_vocabulary_differs_where_accents_decompose_to_marks() -> None:
    """What docs/tagging.md says of cased models: U+2260 becomes '=' where accents are stripped, and stays a letter elsewhere."""
    cased = Tokenizer(bert_rules({piece: i for i, piece in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))}, lowercase=False))
    assert len(split_text("a≠b")) == 3 and len(cased.encode_words("a≠b")) == 1
    plain = [text for text in texts(1500) if not set(text) & set("≠\u0301")]
    assert all(split_text(text) == [place for _, place in cased.encode_words(text)] for text in plain)


def tagged(text: str, *spans: tuple[int, int, str] | tuple[int, int, str, str]) -> tuple[list[str] | None, SpanNotes]:
    notes = SpanNotes()
    found = tag_words(AnnotatedText(place="line 1", text=text, spans=[AnnotatedSpan(*span) for span in spans]), split_text(text), notes)
    return found, notes


@pytest.mark.parametrize(
    ("text", "spans", "tags"),
    [
        # The cases of spaCy's tests of `offsets_to_biluo_tags` with U, L written as BIO2 has them.
        ("I flew to London.", [(10, 16, "LOC")], "O O O B-LOC O"),
        ("I flew to San Francisco.", [(10, 23, "LOC")], "O O O B-LOC I-LOC O"),
        ("I flew to San Francisco Valley.", [(10, 30, "LOC")], "O O O B-LOC I-LOC I-LOC O"),
        ("Ada Turing", [(0, 3, "PER"), (4, 10, "PER")], "B-PER B-PER"),
        ("the U.S.-based firm", [(4, 8, "LOC")], "O B-LOC I-LOC I-LOC I-LOC O O O"),
        ("他在北京。", [(2, 4, "LOC")], "O O B-LOC I-LOC O"),
        ("😀 in Köln", [(5, 9, "LOC")], "O O B-LOC"),
        ("no entity", [], "O O"),
        ("Ada Ada", [(4, 7, "PER"), (4, 7, "PER")], "O B-PER"),
        ("Ada Ada", [(4, 7, "PER"), (0, 3, "PER")], "B-PER B-PER"),
    ],
)
def test_spans_become_tags(text: str, spans: list[tuple[int, int, str]], tags: str) -> None:
    found, notes = tagged(text, *spans)
    assert found == tags.split() and not notes.inside and not notes.spaces


def test_tags_hold_the_spans_that_seqeval_finds() -> None:
    entities = pytest.importorskip("seqeval.metrics.sequence_labeling").get_entities
    rng = random.Random(2)
    for text in texts(600):
        words, spans, at = split_text(text), [], 0
        while at < len(words):
            end = min(len(words), at + rng.randint(1, 3))
            if rng.random() < 0.5:
                spans.append((at, end, rng.choice(["PER", "LOC"])))
            at = end
        found, _ = tagged(text, *((words[a][0], words[b - 1][1], kind) for a, b, kind in spans))
        assert found is not None and [(first, last + 1, kind) for kind, first, last in entities(found)] == spans


def test_white_space_is_cut_off_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    found, notes = tagged("to  London \u200bnow", (2, 11, "LOC"), (11, 15, "TIME"))
    assert found == ["O", "B-LOC", "B-TIME"] and notes.spaces == ["line 1, '  London '", "line 1, '\\u200bnow'"]
    notes.say(Path("a.jsonl"), 7)
    assert capsys.readouterr().err == ("warning: a.jsonl: spans with white space at an end, which is cut off: 2; the first: line 1, '  London '\n")


def test_a_text_with_a_span_inside_a_word_is_left_out_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    found, notes = tagged("Berliner live in Berlin", (0, 6, "LOC"), (17, 23, "LOC"), (10, 13, "X"))
    assert found is None
    notes.say(Path("a.jsonl"), 7)
    assert capsys.readouterr().err == (
        "warning: a.jsonl: spans that begin or end inside a word: 2, so 1 of 7 texts are left out; the first: line 1, 'Berlin' in 'Berliner'; "
        "correct the offsets, or give the words as 'tokens'\n"
    )


@pytest.mark.parametrize(
    ("text", "spans", "message"),
    [
        (
            "New York",
            [(0, 8, "LOC"), (4, 8, "LOC")],
            r"line 1: the spans 'New York' \[0, 8, 'LOC'\] and 'York' \[4, 8, 'LOC'\] are nested; a word has",
        ),
        ("a b c", [(0, 3, "X"), (2, 5, "Y")], r"'a b' \[0, 3, 'X'\] and 'b c' \[2, 5, 'Y'\] overlap; a word has one tag, so keep one of them"),
        ("a b", [(0, 1, "X"), (0, 1, "Y")], r"are the same words; a word has one tag"),
        ("a b", [(0, 1, "X"), (0, 3, "Y")], r"are nested"),
        ("Berliner a", [(0, 10, "X"), (0, 6, "Y")], r"are nested"),
        ("Ada", [(0, 4, "X")], r"line 1: the span \[0, 4, 'X'\] is not within the text's 3 characters; offsets count characters from 0, the end"),
        ("Ada", [(-3, 3, "X")], r"\[-3, 3, 'X'\] is not within the text's 3 characters"),
        ("Ada", [(9, 12, "X")], r"\[9, 12, 'X'\] is not within"),
        ("Ada", [(2, 2, "X")], r"\[2, 2, 'X'\] is empty; offsets count"),
        ("Ada", [(3, 0, "X")], r"\[3, 0, 'X'\] is empty"),
        ("a  b", [(1, 3, "X")], r"\[1, 3, 'X'\] holds no word but '  '; offsets count characters"),
        ("Ada left", [(0, 3, "X", "left")], r"\[0, 3, 'X'\] is 'left', the text has 'Ada' there; offsets count characters"),
        # In UTF-16 an emoji counts 2, in UTF-8 4 and an umlaut 2.
        (
            "😀 in Köln",
            [(6, 10, "LOC", "Köln")],
            r"the offsets of the span \[6, 10, 'LOC'\] count UTF-16 code units, as JavaScript counts, expected char",
        ),
        (
            "😀 in Köln",
            [(8, 13, "LOC", "Köln")],
            r"the offsets of the span \[8, 13, 'LOC'\] count bytes of UTF-8, expected characters \(code points\)",
        ),
        ("😀 in Köln", [(6, 10, "LOC")], r"\[6, 10, 'LOC'\] count UTF-16 code units"),
        ("Köln am Rhein ja", [(0, 5, "LOC"), (9, 14, "LOC")], r"\[9, 14, 'LOC'\] count bytes of UTF-8|\[0, 5, 'LOC'\] count bytes of UTF-8"),
    ],
)
def test_wrong_spans_are_named(text: str, spans: list[tuple[int, int, str]], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        tagged(text, *spans)
    assert "\n" not in str(raised.value)


def test_line_ends_do_not_make_a_repeated_text_differ() -> None:
    found, _ = tagged("New\r\nYork", (0, 9, "LOC", "New York"))
    assert found == ["B-LOC", "I-LOC"]
