"""Tables of speed, memory and size: what is measured by `make bench` and by the other scripts of this folder, from `bench/records`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from docs_records import BENCH, CLASSIFIERS, EXPERIMENTS, MACHINE, ROOT, VECTORS, maker, measured, percent, record, section, span, table

PAIRED, SOAK = BENCH + "2026-11-29-paired.json", BENCH + "soak.json"
PEERS = ("plain, eager", "plain, SDPA", "plain, compiled", "plain, zentorch", "improved", "improved, oneDNN products", "improved, compiled")
"""Loops over `transformers` modules in fp32; those that a record lacks have an empty cell."""
LANGUAGES = {"en": "English", "zh": "Chinese"}


@maker("figures")
def figures(old: list[str]) -> list[str]:
    """The main figures, each with its record."""
    rows = [*_speed_figures(), *_quality_figures()]
    return table(("on two CPU cores (AMD EPYC if not named)", "measured", "compared with", ""), rows, left=4)


def _speed_figures() -> list[tuple[str, ...]]:
    english = [result["languages"]["en"]["encode"][1]["summary"]["carried"] for _, _, result in _prepared()]
    trained = [each for each in measured("pretraining") if _small(each[2])]
    small = [_small(result) for _, _, result in trained]
    records = ", ".join(f"[{label}]({place})" for place, label, _ in trained)
    plain = span((one["electra, without nanotoken"]["median"] for one in english), "{:.1f}")
    ahead = span((one["tokenizers"]["electra_is_faster_by"]["median"] for one in english), "{:.1f}x")
    built = {row["name"]: row["latency"]["p50_ms"] for row in record(BENCH + "2026-11-21-deployment.json")["rows"]}
    padded, pipeline = built["transformers, padded to 128"], built["transformers' pipeline"]
    starts, tuned = section("startup")["summary"], section("finetuning")
    script = starts["transformers' pipeline, script"]["warm"]["median"]
    bench, deployment = f"[record]({MACHINE})", f"[record]({BENCH}2026-11-21-deployment.json)"
    return [
        (
            "pre-train ELECTRA-Small, dropout 0.1",
            span((one["electra"]["tokens_per_second"]["median"] for one in small), "{:,.0f}") + " tokens/s",
            span((lead for _, _, result in trained if (lead := _slowest_lead(result, PLAIN))), "{:.2f}x")
            + " a plain loop over `transformers` modules",
            records,
        ),
        (
            "the same with `--precision bf16`",
            span((one["electra, bf16"]["tokens_per_second"]["median"] for one in small), "{:,.0f}") + " tokens/s",
            span((one["electra, bf16"]["faster_than_fp32"]["median"] for one in small), "{:.2f}x") + " fp32",
            records,
        ),
        (
            "tokenize new English text",
            span((one["electra"]["median"] for one in english), "{:.1f}") + " MB/s",
            f"{ahead} `tokenizers`, identical ids; without nanotoken {plain} MB/s",
            ", ".join(f"[{label}]({place})" for place, label, _ in _prepared()),
        ),
        (
            "fine-tune ELECTRA-Small, 2,000 examples of SST-2",
            f"{tuned['median_seconds']['electra']:.1f} s per epoch",
            f"{turns(tuned, 'dynamic'):.2f}x `transformers` Trainer with dynamic padding",
            bench,
        ),
        (
            "one sentence, int8 `small`",
            f"{built['onnx-int8']:.1f} ms",
            f"`transformers`: model padded to 128 tokens {padded:.1f} ms, pipeline {pipeline:.1f} ms",
            deployment,
        ),
        (
            "`electra predict`, start to answer, int8",
            f"{starts['electra predict, onnx-int8']['warm']['median']:.2f} s",
            f"`transformers` pipeline {script:.2f} s",
            bench,
        ),
    ]


def _quality_figures() -> list[tuple[str, ...]]:
    fixed, sst2 = record(EXPERIMENTS + "mini-2026-11-21.jsonl")[0], record(EXPERIMENTS + "sst2-after-pretraining.json")
    scores = {name: percent(found["scores"]["accuracy"]["mean"]) for name, found in sst2["finetuned"].items()}
    return [
        (
            "one hour of `electra pretrain mini`: AUC on a fixed corruption set",
            f"{fixed['generator_disc_auc']:.3f}",
            f"{fixed['generator_context_free_auc']:.3f} from word frequencies alone",
            f"[record]({EXPERIMENTS}mini-2026-11-21.jsonl)",
        ),
        (
            "SST-2 dev after that hour, five seeds",
            scores["electra"],
            f"random weights {scores['random']}, masked LM of the same budget {scores['mlm']}, TF-IDF {percent(sst2['tfidf_logistic_regression'])}",
            f"[record]({EXPERIMENTS}sst2-after-pretraining.json)",
        ),
    ]


@maker("targets-compared")
def targets_compared(old: list[str]) -> list[str]:
    """A classifier and what was built from it, of the targets that there are."""
    from electra.exporting.targets import TARGETS

    rows = []
    for row in record(BENCH + "2026-11-22-targets.json")["rows"]:
        if row["kind"] != "checkpoint" and row["kind"] not in TARGETS:
            continue
        agreement = "" if row["agreement"] is None else f"{percent(row['agreement'], 2)}%"
        speedup = row["latency"]["speedup"]
        rows.append(
            (
                row["kind"] if row["kind"] == "checkpoint" else f"`{row['kind']}`",
                percent(row["score"], 2),
                agreement,
                f"{row['size_bytes'] / 1e6:.1f} MB",
                f"{row['latency']['p50_ms']:.1f} ms",
                "" if speedup is None else f"{speedup:.2f}x",
                f"{row['throughput']['32']['texts_per_second']:,.0f}",
                "" if row["build_seconds"] is None else f"{row['build_seconds']:.1f} s",
            )
        )
    return table(("", "accuracy", "agreement", "size", "one sentence, p50", "speed-up", "texts/s in batches of 32", "build"), rows)


@maker("two-environments")
def two_environments(old: list[str]) -> list[str]:
    """A classifier and what was built from it, here and in another environment; rows that were measured."""
    found, rows = record(BENCH + "2026-11-29-two-environments.json"), []
    versions = {one["name"]: one["machine"]["versions"] for one in found["environments"]}
    for row in found["rows"]:
        if row["score"] is None:
            continue
        known = versions[row["environment"]]
        where = ", ".join(f"{name} {known[name]}" for name in ("python", "torch", "onnxruntime") if name in known)
        agreement = "" if row["agreement"] is None else f"{percent(row['agreement'], 2)}%"
        difference = "" if row["largest_difference"] is None else f"{row['largest_difference']:.1g}"
        sizes = f"{row['size_bytes'] / 1e6:.1f} MB", f"{row['peak_memory_bytes'] / 1e6:.0f} MB"
        latency = row["latency"]
        times = f"{latency['p50_ms']:.1f} ms", f"{latency['speedup']:.2f}x" if latency["speedup"] else ""
        rows.append((f"`{row['name']}`", f"{row['environment']}: {where}", percent(row["score"], 2), agreement, difference, *sizes, *times))
    columns = ("", "environment", "accuracy", "agreement", "max logit diff", "size", "memory", "one sentence, p50", "speed-up")
    return table(columns, rows, left=2)


@maker("without-torch")
def without_torch(old: list[str]) -> list[str]:
    """A checkpoint here and its artifacts in an environment without torch."""
    found = record(BENCH + "2026-11-22-without-torch.json")
    there, here = found["environments"]["without_torch"], found["environments"]["with_torch"]
    rows = [("checkpoint, with torch", found["checkpoint"], f"torch alone {here['torch_bytes'] / 1e6:.0f} MB")]
    where = f"{there['num_packages']} packages, {there['size_bytes'] / 1e6:.0f} MB"
    rows += [(f"`{row['name']}`, without torch", row, where) for row in found["artefacts"]]
    lines = []
    for name, row, place in rows:
        same = row.get("agreement")
        agreement = f"{same['num_same']} of {same['num_examples']}" if same else ""
        lines.append((name, place, percent(row["scores"]["accuracy"]), agreement, f"{row['start_to_answer_s']['median']:.2f} s"))
    return table(("", "environment", "accuracy", "same answers", "`electra predict`, start to answer"), lines, left=2)


@maker("targets")
def targets(old: list[str]) -> list[str]:
    """The goals of the bench, as its report has them."""
    _, _, rest = (ROOT / MACHINE).with_suffix(".md").read_text(encoding="utf-8").partition("## Targets\n\n")
    text = rest.split("\n\n")[0]
    for said, plain in {
        "texts/s: than ": "texts/s: over ",
        ": than ": ": speed over ",
        ": memory of the plain loop's": ": memory, share of the plain loop's",
        "share of the limit of its products": "share of the matmul limit",
        "2 workers than 1": "2 workers, speed over 1",
        "text never seen before": "new text",
        "a token costs more with": "extra cost per token with",
    }.items():
        text = text.replace(said, plain)
    return ["| what | goal | measured | |", *text.splitlines()[1:]]


# ---- headlines ----


def _small(result: Any) -> Any:
    """Pre-training's summary of `small` at dropout 0.1; empty where a record lacks it."""
    return next((run["summary"] for run in result["runs"] if (run["preset"], run["dropout"]) == ("small", 0.1)), {})


