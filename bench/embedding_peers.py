"""Encoders as users of other libraries run them: text in; unit vectors, scores of passages or probabilities of classes out.

`bench/embedding.py` names the candidates.

Each function opens a model in the process of its own, under the interpreter of its environment (bench/pins), and returns what answers a call
({"texts": [...]}, and for a re-ranker "query"); `electra` is not there. Tokens, pooling and normalization are those of the model's folder: the mean
over all tokens, at most `max_seq_length` of them, scaled to length one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = dict[str, Any]
Answers = Callable[[Call], Any]
HERE = Path(__file__).resolve().parent


def max_length(source: str) -> int:
    """Most tokens of a text, as the folder has it; 128 for a classifier, as ours."""
    if not (Path(source) / "sentence_bert_config.json").exists():
        return 128
    return int(json.loads((Path(source) / "sentence_bert_config.json").read_text(encoding="utf-8"))["max_seq_length"])


def tokenizer_of(source: str) -> Any:
    """The folder's tokenizer, which pads to the longest text of a call."""
    import tokenizers

    found = tokenizers.Tokenizer.from_file(str(Path(source) / "tokenizer.json"))
    found.enable_truncation(max_length(source))
    found.enable_padding(pad_id=found.token_to_id("[PAD]"), pad_token="[PAD]")
    return found


def pooled(states: Any, mask: Any) -> Any:
    """(B, L, D) hidden states, (B, L) 1 where there is a token -> (B, D) means of length one."""
    import numpy as np

    weights = np.asarray(mask, dtype=np.float32)[:, :, None]
    means = (np.asarray(states) * weights).sum(1) / weights.sum(1)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


# ---- classifiers ----


def classes(model: Any, source: str) -> Answers:
    """A classifier of `transformers`' kind -> what gives the (B, C) probabilities of a call."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(source)

    def answers(call: Call) -> Any:
        inputs = tokenizer(call["texts"], padding=True, truncation=True, max_length=128, return_tensors="pt")
        with torch.inference_mode():
            return torch.softmax(torch.as_tensor(model(**inputs).logits).float(), -1)

    return answers


def probabilities(source: str) -> Callable[[Any], list[list[float]]]:
    """(B, C) of a folder's classes -> lists in the alphabetical order of their labels."""
    names = json.loads((Path(source) / "config.json").read_text(encoding="utf-8"))["id2label"]
    order = sorted(range(len(names)), key=lambda number: names[str(number)])
    return lambda rows: [[float(row[number]) for number in order] for row in rows]


# ---- PyTorch, compiled ----


def compiled(kind: str, source: str, backend: str, threads: int) -> Answers:
    """sentence-transformers with its network compiled for any length, by PyTorch's own compiler or by zentorch's, in fp32 or bf16."""
    import torch

    torch.set_num_threads(threads)
    options: dict[str, Any] = {"dynamic": True}
    if backend.startswith("zentorch"):
        import zentorch  # noqa: F401 (registers the compiler)

        options["backend"] = "zentorch"
    if kind == "classify":
        from transformers import AutoModelForSequenceClassification

        network = AutoModelForSequenceClassification.from_pretrained(source).eval()
        return classes(torch.compile(network.to(torch.bfloat16) if backend.endswith("bf16") else network, **options), source)
    from sentence_transformers import CrossEncoder, SentenceTransformer

    model = (SentenceTransformer if kind == "embed" else CrossEncoder)(source, device="cpu")
    part = model[0] if isinstance(model, torch.nn.Sequential) else model  # older re-rankers hold the network themselves
    name = next(name for name in ("auto_model", "model") if name in dict(part.named_children()))
    setattr(part, name, torch.compile(getattr(part, name), **options))
    if backend.endswith("bf16"):
        part.to(torch.bfloat16)

    def answers(call: Call) -> Any:
        with torch.inference_mode():
            if kind == "embed":
                return model.encode(call["texts"], batch_size=len(call["texts"]), show_progress_bar=False)
            return model.rank(call["query"], call["texts"], batch_size=len(call["texts"]), show_progress_bar=False)

    return answers


# ---- CTranslate2 ----


def export_ctranslate2(source: str, output: str, backend: str) -> None:
    """Its converter of `transformers`' BERT."""
    import ctranslate2

    quantization = "int8" if backend.endswith("int8") else "float32"
    ctranslate2.converters.TransformersConverter(source).convert(output, quantization=quantization, force=True)


