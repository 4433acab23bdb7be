"""Training throughput of ELECTRA-Small: ours beside a plain loop over `transformers` modules, on this machine.

Three contestants train the same two networks on the same kind of batch, each in a process of its own, and take turns step
by step, so that what else the machine does falls on all of them:

  electra    our objective and optimizer, as the training loop calls them
  plain      `ElectraForMaskedLM` + `ElectraForPreTraining` as their users write it: logits of the whole vocabulary at every
             position, a Gumbel draw per word to sample, clip_grad_norm_, AdamW
  improved   the same modules with what one would change first: logits at the masked positions only, multinomial sampling,
             fused AdamW

Only real tokens are counted. `--profile` says where our time goes and what the matrix products alone would take.

  python bench/throughput.py                               the record: dropout 0.1 and 0, 7 steps each
  python bench/throughput.py --profile --name profile
  python bench/throughput.py --hidden-size 64 --vocab-size 500 --num-hidden-layers 2 --batch-size 4 --steps 2   a trial
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).parent / "records"
CONTESTANTS = ("electra", "plain", "improved")
CLS, SEP, MASK = 2, 3, 4  # ids of the special pieces in the made-up vocabulary; 0 pads, 1 is unknown
MATMULS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")


def batches(options: argparse.Namespace) -> Iterator[list[list[int]]]:
    """Endless batches of made-up ids: B sequences of `length` tokens, a share of them shorter, as the original's examples are."""
    import random

    chance = random.Random(1)
    while True:
        rows = []
        for _ in range(options.batch_size):
            length = chance.randint(5, options.length) if chance.random() < options.short else options.length
            rows.append([CLS, *(chance.randrange(5, options.vocab_size) for _ in range(length - 2)), SEP])
        yield rows


# ---- contestants: options, dropout -> a function that makes one step of a batch and gives its loss ----


