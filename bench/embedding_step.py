"""One candidate of bench/embedding.py in its own process: vectors of texts, the passages of a query with their scores, or classes of texts.

  electra                 a checkpoint or an artifact by `electra.load`
  electra serve           the same through a server of its own, by POST /embed, /rerank and /predict on one connection that stays open
  sentence-transformers   `SentenceTransformer.encode` and `CrossEncoder.rank` by one of its backends, as its pages on efficiency teach
  transformers            tokenizer, network, softmax; with optimum in ONNX Runtime and OpenVINO
  other engines           see embedding_peers.py

Run under the interpreter of its side; a peer's has no `electra`. Texts go in, vectors or scores come out, tokenization included; the conversion
to JSON for this bench is not timed, that of the server's requests and answers is.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import sys
import time
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import embedding_peers
import turns

PACKAGES = ("electra", "sentence-transformers", "transformers", "torch", "onnxruntime", "openvino", "optimum-onnx", "optimum-intel")
PACKAGES += ("zentorch", "ctranslate2", "tract", "llama-cpp-python", "model2vec")
ONNX_FILE, OPENVINO_FILE = "onnx/model.onnx", "openvino/openvino_model.xml"
OPENVINO_INT8_FILE = "openvino/openvino_model_qint8_quantized.xml"
MATMULS = {"MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm"}
MATMULS |= {"Attention", "QAttention", "MultiHeadAttention"}
"""Operator types of ONNX Runtime that multiply matrices."""
Call = dict[str, Any]
"""What one call answers: {"texts": [...]}, or {"query": ..., "texts": [...]}."""
Answers = Callable[[Call], Any]


def onnx_int8_file(instructions: str) -> str:
    """The file that sentence-transformers makes for a processor."""
    return f"onnx/model_qint8_{instructions}.onnx"


def in_order(ranking: list[dict[str, Any]], key: str) -> list[float]:
    """Passages as they are ranked -> the score of each, in the order in which they were given."""
    return [float(row["score"]) for row in sorted(ranking, key=lambda row: row[key])]


def by_label(probabilities: Mapping[str, float]) -> list[float]:
    """Label -> probability, in the alphabetical order of the labels, whatever a library's is."""
    return [probabilities[label] for label in sorted(probabilities)]


# ---- ours ----


def electra_model(kind: str, source: str, threads: int) -> tuple[Answers, Callable[[Any], Any]]:
    """A checkpoint or artifact -> what answers a call, and what makes lists of numbers of the answer."""
    import electra

    model = electra.load(source, threads=threads, device="cpu")
    if kind == "embed":
        return lambda call: model.embed(call["texts"]), lambda rows: rows.tolist()
    if kind == "classify":
        return lambda call: model.predict(call["texts"]), lambda found: [by_label(row.probabilities) for row in found]
    rerank = electra.pipeline("rerank", model)
    return lambda call: rerank(call["query"], call["texts"]), lambda found: in_order(found, "index")


def served_model(
    kind: str, source: str, threads: int, raw_scores: bool, stack: ExitStack
) -> tuple[Answers, Callable[[Any], Any], int, Callable[[], None]]:
    """A checkpoint or artifact -> the same by HTTP, the server's process, and what opens the connection anew: between two turns it may have been idle
    for longer than the server keeps it. `stack` ends the server.
    """
    import tempfile

    from serving import free_port, served

    log = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "log"
    port = free_port()
    command = [sys.executable, "-m", "electra.cli", "serve", source, "--port", str(port), "--threads", str(threads), "--device", "cpu"]
    process = stack.enter_context(served(command, port, log))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def post(path: str, body: dict[str, Any]) -> Any:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            found = json.loads(response.read())
        if response.status != 200:
            raise RuntimeError(f"POST {path}: {response.status}: {found}")
        return found

    def reopen() -> None:
        connection.close()
        connection.request("GET", "/health")
        connection.getresponse().read()

    if kind == "embed":
        # The modules of the model's folder say whether vectors are scaled to length one.
        return lambda call: post("/embed", {"inputs": call["texts"], "normalize": False}), lambda rows: rows, process.pid, reopen
    if kind == "classify":
        return (
            lambda call: post("/predict", {"inputs": [[text] for text in call["texts"]]}),
            lambda found: [by_label({row["label"]: row["score"] for row in rows}) for rows in found],
            process.pid,
            reopen,
        )
    return lambda call: post("/rerank", call | {"raw_scores": raw_scores}), lambda found: in_order(found, "index"), process.pid, reopen


