"""Settings of fine-tuning and of the recipes around it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from electra.config import FINITE, Settings, argument, duration, flag
from electra.settings.pretrain import LoopSettings, OptimizerSettings
from electra.settings.sections import ColumnSettings, ComputeSettings, DecodingSettings, LogSettings


def mixing(text: str) -> str:
    """'all', or 'size' and a power from 0 to 1 -> the same.

    Raises:
        ValueError: neither.
    """
    power = re.fullmatch(r"size(\d*\.?\d+|\d+\.)", text)
    if text != "all" and not (power and float(power[1]) <= 1):
        raise ValueError("expected 'all', or 'size' and a power from 0 to 1, such as size0.75")
    return text


CHANGE_ON_RESUME = {"seeds", "resume", "json", "output", "device", "threads", "log_every", "checkpoint_every", "keep_checkpoints", "keep_steps"}
CHANGE_ON_RESUME |= {"workers", "engine", "ray_address", "search", "baselines", "pretraining_data", "log_to", "log_project"}
CHANGE_ON_RESUME |= {"data", "train", "dev"}  # other places of the same examples: `data.json` of the run has their hashes
"""Settings of fine-tuning that may change when a run is resumed. Finished seeds have the others, also those that a pre-training may change."""


@dataclass(frozen=True, kw_only=True)
class SuiteSettings(Settings):
    """Many trials: suites of tasks, searches."""

    workers: int = flag(0, minimum=0, maximum=4096)
    """Trials to run at a time, each in its own process; 0: one per GPU, else one per core. If set for one task, its seeds run in parallel too."""
    engine: Literal["local", "ray"] = flag("local", advanced=True)
    """Run trials in processes on this machine, or on a Ray cluster whose machines see the same files."""
    ray_address: str | None = flag(None, advanced=True)
    """Address of a running Ray cluster ('auto' finds this machine's); default: start one for this run."""
    search: tuple[str, ...] = ()
    """Values to try, such as lr=1e-4,3e-4 epochs=3,5: every combination with all seeds; the best mean dev score is marked. Default: no search."""
    baselines: bool = False
    """Also score baselines without a network: the largest class, TF-IDF with a linear model, each word's most frequent tag, ...
    With --few-shot on the same draws, and the methods frozen and fine-tune as well."""


@dataclass(frozen=True, kw_only=True)
class DistillationSettings(Settings):
    """Learning from a fine-tuned teacher."""

    teacher: str | None = None
    """Fine-tuned checkpoint (folder, run or hub name) to distill from; its vocabulary may differ. Default: none."""
    teacher_labels: tuple[str, ...] = flag((), advanced=True)
    """The task's labels in the order of the teacher's outputs, for a teacher that says LABEL_0, LABEL_1, ... Default: by the teacher's names."""
    distill_weight: float = flag(0.5, minimum=0, maximum=1, advanced=True)
    """Weight of the distillation loss; the labels' loss gets the rest."""
    distill_temperature: float = flag(2.0, above=0, advanced=True)
    """Temperature of both distributions (Hinton et al. 2015); not used for regression."""
    unlabelled: Path | None = flag(None, advanced=True)
    """Extra texts that only the teacher labels: a text file (one per line, a tab between two) or a table (columns --text and --text-pair, else text
    and text_pair). Default: none."""


def layers(text: str) -> str:
    """'all', 'auto', or a number of layers -> the same.

    Raises:
        ValueError: none of them.
    """
    if text not in ("all", "auto") and not (text.isdecimal() and len(text) < 10 and int(text) > 0):
        raise ValueError("expected all, auto or a number of layers from 1 on")
    return text


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings(Settings):
    """Tasks embed and rerank."""

    text_columns: tuple[str, ...] = ()
    """Columns of the texts, such as question answer: a text (a query), a similar one (a passage), then negatives. Default: all but the label's, in
    their order."""
    loss: Literal["auto", "ranking", "symmetric-ranking", "cosent", "cosine", "batch-all-triplet", "binary", "listwise", "margin-mse"] = "auto"
    """embed: ranking (multiple negatives ranking with in-batch and given negatives), symmetric-ranking (in both directions), cosent (scored pairs,
    their order), cosine (scored pairs, similarities from -1 to 1 themselves), batch-all-triplet (texts with labels). rerank: binary (each passage),
    listwise (a query's passages), margin-mse (the differences of a teacher's scores). 'auto': the first that fits the columns."""
    pooling: Literal["auto", "mean", "cls", "max"] = "auto"
    """What of the states becomes the vector; 'auto': as the model's files say, else the mean of all tokens."""
    layers: str = flag("all", parse=layers, metavar="all|auto|N")
    """Layers to keep: all, the lowest N, or auto, the number whose vectors are best on the dev set before training. An ELECTRA discriminator's
    last layer is its worst for similarity."""
    similarity_scale: float = flag(20.0, above=0, advanced=True)
    """Factor of the cosines in the loss (1 / temperature)."""
    matryoshka: tuple[int, ...] = flag((), minimum=1, advanced=True)
    """Sizes to which vectors may be shortened, such as 256 128 64: each is trained too. Default: none."""
    query_prompt: str = flag("", advanced=True)
    """Text before every first text, saved as the model's prompt 'query'; default: the model's, if it has one."""
    document_prompt: str = flag("", advanced=True)
    """Text before all other texts, saved as the model's prompt 'document'; default: the model's, if it has one."""


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(ColumnSettings, DecodingSettings):
    """Fine-tune a pre-trained checkpoint on a task and score it on the task's dev set.

    TASK: a name from docs/finetune.md (sst2, mnli, imdb, tnews, squad, chunk, ...), own (your csv, tsv, jsonl or parquet), tagging (your tagged
    words), embed (vectors from your similar texts) or rerank (relevance of passages to queries). Several tasks joined by '+' train one encoder
    together; a suite ('glue', 'clue', 'all') runs each task found under --data, in parallel, into one table.

    Examples:
      electra finetune rte --model google/electra-small-discriminator --data hub --output runs/rte
      electra finetune sst2 --model runs/mini/final --data glue/SST-2 --output runs/sst2 --seeds 5
      electra finetune imdb --model google/electra-small-discriminator --data aclImdb --output runs/imdb
      electra finetune squad --model runs/small/final --data squad --output runs/squad --head original
      electra finetune own --train a.csv --dev b.csv --text review --label stars --model runs/mini/final --output runs/own
      electra finetune tagging --train ner.txt --dev dev.txt --model runs/mini/final --output runs/ner
      electra finetune embed --train pairs.csv --dev dev.csv --model runs/mini/final --layers auto --output runs/vectors
      electra finetune glue --model runs/mini/final --data glue --seeds 5 --output runs/glue
      electra finetune rte --model runs/mini/final --data glue --search lr=1e-4,3e-4 epochs=3,10 --seeds 3 --output runs/search
      electra finetune sst2+rte --model runs/mini/final --data glue --mixing size0.75 --output runs/both
      electra finetune sst2 --model runs/mini/final --teacher runs/large/best --data glue --output runs/student
      electra finetune imdb --model runs/mini/final --data aclImdb --output runs/imdb --truncate head-tail --freeze-encoder-epochs 1
      electra finetune own --train a.jsonl --dev b.jsonl --label topics --kind multilabel --model runs/mini/final --output runs/topics
      electra finetune sst2 --few-shot 16 --seeds 10 --baselines --model sentence-transformers/all-MiniLM-L6-v2 --data glue/SST-2 --output runs/few
      electra finetune --resume runs/sst2
      electra finetune tnews --preset clue --fold 0 --model runs/zh/final --data FewCLUE --output runs/tnews
    """

    task: str = argument()
    """Name of the task."""
    model: str
    """Checkpoint folder or hub name to start from; 'random:PATH' takes only its size and vocabulary."""
    output: Path
    """Run directory: one folder per seed, the best model under 'best'."""
    preset: str | None = flag(None, preset="finetune")
    """Fine-tuning preset (see below) or a TOML file; default: paper, with --few-shot few-shot."""
    data: Path | None = None
    """Folder or archive of the task's official files; 'hub', or a data set's name on the Hugging Face hub. Default: none."""
    train: Path | None = None
    """Training file of a custom task, or of questions; default: the task's own in --data."""
    dev: Path | None = None
    """Validation file of a custom task, or of questions; default: the task's own in --data."""
    pretraining_data: tuple[Path, ...] = flag((), advanced=True)
    """Pre-training shards to check for contamination: reports dev examples sharing a 13-token n-gram. Default: no check."""
    token_segment: Literal[0, 1] = flag(0, advanced=True)
    """Tagging: segment id of all tokens; original ELECTRA uses 1."""
    kind: Literal["auto", "classification", "regression", "multilabel"] = "auto"
    """Kind of a custom task's label; 'auto': classification, unless the labels are many different decimal numbers."""
    epochs: float = flag(3.0, above=0)
    """Passes over the training set; of whole ones at least two steps, since the schedule ends at a learning rate of 0."""
    max_train_examples: int = flag(0, minimum=0, advanced=True)
    """Use only this many training examples (a fixed random sample); 0: all."""
    few_shot: int | None = flag(None, minimum=2)
    """Train on this many examples of each class, drawn by the seed: SetFit's recipe, contrastive pairs and a logistic regression. Default: on all
    examples, without it."""
    few_shot_method: Literal["contrastive", "frozen", "fine-tune"] = flag("contrastive", advanced=True)
    """What is trained on the draw: 'contrastive' (the encoder on pairs, then the regression), 'frozen' (the regression alone; settings of training
    have no effect), 'fine-tune' (encoder and head on the labels, preset few-shot-fine-tune)."""
    max_length: int = flag(128, minimum=4)
    """Longest input in tokens."""
    truncate: Literal["head", "tail", "head-tail", "windows"] = "head"
    """Part of a longer text to read: its beginning, its end, a quarter and three quarters from these, or all of it in overlapping windows."""
    class_weights: str | None = flag(None, advanced=True)
    """Class weights for the loss: 'balanced', numbers in the order of the model's labels (1,2.5), or name=weight; default: none."""
    freeze_layers: int | None = flag(None, minimum=0, advanced=True)
    """Freeze the embeddings and the first N layers (0: embeddings only); default: train all."""
    freeze_encoder_epochs: float = flag(0.0, minimum=0, advanced=True)
    """Epochs of linear probing (head only) before fine-tuning everything."""
    seeds: int = flag(1, minimum=1)
    """Number of trials, with seeds 1..N; reports each, their mean and standard deviation."""
    head: Literal["transformers", "original", "mean"] = flag("transformers")
    """Head architecture: 'transformers' (loadable with AutoModelFor...); 'original' (as in google-research/electra); 'mean': one projection of the
    mean of all states, for encoders that were trained with mean pooling. `transformers` has no class for the last two."""
    calibrate: bool = flag(False, advanced=True)
    """Classes: after training, divide the logits by the temperature at which probabilities fit examples held out of training best (5%, 100 to
    5,000 of them). Answers stay the same; the temperature is part of the weights."""
    dropout: float = flag(0.1, minimum=0, below=1, advanced=True)
    """Dropout while fine-tuning."""
    stride: int = flag(128, minimum=1, advanced=True)
    """Questions: stride between the windows of a long context (original ELECTRA's doc_stride)."""
    max_query_length: int = flag(64, minimum=1, advanced=True)
    """Questions: longest question in tokens; the rest is cut off."""
    max_answer_length: int = flag(30, minimum=1, advanced=True)
    """Questions: longest answer in tokens."""
    null_threshold: float = flag(0.0, allowed=FINITE, advanced=True)
    """squad2: answer 'no answer' if the null odds exceed this; the best threshold on dev is reported and stored in the model's config.json."""
    double_unordered: bool = flag(True, advanced=True)
    """Also train on the swapped copy of each pair in tasks of unordered pairs (MRPC, STS-B), as original ELECTRA."""
    resume: bool = flag(False, run="output", may_change=CHANGE_ON_RESUME)
    """Skip finished seeds and trials and continue interrupted ones: --resume RUN with the run's own settings, or the same command with --resume.
    Only seeds, search, workers, threads, device, --log-to, and logging and checkpoint intervals may change."""
    json: bool = False
    """Print the scores as JSON."""
    early_stopping: int = flag(0, minimum=0, advanced=True)
    """Stop after this many evaluations without a better main metric and keep the best weights; they are chosen on the dev set, so its score is
    optimistic. 0: train to the end."""
    metric: str | None = flag(None, advanced=True)
    """Metric that chooses the best evaluation, seed and search point, such as macro_f1 for unbalanced classes; default: the task's main metric."""
    mixing: str = flag("all", parse=mixing, metavar="all|sizeP", advanced=True)
    """Several tasks: 'all', every example once per epoch; 'size0.75', batches sampled by task size to this power."""
    suite: SuiteSettings = field(default_factory=SuiteSettings)
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    embedding: EmbeddingSettings = field(default_factory=EmbeddingSettings)
    optimizer: OptimizerSettings = field(
        default_factory=lambda: OptimizerSettings(learning_rate=3e-4, warmup_fraction=0.1, weight_decay=0.0, layerwise_lr_decay=0.8)
    )
    loop: LoopSettings = field(default_factory=lambda: LoopSettings(keep_checkpoints=1))


@dataclass(frozen=True, kw_only=True)
class AblateSettings(ComputeSettings, LogSettings):
    """Compare ELECTRA with BERT at equal compute: same loop, data, vocabulary, FLOPs (and again, time), fine-tuning and seeds.

    VARIANT: 'scratch' pre-trains on tokenized data from random weights; 'imdb' makes text, vocabulary and data from IMDb's unlabelled reviews
    and pre-trains on them, from random weights or from a checkpoint (--init). Both are then fine-tuned on sentiment. Writes OUTPUT/results.json,
    table.md and results.png (of several tasks results-TASK.png); all sizes are fixed once, in OUTPUT/plan.json. How to read the results:
    docs/ablation.md.

    Examples:
      electra ablate scratch --data shards --task-data glue/SST-2 --output runs/ablation --budget 8h
      electra ablate imdb --data aclImdb --output runs/imdb-ablation --budget 8h --seeds 5
      electra ablate imdb --data aclImdb_v1.tar.gz --init runs/mini --output runs/imdb-continued --budget 4h
      electra ablate imdb --data aclImdb --init ENCODER --methods electra mlm clm-mlm --task imdb sst2 --task-data aclImdb glue/SST-2 --match flops
      electra ablate imdb --data aclImdb --output runs/imdb-ablation --resume
      electra ablate scratch --data shards --task-data glue/SST-2 --preset small --methods electra mlm replace-mlm --dry-run
    """

    variant: str = argument()
    """scratch or imdb."""
    data: tuple[str, ...] = ()
    """scratch: folders made by 'electra prepare'; imdb: the folder aclImdb or its archive. Default: none."""
    output: Path = Path("ablation")
    """Output folder."""
    preset: str | None = None
    """Pre-training preset or TOML file for ELECTRA; BERT uses NAME-mlm if there is one, else the same settings with the MLM objective (clm-mlm:
    NAME-clm). Default: mini, with --init continue."""
    methods: tuple[str, ...] = ("electra", "mlm")
    """Objectives to compare; the others are matched to the first. Also clm-mlm (a causal LM first), and electra-masked, replace-mlm,
    all-tokens-mlm (paper, Table 5)."""
    match: tuple[str, ...] = ("flops", "seconds")
    """What is made equal, each in its own run: flops, seconds."""
    init: str | None = None
    """imdb: checkpoint that every method starts from (folder, run or hub name), with its vocabulary; default: random weights."""
    init_mlm: str | None = None
    """imdb: a BERT of the same size and vocabulary that the method mlm starts from instead; default: --init."""
    task: tuple[str, ...] = ()
    """Fine-tuning tasks; default: imdb, or sst2 for scratch."""
    task_data: tuple[Path, ...] = ()
    """Folder of each task's files, in their order; default: --data, for imdb with the task imdb alone."""
    seeds: int = flag(3, minimum=1)
    """Number of seeds, each with its own pre-training and fine-tuning. --resume can add more to a finished ablation."""
    points: int = flag(3, minimum=1)
    """Checkpoints of each run to fine-tune, evenly spread over its FLOPs, the last one included."""
    budget: float = flag(28800.0, above=0, parse=duration, metavar="8h")
    """Wall-clock time of everything: fixes steps, schedules, fine-tuning examples."""
    num_train_steps: int | None = flag(None, minimum=1)
    """Steps of the first method's run, instead of --budget; default: not used."""
    max_train_examples: int = flag(0, minimum=0)
    """Maximum number of fine-tuning examples; 0: as many as fit the budget."""
    finetune_preset: str | None = None
    """Fine-tuning preset; default: mini for hidden sizes below 256, else paper."""
    resume: bool = False
    """Skip finished parts and continue an interrupted one, with the sizes fixed before."""
    dry_run: bool = False
    """Time some updates, print every part with its FLOPs and minutes, and write nothing."""
    json: bool = False
    """Print results.json instead of the table."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings(Settings):
    """From raw text to a pre-trained model, what pre-training is worth with few labelled texts, and a report; in minutes, offline.

    Examples:
      electra demo
      electra demo --output my-demo --minutes 20
      electra demo --output minilm --encoder sentence-transformers/all-MiniLM-L6-v2
    """

    output: Path = Path("demo")
    """Output folder."""
    encoder: str = "shipped:mini"
    """Checkpoint (folder, run or hub name) to fine-tune next to the model pre-trained here."""
    data: Path | None = None
    """GLUE's SST-2 folder, for the comparison on film reviews; default: $ELECTRA_DATA/glue/SST-2, else the hub's, else none."""
    minutes: float = flag(2.5, above=0)
    """Minutes of pre-training."""
    resume: bool = True
    """Continue what an earlier demo in the same folder finished."""