def build_electra(options: argparse.Namespace, dropout: float) -> Callable[[list[list[int]]], float]:
    """Our objective with our optimizer, put together as `electra.train.loop` does."""
    import torch

    from electra.data.batches import collate
    from electra.model.networks import build_objective
    from electra.settings import ModelSettings, ObjectiveSettings, OptimizerSettings
    from electra.train.optim import Adam
    from electra.train.ranks import keep_memory

    keep_memory()
    names = ("hidden_size", "embedding_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "generator_size")
    model = ModelSettings(**{name: getattr(options, name) for name in names}, dropout=dropout)
    special = frozenset({0, 1, CLS, SEP, MASK})
    sizes: dict[str, Any] = {"vocab_size": options.vocab_size, "sequence_length": options.length}
    objective = build_objective(model, ObjectiveSettings(), **sizes, mask_id=MASK, special_ids=special, seed=1).train()
    adam = Adam(objective.named_parameters(), OptimizerSettings())
    done = 0

    def step(rows: list[list[int]]) -> float:
        nonlocal done
        done += 1
        batch = collate([(row, [0] * len(row)) for row in rows], keys=range(done * len(rows), (done + 1) * len(rows)))
        counts = objective.counts(batch)
        output = objective(batch)
        loss = torch.stack([loss.weight * loss.total / counts[name] for name, loss in output.losses.items()]).sum()
        loss.backward()
        adam.step(1e-4, loss, done)
        return loss.item()

    return step


def peer_networks(options: argparse.Namespace, dropout: float) -> tuple[Any, Any]:
    """(generator, discriminator) of `transformers`, embeddings shared, the generator narrower as in the paper."""
    from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

    heads = max(1, int(options.num_attention_heads * options.generator_size))
    width = int(options.hidden_size * options.generator_size)
    shared: dict[str, Any] = {
        "vocab_size": options.vocab_size,
        "embedding_size": options.embedding_size,
        "num_hidden_layers": options.num_hidden_layers,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    wide: dict[str, Any] = {
        "hidden_size": options.hidden_size,
        "num_attention_heads": options.num_attention_heads,
        "intermediate_size": options.intermediate_size,
    }
    narrow: dict[str, Any] = {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": 4 * width}
    generator, discriminator = ElectraForMaskedLM(ElectraConfig(**shared, **narrow)), ElectraForPreTraining(ElectraConfig(**shared, **wide))
    generator.electra.embeddings = discriminator.electra.embeddings
    generator.generator_lm_head.weight = discriminator.electra.embeddings.word_embeddings.weight
    return generator.train(), discriminator.train()


def build_peer(options: argparse.Namespace, dropout: float, improved: bool) -> Callable[[list[list[int]]], float]:
    """A loop over `transformers` modules, as its users write it or improved."""
    import torch
    import torch.nn.functional as F

    torch.manual_seed(1)
    generator, discriminator = peer_networks(options, dropout)
    parameters = list(torch.nn.ModuleList([generator, discriminator]).parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, eps=1e-6, weight_decay=0.01, fused=True if improved else None)

    def generate(masked: torch.Tensor, attention: torch.Tensor, chosen: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if improved:
            hidden = generator.electra(masked, attention_mask=attention).last_hidden_state[chosen]
            logits = generator.generator_lm_head(generator.generator_predictions(hidden))
            return F.cross_entropy(logits, ids[chosen]), torch.multinomial(logits.detach().softmax(-1), 1).squeeze(-1)
        output = generator(masked, attention_mask=attention, labels=ids.masked_fill(~chosen, -100))
        logits = output.logits[chosen].detach()
        return output.loss, (logits - torch.log(-torch.log(torch.rand_like(logits) + 1e-9) + 1e-9)).argmax(-1)

    def step(rows: list[list[int]]) -> float:
        length = max(map(len, rows))
        ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        attention = (ids != 0).long()
        chosen = (torch.rand(ids.shape) < 0.15) & (ids > MASK)
        masked = torch.where(chosen & (torch.rand(ids.shape) < 0.85), MASK, ids)
        loss, sampled = generate(masked, attention, chosen, ids)
        corrupted = ids.clone()
        corrupted[chosen] = sampled
        loss = loss + 50 * discriminator(corrupted, attention_mask=attention, labels=(corrupted != ids).float()).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def build(name: str, options: argparse.Namespace, dropout: float) -> Callable[[list[list[int]]], float]:
    """A contestant by name -> its step."""
    return build_electra(options, dropout) if name == "electra" else build_peer(options, dropout, improved=name == "improved")


# ---- taking turns ----


def contend(name: str, options: argparse.Namespace, dropout: float, line: Connection) -> None:
    """The process of one contestant: every message is one step to make; the answer is its time, tokens and loss."""
    import torch

    torch.set_num_threads(options.threads)
    step, stream = build(name, options, dropout), batches(options)
    line.send("ready")
    while line.recv() == "step":
        rows = next(stream)
        start = time.perf_counter()
        loss = step(rows)
        line.send({"seconds": time.perf_counter() - start, "tokens": sum(map(len, rows)), "loss": loss})
    line.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def compete(options: argparse.Namespace, dropout: float) -> dict[str, Any]:
    """All contestants with one dropout, alternating -> name -> tokens per second (median, least, most), seconds, memory."""
    spawn = multiprocessing.get_context("spawn")
    lines: dict[str, Connection] = {}
    processes = []
    for name in CONTESTANTS:
        lines[name], theirs = spawn.Pipe()
        processes.append(spawn.Process(target=contend, args=(name, options, dropout, theirs), daemon=True))
        processes[-1].start()
        lines[name].recv()
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
    for number in range(options.warmup + options.steps):
        for name, line in lines.items():
            line.send("step")
            answer = line.recv()
            if number >= options.warmup:
                steps[name].append(answer)
        print(f"dropout {dropout}: step {number + 1} of {options.warmup + options.steps}", file=sys.stderr)
    out = {}
    for (name, line), process in zip(lines.items(), processes, strict=True):
        line.send("stop")
        speeds = [step["tokens"] / step["seconds"] for step in steps[name]]
        out[name] = {
            "tokens_per_second": statistics.median(speeds),
            "tokens_per_second_least": min(speeds),
            "tokens_per_second_most": max(speeds),
            "step_seconds": statistics.median(step["seconds"] for step in steps[name]),
            "peak_memory_bytes": line.recv(),
            "first_loss": steps[name][0]["loss"],
        }
        process.join()
    return out


# ---- where our time goes ----


def profile(options: argparse.Namespace, dropout: float) -> dict[str, Any]:
    """Our step under torch.profiler -> top operators by their own time, share of matrix products, and the limit these set."""
    import torch
    from torch.profiler import ProfilerActivity

    torch.set_num_threads(options.threads)
    step, stream = build("electra", options, dropout), batches(options)
    for _ in range(options.warmup):
        step(next(stream))
    rows = [next(stream) for _ in range(options.steps)]
    start = time.perf_counter()
    for each in rows:
        step(each)
    seconds = (time.perf_counter() - start) / len(rows)
    with torch.profiler.profile(activities=[ProfilerActivity.CPU], record_shapes=True) as watch:
        for each in rows:
            step(each)
    events = sorted(watch.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in events)
    shares = {event.key: event.self_cpu_time_total / whole for event in events}
    attention = sum(share for key, share in shares.items() if "scaled_dot_product" in key)
    print(watch.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=60))
    alone, flops = time_products(watch.key_averages(group_by_input_shape=True), len(rows))
    tokens = sum(len(row) for each in rows for row in each) / len(rows)
    return {
        "dropout": dropout,
        "step_seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "matmul_share": sum(shares.get(name, 0.0) for name in MATMULS),
        "attention_share": attention,
        "top": [{"op": event.key, "share": round(shares[event.key], 4), "calls": event.count // len(rows)} for event in events[:20]],
        "matmul_only_seconds": alone,
        "matmul_only_tokens_per_second": tokens / alone,
        "matmul_gflop": flops / 1e9,
        "matmul_gflop_per_second": flops / alone / 1e9,
    }


def time_products(events: Any, num_steps: int) -> tuple[float, float]:
    """The profiled products of one step, made again with nothing between them -> (seconds, floating-point operations).

    What a fused attention kernel multiplies inside is not among them: the limit is a little too kind.
    """
    import torch

    seconds, flops = 0.0, 0.0
    for event in events:
        if event.key not in MATMULS:
            continue
        left, right = [shape for shape in event.input_shapes if len(shape) >= 2][-2:]
        a, b = torch.randn(left), torch.randn(right)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - start)
        calls = event.count / num_steps
        seconds += statistics.median(times) * calls
        flops += 2.0 * a.numel() * right[-1] * calls
    return seconds, flops


# ---- record ----


def help_seconds() -> float:
    """Median time of `electra --help` in a fresh process."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "electra.cli", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def read_options() -> argparse.Namespace:
    """The command line; the defaults are ELECTRA-Small on batches of 32 x 128."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"hidden_size": 256, "embedding_size": 128, "num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 1024}
    sizes |= {"vocab_size": 30522, "batch_size": 32, "length": 128, "steps": 7, "warmup": 2, "threads": multiprocessing.cpu_count()}
    for name, value in sizes.items():
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=value, help=f"(default: {value})")
    parser.add_argument("--generator-size", type=float, default=0.25, help="(default: 0.25)")
    parser.add_argument("--short", type=float, default=0.05, help="share of shorter sequences (default: 0.05)")
    parser.add_argument("--dropout", type=float, nargs="+", default=[0.1, 0.0], help="one comparison each (default: 0.1 0.0)")
    parser.add_argument("--profile", action="store_true", help="profile ours instead of comparing")
    parser.add_argument("--name", default="", help="name of the record (default: throughput or profile)")
    return parser.parse_args()


def main() -> None:
    """Measure, print, write bench/records/DATE-NAME.json."""
    options = read_options()
    from electra.train.record import environment

    runs: dict[str, Any] = {}
    for dropout in options.dropout:
        found = runs[f"dropout {dropout}"] = profile(options, dropout) if options.profile else compete(options, dropout)
        if options.profile:
            limit = f"{found['matmul_only_tokens_per_second']:,.0f} with matrix products alone ({found['matmul_gflop_per_second']:.0f} GFLOP/s)"
            print(f"dropout {dropout}: {found['tokens_per_second']:,.0f} tokens/s; {limit}; matmul share {found['matmul_share']:.0%}")
            continue
        ours = found["electra"]["tokens_per_second"]
        for name, values in found.items():
            values["electra_is_faster_by"] = ours / values["tokens_per_second"]
            memory = f"{values['peak_memory_bytes'] / 1e9:4.1f} GB"
            speed = f"{values['tokens_per_second']:9,.0f} tokens/s ({values['tokens_per_second_least']:,.0f}-{values['tokens_per_second_most']:,.0f})"
            print(f"dropout {dropout}  {name:<9}{speed}  {memory}  electra/{name} {values['electra_is_faster_by']:.2f}")
    started = help_seconds()
    print(f"electra --help: {started:.2f} s")
    name = options.name or ("profile" if options.profile else "throughput")
    path = RECORDS / f"{time.strftime('%Y-%m-%d')}-{name}.json"
    path.parent.mkdir(exist_ok=True)
    machine = {**environment(), "threads": options.threads}
    record = {"options": vars(options), "machine": machine, "help_seconds": started, "runs": runs}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(path.relative_to(RECORDS.parent.parent))


if __name__ == "__main__":
    main()