def ctranslate2_model(source: str, output: str, backend: str, threads: int) -> Answers:
    """Its encoder, with the folder's tokenizer."""
    import ctranslate2
    import numpy as np

    tokenizer = tokenizer_of(source)
    tokenizer.no_padding()
    kind = "int8" if backend.endswith("int8") else "float32"
    encoder = ctranslate2.Encoder(output, device="cpu", intra_threads=threads, inter_threads=1, compute_type=kind)

    def answers(call: Call) -> Any:
        rows = [found.ids for found in tokenizer.encode_batch(call["texts"])]
        states = np.array(encoder.forward_batch(rows).last_hidden_state)
        return pooled(states, [[1] * len(row) + [0] * (states.shape[1] - len(row)) for row in rows])

    return answers


# ---- tract ----


def tract_model(kind: str, source: str, file: str) -> Answers:
    """The ONNX file that the usual library exports, with lengths and numbers of texts left open. It has one thread of its own."""
    import numpy as np
    import tract

    tokenizer = tokenizer_of(source)
    model = tract.onnx().load(file)
    names = [model.input_name(index) for index in range(model.input_count())]
    for index in range(len(names)):
        model.set_input_fact(index, "B,S,i64")
    runnable = model.into_model().into_runnable()

    def answers(call: Call) -> Any:
        found = tokenizer.encode_batch(call["texts"])
        mask = np.array([one.attention_mask for one in found], dtype=np.int64)
        given = {"input_ids": np.array([one.ids for one in found], dtype=np.int64), "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}
        out = runnable.run([given[name] for name in names])[0].to_numpy()
        if kind == "embed":
            return pooled(out, mask)
        powers = np.exp(out - out.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    return answers


# ---- llama.cpp ----


def export_llama(source: str, output: str, backend: str) -> None:
    """The converter of llama.cpp's own source (`bench/environments.py` has put it next to the environment)."""
    script = Path(sys.prefix) / "llama.cpp" / "convert_hf_to_gguf.py"
    words = [sys.executable, str(script), source, "--outfile", output, "--outtype", "q8_0" if backend.endswith("q8_0") else "f32"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "the converter failed"))


def llama_model(source: str, file: str, threads: int) -> Answers:
    """llama.cpp's encoder through llama-cpp-python, with its own tokenizer."""
    import llama_cpp

    limit = 32 * max_length(source)
    options = {"n_ctx": limit, "n_batch": limit, "n_ubatch": limit, "n_threads": threads, "n_threads_batch": threads}
    model = llama_cpp.Llama(file, embedding=True, pooling_type=llama_cpp.LLAMA_POOLING_TYPE_MEAN, verbose=False, **options)
    return lambda call: model.embed(call["texts"], normalize=True)


# ---- static vectors ----


def export_static(source: str, output: str) -> None:
    """model2vec's distillation of the model: a vector for every token."""
    from model2vec.distill import distill

    distill(model_name=source).save_pretrained(output)


def static_model(output: str) -> Answers:
    """The mean of its tokens' vectors."""
    from model2vec import StaticModel

    model = StaticModel.from_pretrained(output)
    return lambda call: model.encode(call["texts"])


# ---- the table ----


def export(name: str, source: str, output: str) -> None:
    """Make what a candidate opens from the model's folder."""
    library, _, backend = name.rpartition(", ")
    if library == "CTranslate2":
        export_ctranslate2(source, output, backend)
    elif library == "llama.cpp":
        export_llama(source, output, backend)
    elif library == "model2vec":
        export_static(source, output)


def opened(name: str, kind: str, source: str, output: str, threads: int) -> tuple[Answers, Callable[[Any], Any]]:
    """A candidate -> what answers a call, and what makes lists of numbers of the answer."""
    library, _, backend = name.rpartition(", ")
    if library == "CTranslate2":
        answers = ctranslate2_model(source, output, backend, threads)
    elif library == "llama.cpp":
        answers = llama_model(source, output, threads)
        return answers, lambda rows: rows
    elif library == "tract":
        answers = tract_model(kind, source, output)
    elif library == "model2vec":
        answers = static_model(output)
    else:
        answers = compiled(kind, source, backend if library != "zentorch" else f"zentorch {backend}", threads)
        if kind == "rerank":
            return answers, lambda found: [float(row["score"]) for row in sorted(found, key=lambda row: row["corpus_id"])]
    if kind == "classify":
        return answers, probabilities(source)
    return answers, lambda rows: rows.tolist()
