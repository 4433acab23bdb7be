"""Every kind of corpus -> the documents written by hand; nothing lost in silence."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance import case, conforms

from electra.cli import main
from electra.data import documents, sources
from electra.data.documents import read_documents, sample_texts
from electra.data.prepare_chunk import PreparePlan, read_chunks
from electra.data.shards import open_shards
from electra.data.sources import CorpusReport, estimate_text_bytes
from electra.errors import UserError
from electra.settings import VocabSettings

TEXT = "One line.\nIts second line.\n\n\nAnother document.\r\n \nLast, without an end"
DOCUMENTS = [["One line.", "Its second line."], ["Another document."], ["Last, without an end"]]


def read(*names: Path | str, report: CorpusReport | None = None, **options: str) -> list[list[str]]:
    return [d.lines for d in read_documents([str(n) for n in names], report=report, **options)]


def zstd(data: bytes) -> bytes:
    return bytes(pytest.importorskip("zstandard").ZstdCompressor().compress(data))


COMPRESS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress, ".zst": zstd}


@pytest.mark.parametrize("ending", COMPRESS)
def test_compressions_give_the_same_documents(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.txt{ending}"
    file.write_bytes(COMPRESS[ending](TEXT.encode()))
    report = CorpusReport()
    assert read(file, report=report) == DOCUMENTS
    assert (report.documents, report.text_bytes, report.fraction, report.problems) == (3, len(TEXT.encode()), 1.0, {})


@pytest.mark.parametrize("ending", [".gz", ".xz", ".bz2", ".zst"])
def test_two_streams_end_to_end(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.txt{ending}"
    half = len(TEXT.encode()) // 2
    file.write_bytes(COMPRESS[ending](TEXT.encode()[:half]) + COMPRESS[ending](TEXT.encode()[half:]))
    assert read(file) == DOCUMENTS


@pytest.mark.parametrize("ending", [".gz", ".xz", ".bz2", ".zst"])
def test_a_truncated_file_is_reported_and_the_others_are_read(ending: str, tmp_path: Path) -> None:
    whole = COMPRESS[ending]("".join(f"line {i} {i * 7919 % 1009}\n\n" for i in range(3000)).encode())
    (tmp_path / f"a.txt{ending}").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "b.txt").write_text(TEXT)
    report = CorpusReport()
    assert read(tmp_path, report=report)[-3:] == DOCUMENTS
    problem = report.problems["files that could not be read"]
    assert problem["count"] == 1
    assert problem["places"][0].startswith(f"a.txt{ending}: after ")
    assert "a.txt" in report.lines()[0]


def test_document_rules(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a\nb\n\nc<br />d\n")
    assert read(file, documents="blank-line") == [["a", "b"], ["c<br />d"]]
    assert read(file, documents="line") == [["a"], ["b"], ["c<br />d"]]
    assert read(file, documents="file") == [["a", "b", "c", "d"]]
    assert read(file) == [["a", "b"], ["c<br />d"]]
    file.write_text("a\nb\nc\n\n\n")
    assert read(file) == [["a"], ["b"], ["c"]]
    file.write_text("Great.<br /><br />Really<br>!")
    assert read(file) == [["Great.", "Really", "!"]]


def test_wikitext_titles_start_documents(tmp_path: Path) -> None:
    file = tmp_path / "wiki.test.tokens"
    file.write_text(" \n = Homarus gammarus = \n \n It is a lobster . \n \n = = Size = = \n x = 5 = y \n \n = A = \n \n Text . \n")
    report = CorpusReport()
    assert read(file, report=report) == [["= Homarus gammarus =", "It is a lobster .", "= = Size = =", "x = 5 = y"], ["= A =", "Text ."]]
    assert report.rules == {"title": 1}
    assert [documents.is_title(line) for line in (" = a = ", " = = a = = ", "a = b", " = a == b = ", "==")] == [True, False, False, True, False]


@pytest.mark.realdata
def test_wikitext2_has_its_120_articles(data_root: Path) -> None:
    assert len(read(data_root / "wikitext2")) == 120


def test_undecodable_bytes_have_place_and_count(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffgood\nbad \xff\xfe here\n\nfine \ufffd\nagain ".encode("latin-1", "ignore") + b"\xe4\n")
    report = CorpusReport()
    lines = [line for document in read(tmp_path, report=report) for line in document]
    assert lines == ["good", "bad \ufffd\ufffd here", "fine", "again \ufffd"]
    assert report.problems == {"undecodable byte sequences (replaced by U+FFFD)": {"count": 3, "places": ["a.txt:2, byte 5", "a.txt:5, byte 7"]}}


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("cp1252", "Die Größe der Straße überrascht, schöne Füße."), ("cp1251", "Съешь ещё этих мягких"), ("gbk", "他说中文，天气很好")],
)
def test_text_of_another_encoding_is_reported_and_not_read(encoding: str, text: str, tmp_path: Path) -> None:
    """Repaired, it would lose its letters; a few stray bytes in UTF-8 are repaired."""
    (tmp_path / "other.txt").write_bytes(f"one\n{text}\n".encode(encoding))
    (tmp_path / "some.txt").write_bytes(text.encode() + b"\nstray \xff\xff\xff\xff\xff\n")
    report = CorpusReport()
    found = read(tmp_path / "other.txt", tmp_path / "some.txt", report=report)
    assert found == [[text], ["stray " + 5 * "\ufffd"]]
    (problem,) = report.problems[sources.UNREADABLE]["places"]
    assert problem.startswith("other.txt: not UTF-8 text (byte 0x") and "line 2" in problem and "iconv" in problem


WEB = [{"text": "Document 0\nsecond line", "url": "u"}, {"text": "Document 1", "url": "v"}]


@pytest.mark.parametrize("name", ["c4.json.gz", "c4.json.zst", "lines.JSON", "lines.json", "wiki_00", "wiki_01.bz2", "list.json", "pretty.json"])
def test_records_of_other_names_and_forms(name: str, tmp_path: Path) -> None:
    """C4's files, those of wikiextractor --json, and lists with an object a line: their texts are read, not their JSON."""
    if name in ("list.json", "pretty.json"):
        content = "[\n" + ",\n".join(json.dumps(row, indent=1 if name == "pretty.json" else None) for row in WEB) + "\n]\n"
    else:
        content = "".join(json.dumps(row) + "\n" for row in WEB)
    ending = f".{name.rpartition('.')[2]}"
    (tmp_path / name).write_bytes(COMPRESS.get(ending, bytes)(content.encode()))
    assert read(tmp_path / name) == [["Document 0", "second line"], ["Document 1"]]
    if name.startswith("c4"):
        assert read(tmp_path) == [["Document 0", "second line"], ["Document 1"]]


