"""A pre-training run and its fine-tuned seeds -> the bundled models, their card and their record.

    python experiments/ship.py --pretrained runs/model/pretrained --finetuned runs/model/sst2/seed-* --random runs/model/random --data glue/SST-2

Writes electra/bundled/ (mini: fp16 checkpoint; detector, sentiment: int8 artifacts; README.md; shipped.json with a hash of every file) and
experiments/records/shipped/. Minutes; run it again with another run and everything is replaced.
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

from electra import bundled, config
from electra.contracts import Example
from electra.errors import UserError
from electra.exporting.targets import build_artifact
from electra.inference.predictor import Predictor, load
from electra.model import flops, huggingface
from electra.settings import PretrainSettings
from electra.storage import atomic, resolve
from electra.tasks.baselines import tfidf_baseline
from electra.tasks.registry import find_task

LABELS = ("negative", "positive")
LARGEST_BYTES = 20_000_000
TARGET = "onnx-int8"
PRESET = "mini-ship"


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
    return chosen, f"the median of the {len(seeds)} seeds, so that its score is what to expect of the recipe"


# ---- writing ----


def write_checkpoint(source: Path, target: Path) -> None:
    """The pre-trained discriminator in fp16, with generator/ (its embeddings are the discriminator's)."""
    huggingface.save_checkpoint(huggingface.load_checkpoint(source, "discriminator").module, target, tokenizer=source, dtype=torch.float16)
    huggingface.save_checkpoint(
        huggingface.load_checkpoint(source, "generator").module, target / "generator", dtype=torch.float16, extra={"embeddings_in_parent": True}
    )


def write_sentiment(source: Path, number: int, output: Path) -> None:
    """A classifier of SST-2's 0 and 1 -> an artifact whose labels are words."""
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work, "shipped", "sst2", f"seed-{number}")
        shutil.copytree(source, copy)
        values = json.loads((copy / "config.json").read_text(encoding="utf-8"))
        values |= {"id2label": {str(i): name for i, name in enumerate(LABELS)}, "label2id": {name: i for i, name in enumerate(LABELS)}}
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


def preset_of(settings: PretrainSettings) -> str:
    """The preset that repeats a run: 'mini-ship' if the run differs from it only in name, else its own."""
    wanted = config.build(PretrainSettings, {**config.preset_values(PRESET, "pretrain"), "output": "x", "preset": PRESET})
    same = all(getattr(settings, part) == getattr(wanted, part) for part in ("model", "objective", "optimizer"))
    same = same and settings.data.weights == wanted.data.weights
    long = [(loop.num_train_steps, loop.num_train_tokens, loop.budget) for loop in (settings.loop, wanted.loop)]
    return PRESET if same and long[0] == long[1] else settings.preset


def training_of(run: Path, evaluation: Path | None) -> dict[str, Any]:
    """A pre-training run -> its phases with their cost, its text, its held-out metrics."""
    stages = []
    for folder in (run / "mlm-first", run):
        if not (folder / "metrics.jsonl").exists():
            continue
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        settings = config.build(PretrainSettings, tomllib.loads((folder / "config.toml").read_text(encoding="utf-8")))
        last = [line for line in lines if line["kind"] == "evaluation"][-1]
        each = flops.per_token(settings.model, settings.objective, settings.data.vocab_size, settings.data.sequence_length)
        stages.append({"objective": settings.objective.objective, "updates": last["step"], "tokens": last["tokens"], "seconds": last["seconds"],
                       "flops": each * last["tokens"], "metrics": {key: value for key, value in last.items() if key not in ("step", "tokens", "seconds", "flops", "kind")}})  # fmt: skip
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    corpora = re.findall(r"^- (.*: [\d,]+ tokens.*)$", (resolve.resolve(run) / "README.md").read_text(encoding="utf-8"), re.M)
    found: dict[str, Any] = {"preset": preset_of(settings), "corpora": corpora, "weights": list(settings.data.weights or ()), "stages": stages}
    found |= {"machine": {key: environment.get(key) for key in ("cpu", "cores", "gpu")}, "started": environment["started"][:10]}
    found["shape"] = {key: getattr(settings.model, key) for key in ("num_hidden_layers", "hidden_size", "num_attention_heads")}
    found["num_parameters"] = flops.num_parameters(settings.model, settings.objective, settings.data.vocab_size)["kept"]
    if evaluation is not None:
        found["corruption"] = json.loads(evaluation.read_text(encoding="utf-8"))
    return found


