"""Archives, nested as OpenWebText is: the documents put in come out, damage is reported once with its place, nothing is written."""

from __future__ import annotations

import gzip
import io
import itertools
import lzma
import random
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import Members, tar

from electra.data.documents import read_documents
from electra.data.sources import CorpusReport, with_newlines
from electra.errors import UserError


def bundle(members: Members) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


PACK: dict[str, Callable[[Members], bytes]] = {
    ".tar": tar,
    ".tar.gz": lambda m: gzip.compress(tar(m)),
    ".tgz": lambda m: gzip.compress(tar(m)),
    ".tar.xz": lambda m: lzma.compress(tar(m), preset=0),
    ".zip": bundle,
}


def read(path: Path, report: CorpusReport, **options: str) -> list[list[str]]:
    return [document.lines for document in read_documents([path], report=report, **options)]


def openwebtext(texts: list[str], each: int = 20) -> Members:
    """Texts -> urlsf_subset00-N_data.xz, a tar.xz of that many texts each, in the layout and with the names of the distribution."""
    out = {}
    for number, start in enumerate(range(0, len(texts), each), 1):
        inner = {f"{i:07}-{i * 2654435761 % 2**32:032x}.txt": texts[i].encode() for i in range(start, min(start + each, len(texts)))}
        out[f"openwebtext/urlsf_subset00-{number}_data.xz"] = PACK[".tar.xz"](inner)
    return out


@pytest.fixture(scope="module")
def articles(data_root: Path) -> list[list[str]]:
    """The lines of 90 real articles."""
    found = read_documents([data_root / "corpus-en" / "wikipedia-0.txt.xz"])
    return [document.lines for document in itertools.islice(found, 90)]


@pytest.mark.realdata
@pytest.mark.parametrize("ending", PACK)
def test_openwebtext_is_a_document_a_text(ending: str, articles: list[list[str]], tmp_path: Path) -> None:
    members = openwebtext(["\n\n".join(lines) for lines in articles])
    assert len(members) == 5
    archive = tmp_path / f"openwebtext{ending}"
    archive.write_bytes(PACK[ending](members))
    report = CorpusReport()
    assert read(archive, report) == articles
    assert report.problems == {}
    assert report.rules == {"file": 90}
    assert report.fraction == 1.0
    assert list(tmp_path.iterdir()) == [archive]
    assert len(read(archive, CorpusReport(), documents="blank-line")) == sum(map(len, articles))


@pytest.mark.realdata
def test_its_outer_archive_may_be_unpacked(articles: list[list[str]], tmp_path: Path) -> None:
    for name, content in openwebtext(["\n\n".join(lines) for lines in articles], each=45).items():
        (tmp_path / Path(name).name).write_bytes(content)
    (tmp_path / "notes.xz").write_bytes(lzma.compress(b"no tar"))
    report = CorpusReport()
    assert read(tmp_path, report) == articles
    assert report.problems == {"files skipped, ending not known": {"count": 1, "places": ["notes.xz"]}}


@pytest.mark.parametrize("ending", PACK)
def test_kinds_of_members(ending: str, tmp_path: Path) -> None:
    members = {
        "a/1.txt": b"one\n\nstill one",
        "a/2.txt.gz": gzip.compress(b"two"),
        "b.jsonl": b'{"text": "three"}\n{"text": "four"}',
        "b.png": b"\x89PNG",
        "inner.tar.gz": PACK[".tar.gz"]({"5.txt": b"five"}),
        "c.parquet": b"PAR1",
        ".hidden/x.txt": b"hidden",
        "._6.txt": b"hidden",
        "7.txt": b"",
        "large.txt": b"x" * 600_000 + b"\n\n" + b"y" * 600_000,
    }
    (tmp_path / f"x{ending}").write_bytes(PACK[ending](members))
    report = CorpusReport()
    found = read(tmp_path, report)
    assert found[:5] == [["one", "still one"], ["two"], ["three"], ["four"], ["five"]]
    assert [document[0][0] for document in found[5:]] == ["x", "y"]  # a large text is looked at as any file is
    assert report.empty_documents == 1
    assert report.problems == {
        "files skipped, ending not known": {"count": 1, "places": [f"x{ending}/b.png"]},
        "files that could not be read": {"count": 1, "places": [f"x{ending}/c.parquet: parquet within an archive; unpack it"]},
    }


