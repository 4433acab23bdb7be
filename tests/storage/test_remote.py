"""Object stores: an S3 server on this machine and fsspec's memory hold what local folders hold, and give the same."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives import tar
from prepared import prepare_shards
from services import cache as cache  # fixtures
from services import s3_server as s3_server
from services import store as store

from electra.cli import main
from electra.data import shards
from electra.data.documents import read_documents
from electra.data.shards import Shards, open_shards
from electra.data.sources import NO_CORPUS, CorpusReport
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.errors import UserError
from electra.storage import remote

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab: Path) -> Tokenizer:
    return load_tokenizer(tiny_vocab)


def put(folder: Path, url: str) -> None:
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        remote.upload(file, f"{url}/{file.relative_to(folder).as_posix()}")


def names(url: str) -> list[str]:
    return list(remote.list_files(url)[2])


def content(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def make(corpus: Any, tokenizer: Tokenizer, output: Any) -> Shards:
    return prepare_shards([corpus], tokenizer, output, workers=1, held_out=0.2, chunk_bytes=2000)


@pytest.mark.parametrize(("name", "expected"), [("s3://b/c", True), ("memory://x", True), ("simplecache::s3://b", True), ("hf://datasets/a/b", True)])
def test_urls(name: str, expected: bool) -> None:
    assert remote.is_url(name) is expected
    for local in ("hf:wikitext", "C:/corpus", "corpus/a.txt", "/corpus", "a:b.txt", "./s3", Path("s3://b")):
        assert not remote.is_url(local)


def test_corpora_are_read_as_local_ones(store: str, tiny_corpus: Path, tmp_path: Path) -> None:
    text = tiny_corpus.read_bytes()
    local = tmp_path / "corpus"
    contents = {
        "b.txt": text,
        "b/a.txt.gz": gzip.compress(text),
        "b/a/c.txt.xz": lzma.compress(text),
        "a.jsonl": b'{"text": "one"}\n{"text": "two"}\n{broken',
        "c.png": b"\x89",
        "d.tar": tar({"1.txt": b"in a tar"}),
        "cut.txt.xz": lzma.compress(text)[:-30],
        ".hidden/x.txt": b"hidden",
    }
    if importlib.util.find_spec("zstandard"):
        contents["b/z.txt.zst"] = importlib.import_module("zstandard").compress(text)
    for name, data in contents.items():
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_bytes(data)
    if importlib.util.find_spec("pyarrow"):
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist([{"text": f"record {i}"} for i in range(400)]), local / "b" / "p.parquet")
    put(local, f"{store}/corpus")
    reports = CorpusReport(), CorpusReport()
    expected, found = (list(read_documents([source], report=report)) for source, report in zip((local, f"{store}/corpus"), reports, strict=True))
    assert found == expected
    assert len(found) > 180
    assert reports[0] == reports[1]
    assert reports[1].problems["files that could not be read"]["count"] == 1
    one = list(read_documents([f"{store}/corpus/b/a.txt.gz"]))
    assert [d.lines for d in one] == [d.lines for d in read_documents([tiny_corpus])]


def test_prepare_into_a_store_and_back(store: str, cache: Path, tiny_corpus: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    local = make(tiny_corpus, tokenizer, tmp_path / "local")
    url = f"{store}/deep/shards"
    made = make(tiny_corpus, tokenizer, url)
    assert content(made.path) == content(local.path)
    assert sorted(names(url)) == sorted(content(local.path))
    assert not list((cache / "prepare").glob("*/"))
    with pytest.raises(UserError, match="already holds finished shards"):
        make(tiny_corpus, tokenizer, url)
    shutil.rmtree(cache)
    fetched = open_shards(url)
    assert isinstance(fetched.train.ids, np.memmap)
    assert fetched.path.is_relative_to(cache)
    assert content(fetched.path) == content(local.path)
    assert fetched.verify() == []
    remote.upload(tiny_corpus, f"{store}/other/x.txt")
    with pytest.raises(UserError, match="already exists"):
        make(tiny_corpus, tokenizer, f"{store}/other")
    with pytest.raises(UserError, match=r"no manifest\.json"):
        open_shards(f"{store}/other")
    with pytest.raises(UserError, match="nothing is there"):
        open_shards(f"{store}/nothing")


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_finished_work_of_other_settings_is_not_uploaded(
    store: str, cache: Path, tiny_corpus: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose upload failed leaves a dataset in the cache; the next one to that URL may be of another corpus or another share."""
    url = f"{store}/shards"
    with monkeypatch.context() as patch:
        patch.setattr(remote, "upload", lambda *_: (_ for _ in ()).throw(UserError("no access")))
        with pytest.raises(UserError, match="no access"):
            make(tiny_corpus, tokenizer, url)
    with pytest.raises(UserError, match=r"was begun with held_out = 0\.2, not 0\.1"):
        prepare_shards([tiny_corpus], tokenizer, url, workers=1, held_out=0.1, chunk_bytes=2000)
    assert make(tiny_corpus, tokenizer, url).num_tokens > 0 and remote.exists(f"{url}/manifest.json")