def accuracy(model: Predictor, dev: Sequence[Example]) -> tuple[float, np.ndarray]:
    """SST-2 dev accuracy of a classifier, and its class of each."""
    answers = model.predict([example.text for example in dev])
    found = np.array([list(answer.probabilities.values())[1] > 0.5 for answer in answers])
    return float(np.mean(found == np.array([example.label == "1" for example in dev]))), found


def artifacts_measured(root: Path, checkpoint: Path, dev: Sequence[Example]) -> dict[str, Any]:
    """The two artifacts compared with the networks they were built from, on the dev sentences."""
    whole, whole_found = accuracy(load(checkpoint, device="cpu"), dev)
    built, found = accuracy(load(root / "sentiment"), dev)
    texts = [example.text for example in dev]
    pairs = [[np.array([t.probability for d in load(root / part, device="cpu").detect(texts) for t in d.tokens])] for part in ("mini", "detector")]
    (fp16,), (int8,) = pairs
    verdicts = float(np.mean((fp16 >= 0.5) == (int8 >= 0.5)))
    sizes = {name: sum(path.stat().st_size for path in (root / name).rglob("*") if path.is_file()) for name in bundled.NAMES}
    return {
        "size_bytes": sizes,
        "sentiment": {"accuracy": built, "accuracy_fp32": whole, "agreement": float(np.mean(found == whole_found))},
        "detector": {"verdicts_as_fp16": verdicts, "mean_difference": float(np.mean(np.abs(fp16 - int8))), "tokens": len(fp16)},
    }


def finetuning_of(seeds: Sequence[Seed], chosen: Seed, rule: str, random: Sequence[Seed], data: Path) -> dict[str, Any]:
    """Scores by seed, with those of the same network without pre-training and of TF-IDF."""
    task = find_task("sst2")
    run = tomllib.loads((chosen.folder / "config.toml").read_text(encoding="utf-8"))
    seconds = [json.loads((folder / "scores.json").read_text(encoding="utf-8"))["seconds"] for folder in dict.fromkeys(seed.folder for seed in seeds)]
    train, dev = task.read(data, "train"), task.read(data, "dev")
    return {
        "preset": run["preset"],
        "train_examples": len(train),
        "dev_examples": len(dev),
        "seeds": [seed.number for seed in seeds],
        "accuracy": [seed.accuracy for seed in seeds],
        "seconds": sum(sum(each) for each in seconds),
        "chosen_seed": chosen.number,
        "rule": rule,
        "without_pretraining": [seed.accuracy for seed in random],
        "tfidf_logistic_regression": tfidf_baseline(train, dev),
    }


def main() -> None:
    """Choose, write, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrained", type=Path, required=True, help="run of 'electra pretrain'")
    parser.add_argument("--finetuned", type=Path, nargs="+", required=True, help="runs of 'electra finetune sst2', a seed each")
    parser.add_argument("--random", type=Path, nargs="+", required=True, help="the same from random weights")
    parser.add_argument("--data", type=Path, required=True, help="glue/SST-2")
    parser.add_argument("--evaluation", type=Path, help="what 'electra evaluate --corruption --json' printed")
    parser.add_argument("--output", type=Path, default=Path("electra/bundled"))
    parser.add_argument("--record", type=Path, default=Path("experiments/records/shipped"))
    parser.add_argument("--remark", help="sentences for the card about how the pre-training went")
    options = parser.parse_args()
    seeds, random = seeds_of(options.finetuned), seeds_of(options.random)
    chosen, rule = choose(seeds)
    source, classifier = resolve.resolve(options.pretrained), resolve.resolve(chosen.folder)
    # Told before minutes of measuring where something is not there.
    pretraining = training_of(options.pretrained, options.evaluation) | ({"remark": options.remark} if options.remark else {})
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output, prefix=".new-") as work:
        root = Path(work)
        write_checkpoint(source, root / "mini")
        build_artifact(str(source.resolve()), TARGET, root / "detector", texts=[], say=print)
        write_sentiment(classifier, chosen.number, root / "sentiment")
        record = {
            "pretraining": pretraining,
            "finetuning": finetuning_of(seeds, chosen, rule, random, options.data),
            "artefacts": artifacts_measured(root, classifier, find_task("sst2").read(options.data, "dev")),
            "bias": bias_probe.of_model(str(root / "sentiment")) | {"model": "shipped:sentiment"},
        }
        for name in bundled.NAMES:
            atomic.replace_folder(root / name, options.output / name)
    keep_record(options.pretrained, options.record)
    atomic.write_text(options.record / "record.json", json.dumps(record, indent=1) + "\n")
    print(f"{options.output}: {write_manifest(options.output, model_card.card(record)) / 1e6:.1f} MB; record: {options.record}")


if __name__ == "__main__":
    main()
