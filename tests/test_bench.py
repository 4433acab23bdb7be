"""The bench: what it counts and concludes, that it resumes, and that it runs. Never how fast anything is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from electra import bundled
from electra import environment as machine
from electra.benchmark.worker import Answered, Worker
from electra.contracts import Head

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


def bench(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """`python bench/run.py ...`"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, str(BENCH / "run.py"), *map(str, words)], capture_output=True, text=True, env=environment)


# ---- candidates ----

SCRIPT = """
import sys
sys.path.insert(0, {bench!r})
import turns

def answer(request):
    print("a library talks")
    if request["kind"] == "raise":
        raise ValueError("no such\\nkernel")
    if request["kind"] == "die":
        print("out of luck", file=sys.stderr)
        sys.stderr.flush()
        import os
        os._exit(3)
    return request["number"] + 1

turns.serve(answer)
"""


def test_a_candidate_answers_fails_and_ends(tmp_path: Path) -> None:
    import turns

    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(bench=str(BENCH)))
    with turns.Candidate(sys.executable, str(script)) as candidate:
        assert candidate.ask("count", number=1) == 2
        with pytest.raises(turns.Failed, match="ValueError: no such kernel"):
            candidate.ask("raise")
        assert candidate.ask("count", number=2) == 3
        with pytest.raises(turns.Failed, match=r"exit code 3 \(die\): out of luck"):
            candidate.ask("die")
    with pytest.raises(turns.Failed, match="cannot start"):
        turns.Candidate(str(tmp_path / "no-python"), "turns.py")


class Told:
    """A candidate that answers with what its process finds in its environment."""

    head, max_length = Head(kind="classification", labels=("a",)), 8

    def __init__(self, threads: int) -> None:
        self.head = Head(kind="classification", labels=(os.environ.get("BENCH_SIDE", "ours"),))

    def predict(self, examples: Any, batch_size: int, padded_length: int = 0) -> list[Any]:
        return []

    def examine(self, examples: Any, batch_size: int) -> Answered:
        return Answered(predictions=[])


