"""Settings of 'electra pretrain': model, objective, optimizer, loop, data, logging."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from electra.config import count, duration, flag, fraction


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The discriminator's shape (paper, Table 6) and its generator's relative to it."""

    hidden_size: int = 256
    """Width of the residual stream, D."""
    embedding_size: int = 128
    """Width of the embeddings, E; projected to hidden_size where they differ."""
    num_hidden_layers: int = 12
    """Number of transformer layers."""
    num_attention_heads: int = 4
    """Attention heads, H."""
    intermediate_size: int = 1024
    """Width of the feed-forward layer."""
    max_position_embeddings: int = 512
    """Longest sequence the model can ever read."""
    generator_size: float = 0.25
    """Generator's width, heads and feed-forward as a fraction of the discriminator's."""
    generator_layers: float = 1.0
    """Generator's depth as a fraction of the discriminator's."""
    generator: Literal["masked", "two-tower", "uniform", "shared"] = "masked"
    """What proposes replacements: 'masked', a small masked LM (the paper's); 'two-tower', one that reads the unmasked text from both ends
    (Electric's); 'uniform', any piece with equal probability; 'shared', the discriminator's own encoder (all weights tied)."""
    embedding_sharing: Literal["tied", "disentangled", "untied"] = "tied"
    """Embeddings of generator and discriminator: 'tied' (paper, section 3.2); 'disentangled': the discriminator adds changes of its own to the
    generator's word embeddings, which it does not train (DeBERTaV3, section 3); 'untied': two sets."""
    dropout: float = 0.1
    """Dropout on hidden states and on attention probabilities."""
    attention_init: Literal["normal", "local"] = "normal"
    """Initial attention: 'normal' as the paper; 'local' starts the lower heads on neighbours, which shortens the plateau of small runs."""
    embedding_init: Literal["normal", "cooccurrence"] = "normal"
    """Initial word embeddings: 'normal' as the paper; 'cooccurrence' counts the training text for some seconds first, which in a short run gives
    words and their frequencies what hundreds of updates would."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """What is learned."""

    objective: Literal["electra", "mlm", "electric", "electra-masked", "replace-mlm", "all-tokens-mlm"] = "electra"
    """'electra': replaced-token detection with a generator; 'mlm': masked language model (BERT) of the same shape; 'electric': an energy for every
    token by noise-contrastive estimation, for 'electra score'. The paper's ablations (its Table 5): 'electra-masked' learns from the chosen positions
    alone ("ELECTRA 15%"), 'replace-mlm' predicts them where the generator's samples stand, 'all-tokens-mlm' predicts every token of that text."""
    mask_prob: float = 0.15
    """Fraction of real tokens chosen for prediction."""
    mask_token_prob: float = 0.85
    """Fraction of the chosen tokens that become [MASK]; the others stay as they are."""
    mask_unit: Literal["piece", "word"] = "piece"
    """What is chosen: 'piece', each word piece by itself, or 'word', all pieces of a word together (whole-word masking; Chinese needs shards
    prepared with --words). The number of chosen tokens is the same."""
    mask_frequency_power: float = 0.0
    """Prefer rare tokens: they are chosen in proportion to min(1, 1e-5 / frequency) to this power. 0: all alike; 0.5: the subsampling of word2vec
    (Mikolov et al. 2013; for masked LMs: Zhang et al. 2023, 'Weighted sampling for masked language modeling')."""
    generator_weight: float = 1.0
    """Weight of the generator's masked-LM loss."""
    disc_weight: float = 50.0
    """Weight of the discriminator's replaced-token loss."""
    temperature: float = 1.0
    """Temperature of the generator's samples."""
    temperature_end: float | None = None
    """Temperature at the last step, reached in a straight line; unset: the same all along."""
    disallow_correct: bool = False
    """Never sample the original token, so that every chosen position is replaced (the original's disallow_correct)."""
    mlm_first: float = flag(0.0, parse=fraction, metavar="35%")
    """Share of the run in which the discriminator's encoder first learns as a masked LM. At a small scale a discriminator that starts from random
    weights stays at the entropy of the replacement rate for millions of tokens (docs/log.md; the paper's two-stage training, section 3.2)."""
    mlm_first_learning_rate: float | None = None
    """Peak learning rate of that first part; unset: learning_rate."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """Adam as the original's: no bias correction, decoupled weight decay, warm-up times decay."""

    learning_rate: float = 5e-4
    """Peak learning rate."""
    generator_learning_rate: float | None = None
    """Gives what only the generator has an optimizer of its own (as DeBERTaV3 trains): this peak learning rate, gradients clipped by their own
    norm. Unset: one optimizer for all."""
    warmup_steps: int | None = None
    """Steps of linear warm-up; unset: warmup_fraction of all steps."""
    warmup_fraction: float = 0.01
    """Warm-up as a fraction of all steps, used where warmup_steps is unset."""
    schedule: Literal["linear", "cosine", "constant", "trapezoidal"] = "linear"
    """Decay to zero at the last step: warm-up is multiplied with it at the same time, as in the original. 'trapezoidal' stays at the peak until
    decay_fraction of the steps are left."""
    lr_decay_power: float = 1.0
    """Power of the linear decay (the original's lr_decay_power): (1 - done) ** power."""
    decay_fraction: float = flag(0.2, parse=fraction, metavar="20%")
    """Share of the steps, at the end, in which the trapezoidal schedule falls."""
    weight_decay: float = 0.01
    """Decoupled weight decay, not on LayerNorm and biases."""
    layerwise_lr_decay: float = 1.0
    """Learning-rate factor per layer going down from the head (the original's exponents); 1 turns it off."""
    adam_beta1: float = 0.9
    """Decay of the first moment."""
    adam_beta2: float = 0.999
    """Decay of the second moment."""
    adam_epsilon: float = 1e-6
    """Added to the root of the second moment."""
    bias_correction: bool = False
    """Adam's bias correction; the original has none."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this global norm; 0 turns it off."""


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """The training loop."""

    num_train_steps: int | None = None
    """Optimizer updates in all. Given on the command line, a preset's warm-up keeps its share of them, unless --warmup-steps says otherwise."""
    num_train_tokens: int | None = flag(None, parse=count, metavar="30M")
    """Real tokens to train on, instead of num_train_steps: the mean length of some examples fixes the number of steps."""
    budget: float | None = flag(None, parse=duration, metavar="30m")
    """Wall-clock budget instead of num_train_steps: the speed of the first steps fixes the number of steps, and the schedule is scaled to it."""
    batch_size: int = 32
    """Examples per microbatch and rank."""
    accumulation: int = 1
    """Microbatches per optimizer update and rank."""
    total_batch_size: int | None = None
    """Examples per optimizer update over all ranks, instead of accumulation: shared out among them, in microbatches of at most batch_size. So a
    run is the same on one GPU and on many."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """'auto': bf16 autocast on CUDA, fp32 elsewhere. A CPU with AVX512_BF16 or AMX trains faster with bf16, too, in less memory."""
    compile: bool = False
    """torch.compile the model (pays on a GPU)."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What several ranks (torchrun) do with the model: 'ddp' a copy on each, 'fsdp' a part on each, gathered layer by layer (FSDP2)."""
    activation_checkpointing: bool = False
    """Keep only each layer's input and compute the rest again in the backward pass: less memory, a third more work."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; 'auto' takes CUDA, then MPS, then the CPU."""
    threads: int = 0
    """CPU threads; 0 leaves PyTorch's choice."""
    seed: int = 1
    """Seed of everything random."""
    log_every: int = 50
    """Steps between lines of metrics.jsonl."""
    evaluate_every: int = 0
    """Steps between evaluations on held-out data; 0: ten times in a run."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0: twenty times in a run, and always at the end."""
    keep_checkpoints: int = 2
    """Newest checkpoints kept, besides keep_steps."""
    keep_steps: tuple[int, ...] = ()
    """Steps whose checkpoints are kept forever."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Shards -> examples."""

    data: tuple[str, ...]
    """Shard folders made by 'electra prepare', or URLs of such (fetched once into a cache; $ELECTRA_CACHE names its place)."""
    weights: tuple[float, ...] = ()
    """Share of examples drawn from each shard folder; unset: by their tokens."""
    sequence_length: int = 128
    """Longest example in tokens, [CLS] and [SEP] included."""
    single_segment_prob: float = 0.1
    """Fraction of examples with one segment (the original's 10%)."""
    short_example_prob: float = 0.05
    """Fraction of examples with a random shorter target length (the original's 5%)."""
    vocab_size: int = 30522
    """Size of the vocabulary where there is none to ask: --dry-run without --data, and 'electra inspect PRESET'. Training takes the shards'."""


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """What is shown and measured beside the training."""

    show_examples: int = 2
    """Corrupted examples printed at the start: masked text, generator's samples, labels; 0: none."""
    peak_tflops: float | None = None
    """Peak of one device in TFLOP/s that MFU is a share of; unset: the data sheet's for bf16 on a known GPU, else no MFU."""
    probe: str | None = None
    """Task (sst2, cola, imdb, ...) whose dev set a logistic regression on frozen mean states answers now and then: the metric probe_TASK."""
    probe_data: Path | None = None
    """Folder of the probe's task, as 'electra finetune' takes it."""
    probe_every: int = 0
    """Steps between probes; 0: as evaluations."""
    wandb: str | None = None
    """Weights & Biases project that gets the metrics too (extra 'wandb')."""


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """Pre-train a text encoder by replaced-token detection (or masked LM).

    PRESET is a packaged preset or a TOML file, such as the config.toml of an earlier run.

    Examples:
      electra pretrain mini --data shards --output runs/mini --budget 1h
      electra pretrain small --data wiki reviews --weights 3 1 --output runs/small
      electra pretrain small --data s3://bucket/shards --output runs/small
      electra pretrain mini --data reviews --init runs/mini/final --output runs/reviews
      electra pretrain small --data shards-zh --mask-unit word --output runs/zh
      electra pretrain mini --output runs/mini --resume
      electra pretrain runs/mini/config.toml --output runs/again
      electra pretrain small --data wiki --dry-run
      electra pretrain mini --data shards --output runs/mini --probe sst2 --probe-data glue/SST-2 --probe-every 500
      torchrun --nproc-per-node 8 -m electra pretrain large --data shards --output runs/large --batch-size 32
    """

    preset: str = ""
    """Preset or TOML file these settings came from (given as the first word)."""
    output: Path = Path()
    """Run directory; needed by all but --dry-run."""
    resume: bool = False
    """Go on with the run in the output directory, with its own recorded settings."""
    dry_run: bool = False
    """Build the model, time some steps, tell parameters, memory, FLOPs, tokens/s and the whole run's time, and write nothing."""
    init: str | None = None
    """Start from the weights of this checkpoint (folder, URL or hub name)."""
    model: ModelSettings = field(default_factory=ModelSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    data: DataSettings = field(default_factory=lambda: DataSettings(data=()))
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)


