"""Fine-tuned seeds of a public encoder, a distilled student, its detector -> the bundled models, their card and their record.

    python experiments/ship.py --finetuned runs/model/sst2/seed-* --data glue --trimmed runs/model/trimmed --student runs/model/student \\
        --detector runs/model/detector

Writes electra/bundled/ (sentiment, encoder, detector: int8 artifacts; mini: fp16 checkpoint; README.md; shipped.json with a hash of every file) and
experiments/records/bundled/. Minutes. Each model may be made alone: --finetuned makes sentiment, --student encoder, --detector detector and mini; what is not
given stays as it is, with its part of the record.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bias_probe
import model_card
import numpy as np
import torch

import electra
from electra import bundled, config
from electra.contracts import Example
from electra.errors import UserError
from electra.exporting.targets import build_artifact
from electra.finetuning.baselines import tfidf_baseline
from electra.inference.predictor import Predictor, load
from electra.model import flops, huggingface
from electra.model.model_card import METRICS
from electra.settings import PretrainSettings
from electra.storage import atomic, resolve
from electra.tasks.registry import find_task
from electra.train.run_log import run_metrics

LABELS = ("negative", "positive")
LARGEST_BYTES = 45_000_000
"""The sentiment classifier of full size 25 MB, the encoder 5 MB, the other two together 15 MB."""
TARGET = "onnx-int8"


@dataclass(frozen=True)
class Seed:
    """A fine-tuned model: SST-2 dev accuracy, and the path of its weights."""

    number: int
    accuracy: float
    folder: Path
    kept: bool
    """Whether its weights exist: a run of several seeds keeps only those of its best."""


def seeds_of(runs: Sequence[Path]) -> list[Seed]:
    """Run folders of 'electra finetune' -> every seed in them, in their order."""
    out = []
    for run in runs:
        scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
        for number, accuracy in zip(scores["seeds"], scores["scores"]["accuracy"]["each"], strict=True):
            out.append(Seed(number, accuracy, run, number == scores["best_seed"]))
    return sorted(out, key=lambda seed: seed.number)


def choose(seeds: Sequence[Seed]) -> tuple[Seed, str]:
    """The seed to bundle, and the rule in words: the median, whose score is what to expect of the recipe; the best owes part of its score to chance."""
    kept = [seed for seed in seeds if seed.kept]
    middle = statistics.median_low([seed.accuracy for seed in seeds])
    chosen = min(kept, key=lambda seed: (abs(seed.accuracy - middle), seed.number))
    if len(kept) < len(seeds):
        return chosen, f"of the {len(seeds)} seeds only the best one's weights were kept, so its score is optimistic: expect the mean"
    which = "median" if len(seeds) % 2 else "lower middle one"
    return chosen, f"the {which} of the {len(seeds)} seeds, so that its score is what to expect of the recipe"


# ---- writing ----


def write_checkpoint(source: Path, target: Path) -> None:
    """The pre-trained discriminator in fp16, with generator/ (its embeddings are the discriminator's)."""
    huggingface.save_checkpoint(huggingface.load_checkpoint(source, "discriminator").module, target, tokenizer=source, dtype=torch.float16)
    huggingface.save_checkpoint(
        huggingface.load_checkpoint(source, "generator").module, target / "generator", dtype=torch.float16, extra={"embeddings_in_parent": True}
    )


def write_sentiment(source: Path, number: int, output: Path) -> None:
    """A classifier of SST-2's 0 and 1 -> an artifact whose labels are words."""
    values = json.loads((source / "config.json").read_text(encoding="utf-8"))
    values |= {"id2label": {str(i): name for i, name in enumerate(LABELS)}, "label2id": {name: i for i, name in enumerate(LABELS)}}
    build_under(f"sst2/seed-{number}", source, output, values)


def build_under(name: str, source: Path, output: Path, values: dict[str, Any] | None = None) -> None:
    """A checkpoint, with another config.json where `values` are given -> an artifact whose record says that `name` is its source, not a place of this machine."""
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work, "shipped", name)
        shutil.copytree(source, copy)
        if values is not None:
            (copy / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        build_artifact(str(copy), TARGET, output, texts=[], say=print)


def write_manifest(root: Path, card: str) -> int:
    """README.md and shipped.json -> the bytes of everything.

    Raises:
        UserError: more than the package may hold.
    """
    atomic.write_text(root / "README.md", card)
    files = bundled.described(root)
    atomic.write_text(root / bundled.MANIFEST, json.dumps({"files": files}, indent=1) + "\n")
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    if size > LARGEST_BYTES:
        raise UserError(f"{root} has {size:,} bytes; at most {LARGEST_BYTES:,} go into the package")
    return size


def keep_record(run: Path, folder: Path) -> None:
    """Configuration, environment and metrics of a run's stages -> a folder; of paths their last parts."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, prefix in ((run / "mlm-first", "mlm-first-"), (run, "")):
        for name in ("config.toml", "metrics.jsonl", "environment.json"):
            if (part / name).exists():
                atomic.write_text(folder / (prefix + name), without_places((part / name).read_text(encoding="utf-8")))


def without_places(text: str) -> str:
    """Absolute paths in quotes -> their last parts: the folders of one machine mean nothing elsewhere."""
    return re.sub(r'"/[^"\n]*/([^"/\n]+)"', r'"\1"', text)


# ---- what the card tells ----


def training_of(run: Path) -> dict[str, Any]:
    """A pre-training run -> its phases with their cost, its text, its held-out metrics."""
    settings = config.build(PretrainSettings, config.read_toml(run / "config.toml"))
    final = json.loads((run / "final" / "config.json").read_text(encoding="utf-8"))
    lines = run_metrics(run)
    costs = flops.run_cost(settings, final["vocab_size"], lines)
    stages = []
    for name, cost in costs.items():
        measured = [line for line in lines if line["kind"] == "evaluation" and line.get("phase", "training") == name]
        if measured:
            objective = "generator" if name == "mlm_first" else settings.objective.objective
            metrics = {key: value for key, value in measured[-1].items() if key in METRICS}
            stages.append({"objective": objective, "updates": cost["step"], "tokens": cost["tokens"], "seconds": cost["seconds"], "flops": cost["flops"], "metrics": metrics})  # fmt: skip
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    corpora = re.findall(r"^- (.*: [\d,]+ tokens.*)$", (run / "final" / "README.md").read_text(encoding="utf-8"), re.M)
    return {
        "preset": settings.preset,
        "corpora": corpora,
        "weights": list(settings.data.weights or ()),
        "stages": stages,
        "machine": {key: environment.get(key) for key in ("cpu", "cores", "gpu")},
        "started": environment["started"][:10],
        "shape": {key: final[key] for key in ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size", "max_position_embeddings")},
        "num_parameters": flops.num_parameters(settings.model, settings.objective, final["vocab_size"])["kept"],
    }


def encoder_of(trimmed: Path) -> dict[str, Any]:
    """The trimmed encoder -> its shape, and the sentence of 'electra vocab --trim' about it."""
    values = json.loads((trimmed / "config.json").read_text(encoding="utf-8"))
    said = (trimmed.parent / "trimmed.txt").read_text(encoding="utf-8").strip().splitlines()[-1]
    return {
        "num_hidden_layers": values["num_hidden_layers"],
        "hidden_size": values["hidden_size"],
        "vocabulary": said.partition(": ")[2].rpartition(", from ")[0],
    }


def accuracy(model: Predictor, dev: Sequence[Example]) -> tuple[float, np.ndarray]:
    """SST-2 dev accuracy of a classifier, and its class of each."""
    answers = model.predict([example.text for example in dev])
    found = np.array([list(answer.probabilities.values())[1] > 0.5 for answer in answers])
    return float(np.mean(found == np.array([example.label == "1" for example in dev]))), found


def sentiment_measured(artifact: Path, checkpoint: Path, data: Path) -> dict[str, Any]:
    """The classifier compared with the network it was built from, on the dev sentences."""
    dev = find_task("sst2").read(data, "dev")
    whole, whole_found = accuracy(load(checkpoint, device="cpu"), dev)
    built, found = accuracy(load(artifact), dev)
    calibration = [electra.evaluate(place, task="sst2", data=[data]).metrics["expected_calibration_error"] for place in (checkpoint, artifact)]
    agreement = float(np.mean(found == whole_found))
    return {"accuracy": built, "accuracy_fp32": whole, "agreement": agreement, "ece_fp32": calibration[0], "ece": calibration[1]}


def detector_measured(root: Path, data: Path) -> dict[str, Any]:
    """The int8 detector compared with the fp16 checkpoint, on the tokens of SST-2's dev sentences."""
    texts = [example.text for example in find_task("sst2").read(data, "dev")]
    pairs = [[np.array([t.probability for d in load(root / part, device="cpu").detect(texts) for t in d.tokens])] for part in ("mini", "detector")]
    (fp16,), (int8,) = pairs
    verdicts = float(np.mean((fp16 >= 0.5) == (int8 >= 0.5)))
    return {"verdicts_as_fp16": verdicts, "mean_difference": float(np.mean(np.abs(fp16 - int8))), "tokens": len(fp16)}


def similarity(model: Path | str, data: Path) -> float:
    """Spearman's rank correlation of an encoder's similarities with those of STS-B dev, without training on it."""
    columns = {"text": "sentence1", "text_pair": "sentence2", "label": "score"}
    return electra.evaluate(model, task="embed", data=[data / "dev.tsv"], **columns).metrics["spearman"]


def finetuning_of(seeds: Sequence[Seed], chosen: Seed, rule: str, data: Path) -> dict[str, Any]:
    """Scores by seed, with that of TF-IDF."""
    task = find_task("sst2")
    run = tomllib.loads((chosen.folder / "config.toml").read_text(encoding="utf-8"))
    seconds = [json.loads((folder / "scores.json").read_text(encoding="utf-8"))["seconds"] for folder in dict.fromkeys(seed.folder for seed in seeds)]
    train, dev = task.read(data, "train"), task.read(data, "dev")
    return {
        "preset": run["preset"],
        "epochs": run["epochs"],
        "batch_size": run["loop"]["batch_size"],
        "learning_rate": run["optimizer"]["learning_rate"],
        "train_examples": len(train),
        "dev_examples": len(dev),
        "seeds": [seed.number for seed in seeds],
        "accuracy": [seed.accuracy for seed in seeds],
        "seconds": sum(sum(each) for each in seconds),
        "chosen_seed": chosen.number,
        "rule": rule,
        "tfidf_logistic_regression": tfidf_baseline(train, dev),
    }


def main() -> None:
    """Choose, write, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finetuned", type=Path, nargs="+", default=[], help="runs of 'electra finetune sst2' from the public encoder, a seed each")
    parser.add_argument("--trimmed", type=Path, help="the encoder with fewer tokens, the student's teacher; needed with --student")
    parser.add_argument("--student", type=Path, help="run of 'electra pretrain student'")
    parser.add_argument("--detector", type=Path, help="run of 'electra pretrain student-rtd'")
    parser.add_argument("--data", type=Path, required=True, help="GLUE's folder, with SST-2 and STS-B")
    parser.add_argument("--evaluation", type=Path, help="what 'electra evaluate --corruption --json' printed of the detector")
    parser.add_argument("--output", type=Path, default=Path("electra/bundled"))
    parser.add_argument("--record", type=Path, default=Path("experiments/records/bundled"))
    parser.add_argument("--remark", help="sentences for the card about how the training went")
    options = parser.parse_args()
    if not (options.finetuned or options.student or options.detector):
        parser.error("nothing to bundle; give --finetuned, --student or --detector")
    if options.student and not options.trimmed:
        parser.error("--student needs --trimmed, its teacher")
    place, sst2 = options.record / "record.json", options.data / "SST-2"
    record: dict[str, Any] = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    given = {"finetuning": options.finetuned, "student": options.student, "detector": options.detector}
    if missing := [name for name, runs in given.items() if not runs and name not in record]:
        parser.error(
            f"{place} has no record of '{missing[0]}' yet; give the run of each model, or a record (--record) and its models (--output) to keep"
        )
    record |= {"remark": options.remark} if options.remark else {}
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output, prefix=".new-") as work:
        root, made = Path(work), []
        if options.finetuned:
            seeds = seeds_of(options.finetuned)
            chosen, rule = choose(seeds)
            classifier = resolve.resolve(chosen.folder)
            write_sentiment(classifier, chosen.number, root / "sentiment")
            record["finetuning"] = finetuning_of(seeds, chosen, rule, sst2)
            record["sentiment"] = sentiment_measured(root / "sentiment", classifier, sst2)
            record["bias"] = bias_probe.of_model(str(root / "sentiment")) | {"model": "shipped:sentiment"}
            made += ["sentiment"]
        if options.student:
            build_under("student", options.student / "final", root / "encoder")
            spearman = {name: similarity(model, options.data / "STS-B") for name, model in (("teacher", options.trimmed), ("int8", root / "encoder"))}
            record["student"] = training_of(options.student) | {"teacher": encoder_of(options.trimmed), "sts_b_spearman": spearman}
            keep_record(options.student, options.record / "student")
            made += ["encoder"]
        if options.detector:
            write_checkpoint(options.detector / "final", root / "mini")
            build_under("detector", options.detector / "final", root / "detector")
            record["detector"] = training_of(options.detector) | {"start": "student", "int8": detector_measured(root, sst2)}
            record["detector"]["corruption"] = json.loads(options.evaluation.read_text(encoding="utf-8")) if options.evaluation else {}
            keep_record(options.detector, options.record / "detector")
            made += ["detector", "mini"]
        for name in made:
            atomic.replace_folder(root / name, options.output / name)
    record["size_bytes"] = {name: sum(path.stat().st_size for path in (options.output / name).rglob("*") if path.is_file()) for name in bundled.NAMES}
    atomic.write_text(place, json.dumps(record, indent=1) + "\n")
    print(f"{options.output}: {write_manifest(options.output, model_card.card(record)) / 1e6:.1f} MB; record: {options.record}")


if __name__ == "__main__":
    main()
