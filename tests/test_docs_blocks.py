"""Every shell and Python block of the documentation runs, at toy size, or says why not: `<!-- not run: REASON -->` in the line before it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import docs_blocks
import pytest
from conftest import ROOT, WORDS
from docs_blocks import Block, Page, adapted, blocks
from question_sets import paragraphs, write_squad
from toy_glue import trials_in_process, write_glue

PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "ops" / "README.md"])


# ---- what readers have: their texts, tables and models ----


def _sentences(rng: random.Random, number: int) -> list[str]:
    return [" ".join(rng.choices(WORDS, k=rng.randrange(5, 14))) + " ." for _ in range(number)]


def texts(folder: Path) -> None:
    """A folder of plain text."""
    rng = random.Random(folder.name)
    folder.mkdir(parents=True)
    for number in range(3):
        own = [f"{folder.name}{rng.choice(('let', 'ness', 'ful'))} again ." for _ in range(20)]
        documents = ["\n".join([*_sentences(rng, 4), sentence]) for sentence in own]
        (folder / f"{number}.txt").write_text("\n\n".join(documents) + "\n", encoding="utf-8")


def lines(file: Path) -> None:
    file.write_text("\n".join(_sentences(random.Random(1), 12)) + "\n", encoding="utf-8")


def table(header: str, row: Callable[[int, str], str]) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        texts = _sentences(random.Random(2), 40)
        file.write_text("\n".join([header, *(row(i, text.removesuffix(" .")) for i, text in enumerate(texts))]) + "\n", encoding="utf-8")

    return write


def reviews(file: Path) -> None:
    table("review,stars,text,label", lambda i, text: f"{text},{(good := ('good', 'bad')[i % 2])},{text},{good}")(file)


def triplets(file: Path) -> None:
    rows = [(f"{text}", f"{text} {WORDS[i]}", f"{WORDS[-i]} {text[::-1]}") for i, text in enumerate(_sentences(random.Random(2), 40))]
    names = ("query", "passage", "negative")
    lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows] if file.suffix == ".jsonl" else map(",".join, (names, *rows))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def pairs(file: Path) -> None:
    table("query,passage", lambda i, text: f"{text},{text} {WORDS[i]}")(file)


def scored(file: Path) -> None:
    table("sentence1\tsentence2\tscore", lambda i, text: f"{text}\t{text[: 3 * i]} the\t{i % 6}")(file)


def tagged(file: Path) -> None:
    rng = random.Random(3)
    names = ["Ada B-PER", "London B-LOC", "the O", "lived O", "in O"]
    file.write_text("\n\n".join("\n".join(rng.choices(names, k=6)) for _ in range(30)) + "\n", encoding="utf-8")


def annotated(file: Path) -> None:
    rows = [{"text": text, "label": [[0, text.index(" "), ("PER", "LOC")[i % 2]]]} for i, text in enumerate(_sentences(random.Random(7), 30))]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def questions(folder: Path) -> None:
    for split, number in (("train", 24), ("dev", 8)):
        write_squad(folder / f"{split}.json", paragraphs(number, number, unanswerable=True))


def labelled_questions(file: Path) -> None:
    write_squad(file, paragraphs(8, 8, unanswerable="v2" in file.name))


def answers(file: Path) -> None:
    file.write_text(json.dumps({f"q8-{i}": 0.5 if "odds" in file.name else "river" for i in range(8)}), encoding="utf-8")


def hypotheses(file: Path) -> None:
    rows = [{"hypotheses": [text, text[::-1]], "acoustic": [0.1, 0.2]} for text in _sentences(random.Random(5), 3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def bodies(file: Path) -> None:
    file.write_text("".join(json.dumps({"body": text}) + "\n" for text in _sentences(random.Random(6), 8)), encoding="utf-8")


def asked(file: Path) -> None:
    file.write_text('{"question": "where ?", "context": "the chef walked at the river ."}\n', encoding="utf-8")


def collection(folder: Path) -> None:
    """BEIR's layout."""
    (folder / "qrels").mkdir(parents=True)
    texts = _sentences(random.Random(4), 20)
    (folder / "corpus.jsonl").write_text("".join(f'{{"_id": "d{i}", "title": "", "text": "{text}"}}\n' for i, text in enumerate(texts)))
    (folder / "queries.jsonl").write_text("".join(f'{{"_id": "q{i}", "text": "{text[:20]}"}}\n' for i, text in enumerate(texts)))
    rows = "".join(f"q{i}\td{i}\t1\n" for i in range(len(texts)))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)


