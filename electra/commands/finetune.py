"""electra finetune: task files + pre-trained checkpoint -> RUN/seed-N, RUN/best, RUN/scores.json.

task, files        -> training and dev examples      (read and checked before any model is opened)
checkpoint         -> encoder, tokenizer; its size chooses the recipe
examples           -> features
for every seed:       features -> training -> dev scores, predictions
scores of seeds    -> scores.json, and the best seed's model with its card
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from electra import config, disk
from electra.contracts import Example, Head, Task
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError, require
from electra.settings import FinetuneSettings
from electra.tasks import find_task, hub_datasets, notices, questions, reading
from electra.tasks.class_weights import check_class_weights, class_weights
from electra.tasks.clue import choose_fold
from electra.tasks.own import Columns, own_task, settle
from electra.tasks.recipe import check_same_run, fit_length, resolve
from electra.tasks.summary import best, model_card, score_line, summarize, to_json
from electra.tasks.tag_files import TagColumns
from electra.tasks.tagging import tagging_task
from electra.tasks.task import choose_examples

RANDOM = "random:"
"""Prefix of --model for random weights in a checkpoint's shape."""


def run(settings: FinetuneSettings) -> int | None:
    """Fine-tune, score and report."""
    task = choose_task(settings)
    if not settings.resume:
        disk.fresh_output(settings.output, remedy="add --resume to go on with it, or choose another --output")
    train_examples, dev_examples = read_splits(task, settings)
    head = task.head(train_examples)
    task = settle(task, head)
    check_class_weights(settings.class_weights, head)
    require("torch", "train")
    from electra.model.freezing import check_layers
    from electra.model.hf import load_checkpoint
    from electra.tasks import distillation
    from electra.tasks import trial as trials
    from electra.train import ranks, resume

    start = load_checkpoint(settings.model.removeprefix(RANDOM), "encoder")
    asked = settings
    settings = fit_length(resolve(asked, task.name, start.config.hidden_size), asked, start.config.max_position_embeddings)
    check_layers(settings.freeze_layers, start.config.num_hidden_layers)
    check_same_run(settings)
    task = reading.set_by(task, settings, asked)
    tokenizer = load_tokenizer(start.path)
    if tokenizer.vocab_size > start.config.vocab_size:
        raise UserError(
            f"{start.path}: its tokenizer has {tokenizer.vocab_size} pieces, the model {start.config.vocab_size}; they do not belong together"
        )
    chosen = choose_examples(train_examples, settings.max_train_examples, swapped=task.unordered_pairs and settings.double_unordered)
    shown, features = distillation.featurize(task, chosen, tokenizer, head, settings)
    trial = trials.Trial(
        task=task,
        head=head,
        start=start,
        random_weights=settings.model.startswith(RANDOM),
        tokenizer=tokenizer,
        train=features,
        dev=task.featurize(dev_examples, tokenizer, settings.max_length, head),
        dev_examples=dev_examples,
        settings=settings,
        class_weights=class_weights(settings.class_weights, head, features),
    )
    told = [notices.start_line(settings.model, start.hf_config, task, head, settings.head)]
    told += notices.data_lines(train_examples, dev_examples, head, settings.pretraining_data)
    counts = {"train_examples": len(shown), "dev_examples": len(dev_examples), "text_pairs": int(shown[0].text_pair is not None)}
    results = []
    with ranks.join(settings.loop.device, settings.loop.threads) as here:
        trial = replace(trial, settings=config.replace(settings, loop=resume.share_out(settings.loop, None, here.world_size)))
        if here.first:
            disk.write_text(settings.output / "config.toml", config.to_toml(settings))
            notices.tell(told)
        for seed in range(settings.loop.seed, settings.loop.seed + settings.seeds):
            folder = settings.output / f"seed-{seed}"
            result = trials.read_result(folder)
            if result is None:
                ended, result = trials.run_seed(trial, seed, folder, here)
                if result is None:
                    return 128 + (ended.signal or 15)
            results.append(result)
            if here.first:
                keep_best(task, head, settings, results, counts)
    if here.first:
        summary = summarize(task, settings, results, counts)
        print(
            to_json(summary).rstrip() if settings.json else f"{score_line(summary)}\nbest: {settings.output / 'best'} (seed {summary['best_seed']})"
        )
    return None


def choose_task(settings: FinetuneSettings) -> Task:
    """The named task; for one's own the one made of the given columns and files.

    Raises:
        UserError: unknown name, or the files it needs were not given.
    """
    task = find_task(settings.task)
    if task.name in questions.QUESTION_TASKS:
        return questions.with_files(task, settings.data, settings.train, settings.dev)
    if task.name not in ("own", "tagging"):
        if settings.train or settings.dev:
            raise UserError(f"--train and --dev are for the tasks 'own' and 'tagging' and for questions; {task.name} reads --data DIR")
        if settings.data is None:
            raise UserError(f"{task.name} needs --data DIR, the folder with its files, or --data hub")
        return choose_fold(task, settings.fold)
    if settings.data is None and (settings.train is None or settings.dev is None):
        raise UserError(
            "a task of your own needs --train FILE and --dev FILE (csv, tsv, jsonl, parquet; columns of tags), or --data DIR with train.* and dev.*"
        )
    if settings.data is not None and settings.data.is_file() and (settings.train is None or settings.dev is None):
        raise UserError(f"{settings.data} is one file; give two, --train FILE and --dev FILE, so that the score is of unseen examples")
    files = {name: file for name, file in (("train", settings.train), ("dev", settings.dev)) if file is not None}
    if task.name == "tagging":
        return tagging_task(TagColumns(word=settings.word_column, tag=settings.tag_column), files)
    names = ("text", "text_pair", "label", "kind", "label_separator")
    return own_task(Columns(**{name: getattr(settings, name) for name in names}), files)


def read_splits(task: Task, settings: FinetuneSettings) -> tuple[list[Example], list[Example]]:
    """All training and dev examples."""
    place = hub_datasets.local(task, settings.data) if settings.data is not None else Path(".")
    return task.read(place, "train"), task.read(place, "dev")


def keep_best(task: Task, head: Head, settings: FinetuneSettings, results: list, counts: dict[str, int]) -> None:
    """Write scores.json, move the best seed's model to RUN/best and write its card; the other seeds' weights go."""
    from electra.train.record import environment

    summary = summarize(task, settings, results, counts)
    disk.write_text(settings.output / "scores.json", to_json(summary))
    folder = settings.output / f"seed-{best(task, results).seed}"
    if (folder / "final").exists():
        disk.replace_folder(folder / "final", settings.output / "best")
    for name in ("predictions.jsonl", *(questions.PREDICTION_FILES if head.kind == "span" else ())):
        shutil.copyfile(folder / name, settings.output / name)
    disk.write_text(settings.output / "best" / "README.md", model_card(task, head, settings, summary, environment()))
    for result in results:
        shutil.rmtree(settings.output / f"seed-{result.seed}" / "final", ignore_errors=True)
