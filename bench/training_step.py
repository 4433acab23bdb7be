"""One candidate of pre-training: both networks of ELECTRA, and one step of a batch at a time, as `throughput.py` asks for it.

  electra                      our objective and optimizer, as the training loop calls them
  plain, eager / plain, SDPA   `ElectraForMaskedLM` + `ElectraForPreTraining` as their users write it: logits of the whole vocabulary at every
                               position, a Gumbel draw per word to sample, clip_grad_norm_, AdamW; with both kinds of attention
  improved                     the same modules with what one would change first: logits at the masked positions only, multinomial sampling,
                               fused AdamW
  plain, compiled              the plain loop with SDPA, its networks through torch.compile
  improved, compiled           the improved loop, its encoders and heads through torch.compile, with oneDNN's products
  plain, zentorch              the plain loop compiled by AMD's compiler, in an environment of its own
  improved, oneDNN products    and with torch.set_float32_matmul_precision("medium"), once one knows what that does on this processor
  electra, bf16                ours with `--precision bf16`
  improved, bf16               the improved loop under torch.autocast

Run under the interpreter of its side; a peer's has no `electra`.
"""

from __future__ import annotations

import atexit
import random
import statistics
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import turns

CANDIDATES = ("electra", "plain, eager", "plain, SDPA", "plain, compiled", "plain, zentorch", "improved", "improved, oneDNN products")
CANDIDATES += ("improved, compiled", "electra, bf16", "improved, bf16", "electra, bf16 moments")
CLS, SEP, MASK = 2, 3, 4  # ids of the special pieces in the made-up vocabulary; 0 pads, 1 is unknown
LINEAR = "mkldnn::_linear_pointwise"
MATMULS = {"aten::mm": 0, "aten::bmm": 0, "aten::addmm": 1, "aten::addmm_": 1, "aten::baddbmm": 1, "aten::baddbmm_": 1, LINEAR: 0}
"""Operators that multiply matrices -> index of their left factor among the arguments; the right one follows."""
HALF = "c10::BFloat16"
"""bf16, as the profiler names it."""
WARMUP = 3
"""Steps before the profiled ones: memory finds its places, oneDNN makes its kernels."""
FOR_LIFE = ExitStack()
atexit.register(FOR_LIFE.close)
"""What is held as long as the process lives: a context that nobody holds ends at once."""
Step = Callable[[list[list[int]]], float]


def batches(shape: Namespace) -> Iterator[list[list[int]]]:
    """Endless batches of made-up ids: B sequences of `length` tokens, a share of them shorter, as the original's examples are."""
    chance = random.Random(1)
    while True:
        rows = []
        for _ in range(shape.batch_size):
            length = chance.randint(5, shape.length) if chance.random() < shape.short else shape.length
            rows.append([CLS, *(chance.randrange(5, shape.vocab_size) for _ in range(length - 2)), SEP])
        yield rows


