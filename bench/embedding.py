"""Vectors, re-rankers and classifiers: ours from a checkpoint, from artifacts and through `electra serve`; the usual library by its backends; others.

The library is sentence-transformers; for classifiers `transformers` with optimum. A bi-encoder of BERT's architecture, a cross-encoder and a
classifier of ELECTRA's, each candidate (`embedding_step.py` and `embedding_peers.py` say what they are)
in a process of its own; they take turns, each time with other texts, the same for all. Before anything is timed, the answers to the first turn are
compared with ours from PyTorch: fp32 must be equal to 1e-4, fewer bits have a cosine above 0.98. Who differs is reported and not timed. Scores are
compared without their mean, because scores that are all positive have a large cosine whatever they are. Static vectors (model2vec) are another
model: the floor of time, with its own accuracy.

Ratios are of one turn each: the peer's time over that of ours with the same backend (of other engines: with the backend that one would take
instead), and that of the library's PyTorch over everyone's. With real weights (`--bi-encoder`) and STS-B in the data folder, the table has
everyone's Spearman correlation on its dev set.
"""

from __future__ import annotations

import csv
import itertools
import json
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import models
import numpy as np
from embedding_step import ONNX_FILE
from scipy.stats import spearmanr
from section import Skipped, Target, Work, environment, middle, peer_environment, spread, table
from serving import texts_of
from turns import Candidate, Failed

import electra
from electra import environment as machine
from electra.data.documents import read_documents
from electra.data.tokenizer import load_tokenizer
from electra.storage import atomic

OURS, SERVED = "electra", "electra serve"
PEERS = {"embed": "sentence-transformers", "rerank": "sentence-transformers", "classify": "transformers"}
"""Task -> the library that people use for it."""
TORCH, BACKENDS = "PyTorch", ("PyTorch", "onnx", "onnx-int8", "openvino", "openvino-int8")
QUICK = {"electra": ("PyTorch", "onnx-int8"), "electra serve": ("onnx-int8",)}
"""Candidates of ours in a quick run."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """An engine of others."""

    environment: str
    backend: str
    """Ours that a user would take instead."""
    exact: bool = True
    """Whether its answers must equal ours to 1e-4; else it computes with fewer bits (or, llama.cpp, with GELU from a table)."""
    tasks: tuple[str, ...] = ("embed",)
    comparable: bool = True
    """Whether its vectors are the model's."""


RIVALS = {
    "sentence-transformers, PyTorch compiled": Rival(environment="peers", backend="PyTorch", tasks=("embed", "rerank")),
    "transformers, PyTorch compiled": Rival(environment="peers", backend="PyTorch", tasks=("classify",)),
    "zentorch, fp32": Rival(environment="zentorch", backend="PyTorch", tasks=("embed", "rerank", "classify")),
    "zentorch, bf16": Rival(environment="zentorch", backend="onnx-int8", exact=False, tasks=("embed", "rerank", "classify")),
    "CTranslate2, fp32": Rival(environment="ctranslate2", backend="onnx"),
    "CTranslate2, int8": Rival(environment="ctranslate2", backend="onnx-int8", exact=False),
    "tract, fp32": Rival(environment="tract", backend="onnx", tasks=("embed", "classify")),
    "llama.cpp, f32": Rival(environment="llama-cpp", backend="onnx", exact=False),
    "llama.cpp, q8_0": Rival(environment="llama-cpp", backend="onnx-int8", exact=False),
    "model2vec, static": Rival(environment="model2vec", backend="onnx-int8", comparable=False),
}
KINDS = {"embed": ("bi-encoder", (1, 8, 32), 40), "rerank": ("cross-encoder", (1, 10, 30), 30), "classify": ("classifier", (1, 8, 32), 40)}
"""Task -> its model, the numbers of texts in a call, and about how many texts a candidate has in a turn for each."""
WARMUP, TURNS = 2, 7
EQUAL, LEAST_COSINE = 1e-4, 0.98
WORDS = 100
"""Of a passage: about 130 tokens of English."""
CALIBRATION = 300
"""Passages, which are not timed."""
Calls = dict[str, list[dict[str, Any]]]
"""Texts in a call -> calls, as `embedding_step.py` takes them."""


