"""Python installation -> a plain-text corpus of English, the demo's pre-training text; and the labelled sentences of its second half.

Every machine that runs this has megabytes of English prose on its disk: the docstrings and manuals of the standard library and of the
installed packages. Docstrings are taken from the syntax tree; nothing is imported or executed. A source file makes one document, a sentence
one line; a blank line separates documents. Doctests, tables, directives, lists of parameters and licences are dropped, as is every line that
is not a whole sentence, names something in code (`max_length`, `os.path`, `ValueError`) or was seen before, numbers and quoted words aside.
The order depends on the files alone, so the same installation gives the same bytes.
"""

from __future__ import annotations

import ast
import gc
import inspect
import itertools
import multiprocessing
import os
import random
import re
import signal
import sysconfig
import threading
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from electra.contracts import Example
from electra.storage import atomic

T = TypeVar("T")

SIZE_LIMIT_BYTES = 16_000_000
_SKIPPED_FOLDERS = frozenset(
    "__pycache__ site-packages dist-packages test tests testing idle_test lib2to3 _vendor _vendored vendor "
    "licenses license_files locale data datasets_data include node_modules".split()
)
_SKIPPED_FILES = re.compile(
    r"(licen[sc]e|copying|copyright|notice|authors|credits|top_level|entry_points|requirements|sources|record|cmake|vocab|grammar|news|history"
    r"|changelog|index\.)",
    re.I,
)
_FUNCTION_WORDS = frozenset(
    "a about after all also an and any are as at be because been before but by can cannot do does each for from had has have how if in into is it "
    "its may more must no not of on one only or other out over same should since so some such than that the their then there these they this those "
    "to two up use used uses using was were what when where whether which while who will with without would you your".split()
)
_QUOTED = re.compile(r'"""(?s:.*?)"""')
_LEAST_QUOTED = 0.15
"""Parsing is the cost: a source file with a smaller fraction of text between triple quotes is not worth it."""
_MANUAL = "topics.py"
"""The language reference, which every Python carries for `help()`, in strings of one line each."""
_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")
_DIRECTIVE = re.compile(r"^\s*(\.\. |:[a-z]+:\s*$|@\w|#!|\|)")
_TABLE = re.compile(r"^\s*([=+\-~^*#_.|]{3,}|[|+].*[|+]\s*$)|(=|-){4,}\s+(=|-){3,}")
_SIGNATURE = re.compile(r"^\s*([\w*`.\\]+(, ?[\w*`.\\]+)*\s+:(\s|$)|\w+( \w+)?:$|[\w.*`]+ ?\([^()]*(\([^()]*\)[^()]*)*\)( *->.*)?:?$)")
_ITEM = re.compile(r"([-*•+]|\d{1,2}[.)]|:\w[^:]*:|#+|[\w*`.]{1,40}( \([^)]*\))?:)(\s|$)")
_CODE = re.compile(
    r"[{}<>=\\|\[\]^~@$*#]|_|\w\.[A-Za-z]\w|\w\(|::|--|[a-z][A-Z]|[A-Za-z]\d|;\s*$| :\w|\w \([^)]*\):|(?<!\.\w)\. [a-z]| [.,;]"
    r"|(?<![\w'’.-])[b-hj-zB-HJ-Z](?![\w'’.-])"
)
_WHOLE = re.compile(r"[.!?][\"')]*$")
_LEGAL = re.compile(r"licensed under|all rights reserved|warrant(y|ies)|copyright|redistribut|permission is hereby|apache license", re.I)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]?\s+(?=[A-Z\"'(])")
_INLINE = (
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r":[a-z:+-]+:`~?([^`<]*?)(?:\s*<[^>]*>)?`"), r"\1"),
    (re.compile(r"`([^`<]*?)\s*<[^>]*>`_+"), r"\1"),
    (re.compile(r"https?://\S+|www\.\S+"), ""),
    (re.compile(r"\[[\w#-]{1,12}\]_?"), ""),
    (re.compile(r"`+|\*\*|(?<![\w*])\*(?=\w)|(?<=\w)\*(?![\w*])|(?<=`)_+\b"), ""),
    (re.compile(r"^\s*(?:[-*•+]|\d{1,2}[.)]|#{1,6}|>)\s+"), ""),
    (re.compile(r"^\s*:(?:param|type|returns?|rtype|raises|arg|ivar|cvar|keyword)[^:]*:\s*"), ""),
    (re.compile(r"^\s*[\w*`.]{1,40}\s*(?:\([^)]*\))?\s*:\s+(?=[A-Z])"), ""),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What was collected; the text itself is in the file at `path`."""

    path: Path
    num_files: int
    """Source files that gave at least one document."""
    num_documents: int
    num_sentences: int
    num_duplicates: int
    """Sentences dropped because they had been seen before (case, numbers and quoted words ignored)."""
    size_bytes: int


def collect(
    output: Path,
    *,
    roots: tuple[Path, ...] | None = None,
    limit_bytes: int = SIZE_LIMIT_BYTES,
    workers: int = 2,
    report: Callable[[int, int], None] | None = None,
) -> Collected:
    """Write the corpus to `output`: `limit_bytes` of text at most, from `roots` (unset: this Python installation).

    Args:
        output: the text file to write (UTF-8), atomically.
        roots: folders to read, in this order.
        limit_bytes: stop when that much text is there.
        workers: processes that parse.
        report: called now and then with (bytes so far, limit_bytes).
    """
    files = list(_walk(installation() if roots is None else roots))
    seen: set[int] = set()
    counts = dict.fromkeys(("files", "documents", "sentences", "duplicates", "bytes"), 0)
    with atomic.atomic_file(output) as temporary, temporary.open("w", encoding="utf-8") as out:
        for sentences in _parsed(files, workers):
            fresh = _unseen(sentences, seen)
            counts["duplicates"] += len(sentences) - len(fresh)
            if len(fresh) < 2:
                continue
            text = "\n".join(fresh) + "\n\n"
            size = len(text.encode())
            if counts["bytes"] + size > limit_bytes:
                break
            out.write(text)
            for name, amount in (("files", 1), ("documents", 1), ("sentences", len(fresh)), ("bytes", size)):
                counts[name] += amount
            if report is not None and counts["files"] % 100 == 0:
                report(counts["bytes"], limit_bytes)
    return Collected(path=Path(output), size_bytes=counts.pop("bytes"), **{f"num_{name}": count for name, count in counts.items()})


def installation() -> tuple[Path, ...]:
    """The folders of this Python: its standard library, then its installed packages."""
    found = (Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))
    return tuple(path for path in dict.fromkeys(found) if path.is_dir())


def _walk(roots: tuple[Path, ...]) -> Iterator[Path]:
    """Files worth reading: manuals first, then sources, each root's in an order that mixes packages but never changes."""
    for root in roots:
        files = []
        for folder, folders, names in os.walk(root):
            inside = Path(folder)
            folders[:] = [name for name in folders if name.lower() not in _SKIPPED_FOLDERS]
            for name in names:
                if name == "METADATA" or (name.endswith((".py", ".rst", ".md", ".txt")) and not _SKIPPED_FILES.search(name)):
                    files.append(inside / name)
        # A checksum of the relative path shuffles without a seed: when the limit cuts, it cuts every package alike.
        keyed = [(path.suffix == ".py", zlib.crc32(path.relative_to(root).as_posix().encode()), path.as_posix(), path) for path in files]
        yield from (path for *_, path in sorted(keyed))