def test_hostile_members_are_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("../../evil.txt", f"{tmp_path}/absolute.txt", "bell\x07\x1b[31m\n.txt", "\udcff.txt"):
            entry = tarfile.TarInfo(name)
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"text"))
        kinds = {"link.txt": tarfile.SYMTYPE, "hard.txt": tarfile.LNKTYPE, "device.txt": tarfile.CHRTYPE, "pipe.txt": tarfile.FIFOTYPE}
        for name, kind in kinds.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    (place / "x.tar").write_bytes(out.getvalue())
    (place / "y.zip").write_bytes(bundle({"../../evil.txt": b"zip", "/absolute.txt": b"zip"}))
    monkeypatch.chdir(place)
    report = CorpusReport()
    documents = list(read_documents([place], report=report))
    assert [d.lines for d in documents] == [["text"]] * 4 + [["zip"]] * 2
    assert all(d.place.isprintable() for d in documents)
    assert report.problems["archive members skipped, no regular files"]["count"] == 4
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["a", "a/b", "a/b/x.tar", "a/b/y.zip"]


CUT = [(ending, harm) for ending in (".tar", ".tar.gz", ".tar.xz") for harm in ("cut", "cut, nested")]


# gzip notices garbled bytes at its very end alone.
@pytest.mark.parametrize(("ending", "harm"), [*CUT, (".tar", "garbled"), (".tar.xz", "garbled")])
def test_a_damaged_archive_is_reported_once_and_read_up_to_the_damage(ending: str, harm: str, tmp_path: Path) -> None:
    texts = [f"text {i} " + " ".join(str(i * j * 7919 % 10007) for j in range(1, 150)) for i in range(40)]
    whole = PACK[ending](openwebtext(texts, each=10) if "nested" in harm else {f"{i}.txt": text.encode() for i, text in enumerate(texts)})
    (tmp_path / "last.txt").write_text("the last")
    found: list[str] = []
    for part in range(1, 12):
        at = len(whole) * part // 12
        if ending == ".tar":  # no checksum guards a tar's contents, one guards its headers; two empty blocks are its end
            at = (len(whole) - 10240) * part // 12 if "cut" in harm else whole.index(b"ustar", len(whole) * part // 16) - 60
        broken = whole[:at] if "cut" in harm else whole[:at] + bytes(64) + whole[at + 64 :]
        (tmp_path / f"a{ending}").write_bytes(broken)
        report = CorpusReport()
        found = [" ".join(lines) for lines in read(tmp_path, report)]
        assert found.pop() == "the last"
        # All before the damage is there, of the text it struck at most the beginning.
        if found:
            assert found[:-1] == texts[: len(found) - 1]
            assert "cut" not in harm or texts[len(found) - 1].startswith(found[-1])
        problem = report.problems["files that could not be read"]
        assert problem["count"] == 1, problem
        assert problem["places"][0].startswith(f"a{ending}: after ")
    assert found or ending == ".tar.xz"  # xz gives a small archive's only block whole or not at all


def test_a_tar_cut_between_members_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar({"1.txt": b"x" * 512, "2.txt": b"y"})[:1024])
    report = CorpusReport()
    assert read(tmp_path, report) == [["x" * 512]]
    assert report.problems["files that could not be read"]["places"][0].endswith("no end mark")


