"""shards -> batches -> objective -> the loop -> a run directory with checkpoints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from electra import disk
from electra.errors import UserError
from electra.settings import PretrainSettings
from electra.tasks.stages import check, check_data, recorded, stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from electra.data.shards import Split
    from electra.data.tokenizer import Tokenizer
    from electra.model.noise import MaskedLanguageModel
    from electra.model.objectives import Corruption
    from electra.train.ranks import Ranks

EVALUATION_EXAMPLES = {"short": 128, "long": 512}
SHORT_SECONDS = 1200.0
"""A budget below this is a short run, whose evaluations must not eat it."""


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
    check_data(settings)
    with ranks.join(settings.loop.device, settings.loop.threads) as here:
        if here.first:
            write_settings(settings.output, settings)
        for stage in stages(settings):
            code = pretrain(stage, here)
            if code:
                return code
    return 0


def pretrain(settings: PretrainSettings, here: Ranks) -> int:
    """One training: shards -> batches -> objective -> the loop."""
    from electra.data import batches
    from electra.data.mask_hints import mask_hints
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
    hints = mask_hints(settings.objective, shards, settings.data.weights, tokenizer)
    resume_from = resume.latest_checkpoint(settings.output) if settings.resume else None
    objective, remarks = build(settings, tokenizer, [s.train for s in shards.values()], here, fresh=resume_from is None)
    stream = batches.PretrainingStream(
        [s.train for s in shards.values()],
        settings.data,
        tokenizer,
        settings.loop.batch_size,
        settings.loop.seed,
        rank=here.rank,
        world_size=here.world_size,
        hints=hints,
    )
    num_examples = EVALUATION_EXAMPLES["short" if (settings.loop.budget or SHORT_SECONDS) < SHORT_SECONDS else "long"]
    held_out = batches.held_out_batches(
        [s.held_out for s in shards.values()], settings.data, tokenizer, settings.loop.batch_size, num_examples, seed=0, hints=hints
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


def build(
    settings: PretrainSettings, tokenizer: Tokenizer, splits: Sequence[Split], here: Ranks, *, fresh: bool
) -> tuple[MaskedLanguageModel | Corruption, list[str]]:
    """The objective with initial weights (or, in a fresh run, those of --init), and remarks about them."""
    from electra.data.cooccurrence import word_statistics
    from electra.model import networks
    from electra.model.initial import word_dimensions

    words, remarks = None, []
    if fresh and settings.model.embedding_init == "cooccurrence":
        # Weights of --init bring their own vectors; only a new generator's output has to learn the frequencies.
        dimensions = word_dimensions(settings.model.embedding_size, settings.model.attention_init) if settings.init is None else 0
        counted = word_statistics(splits, settings.data.weights, tokenizer.vocab_size, dimensions) if here.first else None
        words = here.agree(counted)
        assert words is not None
        remarks.append(f"word embeddings start from co-occurrence counts of {words.num_tokens:,} tokens" if dimensions else "")
    objective = networks.build_objective(
        settings.model,
        settings.objective,
        vocab_size=tokenizer.vocab_size,
        mask_id=tokenizer.mask_id,
        special_ids=tokenizer.special_ids,
        sequence_length=settings.data.sequence_length,
        seed=settings.loop.seed,
        words=words,
    )
    if settings.init is not None and fresh:
        remarks += networks.start_from(objective, settings.init)
    return objective, [remark for remark in remarks if remark]
