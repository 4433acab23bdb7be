"""Settings of the commands that use a trained model: evaluate, predict, detect, score, embed, inspect, plot, serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra.config import FINITE, Settings, argument, duration, flag, fraction
from electra.settings.sections import (
    MAX_SEED,
    BatchSettings,
    ColumnSettings,
    CorpusOutputSettings,
    DecodingSettings,
    InferenceSettings,
    InputSettings,
    InputSpecSettings,
    OutputSettings,
    PairInputSettings,
)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(ColumnSettings, DecodingSettings, InputSpecSettings, InferenceSettings):
    """Measure a model: pre-training metrics on held-out data, or a task's metrics.

    Examples:
      electra evaluate runs/mini/final --data shards
      electra evaluate runs/mini/final --corruption corruption.npz
      electra evaluate runs/mini/final --corruption words.jsonl --data sentences.txt
      electra evaluate runs/mini/final --corruption words.jsonl --against shipped:detector
      electra evaluate runs/sst2/best --task sst2 --data glue/SST-2 --json
      electra evaluate runs/ner/best --task tagging --data test.txt --per-class
      electra evaluate runs/sst2/best --task sst2 --data glue --report report --predictions sst2.jsonl
      electra evaluate runs/own/best --task own --data new.csv --text review --label stars --report report
      electra evaluate runs/vectors/best --task retrieval --data scifact --split test --reranker runs/reranker/best
      electra evaluate runs/vectors/best --task embed --data STS-B/dev.tsv --text sentence1 --text-pair sentence2 --label score
      electra evaluate predictions.json --task squad2 --data dev-v2.0.json --na-probs null_odds.json
      electra evaluate labels.csv --task sst2 --data glue/SST-2
    """

    model: str = argument()
    """Checkpoint folder, run directory, hub name or artifact; or with --task a file of predictions, of any model: answers in SQuAD's form, columns
    or JSON lines with `prediction` (and `id`), tagged words, or a label a line."""
    data: tuple[str, ...] = ()
    """Folders made by 'electra prepare' (their held-out part) or their URLs, or the task's folder. Default: those of a pre-training run."""
    task: str | None = None
    """Task to score a fine-tuned model on; 'retrieval': search over a collection of passages, a folder in BEIR's layout. Default: pre-training
    metrics."""
    reranker: str | None = None
    """Retrieval: a cross-encoder that orders the first passages that BM25 and the model find. Default: none."""
    candidates: int = flag(100, minimum=1)
    """Retrieval: passages of each query that a re-ranker orders."""
    fuse: bool = False
    """Retrieval: also order the candidates by the sum of the re-ranker's scores and the search's, each scaled to deviation 1."""
    approximate: bool = False
    """Retrieval: search vectors by a graph of neighbors (HNSW, through faiss) in place of comparing all: for millions of passages."""
    corruption: Path | None = None
    """A fixed corruption set: .jsonl of texts, for models with any tokenizer, or .npz of token ids, for one vocabulary. Made if missing, from --data
    (.jsonl: files with a text a line or a row; .npz: tokenized data) with this model's generator and from word frequencies. Default: none."""
    against: str | None = None
    """Another discriminator on the same --corruption FILE.jsonl; adds its scores and the difference with its 95% interval. Default: none."""
    split: str = "dev"
    """Split of the task's data."""
    labels: tuple[str, ...] = ()
    """The task's labels in the order of the model's outputs, for a model that says LABEL_0, LABEL_1, ... Default: by the model's names."""
    per_class: bool = False
    """Tagging: also report precision, recall and F1 of each span type."""
    report: Path | None = None
    """New folder for report.md, report.json and figures: confusion matrix, calibration, scores by length, worst errors; of retrieval for the scores
    and the rankings (trec_eval's format). Default: none."""
    na_probs: Path | None = None
    """Of a file of predictions for squad2: its null_odds.json, or probabilities of 'no answer'; adds the scores with the best thresholds, as the
    official script does. Default: none."""
    na_threshold: float = flag(1.0, allowed=FINITE)
    """Number in --na-probs above which a question has no answer."""
    predictions: Path | None = None
    """File for the predictions: JSON lines with id, label, prediction, probability, probabilities, as 'electra significance' reads. Default: none."""
    num_examples: int = flag(2000, minimum=1)
    """Held-out examples to measure (pre-training metrics); if not given, of a run as many as its own evaluations. Retrieval: queries, drawn by
    --seed; if not given, all."""
    sequence_length: int = flag(128, minimum=4)
    """Longest example in tokens (pre-training metrics), if not given as trained or 128; for a task the same as --max-length."""
    seed: int = flag(1, minimum=0, maximum=MAX_SEED)
    """Seed of examples, masks and samples; if not given, of a run that of its own evaluations."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class SignificanceSettings(Settings):
    """Test whether two models differ significantly on the same examples.

    A paired bootstrap over examples, and McNemar's exact (binomial) test if predictions are right or wrong. This treats the examples as a sample
    and the two models as fixed; for the variation between seeds, see the table of 'electra finetune --seeds N'.

    Examples:
      electra significance runs/a runs/b
      electra significance a.jsonl b.jsonl --metric matthews --json
    """

    first: Path = argument()
    """Predictions of the first model: a run of 'electra finetune' (of its best seed), or a file of 'electra evaluate --predictions'."""
    second: Path = argument()
    """Predictions of the second model for the same examples."""
    metric: Literal["auto", "accuracy", "f1", "macro_f1", "matthews", "pearson", "spearman", "root_mean_squared_error"] = "auto"
    """Metric to compare; 'auto': accuracy for classes, Pearson's correlation for numbers."""
    positive: str | None = None
    """Positive class of --metric f1; default: the last in sorted order."""
    num_resamples: int = flag(10_000, minimum=100, maximum=10_000_000)
    """Bootstrap resamples."""
    confidence: float = flag(0.95, minimum=0.5, below=1, parse=fraction, metavar="95%")
    """Confidence level; significant if p < 1 - confidence."""
    seed: int = flag(1, minimum=0, maximum=MAX_SEED)
    """Seed of the resamples."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class SubmitSettings(BatchSettings):
    """Predict a benchmark's test sets with fine-tuned models and write the zip to submit.

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
    """Fill tasks without a model with their most frequent training label (GLUE accepts only complete submissions)."""


