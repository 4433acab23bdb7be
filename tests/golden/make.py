"""Golden losses: the losses of 20 steps of every preset, so that a change of what is computed cannot go unnoticed.

    python tests/golden/make.py pretrain/mini finetune/paper      record these again (a preset, or a row of VARIANTS)
    python tests/golden/make.py --all                             record everything

Each runs at 2 layers x 64, batches of 8 x 32 tokens, seed 1, fp32, one CPU thread, on the shards of tests/fixtures/v0.1,
through the command line, with PyTorch's own kernels, which every processor has: those for oneDNN draw other numbers for
dropout (tests/test_cpu_kernels.py compares the two). Presets that differ in size, data and length alone are one group with one record. Fine-tuning
presets classify, from the checkpoint of tests/fixtures/v0.1 (2 layers x 16).

Record again only what is meant to change, and say in the commit why its numbers are others now.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import electra
from electra import cpu_kernels
from electra.cli import main as run_electra

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures" / "v0.1"
RECORD = HERE / "losses.json"
PRESETS = Path(electra.__file__).parent / "presets"
NUM_STEPS = 20

VARIANTS = {
    "disentangled": """
base = "small"
[model]
embedding_sharing = "disentangled"
[objective]
mask_unit = "word"
[optimizer]
generator_learning_rate = 1e-3
schedule = "trapezoidal"
""",
    "untied": """
base = "small"
[model]
embedding_sharing = "untied"
[objective]
temperature = 2.0
temperature_end = 0.5
[optimizer]
bias_correction = true
schedule = "cosine"
adam_beta2 = 0.98
""",
    "shared": """
base = "small"
[model]
generator = "shared"
[objective]
mask_frequency_power = 0.5
disallow_correct = true
[optimizer]
schedule = "constant"
layerwise_lr_decay = 0.8
""",
    "uniform": """
base = "small"
[model]
generator = "uniform"
attention_init = "local"
[optimizer]
lr_decay_power = 2.0
clip_norm = 0.0
[loop]
total_batch_size = 16
""",
}
"""What no preset uses, in few runs."""

FLAGS = "--seed 1 --device cpu --threads 1 --precision fp32 --no-compile --log-every 1 --evaluate-every 1000 --checkpoint-every 1000".split()
SIZE = "--num-hidden-layers 2 --hidden-size 64 --num-attention-heads 4 --intermediate-size 128 --max-position-embeddings 32".split()
NO_MATTER = {
    "model": "hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings embedding_size".split(),
    "optimizer": "warmup_steps warmup_fraction".split(),
    "data": None,
    "loop": None,
}
"""Section -> settings that the flags of a golden run replace; None: all of them."""


# ---- presets, read without the package: their files outlive its modules ----


def presets(kind: str) -> list[str]:
    """Names of all packaged presets of a kind ('pretrain', 'finetune'), deprecated ones included."""
    return sorted(path.stem for path in (PRESETS / kind).rglob("*.toml"))


@functools.cache
def read_preset(kind: str, name: str) -> dict[str, Any]:
    """A preset's values, its bases' beneath them."""
    (path,) = (PRESETS / kind).rglob(f"{name}.toml")
    own = tomllib.loads(path.read_text(encoding="utf-8"))
    for about in ("description", "instead"):
        own.pop(about, None)
    base = own.pop("base", None)
    return own if base is None else merge(read_preset(kind, base), own)


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    replaced = [{"warmup_steps", "warmup_fraction"}, {"num_train_steps", "num_train_tokens", "budget"}]
    gone = {name for names in replaced if names & above.keys() for name in names}
    out = {name: value for name, value in below.items() if name not in gone}
    for name, value in above.items():
        out[name] = merge(out.get(name, {}), value) if isinstance(value, dict) else value
    return out


def key(name: str) -> str:
    """What matters of a pre-training preset at the golden size. Presets with the same key are one group."""
    values = read_preset("pretrain", name)
    out: dict[str, Any] = {"narrow_embeddings": is_narrow(name), "warmup_steps": num_warmup_steps(values)}
    for section, settings in values.items():
        left_out = NO_MATTER.get(section, [])
        if left_out is not None:
            out[section] = (
                {setting: value for setting, value in settings.items() if setting not in left_out} if isinstance(settings, dict) else settings
            )
    if out.get("objective", {}).get("objective") == "mlm":
        out["model"] = {setting: value for setting, value in out["model"].items() if not setting.startswith("generator")}
    out["objective"] = {"mask_prob": 0.15, **out.get("objective", {})}
    return json.dumps(out, sort_keys=True)


def is_narrow(name: str) -> bool:
    model = read_preset("pretrain", name)["model"]
    return bool(model["embedding_size"] < model["hidden_size"])


def num_warmup_steps(values: dict[str, Any]) -> int:
    """Of the golden run: a preset's warm-up keeps its share."""
    optimizer = values.get("optimizer", {})
    share = optimizer.get("warmup_fraction", 0.01)
    if "warmup_steps" in optimizer:
        share = optimizer["warmup_steps"] / values["loop"]["num_train_steps"]
    return round(share * NUM_STEPS)