def operator_times(source: str, threads: int, texts: list[str], warmup: int = 3) -> dict[str, Any]:
    """An ONNX artifact and texts, one at a time -> of each text the latency and the time of its matmuls' kernels, and the time of each operator type.

    A text is answered by the model as users open it, which is timed, and then by one that ONNX Runtime profiles. An attention operator multiplies and
    takes the softmax in one kernel, which counts as matmuls.

    Returns:
        'latency_ms' and 'matmul_ms' of each text; 'operators': type -> ms in a text, the most expensive first.
    """
    import tempfile
    from unittest import mock

    import onnxruntime

    import electra

    options = onnxruntime.SessionOptions

    def profiled() -> Any:
        made = options()
        made.enable_profiling, made.profile_file_prefix = True, str(Path(folder) / "profile")
        return made

    plain, latency = electra.load(source, threads=threads, device="cpu"), []
    with tempfile.TemporaryDirectory() as folder:
        with mock.patch.object(onnxruntime, "SessionOptions", profiled):
            watched = electra.load(source, threads=threads, device="cpu")
        for text in [*texts[:warmup], *texts]:
            started = time.perf_counter()
            plain.predict([text])
            latency.append(1000 * (time.perf_counter() - started))
            watched.predict([text])
        events = json.loads(Path(watched.model.session.end_profiling()).read_text(encoding="utf-8"))
    runs = sorted((event["ts"], event["ts"] + event["dur"]) for event in events if event["name"] == "model_run")[-len(texts) :]
    kernels = [event for event in events if event["cat"] == "Node" and event["name"].endswith("_kernel_time")]
    matmuls, operators = [0.0] * len(runs), Counter[str]()
    for event in kernels:
        place = bisect(runs, (event["ts"], float("inf"))) - 1
        if place >= 0:
            operators[event["args"]["op_name"]] += event["dur"] / 1000 / len(runs)
            matmuls[place] += event["dur"] / 1000 if event["args"]["op_name"] in MATMULS else 0.0
    return {"latency_ms": latency[-len(texts) :], "matmul_ms": matmuls, "operators": dict(operators.most_common())}


# ---- sentence-transformers, transformers ----


def library_model(kind: str, source: str, backend: str, options: dict[str, Any]) -> Any:
    """A folder by one of the library's backends."""
    if kind == "classify":
        if backend == "onnx":
            from optimum.onnxruntime import ORTModelForSequenceClassification as model

            if "file_name" in options:
                options = options | {"file_name": Path(options["file_name"]).name, "subfolder": Path(options["file_name"]).parent.name}
        elif backend == "openvino":
            from optimum.intel import OVModelForSequenceClassification as model
        else:
            from transformers import AutoModelForSequenceClassification as model
        return model.from_pretrained(source, **options)
    from sentence_transformers import CrossEncoder, SentenceTransformer

    return (SentenceTransformer if kind == "embed" else CrossEncoder)(source, backend=backend, device="cpu", model_kwargs=options)


def peer_model(kind: str, source: str, backend: str, threads: int, instructions: str) -> tuple[Answers, Callable[[Any], Any]]:
    """A folder -> as `electra_model`; `backend` in the names of bench/embedding.py."""
    import torch

    torch.set_num_threads(threads)
    runtime, int8 = backend.partition("-")[0], backend.endswith("int8")
    if runtime == "onnx":
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        file = onnx_int8_file(instructions) if int8 else ONNX_FILE
        model = library_model(kind, source, "onnx", {"file_name": file, "session_options": settings, "provider": "CPUExecutionProvider"})
    elif runtime == "openvino":
        config: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
        # By default OpenVINO computes fp32 models in bf16 where the processor has it; int8 runs as it comes.
        config |= {} if int8 else {"INFERENCE_PRECISION_HINT": "f32"}
        model = library_model(kind, source, "openvino", {"file_name": OPENVINO_INT8_FILE if int8 else OPENVINO_FILE, "ov_config": config})
    else:
        model = library_model(kind, source, "torch", {})
    if kind == "classify":
        return embedding_peers.classes(model, source), embedding_peers.probabilities(source)
    quiet = {"show_progress_bar": False}
    if kind == "embed":
        return lambda call: model.encode(call["texts"], batch_size=len(call["texts"]), **quiet), lambda rows: rows.tolist()
    return lambda call: model.rank(call["query"], call["texts"], batch_size=len(call["texts"]), **quiet), lambda found: in_order(found, "corpus_id")