@dataclass(frozen=True, kw_only=True)
class PredictSettings(PairInputSettings, OutputSettings, CorpusOutputSettings, DecodingSettings, InputSpecSettings, InferenceSettings):
    """Predict the label of a text, of every line of a file or every row of a table, with a fine-tuned model; a QA model answers a question about a
    context (separated by a tab, or two columns).

    Without a model, the bundled shipped:sentiment says whether an English text is positive or negative. An argument is a text if it contains
    white space, no slash, and no such file exists. --output writes the table's columns and the answers; of many files, to a folder of parts.

    Examples:
      electra predict "what a wonderful film"
      electra predict runs/sst2/best "what a wonderful film"
      electra predict shipped:sentiment reviews.txt
      electra predict runs/sst2/best reviews.csv --text review --output labelled.csv
      echo "10/10" | electra predict runs/sst2/best -
      electra predict runs/sst2/best reviews.jsonl --text review --json > labels.jsonl
      electra predict runs/squad/best questions.jsonl --json > answers.jsonl
      echo "Ada Lovelace lived in London." | electra predict runs/ner/best -
      electra predict runs/sst2/best reviews/ --text review --output labels/ --format parquet
      electra predict runs/sst2/best s3://bucket/reviews --output s3://bucket/labels --engine ray --ray-address auto
    """

    model: str = argument("")
    """Fine-tuned checkpoint: folder, artifact, hub name or shipped:sentiment (the default); alone, a text for the default model ('-': standard
    input)."""
    file: str = argument("")
    """Text file (one text per line; a tab between the two texts of a pair), table (csv, tsv, jsonl, parquet, ...) or a text; '-': standard input,
    the default."""
    more: tuple[str, ...] = argument(())
    """More files, folders, patterns or URLs. Several files, a folder, a pattern ("data/*.csv") or a URL need an --output FOLDER. Default:
    none."""
    output: str | None = None
    """File for the input's columns and the answers: .csv, .tsv, .jsonl, .json or .parquet; or a folder of parts or its URL, with a parts.json (by
    default .jsonl), where an interrupted run continues. Default: print lines."""
    json: bool = False
    """Print JSON lines, with the table's columns, instead of tab-separated text."""


