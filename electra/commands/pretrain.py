"""shards -> batches -> objective -> the loop -> a run directory with checkpoints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from electra import config, disk
from electra.errors import UserError
from electra.settings import LoopSettings, PretrainSettings

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer
    from electra.model.objectives import MaskedLanguageModel
    from electra.train.ranks import Ranks

NUM_EVALUATION_EXAMPLES = 1024


def run(settings: PretrainSettings) -> int:
    """Pre-train, or go on with a run; 128 + signal when a signal stopped it."""
    from electra.train import ranks
    from electra.train.record import write_settings

    settings = recorded(settings) if settings.resume else settings
    if not settings.data.data:
        raise UserError("no data: give --data SHARDS, folders made by 'electra prepare'")
    if not settings.resume:
        disk.fresh_output(settings.output, remedy="go on with --resume, or choose another --output")
    check(settings)
    with ranks.join(settings.loop.device, settings.loop.threads) as here:
        if here.first:
            write_settings(settings.output, settings)
        for stage in stages(settings):
            code = pretrain(stage, here)
            if code:
                return code
    return 0


def stages(settings: PretrainSettings) -> list[PretrainSettings]:
    """The run; or with `generator_first` two: the generator as a masked LM in RUN/generator-first, then both from its weights."""
    share, loop = settings.objective.generator_first, settings.loop
    if not share:
        return [settings]

    def part(share: float, seed: int) -> LoopSettings:
        steps = None if loop.num_train_steps is None else max(1, round(loop.num_train_steps * share))
        seconds = None if loop.budget is None else loop.budget * share
        changed: LoopSettings = config.replace(loop, num_train_steps=steps, budget=seconds, seed=seed)
        return changed

    folder = settings.output / "generator-first"
    alone = config.replace(settings.objective, objective="mlm", generator_first=0.0)
    first = config.replace(settings, output=folder, objective=alone, loop=part(share, loop.seed))
    # Another seed, or the second stage would read the first one's examples again.
    second = config.replace(settings, init=str(folder / "final"), loop=part(1 - share, loop.seed + 1))
    return [second] if (folder / "final").exists() else [first, second]


def pretrain(settings: PretrainSettings, here: Ranks) -> int:
    """One training: shards -> batches -> objective -> the loop."""
    from electra.data import batches
    from electra.data.shards import open_shards, same_vocabulary
    from electra.data.tokenizer import load_tokenizer
    from electra.model import networks
    from electra.model.card import pretraining_card
    from electra.train import evaluation, loop, resume
    from electra.train.record import Record

    shards = {str(path): open_shards(path) for path in settings.data.data}
    same_vocabulary(shards)
    tokenizer_path = next(iter(shards.values())).tokenizer_path
    tokenizer = load_tokenizer(tokenizer_path)
    resume_from = resume.latest_checkpoint(settings.output) if settings.resume else None
    objective, remarks = build(settings, tokenizer, fresh=resume_from is None)
    stream = batches.PretrainingStream(
        [s.train for s in shards.values()],
        settings.data,
        tokenizer,
        settings.loop.batch_size,
        settings.loop.seed,
        rank=here.rank,
        world_size=here.world_size,
    )
    held_out = batches.held_out_batches(
        [s.held_out for s in shards.values()], settings.data, tokenizer, settings.loop.batch_size, NUM_EVALUATION_EXAMPLES, seed=0
    )
    record = Record(settings.output, settings, title=f"pretrain {settings.preset}", active=here.first)
    for remark in remarks:
        record.say(remark)
    metrics: dict[str, float] = {}

    def evaluate() -> dict[str, float]:
        metrics.clear()
        metrics.update(evaluation.evaluate(objective, held_out, here.device, settings.loop.precision))
        return dict(metrics)

    def save(folder: Path) -> None:
        corpora = [f"{Path(path).name}: {s.num_tokens:,} tokens" for path, s in shards.items()]
        networks.save(objective, folder, tokenizer=tokenizer_path, card=pretraining_card(settings, corpora, metrics))

    result = loop.train(
        objective,
        stream,
        settings.loop,
        settings.optimizer,
        record,
        save,
        evaluate=evaluate if held_out else None,
        resume_from=resume_from,
        ranks=here,
    )
    if not result.stopped and here.first:
        shown = ", ".join(f"{name} {metrics[name]:.3f}" for name in ("masked_lm_loss", "disc_loss", "disc_auc") if name in metrics)
        print(
            f"{settings.output}/final: {result.step:,} steps, {result.tokens:,} tokens, {result.seconds / 60:.1f} minutes; held out: {shown}",
            file=sys.stderr,
        )

    return 128 + result.signal if result.signal else 0


def recorded(settings: PretrainSettings) -> PretrainSettings:
    """The settings an interrupted run recorded, to go on with it."""
    file = settings.output / "config.toml"
    if not file.exists():
        raise UserError(f"--resume: {settings.output} is not a run directory (no config.toml); start it without --resume")
    found: PretrainSettings = config.build(PretrainSettings, config.read_toml(file) | {"output": str(settings.output)}, str(file))
    return config.replace(found, resume=True)


def check(settings: PretrainSettings) -> None:
    """Refuse settings that cannot work, before anything is made."""
    length, limit = settings.data.sequence_length, settings.model.max_position_embeddings
    if not 8 <= length <= limit:
        raise UserError(f"sequence_length {length} is outside 8..{limit} (max_position_embeddings); change one of them")
    if not 0 < settings.objective.mask_prob < 1:
        raise UserError(f"mask_prob {settings.objective.mask_prob} is outside 0..1; the paper uses 0.15")
    whole = settings.model.generator_size == settings.model.generator_layers == 1.0
    if settings.objective.generator_first and not (settings.objective.objective == "electra" and whole):
        raise UserError(
            "generator_first needs objective 'electra' with --generator-size 1 --generator-layers 1, so that the discriminator can start from it"
        )
    if settings.data.weights and len(settings.data.weights) != len(settings.data.data):
        raise UserError(f"{len(settings.data.weights)} --weights for {len(settings.data.data)} --data folders; give one each")
    if any(weight <= 0 for weight in settings.data.weights):
        raise UserError(f"--weights {settings.data.weights}: every weight must be above zero")


def build(settings: PretrainSettings, tokenizer: Tokenizer, *, fresh: bool) -> tuple[MaskedLanguageModel, list[str]]:
    """The objective with initial weights (or, in a fresh run, those of --init), and remarks about them."""
    from electra.model import networks

    objective = networks.build_objective(
        settings.model,
        settings.objective,
        vocab_size=tokenizer.vocab_size,
        mask_id=tokenizer.mask_id,
        special_ids=tokenizer.special_ids,
        sequence_length=settings.data.sequence_length,
        seed=settings.loop.seed,
    )
    return objective, networks.start_from(objective, settings.init) if settings.init is not None and fresh else []
