"""shards -> batches -> objective -> the loop -> a run directory with checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from electra import config, disk
from electra.errors import UserError
from electra.settings import PretrainSettings

if TYPE_CHECKING:
    from electra.data.tokenizer import Tokenizer
    from electra.model.objectives import MaskedLanguageModel

NUM_EVALUATION_EXAMPLES = 1024


def run(settings: PretrainSettings) -> int:
    """Pre-train, or go on with a run; 128 + signal when a signal stopped it."""
    settings = recorded(settings) if settings.resume else settings
    if not settings.data.data:
        raise UserError("no data: give --data SHARDS, folders made by 'electra prepare'")
    if not settings.resume:
        disk.fresh_output(settings.output, remedy="go on with --resume, or choose another --output")
    from electra.data import batches
    from electra.data.shards import open_shards, same_vocabulary
    from electra.data.tokenizer import load_tokenizer
    from electra.train import evaluation, loop, ranks, resume
    from electra.train.record import Record

    shards = {str(path): open_shards(path) for path in settings.data.data}
    same_vocabulary(shards)
    check(settings)
    tokenizer_path = next(iter(shards.values())).tokenizer_path
    tokenizer = load_tokenizer(tokenizer_path)
    with ranks.join(settings.loop.device, settings.loop.threads) as here:
        objective, remarks = build(settings, tokenizer)
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

        corpora = [f"{path}: {s.num_tokens:,} tokens, {s.manifest['splits']['train']['documents']:,} documents" for path, s in shards.items()]
        result = loop.train(
            objective,
            stream,
            settings.loop,
            settings.optimizer,
            record,
            saver(objective, settings, tokenizer_path, [Path(c).name for c in corpora], metrics),
            evaluate=evaluate if held_out else None,
            resume_from=resume.latest_checkpoint(settings.output) if settings.resume else None,
            ranks=here,
        )
        if not result.stopped and here.first:
            shown = ", ".join(f"{name} {metrics[name]:.3f}" for name in ("masked_lm_loss", "disc_loss", "disc_auc") if name in metrics)
            print(f"{settings.output}/final: {result.step:,} steps, {result.tokens:,} tokens, {result.seconds / 60:.1f} minutes; held out: {shown}", file=sys.stderr)
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
    if settings.data.weights and len(settings.data.weights) != len(settings.data.data):
        raise UserError(f"{len(settings.data.weights)} --weights for {len(settings.data.data)} --data folders; give one each")
    if any(weight <= 0 for weight in settings.data.weights):
        raise UserError(f"--weights {settings.data.weights}: every weight must be above zero")


def build(settings: PretrainSettings, tokenizer: Tokenizer) -> tuple[MaskedLanguageModel, list[str]]:
    """The objective with initial weights (or those of --init), and remarks about them."""
    from electra.model import hf, networks

    objective = networks.build_objective(
        settings.model,
        settings.objective,
        vocab_size=tokenizer.vocab_size,
        mask_id=tokenizer.mask_id,
        special_ids=tokenizer.special_ids,
        sequence_length=settings.data.sequence_length,
        seed=settings.loop.seed,
    )
    if settings.init is None or settings.resume:
        return objective, []
    checkpoint = hf.load_checkpoint(settings.init)
    has_generator = settings.objective.objective == "electra" and (checkpoint.path / "generator" / "config.json").exists()
    generator = hf.load_checkpoint(checkpoint.path, "generator") if has_generator else None
    return objective, networks.load_weights(objective, checkpoint, generator)


def saver(objective: MaskedLanguageModel, settings: PretrainSettings, tokenizer: Path, corpora: list[str], metrics: dict[str, float]) -> Callable[[Path], None]:
    """A function that writes the model's files into a folder: the discriminator (or BERT) at the top, the generator below."""
    from electra.model import hf
    from electra.model.card import pretraining_card
    from electra.model.objectives import ReplacedTokenDetection

    def save(folder: Path) -> None:
        card = pretraining_card(settings, corpora, metrics)
        if not isinstance(objective, ReplacedTokenDetection):
            hf.save_checkpoint(objective.generator, folder, tokenizer=tokenizer, card=card)
            return
        hf.save_checkpoint(objective.discriminator, folder, tokenizer=tokenizer, card=card)
        hf.save_checkpoint(objective.generator, folder / "generator", tokenizer=tokenizer)

    return save
