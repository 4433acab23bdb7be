"""--data and --init -> shards to pre-train on, labelled examples to fine-tune on, a checkpoint of random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from electra import disk, hub
from electra.contracts import Example, Head, Task
from electra.data.shards import open_shards
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.errors import UserError
from electra.recipes.ablation_methods import Method
from electra.settings import AblateSettings
from electra.tasks import find_task
from electra.tasks.baseline import baseline_scores
from electra.tasks.imdb_csv import hold_out, to_csv
from electra.tasks.imdb_unlabelled import as_document, read_unlabelled
from electra.tasks.task import choose_examples

Call = Callable[..., str]
HELD_OUT = "0.5%"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """The task of the fine-tuning and all its examples."""

    task: Task
    place: Path
    head: Head
    train: list[Example]
    dev: list[Example]

    @property
    def can_shrink(self) -> bool:
        """Whether fewer dev examples than all may be scored: IMDb's 25,000 reviews would take longer than a short training."""
        return self.task.name == "imdb"


def open_task(settings: AblateSettings) -> Labelled:
    """The task's examples, all read.

    Raises:
        UserError: an unknown task, one that is not of single texts or pairs with a class, or files that cannot be read.
    """
    task = find_task(settings.task or ("imdb" if settings.variant == "imdb" else "sst2"))
    place = settings.task_data
    if place is None and task.name == "imdb" and settings.variant == "imdb":
        place = Path(settings.data[0])
    if place is None:
        raise UserError(f"no data for the task {task.name}: give --task-data DIR, the folder with its files")
    if task.name in ("own", "tagging"):
        raise UserError(f"--task {task.name} needs files of its own; give a task with a data folder, such as sst2 or imdb")
    train, dev = task.read(place, "train"), task.read(place, "dev")
    head = task.head(train)
    if head.kind != "classification":
        raise UserError(f"--task {task.name} asks for {head.kind}; the ablation takes tasks of one class per text, such as sst2 or imdb")
    return Labelled(task=task, place=place, head=head, train=train, dev=dev)


def known_tokenizer(settings: AblateSettings) -> Tokenizer | None:
    """The vocabulary, where it is not still to be made.

    Raises:
        UserError: no such shards or checkpoint, or shards of different vocabularies.
    """
    if settings.init is not None:
        return load_tokenizer(hub.resolve(settings.init))
    if settings.variant == "scratch":
        return load_tokenizer(open_shards(settings.data[0]).tokenizer_path)
    made = settings.output / "vocab"
    return load_tokenizer(made) if made.exists() else None


def shard_folders(settings: AblateSettings) -> tuple[str, ...]:
    """What every method pre-trains on."""
    return settings.data if settings.variant == "scratch" else (str(settings.output / "shards"),)


def make_shards(settings: AblateSettings, vocab_size: int, call: Call) -> dict[str, Any]:
    """IMDb's unlabelled reviews -> text -> vocabulary (unless a checkpoint brings one) -> shards; what is there stays."""
    folder = settings.output
    text, vocab, shards = folder / "text.txt", folder / "vocab", folder / "shards"
    if not text.exists():
        reviews = read_unlabelled(Path(settings.data[0]))
        disk.write_text(text, "".join(f"{as_document(review)}\n\n" for review in reviews))
    if settings.init is None and not (vocab / "tokenizer_config.json").exists():
        shutil.rmtree(vocab, ignore_errors=True)
        call("vocab", text, "--size", vocab_size, "--documents", "blank-line", "--output", vocab)
    if not (shards / "manifest.json").exists():
        call("prepare", text, "--tokenizer", settings.init or vocab, "--held-out", HELD_OUT, "--documents", "blank-line", "--output", shards)
    return describe_shards(settings)


def describe_shards(settings: AblateSettings) -> dict[str, Any]:
    """How much there is to pre-train on."""
    opened = [open_shards(path) for path in shard_folders(settings)]
    return {"tokens": sum(shards.num_tokens for shards in opened), "vocab_size": load_tokenizer(opened[0].tokenizer_path).vocab_size}


def make_start(settings: AblateSettings, method: Method) -> Path:
    """OUTPUT/start: a checkpoint of the network's shape with random weights, for the row without pre-training."""
    folder = settings.output / "start"
    if not folder.exists():
        from electra.model import networks
        from electra.tasks.assembly import initial_objective

        tokenizer_path = open_shards(shard_folders(settings)[0]).tokenizer_path
        objective = initial_objective(method.settings, load_tokenizer(tokenizer_path))
        with disk.atomic_folder(folder) as temporary:
            networks.save(objective, temporary, tokenizer=tokenizer_path, card="Random weights: the shape of an ablation's networks.\n")
    return folder


def fewer(labelled: Labelled, num_train: int, num_dev: int) -> tuple[list[Example], list[Example]]:
    """The same random choice of training examples, and of dev examples an equal share of each class, for every fine-tuning."""
    train = choose_examples(labelled.train, num_train, swapped=False)
    dev = labelled.dev
    if num_dev < len(dev):
        _, dev = hold_out(dev, num_dev / len(dev), 17)
    return train, dev


def write_labelled(labelled: Labelled, num_train: int, num_dev: int, output: Path) -> Path:
    """Where the fine-tunings read: the task's own files, or for IMDb OUTPUT/sentiment with the chosen reviews. Baselines beside it."""
    train, dev = fewer(labelled, num_train, num_dev)
    place = labelled.place
    if labelled.can_shrink:
        place = output / "sentiment"
        if not (place / "dev.csv").exists():
            disk.write_text(place / "train.csv", to_csv(train))
            disk.write_text(place / "dev.csv", to_csv(dev))
    if not (output / "baselines.json").exists():
        scores = baseline_scores(labelled.task, train, dev, labelled.head)
        found = {name: score[labelled.task.main_metric] for name, score in scores.items()}
        disk.write_text(output / "baselines.json", json.dumps(found, indent=1) + "\n")
    return place


def token_lengths(examples: Sequence[Example], tokenizer: Tokenizer | None, max_length: int) -> list[int]:
    """Lengths in tokens of some examples as the network reads them; without a vocabulary yet, 1.3 pieces a word."""
    some = examples[:: max(1, len(examples) // 512)][:512]
    texts = [example.text if example.text_pair is None else f"{example.text} {example.text_pair}" for example in some]
    counts = [len(ids) for ids in tokenizer.encode(texts)] if tokenizer is not None else [round(1.3 * len(text.split())) for text in texts]
    return [max(3, min(max_length, count + 2)) for count in counts]
