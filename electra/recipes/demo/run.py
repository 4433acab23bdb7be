"""electra demo: raw text -> vocabulary -> tokens -> pre-training -> metrics -> detection; labelled texts -> what pre-training is worth -> artifact.

Every step runs commands of electra as one would type them and writes its result to DEMO/steps/NAME.json; a step with a result is not repeated.
"""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from electra import __version__, config
from electra.command_runner import CommandRunner, Step, Stopped, call, stoppable
from electra.contracts import Example
from electra.cpu_kernels import has_bf16
from electra.data.shards import open_shards
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError, require
from electra.exporting.targets import target
from electra.finetuning.baselines import tfidf_right
from electra.recipes.demo import corpus, report
from electra.recipes.demo.report import replaced_word, suspicion
from electra.settings import DemoSettings
from electra.storage import atomic
from electra.tasks.registry import find_task
from electra.tasks.significance import interval, read_answers, resample
from electra.terminal import data_size, say
from electra.train.run_log import run_environment, run_metrics

FORMAT = 2
"""Of the files under steps; a demo of another one cannot be continued."""
VOCABULARY = 4096
PRESET = "demo"
SHIPPED = "shipped:mini"
CLASSIFIER = "shipped:sentiment"
"""A model that was trained on other reviews, and many of them."""
DETECTOR = "shipped:detector"

SIZES = {16: 20.0, 64: 10.0, 256: 4.0}
"""Number of labelled texts -> epochs: 40 to 80 updates."""
ALL_EPOCHS = 2.0
SAMPLES = 3
"""Random samples of each size: with so few texts it matters which ones."""
FILMS_SIZE = 256
FINE_TUNING = {"encoder": ("public", 1), "random": ("public", 1), "pretrained": ("mini", 2)}
"""Network -> its fine-tuning preset, and how many times the epochs: the small one learns slowly, and costs little."""
CONTROL = "random"
"""The network that sees one sample only, of the size that the report speaks of: it costs as much as the encoder, and stays near chance."""
AT_THE_END = ("--evaluate-every", 1_000_000, "--checkpoint-every", 1_000_000)
RESAMPLES = 2000

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
        """The fine-tuned model that answers: the encoder on all reviews."""
        return self.folder / "fine-tuned" / f"encoder-reviews-{self.found['sentiment']['num_train']}-1"

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
    """Run the steps that are not done and write the report; the last lines of the output are its path and what was learned."""
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
    print(page)
    print(report.learned(place.found["sentiment"]))
    return 0


def open_workspace(settings: DemoSettings) -> Workspace:
    """The folder, with the results of an earlier demo with the same settings.

    Raises:
        UserError: it contains something else, or a demo of an earlier version or with other settings.
    """
    settings, about = with_begun_encoder(settings), result_file(settings.output, "about")
    wanted = {"minutes": settings.minutes, "data": settings.data and str(settings.data), "encoder": settings.encoder}
    if settings.data is not None:
        atomic.existing_path(settings.data, "SST-2 folder")
        for split in ("dev", "train"):
            find_task("sst2").read(settings.data, split)  # what is wrong with it shows before minutes of work
    from electra.model.huggingface import load_checkpoint  # imports torch, which may be missing where this module is imported

    load_checkpoint(settings.encoder, "encoder")
    if not (settings.resume and about.exists()):
        remedy = "it holds no demo (no steps/about.json); choose another --output" if settings.resume else "choose another --output"
        atomic.fresh_output(settings.output, remedy=remedy)
        values = {"version": __version__, "date": time.strftime("%Y-%m-%d"), "machine": _machine(), "folder": str(settings.output)}
        atomic.write_text(about, json.dumps(values | {"format": FORMAT, "asked": wanted}) + "\n")
    files = [path for name in ("about", *STEPS) if (path := result_file(settings.output, name)).exists()]
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    if found["about"].get("format") != FORMAT:
        raise UserError(f"{settings.output} holds a demo of another version of electra, which cannot be continued; choose another --output")
    before = found["about"]["asked"]
    # Until the step that needs it nothing depends on a setting: it can be corrected.
    pretrained = result_file(settings.output, "pretrain").exists() or (settings.output / "pretrained").exists()
    for name, used in (("minutes", pretrained), ("data", "films" in found)):
        if used and before[name] != wanted[name]:
            raise UserError(f"{settings.output} began with {name} = {before[name]}, now it is {wanted[name]}; choose another --output")
    if before != wanted:
        found["about"]["asked"] = wanted
        atomic.write_text(about, json.dumps(found["about"]) + "\n")
    return Workspace(settings, found)


