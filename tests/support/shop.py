"""A folder with a good and a bad one of everything that commands read."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import shutil
import socket
from pathlib import Path

from built_models import artifact
from tiny_models import checkpoints

from electra.cli import main

GLUE_HEADER = "sentence\tlabel\n"
ANSWERS = "".join(f'{{"id": {number}, "label": "{label}", "prediction": "a", "probability": 0.9}}\n' for number, label in enumerate("aabbabab"))


def make_shop(root: Path, corpus: Path) -> Path:
    """`root` with a good and a bad one of everything that commands read; `corpus` is a text file."""
    shutil.copy(corpus, root / "corpus.txt")
    shutil.copy(checkpoints()["vocab"], root / "vocab.txt")
    (root / "empty").mkdir()
    (root / "empty.txt").touch()
    noise = bytes(range(256)) * 40
    for name in ("binary.txt", "binary.toml", "binary.csv"):
        (root / name).write_bytes(noise)
    texts = {
        "texts.txt": "the chef cooked\nit was good\n",
        "columns.txt": "a\tb\tc\n",
        "table.csv": "review,stars\ngood film,1\nbad film,0\ndull story,0\nbrilliant story,1\n",
        "reviews.jsonl": '{"review": "good film", "stars": 1}\n{"review": "bad film", "stars": 0}\n',
        "pairs.jsonl": '{"query": "good film", "passage": "a good film"}\n{"query": "bad film", "passage": "a bad film"}\n',
        "broken.jsonl": '{"text": "good"}\n{"text": \n',
        "number.jsonl": '{"text": 3}\n',
        "unknown.toml": 'base = "tiny"\n[model]\nhiden_size = 8\n',
        "value.toml": 'base = "tiny"\n[model]\nhidden_size = "wide"\n',
        "first.jsonl": ANSWERS,
        "second.jsonl": ANSWERS.replace('"prediction": "a"', '"prediction": "b"', 1),
        "run/config.toml": 'preset = "mini"\n',
        "run/metrics.jsonl": '{"kind": "train", "step": 1, "tokens": 10, "seconds": 1.0, "loss": 2.0}\n',
        "badconfig/config.json": '{"model_type": "elec',
        "bert/config.json": '{"model_type": "bert"}',
        "shards-manifest/manifest.json": '{"format": 1, "spl',
        "glue/train.tsv": GLUE_HEADER + "good film\t1\nbad film\t0\n" * 4,
        "glue/dev.tsv": GLUE_HEADER + "good story\t1\nbad story\t0\n",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "latin.txt").write_bytes("good\nétait\n".encode("latin-1"))
    (root / "utf16.txt").write_text("good\nétait\n", encoding="utf-16")
    (root / "nul.txt").write_bytes(b"good\0film\nbad\0film\n")
    (root / "binary.toml-run").mkdir()
    (root / "binary.toml-run" / "config.toml").write_bytes(noise)
    for name in ("vectors.npy", "there.zip", "bad.parquet"):
        (root / name).write_bytes(b"made before")
    (root / "cut.xz").write_bytes(lzma.compress(corpus.read_bytes())[:60])
    for name, kind in (
        ("model", "discriminator"),
        ("lone", "lone"),
        ("masked", "masked"),
        ("classifier", "classifier"),
        ("regression", "regression"),
        ("cut", "lone"),
        ("cut-classifier", "classifier"),
    ):
        shutil.copytree(checkpoints()[kind], root / name)
    for name in ("cut", "cut-classifier"):
        weights = root / name / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
    for name in ("artifact", "artifact-changed", "artifact-newer"):
        shutil.copytree(artifact(checkpoints()["classifier"]), root / name)
    with (root / "artifact-changed" / "model.onnx").open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"harm")
    manifest = (root / "artifact-newer" / "artefact.json").read_text(encoding="utf-8")
    (root / "artifact-newer" / "artefact.json").write_text(manifest.replace('"version": 1', '"version": 99', 1), encoding="utf-8")
    argv = ["prepare", str(root / "corpus.txt"), "--tokenizer", str(root / "vocab.txt"), "--output", str(root / "shards"), "--workers", "1"]
    assert main([*argv, "--held-out", "10%"]) == 0
    shutil.copytree(root / "shards", root / "shards-cut")
    for split in ("train", "held_out"):
        ids = root / "shards-cut" / split / "ids.npy"
        ids.write_bytes(ids.read_bytes()[:-100])
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(root):  # a path of a socket is short
        server.bind("socket")
    (root / "unread.txt").write_text("good\n")
    (root / "unread.txt").chmod(0)
    (root / "locked").mkdir(mode=0o555)
    (root / "dangling").symlink_to(root / "nowhere")
    (root / "loop").symlink_to(root / "loop")
    return root


def contents(root: Path) -> dict[str, str]:
    """Every file with the hash of its bytes."""
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob("*")) if p.is_file() and os.access(p, os.R_OK)
    }


def fill(template: str, shop: Path) -> list[str]:
    """A command line whose {words} are paths of the folder -> its words."""
    words = []
    for word in template.split():
        if "{" in word:
            before, _, rest = word.partition("{")
            name, _, after = rest.partition("}")
            place = shop / {"out": "made-by-the-test", "blocked": "corpus.txt/below", "none": "nowhere"}.get(name, name)
            word = f"{before}{place}{after}"
        words.append(word)
    return words