def phases(settings: PretrainSettings) -> list[PretrainSettings]:
    """The run; or with `mlm_first` two: the encoder as a masked LM in RUN/mlm-first, then the discriminator from its weights."""
    share, loop = settings.objective.mlm_first, settings.loop
    if not share:
        return [settings]

    def part(share: float, seed: int) -> LoopSettings:
        counts: dict[str, Any] = {
            name: None if (n := getattr(loop, name)) is None else max(1, round(n * share)) for name in ("num_train_steps", "num_train_tokens")
        }
        changed: LoopSettings = dataclasses.replace(loop, **counts, budget=None if loop.budget is None else loop.budget * share, seed=seed)
        return changed

    folder = settings.output / "mlm-first"
    alone = dataclasses.replace(settings.objective, objective="mlm", mlm_first=0.0, mlm_first_learning_rate=None)
    rate = settings.objective.mlm_first_learning_rate or settings.optimizer.learning_rate
    optimizer = dataclasses.replace(settings.optimizer, learning_rate=rate)
    first = dataclasses.replace(settings, output=folder, objective=alone, optimizer=optimizer, loop=part(share, loop.seed))
    # Another seed, or the second stage would read the first one's examples again.
    second = dataclasses.replace(settings, init=str(folder / "final"), loop=part(1 - share, loop.seed + 1))
    return [second] if (folder / "final").exists() else [first, second]