def _slowest_lead(result: Any, peers: Sequence[str]) -> float | None:
    """How many times as fast as the fastest of some loops electra trains `small`."""
    found = [_small(result).get(peer, {}) for peer in peers]
    return min((one["electra_is_faster_by"]["median"] for one in found if "electra_is_faster_by" in one), default=None)


def _of_small(result: Any, candidate: str, key: str) -> float | None:
    """The median of a figure of ours for `small`."""
    found = _small(result).get(candidate, {}).get(key)
    return None if found is None else float(found["median"])


def _over_tokenizers(result: Any) -> float:
    """How many times as fast as `tokenizers` electra encodes new English text, on all cores."""
    found = result["languages"]["en"]["encode"][-1]["summary"]["carried"]
    return float(found["tokenizers"].get("electra_is_faster_by", found.get("electra_is_faster_by"))["median"])


def _over_pipeline(result: Any) -> float | None:
    """How many times as fast as the pipeline of `transformers` onnx-int8 answers one text."""
    found = result["comparison"]["comparisons"].get("onnx-int8", {}).get("pipeline")
    return None if found is None else float(found["times"])


def _over_matmuls(result: Any) -> float | None:
    """The latency of onnx-int8 at one text over the time of its matmuls."""
    return result["over_matmuls"]["ratio"]["median"] if "over_matmuls" in result else None