def name_of(library: str, backend: str) -> str:
    """A candidate's name."""
    return f"{library}, {backend}"


# ---- inputs ----


def sentences(work: Work) -> list[str]:
    """SST-2's dev set; made-up lines in a quick run, or where there is no data."""
    path = None if work.quick or work.data is None else work.data / "glue" / "SST-2" / "dev.tsv"
    found = texts_of(path) if path is not None and path.exists() else models.sentences(1000)
    return list(dict.fromkeys(text.strip() for text in found if text.strip()))


def passages(work: Work, number: int) -> list[str]:
    """Running text of the English corpus, or made-up lines, cut after every 100 words."""
    try:
        paths = models.corpus(work)
    except Skipped:
        paths = [str(models.write_text(work.folder / "made-up.txt", 10_000))]
    words = (word for document in read_documents(paths) for line in document.lines for word in line.split())
    cut = (" ".join(itertools.islice(words, WORDS)) for _ in itertools.count())
    return list(itertools.islice(itertools.takewhile(bool, cut), number))


def num_calls(task: str, quick: bool) -> dict[int, int]:
    """Texts in a call -> calls in a turn."""
    _, sizes, texts = KINDS[task]
    return {size: 1 if quick else max(1, texts // size) for size in sizes}


def calls_of_turn(numbers: Mapping[int, int], turn: int, texts: Sequence[str], queries: Sequence[str] = ()) -> Calls:
    """The calls of a turn, by `num_calls`: vectors of texts or, with `queries`, texts for a query. A turn reads on where the last one ended."""
    out: Calls = {}
    place = turn * sum(size * number for size, number in numbers.items())
    for size, number in numbers.items():
        out[str(size)] = []
        for _ in range(number):
            query = {"query": queries[place % len(queries)]} if queries else {}
            out[str(size)].append({**query, "texts": [texts[(place + index) % len(texts)] for index in range(size)]})
            place += size
    return out


def inputs(work: Work, task: str, turns: int) -> tuple[list[str], Path, list[Calls]]:
    """Passages that are not timed, for calibration; the same as a file for `electra build`, of pairs where the task has them; the calls of turns."""
    held, numbers = 8 if work.quick else CALIBRATION, num_calls(task, work.quick)
    num_texts = turns * sum(size * number for size, number in numbers.items())
    found, queries = passages(work, held + (num_texts if task == "rerank" else 0)), sentences(work)
    rows = [f"{queries[index % len(queries)]}\t{text}" if task == "rerank" else text for index, text in enumerate(found[:held])]
    path = work.folder / f"{task}-calibration.txt"
    atomic.write_text(path, "\n".join(rows) + "\n")
    texts = (found[held:], queries) if task == "rerank" else (queries, [])
    return found[:held], path, [calls_of_turn(numbers, turn, *texts) for turn in range(turns)]


# ---- candidates ----


def instructions() -> str:
    """Which dynamic quantization of optimum, by the name that both libraries use, is for this processor."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "arm64"
    known = set(machine.instruction_set())
    return "avx512_vnni" if {"avx512", "vnni"} <= known else "avx512" if "avx512" in known else "avx2"


def interpreter(work: Work, library: str, backend: str) -> tuple[str, str]:
    """Of a candidate -> (its interpreter, '') or ('', why there is none)."""
    if rival := RIVALS.get(name_of(library, backend)):
        return work.interpreters.get(rival.environment, ""), work.problem(rival.environment)
    if library in (OURS, SERVED):
        return sys.executable, ""
    which = "peers" if backend == TORCH else "optimum" if backend.startswith("onnx") else "openvino"
    return work.interpreters.get(which, ""), work.problem(which)


def our_sources(work: Work, task: str, calibration: Path, failed: dict[str, str]) -> dict[str, str]:
    """Candidate -> the checkpoint or artifact that it opens. Who has none is in `failed`."""
    kind, out = KINDS[task][0], {}
    model = models.encoder_model(work, kind)
    if (target := models.target_of(model)) is not None:
        return {name_of(library, target): str(model) for library in (OURS, SERVED)}
    for backend in BACKENDS:
        names = [name_of(library, backend) for library in (OURS, SERVED) if not work.quick or backend in QUICK[library]]
        if not names:
            continue
        try:
            place = model if backend == TORCH else models.artifact(work, backend, kind, calibration)
        except RuntimeError as error:
            failed |= dict.fromkeys(names, str(error))
        else:
            out |= dict.fromkeys(names, str(place))
    return out


def peer_sources(work: Work, task: str, calibration: Sequence[str], failed: dict[str, str]) -> dict[str, str]:
    """Candidate -> the folder that it opens, exported by its own library. Who has none is in `failed`."""
    model, out = models.encoder_model(work, KINDS[task][0]), {}
    for backend in BACKENDS:
        name, (python, why) = name_of(PEERS[task], backend), interpreter(work, PEERS[task], backend)
        if not python:
            failed[name] = why
            continue
        folder = model if backend == TORCH else work.folder / f"{task}-{backend.partition('-')[0]}"
        request = {"task": task, "source": str(model), "output": str(folder), "backend": backend, "instructions": instructions()}
        try:
            if backend != TORCH:
                with Candidate(python, "embedding_step.py", environment=peer_environment(work.threads)) as candidate:
                    candidate.ask("export", **request, texts=calibration)
            out[name] = str(folder)
        except Failed as error:
            failed[name] = str(error)
    return out


def rival_sources(work: Work, task: str, failed: dict[str, str]) -> dict[str, str]:
    """Engine of others -> what it opens, made of the model's folder by its own converter. Who has none is in `failed`."""
    model, out = models.encoder_model(work, KINDS[task][0]), {}
    for name, rival in RIVALS.items():
        if task not in rival.tasks or (work.quick and name.endswith("compiled")):  # compiling takes minutes
            continue
        python, why = interpreter(work, *name.rsplit(", ", 1))
        if not python:
            failed[name] = why
            continue
        output = work.folder / f"{task}-{name.replace(', ', '-').replace(' ', '-')}"
        if name.startswith("tract"):
            output = work.folder / f"{task}-onnx" / ONNX_FILE
            if not output.exists():
                failed[name] = f"{PEERS[task]} has exported no ONNX file"
                continue
        try:
            with Candidate(python, "embedding_step.py", environment=peer_environment(work.threads)) as candidate:
                candidate.ask("export rival", name=name, source=str(model), output=str(output))
            out[name] = str(output)
        except Failed as error:
            failed[name] = str(error)
    return out


def open_all(work: Work, task: str, places: Mapping[str, str], stack: ExitStack, failed: dict[str, str]) -> dict[str, tuple[Candidate, Any]]:
    """Candidate -> its process and the versions there, all opened at once. Who does not open is in `failed`."""
    # POST /rerank gives the sigmoid, or on request the logit; the others what the model's files say.
    raw = task == "rerank" and electra.load(places[name_of(OURS, TORCH)], device="cpu").reranker().head.transform == "none"
    sent: dict[str, Candidate] = {}
    for name, place in places.items():
        library, _, backend = name.rpartition(", ")
        values = environment(work.threads) if library in (OURS, SERVED) else peer_environment(work.threads)
        request = {
            "name": name,
            "rival": name in RIVALS,
            "model": str(models.encoder_model(work, KINDS[task][0])),
            "library": library,
            "backend": backend,
            "source": place,
            "threads": work.threads,
            "raw_scores": raw,
            "instructions": instructions(),
        }
        try:
            sent[name] = stack.enter_context(Candidate(interpreter(work, library, backend)[0], "embedding_step.py", environment=values))
            sent[name].send("open", task=task, **request)
        except Failed as error:
            failed[name] = str(error)
    out = {}
    for name, candidate in sent.items():
        try:
            out[name] = (candidate, candidate.receive())
        except Failed as error:
            failed[name] = str(error)
    return out


# ---- are the answers the same? ----


def agreement(task: str, ours: Sequence[Any], theirs: Sequence[Any]) -> dict[str, float]:
    """Answers to the same calls -> {'difference': the largest of two numbers, 'cosine': the least of two vectors, or that of all scores}.

    Raises:
        Failed: other shapes, or numbers that are not finite.
    """
    if [np.shape(rows) for rows in ours] != [np.shape(rows) for rows in theirs]:
        raise Failed("its answers have another shape than ours")
    # Vectors are rows; scores are one row, of all calls.
    a, b = (np.concatenate([np.asarray(rows, dtype=np.float64) for rows in side]) for side in (ours, theirs))
    a, b = (np.atleast_2d(side) for side in (a, b))
    if not np.isfinite(b).all():
        raise Failed("its answers have numbers that are not finite")
    difference = float(np.abs(a - b).max())
    if task == "rerank":
        a, b = (rows - rows.mean(axis=1, keepdims=True) for rows in (a, b))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(axis=1) / np.where(lengths > 0, lengths, 1.0)
    return {"difference": difference, "cosine": float(cosines.min())}


def check(name: str, found: Mapping[str, float]) -> None:
    """Refuse a candidate whose answers are not ours.

    Raises:
        Failed: with the figures.
    """
    rival = RIVALS.get(name)
    if name.endswith("int8") or (rival is not None and not rival.exact):
        if not found["cosine"] > LEAST_COSINE:
            raise Failed(f"not timed: its answers differ from ours, cosine {found['cosine']:.4f}, expected above {LEAST_COSINE}")
    elif not (found["difference"] <= EQUAL and found["cosine"] >= 1 - EQUAL):
        raise Failed(
            f"not timed: its answers differ from ours by {found['difference']:.1e} (cosine {found['cosine']:.6f}), expected at most {EQUAL:g}"
        )


def compare(
    task: str, reference: str, live: Mapping[str, tuple[Candidate, Any]], calls: list[dict[str, Any]], failed: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """Open candidates -> their versions and the agreement of their answers with those of `reference`. Who differs is in `failed`.

    Raises:
        RuntimeError: the reference does not answer.
    """
    out: dict[str, dict[str, Any]] = {}
    try:
        wanted = live[reference][0].ask("answer", calls=calls)
    except (KeyError, Failed) as error:
        raise RuntimeError(f"{reference}: {failed.get(reference, error)}") from None
    for name, (candidate, versions) in live.items():
        out[name] = {"versions": versions}
        try:
            answers = candidate.ask("answer", calls=calls)
            if name not in RIVALS or RIVALS[name].comparable:
                out[name]["agreement"] = agreement(task, wanted, answers)
                check(name, out[name]["agreement"])
        except Failed as error:
            failed[name] = str(error)
    return out


def similarity(work: Work, live: Mapping[str, Candidate], failed: dict[str, str]) -> dict[str, float]:
    """Candidates -> Spearman correlation on STS-B's dev set; none without real weights or without the data."""
    path = work.data / "glue" / "STS-B" / "dev.tsv" if work.data is not None else None
    if not work.options.get("bi_encoder") or path is None or not path.exists():
        return {}
    with path.open(encoding="utf-8") as stream:
        rows = [(row["sentence1"], row["sentence2"], float(row["score"])) for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)]
    texts = [text for row in rows for text in row[:2]]
    calls, out = [{"texts": texts[start : start + 32]} for start in range(0, len(texts), 32)], {}
    for name, candidate in live.items():
        if name in failed:
            continue
        try:
            vectors = np.concatenate([np.asarray(found) for found in candidate.ask("answer", calls=calls)])
        except Failed as error:
            failed[name] = str(error)
            continue
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        out[name] = float(spearmanr((vectors[::2] * vectors[1::2]).sum(1), [score for _, _, score in rows]).statistic)
    return out


# ---- the section ----


def take_turns(
    live: Mapping[str, Candidate], turns: Sequence[Calls], warmup: int, failed: dict[str, str], say: Callable[[int], None]
) -> dict[str, dict[str, Any]]:
    """Open candidates -> each one's turns (texts in a call -> seconds of every call) and memory. Who fails is in `failed`."""
    out: dict[str, dict[str, Any]] = {name: {"turns": []} for name in live}
    for number, calls in enumerate(turns):
        # The first of a turn meets caches that the last one left: everyone is first in turn.
        order = [name for name in live if name not in failed]
        shift = number % max(1, len(order))
        for name in order[shift:] + order[:shift]:
            try:
                seconds = {size: live[name].ask("time", calls=group) for size, group in calls.items()}
                if number == len(turns) - 1:
                    out[name]["peak_memory_bytes"] = live[name].ask("memory")
            except Failed as error:
                failed[name] = str(error)
                continue
            if number >= warmup:
                out[name]["turns"].append(seconds)
        say(number + 1)
    return out


def compete(work: Work, task: str, warmup: int, turns: int, say: Callable[[float, str], None]) -> dict[str, Any]:
    """One task -> the model and the texts, and of each candidate its turns, agreement, versions and memory, or why it has none."""
    kind, _, _ = KINDS[task]
    model, failed = models.encoder_model(work, kind), {}
    held_out, calibration, calls = inputs(work, task, warmup + turns)
    say(0.0, f"{task}: building artifacts")
    places = our_sources(work, task, calibration, failed)
    target = models.target_of(model)
    if target is None:  # nobody else opens an artifact
        say(0.15, f"{task}: exporting with {PEERS[task]}")
        places |= peer_sources(work, task, held_out, failed)
        places |= rival_sources(work, task, failed)
    say(0.3, f"{task}: opening {len(places)} models")
    with ExitStack() as stack:
        live = open_all(work, task, places, stack, failed)
        first = [call for group in calls[0].values() for call in group]
        found = compare(task, name_of(OURS, target or TORCH), live, first, failed)
        equal = {name: candidate for name, (candidate, _) in live.items() if name not in failed}

        def done(turn: int) -> None:
            say(0.3 + 0.7 * turn / len(calls), f"{task}: turn {turn} of {len(calls)}")

        timed = take_turns(equal, calls, warmup, failed, done)
        scores = similarity(work, equal, failed) if task == "embed" else {}
    names = dict.fromkeys([*(name_of(library, backend) for library in (OURS, SERVED, PEERS[task]) for backend in BACKENDS), *RIVALS, *places])
    candidates = {name: found.get(name, {}) | timed.get(name, {}) for name in names if name in found or name in failed}
    for name, why in failed.items():
        candidates[name]["error"] = why
    for name, score in scores.items():
        candidates[name]["sts_b_spearman"] = score
    return {"model": describe(work, model, kind), "tokens": tokens_of(model, first), "candidates": candidates, "summary": summarize(candidates)}


def tokens_of(model: Path, calls: Sequence[dict[str, Any]]) -> float:
    """The median of an input's tokens, special ones included."""
    encode = load_tokenizer(model).encode
    pairs = ((call.get("query"), text) for call in calls for text in call["texts"])
    return statistics.median(len(encode([text])[0]) + (2 if query is None else 3 + len(encode([query])[0])) for query, text in pairs)


def describe(work: Work, model: Path, kind: str) -> str:
    """A model in a few words."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    name = f"{model.parent.name}/{model.name}" if model.name in ("best", "final") else model.name
    name = name if models.given(work, kind) else "random weights"
    return f"{name}, {config['num_hidden_layers']} layers of {config['hidden_size']}"


def summarize(candidates: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Candidates -> name -> texts in a call -> latency in ms, texts per second, and the ratios of a turn."""
    timed = {name: found["turns"] for name, found in candidates.items() if "error" not in found}
    seconds = {name: {size: [statistics.median(turn[size]) for turn in turns] for size in turns[0]} for name, turns in timed.items()}
    summary: dict[str, Any] = {}
    usual = next((name for peer in PEERS.values() if (name := name_of(peer, TORCH)) in seconds), None)
    for name, sizes in seconds.items():
        library, _, backend = name.rpartition(", ")
        summary[name] = {}
        for size, values in sizes.items():
            row = summary[name][size] = {"latency_ms": middle(1000 * value for value in values)}
            row["texts_per_second"] = middle(len(turn[size]) * int(size) / sum(turn[size]) for turn in timed[name])
            if library != OURS and (mine := seconds.get(name_of(OURS, RIVALS[name].backend if name in RIVALS else backend))):
                row["electra_is_faster_by"] = middle(slow / fast for slow, fast in zip(values, mine[size], strict=True))
            if usual and name != usual:
                row["over_pytorch"] = middle(slow / fast for slow, fast in zip(seconds[usual][size], values, strict=True))
    return summary


def parts(work: Work) -> dict[str, Work]:
    """The tasks to measure -> the work of each; 'classify' once per --model, as 'classify', 'classify 2', ..., with its own scratch folder."""
    out = {task: work for task in KINDS if task in (work.options.get("tasks") or KINDS)}
    for number, model in enumerate(work.options.get("model") or (), 1):
        if "classify" in out and number > 1:
            folder = work.folder / f"model-{number}"
            folder.mkdir(exist_ok=True)
            out[f"classify {number}"] = replace(work, folder=folder, options={**work.options, "model": [model]})
    return out


def measure(work: Work) -> dict[str, Any]:
    """Each task."""
    warmup, turns = (1, 2) if work.quick else (WARMUP, work.options.get("repeats") or TURNS)
    chosen = parts(work)
    for name, part in chosen.items():
        models.encoder_model(part, KINDS[name.split()[0]][0])  # before anything is measured: one of them may be missing
    tasks = {}
    for index, (name, part) in enumerate(chosen.items()):

        def say(fraction: float, text: str, index: int = index) -> None:
            work.progress((index + fraction) / len(chosen), text)

        tasks[name] = compete(part, name.split()[0], warmup, turns, say)
    return {"turns": turns, "threads": work.threads, "instructions": instructions(), "tasks": tasks}


def lines(result: dict[str, Any]) -> list[str]:
    """The section's tables: speed, then agreement and memory, for each task."""
    out = [f"Medians of {result['turns']} turns (least..most), {result['threads']} threads; tokenization included, over HTTP that of JSON too."]
    out[0] += f" int8 of the libraries in ONNX Runtime: their dynamic quantization for {result['instructions']}."
    titles = {"embed": "Vectors (`/embed`)", "rerank": "Passages of a query (`/rerank`)", "classify": "Classes (`/predict`)"}
    for part, found in result["tasks"].items():
        task, _, number = part.partition(" ")
        out += ["", f"### {titles[task]}" + (f", model {number}" if number else ""), ""]
        out += [f"Model: {found['model']}; {found['tokens']:.0f} tokens an input (median).", ""]
        rows = []
        for name, sizes in found["summary"].items():
            for size, row in sizes.items():
                cells = (spread(row["latency_ms"], "{:.2f}"), spread(row["texts_per_second"], "{:,.0f}"))
                rows.append([name, size, *cells, spread(row.get("electra_is_faster_by")), spread(row.get("over_pytorch"))])
        header = (
            "candidate",
            "texts in a call",
            "ms",
            "texts/s",
            "electra, same backend, is faster by",
            f"faster than {name_of(PEERS[task], TORCH)} by",
        )
        out += [*table(header, rows), ""]
        rows = []
        for name, candidate in found["candidates"].items():
            equal = candidate.get("agreement")
            cells = (f"{equal['difference']:.1e}", f"{equal['cosine']:.5f}") if equal else ("-", "-")
            cells += (f"{100 * candidate['sts_b_spearman']:.2f}",) if "sts_b_spearman" in candidate else ("-",)
            memory = f"{candidate['peak_memory_bytes'] / 1e6:,.0f} MB" if candidate.get("peak_memory_bytes") else "-"
            rows.append([name, *cells, f"not run: {candidate['error']}" if "error" in candidate else memory])
        out += table(("candidate", f"largest difference from {name_of(OURS, TORCH)}", "least cosine", "STS-B dev", "peak memory"), rows)
    return out


def targets(result: dict[str, Any]) -> list[Target]:
    """None: the project has set no goal here."""
    return []
