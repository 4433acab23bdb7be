"""Settings of the commands that use a trained model: evaluate, predict, detect, score, embed, inspect, plot, serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from electra.config import argument, duration, flag, fraction


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
