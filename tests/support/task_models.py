"""Small fine-tuned checkpoints of every kind of head, with random weights, and examples and files of their tasks."""

from __future__ import annotations

import random
from pathlib import Path

from question_sets import paragraphs, write_squad
from tiny_models import SHAPE, checkpoints

from electra.contracts import Example, Head, Task
from electra.data.tokenizer import load_tokenizer
from electra.tasks.input_spec import record, with_options
from electra.tasks.registry import find_task

WORDS = "the chef cooked a meal and it was good again in the old city".split()
HEADS = {
    "classification": (Head(kind="classification", labels=("1", "0")), "sst2", "transformers"),
    "original": (Head(kind="classification", labels=("0", "1")), "mrpc", "original"),
    "mean": (Head(kind="classification", labels=("1", "0")), "sst2", "mean"),
    "regression": (Head(kind="regression"), "stsb", "transformers"),
    "multilabel": (Head(kind="multilabel", labels=("a", "b", "c")), "own", "transformers"),
    "tagging": (Head(kind="tagging", labels=("B-X", "I-X", "O")), "tagging", "transformers"),
    "span": (Head(kind="span"), "squad", "transformers"),
    "joint": (Head(kind="span"), "squad2", "original"),
}


def make(name: str, folder: Path) -> Path:
    """A fine-tuned checkpoint of ours with random weights."""
    from electra.model.encoder import Encoder, EncoderConfig
    from electra.model.huggingface import reinitialize, save_checkpoint
    from electra.model.task_models import task_network

    head, task, style = HEADS[name]
    tokenizer = load_tokenizer(checkpoints()["vocab"])
    network = task_network(Encoder(EncoderConfig(vocab_size=tokenizer.vocab_size, **SHAPE)), head, style)
    reinitialize(network, 3)
    save_checkpoint(network, folder, labels=head.labels, extra=record(with_options(find_task(task), {"stride": 9}), 40))
    tokenizer.save(folder)
    return folder


def examples(task: Task) -> list[Example]:
    """Texts, pairs, sentences or questions; some longer than the model reads."""
    rng = random.Random(5)
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(1, 70))) for _ in range(25)]
    if task.name == "tagging":
        return [Example(id=str(i), text=text, words=tuple(text.split())) for i, text in enumerate(texts)]
    pair = task.name in ("mrpc", "stsb") or task.options.get("stride")
    return [Example(id=str(i), text=text[:60], text_pair=texts[-i - 1] if pair else None) for i, text in enumerate(texts)]


def write_data(name: str, folder: Path) -> Path:
    """Labelled examples of a head's task in its layout -> the value of --data."""
    rng = random.Random(8)
    texts = [" ".join(rng.choices(WORDS, k=1 + i)) for i in range(30)]
    if name == "classification":
        folder.mkdir(exist_ok=True)
        (folder / "dev.tsv").write_text("sentence\tlabel\n" + "".join(f"{text}\t{rng.randrange(2)}\n" for text in texts))
        return folder
    if name == "regression":
        (folder.with_suffix(".csv")).write_text("text,label\n" + "".join(f"{text},{rng.randrange(50) / 10}\n" for text in texts))
        return folder.with_suffix(".csv")
    if name == "multilabel":
        rows = "".join(f"{text},{'|'.join(rng.sample('abc', rng.randrange(1, 3)))}\n" for text in texts)
        folder.with_suffix(".csv").write_text("text,label\n" + rows)
        return folder.with_suffix(".csv")
    if name == "tagging":
        lines = (f"{word} {rng.choice(('O', 'B-X', 'I-X'))}\n" + ("\n" if rng.random() < 0.1 else "") for word in WORDS * 9)
        folder.with_suffix(".txt").write_text("".join(lines))
        return folder.with_suffix(".txt")
    return write_squad(folder / "dev.json", paragraphs(20, 2, unanswerable=name == "joint")).parent
