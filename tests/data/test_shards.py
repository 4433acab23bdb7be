"""Shards: what is in them equals `tokenizers` on the documents read; the same for any workers and after any interruption."""

from __future__ import annotations

import hashlib
import json
import operator
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from prepared import prepare_shards

from electra.cli import main
from electra.data import prepare as preparation
from electra.data.documents import read_documents
from electra.data.prepare_chunk import HashSet, Work
from electra.data.shards import Shards, Split, open_shards, same_vocabulary
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.data.vocabulary import train_tokenizer
from electra.errors import UserError

SMALL = 2000
"""Bytes of a part in these tests: many parts from little text."""


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab: Path) -> Tokenizer:
    return load_tokenizer(tiny_vocab)


@pytest.fixture(scope="module")
def made(tiny_corpus: Path, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return prepare_shards([tiny_corpus], tokenizer, tmp_path_factory.mktemp("made") / "shards", workers=1, held_out=0.2, chunk_bytes=SMALL)


def content(path: Path) -> dict[str, str]:
    return {str(f.relative_to(path)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(path.rglob("*")) if f.is_file()}


def documents(split: Split) -> list[list[list[int]]]:
    return [[line.tolist() for line in split.document(i)] for i in range(split.num_documents)]


def test_ids_equal_tokenizers_and_nothing_is_lost(made: Shards, tiny_corpus: Path, tokenizer: Tokenizer) -> None:
    expected = [[tokenizer.backend.encode(line, add_special_tokens=False).ids for line in d.lines] for d in read_documents([tiny_corpus])]
    found = {name: documents(made.split(name)) for name in ("train", "held_out")}
    assert sorted(found["train"] + found["held_out"]) == sorted(expected)
    assert [d for d in expected if d in found["train"]] == found["train"]
    assert 3 <= len(found["held_out"]) <= 25
    assert isinstance(made.train.ids, np.memmap)
    assert made.train.ids.dtype == np.uint16
    counts = made.manifest["splits"]["train"]
    assert (counts["documents"], counts["lines"], counts["tokens"]) == (made.train.num_documents, made.train.num_lines, made.num_tokens)
    assert made.manifest["tokenizer"]["fingerprint"] == load_tokenizer(made.path).fingerprint == tokenizer.fingerprint
    assert made.verify() == []


def test_workers_make_no_difference(made: Shards, tiny_corpus: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    prepare_shards([tiny_corpus], tokenizer, tmp_path / "s", workers=2, held_out=0.2, chunk_bytes=SMALL)
    assert content(tmp_path / "s") == content(made.path)


def test_order_makes_no_difference_to_the_split(made: Shards, tiny_corpus: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    blocks = tiny_corpus.read_text().strip().split("\n\n")
    random.Random(1).shuffle(blocks)
    (tmp_path / "a.txt").write_text("\n\n".join(blocks[:20]))
    (tmp_path / "b.txt").write_text("\n\n".join(blocks[20:]))
    other = prepare_shards([tmp_path / "a.txt", tmp_path / "b.txt"], tokenizer, tmp_path / "s", workers=1, held_out=0.2)
    assert sorted(documents(other.held_out)) == sorted(documents(made.held_out))


@pytest.mark.parametrize("stop_after", [0, 1, 3])
def test_interrupted_work_is_resumed(
    stop_after: int, made: Shards, tiny_corpus: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = preparation.ThisProcess.submit, []

    def stops(*arguments: object) -> None:
        if len(done) == stop_after:
            raise KeyboardInterrupt
        done.append(arguments[-1])
        real(*arguments)  # type: ignore[arg-type]

    def go() -> Shards:
        return prepare_shards([tiny_corpus], tokenizer, tmp_path / "s", workers=1, held_out=0.2, chunk_bytes=SMALL)

    monkeypatch.setattr(preparation.ThisProcess, "submit", stops)
    with pytest.raises(KeyboardInterrupt):
        go()
    if not done:
        assert not (tmp_path / "s").exists(), "nothing was prepared, so nothing is left"
    else:
        with pytest.raises(UserError, match="unfinished"):
            open_shards(tmp_path / "s")
        with pytest.raises(UserError, match=r"was begun with held_out = 0\.2, not 0\.1"):
            prepare_shards([tiny_corpus], tokenizer, tmp_path / "s", workers=1, held_out=0.1, chunk_bytes=SMALL)
        done[0].write_bytes(b"PK broken")  # type: ignore[attr-defined]
    again: list[object] = []
    monkeypatch.setattr(preparation.ThisProcess, "submit", lambda *a: (again.append(a[-1]), real(*a)))
    go()
    assert content(tmp_path / "s") == content(made.path)
    assert not set(map(str, again)) & set(map(str, done[1:]))


def test_changed_corpus_is_noticed_chunk_by_chunk(
    made: Shards, tiny_corpus: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "corpus.txt"
    file.write_text("changed words\n\n" + tiny_corpus.read_text())
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "_concatenate", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare_shards([file], tokenizer, tmp_path / "s", workers=1, held_out=0.2, chunk_bytes=SMALL)
    file.write_text(tiny_corpus.read_text())
    assert documents(prepare_shards([file], tokenizer, tmp_path / "s", workers=1, held_out=0.2, chunk_bytes=SMALL).train) == documents(made.train)


def test_a_killed_worker_is_one_line() -> None:
    """Also where the next item meets its death, and older ones are done."""
    pool = preparation.ProcessPool(Work(start=partial(partial, signal.raise_signal), store=operator.is_), 2)
    try:
        for number in (signal.SIGCONT, signal.SIGKILL):  # an item is a signal that the worker sends itself
            pool.submit(number, None)
        deadline = time.monotonic() + 60
        while not pool._pool._broken and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(UserError, match=r"a worker process was killed .* fewer --workers"):
            pool.submit(signal.SIGCONT, None)
    finally:
        pool.close(failed=True)


@pytest.mark.slow
@pytest.mark.parametrize("num_parts", [0, 2, 7])
def test_killed_at_any_moment(num_parts: int, tokenizer: Tokenizer, tmp_path: Path) -> None:
    rng = random.Random(0)
    (tmp_path / "c.txt").write_text("\n\n".join(" ".join(rng.choices(tokenizer.pieces[100:], k=200)) for _ in range(2000)))
    tokenizer.save(tmp_path / "v")
    code = """
import sys
from electra.data.prepare import prepare
from electra.data.tokenizer import load_tokenizer
from electra.settings import PrepareSettings
if __name__ == "__main__":
    settings = PrepareSettings(corpus=(sys.argv[1],), tokenizer=sys.argv[2], output=sys.argv[3], workers=2)
    prepare(settings, load_tokenizer(sys.argv[2]), chunk_bytes=100_000)
"""
    (tmp_path / "p.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}

    def command(target: str) -> list[str]:
        return [sys.executable, *(str(tmp_path / name) for name in ("p.py", "c.txt", "v", target))]

    process = subprocess.Popen(command("s"), env=environment)
    while process.poll() is None and len(list((tmp_path / "s" / "parts").glob("*.npz"))) < num_parts:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert not (tmp_path / "s" / "manifest.json").exists()
    for target in ("s", "whole"):
        subprocess.run(command(target), env=environment, check=True)
    assert content(tmp_path / "s") == content(tmp_path / "whole")


def test_duplicates_empties_and_unknowns_are_counted(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the chef\n\nthe  chef\n\nthe chef\n\nriver 中\n\u200b\n\nthe chef", encoding="utf-8")
    shards = prepare_shards([tmp_path / "a.txt"], tokenizer, tmp_path / "s", workers=1, held_out=0.0)
    assert shards.manifest["duplicates"] == 2
    assert shards.manifest["dropped_lines"] == 1
    assert (shards.manifest["unknown_tokens"], shards.manifest["unknown_words"]) == (1, {"中": 1})
    assert shards.train.num_documents == 3
    assert shards.held_out.num_tokens == 0
    kept = prepare_shards([tmp_path / "a.txt"], tokenizer, tmp_path / "t", workers=1, held_out=0.0, deduplicate=False)
    assert (kept.train.num_documents, kept.manifest["duplicates"]) == (5, 0)


def test_unknown_words_are_reported_and_recorded(tokenizer: Tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("the chef " * 30 + "中中 漢 中 " + "x" * 150, encoding="utf-8")
    shards = prepare_shards([tmp_path / "a.txt"], tokenizer, tmp_path / "s", workers=1, held_out=0.0)
    manifest = shards.manifest
    assert (manifest["unknown_tokens"], manifest["unknown_words"], manifest["unknown_words_sampled"]) == (5, {"中": 3, "漢": 1}, False)
    assert manifest["long_words"] == {"x" * 24 + "... (150 characters)": 1}
    found = capsys.readouterr().err.splitlines()
    assert found[-2] == "warning: unknown tokens: 7.69% (5 of 65) with 42% of the letters; the most frequent unknown words: '中' (3), '漢' (1)"
    assert found[-1].startswith("warning: unknown words of more than 100 characters: 1 ('xxx")


def test_large_vocabulary_is_stored_as_int32(tmp_path: Path) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(70_000))]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    (tmp_path / "a.txt").write_text("w69999 w0 w66000")
    shards = prepare_shards([tmp_path / "a.txt"], load_tokenizer(tmp_path / "vocab.txt"), tmp_path / "s", workers=1, held_out=0.0)
    assert shards.train.ids.dtype == np.int32
    assert shards.train.ids.tolist() == [70_004, 5, 66_005]


def test_seen_is_a_set() -> None:
    rng = random.Random(3)
    values = [rng.getrandbits(64) for _ in range(60_000)] + [0, 1, 0, 2**64 - 1]
    seen, reference = HashSet(), set()
    for value in values + values[:1000]:
        assert seen.add(value) == ((value or 1) not in reference)
        reference.add(value or 1)


def test_refusals(made: Shards, tiny_corpus: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="already holds finished shards"):
        prepare_shards([tiny_corpus], tokenizer, made.path, workers=1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(UserError, match="already exists"):
        prepare_shards([tiny_corpus], tokenizer, tmp_path / "full", workers=1)
    with pytest.raises(UserError, match="not a tokenized dataset"):
        open_shards(tmp_path / "full")
    with pytest.raises(UserError, match="tokenized dataset not found"):
        open_shards(tmp_path / "none")
    (tmp_path / "full" / "manifest.json").write_text("[]")
    with pytest.raises(UserError, match="not the manifest"):
        open_shards(tmp_path / "full")
    with pytest.raises(UserError, match="no split 'trian'; did you mean 'train'"):
        made.split("trian")
    other = prepare_shards([tiny_corpus], train_tokenizer(iter(["some words"] * 9), 120), tmp_path / "other", workers=1)
    with pytest.raises(UserError, match="another vocabulary"):
        same_vocabulary({"a": made, "b": other})


def test_verify_has_a_line_for_each_damaged_file(tiny_corpus: Path, tokenizer: Tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "s"
    shards = prepare_shards([tiny_corpus], tokenizer, place, workers=1, held_out=0.2)
    assert main(["inspect", str(place), "--verify"]) == 0
    assert capsys.readouterr().out == f"{place}: every file is as it was written\n"

    def rewrite(name: str, values: np.ndarray) -> None:
        np.save(place / name, values)
        manifest = json.loads((place / "manifest.json").read_text())
        split, array = name.removesuffix(".npy").split("/")
        manifest["splits"][split]["sha256"][array] = hashlib.sha256((place / name).read_bytes()).hexdigest()
        (place / "manifest.json").write_text(json.dumps(manifest))

    # Hashes fit, contents do not: what a fault before the hash was taken leaves.
    rewrite("train/ids.npy", np.full_like(shards.train.ids, tokenizer.vocab_size))
    starts = np.array(shards.train.line_starts)
    rewrite("train/line_starts.npy", np.concatenate([starts[:2], starts[1:2], starts[3:]]))
    rewrite("held_out/line_starts.npy", np.array(shards.held_out.line_starts) + 1)
    rewrite("train/document_starts.npy", np.array(shards.train.document_starts)[:-1])
    (place / "held_out" / "ids.npy").unlink()
    file = place / "held_out" / "document_starts.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    train_tokenizer(iter(["some words"] * 9), 120).save(place / "tokenizer")
    assert main(["inspect", str(place), "--verify"]) == 2
    lines = capsys.readouterr().out.replace(f"{place}/", "").splitlines()
    size, tokens = tokenizer.vocab_size, shards.manifest["splits"]["held_out"]["tokens"]
    assert lines == [
        f"train/ids.npy is inconsistent: it holds ids from {size} to {size}, the vocabulary has {size:,} tokens",
        "train/line_starts.npy is inconsistent: its offsets do not rise",
        f"train/document_starts.npy holds ({shards.train.num_documents},) values, the manifest says {shards.train.num_documents + 1}",
        "held_out/ids.npy cannot be read (No such file or directory)",
        f"held_out/line_starts.npy is inconsistent: its offsets go from 1 to {tokens + 1:,}, expected 0 to {tokens:,}",
        lines[5],
        "tokenizer is not the tokenizer that the ids were made with: its fingerprint differs",
    ]
    assert lines[5].startswith("held_out/document_starts.npy is damaged: its hash is ")
    manifest = json.loads((place / "manifest.json").read_text())
    del manifest["splits"]["train"]["lines"]
    (place / "manifest.json").write_text(json.dumps(manifest))
    assert open_shards(place).verify() == [f"{place / 'manifest.json'} is damaged (KeyError: 'lines')"]


def test_damage_is_noticed(tiny_corpus: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    shards = prepare_shards([tiny_corpus], tokenizer, tmp_path / "s", workers=1)
    file = tmp_path / "s" / "train" / "ids.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-2] + b"zz")
    (line,) = shards.verify()
    assert line.startswith(f"{file} is damaged: its hash is ")
    for broken in (whole[:-200], b"", whole[:40]):
        file.write_bytes(broken)
        with pytest.raises(UserError, match="run 'electra prepare' again"):
            open_shards(tmp_path / "s").split("train")
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(UserError, match="format 99"):
        open_shards(tmp_path / "s")


def test_commands_end_to_end(tiny_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from electra.cli import main

    assert main(["vocab", str(tiny_corpus), "--size", "200", "--output", str(tmp_path / "v")]) == 0
    command = [
        "prepare",
        str(tiny_corpus),
        "--tokenizer",
        str(tmp_path / "v"),
        "--output",
        str(tmp_path / "s"),
        "--workers",
        "1",
        "--held-out",
        "10%",
        "--json",
    ]
    capsys.readouterr()
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["settings"]["held_out"] == 0.1
    assert printed["run"]["text_mb_per_s"] > 0
    assert main(command) == 2
    assert "already holds finished shards" in capsys.readouterr().err
    assert main(["vocab", str(tiny_corpus), "--output", str(tmp_path / "v")]) == 2


def test_a_mistyped_corpus_leaves_nothing_that_refuses_the_right_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from electra.cli import main

    (tmp_path / "text.txt").write_text("a line\n\nanother\n", encoding="utf-8")
    assert main(["vocab", str(tmp_path / "text.txt"), "--size", "100", "--output", str(tmp_path / "vocab")]) == 0
    flags = ["--tokenizer", str(tmp_path / "vocab"), "--output", str(tmp_path / "shards"), "--workers", "1", "--held-out", "0"]
    assert main(["prepare", str(tmp_path / "texxt.txt"), *flags]) == 2
    assert "not found" in capsys.readouterr().err and not (tmp_path / "shards").exists()
    assert main(["prepare", str(tmp_path / "text.txt"), *flags]) == 0