def _parsed(files: list[Path], workers: int) -> Iterator[list[str]]:
    """The sentences of each file, in the order of `files`."""
    if workers < 2 or len(files) < 50:
        yield from map(sentences_of, files)
        return
    # 'spawn' would import torch's parents again on some platforms; the workers touch files only, so 'fork' is safe where it exists.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    # Syntax trees are large and free of cycles: the collector would only walk them in vain.
    with multiprocessing.get_context(method).Pool(workers, initializer=_start_worker) as pool:
        yield from pool.imap(sentences_of, files, chunksize=24)


def _start_worker() -> None:
    gc.disable()
    # A forked process has the command's handler, which raises an exception: where it is swallowed, the pool would wait for the process forever.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _unseen(sentences: list[str], seen: set[int]) -> list[str]:
    fresh = []
    for sentence in sentences:
        key = hash_text(re.sub(r"\d+|'[^']*'|\"[^\"]*\"", "0", sentence.lower()))
        if key not in seen:
            seen.add(key)
            fresh.append(sentence)
    return fresh


def hash_text(text: str) -> int:
    """64 bits of a text that are the same in every process (Python's own hash is salted)."""
    data = text.encode()
    return zlib.crc32(data) << 32 | zlib.crc32(data[::-1])


# ---- sentences ----


def sentences_of(path: Path) -> list[str]:
    """A source file or manual -> its English sentences; unreadable or undecodable files give none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    if path.suffix == ".py":
        if path.name != _MANUAL and sum(map(len, _QUOTED.findall(text))) < _LEAST_QUOTED * len(text):
            return []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            return []
        texts = [inspect.cleandoc(docstring) for docstring in docstrings(tree)]
    else:
        texts = [text.partition("\n\n")[2] if path.name == "METADATA" else text]
    return [sentence for each in texts for sentence in prose(each)]


def docstrings(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Docstrings of a module, its classes and functions, and other long strings, in order of appearance."""
    own = ast.get_docstring(node, clean=False)
    if own:
        yield own
    for statement in node.body:
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from docstrings(statement)
        elif isinstance(statement, (ast.Assign, ast.Expr)) and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for inner in ast.walk(statement.value):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str) and len(inner.value) > 200 and inner.value != own:
                    yield inner.value


def prose(text: str) -> Iterator[str]:
    """A docstring or manual -> its sentences, without code, tables and markup."""
    for paragraph in _paragraphs(text):
        clean = paragraph
        for pattern, with_ in _INLINE:
            clean = pattern.sub(with_, clean)
        for sentence in _SENTENCE_END.split(clean.strip()):
            sentence = sentence.strip()
            if is_english(sentence):
                yield sentence


