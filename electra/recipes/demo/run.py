"""electra demo: raw text -> vocabulary -> tokens -> pre-training -> metrics -> detection -> fine-tuning -> predictions -> artifact -> report.html.

Every step runs commands of electra as one would type them and writes its result to DEMO/steps/NAME.json; a step with a result is not repeated.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from electra import __version__, config
from electra.command_runner import CommandRunner, Step, Stopped, call, stoppable
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError, require
from electra.exporting.targets import target
from electra.recipes.demo import corpus, report
from electra.recipes.demo.report import replaced_word, suspicion
from electra.settings import DemoSettings
from electra.storage import atomic
from electra.tasks.baselines import tfidf_baseline
from electra.tasks.registry import find_task
from electra.terminal import data_size, say
from electra.train.run_log import run_environment, run_metrics

# ---- labelled sentences ----

REVIEWS = Path(__file__).parent / "reviews"
HUB_NAME = "stanfordnlp/sst2"
ANSWER_SECONDS = 5.0
"""Time the hub has to answer at all."""
DOWNLOAD_SECONDS = 60.0

T = TypeVar("T")


def choose(data: Path | None, folder: Path) -> tuple[Path, str]:
    """The folder to fine-tune on (SST-2's layout) and its description: `data`, else SST-2 from the hub into `folder`, else the project's reviews."""
    if data is not None:
        return data, f"the files in {data}"
    if (folder / "train.tsv").exists() or (reason := _download(folder)) is None:
        return folder, f"SST-2 (film reviews) from the Hugging Face hub, {HUB_NAME}"
    say(f"SST-2 on the hub cannot be reached ({reason}): using the reviews that come with electra")
    return REVIEWS, f"short reviews written for this project (SST-2 on the hub could not be reached: {reason})"


def _download(folder: Path) -> str | None:
    """SST-2 in GLUE's layout into `folder` -> None, or why not, within seconds."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    try:
        within(ANSWER_SECONDS, _ask)
        splits = within(DOWNLOAD_SECONDS, _read)
    except ModuleNotFoundError as error:
        return f"the package '{error.name}' is not installed"
    except Exception as error:
        # Whatever is wrong with the network is a reason to use other data, not a failure of the demo.
        return type(error).__name__
    with atomic.atomic_folder(folder) as temporary:
        for name, rows in splits.items():
            lines = "".join(f"{' '.join(text.split())}\t{label}\n" for text, label in rows)
            (temporary / f"{name}.tsv").write_text("sentence\tlabel\n" + lines, encoding="utf-8")
    return None


def _ask() -> object:
    import huggingface_hub

    return huggingface_hub.HfApi().dataset_info(HUB_NAME, timeout=ANSWER_SECONDS)


def _read() -> dict[str, list[tuple[str, int]]]:
    import datasets

    loaded: Any = datasets.load_dataset(HUB_NAME)
    return {ours: [(row["sentence"], row["label"]) for row in loaded[theirs]] for ours, theirs in (("train", "train"), ("dev", "validation"))}


def within(seconds: float, function: Callable[[], T]) -> T:
    """`function()`, abandoned after `seconds` (its thread keeps running: a name server that does not answer cannot be interrupted).

    Raises:
        TimeoutError: it was not done by then. Its own exceptions are raised too.
    """
    box: list[T] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            box.append(function())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if not box:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return box[0]


# ---- the demo ----

VOCABULARY = 4096
PRESET = "demo"
EPOCHS = 8.0
FINE_TUNING = ("--preset", "mini", "--epochs", EPOCHS, "--batch-size", 16, "--max-length", 64)
SHIPPED = "shipped:mini"
"""Pre-trained for hours where the demo has minutes: fine-tuned on the demo's few reviews, it is the classifier."""
CLASSIFIER = "shipped:sentiment"
"""The same model fine-tuned on the 67,349 phrases of SST-2: the value of more labelled text."""
MOST_EXAMPLES = 6000
"""Fine-tuning examples at most: all of SST-2 would take most of an hour."""

PAIRS = (
    ("Return a list of all the files in the given directory.", "files", "whether"),
    ("If the value is not a number, an error is raised.", "error", "the"),
    ("This function is used to compute the mean of an array.", "function", "green"),
    ("The default value is None, which means that nothing is done.", "default", "about"),
    ("You can use this method to open a file for reading.", "method", "of"),
    ("The name of the class must be a string.", "string", "into"),
)
"""A sentence, one of its words, and its replacement."""
REVIEWS_SHOWN = 8
TARGET = "onnx-int8"
CALLS = 40
"""Timed calls of each model: enough for a median, done in seconds."""
SENTIMENTS = {"0": "negative", "1": "positive"}


@dataclass
class Workspace:
    """The demo's folder, the results of the finished steps, and the command lines of the running one."""

    settings: DemoSettings
    found: dict[str, dict[str, Any]]
    commands: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return self.settings.output

    @property
    def classifier(self) -> Path:
        """The fine-tuned model that answers."""
        return self.folder / self.found["sentiment"]["answers"] / "best"

    def electra(self, *argv: object, quiet: bool = False) -> str:
        """Run a command line -> its output (also printed, unless `quiet`)."""
        self.commands.append(shlex.join(["electra", *map(str, argv)]))
        printed = call(*argv)
        if not quiet:
            print(printed, end="", flush=True)
        return printed

    def run_step(self, name: str) -> None:
        """Run a step and write its result to FOLDER/steps/NAME.json."""
        self.commands.clear()
        start = time.monotonic()
        result = STEPS[name][0](self)
        self.found[name] = {"seconds": round(time.monotonic() - start, 2), "commands": list(self.commands), **result}
        atomic.write_text(result_file(self.folder, name), json.dumps(self.found[name], indent=1, ensure_ascii=False) + "\n")


def result_file(folder: Path, name: str) -> Path:
    """Where a step's result is."""
    return folder / "steps" / f"{name}.json"


def run(settings: DemoSettings) -> int:
    """Run the steps that are not done and write the report, whose path is the last line of the output."""
    require("torch", "train")
    require("jinja2", "demo")
    place = open_workspace(settings)
    steps = [
        Step(
            title=name,
            description=step.__doc__ or "",
            folder=place.folder,
            output=result_file(place.folder, name),
            action=partial(place.run_step, name),
            seconds=seconds or 60 * settings.minutes,
        )
        for name, (step, seconds) in STEPS.items()
    ]
    try:
        with stoppable():
            CommandRunner(steps, lambda step, ended: "").run_here()
            page, pretrained = place.folder / "report.html", place.folder / "pretrained"
            atomic.write_text(page, report.render(place.found, run_metrics(pretrained)))
    except Stopped as stopped:
        say(f"electra demo: stopped; the same command continues: electra demo --output {place.folder}")
        return stopped.code
    scores = place.found["sentiment"]
    others = f"electra's own model, fine-tuned {scores['shipped']:.1%}; " if "shipped" in scores else ""
    others += f"electra's own classifier as it comes {scores['classifier']:.1%}; " if "classifier" in scores else ""
    others += f"TF-IDF {scores['tfidf']:.1%}"
    print(f"sentiment: pre-trained here {scores['pretrained']:.1%} of {scores['num_dev']} held-out texts correct; {others}")
    print(page)
    return 0


def open_workspace(settings: DemoSettings) -> Workspace:
    """The folder, with the results of an earlier demo with the same settings.

    Raises:
        UserError: it contains something else, or a demo with other settings.
    """
    about, wanted = result_file(settings.output, "about"), {"minutes": settings.minutes, "data": settings.data and str(settings.data)}
    if settings.data is not None:
        atomic.existing_path(settings.data, "SST-2 folder")
        for split in ("dev", "train"):
            find_task("sst2").read(settings.data, split)  # what is wrong with it shows before minutes of work
    if not (settings.resume and about.exists()):
        remedy = "it holds no demo (no steps/about.json); choose another --output" if settings.resume else "choose another --output"
        atomic.fresh_output(settings.output, remedy=remedy)
        values = {"version": __version__, "date": time.strftime("%Y-%m-%d"), "machine": _machine(), "folder": str(settings.output), "asked": wanted}
        atomic.write_text(about, json.dumps(values) + "\n")
    files = [path for name in ("about", *STEPS) if (path := result_file(settings.output, name)).exists()]
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    before = found["about"]["asked"]
    # Until it is pre-trained nothing depends on the minutes: too few of them can be corrected.
    free = {"minutes"} if not result_file(settings.output, "pretrain").exists() and not (settings.output / "pretrained").exists() else set()
    if free and before != wanted and all(before.get(name) == value for name, value in wanted.items() if name not in free):
        found["about"] |= {"asked": wanted}
        atomic.write_text(about, json.dumps(found["about"]) + "\n")
        before = wanted
    for name, value in wanted.items():
        if before.get(name) != value:
            raise UserError(f"{settings.output} began with {name} = {before.get(name)}, now it is {value}; choose another --output")
    return Workspace(settings, found)


def _machine() -> str:
    here = run_environment()
    return f"{here['cores']} cores of {here['cpu']}" + "".join(f", {gpu}" for gpu in here.get("gpu") or ())


# ---- the steps ----


def collect(place: Workspace) -> dict[str, Any]:
    """English text from this Python installation"""
    done = corpus.collect(place.folder / "text.txt", report=lambda size, limit: say(f"  {data_size(size)}"))
    print(f"{done.path}: {data_size(done.size_bytes)}, {done.num_sentences:,} sentences of {done.num_documents:,} files")
    lines = done.path.read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines[:: max(1, len(lines) // 400)] if 60 < len(line) < 160 and line.endswith(".")]
    samples = wanted[:: max(1, len(wanted) // 4)][:4]
    counts = {name: getattr(done, name) for name in ("size_bytes", "num_documents", "num_sentences", "num_duplicates")}
    return {**counts, "samples": samples}


def vocab(place: Workspace) -> dict[str, Any]:
    """A WordPiece vocabulary of that text"""
    shutil.rmtree(place.folder / "vocab", ignore_errors=True)
    place.electra("vocab", place.folder / "text.txt", "--size", VOCABULARY, "--output", place.folder / "vocab")
    tokenizer = load_tokenizer(place.folder / "vocab")
    shown = [place.found["collect"]["samples"][0], "An unforgettable, heartwarming film."]
    return {"size": tokenizer.vocab_size, "examples": [(text, [tokenizer.pieces[i] for i in tokenizer.encode([text])[0]]) for text in shown]}


def prepare(place: Workspace) -> dict[str, Any]:
    """Tokens, a part of them held out"""
    argv = ("--tokenizer", place.folder / "vocab", "--output", place.folder / "shards", "--held-out", "3%", "--documents", "blank-line", "--json")
    splits = json.loads(place.electra("prepare", place.folder / "text.txt", *argv, quiet=True))["splits"]
    return {"train_tokens": splits["train"]["tokens"], "held_out_tokens": splits["held_out"]["tokens"]}


def pretrain(place: Workspace) -> dict[str, Any]:
    """Replaced-token detection: a generator replaces tokens, the discriminator finds them"""
    output = place.folder / "pretrained"
    seconds = f"{round(60 * place.settings.minutes)}s"
    if (output / "config.toml").exists():
        place.electra("pretrain", PRESET, "--output", output, "--resume")
    else:
        place.electra("pretrain", PRESET, "--data", place.folder / "shards", "--output", output, "--budget", seconds)
    lines = run_metrics(output)
    used = config.read_toml(output / "config.toml")
    model, objective = used["model"], used["objective"]
    shape = (
        f"{model['num_hidden_layers']} layers of width {model['hidden_size']}, {model['num_attention_heads']} heads; "
        f"generator of {model['generator_size']:g} times that width; {objective['mask_prob']:.0%} of the tokens masked; "
        f"examples of {used['data']['sequence_length']} tokens"
    )
    if alone := objective.get("mlm_first"):
        shape += f"; the encoder learns as a masked LM for the first {alone:.0%}"
    return {"steps": lines[-1]["step"], "tokens": lines[-1]["tokens"], "train_seconds": lines[-1]["seconds"], "shape": shape}


def evaluate(place: Workspace) -> dict[str, Any]:
    """Metrics on held-out text"""
    printed = place.electra("evaluate", place.folder / "pretrained" / "final", "--data", place.folder / "shards", "--json", quiet=True)
    metrics = {name: value for name, value in _flat(json.loads(printed)).items() if isinstance(value, float) and not name.endswith("_original")}
    print("  ".join(f"{name} {metrics[name]:.3f}" for name in ("masked_lm_loss", "disc_loss", "disc_auc")))
    return {"metrics": metrics}


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in values.items():
        out |= _flat(value) if isinstance(value, dict) else {name: value}
    return out


def detect(place: Workspace) -> dict[str, Any]:
    """Replaced words in sentences, and every stage of it on one sentence"""
    model = place.folder / "pretrained" / "final"
    changed = [text.replace(word, other, 1) for text, word, other in PAIRS]
    atomic.write_text(
        place.folder / "sentences.txt", "".join(f"{text}\n" for pair, text in zip(PAIRS, changed, strict=True) for text in (pair[0], text))
    )
    atomic.write_text(place.folder / "sentence.txt", PAIRS[0][0] + "\n")
    rows = [json.loads(line) for line in place.electra("detect", model, place.folder / "sentences.txt", "--json", quiet=True).splitlines()]
    pairs = [{"original": rows[2 * i], "changed": rows[2 * i + 1], "word": other} for i, (_, _, other) in enumerate(PAIRS)]
    for pair in pairs:
        start, word, other = replaced_word(pair)
        before, after = suspicion(pair["original"], start, word), suspicion(pair["changed"], start, other)
        print(f"  {before:.2f} -> {after:.2f}  {other:<8} for {word:<9} in: {pair['changed']['text']}")
    printed = place.electra("detect", model, place.folder / "sentence.txt", "--corrupt", "--mask-prob", "0.3", "--seed", "3", "--json", quiet=True)
    return {"pairs": pairs, "corruption": json.loads(printed.splitlines()[0])}


def sentiment(place: Workspace) -> dict[str, Any]:
    """Fine-tuning on labelled sentences: the model pre-trained here, the same network with random weights, and electra's own model"""
    data, source = choose(place.settings.data, place.folder / "sst2")
    task = find_task("sst2")
    train, dev = task.read(data, "train"), task.read(data, "dev")
    baseline = tfidf_baseline(train, dev)
    print(f"{len(train):,} labelled texts, {len(dev):,} held out: {source}; TF-IDF + logistic regression: {baseline:.1%}")
    scores, final = {}, place.folder / "pretrained" / "final"
    starts: dict[str, object] = {"pretrained": final, "random": f"random:{final}", "shipped": SHIPPED}
    for name, start in starts.items():
        output = place.folder / ("sentiment" if name == "pretrained" else f"sentiment-{name}")
        argv: list[object] = ["sst2", "--model", start, "--data", data, "--output", output, *FINE_TUNING]
        argv += ["--max-train-examples", MOST_EXAMPLES] * (len(train) > MOST_EXAMPLES) + ["--resume"] * (output / "config.toml").exists()
        place.electra("finetune", *argv)
        scores[name] = json.loads((output / "scores.json").read_text(encoding="utf-8"))["scores"]["accuracy"]["mean"]
    scores |= bundled_classifier(place, data)
    majority = Counter(example.label for example in dev).most_common(1)[0][1] / len(dev)
    counts = {"num_train": min(len(train), MOST_EXAMPLES), "num_dev": len(dev), "epochs": EPOCHS}
    return {**scores, **counts, "tfidf": baseline, "majority": majority, "source": source, "data": str(data), "answers": "sentiment-shipped"}


def bundled_classifier(place: Workspace, data: Path) -> dict[str, float]:
    """The score of the package's classifier, which was not trained on these texts; nothing where its runtime is missing."""
    try:
        require("onnxruntime", "runtime")
    except UserError as missing:
        say(f"left out: {CLASSIFIER}: {missing}")
        return {}
    printed = place.electra("evaluate", CLASSIFIER, "--task", "sst2", "--data", data, "--json", quiet=True)
    return {"classifier": json.loads(printed)["accuracy"]}


def predict(place: Workspace) -> dict[str, Any]:
    """Labels for held-out reviews"""
    dev = find_task("sst2").read(Path(place.found["sentiment"]["data"]), "dev")
    chosen = dev[:: max(1, len(dev) // REVIEWS_SHOWN)][:REVIEWS_SHOWN]
    atomic.write_text(place.folder / "reviews.txt", "".join(f"{example.text}\n" for example in chosen))
    printed = place.electra("predict", place.classifier, place.folder / "reviews.txt", "--json", quiet=True)
    answers = [json.loads(line) for line in printed.splitlines()]
    for answer, example in zip(answers, chosen, strict=True):
        answer |= {"label": SENTIMENTS.get(answer["label"], answer["label"]), "expected": SENTIMENTS[str(example.label)]}
        print(f"  {answer['label']:<9}{answer['probability']:.2f}  {answer['text']}")
    return {"answers": answers}


def build(place: Workspace) -> dict[str, Any]:
    """The classifier as an artifact that needs no PyTorch: size, speed, accuracy"""
    try:
        target(TARGET).require()
    except UserError as missing:
        # The rest is worth its report without this.
        say(f"left out: {missing}")
        return {"left_out": str(missing)}
    artifact = place.folder / f"sentiment-{TARGET}"
    shutil.rmtree(artifact, ignore_errors=True)
    place.electra("build", place.classifier, "--target", TARGET, "--output", artifact)
    data = place.found["sentiment"]["data"]
    printed = place.electra("compare", place.classifier, artifact, "--task", "sst2", "--data", data, "--calls", CALLS, "--json", quiet=True)
    rows = [
        {
            "name": name,
            "size_bytes": row["size_bytes"],
            "p50_ms": row["latency"]["p50_ms"],
            "speedup": [row["latency"]["speedup"], *(row["latency"]["speedup_interval"] or ())],
            "accuracy": row["score"],
            "agreement": row["agreement"],
            "load_seconds": row["load_seconds"],
        }
        for name, row in zip(("checkpoint, PyTorch", "built, ONNX Runtime int8"), json.loads(printed)["rows"], strict=True)
    ]
    for row in rows:
        print(f"  {row['name']:<26}{row['size_bytes'] / 1e6:6.1f} MB  {row['p50_ms']:6.2f} ms a text  {row['accuracy']:.1%} correct")
    return {"rows": rows}


STEPS: dict[str, tuple[Callable[[Workspace], dict[str, Any]], float]] = {
    "collect": (collect, 20),
    "vocab": (vocab, 10),
    "prepare": (prepare, 10),
    "pretrain": (pretrain, 0),
    "evaluate": (evaluate, 10),
    "detect": (detect, 5),
    "sentiment": (sentiment, 90),
    "predict": (predict, 5),
    "build": (build, 15),
}
"""Step -> its function, and about how many seconds it takes (0: --minutes)."""
