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

from electra import config
from electra.contracts import Head, Task
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError, require
from electra.finetuning.hyperparameters import check_class_weights, check_same_run, class_weights, fit_length, resolve
from electra.finetuning.results import best, model_card, score_line, summarize, to_json
from electra.settings import FinetuneSettings
from electra.storage import atomic
from electra.tasks import data_warnings, input_spec, question_answering
from electra.tasks.custom import settle
from electra.tasks.registry import choose_task, read_splits
from electra.tasks.text_tasks import choose_examples

RANDOM = "random:"
"""Prefix of --model for random weights in a checkpoint's shape."""


def run(settings: FinetuneSettings) -> int | None:
    """Fine-tune, score and report."""
    task = choose_task(settings)
    if not settings.resume:
        atomic.fresh_output(settings.output, remedy="add --resume to go on with it, or choose another --output")
    train_examples, dev_examples = read_splits(task, settings)
    head = task.head(train_examples)
    task = settle(task, head)
    check_class_weights(settings.class_weights, head)
    require("torch", "train")
    from electra.finetuning import distillation
    from electra.finetuning import trainer as trials
    from electra.model.huggingface import load_checkpoint
    from electra.model.task_models import check_layers
    from electra.train import checkpoint, distributed

    start = load_checkpoint(settings.model.removeprefix(RANDOM), "encoder")
    asked = settings
    settings = fit_length(resolve(asked, task.name, start.config.hidden_size), asked, start.config.max_position_embeddings)
    check_layers(settings.freeze_layers, start.config.num_hidden_layers)
    check_same_run(settings)
    task = input_spec.set_by(task, settings, asked)
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
    told = [data_warnings.start_line(settings.model, start.hf_config, task, head, settings.head)]
    told += data_warnings.data_lines(train_examples, dev_examples, head, settings.pretraining_data)
    counts = {"train_examples": len(shown), "dev_examples": len(dev_examples), "text_pairs": int(shown[0].text_pair is not None)}
    results = []
    with distributed.join(settings.loop.device, settings.loop.threads) as here:
        trial = replace(trial, settings=config.replace(settings, loop=checkpoint.split_global_batch(settings.loop, None, here.world_size)))
        if here.first:
            atomic.write_text(settings.output / "config.toml", config.to_toml(settings))
            data_warnings.tell(told)
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


def keep_best(task: Task, head: Head, settings: FinetuneSettings, results: list, counts: dict[str, int]) -> None:
    """Write scores.json, move the best seed's model to RUN/best and write its card; the other seeds' weights go."""
    from electra.train.run_log import run_environment

    summary = summarize(task, settings, results, counts)
    atomic.write_text(settings.output / "scores.json", to_json(summary))
    folder = settings.output / f"seed-{best(task, results).seed}"
    if (folder / "final").exists():
        atomic.replace_folder(folder / "final", settings.output / "best")
    for name in ("predictions.jsonl", *(question_answering.PREDICTION_FILES if head.kind == "span" else ())):
        shutil.copyfile(folder / name, settings.output / name)
    atomic.write_text(settings.output / "best" / "README.md", model_card(task, head, settings, summary, run_environment()))
    for result in results:
        shutil.rmtree(settings.output / f"seed-{result.seed}" / "final", ignore_errors=True)