@pytest.mark.parametrize(
    ("content", "what"), [("<mediawiki xmlns='x'>", "dump of a wiki"), ('<doc id="1" url="u">\n', "WikiExtractor"), ("<html>", "HTML")]
)
def test_markup_is_no_text(content: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(UserError, match=f"a.txt is .*{what}"):
        read(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("a text\n")
    report = CorpusReport()
    assert read(tmp_path, report=report) == [["a text"]] and what in str(report.problems)


def test_one_odd_file_of_a_folder_does_not_end_the_reading(tmp_path: Path) -> None:
    """A text that begins with JSON of something else, other packed JSON, a line that is a list of other things."""
    (tmp_path / "a.txt").write_text("a text\n")
    (tmp_path / "b.txt").write_text('{"event": 1}\nprose\n')
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(b'{"name": "x"}\n'))
    (tmp_path / "d.jsonl").write_text('["x", 1]\n{"text": "one"}\n')
    (tmp_path / "e.json.gz").write_bytes(gzip.compress(b'[\n{"name": "x"}\n]\n'))
    (tmp_path / "f.jsonl").write_text('[\n"x",\n"y"\n]\n')
    report = CorpusReport()
    assert read(tmp_path, report=report) == [["a text"], ['{"event": 1}'], ["prose"], ["one"]]
    assert all(name in str(report.problems) for name in ("c.json.gz", "d.jsonl:1", "e.json.gz", "f.jsonl"))


def test_replacement_characters_of_the_text_are_no_other_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("word \ufffd ".encode() * 30 + b"stray \xff\n")
    assert len(read(tmp_path / "a.txt")) == 1


def test_tokenizers_and_tokenized_data_in_a_corpus_are_not_read(tmp_path: Path) -> None:
    """`vocab data --output data/vocab`, then `prepare data --tokenizer data/vocab --output data/shards`: pieces are no documents."""
    (tmp_path / "a.txt").write_text("\n".join(f"the chef cooked meal number {i}" for i in range(40)) + "\n")
    assert main(["vocab", str(tmp_path), "--size", "120", "--output", str(tmp_path / "vocab")]) == 0
    words = ["prepare", str(tmp_path), "--tokenizer", str(tmp_path / "vocab"), "--output", str(tmp_path / "shards"), "--workers", "1"]
    assert main(words) == 0
    assert open_shards(tmp_path / "shards").manifest["splits"]["train"]["documents"] == 40 == len(read(tmp_path))


def test_a_name_with_csv_in_it_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "x.csv.txt").write_text("a text\n")
    assert read(tmp_path / "x.csv.txt") == [["a text"]]
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"text\na\n"))
    with pytest.raises(UserError, match="a table is not a corpus"):
        read(tmp_path / "x.csv.gz")