def with_begun_encoder(settings: DemoSettings) -> DemoSettings:
    """The settings of a demo that is continued, with the encoder whose comparison has begun: perhaps without the network that the given one needs."""
    about = result_file(settings.output, "about")
    if not (settings.resume and about.exists() and (settings.output / "labelled").exists()):
        return settings
    began = json.loads(about.read_text(encoding="utf-8")).get("asked", {}).get("encoder", settings.encoder)
    if began != settings.encoder:
        say(f"{settings.output} began with the encoder {began} and continues with it; for {settings.encoder} choose another --output")
    return replace(settings, encoder=began)


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
    return {"metrics": metrics, "frequency_loss": frequency_loss(place.folder / "shards")}


def frequency_loss(shards: Path) -> float:
    """The loss of predicting held-out tokens from their frequencies in training, without context."""
    opened = open_shards(shards)
    size = int(max(opened.train.ids.max(), opened.held_out.ids.max())) + 1
    counts = np.bincount(opened.train.ids, minlength=size) + 1.0
    return float(np.log(counts.sum()) - np.log(counts[opened.held_out.ids]).mean())


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
    pairs = detected_pairs(place, model)
    for pair in pairs:
        start, word, other = replaced_word(pair)
        before, after = suspicion(pair["original"], start, word), suspicion(pair["changed"], start, other)
        print(f"  {before:.2f} -> {after:.2f}  {other:<8} for {word:<9} in: {pair['changed']['text']}")
    printed = place.electra("detect", model, place.folder / "sentence.txt", "--corrupt", "--mask-prob", "0.3", "--seed", "3", "--json", quiet=True)
    try:
        require("onnxruntime", "runtime")
    except UserError as missing:
        say(f"left out: {DETECTOR}: {missing}")
        bundled = []
    else:
        bundled = detected_pairs(place, DETECTOR)
    return {"pairs": pairs, "bundled": bundled, "corruption": json.loads(printed.splitlines()[0])}


def detected_pairs(place: Workspace, model: object) -> list[dict[str, Any]]:
    """`PAIRS` before and after as a detector sees them."""
    rows = [json.loads(line) for line in place.electra("detect", model, place.folder / "sentences.txt", "--json", quiet=True).splitlines()]
    return [{"original": rows[2 * i], "changed": rows[2 * i + 1], "word": other} for i, (_, _, other) in enumerate(PAIRS)]


def sentiment(place: Workspace) -> dict[str, Any]:
    """What pre-training is for: networks fine-tuned on few labelled reviews and on all, next to TF-IDF"""
    train, dev = (find_task("sst2").read(corpus.REVIEWS, split) for split in ("train", "dev"))
    found = compare_networks(place, "reviews", train, dev, [*SIZES, len(train)])
    return {**found, "encoder": place.settings.encoder, **bundled_classifier(place)}


def films(place: Workspace) -> dict[str, Any]:
    """The same on film reviews, if SST-2 is at hand"""
    data, source = corpus.films(place.settings.data, place.folder / "sst2")
    if data is None:
        say(f"left out: {source}")
        return {"left_out": source}
    train, dev = (find_task("sst2").read(data, split) for split in ("train", "dev"))
    return {"source": source, **compare_networks(place, "films", train, dev, [min(FILMS_SIZE, len(train))])}