@dataclass(frozen=True, kw_only=True)
class DetectSettings(InputSettings, OutputSettings, InferenceSettings):
    """Show, for every token, the probability that it was replaced.

    Without a model, the bundled shipped:detector (English) is used. An argument is a text if it contains white space, no slash, and no such file
    exists.

    Examples:
      electra detect "the chef ate the meal"
      electra detect "the chef cooked the meal" --corrupt --seed 3
      echo "the chef ate the meal" | electra detect runs/mini/final -
      echo "the chef cooked the meal" | electra detect runs/mini/final - --corrupt --seed 3
      electra detect runs/mini/final essays.txt --json > detected.jsonl
    """

    model: str = argument("")
    """Pre-trained checkpoint with a discriminator: folder, artifact, hub name or shipped:detector (the default); alone, a text for the default
    model ('-': standard input)."""
    file: str = argument("")
    """Text file (one text per line), table (csv, tsv, jsonl, parquet, ...) or a text; '-': standard input, the default."""
    corrupt: bool = False
    """Show all steps: the masked text, the generator's samples, the discriminator's predictions."""
    mask_prob: float = flag(0.15, above=0, below=1)
    """Fraction of tokens masked by --corrupt."""
    temperature: float = flag(1.0, above=0)
    """Sampling temperature of the generator."""
    disallow_correct: bool = False
    """Never sample the original token, so that every chosen position is replaced (original ELECTRA's disallow_correct)."""
    seed: int = flag(1, minimum=0, maximum=MAX_SEED)
    """Seed of --corrupt."""
    threshold: float = flag(0.5, minimum=0, maximum=1)
    """Probability from which a token counts as replaced."""
    json: bool = False
    """Print JSON lines: tokens, probabilities, character offsets."""


@dataclass(frozen=True, kw_only=True)
class ScoreSettings(InputSettings, OutputSettings, InferenceSettings):
    """Score the likelihood of texts: the sum over tokens of log p(token | all others).

    An Electric does so in one pass, up to a constant per token; a masked LM, or an ELECTRA's generator, token by token. --nbest re-ranks the
    hypotheses of every JSON line by 'score + weight * likelihood'.

    Examples:
      electra score runs/electric/final sentences.txt
      echo "the chef ate the meal" | electra score runs/mini/final - --json
      electra score runs/electric/final lists.jsonl --nbest hypotheses --score-field acoustic --weight 0.3 > ranked.jsonl
    """

    model: str = argument()
    """Checkpoint (an Electric, a masked LM, or an ELECTRA with its generator): folder or hub name."""
    file: str = argument("-")
    """Text file (one text per line), table (csv, tsv, jsonl, parquet, ...) or a text; '-': standard input."""
    nbest: str | None = None
    """Column with a list of hypotheses, texts or objects with a text, to re-rank (jsonl or parquet in, jsonl out); default: none."""
    score_field: str = "score"
    """Field of a hypothesis' own score (a log-probability); 0 if missing."""
    weight: float = flag(1.0, allowed=FINITE)
    """Weight of the likelihood relative to that score."""
    per_token: bool = False
    """Average over tokens instead of summing."""
    json: bool = False
    """Print JSON lines: every token with its score and character offsets."""


@dataclass(frozen=True, kw_only=True)
class EmbedSettings(InputSettings, OutputSettings, CorpusOutputSettings, InputSpecSettings, InferenceSettings):
    """Compute sentence vectors: as a sentence-transformers folder says, else the mean of the last hidden states over a text's tokens. The vectors of
    many files become a folder of parts.

    Without a model, the bundled shipped:encoder (English) is used. An argument is a text if it contains white space, no slash, and no such file
    exists.

    Examples:
      electra embed "what a wonderful film"
      electra embed shipped:encoder sentences.txt --output vectors.npy
      electra embed runs/mini/final sentences.txt --output vectors.npy
      electra embed runs/mini/final reviews.csv --text review --output vectors.parquet
      electra embed sentence-transformers/all-MiniLM-L6-v2 sentences.txt --prompt-name query --output vectors.npy
      echo "a sentence" | electra embed runs/mini/final - --json
      electra embed runs/mini/final articles/ --output vectors/
      electra embed runs/mini/final s3://bucket/articles --output s3://bucket/vectors --engine ray --ray-address auto
    """

    model: str = argument("")
    """Checkpoint folder, artifact, hub name or shipped:encoder (the default); alone, a text for the default model ('-': standard input)."""
    file: str = argument("")
    """Text file (one text per line), table (csv, tsv, jsonl, parquet, ...) or a text; '-': standard input, the default."""
    more: tuple[str, ...] = argument(())
    """More files, folders, patterns or URLs. Several files, a folder, a pattern ("data/*.csv") or a URL need an --output FOLDER. Default:
    none."""
    output: str | None = None
    """Output file: .npy (float32, texts x width), or .jsonl, .json, .parquet, .csv, .tsv; of a table with its columns and 'embedding'. Or a folder of
    parts or its URL, with a parts.json (by default .npy), where an interrupted run continues. Default: JSON lines on standard output."""
    normalize: bool = False
    """Scale every vector to length one; a sentence-transformers folder with a Normalize module does so by itself."""
    prompt: str | None = None
    """Text before every text; default: the prompt that the model's files name as default, if any."""
    prompt_name: str | None = None
    """The same by its name in the model's files, such as 'query'; default: see --prompt."""
    truncate_dim: int | None = flag(None, minimum=1)
    """Numbers that are kept of each vector; default: all, or as the model's files say."""
    json: bool = False
    """Print JSON lines."""