def test_only_newlines_end_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\u2028b\x0bc\x85d\x1ce\n\nf\n", encoding="utf-8")
    assert read(tmp_path / "a.txt") == [["a\u2028b\x0bc\x85d\x1ce"], ["f"]]


def corpus(content: bytes, form: str) -> object:
    return case(content, form=form, where=("vocab", "prepare"), outcome="exact", section="tables")


@pytest.mark.parametrize(
    "content",
    [
        corpus(b"a b\rc\r\rd\r", "a text file with lines ended by CR"),
        corpus(b"a b\r\nc\r\n\r\nd\r\n", "a text file with lines ended by CR LF"),
        corpus(b"a b\nc\r\n\rd", "a text file with mixed ends of lines"),
        corpus(b"a b\r\r\nc\r\r\n\r\r\nd\r\r\n", "a text file with ends converted twice (CR CR LF)"),
        corpus(b"\xef\xbb\xbfa b\nc\n\nd\n", "a text file with a byte-order mark"),
    ],
)
def test_lines_end_as_in_pythons_text_mode(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    theirs = (tmp_path / "a.txt").read_text(encoding="utf-8-sig")
    if b"\r\r\n" not in content:
        assert theirs == "a b\nc\n\nd" + "\n" * theirs.endswith("\n")
    for size in (4, 5, 6, 1000):
        monkeypatch.setattr(sources, "BLOCK_BYTES", size)
        assert read(tmp_path / "a.txt") == [["a b", "c"], ["d"]]
    (tmp_path / "b.jsonl").write_bytes(content.replace(b"a b", b'{"text": "a"}').replace(b"c", b'{"text": "c"}').replace(b"d", b'{"text": "d"}'))
    assert read(tmp_path / "b.jsonl") == [["a"], ["c"], ["d"]]


@conforms(form="a text file in UTF-16", where=("vocab", "prepare"), outcome="refused", section="tables")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_utf_16_is_refused_by_name(encoding: str, tmp_path: Path) -> None:
    """With a byte-order mark also where no byte is zero, as in Chinese text."""
    (tmp_path / "a.txt").write_bytes("\u4e2d\u6587".encode("utf-16") if encoding == "utf-16" else "a text".encode(encoding))
    with pytest.raises(UserError, match=r"a\.txt: (UTF-16 \(|binary \(or UTF-16: )convert it to UTF-8\)"):
        read(tmp_path / "a.txt")


def test_blocks_cut_anywhere_give_the_same_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"zeile {i} äöü 中文 🙂\n" + "\n" * (i % 3 == 0) for i in range(200))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    whole = read(tmp_path / "a.txt")
    for size in (1, 7, 100):
        monkeypatch.setattr(sources, "BLOCK_BYTES", size)
        assert read(tmp_path / "a.txt") == whole


