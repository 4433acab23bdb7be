"""The shell and Python blocks of a page of the documentation, run at toy size: same commands, same flags, tiny networks and a few steps."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from served_models import in_process

from electra.cli import main

BLOCK = re.compile(r"^(?:<!-- not run: (?P<reason>[^\n]*) -->\n)?```(?P<language>sh|bash|python)\n(?P<code>.*?)^```$", re.M | re.S)
ADDRESS = re.compile(r"(http://)?127\.0\.0\.1:80\d\d")
SHAPE = "--hidden-size 16 --embedding-size 8 --num-hidden-layers 2 --num-attention-heads 2 --intermediate-size 32 --max-position-embeddings 64"
TRAINED = "--threads 1 --batch-size 4"
TOY = {
    "vocab": ({"--size": "300"}, ""),
    "prepare": ({}, "--held-out 10% --workers 1"),
    "pretrain": ({"--budget": None}, f"--num-train-steps 4 --sequence-length 32 --checkpoint-every 4 --log-every 2 --mlm-first 0 {TRAINED}"),
    "finetune": ({"--seeds": "2", "--max-length": "32"}, f"--num-train-steps 2 --max-train-examples 12 {TRAINED}"),
    "predict": ({}, "--threads 1"),
    "embed": ({"--truncate-dim": "8"}, ""),
    "serve": ({"--port": None}, ""),
    "compare": ({}, "--calls 10 --threads 1"),
}
"""Command -> flags whose value is replaced (None: left out), flags that are added."""


STAND_INS = {
    "google/electra-small-discriminator": "runs/mini",
    "cross-encoder/ms-marco-MiniLM-L6-v2": "runs/reranker",
    "sentence-transformers/all-MiniLM-L6-v2": "runs/mini",
    "all-MiniLM-L6-v2": "runs/mini",
    "MODEL": "runs/mini",
    "encoder": "runs/mini",
}
"""Name of a public model -> a small one: the tests have no network."""


@dataclass(frozen=True)
class Block:
    """One block of a page."""

    page: str
    line: int
    language: str
    code: str
    reason: str | None
    """Why it is not run."""


def blocks(path: Path) -> list[Block]:
    """The shell and Python blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    return [Block(path.name, text[: m.start()].count("\n") + 1, m["language"], m["code"], m["reason"]) for m in BLOCK.finditer(text)]


def adapted(words: list[str]) -> list[str]:
    """A command line as the page has it -> at toy size."""
    replaced, added = TOY.get(words[0], ({}, ""))
    words = [STAND_INS.get(word, word) for word in words]
    out: list[str] = []
    skip = False
    for word, follow in zip(words, [*words[1:], ""], strict=True):
        if skip or word in replaced:
            if not skip and (value := replaced[word]) is not None:
                out += [word, value]
            skip = not skip and not follow.startswith("--")
            continue
        out.append(word)
    more = shlex.split(added)
    if words[0] == "pretrain" and "--resume" in words:
        return out
    if "--few-shot" in words:
        more.remove("--max-train-examples")
        more.remove("12")
    if words[0] == "pretrain" and "--init" not in words:
        more += shlex.split(SHAPE)
    if words[0] == "vocab" and {"--extend", "--trim"} & set(words):
        out[out.index("--size") + 1] = "150" if "--trim" in words else "5"
    return [*out, *more]


class Page:
    """The blocks of one page, run one after the other in a folder, as a reader would."""

    def __init__(self, folder: Path) -> None:
        """Run in `folder`."""
        self.folder = folder
        self.servers = contextlib.ExitStack()
        self.address = ""
        self.names: dict[str, Any] = {}

    def run(self, block: Block) -> None:
        """Run a block.

        Raises:
            AssertionError: a command that failed, with what it printed.
        """
        with contextlib.chdir(self.folder):
            if block.language == "python":
                lines = block.code.splitlines()
                code = ADDRESS.sub(lambda found: (found[1] or "") + self.address, "\n".join(lines))
                exec(compile(code, f"{block.page}:{block.line}", "exec"), self.names)
                return
            for line in block.code.replace("\\\n", " ").splitlines():
                if line.strip() and not line.startswith("#"):
                    self._line(line)

    def _line(self, line: str) -> None:
        """A line of a shell: commands joined by pipes, the last one's output perhaps into a file."""
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|>;&")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        commands: list[list[str]] = [[]]
        for word in lexer:
            commands.append([]) if word == "|" else commands[-1].append(word)
        output = b""
        for words in commands:
            target = None
            if ">" in words:
                words, target = words[: words.index(">")], words[words.index(">") + 1]
            output = self._command(words, output, line)
            if target is not None:
                Path(target).write_bytes(output)

    def _command(self, words: list[str], given: bytes, line: str) -> bytes:
        if words[0] == "electra" and words[1] == "serve":
            self.servers.close()
            command = adapted(words[1:])[1:]
            _, url = self.servers.enter_context(in_process(*command))
            self.address = url.removeprefix("http://")
            return b""
        if words[0] == "electra":
            return self._electra(adapted(words[1:]), given, line)
        if words[0] not in ("echo", "curl", "openssl"):
            raise AssertionError(f"{words[0]}: such a command is not run here; mark the block with its reason: {line}")
        words = [ADDRESS.sub(lambda found: (found[1] or "") + self.address, word) for word in words]
        if words[0] == "curl":
            words = ["curl", "--fail-with-body", "--silent", "--show-error", *words[1:]]
        done = subprocess.run(words, input=given, capture_output=True, timeout=60)
        assert done.returncode == 0, f"{line}: {done.stdout.decode()}{done.stderr.decode()}"
        return done.stdout

    @staticmethod
    def _electra(words: list[str], given: bytes, line: str) -> bytes:
        out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True), io.StringIO()
        with _stdin(given), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words)
        assert code == 0, f"{line}\n  as: electra {shlex.join(words)}\n  exit code {code}: {err.getvalue()[-1500:]}"
        return out.buffer.getvalue()  # type: ignore[attr-defined]


@contextlib.contextmanager
def _stdin(given: bytes) -> Iterator[None]:
    import sys

    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(given), encoding="utf-8")
    try:
        yield
    finally:
        sys.stdin = before


def link(source: Path, target: Path) -> None:
    """A copy of a folder or file, which the blocks of a page may change."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-r", os.fspath(source), os.fspath(target)], check=True)