def test_tokenizers_and_tokenized_data_in_a_store_are_no_corpus(store: str, cache: Path, tiny_corpus: Path, tokenizer: Tokenizer) -> None:
    """As in a folder: a dataset made next to its texts, finished or not."""
    make(tiny_corpus, tokenizer, f"{store}/data/made/shards")
    for name, content in {"a.txt": "a text\n", "begun/plan.json": "{}", "begun/tokenizer/tokenizer_config.json": "{}"}.items():
        remote.write_text(f"{store}/data/{name}", content)
    remote.write_text(f"{store}/data/begun/tokenizer/vocab.txt", "[UNK]\n")
    report = CorpusReport()
    assert [document.lines for document in read_documents([f"{store}/data"], report=report)] == [["a text"]]
    assert report.problems[NO_CORPUS] == {"count": 2, "places": ["begun", "made/shards"]}


def test_a_model_on_a_web_server_is_fetched_again_when_it_changes(tmp_path: Path, cache: Path) -> None:
    """fsspec takes files of web servers for unchanging."""
    (tmp_path / "config.json").write_text('{"v": 1}')
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for content in ('{"v": 1}', '{"v": 2222}'):
            (tmp_path / "config.json").write_text(content)
            place = remote.fetched(url, ["config.json"], "model")
            assert (place / "config.json").read_text() == content and remote.fetched(url, ["config.json"], "model") == place
        server.shutdown()