def test_a_candidate_runs_under_another_interpreter(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nBENCH_SIDE=theirs exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    before = sys.path.copy()
    for given, expected in (("", "ours"), (str(python), "theirs"), ("", "ours")):
        worker = Worker(Told, (), machine.choose_cores(1), python=given)
        head, _, _ = worker.ask("open")
        worker.close()
        assert head.labels == (expected,)
    assert sys.path == before


# ---- what is counted ----


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_steps_products_are_those_that_torch_counts(precision: str) -> None:
    """FLOPs of a profiled step against torch's counter; products with `out=` and in place are among them, each in its precision."""
    import torch
    import training_step
    from torch.utils.flop_counter import FlopCounterMode

    dtype = getattr(torch, precision)
    a, b, out, add = (torch.randn(*sizes, dtype=dtype) for sizes in ((8, 16), (16, 4), (8, 4), (8, 4)))
    left, right = torch.randn(3, 8, 16, dtype=dtype), torch.randn(3, 16, 4, dtype=dtype)

    def step(rows: list[list[int]]) -> float:
        torch.mm(a, b)
        torch.mm(a, b, out=out)
        torch.addmm(add, a, b)
        torch.addmm(add, a, b, out=out)
        add.addmm_(a, b)
        torch.nn.functional.linear(a, b.T.contiguous(), torch.zeros(4, dtype=dtype))
        torch.bmm(left, right)
        torch.baddbmm(torch.zeros(3, 8, 4, dtype=dtype), left, right)
        return 0.0

    with FlopCounterMode(display=False) as counter:
        step([])
    found, products = training_step.profile(step, iter([[[1, 2]], [[3]]]), 2)
    limit = training_step.time_products(products)
    in_place = 2 * 8 * 16 * 4  # which torch's counter does not know
    assert limit["flops"] == pytest.approx(counter.get_total_flops() + in_place)
    assert limit["seconds"] > 0 and found["tokens"] == 1.5
    assert {product.half for product in products} == {precision == "bfloat16"}


@pytest.mark.parametrize(
    "name", ["plain, eager", "plain, SDPA", "improved", "improved, bf16", pytest.param("plain, compiled", marks=pytest.mark.slow)]
)
def test_peers_networks_share_embeddings_and_take_real_steps(name: str) -> None:
    import torch
    import training_step

    sizes = {"hidden_size": 32, "embedding_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    shape = Namespace(**sizes, vocab_size=100, batch_size=8, length=16, short=0.0, dropout=0.0, generator_size=0.5)
    generator, discriminator = training_step.peer_networks(shape, "sdpa")
    assert generator.electra.embeddings is discriminator.electra.embeddings
    assert generator.generator_lm_head.weight is discriminator.electra.embeddings.word_embeddings.weight
    step, rows = training_step.build(name, shape), next(training_step.batches(shape))
    assert all(len(row) == 16 and row[0] == training_step.CLS and row[-1] == training_step.SEP for row in rows)
    losses = [step(rows) for _ in range(30)]
    assert losses[-1] < losses[0] - 0.3, losses
    assert torch.get_float32_matmul_precision() == "highest"


def test_ratios_are_of_one_turn_each_and_within_a_group() -> None:
    import throughput

    def found(*seconds: float, memory: int) -> dict[str, Any]:
        limit = {"seconds": 0.5, "flops": 1e9}
        return {"turns": [{"seconds": value, "tokens": 100, "limit": limit} for value in seconds], "peak_memory_bytes": memory}

    ours = found(1.0, 2.0, 1.0, memory=60) | {"profile": {"tokens": 100.0}}
    again = found(10.0, 10.0, 10.0, memory=60) | {"profile": {"tokens": 50.0}}
    groups = [{"electra": ours, "plain, eager": found(3.0, 3.0, 4.0, memory=100)}, {"electra": again, "improved": {"turns": [], "error": "why"}}]
    halves = {"electra, bf16": found(0.5, 1.0, 1.0, memory=40) | {"profile": {"tokens": 150.0}}, "improved, bf16": found(1.0, 4.0, 3.0, memory=80)}
    groups.append({"electra": ours} | halves)
    out = throughput.summarize(groups)
    assert out["electra, bf16"]["faster_than_fp32"] == {"median": 2.0, "least": 1.0, "most": 2.0}
    assert out["improved, bf16"]["electra_is_faster_by"] == {"median": 3.0, "least": 2.0, "most": 4.0}
    assert out["improved, bf16"]["memory_ratio"] == 0.5
    assert out["plain, eager"]["electra_is_faster_by"] == {"median": 3.0, "least": 1.5, "most": 4.0}
    assert out["plain, eager"]["memory_ratio"] == 0.6 and out["improved"] == {"error": "why"}
    assert out["electra"]["share_of_limit"] == {"median": 0.5, "least": 0.25, "most": 0.5}
    run = {"preset": "small", "dropout": 0.0, "shape": {"batch_size": 32, "length": 128}, "summary": out}
    result = {"steps": 3, "threads": 1, "runs": [run]}
    verdicts = {target.asked: target.verdict for target in throughput.targets(result)}
    assert verdicts == {">= 2.5x": "met", "<= 60%": "met", ">= 65%": "**missed**", ">= 70%": "**missed**"}
    assert "| electra, bf16 | 100 (100..200) | 2.00x (1.00..2.00) than fp32 | 33% (33%..67%) |" in "\n".join(throughput.lines(result))
    del out["electra, bf16"]["share_of_limit"]  # of an earlier record
    assert [target.verdict for target in throughput.targets(result)][-1] == "not measured"
    assert "| small, 32 x 128, dropout 0.0 | improved | not run: why | - | - | - | - |" in throughput.lines(result)
    assert throughput.cut_groups(("a", "b", "c"), 3) == [["electra", "a", "b"], ["electra", "c"]] and throughput.cut_groups((), 5) == [["electra"]]
    halves = ("electra, bf16", "improved, bf16")
    assert throughput.cut_groups(("a", *halves), 3) == [["electra", "a"], ["electra", *halves]]
    assert throughput.cut_groups(("a", *halves), 5) == [["electra", "a", *halves]]


def test_base_and_tiny_have_their_presets_shapes() -> None:
    import throughput

    base = throughput.shape_of("base", 0.1, {"length": None})
    assert (base["hidden_size"], base["num_hidden_layers"], base["batch_size"], base["length"]) == (768, 12, throughput.BASE_BATCH, 128)
    assert throughput.shape_of("tiny", 0.1, {"batch_size": 4})["hidden_size"] == 312


def test_both_tokenizers_digests_agree_and_know_lines(tmp_path: Path, tiny_vocab: Path, tiny_corpus: Path) -> None:
    import prepare

    pythons = {"tokenizers": sys.executable, "nanotoken": sys.executable, "tokie": str(tmp_path / "no-python")}
    found = prepare.compare([str(tiny_corpus)], tiny_vocab, tmp_path, machine.allowed_cores()[:1], pythons, 0.0, 2, lambda size, text: None)
    assert found["documents"] == 60 and found["reference"] == "tokenizers"
    assert found["documents_different"] == {"electra": 0, "electra, without nanotoken": 0, "nanotoken": 0}
    assert "cannot start" in found["failed"]["tokie"] and set(found["times"]["warm"]) == {"electra", "tokenizers", *found["documents_different"]}
    assert {kind: len(sides["electra"]) for kind, sides in found["times"].items()} == {"cold": 2, "carried": 1, "warm": 2}
    from encoding_step import build, digest

    documents = [["the chef", "cooked"], ["the", "chef cooked"], ["the chef", "ate"]]
    digests = []
    for engine, tokenizer in (("electra", tiny_vocab), ("tokenizers", tmp_path / "tokenizer.json"), ("nanotoken", tmp_path / "tokenizer.json")):
        encode, split = build({"engine": engine, "tokenizer": str(tokenizer), "typecode": "H", "threads": 1})
        digests.append([digest(document) for document in split(documents, encode(documents))])
    assert digests[0] == digests[1] == digests[2] and len(set(digests[0])) == 3


def test_a_tokenizer_with_other_ids_is_reported_and_not_timed(
    tmp_path: Path, tiny_vocab: Path, tiny_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import prepare

    encode = prepare.Side.encode

    def other(self: Any, path: Path) -> Any:
        seconds, digests = encode(self, path)
        return seconds, [*digests[:-1], "other" if self.name == "nanotoken" else digests[-1]]

    monkeypatch.setattr(prepare.Side, "encode", other)
    cores, pythons = machine.allowed_cores()[:1], dict.fromkeys(("tokenizers", "nanotoken"), sys.executable)
    found = prepare.compare([str(tiny_corpus)], tiny_vocab, tmp_path, cores, pythons, 0.0, 2, lambda size, text: None)
    assert found["documents_different"]["nanotoken"] == 1 and "nanotoken" not in found["times"]["warm"]
    assert found["failed"] == {"nanotoken": "not timed: the ids of 1 of 60 documents differ from those of tokenizers"}
    assert "nanotoken" not in prepare.summarize(found)["carried"]


def test_a_token_that_costs_more_is_seen() -> None:
    import scaling

    speeds = {"10 MB": {"median": 100.0}, "100 MB": {"median": 80.0}, "1000 MB": {"median": 125.0}, "1 shards": {"median": 50.0}}
    assert scaling.rises(speeds, "MB") == pytest.approx(25.0) and scaling.rises(speeds, "shards") is None


STEPS = """
import sys
sys.path.insert(0, {bench!r})
import turns

def answer(request):
    if request["kind"] == "refuse":
        raise ValueError("too long")
    return {{"memory": 5, "step": {{"seconds": 2.0, "tokens": 10}}, "time": [3.0, 1.0, 2.0]}}.get(request["kind"])

turns.serve(answer)
"""


def test_lengths_take_turns_and_a_refusal_is_a_row(tmp_path: Path) -> None:
    import length

    script = tmp_path / "script.py"
    script.write_text(STEPS.format(bench=str(BENCH)))
    opened = {"kind": "open"}
    jobs = {16: length.Job(str(script), opened, {"kind": "step"}), 32: length.Job(str(script), opened, {"kind": "time"})}
    jobs[64] = length.Job(str(script), {"kind": "refuse"}, {"kind": "step"})
    found = length.run_turns(jobs, 1, 2, 1, lambda turn: None)
    assert found["16"] == {"turns": [{"seconds": 2.0, "tokens": 10}] * 2, "peak_memory_bytes": 5}
    assert found["32"]["turns"] == [{"seconds": 2.0, "tokens": 32, "calls": [3.0, 1.0, 2.0]}] * 2
    assert found["64"]["turns"] == [] and found["64"]["error"].endswith("ValueError: too long")
    summary = length.summarize([found, {"16": found["16"], "128": found["32"] | {"peak_memory_bytes": 7}}])
    assert summary["16"]["cost"]["median"] == 1.0 and summary["32"]["cost"]["median"] == 10 / 32 and summary["128"]["peak_memory_bytes"] == 7
    assert summary["64"] == {"error": found["64"]["error"]}
    result = {"turns": 2, "threads": 1, "tokens": 64, "dropout": 0.1, "lengths": [16, 64]}
    result["summary"] = dict.fromkeys((*length.TRAINED, *length.ANSWERED), summary)
    text = "\n".join(length.lines(result))
    assert "| 16 | 5 (5..5) | 1.00x (1.00..1.00) | 0.00 GB |" in text and "script.py, refuse: ValueError: too long | - | - |" in text
    assert {target.verdict for target in length.targets(result)} == {"not measured"}
    result["summary"] = {"onnx": {"512": {"cost": {"median": 1.6}}}}
    assert [(target.shown, target.verdict) for target in length.targets(result)] == [("1.60x", "**missed**")]
    assert length.cut_groups((1, 2, 3, 4), 3) == [[1, 2, 3], [1, 4]]


def test_texts_of_a_length_have_that_length_and_batches_their_tokens(tiny_vocab: Path) -> None:
    import length
    from section import Work

    from electra.data.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(tiny_vocab)
    assert all(len(tokenizer.encode([text])[0]) == 38 for text in length.texts_of_length(tiny_vocab, 40, 3))
    work = Work(quick=False, data=None, folder=tiny_vocab.parent, interpreters={}, threads=1, options={})
    shapes = {each: job.opening["shape"] for each, job in length.training_jobs(work, "bf16", length.LENGTHS).items()}
    assert {shape["batch_size"] * shape["length"] for shape in shapes.values()} == {length.TOKENS} and shapes[4096]["batch_size"] == 1
    jobs, refused = length.answering_jobs(work, bundled.folder("shipped:sentiment"), (64, 1024))
    assert list(jobs) == [64] and len(jobs[64].turn["calls"]) == length.LEAST_CALLS * 1024 // 64
    assert refused == {"1024": {"error": "it reads at most 128 tokens at once"}}


def test_the_time_of_matmuls_is_within_that_of_all_operators() -> None:
    import deployment
    import embedding_step

    onnxruntime = pytest.importorskip("onnxruntime")
    options, texts = onnxruntime.SessionOptions, ["a fine film", "the river", "a long , slow and sad story"]
    found = embedding_step.operator_times(str(bundled.folder("shipped:sentiment")), 1, texts)
    assert onnxruntime.SessionOptions is options and len(found["latency_ms"]) == len(found["matmul_ms"]) == 3
    matmuls = sum(ms for name, ms in found["operators"].items() if name in embedding_step.MATMULS)
    assert sum(found["matmul_ms"]) / 3 == pytest.approx(matmuls) and 0 < matmuls < sum(found["operators"].values())
    assert {"DynamicQuantizeMatMul", "QAttention"} <= set(found["operators"]) & embedding_step.MATMULS
    middle = {"median": 2.0, "least": 1.0, "most": 3.0}
    profile = found | {"latency": middle, "matmul": middle, "ratio": middle, "operators": {"QAttention": 3.0, "Cast": 1.0}}
    result = {"comparison": {"markdown": "", "comparisons": {}}, "failed": {}, "over_matmuls": profile}
    assert "| QAttention | 3.00 | 75% |" in deployment.lines(result) and deployment.targets(result)[-1].verdict == "**missed**"
    del result["over_matmuls"]
    assert deployment.targets(result)[-1].verdict == "not measured" and deployment.lines(result) == [""]


def test_several_classifiers_are_measured_and_an_artifact_as_it_is(tmp_path: Path) -> None:
    import embedding
    import models
    from section import Work

    chosen = [str(tmp_path), "shipped:sentiment", "random"]
    work = Work(quick=True, data=None, folder=tmp_path, interpreters={}, threads=1, options={"model": chosen, "tasks": ["embed", "classify"]})
    parts = embedding.parts(work)
    assert list(parts) == ["embed", "classify", "classify 2", "classify 3"] and len({part.folder for part in parts.values()}) == 3
    given = [models.given(parts[name], "classifier") for name in list(parts)[1:]]
    assert given == [tmp_path, bundled.folder("shipped:sentiment"), None] and models.given(work, "bi-encoder") is None
    assert models.target_of(given[1]) == "onnx-int8" and models.target_of(tmp_path) is None
    failed: dict[str, str] = {}
    sources = embedding.our_sources(parts["classify 2"], "classify", tmp_path / "none", failed)
    assert sources == dict.fromkeys(("electra, onnx-int8", "electra serve, onnx-int8"), str(given[1])) and not failed
    alone = Work(quick=True, data=None, folder=tmp_path, interpreters={}, threads=1, options={"model": None})
    assert list(embedding.parts(alone)) == ["embed", "rerank", "classify"]


def test_of_a_gpus_runs_the_faster_counts_and_failures_are_reported() -> None:
    import gpu

    def row(preset: str, length: int, speed: float, **more: Any) -> dict[str, Any]:
        known = {"tokens_per_second": {"median": speed, "least": speed, "most": speed}, "mfu": speed / 4e6, "busy": 0.97}
        return {"preset": preset, "length": length, "batch": 8, "compile": False} | known | more

    rows = [row("small", 128, 1.5e6), row("small", 128, 2.5e6, compile=True), row("base", 128, 1.6e6, busy=None)]
    rows.append({"preset": "base", "length": 512, "batch": 8, "compile": True, "error": "out of memory"})
    result = {"peak_flops": 7.9e14, "steps": 400, "rows": rows}
    found = {target.what: (target.shown, target.reached) for target in gpu.targets(result)}
    assert found["GPU, small at 128: real tokens per second"] == ("2.50 M", True)
    assert found["GPU, base at 128: MFU against the measured peak"] == ("40.00%", False)
    assert found["GPU, base at 128: GPU busy"] == found["GPU, base at 512: MFU against the measured peak"] == ("-", None)
    text = "\n".join(gpu.lines(result))
    assert "790 TFLOP/s" in text and "| base, 8 x 512, compiled | failed: out of memory | - | - |" in text and "| 62.5% | 97% |" in text


def test_answers_of_embedding_candidates_are_compared_before_they_are_timed() -> None:
    """Cosines are scikit-learn's; scores are compared without their mean, as their correlation is."""
    import embedding
    import numpy
    from sklearn.metrics.pairwise import cosine_similarity
    from turns import Failed

    rows = numpy.random.default_rng(1).normal(size=(5, 8))
    rows /= numpy.linalg.norm(rows, axis=1, keepdims=True)
    calls = [rows[:2].tolist(), rows[2:].tolist()]
    near = rows + numpy.random.default_rng(2).normal(size=rows.shape) * 0.03
    found = embedding.agreement("embed", calls, [near[:2].tolist(), near[2:].tolist()])
    assert found["cosine"] == pytest.approx(cosine_similarity(rows, near).diagonal().min())
    assert found["difference"] == pytest.approx(numpy.abs(rows - near).max())
    embedding.check("onnx-int8", found)
    with pytest.raises(Failed, match="not timed: its answers differ from ours by"):
        embedding.check("onnx", found)
    embedding.check("onnx", embedding.agreement("embed", calls, [(rows[:2] + 5e-5).tolist(), (rows[2:] - 5e-5).tolist()]))
    with pytest.raises(Failed, match=r"cosine .*, expected above 0\.98"):
        embedding.check("CTranslate2, int8", embedding.agreement("embed", calls, [rows[1::-1].tolist(), rows[2:].tolist()]))
    for other, message in (([rows.tolist()], "another shape"), ([[[float("nan")] * 8] * 2, calls[1]], "not finite")):
        with pytest.raises(Failed, match=message):
            embedding.agreement("embed", calls, other)
    scores, swapped = [[0.5], [0.52, 0.49, 0.51]], [[0.5], [0.51, 0.52, 0.49]]
    found = embedding.agreement("rerank", scores, swapped)
    assert found["cosine"] == pytest.approx(numpy.corrcoef(numpy.concatenate(scores), numpy.concatenate(swapped))[0, 1])
    with pytest.raises(Failed, match="not timed"):
        embedding.check("onnx-int8", found)


def test_ratios_of_embedding_candidates_are_of_the_same_backend_and_turn() -> None:
    import embedding

    def found(*turns: float) -> dict[str, Any]:
        return {
            "turns": [{"8": [seconds, seconds, 9.0]} for seconds in turns],
            "agreement": {"difference": 0.0, "cosine": 1.0},
            "peak_memory_bytes": 5e8,
        }

    candidates = {
        "electra, PyTorch": found(1.0, 2.0, 2.0),
        "electra, onnx-int8": found(0.5, 0.5, 0.25),
        "electra serve, onnx-int8": found(1.0, 1.0, 1.0),
    }
    candidates |= {"sentence-transformers, PyTorch": found(3.0, 2.0, 4.0), "sentence-transformers, onnx-int8": {"error": "why"}}
    candidates["electra, PyTorch"]["sts_b_spearman"] = 0.815
    candidates["llama.cpp, q8_0"] = found(1.0, 2.0, 1.0)
    out = embedding.summarize(candidates)
    assert out["llama.cpp, q8_0"]["8"]["electra_is_faster_by"] == {"median": 4.0, "least": 2.0, "most": 4.0}
    assert out["sentence-transformers, PyTorch"]["8"]["electra_is_faster_by"] == {"median": 2.0, "least": 1.0, "most": 3.0}
    assert out["electra, onnx-int8"]["8"]["over_pytorch"] == {"median": 6.0, "least": 4.0, "most": 16.0}
    assert out["electra serve, onnx-int8"]["8"]["electra_is_faster_by"] == {"median": 2.0, "least": 2.0, "most": 4.0}
    assert out["electra, PyTorch"]["8"]["latency_ms"]["median"] == 2000 and out["electra, PyTorch"]["8"]["texts_per_second"]["most"] == 24 / 11
    assert "sentence-transformers, onnx-int8" not in out and "electra_is_faster_by" not in out["electra, PyTorch"]["8"]
    task = {"model": "random weights, 2 layers of 32", "tokens": 20.0, "candidates": candidates, "summary": out}
    text = embedding.lines({"turns": 3, "threads": 1, "instructions": "avx2", "tasks": {"embed": task}})
    assert (
        "| sentence-transformers, onnx-int8 | - | - | - | not run: why |" in text
        and "| electra, PyTorch | 0.0e+00 | 1.00000 | 81.50 | 500 MB |" in text
    )


def test_turns_of_embedding_read_other_texts() -> None:
    import embedding

    numbers, texts = embedding.num_calls("embed", quick=False), [str(number) for number in range(400)]
    assert numbers == {1: 40, 8: 5, 32: 1} and embedding.num_calls("rerank", quick=True) == {1: 1, 10: 1, 30: 1}
    turns = [embedding.calls_of_turn(numbers, turn, texts) for turn in range(3)]
    read = [text for turn in turns for calls in turn.values() for call in calls for text in call["texts"]]
    assert read == texts[: 3 * (40 + 40 + 32)]
    (call,) = embedding.calls_of_turn({30: 1}, 0, texts[:20], ["a query"])["30"]
    assert call == {"query": "a query", "texts": texts[:20] + texts[:10]}


def test_a_text_is_cut_between_documents(tmp_path: Path, tiny_corpus: Path) -> None:
    import scaling

    paths = scaling.cut(tiny_corpus, 7, tmp_path / "cut")
    assert len(paths) == 7 and "".join(path.read_text() for path in paths) == tiny_corpus.read_text()
    assert all(path.read_text().endswith("\n\n") for path in paths[:-1])


# ---- the command ----


def test_a_section_that_is_done_is_not_repeated(tmp_path: Path) -> None:
    words = ("--quick", "--sections", "machine", "gpu", "--records", tmp_path, "--name", "trial")
    first = bench(*words)
    assert first.returncode == 0, first.stderr
    record = json.loads((tmp_path / "trial.json").read_text())
    assert record["sections"]["machine"]["state"] == "done" and len(record["sections"]["machine"]["result"]["raw"]["memory"]["copy"]) == 5
    assert {"date", "options", "machine", "commit", "peers", "sections"} <= set(record)
    text = (tmp_path / "trial.md").read_text()
    assert "## machine" in text and "memory: triad" in text and "A quick run" in text and "about 1,000 tokens/s of training" in text
    import torch

    if not torch.cuda.is_available():
        assert record["sections"]["gpu"]["state"] == "skipped" and "Not run: no CUDA device." in text
    second = bench(*words)
    assert "bench: machine is done" in second.stderr and "begins" not in second.stderr.split("gpu")[0]
    assert json.loads((tmp_path / "trial.json").read_text())["sections"]["machine"] == record["sections"]["machine"]
    other = bench(*words, "--steps", "3")
    assert "machine] done" in other.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sections", "everything"), "invalid choice: 'everything'"),
        (("--threads", "1000"), "--threads 1000: this machine has"),
        (("--data", "/no/such/folder"), "--data /no/such/folder: no such folder"),
        (("--model", "random", "/no/such/folder"), "--model /no/such/folder: no such folder"),
        (("--model", "shipped:sentimental"), "--model: 'shipped:sentimental': no such model is bundled with electra"),
        (("--bi-encoder", "/no/such/folder"), "--bi-encoder /no/such/folder: no such folder"),
        (("--presets", "smal"), "--presets: unknown preset 'smal'; did you mean 'small'?"),
        (("--steps", "0"), "--steps 0: at least 1"),
        (("--interpreter", "peer=python"), "--interpreter peer=python: expected NAME=PYTHON, NAME one of ctranslate2, "),
        (("--interpreter", "peers"), "--interpreter peers: expected NAME=PYTHON"),
    ],
)
def test_a_wrong_argument_is_reported_before_anything_runs(words: tuple[str, ...], message: str) -> None:
    done = bench(*words)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1]