@dataclass(frozen=True, kw_only=True)
class RerankSettings(InputSettings, OutputSettings, InputSpecSettings, InferenceSettings):
    """Sort passages by their relevance to a query, with a cross-encoder: the most relevant first.

    Examples:
      electra rerank runs/reranker/best --query "who cooked the meal?" passages.txt --top-k 10
      electra rerank cross-encoder/ms-marco-MiniLM-L6-v2 --query "who cooked?" articles.jsonl --text body --output ranked.csv
      cat passages.txt | electra rerank runs/reranker/best --query "who cooked the meal?" --json
    """

    model: str = argument()
    """Re-ranker: a classifier of pairs with one output; folder, artifact or hub name."""
    file: str = argument("-")
    """Passages: a text file (one per line) or a table (csv, tsv, jsonl, parquet, ...); '-': standard input."""
    query: str = flag(metavar="TEXT")
    """The query."""
    top_k: int | None = flag(None, minimum=1)
    """Passages to print; default: all."""
    json: bool = False
    """Print JSON lines, with the table's columns, instead of tab-separated text."""


@dataclass(frozen=True, kw_only=True)
class MineSettings(InferenceSettings):
    """Find hard negatives: passages that a search finds for a query and that are not its own; rows for 'electra finetune embed' and 'rerank'.

    FILE is a table of queries and relevant passages (its first two columns of text), or a folder in BEIR's layout. A query that has too few
    negatives has no row.

    Examples:
      electra mine pairs.csv --output triplets.jsonl
      electra mine pairs.csv --model runs/vectors/best --skip 5 --relative-margin 0.05 --output triplets.jsonl
      electra mine scifact --split train --reranker cross-encoder/ms-marco-MiniLM-L6-v2 --output scored.jsonl
    """

    file: str = argument()
    """Table of pairs (csv, tsv, jsonl, parquet), or a folder in BEIR's layout."""
    output: Path = flag(metavar="FILE.jsonl")
    """New file of JSON lines with query, passage, negatives and, with --reranker, scores."""
    model: str | None = None
    """Model of vectors that searches. Default: BM25."""
    passages: str | None = None
    """More passages: a text file or a table with the column text. Default: those of the pairs alone."""
    text_columns: tuple[str, ...] = ()
    """Columns of the query and the passage; default: the first two that are no label."""
    split: str = "train"
    """Split of a folder in BEIR's layout."""
    num_negatives: int = flag(5, minimum=1)
    """Negatives of each row."""
    skip: int = flag(0, minimum=0)
    """Found passages, the best, that are left out: they may be relevant without being labelled."""
    candidates: int = flag(50, minimum=1)
    """Found passages after those from which negatives are taken."""
    sampling: Literal["top", "random"] = "top"
    """The best of the candidates, or random ones."""
    relative_margin: float | None = flag(None, minimum=0, below=1)
    """Leave out found passages whose score is above (1 - margin) times that of the query's relevant passage. Default: no limit."""
    reranker: str | None = None
    """Cross-encoder that scores passages and candidates, for --relative-margin and 'finetune rerank --loss margin-mse'. Default: none."""
    approximate: bool = False
    """With --model: search by a graph of neighbors (HNSW, through faiss), for millions of passages."""
    seed: int = flag(1, minimum=0, maximum=MAX_SEED)
    """Seed of --sampling random."""