@functools.cache
def groups() -> dict[str, list[str]]:
    """Key -> the pre-training presets that have it."""
    out: dict[str, list[str]] = {}
    for name in presets("pretrain"):
        out.setdefault(key(name), []).append(name)
    return out


# ---- runs ----


def pretraining_losses(name: str, folder: Path) -> dict[str, dict[str, list[float]]]:
    """20 steps of a preset or variant -> phase -> loss -> its values."""
    preset, narrow = name, name in VARIANTS or is_narrow(name)
    if name in VARIANTS:
        preset = str(folder / f"{name}.toml")
        Path(preset).write_text(VARIANTS[name], encoding="utf-8")
    shape = [*SIZE, "--embedding-size", "32" if narrow else "64", "--sequence-length", "32"]
    length = ["--num-train-steps", str(NUM_STEPS), "--batch-size", "8"]
    length += [] if name in VARIANTS else ["--total-batch-size", "8"]
    if name not in VARIANTS and read_preset("pretrain", name)["model"].get("generator_init", "random") != "random":
        length += ["--generator-init", "random"]  # these runs start from no checkpoint
    if name not in VARIANTS and read_preset("pretrain", name).get("objective", {}).get("objective") == "distill":
        length += ["--teacher", str(FIXTURES / "runs/electra"), "--embedding-init", "normal"]  # its embeddings are narrower
    data = ["--data", str(FIXTURES / "shards"), "--weights", "1", "--show-examples", "0", "--output", str(folder / "run")]
    electra_command("pretrain", preset, *data, *shape, *length, *FLAGS)
    return read_losses(folder / "run")


def finetuning_losses(preset: str, folder: Path) -> dict[str, dict[str, list[float]]]:
    """20 steps of classification -> loss -> its values."""
    files = ["--train", str(FIXTURES / "data/reviews-train.csv"), "--dev", str(FIXTURES / "data/reviews-dev.csv")]
    length = ["--num-train-steps", str(NUM_STEPS), "--batch-size", "8", "--max-length", "32"]
    start = ["--model", str(FIXTURES / "runs/electra"), "--output", str(folder / "run")]
    electra_command("finetune", "own", "--preset", preset, *files, *length, *start, *FLAGS)
    return read_losses(folder / "run")


def electra_command(*words: str) -> None:
    with mock.patch.object(cpu_kernels, "onednn_is_exact", return_value=False):
        code = run_electra(list(words))
    assert code in (0, None), f"electra {' '.join(words)}: exit code {code}"


def read_losses(run: Path) -> dict[str, dict[str, list[float]]]:
    """The run directory -> phase (the folder of its metrics) -> every loss and the gradient's norm, of every step."""
    out: dict[str, dict[str, list[float]]] = {}
    for path in sorted(run.rglob("metrics.jsonl")):
        phase = "first" if path.parent.name in ("mlm-first", "clm-first") else "main"
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        # The run's own file has the lines of both phases.
        lines = [line for line in lines if phase == "first" or line.get("phase") not in ("mlm_first", "clm_first")]
        for line in lines:
            if line["kind"] == "train":
                for name, value in line.items():
                    if name.endswith("loss") or name == "grad_norm":
                        out.setdefault(phase, {}).setdefault(name, []).append(float(f"{value:.6g}"))
    return out


# ---- the record ----


def read_record() -> dict[str, dict[str, Any]]:
    """'pretrain', 'finetune' -> name -> {"presets": the group, "losses": ...}."""
    found: dict[str, dict[str, Any]] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    return {"pretrain": found.get("pretrain", {}), "finetune": found.get("finetune", {})}


def as_text(value: Any, indent: str = "") -> str:
    """JSON, a list a line."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value)
    rows = (f"{indent} {json.dumps(name)}: {as_text(item, indent + ' ')}" for name, item in sorted(value.items()))
    return "{\n" + ",\n".join(rows) + f"\n{indent}}}"


def everything() -> list[str]:
    """What is to be recorded: the first preset of each group, the variants, the fine-tuning presets."""
    pretrain = [*(group[0] for group in groups().values()), *VARIANTS]
    return [*(f"pretrain/{name}" for name in pretrain), *(f"finetune/{name}" for name in presets("finetune"))]


def main(names: list[str]) -> int:
    record = read_record()
    if names == ["--all"]:
        record, names = {"pretrain": {}, "finetune": {}}, everything()
    known = [f"{kind}/{name}" for kind in ("pretrain", "finetune") for name in [*presets(kind), *(VARIANTS if kind == "pretrain" else ())]]
    if not names or set(names) - {*known}:
        print(f"give some of these, or --all: {', '.join(known)}", file=sys.stderr)
        return 2
    for kind, name in (name.split("/") for name in names):
        with tempfile.TemporaryDirectory() as folder:
            if kind == "finetune":
                record[kind][name] = {"presets": [name], "losses": finetuning_losses(name, Path(folder))}
                continue
            group = [] if name in VARIANTS else groups()[key(name)]
            for other in list(record[kind]):
                row = record[kind][other]
                row["presets"] = [preset for preset in row["presets"] if preset not in group]
                if not row["presets"] and other not in VARIANTS:
                    del record[kind][other]
            record[kind][group[0] if group else name] = {"presets": group, "losses": pretraining_losses(name, Path(folder))}
    RECORD.write_text(as_text(record) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