PLAIN, IMPROVED = ("plain, eager", "plain, SDPA"), ("improved", "improved, oneDNN products", "improved, compiled")
HEADLINES: tuple[tuple[str, str, Callable[[Any], float | None], str], ...] = (
    ("pre-training `small`: speed over the faster plain loop", "pretraining", lambda found: _slowest_lead(found, PLAIN), "{:.2f}x"),
    ("pre-training `small`: speed over the fastest improved loop", "pretraining", lambda found: _slowest_lead(found, IMPROVED), "{:.2f}x"),
    ("pre-training `small`: bf16 over fp32", "pretraining", lambda found: _of_small(found, "electra, bf16", "faster_than_fp32"), "{:.2f}x"),
    ("pre-training `small`: share of the matmul limit", "pretraining", lambda found: _of_small(found, "electra", "share_of_limit"), "{:.0%}"),
    (
        "pre-training `small` in bf16: share of the matmul limit",
        "pretraining",
        lambda found: _of_small(found, "electra, bf16", "share_of_limit"),
        "{:.0%}",
    ),
    ("one text, onnx-int8: speed over the pipeline of `transformers`", "inference", _over_pipeline, "{:.2f}x"),
    ("one text, onnx-int8: latency over the time of its matmuls", "inference", _over_matmuls, "{:.2f}x"),
    ("tokenizing new English text: speed over `tokenizers`", "prepare", _over_tokenizers, "{:.2f}x"),
)
"""What, the section of the bench, its figure there or None, its form."""


@maker("headlines")
def headlines(old: list[str]) -> list[str]:
    """Each headline ratio: its range over all records that have it, and every machine's."""
    deployment = record(BENCH + "2026-11-21-deployment.json")
    earlier = {"inference": [("", f"{deployment['machine']['processor']}, {deployment['date']}", {"comparison": deployment})]}
    rows = []
    for what, name, value, pattern in HEADLINES:
        found = [(label, number) for _, label, result in [*earlier.get(name, []), *measured(name)] if (number := value(result)) is not None]
        if found:
            each = "; ".join(f"{label}: {pattern.format(number)}" for label, number in found)
            rows.append((what, span((number for _, number in found), pattern), each))
    return table(("ratio", "range", "each machine"), rows, left=3)


# ---- pre-training ----


def _run_name(run: Any) -> str:
    return f"{run['preset']}, {run['shape']['batch_size']} x {run['shape']['length']}, {run['dropout']}"