def glue(folder: Path) -> None:
    folder.mkdir()
    write_glue(folder)


FILES: dict[str, Callable[[Path], None]] = {
    **dict.fromkeys(("corpus", "reviews", "wiki", "articles"), texts),
    **dict.fromkeys(("reviews.txt", "texts.txt", "sentences.txt", "passages.txt"), lines),
    **dict.fromkeys(("train.csv", "dev.csv", "a.csv", "b.csv", "new.csv"), reviews),
    **dict.fromkeys(("STS-B/train.tsv", "STS-B/dev.tsv"), scored),
    **dict.fromkeys(("ner.txt", "dev.txt", "test.txt"), tagged),
    **dict.fromkeys(("doccano.jsonl", "doccano-dev.jsonl"), annotated),
    **dict.fromkeys(("triplets.csv", "triplets.jsonl"), triplets),
    **dict.fromkeys(("dev-v1.1.json", "dev-v2.0.json"), labelled_questions),
    **dict.fromkeys(("predictions.json", "null_odds.json"), answers),
    "pairs.csv": pairs,
    "my-preset.toml": lambda file: file.write_text('base = "mini"\n') and None,
    "lists.jsonl": hypotheses,
    "articles.jsonl": bodies,
    "questions.jsonl": asked,
    "squad": questions,
    "scifact": collection,
    "glue": glue,
}
"""Name -> what makes it."""
MODELS = {
    "vocab": "vocab corpus --size 300 --output vocab",
    "shards": "prepare corpus --tokenizer vocab --output shards",
    "runs/mini": "pretrain mini --data shards --output runs/mini",
    "runs/electric": "pretrain mini --objective electric --generator two-tower --data shards --output runs/electric",
    "runs/sst2": "finetune sst2 --model runs/mini --data glue/SST-2 --output runs/sst2",
    "runs/vectors": "finetune embed --train triplets.csv --dev triplets.csv --query-prompt query: --model runs/mini --output runs/vectors",
    "runs/squad": "finetune squad2 --model runs/mini --data squad --output runs/squad",
    "runs/ner": "finetune tagging --train ner.txt --dev dev.txt --model runs/mini --output runs/ner",
}
"""Name -> the command line that makes it."""
NEEDED = {
    "build-and-compare.md": "runs/sst2 reviews.txt glue",
    "continue.md": "runs/mini reviews wiki articles glue runs/sst2-of-model=runs/sst2",
    "compatibility.md": "runs/mini=runs/vectors texts.txt questions.txt=texts.txt",
    "embeddings.md": "runs/mini train.csv=triplets.csv dev.csv=triplets.csv dev.jsonl=triplets.jsonl "
    " articles.jsonl pairs.csv STS-B/train.tsv STS-B/dev.tsv texts.txt articles passages.txt scifact",
    "few-labels.md": "runs/mini train.csv dev.csv glue",
    "finetune.md": "runs/mini glue reviews.txt a.csv b.csv new.csv",
    "pretrain.md": "corpus runs/other=runs/mini sentences.txt lists.jsonl runs/electric",
    "question-answering.md": "runs/mini squad questions.jsonl predictions.json null_odds.json dev-v1.1.json dev-v2.0.json",
    "scale.md": "runs/sst2",
    "serve.md": "runs/sst2 runs/ner runs/squad runs/mini",
    "tagging.md": "runs/mini ner.txt dev.txt test.txt doccano.jsonl doccano-dev.jsonl",
    "README.md": "corpus train.csv dev.csv new.csv",
    "CONTRIBUTING.md": "runs/mini shards a.csv b.csv my-preset.toml",
}
"""Page -> what its reader has before the first block."""


