"""The corruption set that our detectors are compared on: sentences of WikiText-2's test part, words replaced by a masked LM that is no detector's own generator.

    python experiments/corruption.py make GENERATOR --data wikitext2/test.txt      # once, before a detector that it is to judge is trained
    python experiments/corruption.py join runs/words.jsonl --data wikitext2/test.txt
    electra evaluate MODEL --corruption runs/words.jsonl --against shipped:detector

The text is not ours (CC BY-SA 3.0), so the record holds line, sentence and word numbers and the new words; `join` puts them into the text, and compares
its hash and that of the outcome with those recorded. What is replaced, and how, is said at `electra.inference.replaced_tokens.corrupt_words`; sentences
with WikiText's <unk> are left out, and articles that our pre-training text has; its ' @-@ ', ' @,@ ' and ' @.@ ' become what they stand for. A public
encoder has read Wikipedia, with these articles too: an advantage that stays.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electra.data.corruption_set import SOURCES, CorruptedText, find_words, replace_words, save_texts
from electra.errors import UserError
from electra.inference.predictor import load
from electra.inference.replaced_tokens import corrupt_words
from electra.storage import atomic, resolve

RECORD = Path(__file__).parent / "records" / "corruption" / "wikitext2-test.json.gz"
FEWEST_WORDS, MOST_WORDS = 8, 60
IN_CORPUS_EN = ("<unk>", "<unk> warship", "American Beauty ( 1999 film )", "View of the World from 9th Avenue")
"""Titles of articles of which several sentences are in the Wikipedia that our models are pre-trained on: left out."""
Sentence = tuple[int, int, str]
"""Number of its line and of the sentence in it, from 0; text."""


def read_data(path: Path) -> bytes:
    """WikiText-2's file.

    Raises:
        UserError: missing.
    """
    try:
        return path.read_bytes()
    except OSError:
        raise UserError(f"{path} not found; give WikiText-2's test part, one paragraph a line") from None


def sentences(data: bytes) -> Iterator[Sentence]:
    """WikiText -> its whole sentences of some words, without headings, sentences with an <unk>, and the articles IN_CORPUS_EN."""
    title = ""
    for line, paragraph in enumerate(data.decode("utf-8").split("\n")):
        if heading := re.fullmatch(r"(=(?: =)*) (.*) \1", paragraph.strip()):
            title = heading[2] if heading[1] == "=" else title
            continue
        for number, sentence in enumerate(re.split(r"(?<= [.!?]) ", paragraph.strip())):
            text = re.sub(r" @(.)@ ", r"\1", sentence)
            usable = title not in IN_CORPUS_EN and "<unk>" not in text and text.endswith((" .", " !", " ?"))
            if usable and FEWEST_WORDS <= len(find_words(text)) <= MOST_WORDS:
                yield line, number, text


def changes(text: str, corrupted: CorruptedText) -> dict[str, str]:
    """An original and what became of it -> number of a word (as in JSON) -> the new word."""
    assert len(find_words(text)) == len(corrupted.words)
    return {str(n): corrupted.text[first:end] for n, (first, end, replaced) in enumerate(corrupted.words) if replaced}


def recipe(data: bytes, generator: str, num: int, seed: int) -> dict[str, Any]:
    """Text, a masked LM -> the record's sentences with what is replaced."""
    every = [*sentences(data)]
    rng = np.random.default_rng(seed)
    chosen = [every[i] for i in sorted(rng.permutation(len(every))[: num + num // 10].tolist())]
    model = load(generator)
    counts = Counter(text[first:end].lower() for *_, text in every for first, end in find_words(text))
    texts = [text for *_, text in chosen]
    made = corrupt_words(model.generator, model.tokenizer, texts, counts, seed=seed)
    items = [[*chosen[n][:2], *(changes(texts[n], text) for text in both)] for n, both in itertools.islice(made, num)]
    return {"items": items, "sentences": len(every), "counts_of": sum(counts.values())}


def joined(record: dict[str, Any], data: bytes, place: Path) -> list[CorruptedText]:
    """Record, text -> the set.

    Raises:
        UserError: another text.
    """
    if (found := hashlib.sha256(data).hexdigest()) != record["sha256"]:
        raise UserError(f"{place}: sha256 {found[:12]}...; expected {record['sha256'][:12]}..., WikiText-2's {record['file']}; give that file")
    texts = {(line, number): text for line, number, text in sentences(data)}
    return [
        replace_words(texts[line, number], {int(word): new for word, new in changed.items()}, source)
        for line, number, *both in record["items"]
        for source, changed in zip(SOURCES, both, strict=True)
    ]


def digest(texts: Sequence[CorruptedText]) -> str:
    """SHA-256 of a set."""
    return hashlib.sha256(json.dumps([text.to_dict() for text in texts]).encode()).hexdigest()


def read_record(path: Path = RECORD) -> dict[str, Any]:
    """The record."""
    found: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return found


def make(options: argparse.Namespace) -> None:
    """Write the record, and print what it holds."""
    data = read_data(options.data)
    found = recipe(data, options.generator, options.num, options.seed)
    weights = resolve.resolve(options.generator) / "model.safetensors"
    record = {
        "file": options.data.name, "sha256": hashlib.sha256(data).hexdigest(), "seed": options.seed,
        "generator": {"name": options.name, "model.safetensors": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else None}, **found,
    }  # fmt: skip
    texts = joined(record, data, options.data)
    with atomic.atomic_file(options.record) as temporary:
        temporary.write_bytes(gzip.compress(json.dumps(record | {"texts_sha256": digest(texts)}, separators=(",", ":")).encode(), mtime=0))
    replaced = {source: sum(replaced for text in texts if text.source == source for *_, replaced in text.words) for source in SOURCES}
    words = sum(len(text.words) for text in texts) // len(SOURCES)
    print(
        f"{options.record}: {len(record['items']):,} of {record['sentences']:,} sentences, {words:,} words, replaced: {replaced}; {options.record.stat().st_size:,} bytes"
    )


def join(options: argparse.Namespace) -> None:
    """Write the set.

    Raises:
        UserError: it is not the one that was recorded.
    """
    record = read_record(options.record)
    texts = joined(record, read_data(options.data), options.data)
    if digest(texts) != record["texts_sha256"]:
        raise UserError(f"{options.record}: the texts differ from those recorded; the record is of another version of experiments/corruption.py")
    save_texts(texts, options.output)
    print(f"{options.output}: {len(texts):,} texts")


def main() -> None:
    """Make the record, or join it with the text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("make", make), ("join", join)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("generator" if name == "make" else "output", type=str if name == "make" else Path)
        command.add_argument("--data", type=Path, required=True, help="wikitext2/test.txt")
        command.add_argument("--record", type=Path, default=RECORD)
        if name == "make":
            command.add_argument("--name", default="a masked LM", help="of the generator, in words")
            command.add_argument("--num", type=int, default=1800, help="sentences")
            command.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