def test_endless_lines_and_documents_are_cut_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "BLOCK_BYTES", 50)
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 200)
    monkeypatch.setattr(documents, "MAX_DOCUMENT_CHARACTERS", 300)
    (tmp_path / "a.txt").write_text("word " * 200)
    report = CorpusReport()
    found = read(tmp_path / "a.txt", report=report, documents="file")
    assert " ".join(line for d in found for line in d).split() == ["word"] * 200
    assert len(found) > 1
    assert {kind.split(" because")[0] for kind in report.problems} == {"lines cut", "documents cut"}
    (tmp_path / "a.txt").write_text("\u4e2d" * 200, encoding="utf-8")
    assert "".join(line for d in read(tmp_path / "a.txt") for line in d) == "\u4e2d" * 200, "cut between characters"


def test_a_word_that_the_tokenizer_cannot_bound_is_cut_and_reported(tmp_path: Path) -> None:
    """For Unigram and BPE, see `Tokenizer.longest_word`; BERT's rules take it whole."""
    (tmp_path / "a.txt").write_text("short words\n" + "abcde" * 5 + " end\n")
    plan = PreparePlan(
        sources=(str(tmp_path),), fingerprint="", held_out=0, text_field="text", documents="file", deduplicate=False, words="none", part_bytes=1000
    )
    for longest, second in ((None, "abcde" * 5), (10, "abcdeabcde abcdeabcde abcde")):
        report = CorpusReport()
        (chunk,) = read_chunks(plan, report, {"duplicates": 0, "duplicate_bytes": 0}, longest)
        assert chunk.documents == [f"short words\n{second} end".encode()]
        assert report.problems == (
            {} if longest is None else {"words cut because they are longer than 10 characters": {"count": 1, "places": ["a.txt:1"]}}
        )


def test_folders_are_read_in_order_and_strangers_named(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/1.txt", "a.txt", "c.md", ".hidden.txt", "b/.git/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "d.png").write_bytes(b"\x89PNG\0")
    (tmp_path / "e.txt").write_bytes(b"\x7fELF\0\0")
    (tmp_path / "f.txt").write_text("")
    report = CorpusReport()
    assert read(tmp_path, report=report) == [["a.txt"], ["c.md"], ["b/1.txt"], ["b/2.txt"]]
    assert report.problems["files skipped, ending not known"] == {"count": 1, "places": ["d.png"]}
    assert "e.txt: binary" in report.problems["files that could not be read"]["places"][0]
    assert report.empty_documents == 1


RECORDS = [{"text": "a\n\nb", "id": 1}, {"text": "", "id": 2}, {"text": None, "id": 3}, {"text": "中", "id": 4}]


def test_jsonl(tmp_path: Path) -> None:
    good = [json.dumps(r) for r in RECORDS]
    (tmp_path / "a.jsonl").write_text("\n".join([*good, "{broken", '"word"', '{"id": 5}', '{"text": 7}', '{"text": "x \\ud800"}']))
    report = CorpusReport()
    assert read(tmp_path / "a.jsonl", report=report) == [["a", "b"], ["中"], ["x \ufffd"]]
    assert report.empty_documents == 3
    assert {kind: entry["places"] for kind, entry in report.problems.items()} == {
        "lines that are not JSON": ["a.jsonl:5"],
        "lines that are not JSON objects": ["a.jsonl:6"],
        "records without 'text'": ["a.jsonl:7"],
        "records whose text is not a string": ["a.jsonl:8"],
        "records with broken characters (replaced by U+FFFD)": ["a.jsonl:9"],
    }