def _peer_cells(found: dict[str, Any], side: str) -> str:
    """A peer's speed and how much faster ours is."""
    if side not in found:
        return ""
    if "error" in found[side]:
        return "does not train" if side.endswith("zentorch") else "failed"
    return f"{found[side]['tokens_per_second']['median']:,.0f} ({found[side]['electra_is_faster_by']['median']:.2f}x)"


@maker("pretraining")
def pretraining(old: list[str]) -> list[str]:
    """Training speed and memory, ours and loops over `transformers` modules, on every machine."""
    rows = []
    found = [(label, run) for _, label, result in measured("pretraining") for run in result["runs"]]
    sides = [side for side in PEERS if any(side in run["summary"] for _, run in found)]
    for label, run in found:
        one = run["summary"]
        cells = [_run_name(run), f"{one['electra']['tokens_per_second']['median']:,.0f}", *(_peer_cells(one, side) for side in sides)]
        cells += [f"{100 * one['electra']['share_of_limit']['median']:.0f}%"]
        cells += [f"{one[side]['peak_memory_bytes'] / 1e9:.2f} GB" for side in ("electra", "plain, SDPA")]
        rows.append((label, *cells))
    header = ["machine", "preset, batch, dropout", "electra, tokens/s", *(side.replace(" products", "") for side in sides)]
    return table((*header, "share of the limit", "peak memory", "plain, SDPA"), rows, left=2)


@maker("pretraining-bf16")
def pretraining_bf16(old: list[str]) -> list[str]:
    """The same in bf16."""
    rows = []
    found = [(label, run) for _, label, result in measured("pretraining") for run in result["runs"]]
    limited = any("share_of_limit" in run["summary"]["electra, bf16"] for _, run in found)
    for label, run in found:
        ours, peer = run["summary"]["electra, bf16"], run["summary"]["improved, bf16"]
        cells = [f"{ours['tokens_per_second']['median']:,.0f}", f"{ours['faster_than_fp32']['median']:.2f}x"]
        cells.append(_peer_cells(run["summary"], "improved, bf16"))
        if limited:
            cells.append(f"{ours['share_of_limit']['median']:.0%}" if "share_of_limit" in ours else "")
        memory = ("" if "error" in side else f"{side['peak_memory_bytes'] / 1e9:.2f} GB" for side in (ours, peer))
        rows.append((label, _run_name(run), *cells, *memory))
    header = ["machine", "preset, batch, dropout", "electra bf16, tokens/s", "over fp32", "improved, autocast"]
    return table((*header, *(["share of the limit"] if limited else []), "peak memory", "improved, autocast"), rows, left=2)


NOT_YET = 'Not measured yet: `make bench ARGS="--sections {}"`.'


@maker("length")
def length(old: list[str]) -> list[str]:
    """Cost against length: pre-training, then a classifier's answer to one text."""
    found = measured("length")
    if not found:
        return [NOT_YET.format("length")]
    out: list[str] = []
    for names, key, pattern, unit in (
        (("fp32", "bf16"), "tokens_per_second", "{:,.0f}", "tokens/s"),
        (("PyTorch", "onnx", "onnx-int8"), "ms", "{:,.1f}", "ms"),
    ):
        rows = []
        for _, label, result in found:
            for tokens in map(str, result["lengths"]):
                cells: list[str] = []
                for name in names:
                    one = result["summary"][name][tokens]
                    if "error" in one:
                        cells += [one["error"], ""]
                        continue
                    cost = f" ({one['cost']['median']:.2f}x)" if "cost" in one else ""
                    cells += [pattern.format(one[key]["median"]) + cost, f"{one['peak_memory_bytes'] / 1e9:.2f} GB"]
                rows.append((label, f"{int(tokens):,}", *cells))
        header = ("machine", "tokens", *(cell for name in names for cell in (f"{name}, {unit}", "memory")))
        out += [*(["", "One text:", ""] if out else []), *table(header, rows, left=2)]
    return out


@maker("matmul-rates")
def matmul_rates(old: list[str]) -> list[str]:
    """What each machine multiplies, which the ratios depend on."""
    kinds = ("fp32, PyTorch's default", "fp32, oneDNN", "bf16")
    rows = []
    for place, label, result in measured("machine"):
        rates = [result["products"].get(f"{kind}, layer of small") for kind in kinds]
        rows.append((f"[{label}](../{place})", *("not used" if rate is None else f"{rate['median'] / 1e9:,.0f}" for rate in rates)))
    return table(("GFLOP/s, two threads", *kinds), rows)


