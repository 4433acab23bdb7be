"""Every knob on one page.

Frozen keyword-only dataclasses, no torch. A docstring under a field is its help on the command line; a class
docstring is its command's help, with examples. Sizes carry Hugging Face's names, ideas the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from electra.config import argument, flag
from electra.quantities import count, duration, fraction

# ---- sections shared by commands ----


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
    """Weights & Biases project that gets the metrics too (pip install 'electra[wandb]')."""


# ---- one class per command ----


@dataclass(frozen=True, kw_only=True)
class VocabSettings:
    """Train a WordPiece vocabulary from a corpus, or add the words of a domain to a checkpoint's (--extend).

    Examples:
      electra vocab wiki.txt.xz --size 8192 --output vocab
      electra vocab reviews.jsonl --text-field review --size 16000 --output vocab
      electra vocab s3://bucket/corpus --output s3://bucket/vocab
      electra vocab reviews/ --extend runs/mini --size 1000 --output mini-reviews
    """

    corpus: tuple[str, ...] = argument()
    """Files, folders (txt, txt.gz/.xz/.zst, jsonl, parquet, tar, zip), URLs of them, or hf:NAME, a data set of the Hugging Face hub."""
    output: str
    """Folder, or URL of one, for vocab.txt, tokenizer.json and tokenizer_config.json; with --extend for a whole checkpoint."""
    size: int | None = None
    """Number of word pieces, the five special ones included (unset: 30522); with --extend, of pieces added (unset: 1000)."""
    extend: str | None = None
    """Checkpoint (folder, run or hub name) whose vocabulary gets the corpus's words that spare most pieces, and whose embeddings get rows for them.
    Its rules about case hold; go on with 'prepare --tokenizer OUTPUT' and 'pretrain --init OUTPUT'."""
    lowercase: bool = True
    """Lower-case (and strip accents), as BERT's uncased models."""
    strip_accents: bool | None = None
    """Strip accents; unset: as lowercase."""
    split_chinese: bool = True
    """Make a word of every Chinese character."""
    min_frequency: int = 2
    """A piece seen less often is not made."""
    sample_bytes: int = 200_000_000
    """Text read for training, spread evenly over the corpus."""
    text_field: str = "text"
    """Name of the text column in jsonl, parquet and hub data sets."""
    documents: Literal["auto", "blank-line", "line", "file"] = "auto"
    """What separates documents in text files."""


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """Tokenize a corpus into memory-mapped shards, held-out part included.

    Examples:
      electra prepare corpus/ --tokenizer vocab --output shards --workers 2
      electra prepare wiki.txt.xz reviews.jsonl --tokenizer vocab.txt --output shards --held-out 0.5%
      electra prepare zh.txt.xz --tokenizer zh-vocab.txt --output shards-zh --words chinese
      electra prepare pretrain_tfrecords/ --tokenizer vocab.txt --output shards
      electra prepare openwebtext.tar.xz --tokenizer vocab.txt --output s3://bucket/shards
      electra prepare s3://bucket/corpus --tokenizer s3://bucket/vocab --output shards --engine ray --ray-address auto
    """

    corpus: tuple[str, ...] = argument()
    """Files, folders (txt, txt.gz/.xz/.zst, jsonl, parquet, tar, zip), URLs of them (s3://bucket/dir), hf:NAME for a data set of the
    Hugging Face hub, or the original code's TFRecords."""
    tokenizer: str
    """Folder or vocab.txt of the tokenizer, a URL of these, shipped:mini (of the model that comes with electra), or a model's name on the hub."""
    output: str
    """Folder of the shards, or its URL (made in the cache, then uploaded); interrupted work goes on where it stopped."""
    engine: Literal["local", "ray"] = "local"
    """Where to tokenize: processes of this machine, or a Ray cluster; the shards are the same."""
    ray_address: str | None = None
    """Address of a running Ray cluster ('auto' finds this machine's); unset: one is started here for the run."""
    workers: int = 0
    """Processes; 0: one per core (of the cluster)."""
    held_out: float = flag(0.005, parse=fraction, metavar="0.5%")
    """Share of documents set aside for evaluation."""
    text_field: str = "text"
    """Name of the text column in jsonl, parquet and hub data sets."""
    documents: Literal["auto", "blank-line", "line", "file"] = "auto"
    """What separates documents in text files."""
    deduplicate: bool = True
    """Drop exact duplicates of documents (counted)."""
    lowercase: bool | None = None
    """Lower-case the text; unset: as the tokenizer's files say (a bare vocab.txt is uncased when no piece holds a capital)."""
    strip_accents: bool | None = None
    """Strip accents; unset: as the tokenizer's files say, else as lowercase."""
    split_chinese: bool | None = None
    """Make a word of every Chinese character; unset: as the tokenizer's files say, else yes."""
    words: Literal["auto", "none", "chinese"] = "auto"
    """Keep where Chinese words start, for whole-word masking: 'chinese' asks a segmenter (rjieba, of the extra 'data'); 'auto' does so where the
    vocabulary is Chinese and rjieba is installed. Ids stay the same. Words of other languages need none of it."""
    json: bool = False
    """Print the manifest as JSON."""


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


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Measure a model: pre-training metrics on held-out shards, or a task's metrics.

    Examples:
      electra evaluate runs/mini/final --data shards
      electra evaluate runs/mini/final --corruption corruption.npz
      electra evaluate runs/sst2/final --task sst2 --data glue/SST-2 --json
      electra evaluate runs/ner/best --task tagging --data test.txt --per-class
      electra evaluate runs/sst2/best --task sst2 --data glue --report report --predictions sst2.jsonl
      electra evaluate runs/own/best --task own --data new.csv --text review --label stars --report report
    """

    model: str = argument()
    """Checkpoint folder, run directory or hub name."""
    data: tuple[str, ...] = ()
    """Shard folders (their held-out part) or URLs of such, or the task's folder."""
    task: str | None = None
    """Task to score a fine-tuned model on; unset: pre-training metrics."""
    corruption: Path | None = None
    """A fixed corruption set (made when the file is missing, from --data with this model's generator and from word frequencies)."""
    split: str = "dev"
    """Split of the task's data."""
    word_column: str | None = None
    """Tagging: column of the words, a number from 1, 'last', or a field of jsonl; unset: the first ('words' or 'tokens')."""
    tag_column: str | None = None
    """Tagging: column of the tags; unset: the last ('tags', 'ner_tags', ...)."""
    constrained: bool = False
    """Tagging: only sequences of tags that their scheme (BIO2, BIOES, BILOU) allows; else each word has its own likeliest tag."""
    per_class: bool = False
    """Tagging: also precision, recall and F1 of each type of span."""
    report: Path | None = None
    """New folder for report.md, report.json and pictures: confusions, calibration, scores by length, the worst errors."""
    predictions: Path | None = None
    """File for the answers: JSON lines with id, label, prediction, probability, probabilities; 'electra significance' compares two."""
    text: str = "text"
    """Task 'own': column of the text."""
    text_pair: str | None = None
    """Task 'own': column of the second text."""
    label: str = "label"
    """Task 'own': column of the label."""
    label_separator: str = "|"
    """Task 'own': what stands between several labels at once."""
    fold: str | None = None
    """FewCLUE's draw of a Chinese task: 0 .. 4 or few_all."""
    truncate: Literal["head", "tail", "head-tail", "windows"] | None = None
    """What is read of longer texts; unset: what the model was fine-tuned with."""
    num_examples: int = 2000
    """Held-out examples measured (pre-training metrics)."""
    sequence_length: int = 128
    """Longest example in tokens; of a task, unset: what the model was fine-tuned with."""
    batch_size: int = 32
    """Examples at a time."""
    seed: int = 1
    """Seed of masks and samples."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class SuiteSettings:
    """Many trials: suites of tasks, searches."""

    workers: int = 0
    """Trials at a time, each a process of its own; 0: one per GPU, else one per core. Given for one task, its seeds run in parallel too."""
    engine: Literal["local", "ray"] = "local"
    """Where trials run: processes of this machine, or a Ray cluster whose machines see the same files."""
    ray_address: str | None = None
    """Address of a running Ray cluster ('auto' finds this machine's); unset: one is started here for the run."""
    search: tuple[str, ...] = ()
    """Values to try, such as lr=1e-4,3e-4 epochs=3,5: every combination, with all seeds; the best mean on the dev set is marked."""
    baselines: bool = False
    """Also tell what is reached without a network: the largest class, TF-IDF under a linear model, each word's most frequent tag, ..."""


@dataclass(frozen=True, kw_only=True)
class DistillationSettings:
    """Learning from a fine-tuned model's answers."""

    teacher: str | None = None
    """Fine-tuned checkpoint (folder, run or hub name) whose probabilities are learned too; its vocabulary may be another."""
    distill_weight: float = 0.5
    """Weight of the teacher's loss; the labels' has the rest."""
    distill_temperature: float = 2.0
    """Temperature of both distributions (Hinton et al. 2015); a regression has none."""
    unlabelled: Path | None = None
    """Text file (one text a line, a tab between two) or jsonl with 'text' and 'text_pair': more to learn from, labelled by the teacher."""


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """Fine-tune a pre-trained checkpoint on a task and score it on the task's dev set.

    TASK: a name of docs/tasks.md (sst2, mnli, imdb, tnews, squad, chunk, ...), own (your csv, tsv, jsonl or parquet), or tagging (your tagged words).
    Several joined by '+' are learned together by one encoder; a suite ('glue', 'clue', 'all') runs each of its tasks whose files are found under
    --data, trials in parallel, into one table.

    Examples:
      electra finetune rte --model google/electra-small-discriminator --data hub --output runs/rte
      electra finetune sst2 --model runs/mini/final --data glue/SST-2 --output runs/sst2 --seeds 5
      electra finetune imdb --model google/electra-small-discriminator --data aclImdb --output runs/imdb
      electra finetune squad --model runs/small/final --data squad --output runs/squad --head original
      electra finetune own --train a.csv --dev b.csv --text review --label stars --model runs/mini/final --output runs/own
      electra finetune tagging --train ner.txt --dev dev.txt --model runs/mini/final --output runs/ner
      electra finetune glue --model runs/mini/final --data glue --seeds 5 --output runs/glue
      electra finetune rte --model runs/mini/final --data glue --search lr=1e-4,3e-4 epochs=3,10 --seeds 3 --output runs/search
      electra finetune sst2+rte --model runs/mini/final --data glue --mixing size0.75 --output runs/both
      electra finetune sst2 --model runs/mini/final --teacher runs/large/best --data glue --output runs/student
      electra finetune imdb --model runs/mini/final --data aclImdb --output runs/imdb --truncate head-tail --freeze-encoder-epochs 1
      electra finetune own --train a.jsonl --dev b.jsonl --label topics --kind multilabel --model runs/mini/final --output runs/topics
      electra finetune tnews --preset clue --fold 0 --model runs/zh/final --data FewCLUE --output runs/tnews
    """

    task: str = argument()
    """Name of the task."""
    model: str
    """Checkpoint folder or hub name to start from; 'random:PATH' takes only its shape and vocabulary."""
    output: Path
    """Run directory; one folder a seed, the best under 'best'."""
    preset: str | None = None
    """Fine-tuning preset ('paper', 'original-code', 'mini', 'clue') or a TOML file; unset: 'paper'."""
    data: Path | None = None
    """Folder (or archive) of the task's official files; 'hub', or the data set's name there: from the Hugging Face hub."""
    train: Path | None = None
    """Training file of a task of one's own, or of questions."""
    dev: Path | None = None
    """Held-out file of a task of one's own, or of questions."""
    pretraining_data: tuple[Path, ...] = ()
    """Shard folders the model was pre-trained on: dev examples that stand in them are counted aloud (13 word pieces in a row)."""
    text: str = "text"
    """Column of the text."""
    text_pair: str | None = None
    """Column of the second text."""
    label: str = "label"
    """Column of the label."""
    word_column: str | None = None
    """Tagging: column of the words, a number from 1, 'last', or a field of jsonl; unset: the first ('words' or 'tokens')."""
    tag_column: str | None = None
    """Tagging: column of the tags; unset: the last ('tags', 'ner_tags', ...)."""
    token_segment: Literal[0, 1] = 0
    """Tagging: segment of all tokens; the original's are 1."""
    constrained: bool = False
    """Tagging: only sequences of tags that their scheme (BIO2, BIOES, BILOU) allows; else each word has its own likeliest tag."""
    kind: Literal["auto", "classification", "regression", "multilabel"] = "auto"
    """What one's own label is; 'auto': classification, unless the labels are many different decimal numbers; 'multilabel': several at once."""
    label_separator: str = "|"
    """What stands between several labels at once (a JSON list is read, too)."""
    fold: str | None = None
    """FewCLUE's draw of a Chinese task: 0 .. 4 or few_all."""
    epochs: float = 3.0
    """Passes over the training set."""
    max_train_examples: int = 0
    """Use only this many training examples (a fixed random choice); 0: all."""
    max_length: int = 128
    """Longest input in tokens."""
    truncate: Literal["head", "tail", "head-tail", "windows"] = "head"
    """What is read of longer texts: the beginning, the end, a quarter and three quarters of these, or all of it in overlapping windows."""
    class_weights: str | None = None
    """Weights of the classes in the loss: 'balanced' (rare ones count more), or a number for each, 1,2.5,...; unset: all alike."""
    freeze_layers: int | None = None
    """Leave the embeddings and this many of the lowest layers as they are (0: the embeddings alone); unset: all learn."""
    freeze_encoder_epochs: float = 0.0
    """Train the head alone for so many of the epochs, then everything."""
    seeds: int = 1
    """Number of trials, seeds 1..N: mean, standard deviation and each are reported."""
    head: Literal["transformers", "original"] = "transformers"
    """Head: of transformers (Auto classes open it) or the original's (classes: dropout, linear; questions: ends after starts, answerability)."""
    dropout: float = 0.1
    """Dropout while fine-tuning."""
    stride: int = 128
    """Questions: tokens from one window of a long context to the next (the original's doc_stride)."""
    max_query_length: int = 64
    """Questions: longest question in tokens; the rest is cut off."""
    max_answer_length: int = 30
    """Questions: longest answer in tokens."""
    null_threshold: float = 0.0
    """squad2: no answer is given where the null odds are above this; the best one on dev is reported and kept in the model's config.json."""
    double_unordered: bool = True
    """Add the swapped copy of each pair for tasks of unordered pairs (MRPC, STS-B), as the original code."""
    resume: bool = False
    """Skip finished seeds and go on with an interrupted one."""
    json: bool = False
    """Print the scores as JSON."""
    early_stopping: int = 0
    """Stop after this many evaluations without a better main metric, and keep the best one's weights: a choice made on the dev set, whose score is
    then optimistic. 0: train to the end."""
    mixing: str = "all"
    """Several tasks together: 'all', every example once an epoch; 'size0.75', batches drawn by the task's size to this power."""
    suite: SuiteSettings = field(default_factory=SuiteSettings)
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    optimizer: OptimizerSettings = field(
        default_factory=lambda: OptimizerSettings(learning_rate=3e-4, warmup_fraction=0.1, weight_decay=0.0, layerwise_lr_decay=0.8)
    )
    loop: LoopSettings = field(default_factory=lambda: LoopSettings(keep_checkpoints=1))


@dataclass(frozen=True, kw_only=True)
class SignificanceSettings:
    """Say whether two models' answers to the same examples differ by more than chance.

    A paired bootstrap over examples, and McNemar's test where answers are right or wrong. The examples are one sample, the models two: what other
    seeds would give is another question, which the table of 'electra finetune --seeds N' answers.

    Examples:
      electra significance runs/a/predictions.jsonl runs/b/predictions.jsonl
      electra significance a.jsonl b.jsonl --metric matthews --json
    """

    first: Path = argument()
    """Answers of the first model: predictions.jsonl of 'electra finetune', or --predictions of 'electra evaluate'."""
    second: Path = argument()
    """Answers of the second model to the same examples."""
    metric: Literal["auto", "accuracy", "f1", "macro_f1", "matthews", "pearson", "spearman", "root_mean_squared_error"] = "auto"
    """What is compared; 'auto': accuracy of classes, Pearson's correlation of numbers."""
    positive: str | None = None
    """The class of --metric f1; unset: the last one in sorted order."""
    num_resamples: int = 10_000
    """Resamples of the bootstrap."""
    confidence: float = flag(0.95, parse=fraction, metavar="95%")
    """Of the interval; a difference counts where its p-value is below what this leaves."""
    seed: int = 1
    """Seed of the resamples."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class SubmitSettings:
    """Answer a benchmark's test sets with fine-tuned models and write the zip that its site takes.

    BENCHMARK: glue, clue (version 1.1) or clue1.0.

    Examples:
      electra submit glue --models sst2=runs/sst2/best cola=runs/cola/best --data glue --output glue.zip --fill
      electra submit clue --models tnews=runs/tnews/best afqmc=runs/afqmc/best --data CLUE --output clue.zip
    """

    benchmark: str = argument()
    """glue, clue or clue1.0."""
    models: tuple[str, ...]
    """TASK=MODEL for each task: a fine-tuned checkpoint's folder or hub name."""
    data: Path
    """Folder with the tasks' folders."""
    output: Path
    """The zip to write."""
    fill: bool = False
    """Answer tasks without a model by their most frequent training label (GLUE takes all tasks or none)."""
    batch_size: int = 32
    """Texts at a time."""


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """Turn a data set's official files into csv files.

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
    """Folder to write."""
    valid: float = flag(0.0, parse=fraction)
    """Share of the training reviews held out, as valid/valid_data.csv: then the task imdb scores on them instead of the test half."""
    seed: int = 1
    """Seed of that choice."""


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """Label a text, or every line of a file, with a fine-tuned model; one for questions answers each (question and context, by a tab or as fields of
    jsonl).

    Without a model it is 'shipped:sentiment', which comes with electra: is the opinion of an English text positive or negative? A single argument is
    a text where it holds white space and no slash, and nothing of that name is here; --text is always one, of a word or with a slash too.

    Examples:
      electra predict "what a wonderful film"
      electra predict --text "10/10"
      electra predict shipped:sentiment reviews.txt
      electra predict runs/sst2/best reviews.txt
      echo "what a wonderful film" | electra predict runs/sst2/best -
      electra predict runs/sst2/best reviews.jsonl --text-field review --json > labels.jsonl
      electra predict runs/squad/best questions.jsonl --json > answers.jsonl
      echo "Ada Lovelace lived in London." | electra predict runs/ner/best -
    """

    model: str = argument("")
    """Fine-tuned checkpoint: folder, artefact, hub name or 'shipped:sentiment'; alone, a text for that one ('-': texts from standard input)."""
    file: str = argument("")
    """Text file (one text a line; tab between the two texts of a pair) or jsonl; '-', or nothing: standard input."""
    text: str | None = None
    """A text, in place of the file."""
    text_field: str = "text"
    """Field of the text in jsonl, a list of words for a model that tags words; of the question, where it is not 'question'."""
    pair_field: str = "text_pair"
    """Field of the second text in jsonl; of the context, where it is not 'context'."""
    constrained: bool = False
    """Tagging: only sequences of tags that their scheme (BIO2, BIOES, BILOU) allows; else each word has its own likeliest tag."""
    batch_size: int = 32
    """Texts at a time."""
    max_length: int = 0
    """Longest input in tokens; 0: the model's own limit."""
    threads: int = 0
    """CPU threads; 0 leaves PyTorch's choice."""
    json: bool = False
    """JSON lines instead of tab-separated text."""


@dataclass(frozen=True, kw_only=True)
class DetectSettings:
    """Show, for every token, how probable it is that it was replaced.

    Without a model it is 'shipped:detector', which comes with electra and knows English. A single argument is a text where it holds white space and
    no slash, and nothing of that name is here; --text is always one, of a word or with a slash too.

    Examples:
      electra detect "the chef ate the meal"
      electra detect "the chef cooked the meal" --corrupt --seed 3
      electra detect --text "and/or"
      echo "the chef ate the meal" | electra detect runs/mini/final -
      echo "the chef cooked the meal" | electra detect runs/mini/final - --corrupt --seed 3
      electra detect runs/mini/final essays.txt --json > detected.jsonl
    """

    model: str = argument("")
    """Pre-trained checkpoint (a discriminator): folder, artefact, hub name or 'shipped:detector'; alone, a text for that one ('-': texts from
    standard input)."""
    file: str = argument("")
    """Text file (one text a line) or jsonl; '-', or nothing: standard input."""
    text: str | None = None
    """A text, in place of the file."""
    text_field: str = "text"
    """Field of the text in jsonl."""
    corrupt: bool = False
    """Show the whole workflow: masked, the generator's proposals, the discriminator's verdicts."""
    mask_prob: float = 0.15
    """Share of tokens masked by --corrupt."""
    temperature: float = 1.0
    """Temperature of the generator's samples."""
    disallow_correct: bool = False
    """Never sample the original token, so that every chosen position is replaced (the original's disallow_correct)."""
    seed: int = 1
    """Seed of the masks and samples of --corrupt."""
    threshold: float = 0.5
    """Probability from which a token counts as replaced."""
    batch_size: int = 32
    """Texts at a time."""
    threads: int = 0
    """CPU threads; 0 leaves PyTorch's choice."""
    json: bool = False
    """JSON lines: tokens, probabilities, character offsets."""


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """Say how likely texts are: the sum over tokens of log p(token | all the others).

    By an Electric in one pass, up to a constant per token; by a masked LM, or an ELECTRA's generator, token by token. With --nbest the
    hypotheses of every JSON line are sorted by 'score + weight * likelihood'.

    Examples:
      electra score runs/electric/final sentences.txt
      echo "the chef ate the meal" | electra score runs/mini/final - --json
      electra score runs/electric/final lists.jsonl --nbest hypotheses --score-field acoustic --weight 0.3 > ranked.jsonl
    """

    model: str = argument()
    """Checkpoint (an Electric, a masked LM, or an ELECTRA with its generator): folder or hub name."""
    file: str = argument("-")
    """Text file (one text a line) or jsonl; '-': standard input."""
    text_field: str = "text"
    """Field of the text in jsonl, or in a hypothesis that is an object."""
    nbest: str | None = None
    """Field of a list of hypotheses, texts or objects with a text: re-rank it (jsonl in, jsonl out)."""
    score_field: str = "score"
    """Field of a hypothesis' own score (a log-probability); 0 where there is none."""
    weight: float = 1.0
    """Weight of the likelihood beside that score."""
    per_token: bool = False
    """The mean over tokens instead of the sum."""
    batch_size: int = 32
    """Texts at a time."""
    threads: int = 0
    """CPU threads; 0 leaves PyTorch's choice."""
    json: bool = False
    """JSON lines: every token with its score and character offsets."""


@dataclass(frozen=True, kw_only=True)
class EmbedSettings:
    """Sentence vectors: the mean of the last hidden states over a text's tokens.

    Examples:
      electra embed runs/mini/final sentences.txt --output vectors.npy
      echo "a sentence" | electra embed runs/mini/final - --json
    """

    model: str = argument()
    """Checkpoint folder or hub name."""
    file: str = argument("-")
    """Text file (one text a line) or jsonl; '-': standard input."""
    text_field: str = "text"
    """Field of the text in jsonl."""
    output: Path | None = None
    """File for the vectors: .npy (float32, texts x hidden_size) or .jsonl; unset: JSON lines on standard output."""
    normalize: bool = False
    """Scale every vector to length one."""
    batch_size: int = 32
    """Texts at a time."""
    threads: int = 0
    """CPU threads; 0 leaves PyTorch's choice."""
    json: bool = False
    """JSON lines on standard output."""


@dataclass(frozen=True, kw_only=True)
class InspectSettings:
    """Say what a corpus, tokenizer, shard folder, checkpoint or run is.

    Examples:
      electra inspect shards
      electra inspect runs/mini
      electra inspect runs/mini/final --json
      electra inspect s3://bucket/shards
      electra inspect small
    """

    path: str = argument()
    """A corpus file or folder, tokenizer or shard folder (or a URL of these), checkpoint, run, pre-training preset (its cost), or hub name."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class PlotSettings:
    """Draw the learning curves of one or several runs.

    Examples:
      electra plot runs/mini
      electra plot runs/mini runs/mini-mlm --metrics masked_lm_loss disc_auc --x tokens --output curves.png
      electra plot runs/mini runs/small --metrics loss disc_auc probe_sst2 --x flops
    """

    runs: tuple[Path, ...] = argument()
    """Run directories."""
    metrics: tuple[str, ...] = ()
    """Metrics to draw; unset: what the runs have."""
    x: Literal["steps", "tokens", "flops", "seconds"] = "steps"
    """Horizontal axis: optimizer updates, real tokens, operations (of training, our count), seconds of training."""
    output: Path | None = None
    """PNG file; unset: curves.png in the first run."""


@dataclass(frozen=True, kw_only=True)
class ConvertSettings:
    """Turn a checkpoint of another form into a Hugging Face directory, the generator in its folder generator/.

    Reads the original TensorFlow code's checkpoints and BERT's (without TensorFlow; sizes come from the checkpoint), our own, and the hub's.

    Examples:
      electra convert electra_small/ electra-small
      electra convert model.ckpt-1000000 out --vocab vocab.txt
      electra convert google-bert/bert-base-uncased bert --dtype float16
    """

    source: str = argument()
    """TensorFlow checkpoint (its folder, or its name without .index), checkpoint folder, run, or a name on the hub."""
    output: Path = argument()
    """Folder to write."""
    vocab: str | None = None
    """Vocabulary: vocab.txt, tokenizer.json or a folder; unset: the one beside the checkpoint."""
    lowercase: bool | None = None
    """Lower-case the text; unset: as the vocabulary's files say (a bare vocab.txt is uncased when no piece holds a capital)."""
    num_attention_heads: int | None = None
    """Heads of a TensorFlow checkpoint's discriminator, which leave no trace in it; unset: one per 64 of width, as every released model has."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Number format of the written weights."""


@dataclass(frozen=True, kw_only=True)
class PushSettings:
    """Upload a checkpoint to the Hugging Face hub (its folder is already in the hub's format).

    Examples:
      electra push runs/sst2/best --name me/electra-mini-sst2
      electra push runs/mini/final --name me/electra-mini --private
    """

    path: Path = argument()
    """Checkpoint folder."""
    name: str
    """Repository on the hub, OWNER/NAME."""
    private: bool = False
    """Create it as a private repository."""


@dataclass(frozen=True, kw_only=True)
class AblateSettings:
    """ELECTRA beside BERT: one loop, the same data, vocabulary, compute (FLOPs, and again time), fine-tuning and seeds; what follows from it.

    VARIANT: 'scratch' pre-trains on shards from random weights; 'imdb' makes text, vocabulary and shards of IMDb's unlabelled reviews and
    pre-trains on them, from random weights or going on from a checkpoint (--init). Both then learn sentiment. Writes OUTPUT/results.json,
    table.md and results.png. All sizes are settled once, in OUTPUT/plan.json. How to read the results: docs/ablation.md.

    Examples:
      electra ablate scratch --data shards --task-data glue/SST-2 --output runs/ablation --budget 8h
      electra ablate imdb --data aclImdb --output runs/imdb-ablation --budget 8h --seeds 5
      electra ablate imdb --data aclImdb_v1.tar.gz --init runs/mini --output runs/imdb-continued --budget 4h
      electra ablate imdb --data aclImdb --output runs/imdb-ablation --resume
      electra ablate scratch --data shards --task-data glue/SST-2 --preset small --methods electra mlm replace-mlm --dry-run
    """

    variant: str = argument()
    """scratch or imdb."""
    data: tuple[str, ...] = ()
    """scratch: shard folders made by 'electra prepare'; imdb: the folder aclImdb or its archive."""
    output: Path = Path("ablation")
    """Folder for everything."""
    preset: str = "mini"
    """ELECTRA's pre-training preset or TOML file; BERT's is its twin NAME-mlm where there is one, else the same with the other objective."""
    methods: tuple[str, ...] = ("electra", "mlm")
    """Objectives compared; the first is what the others are matched to. Also electra-masked, replace-mlm, all-tokens-mlm (paper, Table 5)."""
    match: tuple[str, ...] = ("flops", "seconds")
    """What is made equal, each in a run of its own: flops, seconds."""
    init: str | None = None
    """imdb: checkpoint that every method goes on from (folder, run or hub name), with its vocabulary."""
    init_mlm: str | None = None
    """imdb: a BERT of the same shape and vocabulary that the method mlm goes on from instead."""
    task: str | None = None
    """Task of the fine-tuning; unset: imdb, of scratch sst2."""
    task_data: Path | None = None
    """Folder of the task's files; unset for imdb with the task imdb: --data."""
    seeds: int = 3
    """Seeds 1..N, each a pre-training and a fine-tuning of its own. A finished ablation takes more of them with --resume."""
    points: int = 3
    """Checkpoints of each run that are fine-tuned, the last one included, evenly spread over its FLOPs."""
    budget: float = flag(28800.0, parse=duration, metavar="8h")
    """Wall-clock time of everything: steps, schedules, fine-tuning examples."""
    num_train_steps: int | None = None
    """Steps of the first method's run, instead of --budget."""
    max_train_examples: int = 0
    """Fine-tuning examples at most; 0: as many as the budget allows."""
    finetune_preset: str | None = None
    """Fine-tuning preset; unset: 'mini' for networks narrower than 256, else 'paper'."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train."""
    threads: int = 0
    """CPU threads; 0 leaves PyTorch's choice."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the pre-trainings. 'auto': bf16 autocast on CUDA, fp32 elsewhere."""
    resume: bool = False
    """Skip finished parts and go on with an interrupted one, with the sizes settled before."""
    dry_run: bool = False
    """Time some steps, print every part with its FLOPs and minutes, and write nothing."""
    json: bool = False
    """Print results.json instead of the table."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """From raw text to a fine-tuned model and a report, in minutes, without a network.

    Examples:
      electra demo
      electra demo --output my-demo --minutes 20
    """

    output: Path = Path("demo")
    """Folder for everything the demo makes."""
    data: Path | None = None
    """GLUE's SST-2 folder for the sentiment part; unset: the hub's when reachable, else the reviews that come with the project."""
    minutes: float = 4.0
    """Minutes of pre-training."""
    resume: bool = True
    """Go on with what an earlier demo in the same folder finished."""


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Answer over HTTP: many requests in one batch, several models by name.

    Speaks text-embeddings-inference's routes (/predict, /embed, /health, /info, /metrics), Hugging Face's inference payloads (POST /), and /detect,
    /corrupt, /models. The first model answers at the root, each at /models/NAME. Stops on SIGTERM or Ctrl-C after what it accepted is answered.

    Examples:
      electra serve
      electra serve runs/sst2/best
      electra serve sentiment=runs/sst2/best ner=runs/ner/best runs/mini --port 8080
      electra serve sst2-int8.zip --host 0.0.0.0 --token-file token.txt
      curl -H 'Content-Type: application/json' -d '{"inputs": "a gripping film"}' http://127.0.0.1:8000/predict
    """

    models: tuple[str, ...] = argument(())
    """Checkpoints, runs, hub names or artefacts, each as NAME=SOURCE or just SOURCE (named after its folder); none: shipped:sentiment and
    shipped:detector, which come with electra."""
    host: str = "127.0.0.1"
    """Address to listen at; 127.0.0.1 is reached from this machine only, 0.0.0.0 from everywhere."""
    port: int = 8000
    """Port; 0 takes any that is free (the log says which)."""
    threads: int = 0
    """CPU threads of a model; 0: one per core."""
    device: str = "auto"
    """Where checkpoints run: 'auto' (CUDA where there is one), 'cpu', 'cuda'."""
    max_length: int = 0
    """Longest window in tokens; 0: the model's limit. Longer texts are read in windows."""
    max_batch_tokens: int = 4096
    """Tokens in one batch, padding included."""
    max_wait_ms: float = 2.0
    """Milliseconds an idle model waits for more texts before it answers one; 0 answers at once."""
    max_queue: int = 512
    """Texts that may wait for a model; a request beyond gets 429 with Retry-After."""
    max_requests: int = 256
    """Requests at a time, bodies being received included; one beyond gets 429."""
    max_texts: int = 32
    """Texts in one request; more get 413."""
    max_tokens: int = 16384
    """Tokens that one request may have read, overlaps of windows included; more get 413."""
    max_body_bytes: int = 2_000_000
    """Bytes of a request's body; more get 413."""
    timeout: float = flag(30.0, parse=duration)
    """Time a request has from arrival to answer, such as 30s; then it gets 504 and its place is free."""
    token_file: Path | None = None
    """File with a token that every request but /health brings ('Authorization: Bearer TOKEN'); unset: the environment's ELECTRA_TOKEN, else none."""
    log_text: bool = False
    """Write users' texts into the log; otherwise only their number and tokens."""
    docs: bool = True
    """Describe the routes at /docs and /openapi.json."""


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """Turn a checkpoint into an artefact: model, tokenizer, labels and hashes in one folder or .zip, run without PyTorch.

    What a checkpoint does (predict, detect, embed, inspect, pipeline, load), an artefact does too, on any machine with
    pip install 'electra[runtime]'.

    Examples:
      electra build runs/sst2/best --target onnx --output sst2.onnx
      electra build runs/sst2/best --target onnx-int8 --output sst2-int8.zip
      electra build runs/sst2/best --target onnx-int8-static --calibrate reviews.txt --output sst2-static
      electra build runs/mini/final --target onnx-fp16 --output mini-fp16
      electra build runs/sst2/best --target auto --task sst2 --data glue/SST-2 --max-drop 0.5 --output sst2-fast
      echo "what a wonderful film" | electra predict sst2-int8.zip -
    """

    model: str = argument()
    """Checkpoint of any head: folder, run or hub name. A generator/ beside a discriminator is built with it."""
    target: str
    """What to build for: onnx (fp32, fused), onnx-fp16 (half the size), onnx-int8 (a quarter, scales found at run time), onnx-int8-static
    (scales found on --calibrate's texts); openvino (fp32), openvino-bf16, openvino-int8 (scales found on --calibrate's texts); torch-export (a
    compiled library, which needs torch and trust to run); auto: the fastest of all that this machine can run, within --max-drop."""
    output: Path
    """The artefact: a folder, or one file where the name ends in .zip."""
    calibrate: str | None = None
    """Text file (one text a line; tab between the two texts of a pair) or jsonl, like those the model will read; for onnx-int8-static
    and openvino-int8. Of auto unset: the train split of --data, where there is one."""
    num_texts: int = 256
    """How many of its texts are used, evenly taken from the file."""
    text_field: str = "text"
    """Field of the text in jsonl."""
    pair_field: str = "text_pair"
    """Field of the second text in jsonl."""
    task: str | None = None
    """auto: task the checkpoint was fine-tuned on."""
    data: str | None = None
    """auto: the task's folder, or one labelled file."""
    split: str = "dev"
    """auto: split that is measured."""
    max_drop: float = 0.5
    """auto: points of the task's main metric that may be lost against the checkpoint."""
    calls: int = 200
    """auto: timed calls of each kind."""
    threads: int = 0
    """auto: threads of each, a core of its own for every one; 0: all cores."""
    skip: tuple[str, ...] = ()
    """auto: targets to leave out, such as torch-export, which takes minutes to compile."""
    text: str = "text"
    """auto, task 'own': column of the text."""
    text_pair: str | None = None
    """auto, task 'own': column of the second text."""
    label: str = "label"
    """auto, task 'own': column of the label."""
    json: bool = False
    """Print the artefact's manifest."""


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """Measure a model and what was built from it by one method: how right, how fast, how large.

    Each runs in a fresh process, all on the same cores with as many threads; they take turns in random order. Exit code 1 where one failed.

    Examples:
      electra compare runs/sst2/best sst2-onnx sst2-int8.zip --task sst2 --data glue/SST-2
      electra compare runs/sst2/best sst2-int8 --task sst2 --data glue/SST-2 --threads 1 --calls 500 --output compared
      electra compare runs/own/best own-onnx --task own --data new.csv --text review --label stars --json
    """

    models: tuple[str, ...] = argument()
    """Checkpoint folders, runs, hub names, artefacts (folder or .zip); the first is the reference."""
    task: str
    """Task they were fine-tuned on."""
    data: str
    """The task's folder, or one labelled file."""
    split: str = "dev"
    """Split of the task's data."""
    calls: int = 200
    """Timed calls of each kind, and texts of a throughput."""
    threads: int = 0
    """Threads of every implementation, each pinned to a core of its own; 0: all cores."""
    num_examples: int = 0
    """Examples answered for the score, a random choice; 0: all."""
    output: Path | None = None
    """New folder for table.md, results.json and compare.png."""
    keep: bool = False
    """Write the rows into the artefacts compared, for 'electra inspect' and the served page."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where checkpoints run; artefacts run where they were built for."""
    seed: int = 1
    """Seed of the order, and of the choice of texts."""
    text: str = "text"
    """Task 'own': column of the text."""
    text_pair: str | None = None
    """Task 'own': column of the second text."""
    label: str = "label"
    """Task 'own': column of the label."""
    label_separator: str = "|"
    """Task 'own': what stands between several labels at once."""
    word_column: str | None = None
    """Tagging: column of the words, a number from 1, 'last', or a field of jsonl; unset: the first ('words' or 'tokens')."""
    tag_column: str | None = None
    """Tagging: column of the tags; unset: the last ('tags', 'ner_tags', ...)."""
    fold: str | None = None
    """FewCLUE's draw of a Chinese task: 0 .. 4 or few_all."""
    json: bool = False
    """Print JSON."""