def test_damage_within_one_inner_archive_leaves_the_others(tmp_path: Path) -> None:
    members = openwebtext([f"text {i}" for i in range(30)], each=10)
    second = sorted(members)[1]
    members[second] = members[second][:-40]
    members["broken.zip"] = b"PK no zip"
    (tmp_path / "a.tar").write_bytes(tar(members))
    report = CorpusReport()
    found = read(tmp_path, report)
    assert found[:10] == [[f"text {i}"] for i in range(10)]
    assert found[-10:] == [[f"text {i}"] for i in range(20, 30)]
    places = report.problems["files that could not be read"]["places"]
    assert len(places) == 2
    assert places[0].startswith(f"a.tar/{second}: after ")
    assert places[1].startswith("a.tar/broken.zip: a zip within an archive")


def test_damaged_zips(tmp_path: Path) -> None:
    whole = bundle({"1.txt": b"one " * 50, "2.txt": b"two", "3.txt": b"three"})
    (tmp_path / "a.zip").write_bytes(whole.replace(b"two", b"tvo") if b"two" in whole else whole)
    struck = bytearray(whole)
    struck[whole.index(b"1.txt") + 6] ^= 0xFF
    (tmp_path / "b.zip").write_bytes(struck)
    (tmp_path / "c.zip").write_bytes(whole[:-30])
    report = CorpusReport()
    assert ["three"] in read(tmp_path, report)
    places = report.problems["files that could not be read"]["places"]
    assert any(place.startswith("b.zip/1.txt") for place in places)
    assert any(place.startswith("c.zip: after ") for place in places)


def test_archives_without_end_are_left(tmp_path: Path) -> None:
    content = {"x.txt": b"deep"}
    for _ in range(6):
        content = {"inner.tar": tar(content)}
    (tmp_path / "a.tar").write_bytes(tar(content | {"y.txt": b"near"}))
    report = CorpusReport()
    assert read(tmp_path, report) == [["near"]]
    assert "archives within archives" in report.problems["files that could not be read"]["places"][0]


def test_memory_does_not_grow_with_the_members(tmp_path: Path) -> None:
    peaks: list[int] = []
    for num in (100, 1000):
        (tmp_path / "a.tar").write_bytes(tar({f"{i:06}.txt": b"text" for i in range(num)}))
        found = []
        for _ in range(3):  # other threads of the process, such as a test's server, are counted too: the least is ours
            documents = read_documents([tmp_path / "a.tar"])
            next(documents)
            tracemalloc.start()
            assert sum(1 for _ in documents) == num - 1
            found.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        peaks.append(min(found))
    assert peaks[1] < peaks[0] + 100_000  # tarfile by itself keeps half a kilobyte and more of each


def test_line_ends_of_every_kind_are_newlines() -> None:
    """As Python's text mode, but for ends that were converted twice; millions of carriage returns take no time that anybody notices."""
    rng = random.Random(1)
    for _ in range(3000):
        text = bytes(rng.choices(b"\r\nab", k=rng.randrange(12)))
        once = text
        while b"\r\r\n" in once:
            once = once.replace(b"\r\r\n", b"\r\n")
        assert with_newlines(text) == io.TextIOWrapper(io.BytesIO(once), "utf-8").read().encode()
    assert with_newlines(b"\r" * 4_000_000) == b"\n" * 4_000_000


def test_the_card_of_a_data_set_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# My data\n")
    (tmp_path / "notes.md").write_text("a text of its own\n")
    report = CorpusReport()
    assert any("license: mit" in lines for lines in read(tmp_path, report))
    (tmp_path / "data" / "train.jsonl").write_text('{"text": "a row"}\n')
    report = CorpusReport()
    assert sorted(read(tmp_path, report)) == [["a row"], ["a text of its own"]]
    assert report.lines() == ["cards of data sets, not read: 1 (README.md)"]


def test_files_of_other_endings_are_named_where_nothing_else_is_there(tmp_path: Path) -> None:
    (tmp_path / "AA").mkdir()
    (tmp_path / "AA" / "wiki_00").write_text('{"text": "an article"}\n')
    with pytest.raises(UserError, match=r"no text in .* \(1 files have other endings, such as AA/wiki_00: rename them, or name each\); expected"):
        read(tmp_path, CorpusReport())
    assert read(tmp_path / "AA" / "wiki_00", CorpusReport()) == [["an article"]]
