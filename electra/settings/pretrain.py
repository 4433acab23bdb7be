"""Settings of 'electra pretrain': model, objective, optimizer, loop, data, monitoring; and of the commands that make vocabularies and datasets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from electra.config import Settings, argument, count, duration, flag, fraction, on_off
from electra.settings.sections import MAX_SEED, ComputeSettings, LogSettings

DETECTORS = ("electra", "electric", "electra-masked")
"""Objectives whose network is a discriminator."""
LANGUAGE_MODELS = ("mlm", "clm")
"""Objectives of one network, which predicts tokens of the text as it is."""
WITHOUT_GENERATOR = (*LANGUAGE_MODELS, "distill")
"""Objectives that replace nothing."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings(Settings):
    """Size of the discriminator (paper, Table 6), and of the generator relative to it."""

    hidden_size: int = flag(256, minimum=1)
    """Width of the encoder, D."""
    embedding_size: int = flag(128, minimum=1, advanced=True)
    """Width of the embeddings, E; projected to hidden_size if they differ."""
    num_hidden_layers: int = flag(12, minimum=1)
    """Transformer layers."""
    num_attention_heads: int = flag(4, minimum=1, advanced=True)
    """Attention heads, H."""
    intermediate_size: int = flag(1024, minimum=1, advanced=True)
    """Width of the feed-forward layers."""
    max_position_embeddings: int = flag(512, minimum=8, advanced=True)
    """Number of position embeddings: the longest input the model accepts."""
    generator_size: float = flag(0.25, above=0, maximum=1, advanced=True)
    """Width, heads and feed-forward size of the generator, as a fraction of the discriminator's."""
    generator_layers: float = flag(1.0, above=0, maximum=1, advanced=True)
    """Layers of the generator, as a fraction of the discriminator's."""
    generator_init: Literal["random", "encoder"] = flag("random", advanced=True)
    """Initial layers of a generator that the checkpoint of --init does not bring: 'random'; 'encoder', its encoder's lowest layers, which needs
    generator_size 1. Plausible replacements from the first update on."""
    generator: Literal["masked", "two-tower", "uniform", "shared"] = flag("masked", advanced=True)
    """What proposes replacements: 'masked', a small masked LM (the paper's); 'two-tower', a left-to-right and a right-to-left model (Electric's);
    'uniform', a random token; 'shared', the discriminator's own encoder."""
    embedding_sharing: Literal["tied", "disentangled", "untied"] = flag("tied", advanced=True)
    """Embeddings of generator and discriminator: 'tied' (paper, section 3.2); 'disentangled', gradient-disentangled sharing (DeBERTaV3,
    section 3); 'untied', two separate sets."""
    generator_hidden_size: int | None = flag(None, minimum=1, advanced=True)
    """Width of the generator; default: generator_size x hidden_size. A checkpoint's generator (--init) sets this and those below."""
    generator_num_hidden_layers: int | None = flag(None, minimum=1, advanced=True)
    """Layers of the generator; default: generator_layers x num_hidden_layers."""
    generator_num_attention_heads: int | None = flag(None, minimum=1, advanced=True)
    """Attention heads of the generator; default: generator_size x num_attention_heads."""
    generator_intermediate_size: int | None = flag(None, minimum=1, advanced=True)
    """Width of the generator's feed-forward layers; default: 4 x its width."""
    generator_embedding_size: int | None = flag(None, minimum=1, toml_only=True)
    """Width of the generator's own embeddings, with embedding_sharing 'untied'; default: embedding_size."""
    generator_embedding_rows: int | None = flag(None, minimum=6, toml_only=True)
    """Rows of the generator's own embeddings, with embedding_sharing 'untied'; default: embedding_rows."""
    embedding_rows: int | None = flag(None, minimum=6, toml_only=True)
    """Rows of the word embeddings: a checkpoint's table may be larger than its vocabulary. Rows without a token are in the softmax of a masked LM,
    as in transformers, but are never sampled. Default: the vocabulary's size."""
    type_vocab_size: int = flag(2, minimum=2, toml_only=True)
    """Rows of the segment embeddings."""
    layer_norm_eps: float = flag(1e-12, minimum=0, toml_only=True)
    """Epsilon of every LayerNorm."""
    hidden_act: str = flag("gelu", toml_only=True)
    """Activation of the feed-forward layers, in the names of transformers."""
    tie_word_embeddings: bool = flag(True, toml_only=True)
    """Whether a masked LM's output matrix is its word embeddings; else it has its own."""
    model_type: Literal["electra", "bert"] = flag("electra", toml_only=True)
    """Whose classes of transformers open a masked LM; a discriminator is always an ELECTRA."""
    dropout: float = flag(0.1, minimum=0, below=1, advanced=True)
    """Dropout on hidden states and attention probabilities."""
    attention_init: Literal["normal", "local"] = flag("normal", advanced=True)
    """Initial attention: 'normal' as in the paper; 'local' starts half the heads of the lower layers on neighbouring tokens (shortens the loss
    plateau of small runs)."""
    embedding_init: Literal["normal", "cooccurrence", "teacher"] = flag("normal", advanced=True)
    """Initial word embeddings: 'normal' as in the paper; 'cooccurrence' from word counts of the training text (about 25 seconds; helps short runs);
    'teacher' the leading singular vectors of the teacher's (objective 'distill')."""
    new_token_init: Literal["similar", "mean", "random"] = flag("similar", advanced=True)
    """Initial embeddings, with --new-vocabulary, of the tokens that the checkpoint's vocabulary lacks: 'similar', weighted means of the shared
    tokens that occur in similar contexts of the data (FOCUS, Dobler and de Melo 2023); 'mean', the mean of all the checkpoint's; 'random', normal
    with their mean and deviation."""
    freeze_layers: bool = flag(False, toml_only=True)
    """With --new-vocabulary: leave the layers as --init brings them in the masked-LM phase (mlm_first), or in the whole run of the objectives mlm
    and clm, which then train embeddings and head only."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings(Settings):
    """Training objective."""

    objective: Literal["electra", "mlm", "electric", "electra-masked", "replace-mlm", "all-tokens-mlm", "clm", "distill"] = "electra"
    """'electra': replaced token detection; 'mlm': masked language model (BERT) of the same size; 'electric': noise-contrastive estimation, for
    'electra score'; 'clm': causal language model, every token predicted from those before it, to be continued as a masked one (clm_first);
    'distill': a small encoder learns the hidden states of another (--teacher) on the same text, to be continued by replaced token detection.
    Ablations (paper, Table 5): 'electra-masked' ("ELECTRA 15%"), 'replace-mlm', 'all-tokens-mlm'."""
    mask_prob: float = flag(0.15, above=0, below=1)
    """Fraction of real tokens chosen for prediction."""
    mask_token_prob: float = flag(0.85, minimum=0, maximum=1, advanced=True)
    """Fraction of the chosen tokens replaced by [MASK]; the others stay as they are."""
    mask_unit: Literal["piece", "word"] = flag("piece", advanced=True)
    """Unit of masking: single word pieces, or all pieces of a word together (whole-word masking; Chinese needs data prepared with --words).
    The number of masked tokens is the same."""
    mask_frequency_power: float = flag(0.0, minimum=0, maximum=2, toml_only=True)
    """Mask rare tokens more often: weight min(1, 1e-5 / frequency) to this power. 0: uniform; 0.5: word2vec's subsampling (Mikolov et al. 2013;
    for masked LMs: Zhang et al. 2023, 'Weighted sampling for masked language modeling')."""
    generator_weight: float = flag(1.0, minimum=0, advanced=True)
    """Weight of the generator's masked-LM loss."""
    disc_weight: float = flag(50.0, minimum=0, advanced=True)
    """Weight of the discriminator's loss."""
    temperature: float = flag(1.0, above=0, advanced=True)
    """Sampling temperature of the generator."""
    temperature_end: float | None = flag(None, above=0, toml_only=True)
    """Final sampling temperature (linear schedule); default: constant."""
    disallow_correct: bool = flag(False, advanced=True)
    """Never sample the original token, so that every chosen position is replaced (original ELECTRA's disallow_correct)."""
    mlm_first: float = flag(0.0, minimum=0, below=1, parse=fraction, metavar="35%")
    """Fraction of the run that trains the discriminator's encoder as a masked LM first. At small scale, a discriminator trained from random weights
    stays at the entropy of the replacement rate for millions of tokens (docs/log.md; the paper's two-stage training, section 3.2).
    With --init only a generator that the checkpoint does not bring is trained so, on the checkpoint's embeddings, which stay as they are if the
    discriminator shares them (embedding_sharing 'tied')."""
    mlm_first_learning_rate: float | None = flag(None, above=0, advanced=True)
    """Peak learning rate of the masked-LM phase; default: learning_rate."""
    clm_first: float = flag(0.0, minimum=0, below=1, parse=fraction, metavar="25%", advanced=True)
    """Objective 'mlm': fraction of the run that trains the same network as a causal LM first; the masked LM goes on from its weights."""
    teacher_shape: tuple[int, ...] = flag((), minimum=1, toml_only=True)
    """Layers, width, heads, feed-forward and embedding width of the teacher, for a dry run and 'electra inspect'; default: those of --teacher."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings(Settings):
    """Adam as in original ELECTRA: no bias correction, decoupled weight decay, warm-up multiplied with decay."""

    learning_rate: float = flag(5e-4, minimum=0)
    """Peak learning rate."""
    generator_learning_rate: float | None = flag(None, above=0, toml_only=True)
    """Peak learning rate of a separate optimizer for the generator's own parameters, clipped by their own norm (as in DeBERTaV3); default: one
    optimizer for all."""
    warmup_steps: int | None = flag(None, minimum=0, advanced=True)
    """Steps of linear warm-up; default: warmup_fraction of all steps."""
    warmup_fraction: float = flag(0.01, minimum=0, maximum=1, advanced=True)
    """Fraction of all steps for linear warm-up, if warmup_steps is not set."""
    schedule: Literal["linear", "cosine", "constant", "trapezoidal"] = flag("linear", advanced=True)
    """Learning-rate decay to zero at the last step, multiplied with the warm-up. 'trapezoidal' stays at the peak until the last decay_fraction."""
    lr_decay_power: float = flag(1.0, above=0, advanced=True)
    """Power of the linear decay, (1 - done) ** power (original ELECTRA's lr_decay_power)."""
    decay_fraction: float = flag(0.2, minimum=0, maximum=1, parse=fraction, metavar="20%", toml_only=True)
    """Fraction of the steps in which the trapezoidal schedule decays."""
    weight_decay: float = flag(0.01, minimum=0, advanced=True)
    """Decoupled weight decay; not on LayerNorm and biases."""
    layerwise_lr_decay: float = flag(1.0, above=0, maximum=1, advanced=True)
    """Learning-rate factor per layer, from the head down (original ELECTRA's exponents); 1: off."""
    adam_beta1: float = flag(0.9, minimum=0, below=1, advanced=True)
    """Decay rate of Adam's first moment."""
    adam_beta2: float = flag(0.999, minimum=0, below=1, advanced=True)
    """Decay rate of Adam's second moment."""
    adam_epsilon: float = flag(1e-6, above=0, advanced=True)
    """Adam's epsilon."""
    bias_correction: bool = flag(False, advanced=True)
    """Adam's bias correction; original ELECTRA has none."""
    moments: Literal["fp32", "bf16"] = flag("fp32", advanced=True)
    """Precision of Adam's two moments. 'bf16' takes 12 bytes for each trained parameter instead of 16 (weights, gradients and moments); the second
    moment is rounded stochastically, so that small changes are not lost. On a CPU or a CUDA GPU."""
    clip_norm: float = flag(1.0, minimum=0, advanced=True)
    """Clip gradients to this global norm; 0: no clipping."""


@dataclass(frozen=True, kw_only=True)
class LoopSettings(ComputeSettings, LogSettings):
    """Training loop."""

    num_train_steps: int | None = flag(None, minimum=1, may_change=True)
    """Number of optimizer updates; a preset's warm-up scales with it unless --warmup-steps is given. Default: set by num_train_tokens or budget."""
    num_train_tokens: int | None = flag(None, minimum=1, parse=count, metavar="30M", may_change=True, advanced=True)
    """Real tokens to train on, instead of a number of steps; default: not used."""
    budget: float | None = flag(None, above=0, parse=duration, metavar="30m", may_change=True)
    """Wall-clock time, instead of a number of steps: trial updates fix the number of steps, and the schedule follows it. Default: not used."""
    batch_size: int = flag(32, minimum=1)
    """Examples per microbatch and rank."""
    accumulation: int = flag(1, minimum=1, advanced=True)
    """Microbatches per optimizer update and rank."""
    total_batch_size: int | None = flag(None, minimum=1, advanced=True)
    """Examples per optimizer update over all ranks, instead of accumulation: split into microbatches of at most batch_size, so that a run is the
    same on one GPU and on many. Default: batch_size x accumulation x ranks."""
    compile: bool = flag(False, advanced=True, may_change=True)
    """Use torch.compile (pays on a GPU)."""
    parallel: Literal["ddp", "fsdp"] = flag("ddp", advanced=True)
    """Several ranks (torchrun): 'ddp' replicates the model, 'fsdp' shards it (FSDP2)."""
    activation_checkpointing: bool = flag(False, advanced=True, may_change=True)
    """Keep only each layer's input and recompute the rest in the backward pass: less memory, about a third more work."""
    seed: int = flag(1, minimum=0, maximum=MAX_SEED)
    """Random seed."""
    log_every: int = flag(50, minimum=1, advanced=True, may_change=True)
    """Steps between lines of metrics.jsonl."""
    evaluate_every: int = flag(0, minimum=0, advanced=True, may_change=True)
    """Steps between evaluations on held-out data; 0: ten per run."""
    checkpoint_every: int = flag(0, minimum=0, advanced=True, may_change=True)
    """Steps between checkpoints; 0: twenty per run. There is always one at the end."""
    keep_checkpoints: int = flag(2, minimum=1, advanced=True, may_change=True)
    """Number of newest checkpoints to keep, besides keep_steps."""
    keep_steps: tuple[int, ...] = flag((), minimum=1, advanced=True, may_change=True)
    """Steps whose checkpoints are always kept; default: none."""


@dataclass(frozen=True, kw_only=True)
class DataSettings(Settings):
    """Tokenized data -> examples."""

    data: tuple[str, ...] = flag(may_change=True)
    """Folders made by 'electra prepare', or their URLs (downloaded once into $ELECTRA_CACHE); default: the preset's."""
    weights: tuple[float, ...] = flag((), above=0)
    """Fraction of examples from each --data folder, up to a common factor; default: by their tokens."""
    sequence_length: int = flag(128, minimum=8)
    """Longest example in tokens, [CLS] and [SEP] included."""
    single_segment_prob: float = flag(0.1, minimum=0, maximum=1, advanced=True)
    """Fraction of examples with one segment (original ELECTRA: 10%)."""
    short_example_prob: float = flag(0.05, minimum=0, maximum=1, advanced=True)
    """Fraction of examples with a random shorter length (original ELECTRA: 5%)."""
    vocab_size: int = flag(30522, minimum=6, advanced=True)
    """Vocabulary size for --dry-run without --data and for 'electra inspect PRESET'; training takes the data's."""


@dataclass(frozen=True, kw_only=True)
class WatchSettings(Settings):
    """Monitoring."""

    show_examples: int = flag(2, minimum=0, advanced=True, may_change=True)
    """Corrupted examples to print at the start: masked text, generator's samples, labels; 0: none."""
    peak_tflops: float | None = flag(None, above=0, advanced=True, may_change=True)
    """Peak TFLOP/s of one device, for MFU; default: the data sheet's bf16 figure of a known GPU, else no MFU."""
    probe: str | None = flag(None, advanced=True, may_change=True)
    """Task (sst2, cola, imdb, ...) for a linear probe on frozen mean states, logged as probe_TASK; default: none."""
    probe_data: Path | None = flag(None, advanced=True, may_change=True)
    """Folder of the probe's task, as for 'electra finetune'; default: none."""
    probe_every: int = flag(0, minimum=0, advanced=True, may_change=True)
    """Steps between probes; 0: at every evaluation."""
    wandb: str | None = flag(None, advanced=True, may_change=True)
    """Deprecated: --log-to wandb --log-project PROJECT. Default: none."""


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(Settings):
    """Pre-train a text encoder by replaced token detection (or as a masked LM).

    PRESET is one of the presets below or a TOML file, such as the config.toml of an earlier run. Flags override it.

    Examples:
      electra pretrain mini --data shards --output runs/mini --budget 1h
      electra pretrain small --data wiki reviews --weights 3 1 --output runs/small
      electra pretrain small --data s3://bucket/shards --output runs/small
      electra pretrain mini --data reviews --init runs/mini/final --output runs/reviews
      electra pretrain continue --data shards-zh --init ENCODER --new-vocabulary --mlm-first 50% --output runs/zh
      electra pretrain small --data shards-zh --mask-unit word --output runs/zh
      electra pretrain --resume runs/mini
      electra pretrain --resume runs/mini --budget 2h
      electra pretrain runs/mini/config.toml --output runs/again
      electra pretrain small --data wiki --dry-run
      electra pretrain mini --data shards --output runs/mini --probe sst2 --probe-data glue/SST-2 --probe-every 500
      electra pretrain student --teacher MODEL-12k --data shards-12k --output runs/student
      torchrun --nproc-per-node 8 -m electra pretrain large --data shards --output runs/large --batch-size 32
    """

    preset: str = argument("", preset="pretrain")
    """Preset, or a TOML file; not needed with --resume."""
    output: Path = flag(Path(), may_change=True)
    """Run directory; required except for --dry-run and --resume RUN. Default: none."""
    resume: bool = flag(False, run="output", may_change=True)
    """Continue an interrupted run with its own settings. Only its length, the location of its data, threads, device, precision, and logging,
    evaluation and checkpoint intervals may change."""
    dry_run: bool = False
    """Time some updates and report parameters, memory, FLOPs, tokens/s and the duration of the whole run; write nothing."""
    init: str | None = None
    """Start from the weights of this checkpoint (folder, TensorFlow checkpoint, URL or hub name), which brings its shape: sizes of the preset are
    replaced. Default: random weights."""
    new_vocabulary: bool = False
    """Give the checkpoint of --init the data's vocabulary, for text of another language: tokens that both have keep their embeddings, the others
    start by new_token_init. Default: the data must have the checkpoint's vocabulary."""
    init_generator: str | None = flag(None, advanced=True)
    """The generator's checkpoint, where it is not in CHECKPOINT/generator, as of the models on the hub; default: that folder, if it exists."""
    teacher: str | None = None
    """Encoder (folder, run, URL or hub name) whose hidden states the objective 'distill' learns; the data has its vocabulary. Default: none."""
    model: ModelSettings = field(default_factory=ModelSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    data: DataSettings = field(default_factory=lambda: DataSettings(data=()))
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)


@dataclass(frozen=True, kw_only=True)
class GeneratorWarmUp(PretrainSettings):
    """The first phase of a run whose checkpoint brings an encoder but no generator: the generator alone learns as a masked LM, on the encoder's
    embeddings, which stay as they are if they are shared."""


FIRST_PHASE, CAUSAL_PHASE, LAST_PHASE = "mlm_first", "clm_first", "training"
"""Names of the phases of a run: one of the first two if it has that setting, then the last one."""
SO_FAR = ("step", "tokens", "seconds", "flops")
"""What a line of metrics.jsonl counts from the beginning of the run on."""
WARM_UP, CAUSAL = "mlm-first", "clm-first"
"""Folders in the run directory of the phases before the last one."""
FIRST_PHASES = {WARM_UP: FIRST_PHASE, CAUSAL: CAUSAL_PHASE}
"""Folder -> name of the phase."""


def phases(settings: PretrainSettings) -> list[PretrainSettings]:
    """The phases of a run that are still to be trained: all of them, or the last one if the masked LM before it is finished."""
    found = all_phases(settings)
    return found[1:] if len(found) > 1 and (found[0].output / "final").exists() else found


def all_phases(settings: PretrainSettings) -> list[PretrainSettings]:
    """The run; or with `mlm_first` two: a masked LM in RUN/mlm-first, then the discriminator; or with `clm_first`: a causal LM in RUN/clm-first,
    then the masked LM.

    The masked LM of `mlm_first` is the encoder, which the discriminator starts from; or with `init` and its own vocabulary, the generator that the
    checkpoint does not bring.
    """
    objective, loop = settings.objective, settings.loop
    causal, fraction_first = objective.clm_first > 0, objective.clm_first or objective.mlm_first
    if not fraction_first:
        return [settings]

    def part(fraction: float, seed: int) -> LoopSettings:
        counts: dict[str, Any] = {
            name: None if (n := getattr(loop, name)) is None else max(1, round(n * fraction)) for name in ("num_train_steps", "num_train_tokens")
        }
        changed: LoopSettings = dataclasses.replace(loop, **counts, budget=None if loop.budget is None else loop.budget * fraction, seed=seed)
        return changed

    folder = settings.output / (CAUSAL if causal else WARM_UP)
    kind: Literal["clm", "mlm"] = "clm" if causal else "mlm"
    # The weight of the generator's loss is that in its sum with the discriminator's.
    alone = dataclasses.replace(objective, objective=kind, mlm_first=0.0, mlm_first_learning_rate=None, clm_first=0.0, generator_weight=1.0)
    rate = objective.mlm_first_learning_rate or settings.optimizer.learning_rate
    optimizer = dataclasses.replace(settings.optimizer, learning_rate=rate)
    first = dataclasses.replace(settings, output=folder, objective=alone, optimizer=optimizer, loop=part(fraction_first, loop.seed))
    # Another seed, or the second phase would read the first one's examples again.
    after = part(1 - fraction_first, (loop.seed + 1) % (MAX_SEED + 1))
    if settings.init is None or causal or settings.new_vocabulary:
        model = dataclasses.replace(settings.model, freeze_layers=settings.model.freeze_layers and causal)
        second = dataclasses.replace(settings, init=str(folder / "final"), new_vocabulary=False, model=model, loop=after)
    else:
        values = {field.name: getattr(first, field.name) for field in dataclasses.fields(first)}
        first = GeneratorWarmUp(**values | {"model": generator_settings(settings.model)})
        second = dataclasses.replace(settings, init_generator=str(folder / "final"), loop=after)
    return [first, second]


def generator_sizes(model: ModelSettings) -> dict[str, Any]:
    """The sizes of the generator that may differ from the discriminator's: those that are set, else width, heads and depth scaled.

    Heads keep the discriminator's size. The original uses heads of size 64, which is the same at the paper's sizes; for other sizes the number
    of heads differs (width 312 with 12 heads: one head of 78 there, three of 26 here).

    Source: `get_generator_config` of the original's `run_pretraining.py`.
    """
    size = model.generator_size
    heads = model.generator_num_attention_heads or max(1, int(model.num_attention_heads * size))
    width = model.generator_hidden_size or max(heads, int(model.hidden_size * size) // heads * heads)
    whole = size == 1 and width == model.hidden_size
    return {
        "embedding_size": model.generator_embedding_size or model.embedding_size,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_hidden_layers": model.generator_num_hidden_layers or max(1, int(model.num_hidden_layers * model.generator_layers)),
        "intermediate_size": model.generator_intermediate_size or (model.intermediate_size if whole else 4 * width),
    }


def generator_settings(model: ModelSettings) -> ModelSettings:
    """The generator as a model of its own."""
    unset: dict[str, Any] = {f.name: None for f in dataclasses.fields(ModelSettings) if f.name.startswith("generator_") and f.default is None}
    rows = {"embedding_rows": model.generator_embedding_rows or model.embedding_rows}
    changed: ModelSettings = dataclasses.replace(model, **unset | rows | generator_sizes(model))
    return changed


# ---- vocab, prepare, dataset ----


@dataclass(frozen=True, kw_only=True)
class CorpusSettings(Settings):
    """Reading the corpus."""

    text: str = flag("text", aliases=("text_field",))
    """Column of the text in jsonl, parquet and hub data sets."""
    documents: Literal["auto", "blank-line", "line", "file"] = "auto"
    """What separates documents in text files; 'auto': the titles of WikiText, or blank lines if the file has any, else each line is one; a short
    text in an archive is one."""


@dataclass(frozen=True, kw_only=True)
class VocabSettings(CorpusSettings):
    """Train a WordPiece vocabulary on a corpus; or change a checkpoint's: add a domain's words (--extend), or keep what a corpus uses (--trim).

    Examples:
      electra vocab wiki.txt.xz --size 8192 --output vocab
      electra vocab reviews.jsonl --text review --size 16000 --output vocab
      electra vocab s3://bucket/corpus --output s3://bucket/vocab
      electra vocab reviews/ --extend runs/mini --size 1000 --output mini-reviews
      electra vocab wiki.txt.xz reviews/ --trim MODEL --size 12000 --output MODEL-12k
    """

    corpus: tuple[str, ...] = argument()
    """Files, folders (txt, txt.gz/.xz/.zst, jsonl, parquet, tar, zip), their URLs, or hf:NAME for a data set of the Hugging Face hub."""
    output: str
    """Folder or URL for vocab.txt, tokenizer.json and tokenizer_config.json; with --extend and --trim for a whole checkpoint."""
    size: int | None = flag(None, minimum=1)
    """Vocabulary size, the five special tokens included (default: 30522); with --extend, tokens to add (default: 1000); with --trim, tokens to keep
    (default: all that the corpus uses)."""
    extend: str | None = None
    """Checkpoint (folder, run or hub name) whose vocabulary is extended with the corpus words that save most tokens, and whose embeddings get rows
    for them; its case rule is kept. Continue with 'prepare --tokenizer OUTPUT' and 'pretrain --init OUTPUT'. Default: a new vocabulary."""
    trim: str | None = None
    """Checkpoint (folder, run or hub name) to make smaller: of its tokens those stay that the corpus uses most, with their embeddings to the bit;
    special tokens and single characters always stay, so no known word becomes [UNK]. Default: a new vocabulary."""
    lowercase: bool = True
    """Lower-case the text, as BERT's uncased models."""
    strip_accents: bool | None = flag(None, parse=on_off)
    """Strip accents, as BERT's uncased models; 'auto' (the default) keeps them where they tell words apart, and says what it decided and why
    (--no-lowercase: keeps them)."""
    split_chinese: bool = True
    """Make every Chinese character a word."""
    min_frequency: int = flag(2, minimum=1)
    """Minimum frequency of a token (with --trim: of one that is kept)."""
    sample_bytes: int = flag(200_000_000, minimum=1)
    """Bytes of text to train on, sampled evenly from the corpus."""


@dataclass(frozen=True, kw_only=True)
class PrepareSettings(CorpusSettings):
    """Tokenize a corpus into memory-mapped shards, with a held-out part.

    Examples:
      electra prepare corpus/ --tokenizer vocab --output shards --workers 2
      electra prepare wiki.txt.xz reviews.jsonl --tokenizer vocab.txt --output shards --held-out 0.5%
      electra prepare zh.txt.xz --tokenizer zh-vocab.txt --output shards-zh --words chinese
      electra prepare pretrain_tfrecords/ --tokenizer vocab.txt --output shards
      electra prepare openwebtext.tar.xz --tokenizer vocab.txt --output s3://bucket/shards
      electra prepare s3://bucket/corpus --tokenizer s3://bucket/vocab --output shards --engine ray --ray-address auto
    """

    corpus: tuple[str, ...] = argument()
    """Files, folders (txt, txt.gz/.xz/.zst, jsonl, parquet, tar, zip), their URLs, hf:NAME for a data set of the Hugging Face hub, or original
    ELECTRA's TFRecords."""
    tokenizer: str
    """Tokenizer: a folder, vocab.txt, a URL of these, a hub name, or shipped:mini (the bundled model's)."""
    output: str
    """Folder for the tokenized data, or its URL (made in the cache, then uploaded); an interrupted run continues where it stopped."""
    engine: Literal["local", "ray"] = "local"
    """Tokenize in processes on this machine, or on a Ray cluster; the result is the same."""
    ray_address: str | None = None
    """Address of a running Ray cluster ('auto' finds this machine's); default: start one for this run."""
    workers: int = flag(0, minimum=0, maximum=4096)
    """Processes; 0: one per core (of the cluster)."""
    held_out: float = flag(0.005, minimum=0, below=1, parse=fraction, metavar="0.5%")
    """Fraction of documents held out for evaluation."""
    deduplicate: bool = True
    """Drop exact duplicates of documents; their number is reported."""
    lowercase: bool | None = None
    """Lower-case the text; default: as the tokenizer's files say (a bare vocab.txt without capitals is uncased)."""
    strip_accents: bool | None = flag(None, parse=on_off)
    """Strip accents; default ('auto'): as the tokenizer's files say, else as lowercase."""
    split_chinese: bool | None = None
    """Make every Chinese character a word; default: as the tokenizer's files say, else on."""
    words: Literal["auto", "none", "chinese"] = "auto"
    """Store where Chinese words start, for whole-word masking: 'chinese' segments with rjieba; 'auto' does so if the vocabulary is Chinese and rjieba
    is installed. Other languages do not need it. Token ids stay the same."""
    json: bool = False
    """Print the manifest as JSON."""


@dataclass(frozen=True, kw_only=True)
class DatasetSettings(Settings):
    """Convert a data set's official files to csv.

    NAME: imdb (train/train_data.csv and test/test_data.csv, columns sentences and labels).

    Examples:
      electra dataset imdb --data aclImdb_v1.tar.gz --output imdb-csv
      electra dataset imdb --data aclImdb --output imdb-csv --valid 10%
    """

    name: str = argument()
    """Name of the data set."""
    data: Path
    """Its folder or archive."""
    output: Path
    """Output folder."""
    valid: float = flag(0.0, minimum=0, below=1, parse=fraction, metavar="10%")
    """Fraction of the training reviews held out as valid/valid_data.csv, which the task imdb then scores on instead of the test half."""
    seed: int = flag(1, minimum=0, maximum=MAX_SEED)
    """Seed of the split."""