def _paragraphs(text: str) -> Iterator[str]:
    """Runs of prose lines joined; a list item starts a new one; literal blocks, fences, doctests and tables are left out."""
    block: list[str] = []
    fenced, literal, above = False, -1, 0
    for line in text.expandtabs(4).splitlines():
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if stripped.startswith(("```", "~~~")):
            fenced = not fenced
            stripped = ""
        if literal >= 0 and stripped and indent <= literal:
            literal = -1
        prompt = stripped.startswith((">>>", "...", "$ ", "In [", "Out["))
        dropped = not stripped or fenced or literal >= 0 or prompt or bool(_DIRECTIVE.match(line) or _TABLE.search(line))
        if dropped or _SIGNATURE.match(stripped) or _ITEM.match(stripped):
            if block:
                yield " ".join(block)
            block = []
        if prompt or stripped.endswith("::") or _DIRECTIVE.match(line):
            literal = indent if not prompt else literal
        if len(block) == 1 and indent > above and len(block[0].split()) <= 3:
            block = []  # a term, its definition below
        above = indent
        if not dropped and not _SIGNATURE.match(stripped):
            block.append(stripped.rstrip(":") + "." if stripped.endswith("::") else stripped)
    if block:
        yield " ".join(block)


def is_english(sentence: str) -> bool:
    """Whether it reads like a whole sentence: mostly letters, enough function words, a full stop, no code, no licence."""
    if not 25 <= len(sentence) <= 600 or not sentence[0].isupper() or not _WHOLE.search(sentence):
        return False
    if _CODE.search(sentence) or _LEGAL.search(sentence) or sentence.count("(") != sentence.count(")"):
        return False
    words = _WORD.findall(sentence)
    if len(words) < 5 or sum(c.isalpha() or c.isspace() for c in sentence) < 0.88 * len(sentence):
        return False
    return sum(word.lower() in _FUNCTION_WORDS for word in words) >= 0.22 * len(words)


# ---- labelled sentences ----

REVIEWS = Path(__file__).parent / "reviews"
"""Short reviews written for this project, in SST-2's layout."""
HUB_NAME = "stanfordnlp/sst2"
ANSWER_SECONDS = 5.0
"""Time the hub has to answer at all."""
DOWNLOAD_SECONDS = 60.0


def films(data: Path | None, folder: Path) -> tuple[Path | None, str]:
    """SST-2 and where it is from: `data`, else $ELECTRA_DATA/glue/SST-2, else the hub's, written to `folder`; without any None, and why."""
    if data is not None:
        return data, str(data)
    here = Path(os.environ.get("ELECTRA_DATA", "")) / "glue" / "SST-2"
    if os.environ.get("ELECTRA_DATA") and here.is_dir():
        return here, str(here)
    if (folder / "train.tsv").exists() or (reason := _download(folder)) is None:
        return folder, f"the Hugging Face hub, {HUB_NAME}"
    return None, f"SST-2 is not at hand, and the hub cannot be reached ({reason})"


def _download(folder: Path) -> str | None:
    """SST-2 in GLUE's layout into `folder` -> None, or why not, within seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    try:
        within(ANSWER_SECONDS, _ask)
        splits = within(DOWNLOAD_SECONDS, _read)
    except ModuleNotFoundError as error:
        return f"the package '{error.name}' is not installed"
    except Exception as error:
        # Whatever is wrong with the network is a reason to use other data, not a failure of the demo.
        return type(error).__name__
    write_labelled(folder, splits)
    return None


def write_labelled(folder: Path, splits: Mapping[str, Iterable[tuple[str, object]]]) -> None:
    """Split -> texts and labels, as SPLIT.tsv in SST-2's layout."""
    with atomic.atomic_folder(folder) as temporary:
        for name, rows in splits.items():
            lines = "".join(f"{' '.join(text.split())}\t{label}\n" for text, label in rows)
            (temporary / f"{name}.tsv").write_text("sentence\tlabel\n" + lines, encoding="utf-8")


def sample(examples: Sequence[Example], size: int, seed: int) -> list[Example]:
    """`size` examples, as many of each label; of one seed a smaller sample is part of a larger one."""
    order = random.Random(seed).sample(examples, len(examples))
    by_label = [[example for example in order if example.label == label] for label in sorted({str(example.label) for example in order})]
    return [example for row in itertools.zip_longest(*by_label) for example in row if example is not None][:size]


def _ask() -> object:
    import huggingface_hub

    return huggingface_hub.HfApi().dataset_info(HUB_NAME, timeout=ANSWER_SECONDS)


def _read() -> dict[str, list[tuple[str, int]]]:
    import datasets

    loaded: Any = datasets.load_dataset(HUB_NAME)
    return {ours: [(row["sentence"], row["label"]) for row in loaded[theirs]] for ours, theirs in (("train", "train"), ("dev", "validation"))}


def within(seconds: float, function: Callable[[], T]) -> T:
    """`function()`, abandoned after `seconds` (its thread keeps running: a name server that does not answer cannot be interrupted).

    Raises:
        TimeoutError: it was not done by then. Its own exceptions are raised too.
    """
    box: list[T] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            box.append(function())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if not box:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return box[0]