def compare_networks(place: Workspace, name: str, train: Sequence[Example], dev: Sequence[Example], sizes: Sequence[int]) -> dict[str, Any]:
    """Fine-tune each network on samples of each size -> `accuracies` of them and of TF-IDF, and the paired `gaps` of the encoder to TF-IDF."""
    rows, gaps = [], []
    for size in sizes:
        right: dict[str, list[np.ndarray]] = defaultdict(list)
        for seed in range(1, 1 + (SAMPLES if size < len(train) and len(sizes) > 1 else 1)):
            chosen, folder = corpus.sample(train, size, seed), place.folder / "labelled" / f"{name}-{size}-{seed}"
            if not folder.exists():
                corpus.write_labelled(folder, {"train": [(e.text, e.label) for e in chosen], "dev": [(e.text, e.label) for e in dev]})
            right["tfidf"].append(tfidf_right(chosen, dev))
            for network in FINE_TUNING if seed == 1 and size == report.shown_size(sizes) else [name for name in FINE_TUNING if name != CONTROL]:
                right[network].append(fine_tuned(place, network, folder, size, keeps=size == len(train)))
        means = {network: np.mean(found, axis=0) for network, found in right.items()}
        rows += [{"network": key, "size": size, **accuracy(means[key]), "each": [float(one.mean()) for one in right[key]]} for key in means]
        gaps.append({"size": size, **accuracy(means["encoder"] - means["tfidf"])})
        print(f"  {size:>5,} labelled: " + "  ".join(f"{report.NETWORKS[key]} {found.mean():.1%}" for key, found in means.items()))
    share = Counter(example.label for example in dev).most_common(1)[0][1] / len(dev)
    return {"rows": rows, "gaps": gaps, "majority": share, "num_train": len(train), "num_dev": len(dev)}


def accuracy(right: np.ndarray) -> dict[str, float]:
    """(N,) a number of each test text -> their mean with its 95% interval over test texts."""
    found = resample(lambda drawn: right[drawn].mean(axis=1), len(right), num_resamples=RESAMPLES)
    low, high = interval(found)
    return {"mean": float(right.mean()), "low": low, "high": high}


def fine_tuned(place: Workspace, network: str, data: Path, size: int, *, keeps: bool) -> np.ndarray:
    """Fine-tune a network on a folder of labelled texts -> (N,) bool: which test texts it has right. Only the encoder on all texts is kept."""
    preset, times = FINE_TUNING[network]
    output = place.folder / "fine-tuned" / f"{network}-{data.name}"
    starts = {"encoder": place.settings.encoder, "random": f"random:{place.settings.encoder}"}
    if not (output / "scores.json").exists():
        start = starts.get(network, place.folder / "pretrained" / "final")
        how = ("--preset", preset, "--epochs", f"{times * SIZES.get(size, ALL_EPOCHS):g}", "--batch-size", 8 if size < 256 else 16)
        fast = ("--precision", "bf16") if network != "pretrained" and has_bf16() else ()
        argv = ("sst2", "--model", start, "--data", data, "--output", output, *how, "--max-length", 64, *fast, *AT_THE_END)
        place.electra("finetune", *argv, *["--resume"] * (output / "config.toml").exists(), quiet=True)
    if not keeps or network != "encoder":
        shutil.rmtree(output / "best", ignore_errors=True)
    return np.array([label == answer for label, answer in read_answers(output / "predictions.jsonl").values()])


def bundled_classifier(place: Workspace) -> dict[str, float]:
    """The score of the package's classifier, which was not trained on these texts; nothing where its runtime is missing."""
    try:
        require("onnxruntime", "runtime")
    except UserError as missing:
        say(f"left out: {CLASSIFIER}: {missing}")
        return {}
    printed = place.electra("evaluate", CLASSIFIER, "--task", "sst2", "--data", corpus.REVIEWS, "--json", quiet=True)
    return {"classifier": json.loads(printed)["accuracy"]}


def predict(place: Workspace) -> dict[str, Any]:
    """Labels for held-out reviews"""
    dev = find_task("sst2").read(corpus.REVIEWS, "dev")
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
    artifact = place.folder / f"classifier-{TARGET}"
    shutil.rmtree(artifact, ignore_errors=True)
    place.electra("build", place.classifier, "--target", TARGET, "--output", artifact)
    printed = place.electra("compare", place.classifier, artifact, "--task", "sst2", "--data", corpus.REVIEWS, "--calls", CALLS, "--json", quiet=True)
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
    "sentiment": (sentiment, 160),
    "films": (films, 30),
    "predict": (predict, 5),
    "build": (build, 15),
}
"""Step -> its function, and about how many seconds it takes (0: --minutes)."""
