"""Settings and shards -> the parts of a pre-training: objective, stream, held-out batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from electra.data.batches import PretrainingStream
from electra.data.cooccurrence import word_statistics
from electra.model import flops, networks
from electra.model.initial import word_dimensions
from electra.settings import PretrainSettings
from electra.train.peak import stated_tflops
from electra.train.record import Cost

if TYPE_CHECKING:
    from electra.data.mask_hints import MaskHints
    from electra.data.shards import Split
    from electra.data.tokenizer import Tokenizer
    from electra.model.noise import MaskedLanguageModel
    from electra.model.objectives import Corruption
    from electra.train.ranks import Ranks

EVALUATION_EXAMPLES = {"short": 128, "long": 512}
SHORT_SECONDS = 1200.0
"""A budget below this is a short run, whose evaluations must not eat it."""


def open_stream(
    settings: PretrainSettings, splits: Sequence[Split], tokenizer: Tokenizer, batch_size: int, here: Ranks, hints: MaskHints | None
) -> PretrainingStream:
    """The run's examples from their start, as this rank's batches."""
    data, seed = settings.data, settings.loop.seed
    return PretrainingStream(splits, data, tokenizer, batch_size, seed, rank=here.rank, world_size=here.world_size, hints=hints)


def cost(settings: PretrainSettings, vocab_size: int, here: Ranks) -> Cost:
    """What a token costs, and the peak of all ranks' devices where it is known."""
    peak = stated_tflops(settings.watch.peak_tflops, here.device, settings.loop.precision != "fp32")
    return Cost(
        flops_per_token=flops.per_token(settings.model, settings.objective, vocab_size, settings.data.sequence_length),
        peak_flops=None if peak is None else peak * 1e12 * here.world_size,
    )


def num_evaluation_examples(settings: PretrainSettings) -> int:
    """Held-out examples of an evaluation."""
    return EVALUATION_EXAMPLES["short" if (settings.loop.budget or SHORT_SECONDS) < SHORT_SECONDS else "long"]


def build(
    settings: PretrainSettings, tokenizer: Tokenizer, splits: Sequence[Split], here: Ranks, *, fresh: bool
) -> tuple[MaskedLanguageModel | Corruption, list[str]]:
    """The objective with initial weights (or, in a fresh run, those of --init), and remarks about them."""
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