@maker("encoding")
def encoding(old: list[str]) -> list[str]:
    """Tokenization alone, every candidate on the same cores."""
    names = ("electra", "electra, without nanotoken", "nanotoken", "tokie", "tokenizers", "flash-tokenizer")
    kinds = {"carried": "new text", "cold": "from an empty cache", "warm": "text seen before"}
    rows = []
    for _, label, result in _prepared():
        for language, title in LANGUAGES.items():
            for run in result["languages"][language]["encode"]:
                for kind, words in kinds.items():
                    found = run["summary"][kind]
                    cells = [f"{found[name]['median']:.1f}" if name in found else "other ids" for name in names]
                    rows.append((label, f"{title}, {words}, {run['cores']} core{'s' if run['cores'] > 1 else ''}", *cells))
    return table(("machine", "MB/s", *names), rows, left=2)


def _prepared() -> list[tuple[str, str, Any]]:
    """The records of tokenizing that have the named rivals."""
    return [each for each in measured("prepare") if "nanotoken" in each[2]["languages"]["en"]["encode"][0]["summary"]["carried"]]


@maker("prepare")
def prepare(old: list[str]) -> list[str]:
    """The whole command `electra prepare`, start included."""
    rows = []
    for _, label, result in _prepared():
        for language, title in LANGUAGES.items():
            found = result["languages"][language]
            speeds = [statistics.median(found["prepare_mb"] / run["command_seconds"] for run in found["prepare"][count]) for count in "12"]
            memory = [max(run["peak_memory_mb"][what] for run in found["prepare"]["2"]) for what in ("reader", "largest_worker")]
            text = f"{title}{' with word boundaries' if language == 'zh' else ''}, {found['prepare_mb']:.0f} MB"
            rows.append((label, text, *(f"{speed:.1f} MB/s" for speed in speeds), *(f"{mb} MB" for mb in memory)))
    return table(("machine", "`electra prepare`", "1 worker", "2 workers", "memory of the reader", "of the larger worker"), rows, left=2)


@maker("prepare-engines")
def prepare_engines(old: list[str]) -> list[str]:
    """`electra prepare` by engine and store."""
    found = record(BENCH + "prepare-engines.json")
    names = {"local": "local", "ray": "Ray", "s3": "from S3 to S3"}
    rows = [
        (name, *(f"{found[key][f'workers_{n}']['median']['mb_per_s']:.1f} MB/s" for n in (1, 2)), f"{found[key]['start']['median']['seconds']:.1f} s")
        for key, name in names.items()
    ]
    return table((f"{found['sample_mb']:.0f} MB of English", "1 worker", "2 workers", "of which start"), rows)


def turns(found: Mapping[str, Any], other: str) -> float:
    """How many times as fast as `other` electra fine-tunes: the median over the turns."""
    pairs = zip(found["runs"][other], found["runs"]["electra"], strict=True)
    return statistics.median(theirs["seconds"] / ours["seconds"] for theirs, ours in pairs)


@maker("finetuning")
def finetuning(old: list[str]) -> list[str]:
    """An epoch of fine-tuning."""
    found, rows = section("finetuning"), []
    for key, name in {
        "electra": "`electra finetune`",
        "dynamic": "`transformers` Trainer, batches padded to their longest text",
        "padded": "the same, every text padded to 128 (12 of 63 steps timed)",
    }.items():
        times = "" if key == "electra" else f"{turns(found, key):.2f}x"
        rows.append((name, f"{found['median_seconds'][key]:.1f}", f"{found['runs'][key][0]['computed_tokens']:,}", times))
    return table(("", "seconds", "tokens computed", "electra is faster by"), rows)


@maker("startup")
def startup(old: list[str]) -> list[str]:
    """A fresh process to its answer on one sentence."""
    rows = [(name, f"{found['first']:.2f} s", f"{found['warm']['median']:.2f} s") for name, found in section("startup")["summary"].items()]
    return table(("fresh process", "first call", "later calls, median"), rows)


@maker("paired")
def paired(old: list[str]) -> list[str]:
    """Two versions of electra, in turns."""
    rows = []
    for name, pairs in record(PAIRED)["seconds"].items():
        ratios = sorted(after / before for after, before in pairs)
        after, before = (statistics.median(side) * 1000 for side in zip(*pairs, strict=True))
        rows.append((name, f"{before:.4g} ms", f"{after:.4g} ms", f"{statistics.median(ratios):.3f}", f"{ratios[0]:.3f} to {ratios[-1]:.3f}"))
    return table(("what", "before", "after", "ratio, median", "least to most"), rows)