def test_a_broken_record_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "trial.json").write_text("[]")
    done = bench("--quick", "--sections", "machine", "--records", tmp_path, "--name", "trial")
    assert done.returncode == 1 and "is not a record of this bench" in done.stderr and (tmp_path / "trial.json").read_text() == "[]"


def test_a_converter_is_taken_out_of_the_source_of_its_package(tmp_path: Path) -> None:
    import tarfile

    import environments

    inside = tmp_path / "llama_cpp_python-1" / "vendor" / "llama.cpp"
    for name in ("convert_hf_to_gguf.py", "conversion/bert.py", "ggml/src/ggml.c"):
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
        (inside / name).write_text(name)
    with tarfile.open(tmp_path / "source.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "llama_cpp_python-1", "llama_cpp_python-1")
    environments.extract("llama-cpp", tmp_path / "source.tar.gz", tmp_path / "venv")
    found = {str(path.relative_to(tmp_path / "venv")) for path in (tmp_path / "venv").rglob("*") if path.is_file()}
    assert found == {"llama.cpp/convert_hf_to_gguf.py", "llama.cpp/conversion/bert.py"}


def test_peers_that_cannot_be_installed_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import environments

    pins = BENCH / "pins" / "peers.txt"
    assert {line.split("==")[0]: line for line in pins.read_text().splitlines()}["torch"] == "torch==2.13.0"
    assert environments.find("peers", "none", tmp_path, print) == {"python": "", "problem": "left out by the user"}
    assert "does not start" in environments.find("peers", str(tmp_path / "python"), tmp_path, print)["problem"]
    found = environments.find("peers", sys.executable, tmp_path, print)
    assert found["python"] == sys.executable and found["versions"]["torch"]
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    made = environments.find("peers", None, tmp_path / "venv", lambda text: None)
    assert made["python"] == "" and "venv cannot be made: " in made["problem"]


@pytest.mark.slow
def test_a_quick_run_measures_with_peers(tmp_path: Path) -> None:
    import throughput
    import training_step

    words = (
        "--quick",
        "--sections",
        "machine",
        "pretraining",
        "startup",
        "--dropout",
        "0",
        "--threads",
        "1",
        "--interpreter",
        f"peers={sys.executable}",
    )
    done = bench(*words, "--records", tmp_path, "--name", "trial")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "trial.json").read_text())
    sections = {name: entry["result"] for name, entry in record["sections"].items()}
    (run,) = sections["pretraining"]["runs"]
    candidates = [name for name in training_step.CANDIDATES if not name.endswith(("compiled", "zentorch"))]
    assert list(run["summary"]) == candidates and not any("error" in found for found in run["summary"].values())
    (group,) = run["groups"]
    for name in candidates:
        assert len(group[name]["turns"]) == 2 and all(turn["seconds"] > 0 and turn["tokens"] > 0 for turn in group[name]["turns"])
        # The same batches for all.
        assert [turn["tokens"] for turn in group[name]["turns"]] == [turn["tokens"] for turn in group["electra"]["turns"]]
    for name in throughput.OURS:
        assert all(turn["limit"]["flops"] > 0 for turn in group[name]["turns"]) and group[name]["profile"]["matmul_share"] > 0
    startup = sections["startup"]
    assert not startup["failed"] and all(len(values) == 3 for values in startup["seconds"].values())
    # Both sides answer one sentence of one checkpoint alike.
    assert len(set(startup["answers"].values())) == 1 and len(startup["answers"]) == 3
    assert record["peers"]["peers"]["versions"]["transformers"]
    text = (tmp_path / "trial.md").read_text()
    for what in (
        "## Targets",
        "## machine",
        "## pretraining",
        "## startup",
        "improved, oneDNN products",
        "electra predict, onnx-int8",
        "speed over the faster plain",
    ):
        assert what in text
    assert "## gpu" not in text


