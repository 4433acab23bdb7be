"""Settings of fine-tuning and of the recipes around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from electra.config import argument, duration, flag
from electra.settings.pretrain import LoopSettings, OptimizerSettings


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

    TASK: a name of docs/finetune.md (sst2, mnli, imdb, tnews, squad, chunk, ...), own (your csv, tsv, jsonl, parquet) or tagging (your tagged words).
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