@maker("deployment")
def deployment(old: list[str]) -> list[str]:
    """What is built from a `small` classifier, and `transformers`."""
    found = record(BENCH + "2026-11-21-deployment.json")["rows"]
    padded, peer = found[0], found[1]

    def rate(row: Any) -> float:
        # The padded model answers one text at a time; the others at their best batch size.
        each = {size: speed["texts_per_second"] for size, speed in row["throughput"].items()}
        return float(each["1"] if row is padded else max(each.values()))

    rows = []
    names = {padded["name"]: "`transformers`, padded to 128", peer["name"]: "`transformers` pipeline", "small-sst2": "electra, PyTorch"}
    for row in found:
        first, second = (other["latency"]["p50_ms"] / row["latency"]["p50_ms"] for other in (padded, peer))
        rows.append(
            (
                names.get(row["name"], f"`{row['name']}`"),
                percent(row["score"], 2),
                "" if row is padded else f"{percent(row['agreement'], 2)}%",
                f"{row['size_bytes'] / 1e6:.1f} MB" if row["size_bytes"] else "",
                f"{row['padded']['p50_ms']:.1f} ms",
                f"{row['latency']['p50_ms']:.1f} ms",
                "" if row is padded else f"{first:.1f}x",
                "" if row in (padded, peer) else f"{second:.1f}x",
                f"{rate(row):,.0f}",
            )
        )
    header = ("", "accuracy", "agreement", "size", "128 tokens on both sides, p50", "as usually called, p50")
    return table((*header, "over the padded model", "over the pipeline", "texts/s"), rows)


@maker("serving")
def serving(old: list[str]) -> list[str]:
    """`electra serve` under load."""
    alone, beside = record(BENCH + "2026-11-21-serving.json"), record(BENCH + "2026-11-21-serving-beside-transformers.json")
    rows = []
    for name, side, load in (
        ("electra, one client", alone["electra"], "one_client"),
        ("electra, 64 clients", alone["electra"], "capacity"),
        ("electra, twice its capacity for five minutes", alone["electra"], "overload"),
        ("electra, one client (second record)", beside["electra"], "one_client"),
        ("electra, 64 clients (second record)", beside["electra"], "capacity"),
        ("`transformers` pipeline behind FastAPI, one client", beside["transformers"], "one_client"),
        ("`transformers` pipeline behind FastAPI, 64 clients", beside["transformers"], "capacity"),
    ):
        found = side[load]
        cells = [f"{found['requests']:,}", f"{found['answered_per_second']:,.0f}", f"{found['p50_ms']:,.1f} ms", f"{found['p99_ms']:,.1f} ms"]
        each = found.get("processor_ms_per_answer")
        rows.append((name, *cells, f"{100 * found['rejection_rate']:.1f}%", "" if each is None else f"{each:.1f} ms"))
    return table(("", "requests", "answered/s", "p50", "p99", "rejected (429)", "CPU time per answer"), rows)


@maker("servers")
def servers(old: list[str]) -> list[str]:
    """A classifier over HTTP by `electra serve` and by other servers, for one client and for many."""
    rows = []
    for _, label, result in measured("serving"):
        for name, loads in result["rows"].items():
            for clients, runs in loads.items():
                middle = {key: statistics.median(run[key] for run in runs) for key in ("answered_per_second", "p50_ms", "p99_ms")}
                cells = [f"{middle['answered_per_second']:,.0f}", f"{middle['p50_ms']:,.1f} ms", f"{middle['p99_ms']:,.1f} ms"]
                cells.append(f"{100 * max(run['rejection_rate'] for run in runs):.1f}%")
                memory = result.get("memory_mb", {}).get(name)
                rows.append((label, name, clients, *cells, "" if memory is None else f"{memory:,.0f} MB"))
        rows += [(label, name, "", f"not run: {why}", *[""] * 4) for name, why in result["failed"].items()]
    header = ("machine", "server", "clients", "answered/s", "p50", "p99", "rejected", "memory")
    return table(header, rows, left=2) if rows else [NOT_YET.format("serving")]


