"""Settings and shards -> the parts of a pre-training: objective, stream, held-out batches."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from electra.contracts import Batch, WordStatistics
from electra.data.batches import PretrainingStream, held_out_batches
from electra.data.cooccurrence import word_statistics
from electra.data.mask_hints import MaskHints, mask_hints
from electra.data.shards import Shards, Split, open_shards, same_vocabulary
from electra.data.tokenizer import Tokenizer, load_tokenizer
from electra.model import flops, networks
from electra.model.initial import word_dimensions
from electra.settings import PretrainSettings
from electra.train.peak import stated_tflops
from electra.train.record import Cost

if TYPE_CHECKING:
    from electra.model.noise import MaskedLanguageModel
    from electra.model.objectives import Corruption
    from electra.train.ranks import Ranks

EVALUATION_EXAMPLES = {"short": 128, "long": 512}
SHORT_SECONDS = 1200.0
"""A budget below this is a short run, whose evaluations must not eat it."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The shard folders of a run and what they share."""

    shards: dict[str, Shards]
    tokenizer: Tokenizer
    tokenizer_path: Path
    hints: MaskHints | None

    @property
    def train(self) -> list[Split]:
        """Each folder's text to learn from."""
        return [shards.train for shards in self.shards.values()]

    def describe(self) -> list[str]:
        """A line per folder, for the model card."""
        return [f"{Path(path).name}: {shards.num_tokens:,} tokens" for path, shards in self.shards.items()]


def open_corpus(settings: PretrainSettings) -> Corpus:
    """The shard folders of --data.

    Raises:
        UserError: missing or damaged ones, or of different vocabularies.
    """
    shards = {str(path): open_shards(path) for path in settings.data.data}
    same_vocabulary(shards)
    tokenizer_path = next(iter(shards.values())).tokenizer_path
    tokenizer = load_tokenizer(tokenizer_path)
    hints = mask_hints(settings.objective, shards, settings.data.weights, tokenizer)
    return Corpus(shards=shards, tokenizer=tokenizer, tokenizer_path=tokenizer_path, hints=hints)


def open_stream(settings: PretrainSettings, corpus: Corpus, batch_size: int, here: Ranks) -> PretrainingStream:
    """The run's examples from their start, as this rank's batches."""
    places = {"rank": here.rank, "world_size": here.world_size}
    return PretrainingStream(corpus.train, settings.data, corpus.tokenizer, batch_size, settings.loop.seed, hints=corpus.hints, **places)


def held_out(settings: PretrainSettings, corpus: Corpus) -> list[Batch]:
    """The examples of every evaluation."""
    splits, size = [shards.held_out for shards in corpus.shards.values()], settings.loop.batch_size
    return held_out_batches(splits, settings.data, corpus.tokenizer, size, num_evaluation_examples(settings), seed=0, hints=corpus.hints)


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


class Vocabulary(Protocol):
    """What an objective must know of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def mask_id(self) -> int: ...
    @property
    def special_ids(self) -> Collection[int]: ...


def initial_objective(settings: PretrainSettings, vocabulary: Vocabulary, words: WordStatistics | None = None) -> MaskedLanguageModel | Corruption:
    """The objective of a run with its initial weights, from its seed and from `words` where they were counted."""
    return networks.build_objective(
        settings.model,
        settings.objective,
        vocab_size=vocabulary.vocab_size,
        mask_id=vocabulary.mask_id,
        special_ids=vocabulary.special_ids,
        sequence_length=settings.data.sequence_length,
        seed=settings.loop.seed,
        words=words,
    )


def build(settings: PretrainSettings, corpus: Corpus, here: Ranks, *, fresh: bool) -> tuple[MaskedLanguageModel | Corruption, list[str]]:
    """The objective with initial weights (or, in a fresh run, those of --init), and remarks about them."""
    words, remarks, tokenizer = None, [], corpus.tokenizer
    if fresh and settings.model.embedding_init == "cooccurrence":
        # Weights of --init bring their own vectors; only a new generator's output has to learn the frequencies.
        dimensions = word_dimensions(settings.model.embedding_size, settings.model.attention_init) if settings.init is None else 0
        counted = word_statistics(corpus.train, settings.data.weights, tokenizer.vocab_size, dimensions) if here.first else None
        words = here.agree(counted)
        assert words is not None
        remarks.append(f"word embeddings start from co-occurrence counts of {words.num_tokens:,} tokens" if dimensions else "")
    objective = initial_objective(settings, tokenizer, words)
    if settings.init is not None and fresh:
        remarks += networks.start_from(objective, settings.init)
    return objective, [remark for remark in remarks if remark]