def test_parquet_and_the_hub_read_the_same(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(arrow.Table.from_pylist(RECORDS * 300), tmp_path / "a.parquet")
    report = CorpusReport()
    assert read(tmp_path, report=report) == [["a", "b"], ["中"]] * 300
    assert report.empty_documents == 600
    with pytest.raises(UserError, match="no column 'txt'; did you mean 'text'"):
        read(tmp_path, text_field="txt")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    report = CorpusReport()
    assert len(read(tmp_path, report=report)) == 600
    assert report.problems["files that could not be read"]["places"][0].startswith("b.parquet: after 0 records")


@conforms(form="nested fields by dotted name", where=("vocab", "prepare"), outcome="exact", section="tables")
def test_nested_fields_of_records(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    rows = [{"review": {"body": "a"}}, {"review": {"body": None}}, {"review": {"body": "b"}}]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    pytest.importorskip("pyarrow.parquet").write_table(arrow.Table.from_pylist([*rows, {"review": None}]), tmp_path / "b.parquet")
    for name in ("a.jsonl", "b.parquet"):
        assert read(tmp_path / name, text_field="review.body") == [["a"], ["b"]]
        with pytest.raises(UserError, match=r"no column 'review.bdy'; .*review"):
            read(tmp_path / name, text_field="review.bdy")
    (tmp_path / "c.csv.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"c.csv.gz: a table is not a corpus; turn it into jsonl or parquet"):
        read(tmp_path / "c.csv.gz")


@pytest.mark.slow
def test_a_data_set_by_name_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps(r) for r in RECORDS))
    report = CorpusReport()
    assert read(f"hf:{tmp_path}", report=report) == [["a", "b"], ["中"]]
    assert report.fraction is None
    assert read(f"hf:{tmp_path}:default:train") == [["a", "b"], ["中"]]
    with pytest.raises(UserError, match=r"expected hf:NAME\[:CONFIG\[:SPLIT\]\]"):
        read(f"hf:{tmp_path}:default:nosplit")
    with pytest.raises(UserError, match="no column 'texts'; did you mean 'text'"):
        read(f"hf:{tmp_path}", text_field="texts")


BAD = {
    "missing.txt": (None, "corpus not found"),
    "emty.txt": (None, "did you mean 'empty.txt'"),
    "empty.txt": (b"", "no text found in"),
    "blank.txt": (b" \n\n", "no text found in"),
    "binary.txt": (b"\0\1", "binary.txt: binary"),
    "table.csv": (b"a,b", "a table is not a corpus"),
    "not.txt.xz": (b"plain text", "not.txt.xz: after"),
    "not.parquet": (b"plain text", "not.parquet: after 0 records"),
    "field.jsonl": (b'{"texts": "a"}', "did you mean 'texts'"),
    "folder": (None, "expected files ending in"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_inputs_are_one_line(name: str, tmp_path: Path) -> None:
    for file, (content, _) in BAD.items():
        if content is not None:
            (tmp_path / file).write_bytes(content)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.bin").write_bytes(b"1")
    with pytest.raises(UserError) as error:
        read(tmp_path / name)
    assert BAD[name][1] in str(error.value)
    assert "\n" not in str(error.value)


def test_estimate_of_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * 1000)
    (tmp_path / "a.txt.xz").write_bytes(b"x" * 1000)
    assert estimate_text_bytes([tmp_path]) == 4600
    assert estimate_text_bytes(["hf:a/b"]) is None


def test_a_sample_of_one_long_document_is_a_part_of_it(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(200_000)]
    (tmp_path / "a.txt").write_text(" ".join(words))
    settings = VocabSettings(corpus=(str(tmp_path / "a.txt"),), output="none", sample_bytes=600_000)
    pieces = list(sample_texts(settings, CorpusReport()))
    assert 2 <= len(pieces) <= 8 and set(" ".join(pieces).split()) <= set(words)
    whole = dataclasses.replace(settings, sample_bytes=10**8)
    assert "".join(sample_texts(whole, CorpusReport())) == " ".join(words)