@maker("soak")
def soak(old: list[str]) -> list[str]:
    """`electra serve` at 1.5 times its capacity with hostile clients."""
    if not (ROOT / SOAK).is_file():
        return ["Not run yet: `python bench/soak.py`."]
    found = record(SOAK)
    load, memory, after, stop = (found[key] for key in ("load", "load", "after", "stop"))
    trend = (memory := memory["memory"])["slope_mb"]
    rows = [
        (
            f"capacity, {found['machine']['cpu']}",
            f"{found['capacity']['answered_per_second']:.0f} requests/s, p99 {found['capacity']['p99_ms']:.0f} ms",
        ),
        ("unloaded, one client", f"p50 {found['unloaded']['p50_ms']:.0f} ms, p99 {found['unloaded']['p99_ms']:.0f} ms"),
    ]
    for key, name in (("open_loop", "open-loop clients"), ("steady", "steady clients")):
        one = load[key]
        counts = ", ".join(f"{count:,} x {status}" for status, count in sorted(one["statuses"].items()))
        rows.append((f"{name} under load", f"{counts}; p50 {one['p50_ms']:.0f} ms, p99 {one['p99_ms']:.0f} ms"))
        far = one["distance_to_predict"]
        other = f"{one['other_labels']} other labels of {one['labels_compared']:,}"
        rows.append((f"{name}: answers and `predict`'s", f"p99 of the distance {far['p99']:g}, largest {far['largest']:g}; {other}"))
    tries = sum(sum(counts.values()) for counts in load["hostile"].values())
    rows += [
        ("hostile clients", f"{len(load['hostile'])} kinds, {tries:,} tries"),
        (
            f"memory over {found['minutes']:g} minutes",
            f"{memory['first_mb']:.0f} to {memory['last_mb']:.0f} MB, at most {memory['largest_mb']:.0f}; "
            f"{trend['per_hour']:+.1f} MB/h (95%: {trend['interval'][0]:+.1f} to {trend['interval'][1]:+.1f})",
        ),
        ("served as before after the load", "never" if after["recovery_seconds"] is None else f"{after['recovery_seconds']:g} s"),
        (
            "open files, threads: before and after",
            ", ".join(f"{found['unloaded'][key]:g} and {found['settled'][key]:g}" for key in ("files", "threads")),
        ),
        (
            "SIGTERM under load",
            f"exit code {stop['exit_code']} after {stop['seconds']:g} s; " + ", ".join(f"{n:,} x {s}" for s, n in sorted(stop["statuses"].items())),
        ),
        ("what must hold", f"{sum(found['verdicts'].values())} of {len(found['verdicts'])}"),
    ]
    return [*table(("what", "seen"), rows, left=2), "", f"`{found['command']}`, [record](../{SOAK})"]


def sentence_models(task: str, machine: str = VECTORS) -> list[str]:
    """Vectors, re-ranking or classes, every candidate of every model: latency by texts in a call, accuracy, memory."""
    parts = {part: found for part, found in section("embedding", machine)["tasks"].items() if part.split()[0] == task}
    sizes = list(parts[task]["summary"]["electra, PyTorch"])
    several, rows = len(parts) > 1, []
    for found in parts.values():
        for name, candidate in found["candidates"].items():
            if "error" in candidate:  # the record and its own table say why
                continue
            latency = [f"{found['summary'][name][size]['latency_ms']['median']:.1f}" for size in sizes]
            accuracy = [f"{100 * candidate['sts_b_spearman']:.1f}" if "sts_b_spearman" in candidate else ""] if task == "embed" else []
            model = [found["model"]] if several else []
            rows.append((*model, name, *latency, *accuracy, f"{candidate['peak_memory_bytes'] / 1e6:,.0f} MB"))
    names = [f"{size} text{'s' if size != '1' else ''}, ms" for size in sizes]
    header = (*(["model"] if several else []), "", *names, *(["STS-B dev"] if task == "embed" else []), "memory")
    return table(header, rows, left=1 + several)


@maker("vectors")
def vectors(old: list[str]) -> list[str]:
    """Vectors of all-MiniLM-L6-v2."""
    return sentence_models("embed")


@maker("rerankers")
def rerankers(old: list[str]) -> list[str]:
    """Scores of a re-ranker of the same size."""
    return sentence_models("rerank")


@maker("classifiers")
def classifiers(old: list[str]) -> list[str]:
    """Classes of sentences."""
    return sentence_models("classify", CLASSIFIERS)
