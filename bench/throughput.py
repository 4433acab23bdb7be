"""Pre-training: real tokens per second and memory, ours and loops over `transformers` modules, and the share of the machine's limit.

Every candidate (`training_step.py` says what they are) trains the same two networks on the same batches, in a process of its own, and they take
turns step by step, so that what else the machine does falls on all of them. Ratios are of one turn each: ours over the peer's. Where five processes
may not fit into memory, ours meets the peers a few at a time.

The limit: our step's matmuls, in fp32 and in bf16, made again with nothing between them, after each step, each in a process of its own.

  python bench/throughput.py --peers .venv-bench/peers/bin/python                     tiny, small, base; dropout 0.1 and 0
  python bench/throughput.py small --dropout 0 --steps 5
  python bench/throughput.py small --hidden-size 64 --vocab-size 500 --num-hidden-layers 2 --batch-size 4 --steps 2 --warmup 1     a trial
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from operator import truediv
from pathlib import Path
from typing import Any

from section import ROOT, Target, Work, at_least, at_most, environment, middle, peer_environment, spread, table
from training_step import CANDIDATES
from turns import Candidate, Failed

from electra.errors import UserError

PRESETS = ("tiny", "small", "base")
SIZES = ("hidden_size", "embedding_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
WARMUP = 5
"""Turns until memory has found its places: batches differ in length, and blocks that none has had are mapped anew."""
BASE_BATCH = 8
"""Sequences of 'base': at 32 a turn of all takes minutes."""
ROOMY_BYTES, TOGETHER = 48e9, 3
"""Where less memory is free, so many candidates at a time: a plain loop at 32 x 128 takes more than 4 GB."""
COST = {"tiny": 1.0, "small": 2.0, "base": 6.0}
"""Of a turn, roughly, for the progress line."""
OURS = ("electra", "electra, bf16")
MOMENTS = "electra, bf16 moments"
"""fp32 with `--moments bf16`: for the memory of 'base', where weights, gradients and moments take most."""
ZENTORCH = "plain, zentorch"
QUICK = {"hidden_size": 32, "embedding_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
QUICK |= {"vocab_size": 200, "batch_size": 2, "length": 16}
ASKED_SPEED = {"tiny": 2.0, "small": 2.5, "base": 2.0}
ASKED_SHARE, ASKED_SHARE_BF16, ASKED_MEMORY = 0.65, 0.70, 0.60
ORIGINAL = "original TensorFlow code, small: about 1,000 tokens/s on two AVX-512 cores (quoted, not run here)"


def shape_of(preset: str, dropout: float, given: dict[str, Any]) -> dict[str, Any]:
    """A preset's networks, the batch, and what the user wants otherwise."""
    from electra import config
    from electra.settings import ModelSettings

    model = ModelSettings(**config.preset_values(preset, "pretrain").get("model", {}))
    shape: dict[str, Any] = {name: getattr(model, name) for name in (*SIZES, "generator_size")}
    shape |= {"vocab_size": 30522, "batch_size": BASE_BATCH if preset == "base" else 32, "length": 128, "short": 0.05, "dropout": dropout}
    return shape | {name: value for name, value in given.items() if value is not None}


def compete(
    shape: dict[str, Any],
    names: Sequence[str],
    python: dict[str, str],
    steps: int,
    warmup: int,
    threads: int,
    say: Callable[[int], None],
    limits: Sequence[str] = (),
) -> dict[str, Any]:
    """Ours and some peers with one shape, in turns -> name -> its turns and memory, or why it failed; after each turn of `limits` their matmuls'."""
    out: dict[str, Any] = {name: {"turns": []} for name in names}
    with ExitStack() as stack:
        live: dict[str, Candidate] = {}
        for name in names:
            values = environment(threads) if name in (*OURS, MOMENTS) else peer_environment(threads)
            try:
                live[name] = stack.enter_context(Candidate(python[name], "training_step.py", environment=values))
                live[name].send("build", name=name, shape=shape, threads=threads)
            except Failed as error:
                out[name]["error"] = str(error)
        for name in list(live):
            try:
                out[name]["versions"] = live[name].receive()
            except Failed as error:
                out[name]["error"] = str(error)
                del live[name]
        if "electra" not in live:
            raise RuntimeError(out["electra"]["error"])
        scales: dict[str, Candidate] = {}
        for name in (name for name in limits if name in live):
            # A process of its own: what it holds is not to be found in ours' memory.
            scales[name] = stack.enter_context(Candidate(python[name], "training_step.py", environment=environment(threads)))
            scales[name].ask("build", name=name, shape=shape, threads=threads)
            out[name]["profile"] = scales[name].ask("profile", num_steps=1)
        for number in range(warmup + steps):
            # The first of a turn meets caches that the last one left: everyone is first in turn.
            order = list(live)
            for name in order[number % len(order) :] + order[: number % len(order)]:
                try:
                    answer = live[name].ask("step")
                except Failed as error:
                    out[name]["error"] = str(error)
                    live.pop(name)
                    continue
                if number >= warmup:
                    out[name]["turns"].append(answer | ({"limit": scales[name].ask("limit")} if name in scales else {}))
            say(number + 1)
        for name, candidate in live.items():
            out[name]["peak_memory_bytes"] = candidate.ask("memory")
    return out


