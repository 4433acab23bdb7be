"""Settings -> everything that can be checked or settled before long work: methods, task, vocabulary, the checkpoint's shape, the plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from electra import config, disk, hub
from electra.data.shards import open_shards, same_vocabulary
from electra.data.tokenizer import Tokenizer
from electra.errors import UserError, did_you_mean, require
from electra.recipes import ablation_data, ablation_plan
from electra.recipes.ablation_data import Labelled
from electra.recipes.ablation_methods import Method, find_methods
from electra.recipes.ablation_parts import starts
from electra.recipes.ablation_plan import FinetuneCost, Plan
from electra.settings import AblateSettings, FinetuneSettings
from electra.tasks.imdb_unlabelled import check_reviews
from electra.tasks.recipe import fit_length, resolve

VARIANTS = ("scratch", "imdb")


@dataclass(frozen=True, kw_only=True)
class Checked:
    """An ablation whose settings make sense."""

    settings: AblateSettings
    methods: list[Method]
    labelled: Labelled
    tokenizer: Tokenizer | None
    """None where it is still to be made."""
    vocab_size: int
    finetuning: FinetuneSettings
    """The recipe of every fine-tuning."""


def check(settings: AblateSettings) -> Checked:
    """Refuse what cannot work.

    Raises:
        UserError: names the value, the place and the remedy.
    """
    if settings.variant not in VARIANTS:
        raise UserError(f"unknown ablation '{settings.variant}'; {did_you_mean(settings.variant, VARIANTS)}")
    for name, least in (("seeds", 1), ("points", 1), ("max_train_examples", 0)):
        if getattr(settings, name) < least:
            raise UserError(f"--{name.replace('_', '-')} {getattr(settings, name)}: expected at least {least}")
    if settings.num_train_steps is None and settings.budget <= 0:
        raise UserError("--budget 0s: expected a duration such as 8h")
    if (steps := settings.num_train_steps) is not None and steps < 2 * settings.points:
        raise UserError(f"--num-train-steps {steps}: expected at least {2 * settings.points}, two for each of --points {settings.points}")
    check_start(settings)
    if settings.resume:
        ablation_plan.check_same(settings)
    elif not settings.dry_run:
        disk.fresh_output(settings.output, remedy="go on with --resume, or choose another --output")
    for package in ("sklearn", "scipy.stats", "matplotlib"):
        require(package, "train")
    shape = checkpoint_shape(settings) if settings.init is not None else ()
    methods = find_methods(settings, shape)
    tokenizer = ablation_data.known_tokenizer(settings)
    model = methods[0].settings.model
    labelled = ablation_data.open_task(settings)
    asked: FinetuneSettings = config.build(
        FinetuneSettings,
        {
            "task": labelled.task.name,
            "model": "",
            "output": ".",
            "preset": settings.finetune_preset or ("mini" if model.hidden_size < 256 else "paper"),
        },
    )
    recipe = fit_length(resolve(asked, labelled.task.name, model.hidden_size), asked, model.max_position_embeddings)
    return Checked(
        settings=settings,
        methods=methods,
        labelled=labelled,
        tokenizer=tokenizer,
        vocab_size=tokenizer.vocab_size if tokenizer is not None else methods[0].settings.data.vocab_size,
        finetuning=recipe,
    )


def check_start(settings: AblateSettings) -> None:
    """The data, and what to go on from.

    Raises:
        UserError: missing, not of this variant, or of different vocabularies.
    """
    if not settings.data:
        what = "SHARDS, folders made by 'electra prepare'" if settings.variant == "scratch" else "aclImdb, the folder or its archive"
        raise UserError(f"no data: give --data {what}")
    if settings.variant == "scratch":
        if settings.init or settings.init_mlm:
            raise UserError("--init goes on from a checkpoint, 'scratch' starts from random weights; leave it out, or use 'electra ablate imdb'")
        shards = {path: open_shards(path) for path in settings.data}
        same_vocabulary(shards)
        for each in shards.values():
            # Opened now, so that a damaged one is told before anything is written.
            each.split("train"), each.split("held_out")
        return
    if len(settings.data) > 1:
        raise UserError(f"--data has {len(settings.data)} places; imdb takes one, aclImdb or its archive")
    check_reviews(Path(settings.data[0]))
    if settings.init_mlm and not settings.init:
        raise UserError("--init-mlm is BERT's start beside ELECTRA's; give --init, too")


def checkpoint_shape(settings: AblateSettings) -> list[str]:
    """The flags that give every method the checkpoint's shape.

    Raises:
        UserError: not a checkpoint, or --init-mlm of another shape or vocabulary.
    """
    from electra.data.tokenizer import load_tokenizer
    from electra.model.hf import load_checkpoint
    from electra.model.networks import same_shape
    from electra.model.shape import SHAPE

    assert settings.init is not None
    found = load_checkpoint(settings.init)
    flags = []
    for name in SHAPE:
        if name != "vocab_size":
            flags += [f"--{name.replace('_', '-')}", str(getattr(found.config, name))]
    if (found.path / "generator" / "config.json").exists():
        small = load_checkpoint(found.path / "generator").config
        for flag, name in (("--generator-size", "hidden_size"), ("--generator-layers", "num_hidden_layers")):
            mine, whole = getattr(small, name), getattr(found.config, name)
            # A little above a fraction such as 1/3: widths are rounded down.
            flags += [flag, repr(1.0 if mine == whole else mine / whole + 1e-9)]
    base = config.preset_values(settings.preset, "pretrain").get("data", {}).get("sequence_length", 128)
    flags += ["--sequence-length", str(min(base, found.config.max_position_embeddings))]
    if settings.init_mlm is not None:
        other = load_checkpoint(settings.init_mlm)
        if not same_shape(other.config, found.config):
            raise UserError(f"--init-mlm {settings.init_mlm} has another shape than --init {settings.init}; give two of the same size")
        if load_tokenizer(hub.resolve(settings.init_mlm)).pieces != load_tokenizer(found.path).pieces:
            raise UserError(f"--init-mlm {settings.init_mlm} has another vocabulary than --init {settings.init}; give two of the same")
    return flags


def with_vocabulary(checked: Checked) -> Checked:
    """The same, once the vocabulary is made."""
    tokenizer = ablation_data.known_tokenizer(checked.settings)
    assert tokenizer is not None
    return replace(checked, tokenizer=tokenizer, vocab_size=tokenizer.vocab_size)


def settle(checked: Checked, setup: float) -> Plan:
    """Time updates -> the plan; `setup` seconds of the budget are already gone.

    Raises:
        UserError: the budget does not hold the smallest parts.
    """
    import time

    from electra.recipes import ablation_timing
    from electra.train import ranks

    settings, labelled, begun = checked.settings, checked.labelled, time.monotonic()
    lengths = ablation_data.token_lengths(labelled.train, checked.tokenizer, checked.finetuning.max_length)
    with ranks.join(settings.device, settings.threads) as here:
        stages = ablation_timing.time_stages(checked.methods, checked.vocab_size, here)
        measured = ablation_timing.time_finetuning(checked.finetuning, checked.methods[0], checked.vocab_size, labelled.head, lengths, here)
    cost = FinetuneCost(**measured, num_train=len(labelled.train), num_dev=len(labelled.dev), dev_can_shrink=labelled.can_shrink)
    setup += time.monotonic() - begun
    per_step = ablation_plan.seconds_per_step(checked.methods, stages, settings)
    num_steps, num_train, num_dev = ablation_plan.share_out(settings, per_step, cost, len(starts(settings)), setup)
    return Plan(
        runs=ablation_plan.make_runs(checked.methods, stages, num_steps, settings),
        num_train=num_train,
        num_dev=num_dev,
        finetune_seconds=cost.seconds(num_train, num_dev),
        finetune_preset=str(checked.finetuning.preset),
        vocab_size=checked.vocab_size,
        speeds=ablation_timing.as_record(stages, measured),
        setup_seconds=setup,
    )