@dataclass(frozen=True, kw_only=True)
class InspectSettings(Settings):
    """Describe anything that a command reads or writes: corpora, tables, tagged words, questions, tokenizers, tokenized data, TFRecords,
    checkpoints (TensorFlow's too), artifacts, runs, ablations, demos, comparisons, scores, predictions, vectors, parts.

    Examples:
      electra inspect shards
      electra inspect train.csv
      electra inspect predictions.json
      electra inspect runs/mini
      electra inspect runs/mini/final --json
      electra inspect s3://bucket/shards
      electra inspect shards --verify
      electra inspect small
    """

    path: str = argument()
    """File or folder, URL of a corpus, tokenizer or tokenized data, pre-training preset (its cost), or hub name."""
    verify: bool = False
    """Read every file and compare it with the sizes and hashes that were written with it: a line for each damaged one, and exit code 2."""
    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class PlotSettings(Settings):
    """Plot the learning curves of one or several runs.

    Examples:
      electra plot runs/mini
      electra plot runs/mini runs/mini-mlm --metrics masked_lm_loss disc_auc --x tokens --output curves.png
      electra plot runs/mini runs/small --metrics loss disc_auc probe_sst2 --x flops
    """

    runs: tuple[Path, ...] = argument()
    """Run directories."""
    metrics: tuple[str, ...] = ()
    """Metrics to plot; default: all that the runs have."""
    x: Literal["steps", "tokens", "flops", "seconds"] = "steps"
    """Horizontal axis: optimizer updates, real tokens, training FLOPs, training seconds."""
    output: Path | None = None
    """PNG file; default: curves.png in the first run."""


@dataclass(frozen=True, kw_only=True)
class ServeSettings(InputSpecSettings):
    """Serve models over HTTP, with dynamic batching.

    Routes of text-embeddings-inference (/predict, /rerank, /embed, /similarity, /tokenize, ...), of OpenAI's embeddings (/v1/embeddings), of
    Hugging Face's inference API (POST /), and /detect, /corrupt, /models. Each model answers at /models/NAME; at the root the one that is made
    for the request. SIGTERM or Ctrl-C stops it after accepted requests are answered.

    Examples:
      electra serve
      electra serve runs/sst2/best
      electra serve sentiment=runs/sst2/best ner=runs/ner/best runs/mini --port 8080
      electra serve sst2-int8.zip --host 0.0.0.0 --token-file token.txt
      curl -H 'Content-Type: application/json' -d '{"inputs": "a gripping film"}' http://127.0.0.1:8000/predict
    """

    models: tuple[str, ...] = argument(())
    """Checkpoints, runs, hub names or artifacts, each as NAME=SOURCE or SOURCE (named after its folder); default: the bundled
    shipped:sentiment, shipped:encoder and shipped:detector."""
    host: str = "127.0.0.1"
    """Address to bind; 127.0.0.1 is reachable from this machine only, 0.0.0.0 from everywhere."""
    port: int = flag(8000, minimum=0, maximum=65535)
    """Port; 0: any free one (logged)."""
    reuse_port: bool = False
    """Let several 'electra serve' of one user have the same port: the system gives each new connection to one of them; all need the flag."""
    threads: int = flag(0, minimum=0, maximum=4096)
    """CPU threads per model; 0: one per core."""
    device: str = "auto"
    """Device for checkpoints: 'auto' (CUDA if available), 'cpu', 'cuda'."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Number format of checkpoints' matmuls, as in 'electra predict'; artifacts have that of their target."""
    max_batch_tokens: int = flag(4096, minimum=1)
    """Maximum tokens per batch, padding included."""
    max_wait_ms: float = flag(2.0, minimum=0)
    """Milliseconds that an idle model waits for more texts, if recent requests overlapped; 0: none."""
    max_queue: int = flag(512, minimum=1)
    """Maximum queued texts per model; requests beyond it get 429 with Retry-After."""
    max_requests: int = flag(256, minimum=1)
    """Maximum concurrent requests, those still uploading included; more get 429."""
    max_connections: int = flag(1024, minimum=1)
    """Maximum open connections, idle ones included; more are closed at once."""
    client_share: float = flag(0.5, above=0, maximum=1)
    """Part of the free places that one address (IPv6: one /64) may hold of max_requests, max_queue and max_connections; 1: no limit, for use behind a
    proxy that limits clients itself."""
    max_texts: int = flag(32, minimum=1)
    """Maximum texts per request; more get 413."""
    max_tokens: int = flag(16384, minimum=1)
    """Maximum tokens per request, window overlaps included; more get 413."""
    max_body_bytes: int = flag(2_000_000, minimum=1)
    """Maximum bytes of a request body; more get 413."""
    timeout: float = flag(30.0, above=0, parse=duration, metavar="30s")
    """Time limit of a request, from arrival to answer; then it gets 504."""
    token_file: Path | None = None
    """File with a token that every request but /health must send ('Authorization: Bearer TOKEN'); default: $ELECTRA_TOKEN, else none."""
    log_text: bool = False
    """Log users' texts; off: only their number and tokens."""
    docs: bool = True
    """Serve API documentation at /docs and /openapi.json."""