def test_interrupted_making_and_uploading_go_on(
    store: str, cache: Path, tiny_corpus: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from electra.data import prepare as preparation

    url = f"{store}/shards"
    real, done = preparation.ThisProcess.submit, []

    def stop_after(number: int, call: Any) -> Any:
        def wrapped(*arguments: Any) -> None:
            if len(done) == number:
                raise KeyboardInterrupt
            done.append(arguments[-1])
            call(*arguments)

        return wrapped

    monkeypatch.setattr(preparation.ThisProcess, "submit", stop_after(3, real))
    with pytest.raises(KeyboardInterrupt):
        make(tiny_corpus, tokenizer, url)
    assert not remote.exists(url)
    monkeypatch.setattr(preparation.ThisProcess, "submit", lambda *a: (done.append(a[-1]), real(*a)))
    upload = remote.upload
    with monkeypatch.context() as patch:
        sent: list[str] = []

        def stop_after_four(file: Path, to: str) -> None:
            if len(sent) == 4:
                raise KeyboardInterrupt
            sent.append(to)
            upload(file, to)

        patch.setattr(remote, "upload", stop_after_four)
        with pytest.raises(KeyboardInterrupt):
            make(tiny_corpus, tokenizer, url)
    assert len(done) == len(set(done)) > 5  # no part twice
    assert len(names(url)) == 4
    with pytest.raises(UserError, match="unfinished"):
        open_shards(url)
    more: list[str] = []
    monkeypatch.setattr(remote, "upload", lambda file, to: (more.append(to), upload(file, to)))
    made = make(tiny_corpus, tokenizer, url)
    assert not set(more) & set(sent)
    assert more[-1] == f"{url}/manifest.json"
    assert content(made.path) == content(make(tiny_corpus, tokenizer, tmp_path / "local").path)


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_fetched_once_and_whole(
    store: str, cache: Path, tiny_corpus: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{store}/shards"
    local = make(tiny_corpus, tokenizer, tmp_path / "local")
    put(local.path, url)
    fetched: list[str] = []
    real = remote.download
    monkeypatch.setattr(remote, "download", lambda system, path, target, place: (fetched.append(place), real(system, path, target, place)))
    found: list[Path] = []
    crowd = [threading.Thread(target=lambda: found.append(open_shards(url).path)) for _ in range(4)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert len(found) == 4
    assert len(fetched) == len(set(fetched)) == 10  # six arrays and four files of the tokenizer, each once
    # A killed process leaves a .part: what is whole in it is not fetched again, what is half is.
    part = found[0].rename(found[0].with_name(found[0].name + ".part"))
    (part / "manifest.json").unlink()
    half = part / "train" / "ids.npy"
    half.write_bytes(half.read_bytes()[:-100])
    fetched.clear()
    assert content(open_shards(url).path) == content(local.path)
    assert [place for place in fetched if place.endswith(".npy")] == [f"{url}/train/ids.npy"]
    # Shards made anew under the same address are other shards.
    (tmp_path / "more.txt").write_text("the chef cooked\n\n" + tiny_corpus.read_text())
    put(make(tmp_path / "more.txt", tokenizer, tmp_path / "local2").path, url)
    assert open_shards(url).num_tokens > local.num_tokens


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_damage_in_the_store_is_reported(store: str, cache: Path, tiny_corpus: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    url = f"{store}/shards"
    local = make(tiny_corpus, tokenizer, tmp_path / "local")
    put(local.path, url)
    system, path = remote.store(url)
    whole = (local.path / "train" / "ids.npy").read_bytes()
    system.pipe_file(f"{path}/train/ids.npy", whole[:-2] + b"zz")
    with pytest.raises(UserError, match=r"train/ids\.npy is damaged"):
        open_shards(url)
    system.pipe_file(f"{path}/train/ids.npy", whole)
    system.pipe_file(f"{path}/tokenizer/tokenizer.json", (local.path / "tokenizer/tokenizer.json").read_bytes().replace(b'"chef"', b'"chex"'))
    with pytest.raises(UserError, match="not the one the shards were made with"):
        open_shards(url)
    put(local.path, url)
    system.rm(f"{path}/held_out/ids.npy")
    with pytest.raises(UserError, match=r"lacks held_out/ids\.npy"):
        open_shards(url)
    system.pipe_file(f"{path}/manifest.json", b"[]")
    with pytest.raises(UserError, match="not the manifest"):
        open_shards(url)
    put(local.path, url)
    assert content(open_shards(url).path) == content(local.path)


def test_a_full_disk_is_reported_before_fetching(
    cache: Path, tiny_corpus: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(make(tiny_corpus, tokenizer, tmp_path / "local").path, "memory://full/shards")
    monkeypatch.setattr(shards.shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(UserError, match="GB free; set the environment variable ELECTRA_CACHE"):
        open_shards("memory://full/shards")
    monkeypatch.setenv("ELECTRA_CACHE", str(tiny_corpus))
    with pytest.raises(UserError, match="cannot write the cache"):
        open_shards("memory://full/shards")


def test_a_failing_store_does_not_pass_for_a_short_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self) -> None:
            self.blocks = [b"a line\n" * 100]

        def read(self, size: int) -> bytes:
            if not self.blocks:
                raise OSError("connection reset")
            return self.blocks.pop()[:size]

        def tell(self) -> int:
            return 0

        def close(self) -> None: ...

    system, path = remote.store("memory://failing/a.txt")
    system.pipe_file(path, b"some text")
    monkeypatch.setattr(type(system), "open", lambda *a, **k: Failing())
    with pytest.raises(UserError, match=r"memory://failing/a.txt: OSError: connection reset; check"):
        list(read_documents(["memory://failing/a.txt"]))


def test_missing_packages_are_lines_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown protocol 's4'; did you mean 's3'"):
        remote.store("s4://bucket/x")
    if not importlib.util.find_spec("gcsfs"):
        with pytest.raises(UserError, match=r"gs:// needs the package 'gcsfs': pip install gcsfs$"):
            remote.store("gs://bucket/x")
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.delitem(registry._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match=r"s3:// needs the package 's3fs': pip install -e '\.\[remote\]' in the clone of electra$"):
        remote.store("s3://bucket/x")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UserError, match=r"this needs the package 'fsspec' of the extra 'remote': pip install -e '\.\[remote\]'"):
        remote.store("s3://bucket/x")


def test_local_paths_take_no_fsspec() -> None:
    code = "import sys, electra.cli, electra.data.prepare, electra.inference.inspect; sys.exit('fsspec' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_commands_on_s3(store: str, tiny_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remote.upload(tiny_corpus, f"{store}/corpus/a.txt")
    assert main(["vocab", f"{store}/corpus", "--size", "200", "--output", f"{store}/vocab"]) == 0
    assert main(["vocab", f"{store}/corpus", "--size", "200", "--output", f"{store}/vocab"]) == 2
    assert "already exists" in capsys.readouterr().err
    words = ["prepare", f"{store}/corpus", "--tokenizer", f"{store}/vocab", "--output", f"{store}/shards", "--workers", "1", "--held-out", "10%"]
    assert main(words) == 0
    assert set(names(f"{store}/shards")) >= {"manifest.json", "run.json", "train/ids.npy", "tokenizer/vocab.txt"}
    kinds = {}
    for name in ("corpus", "vocab", "vocab/vocab.txt", "shards"):
        capsys.readouterr()
        assert main(["inspect", f"{store}/{name}", "--json"]) == 0
        kinds[name] = json.loads(capsys.readouterr().out)
    assert [found["kind"] for found in kinds.values()] == ["corpus", "tokenizer", "tokenizer", "shards"]
    assert kinds["corpus"]["num_documents"] == 60
    assert kinds["corpus"]["size_bytes"] == tiny_corpus.stat().st_size
    for out, wrong in (("x", f"{store}-no/x"), ("y", f"{store}/none")):
        assert main(["inspect", wrong]) == 2
        assert main(["prepare", wrong, "--tokenizer", f"{store}/vocab", "--output", str(tmp_path / out), "--workers", "1"]) == 2
        assert main(["prepare", f"{store}/corpus", "--tokenizer", wrong, "--output", str(tmp_path / out), "--workers", "1"]) == 2
        errors = capsys.readouterr().err.strip().split("\n")
        assert [line for line in errors if line.startswith("electra: ") and "not found" in line] == errors
        assert len(errors) == 3
    if importlib.util.find_spec("torch"):
        run = ["pretrain", "tiny", "--data", f"{store}/shards", "--output", str(tmp_path / "run"), "--num-train-steps", "2", "--batch-size", "4"]
        assert main(run) == 0
        assert f"{store}/shards" in (tmp_path / "run" / "config.toml").read_text()


@pytest.mark.realdata
def test_original_shards_of_a_store_are_prepared_as_local_ones(store: str, reference_root: Path, data_root: Path, tmp_path: Path) -> None:
    """TFRecords by URL, the folder and one file; and again, where nothing has to be read a second time."""
    records, vocab = reference_root / "tf1-tfrecords", load_tokenizer(data_root / "vocab" / "uncased-en.txt")
    put(records, f"{store}/records")
    files = sorted(path.name for path in records.glob("*.tfrecord*"))
    for number, sources in enumerate(([f"{store}/records"], [f"{store}/records/{files[0]}"])):
        theirs = prepare_shards([records] if number == 0 else [records / files[0]], vocab, tmp_path / f"local-{number}", held_out=0.2)
        mine = prepare_shards(sources, vocab, tmp_path / f"remote-{number}", held_out=0.2)
        for split in ("train", "held_out"):
            assert np.array_equal(getattr(mine, split).ids, getattr(theirs, split).ids)
        assert mine.train.stored
    assert list(remote.cache_folder().glob("*/*.tfrecord*")) == []


@pytest.mark.realdata
def test_checkpoints_of_a_store_are_fetched_once(store: str, reference_root: Path, data_root: Path, cache: Path, tmp_path: Path) -> None:
    """A TensorFlow checkpoint, a run of ours, and its generator; what changes in the store is fetched anew."""
    pytest.importorskip("torch")
    from safetensors.torch import load_file

    from electra.storage import resolve

    put(reference_root / "tf1-original", f"{store}/tf1")
    vocab = ["--vocab", str(data_root / "vocab" / "uncased-en.txt")]
    for number, source in enumerate((f"{store}/tf1", f"{store}/tf1/model.ckpt", f"{store}/tf1/model.ckpt.index")):
        assert main(["convert", source, str(tmp_path / f"out-{number}"), *vocab]) == 0
    assert main(["convert", str(reference_root / "tf1-original"), str(tmp_path / "local"), *vocab]) == 0
    wanted = {name: load_file(tmp_path / "local" / name / "model.safetensors") for name in (".", "generator")}
    for number in range(3):
        for name, tensors in wanted.items():
            found = load_file(tmp_path / f"out-{number}" / name / "model.safetensors")
            assert all((found[key] == tensor).all() for key, tensor in tensors.items())
    run = tmp_path / "run"
    shutil.copytree(tmp_path / "local", run / "final")
    (run / "config.toml").write_text("")
    put(run, f"{store}/runs/x")
    folder = resolve.resolve(f"{store}/runs/x")
    assert folder.is_relative_to(cache) and resolve.resolve(f"{store}/runs/x/final") is not None
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} >= {"config.json", "vocab.txt", "generator/model.safetensors"}
    assert resolve.resolve(f"{store}/runs/x") == folder
    text = tmp_path / "text.txt"
    text.write_text("the chef ate the meal\n")
    assert main(["detect", f"{store}/runs/x", str(text)]) == 0
    remote.write_text(f"{store}/runs/x/final/config.json", (run / "final" / "config.json").read_text() + "\n")
    assert resolve.resolve(f"{store}/runs/x") != folder
    put(run / "final", f"{store}/runs/y/best/sst2")
    assert resolve.resolve(f"{store}/runs/y") == resolve.resolve(f"{store}/runs/y/best/sst2")
    put(run / "final", f"{store}/runs/y/best/rte")
    wanted = [(f"{store}/runs/y", f"has the models of 2 tasks; give one of {store}/runs/y/best/rte, ")]
    for wrong, message in (*wanted, (f"{store}/runs", "is not a checkpoint"), (f"{store}/nothing", "model not found")):
        with pytest.raises(UserError, match=message):
            resolve.resolve(wrong)


class Throttled(Exception):
    """What a client raises for HTTP 429."""

    status = 429


PASSING = [ConnectionResetError(104, "reset"), TimeoutError(), Throttled("slow down"), OSError(16, "SlowDown: reduce your request rate")]


def test_each_request_to_a_store_fails_in_turn(cache: Path, tiny_corpus: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """`prepare` from a store to a store: what passes is tried again, with longer and longer waits; what does not is one line, and is gone on from."""
    waits: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", waits.append)
    system, _ = remote.store("memory://faults/x")
    system.pipe_file("/faults/corpus.txt", tiny_corpus.read_bytes())
    kinds = ("open", "find", "exists", "cat_file", "pipe_file", "put_file", "get_file", "ukey")
    real = {kind: getattr(type(system), kind) for kind in kinds}
    counted: list[str] = []
    fault: list[Any] = [0, None]

    def failing(kind: str) -> Any:
        def request(*arguments: Any, **options: Any) -> Any:
            counted.append(kind)
            if len(counted) == fault[0] or (fault[1] == "down" and len(counted) > fault[0] > 0):
                raise ConnectionResetError(104, "reset") if fault[1] == "down" else fault[1]
            return real[kind](*arguments, **options)

        return request

    for kind in kinds:
        monkeypatch.setattr(type(system), kind, failing(kind))

    def run(name: str, number: int = 0, error: Any = None) -> dict[str, str]:
        counted.clear()
        fault[:] = number, error
        monkeypatch.setenv("ELECTRA_CACHE", str(cache / "made"))
        made = content(make("memory://faults/corpus.txt", tokenizer, f"memory://faults/{name}").path)
        monkeypatch.setenv("ELECTRA_CACHE", str(cache / "fetched" / name))
        assert content(open_shards(f"memory://faults/{name}").path) == made
        return made

    clean = run("clean")
    requests = list(counted)
    assert {"open", "find", "exists", "put_file", "get_file"} <= set(requests) and not waits
    for number in range(1, len(requests) + 1):
        error = PASSING[number % len(PASSING)]
        assert run(f"passing-{number}", number, error) == clean, (number, requests[number - 1], error)
        assert len(waits) == number and 0.25 <= waits[-1] <= 0.5
    for number in (1, len(requests) // 2, len(requests)):
        waits.clear()
        with pytest.raises(UserError, match=r"^memory://faults/.*ConnectionResetError: .*reset; check address and network, then run the same again"):
            run(f"down-{number}", number, "down")
        assert len(waits) == len(remote.WAITS) and waits == sorted(waits)
        if number < len(requests) // 2:
            assert run(f"down-{number}") == clean  # what was made is kept
    with pytest.raises(UserError, match="no access"):
        run("denied", len(requests) // 2, PermissionError(13, "denied"))


def test_a_connection_lost_in_the_middle_of_a_file_goes_on_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class Losing(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1) -> bytes:
            self.reads += 1
            if self.reads % 2 == 0:
                super().read(100)  # a part of the block arrived
                raise TimeoutError
            return super().read(size)

    monkeypatch.setattr(remote.time, "sleep", lambda seconds: None)
    text = bytes(range(256)) * 2000
    with io.BufferedReader(remote._RemoteFile(Losing(text), "s3://b/c"), 1 << 12) as stream:  # type: ignore[arg-type]
        assert stream.read() == text