class Reader:
    """A folder with what a reader of the documentation has; each thing is made when a page first needs it."""

    def __init__(self, folder: Path) -> None:
        """Empty."""
        self.folder, self.page = folder, Page(folder)

    def get(self, name: str) -> Path:
        """The file or folder of that name."""
        place = self.folder / name
        if place.exists():
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        if name in FILES:
            FILES[name](place)
            return place
        for word in MODELS[name].split():
            if word != name and (known := {word, word.split("/")[0]} & {*FILES, *MODELS}):
                self.get(known.pop())
        self.page.run(Block("test", 0, "sh", f"electra {MODELS[name]}\n", None))
        return place


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    trials_in_process(monkeypatch)
    for name in ("_TRIAL_SECONDS", "_PEAK_SECONDS"):  # of dry runs
        monkeypatch.setattr(f"electra.train.timing.{name}", 0.05)
    made = Page(tmp_path)
    yield made
    made.servers.close()


@pytest.mark.parametrize("path", [path for path in PAGES if any(block.reason is None for block in blocks(path))], ids=lambda path: path.name)
def test_the_blocks_of_a_page_run(path: Path, reader: Reader, page: Page) -> None:
    for needed in NEEDED.get(path.name, "").split():
        name, _, source = needed.partition("=")
        docs_blocks.link(reader.get(source or name), page.folder / name)
    for block in blocks(path):
        if block.reason is None:
            page.run(block)


# ---- marks ----


def test_every_block_that_is_not_run_says_why() -> None:
    """A reason is a sentence of its own; a test that it names exists."""
    marked = [block for path in PAGES for block in blocks(path) if block.reason is not None]
    assert marked
    for block in marked:
        assert len(str(block.reason)) >= 10, block
        assert all((ROOT / name).is_file() for name in re.findall(r"tests/[\w/]+\.py", str(block.reason))), block
    assert len(marked) <= 24


PLANTED = {
    "an unknown flag": ("sh", "electra detect shipped:detector 'the meal' --frobnicate\n", "unknown flag"),
    "a file that is not there": ("sh", "electra predict shipped:sentiment nowhere.txt\n", "nowhere.txt"),
    "another program": ("sh", "rm -r everything\n", "not run here"),
    "an exit code of a pipe": ("sh", "echo 'a film' | electra predict nowhere -\n", "nowhere"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_error_is_found(name: str, page: Page) -> None:
    language, code, message = PLANTED[name]
    with pytest.raises(AssertionError, match=message):
        page.run(Block("page.md", 1, language, code, None))


def test_a_planted_error_of_python_is_found(page: Page) -> None:
    with pytest.raises(AttributeError, match="pretrian"):
        page.run(Block("page.md", 1, "python", "import electra\nelectra.pretrian()\n", None))


def test_output_goes_through_pipes_and_into_files(page: Page) -> None:
    page.run(Block("page.md", 1, "sh", "echo 'a film' | electra predict shipped:sentiment - > out.txt  # a comment\n", None))
    assert (page.folder / "out.txt").read_text().startswith(("positive", "negative"))


def test_toy_size_changes_sizes_and_nothing_else() -> None:
    words = "pretrain mini --data shards --output runs/mini --budget 1h".split()
    made = adapted(words)
    assert made[:6] == words[:6] and "--budget" not in made and "--num-train-steps" in made
    assert adapted(["predict", "runs/stars", "new.csv", "--output", "labelled.csv"])[:5] == [
        "predict",
        "runs/stars",
        "new.csv",
        "--output",
        "labelled.csv",
    ]