def build_electra(shape: Namespace, half: bool, moments: str) -> Step:
    """Our objective with our optimizer (Adam's moments in 'fp32' or 'bf16'), put together as `electra.train.loop` does."""
    import torch

    from electra.cpu_kernels import onednn_matmuls
    from electra.data.pretraining_batches import collate
    from electra.model.pretraining_models import build_objective
    from electra.settings import ModelSettings, ObjectiveSettings, OptimizerSettings
    from electra.train.distributed import keep_memory
    from electra.train.evaluation import autocast
    from electra.train.optimizer import Adam

    keep_memory()
    # For the life of this process, as `electra.train.distributed.join` does for a training's.
    FOR_LIFE.enter_context(onednn_matmuls(torch.device("cpu")))
    names = ("hidden_size", "embedding_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "generator_size", "dropout")
    model = ModelSettings(**{name: getattr(shape, name) for name in names}, max_position_embeddings=max(512, shape.length))
    special = frozenset({0, 1, CLS, SEP, MASK})
    sizes: dict[str, Any] = {"vocab_size": shape.vocab_size, "sequence_length": shape.length}
    objective = build_objective(model, ObjectiveSettings(), **sizes, mask_id=MASK, special_ids=special, seed=1).train()
    adam = Adam(objective.named_parameters(), OptimizerSettings(moments=moments))
    done = 0

    def step(rows: list[list[int]]) -> float:
        nonlocal done
        done += 1
        batch = collate([(row, [0] * len(row)) for row in rows], keys=range(done * len(rows), (done + 1) * len(rows)))
        counts = objective.counts(batch)
        with autocast(torch.device("cpu"), "bf16" if half else "fp32"):
            output = objective(batch)
        loss = torch.stack([loss.weight * loss.total / counts[name] for name, loss in output.losses.items()]).sum()
        loss.backward()
        adam.step(1e-4, loss, done)
        return loss.item()

    return step


def peer_networks(shape: Namespace, attention: str) -> tuple[Any, Any]:
    """(generator, discriminator) of `transformers`, embeddings shared, the generator narrower as in the paper."""
    from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

    width = int(shape.hidden_size * shape.generator_size)
    shared: dict[str, Any] = {"vocab_size": shape.vocab_size, "embedding_size": shape.embedding_size, "num_hidden_layers": shape.num_hidden_layers}
    shared |= {"hidden_dropout_prob": shape.dropout, "attention_probs_dropout_prob": shape.dropout, "attn_implementation": attention}
    wide = {"hidden_size": shape.hidden_size, "num_attention_heads": shape.num_attention_heads, "intermediate_size": shape.intermediate_size}
    heads = max(1, int(shape.num_attention_heads * shape.generator_size))
    narrow = {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": 4 * width}
    generator, discriminator = ElectraForMaskedLM(ElectraConfig(**shared, **narrow)), ElectraForPreTraining(ElectraConfig(**shared, **wide))
    for network in (generator, discriminator):
        assert network.config._attn_implementation == attention
    generator.electra.embeddings = discriminator.electra.embeddings
    generator.generator_lm_head.weight = discriminator.electra.embeddings.word_embeddings.weight
    return generator.train(), discriminator.train()


def build_peer(shape: Namespace, attention: str, improved: bool, half: bool, compiler: str = "") -> Step:
    """A loop over `transformers` modules, as its users write it or improved; `compiler`: torch.compile's backend."""
    import torch
    import torch.nn.functional as F

    torch.manual_seed(1)
    generator, discriminator = peer_networks(shape, attention)
    parameters = list(torch.nn.ModuleList([generator, discriminator]).parameters())
    if compiler and improved:
        # What the improved loop calls: each part in place.
        for network, part in ((generator, "electra"), (generator, "generator_predictions"), (discriminator, "electra")):
            getattr(network, part).compile(backend=compiler)
    elif compiler:
        generator, discriminator = torch.compile(generator, backend=compiler), torch.compile(discriminator, backend=compiler)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, eps=1e-6, weight_decay=0.01, fused=True if improved else None)

    def generate(masked: Any, attention: Any, chosen: Any, ids: Any) -> tuple[Any, Any]:
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
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
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


def build(name: str, shape: Namespace) -> Step:
    """A candidate by name -> its step."""
    import torch

    half = name.endswith("bf16")
    if name.startswith("electra"):
        return build_electra(shape, half, "bf16" if name.endswith("bf16 moments") else "fp32")
    if name in ("improved, oneDNN products", "improved, compiled"):
        torch.set_float32_matmul_precision("medium")
    if name.endswith("zentorch"):
        import zentorch  # noqa: F401 (registers the compiler)
    compiler = "zentorch" if name.endswith("zentorch") else "inductor" if name.endswith("compiled") else ""
    return build_peer(shape, "eager" if name.endswith("eager") else "sdpa", improved=name.startswith("improved"), half=half, compiler=compiler)


@dataclass(frozen=True)
class Product:
    """A product of matrices that a step makes."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    transposed: bool
    """oneDNN's linear layer has its weights as (outputs, inputs)."""
    half: bool
    """In bf16; else in fp32."""
    calls: float
    """In a step."""


def is_outermost(event: Any) -> bool:
    """Whether a matmul of the profiler is not part of another: in bf16 baddbmm calls bmm."""
    parent = event.cpu_parent
    while parent is not None and parent.name not in MATMULS:
        parent = parent.cpu_parent
    return parent is None


def profile(step: Step, stream: Iterator[list[list[int]]], num_steps: int) -> tuple[dict[str, Any], list[Product]]:
    """A step under torch.profiler -> its operators by their own time and the share of matrix products; these products."""
    import torch
    from torch.profiler import ProfilerActivity

    rows = [next(stream) for _ in range(num_steps)]
    for _ in range(WARMUP):
        step(rows[0])
    with torch.profiler.profile(activities=[ProfilerActivity.CPU], record_shapes=True) as watch:
        for each in rows:
            step(each)
    events = sorted(watch.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in events)
    shares = {event.key: event.self_cpu_time_total / whole for event in events}
    calls: Counter[tuple[Any, ...]] = Counter()
    for event in watch.events():
        if event.name in MATMULS and is_outermost(event):
            place = MATMULS[event.name]
            left, right = event.input_shapes[place : place + 2]
            calls[tuple(left), tuple(right), event.name == LINEAR, event.input_dtypes[place] == HALF] += 1
    products = [Product(*key, number / num_steps) for key, number in calls.items()]
    found = {
        "matmul_share": sum(shares.get(name, 0.0) for name in MATMULS),
        "top": [{"op": event.key, "share": round(shares[event.key], 4), "calls": event.count // num_steps} for event in events[:20]],
        "tokens": sum(len(row) for each in rows for row in each) / num_steps,
    }
    return found, products


def time_products(products: list[Product]) -> dict[str, float]:
    """A step's products, each in its own precision, made again with nothing between them -> seconds, floating-point operations.

    Made in a process set up as the candidate's, so by the same library. What a fused attention kernel multiplies inside is not among them: the
    limit is a little too kind.
    """
    import torch

    seconds, flops = 0.0, 0.0
    for product in products:
        dtype = torch.bfloat16 if product.half else torch.float32
        a, b = torch.randn(product.left, dtype=dtype), torch.randn(product.right, dtype=dtype)
        if product.transposed:
            b = b.t()
        times = []
        for _ in range(3):
            start = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - start)
        seconds += statistics.median(times) * product.calls
        flops += 2.0 * a.numel() * b.shape[-1] * product.calls
    return {"seconds": seconds, "flops": flops}


def main() -> None:
    """Serve: 'build' (a name, a shape, threads), then 'step', 'memory', 'profile' and, after it, 'limit'."""
    held: dict[str, Any] = {}

    def answer(request: dict[str, Any]) -> Any:
        if request["kind"] == "build":
            import torch

            torch.set_num_threads(request["threads"])
            held["shape"] = shape = Namespace(**request["shape"])
            held["step"], held["stream"] = build(request["name"], shape), batches(shape)
            return {"torch": torch.__version__} | (
                {} if request["name"].startswith("electra") else {"transformers": sys.modules["transformers"].__version__}
            )
        if request["kind"] == "profile":
            # A stream of its own: all candidates go on with the same batches.
            found, held["products"] = profile(held["step"], batches(held["shape"]), request["num_steps"])
            return found
        if request["kind"] == "limit":
            return time_products(held["products"])
        if request["kind"] == "memory":
            return turns.peak_memory_bytes()
        rows = next(held["stream"])
        start = time.perf_counter()
        loss = held["step"](rows)
        return {"seconds": time.perf_counter() - start, "tokens": sum(map(len, rows)), "loss": loss}

    turns.serve(answer)


if __name__ == "__main__":
    main()