def export(kind: str, source: str, output: str, backend: str, instructions: str, texts: list[str]) -> None:
    """A folder -> the same with the file of a backend, by the library's own functions; int8 after fp32, from its file.

    `texts` calibrate OpenVINO's int8; the library would read SST-2 from the hub.
    """
    runtime, int8 = backend.partition("-")[0], backend.endswith("int8")
    if kind == "classify":
        return export_classifier(source, output, runtime, int8, instructions, texts)
    if not int8:
        library_model(kind, source, runtime, {"export": True}).save_pretrained(output)
        return
    from sentence_transformers import backend as library

    model = library_model(kind, output, runtime, {"file_name": ONNX_FILE if runtime == "onnx" else OPENVINO_FILE})
    if runtime == "onnx":
        library.export_dynamic_quantized_onnx_model(model, instructions, output)
        return
    folder = Path(output) / "calibration"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps({"sentence": text}) + "\n" for text in texts), encoding="utf-8")
    names = {"dataset_name": str(folder), "dataset_config_name": "default", "dataset_split": "train", "column_name": "sentence"}
    library.export_static_quantized_openvino_model(model, None, output, **names)


def export_classifier(source: str, output: str, runtime: str, int8: bool, instructions: str, texts: list[str]) -> None:
    """The same with optimum's own functions, in the files that sentence-transformers gives their names to."""
    import transformers

    tokenizer, folder = transformers.AutoTokenizer.from_pretrained(source), Path(output) / runtime
    if not int8:
        library_model("classify", source, runtime, {"export": True}).save_pretrained(folder)
        tokenizer.save_pretrained(output)
        (Path(output) / "config.json").write_text((folder / "config.json").read_text(encoding="utf-8"), encoding="utf-8")
    elif runtime == "onnx":
        from optimum.onnxruntime import ORTQuantizer
        from optimum.onnxruntime.configuration import AutoQuantizationConfig

        how = getattr(AutoQuantizationConfig, instructions)(is_static=False, per_channel=False)
        suffix = Path(onnx_int8_file(instructions)).stem.removeprefix("model_")
        ORTQuantizer.from_pretrained(folder, file_name="model.onnx").quantize(how, save_dir=folder, file_suffix=suffix)
    else:
        from datasets import Dataset
        from optimum.intel import OVConfig, OVQuantizationConfig, OVQuantizer

        rows = Dataset.from_list([dict(tokenizer(text, truncation=True, max_length=128)) for text in texts])
        part = folder / "int8"
        quantizer = OVQuantizer.from_pretrained(library_model("classify", str(folder), runtime, {}))
        quantizer.quantize(rows, save_directory=part, ov_config=OVConfig(quantization_config=OVQuantizationConfig(num_samples=len(texts))))
        for file in part.glob("openvino_model.*"):
            file.rename(folder / f"openvino_model_qint8_quantized{file.suffix}")


# ---- the process ----


def versions() -> dict[str, str]:
    """Of the packages that this process has imported."""
    found = {}
    for name in PACKAGES:
        if name.removesuffix("-onnx").removesuffix("-intel").removesuffix("-python").replace("-", "_") in sys.modules:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
    return found


def main() -> None:
    """Serve: 'export', 'operators', or 'open', then 'answer' (calls -> their answers), 'time' (calls -> seconds of each) and 'memory'."""
    held: dict[str, Any] = {}
    with ExitStack() as stack:

        def answer(request: dict[str, Any]) -> Any:
            kind = request["kind"]
            if kind == "export":
                return export(*(request[name] for name in ("task", "source", "output", "backend", "instructions", "texts")))
            if kind == "operators":
                return operator_times(request["source"], request["threads"], request["texts"])
            if kind == "export rival":
                return embedding_peers.export(request["name"], request["source"], request["output"])
            if kind == "open":
                task, source, threads = request["task"], request["source"], request["threads"]
                if request["rival"]:
                    held["answers"], held["lists"] = embedding_peers.opened(request["name"], task, request["model"], source, threads)
                elif request["library"] == "electra":
                    held["answers"], held["lists"] = electra_model(task, source, threads)
                elif request["library"] == "electra serve":
                    held["answers"], held["lists"], held["process"], held["reopen"] = served_model(
                        task, source, threads, request["raw_scores"], stack
                    )
                else:
                    held["answers"], held["lists"] = peer_model(task, source, request["backend"], threads, request["instructions"])
                return versions()
            if "reopen" in held:
                held["reopen"]()
            if kind == "answer":
                return [held["lists"](held["answers"](call)) for call in request["calls"]]
            if kind == "memory":
                return turns.peak_memory_bytes(held.get("process"))
            seconds = []
            for call in request["calls"]:
                started = time.perf_counter()
                held["answers"](call)
                seconds.append(time.perf_counter() - started)
            return seconds

        turns.serve(answer)


if __name__ == "__main__":
    main()