def test_without_a_model_and_a_peer_to_make_one_embedding_is_skipped(tmp_path: Path) -> None:
    done = bench("--quick", "--sections", "embedding", "--interpreter", "peers=none", "--records", tmp_path, "--name", "trial")
    assert done.returncode == 0, done.stderr
    assert "Not run: no --bi-encoder, and no transformers to make one: left out by the user." in (tmp_path / "trial.md").read_text()


@pytest.mark.slow
def test_a_quick_run_compares_vectors_scores_and_classes_with_the_usual_libraries(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("onnxruntime")
    done = bench("--quick", "--sections", "embedding", "--interpreter", f"peers={sys.executable}", "--records", tmp_path, "--name", "trial")
    assert done.returncode == 0, done.stderr
    tasks = json.loads((tmp_path / "trial.json").read_text())["sections"]["embedding"]["result"]["tasks"]
    assert list(tasks) == ["embed", "rerank", "classify"]
    for name, task in tasks.items():
        candidates, library = task["candidates"], "transformers" if name == "classify" else "sentence-transformers"
        timed = {"electra, PyTorch", "electra, onnx-int8", "electra serve, onnx-int8", f"{library}, PyTorch"}
        assert {name for name, found in candidates.items() if "error" not in found} == timed == set(task["summary"])
        peer = candidates[f"{library}, PyTorch"]
        assert peer["agreement"]["difference"] < 1e-5 and peer["versions"][library] and "electra" not in peer["versions"]
        assert candidates["electra, onnx-int8"]["agreement"]["difference"] > 0 and candidates["electra serve, onnx-int8"]["peak_memory_bytes"] > 1e7
        for backend in ("onnx", "onnx-int8", "openvino", "openvino-int8"):
            assert candidates[f"{library}, {backend}"] == {"error": "left out by the user"}
    assert "| sentence-transformers, openvino-int8 | - | - | - | not run: left out by the user |" in (tmp_path / "trial.md").read_text()


# ---- soak ----


def test_the_trend_of_memory_and_its_interval() -> None:
    """As scipy's linear regression of the means of 30 blocks."""
    import numpy
    import soak

    stats = pytest.importorskip("scipy.stats")
    values = 300 + 0.01 * numpy.arange(1800) + numpy.random.default_rng(1).normal(size=1800)
    means = values[180:].reshape(30, 54).mean(axis=1)
    wanted = stats.linregress(numpy.linspace(0, 0.45, 30), means)
    error = stats.t.ppf(0.975, 28) * wanted.stderr
    found = soak.slope(values.tolist(), 1800.0)
    assert found["per_hour"] == pytest.approx(wanted.slope, abs=0.01) and found["blocks"] == 30
    assert found["interval"] == pytest.approx([wanted.slope - error, wanted.slope + error], abs=0.02)


def test_recovery_is_the_first_window_that_is_as_fast_as_before() -> None:
    import soak

    slow, fast = [100.0] * 12, [11.0] * 30
    moments = [0.1 * (1 + index) for index in range(42)]
    assert soak.recovery_seconds(slow + fast, moments, 10.0, window=10) == pytest.approx(0.9)
    assert soak.recovery_seconds(fast, moments, 10.0) == 0.1 and soak.recovery_seconds(slow * 3, moments, 10.0) is None
