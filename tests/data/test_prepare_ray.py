"""`prepare --engine ray`: the shards are the local engine's, byte for byte, also when workers are killed or the work is interrupted."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from prepared import prepare_shards
from services import Cluster, killing_workers
from services import cluster as cluster  # a fixture

from electra.cli import main
from electra.data import prepare
from electra.data.shards import Shards
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.errors import UserError

pytestmark = pytest.mark.slow  # a cluster takes half a minute to start on a busy machine


@pytest.fixture(scope="module")
def tokenizer(tiny_vocab: Path) -> Tokenizer:
    return load_tokenizer(tiny_vocab)


@pytest.fixture(scope="module")
def corpus(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(0)
    file = tmp_path_factory.mktemp("corpus") / "c.txt"
    file.write_text("\n\n".join(" ".join(rng.choices(tokenizer.pieces[100:], k=200)) for _ in range(3000)))
    return file


def make(corpus: Path, tokenizer: Tokenizer, output: Path, **engine: Any) -> Shards:
    return prepare_shards([corpus], tokenizer, output, held_out=0.1, chunk_bytes=60_000, **engine)


@pytest.fixture(scope="module")
def expected(corpus: Path, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return content(make(corpus, tokenizer, tmp_path_factory.mktemp("local") / "s", workers=1).path)


def content(path: Path) -> dict[str, str]:
    return {str(f.relative_to(path)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(path.rglob("*")) if f.is_file()}


def test_killed_workers_change_nothing(cluster: Cluster, corpus: Path, tokenizer: Tokenizer, tmp_path: Path, expected: dict[str, str]) -> None:
    with killing_workers(cluster) as killed:
        made = make(corpus, tokenizer, tmp_path / "s", engine="ray", ray_address=cluster.address)
    assert len(killed) == 2
    assert content(made.path) == expected


def test_interrupted_work_is_resumed(
    cluster: Cluster, corpus: Path, tokenizer: Tokenizer, tmp_path: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[Path] = []
    real = prepare.atomic.write_bytes

    def stop_after_five(file: Path, packed: bytes) -> None:
        if len(stored) == 5:
            raise KeyboardInterrupt
        stored.append(file)
        real(file, packed)

    with monkeypatch.context() as patch:
        patch.setattr(prepare.atomic, "write_bytes", stop_after_five)
        with pytest.raises(KeyboardInterrupt):
            make(corpus, tokenizer, tmp_path / "s", engine="ray", ray_address=cluster.address)
    again: list[Path] = []
    monkeypatch.setattr(prepare.atomic, "write_bytes", lambda file, packed: (again.append(file), real(file, packed)))
    made = make(corpus, tokenizer, tmp_path / "s", engine="ray", ray_address=cluster.address)
    assert len(stored) == 5
    assert again and not set(stored) & set(again)
    assert content(made.path) == expected


def test_words_are_found_on_the_cluster_too(cluster: Cluster, tokenizer: Tokenizer, tmp_path: Path) -> None:
    pytest.importorskip("rjieba")
    pieces = {p: i for i, p in enumerate([*tokenizer.pieces, *"我们在北京大学学习自然语言处理他喜欢"])}
    (tmp_path / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    (tmp_path / "a.txt").write_text("我们在北京大学学习自然语言处理\n\n他喜欢北京", encoding="utf-8")
    chinese = load_tokenizer(tmp_path / "vocab.txt")
    local = make(tmp_path / "a.txt", chinese, tmp_path / "local", workers=1, words="chinese")
    far = make(tmp_path / "a.txt", chinese, tmp_path / "far", engine="ray", ray_address=cluster.address, words="chinese")
    assert content(far.path) == content(local.path)
    assert any(name.endswith("word_starts.npy") for name in content(far.path))


def test_another_version_on_the_cluster_is_refused(
    cluster: Cluster, corpus: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "__version__", "99.0")
    with pytest.raises(UserError, match=r"have electra .*, this process has 99\.0; install the same"):
        make(corpus, tokenizer, tmp_path / "s", engine="ray", ray_address=cluster.address)


def test_command_starts_a_cluster(tiny_corpus: Path, tiny_vocab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray")
    words = ["prepare", str(tiny_corpus), "--tokenizer", str(tiny_vocab), "--held-out", "10%", "--json"]
    manifests = []
    for engine in ("local", "ray"):
        assert main([*words, "--output", str(tmp_path / engine), "--engine", engine, "--workers", "1"]) == 0
        manifests.append(json.loads(capsys.readouterr().out.strip().split("\n")[-1]))
    assert [m.pop("run")["engine"] for m in manifests] == ["local", "ray"]
    assert manifests[0] == manifests[1]
    (tmp_path / "local" / "run.json").unlink()
    (tmp_path / "ray" / "run.json").unlink()
    assert content(tmp_path / "local") == content(tmp_path / "ray")
    assert main([*words, "--output", str(tmp_path / "x"), "--ray-address", "auto"]) == 2
    assert "has no effect without --engine ray" in capsys.readouterr().err