def summarize(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Groups of candidates that ran in the same turns -> name -> speed, memory, and ours over it, turn by turn."""
    out: dict[str, Any] = {}
    for group in groups:
        speeds_of = {name: [turn["tokens"] / turn["seconds"] for turn in found["turns"]] for name, found in group.items()}
        for name, found in group.items():
            if "error" in found:
                out[name] = {"error": found["error"]}
                continue
            speeds, half = speeds_of[name], name.endswith("bf16")
            if name == "electra" and name in out:
                continue
            row: dict[str, Any] = {"tokens_per_second": middle(speeds), "peak_memory_bytes": found["peak_memory_bytes"]}
            if "profile" in found:
                limits = [found["profile"]["tokens"] / turn["limit"]["seconds"] for turn in found["turns"]]
                row["limit_tokens_per_second"] = middle(limits)
                row["limit_flops_per_second"] = middle(turn["limit"]["flops"] / turn["limit"]["seconds"] for turn in found["turns"])
                row["share_of_limit"] = middle(map(truediv, speeds, limits))
            if name in (OURS[True], MOMENTS):
                row["faster_than_fp32"] = middle(map(truediv, speeds, speeds_of["electra"]))
            elif name != OURS[False] and (mine := OURS[half]) in group and "error" not in group[mine]:
                # Like with like: a peer in bf16 meets ours in bf16.
                row["electra_is_faster_by"] = middle(map(truediv, speeds_of[mine], speeds))
                row["memory_ratio"] = group[mine]["peak_memory_bytes"] / found["peak_memory_bytes"]
            out[name] = row
    return out


def free_bytes() -> float:
    """Memory that processes may still take, as the system reports it; without limit where it does not."""
    info = Path("/proc/meminfo")
    found = info.read_text().splitlines() if info.exists() else []
    return next((float(line.split()[1]) * 1024 for line in found if line.startswith("MemAvailable")), float("inf"))


def cut_groups(peers: Sequence[str], together: int) -> list[list[str]]:
    """Peers -> ours with a few of them at a time; those in bf16 stay together, because they are compared with each other."""
    size = max(1, together - 1)
    if len(peers) <= size:
        return [["electra", *peers]]
    plain, half = ([name for name in peers if name.endswith("bf16") == wanted] for wanted in (False, True))
    groups = [plain[start : start + size] for start in range(0, len(plain), size)]
    return [["electra", *group] for group in (*groups, half) if group]


def measure(work: Work) -> dict[str, Any]:
    """Every preset with every dropout."""
    options = work.options
    presets = ("small",) if work.quick else options.get("presets") or PRESETS
    steps, warmup = (2, 1) if work.quick else (options.get("steps") or 5, options.get("warmup", WARMUP))
    given = QUICK if work.quick else options.get("sizes", {})
    peers = [name for name in CANDIDATES[1:] if work.peers or name in (*OURS, MOMENTS)]
    python = dict.fromkeys(peers, work.peers) | dict.fromkeys((*OURS, MOMENTS), sys.executable)
    if work.quick:  # compiling takes longer than the rest
        peers = [name for name in peers if not name.endswith(("compiled", "zentorch"))]
    if ZENTORCH in peers:
        python[ZENTORCH] = work.interpreters.get("zentorch", "")
        if not python[ZENTORCH]:
            peers.remove(ZENTORCH)
    dropouts = options.get("dropout") or [0.1, 0.0]
    whole = sum(COST.get(preset, 1.0) for preset in presets) * len(dropouts)
    together = TOGETHER if free_bytes() < ROOMY_BYTES and not work.quick else len(CANDIDATES)
    before, runs = 0.0, []
    for preset in presets:
        for dropout in dropouts:
            wanted = [name for name in peers if name != MOMENTS or preset == "base" or work.quick]
            shape, groups = shape_of(preset, dropout, given), cut_groups(wanted, together)
            cost = COST.get(preset, 1.0)
            made: list[dict[str, Any]] = []
            for index, names in enumerate(groups):

                def say(number: int, index: int = index, preset: str = preset, dropout: float = dropout, num: int = len(groups)) -> None:
                    done = before + cost * (index + number / (steps + warmup)) / num  # noqa: B023 (called at once)
                    turn = f"turn {number} of {steps + warmup}" + (f", group {index + 1} of {num}" if num > 1 else "")
                    work.progress(done / whole, f"{preset}, dropout {dropout}: {turn}")

                limits = [name for name in OURS if name in names and not any(name in group for group in made)]
                made.append(compete(shape, names, python, steps, warmup, work.threads, say, limits))
            before += cost
            runs.append({"preset": preset, "dropout": dropout, "shape": shape, "groups": made, "summary": summarize(made)})
    problem = {} if work.peers else {"peers_problem": work.peers_problem}
    if why := work.problem("zentorch"):
        problem["zentorch_problem"] = why
    return {"steps": steps, "warmup": warmup, "threads": work.threads, "runs": runs} | problem


def lines(result: dict[str, Any]) -> list[str]:
    """The section's table."""
    rows = []
    for run in result["runs"]:
        batch = f"{run['preset']}, {run['shape']['batch_size']} x {run['shape']['length']}, dropout {run['dropout']}"
        for name, found in run["summary"].items():
            if "error" in found:
                rows.append([batch, name, f"not run: {found['error']}", "-", "-", "-", "-"])
                continue
            ratio = spread(found["faster_than_fp32"]) + " than fp32" if "faster_than_fp32" in found else spread(found.get("electra_is_faster_by"))
            share = spread(found.get("share_of_limit"), "{:.0%}")
            memory = f"{found['memory_ratio']:.0%}" if "memory_ratio" in found else "-"
            speed = spread(found["tokens_per_second"], "{:,.0f}")
            rows.append([batch, name, speed, ratio, share, f"{found['peak_memory_bytes'] / 1e9:.2f} GB", memory])
    out = [f"Real tokens; medians of {result['steps']} turns (least..most), {result['threads']} threads. Share of the limit: of the speed that"]
    out[0] += " its matmuls alone, in its own precision, would allow. Memory: of the whole process; in the last column ours as a share of the"
    out[0] += " peer's. Peers in bf16 are compared with ours in bf16."
    header = ("batch", "candidate", "tokens/s", "electra is faster by", "share of the limit", "peak memory", "electra's memory")
    out += ["", *table(header, rows), "", ORIGINAL + "."]
    out += [f"Peers not run: {result['peers_problem']}."] if "peers_problem" in result else []
    return out + ([f"{ZENTORCH}: not run: {result['zentorch_problem']}."] if "zentorch_problem" in result else [])


def targets(result: dict[str, Any]) -> list[Target]:
    """Against the faster of both plain loops."""
    out = []
    for run in result["runs"]:
        preset, dropout, found = run["preset"], run["dropout"], run["summary"]
        plain = [found[name] for name in ("plain, eager", "plain, SDPA") if "electra_is_faster_by" in found.get(name, {})]
        where = f"{preset}, dropout {dropout}"
        ratio = min((row["electra_is_faster_by"]["median"] for row in plain), default=None)
        memory = max((row["memory_ratio"] for row in plain), default=None)
        out.append(at_least(f"pre-training {where}: speed over the faster plain loop", ratio, ASKED_SPEED.get(preset, 2.0)))
        out.append(
            at_most(f"pre-training {where}: memory, share of the plain loop's", None if memory is None else 100 * memory, 100 * ASKED_MEMORY, "%")
        )
        if MOMENTS in found and plain:
            peak = max(found[name]["peak_memory_bytes"] for name in ("plain, eager", "plain, SDPA") if "peak_memory_bytes" in found[name])
            share = 100 * found[MOMENTS]["peak_memory_bytes"] / peak if "peak_memory_bytes" in found[MOMENTS] else None
            out.append(at_most(f"pre-training {where}, bf16 moments: memory, share of the plain loop's", share, 100 * ASKED_MEMORY, "%"))
        for name, asked in zip(OURS, (ASKED_SHARE, ASKED_SHARE_BF16), strict=True) if preset == "small" else ():
            share = found.get(name, {}).get("share_of_limit")
            what = f"pre-training {where}{', bf16' if name.endswith('bf16') else ''}: share of the matmul limit"
            out.append(at_least(what, share and 100 * share["median"], 100 * asked, "%"))
    return out


def main() -> None:
    """Measure and print; `bench/run.py` writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", default=list(PRESETS), help="packaged presets (default: tiny small base)")
    parser.add_argument("--dropout", type=float, nargs="+", default=[0.1, 0.0], help="one comparison each (default: 0.1 0.0)")
    parser.add_argument("--steps", type=int, default=5, help="timed turns (default: 5)")
    parser.add_argument("--warmup", type=int, default=WARMUP, help=f"turns before (default: {WARMUP})")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every candidate (default: one per core)")
    parser.add_argument("--peers", default=sys.executable, help="interpreter of the peers (default: this one); '': none")
    for name in (*SIZES, "vocab_size", "batch_size", "length"):
        parser.add_argument("--" + name.replace("_", "-"), type=int, help="(default: the preset's)")
    options = vars(parser.parse_args())
    for preset in options["presets"]:
        try:
            shape_of(preset, 0.0, {})
        except UserError as error:
            parser.error(str(error))
    sizes = {name: options.pop(name) for name in (*SIZES, "vocab_size", "batch_size", "length")}

    def progress(fraction: float, text: str) -> None:
        print(f"{fraction:4.0%} {text}", file=sys.stderr, flush=True)

    asked = options | {"sizes": sizes}
    peers, threads = options["peers"], options["threads"]
    result = measure(Work(quick=False, data=None, folder=ROOT, interpreters={"peers": peers}, threads=threads, options=asked, progress=progress))
    print(json.dumps(result, indent=1))
    print("\n".join(lines(result)), file=sys.stderr)


if __name__ == "__main__":
    main()
