"""Models and texts that sections need where the user names none: small models of random weights, what is built from one, made-up text.

Speed does not depend on what the weights are. The checkpoint is written by the peers' `transformers`, so that both sides open somebody else's file.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from section import Skipped, Work, electra, run

from electra import bundled
from electra.inference.artifact import is_artifact, read_manifest

RANDOM = "random"
"""The value of --model for a classifier of random weights."""
LONG, LONGEST = "long-classifier", 4096
"""A classifier of random weights that reads texts of so many tokens."""
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SENTENCE = "what a wonderful , moving film about a river and the people who live beside it .\n"


def vocabulary(work: Work, language: str = "en") -> Path:
    """vocab.txt of the released models; made-up pieces in a quick run, or where there is no data."""
    known = work.data / "vocab" / {"en": "uncased-en.txt", "zh": "zh.txt"}[language] if work.data is not None else None
    if not work.quick and known is not None and known.exists():
        return known
    path = work.folder / "vocab.txt"
    if not path.exists():
        letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
        words = sorted({word for line in sentences(400) for word in line.split() if len(word) > 1})
        path.write_text("\n".join([*SPECIALS, *letters, *(f"##{letter}" for letter in letters), *".,!?", *words]) + "\n", encoding="utf-8")
    return path


def sentences(number: int, seed: int = 1) -> Iterator[str]:
    """Lines of made-up words, whose lengths and frequencies are roughly a language's."""
    chance = random.Random(seed)
    letters = "etaoinshrdlcumwfgypbvk"
    words = ["".join(chance.choices(letters, weights=range(len(letters), 0, -1), k=chance.randint(2, 9))) for _ in range(2000)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    for _ in range(number):
        yield " ".join(chance.choices(words, weights=weights, k=chance.randint(4, 30))) + " ."


def write_text(path: Path, number: int) -> Path:
    """Documents of three to six made-up lines."""
    chance, out = random.Random(2), []
    for index, line in enumerate(sentences(number)):
        out.append(line + ("\n" if chance.random() < 0.25 and index else ""))
    path.write_text("\n".join(out) + "\n", encoding="utf-8")
    return path


def corpus(work: Work, language: str = "en") -> list[str]:
    """Files of text in a language; made-up ones in a quick run.

    Raises:
        Skipped: there is no data.
    """
    if work.quick:
        return [str(write_text(work.folder / f"made-up-{language}.txt", 1500))]
    found = sorted((work.data / f"corpus-{language}").glob("*.txt*")) if work.data is not None else []
    if not found:
        raise Skipped(f"no corpus-{language} in the data folder (--data, ELECTRA_DATA)")
    return [str(path) for path in found]


def plain_text(work: Work, megabytes: float, name: str, language: str = "en") -> Path:
    """About so many MB of a language's corpus as one file of documents with a blank line between; repeated where it is shorter."""
    from electra.data.documents import read_documents

    path = work.folder / name
    if path.exists():
        return path
    size, limit, files, repetition = 0, megabytes * 1e6, corpus(work, language), 0
    with path.open("w", encoding="utf-8") as out:
        while size < limit:
            repetition += 1
            # A repeated document gets a number, or it would be dropped as a duplicate.
            mark = f" {repetition}" if repetition > 1 else ""
            for document in read_documents(files):
                text = "\n".join(document.lines) + mark + "\n\n"
                out.write(text)
                size += len(text.encode("utf-8"))
                if size >= limit:
                    break
    return path


def sst2(work: Work) -> Path:
    """SST-2's folder; made-up sentences in a quick run.

    Raises:
        Skipped: there is no data.
    """
    if not work.quick:
        if work.data is None or not (work.data / "glue" / "SST-2" / "train.tsv").exists():
            raise Skipped("no SST-2 in the data folder (--data, ELECTRA_DATA)")
        return work.data / "glue" / "SST-2"
    folder = work.folder / "SST-2"
    folder.mkdir(exist_ok=True)
    for name, number in (("train", 40), ("dev", 12)):
        rows = [f"{line} \t{index % 2}" for index, line in enumerate(sentences(number, seed=3))]
        (folder / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n", encoding="utf-8")
    return folder


MAKE = """
import json, pathlib, sys, torch
from transformers import BertConfig, BertModel, BertTokenizerFast, ElectraConfig, ElectraForSequenceClassification, ElectraTokenizerFast
vocab, folder, kind, sizes = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
torch.manual_seed(1)
tokenizer = (BertTokenizerFast if kind == "bi-encoder" else ElectraTokenizerFast)(vocab=vocab, do_lower_case=True)
names = {} if kind == "bi-encoder" else {number: str(number) for number in range(1 if kind == "cross-encoder" else 2)}
labels = {"id2label": names, "label2id": {name: number for number, name in names.items()}} if names else {}
config = (ElectraConfig if names else BertConfig)(vocab_size=len(tokenizer), **sizes, **labels)
if kind == "cross-encoder":
    config.sentence_transformers = {"activation_fn": "torch.nn.modules.activation.Sigmoid"}
(ElectraForSequenceClassification if names else BertModel)(config).save_pretrained(folder)
tokenizer.model_max_length = config.max_position_embeddings
tokenizer.save_pretrained(folder)
if kind == "bi-encoder":
    parts = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    rows = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"} for i, (name, path) in enumerate(parts.items())]
    files = {"modules.json": rows, "sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": False}}
    files["1_Pooling/config.json"] = {"word_embedding_dimension": config.hidden_size, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    for name, values in files.items():
        (folder / name).write_text(json.dumps(values))
"""
"""Writes a classifier, a bi-encoder as versions of sentence-transformers since 2 write it, or a cross-encoder."""


def make(work: Work, kind: str, width: int, layers: int, heads: int, embedding: int, **more: float) -> Path:
    """A model of random weights, written by the peers' `transformers`; `more` are further keys of its configuration.

    Raises:
        Skipped: there is no peer to make one.
    """
    folder = work.folder / kind
    if not (folder / "config.json").exists():
        if not work.peers:
            option = "model" if kind == "classifier" else kind
            raise Skipped(f"no --{option}, and no transformers to make one: {work.peers_problem}")
        sizes: dict[str, float] = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
        sizes |= {"intermediate_size": 4 * width, "embedding_size": embedding, **more}
        run([work.peers, "-c", MAKE, str(vocabulary(work)), str(folder), kind, json.dumps(sizes)], threads=work.threads, peer=True)
    return folder


def given(work: Work, kind: str) -> Path | None:
    """The user's 'classifier' (the first --model), 'bi-encoder' or 'cross-encoder'; None for one of random weights."""
    chosen = work.options.get("model" if kind == "classifier" else kind.replace("-", "_"))
    first = chosen[0] if isinstance(chosen, list) else chosen
    return None if first in (None, RANDOM) else bundled.located(first)


def target_of(model: Path) -> str | None:
    """The target that a model was built for; None for a checkpoint."""
    return str(read_manifest(model)["target"]) if is_artifact(model) else None


def classifier(work: Work) -> Path:
    """The user's classifier (--model), or ELECTRA-Small's shape with random weights.

    Raises:
        Skipped: there is none, and no peer to make one.
    """
    return encoder_model(work, "classifier")


def encoder_model(work: Work, kind: str) -> Path:
    """The user's model of a kind, else one of random weights: a classifier of ELECTRA-Small's shape, others of all-MiniLM-L6's.

    Raises:
        Skipped: there is none, and no peer to make one.
    """
    if (chosen := given(work, kind)) is not None:
        return chosen
    if kind in ("classifier", LONG):
        width, layers = (32, 2) if work.quick else (256, 12)
        positions = {"max_position_embeddings": LONGEST} if kind == LONG else {}
        return make(work, kind, width, layers, heads=4, embedding=128, **positions)
    width, layers, heads = (32, 2, 4) if work.quick else (384, 6, 12)
    # With the usual 0.02 all texts would have nearly the same score, and a comparison of scores would see rounding only.
    return make(work, kind, width, layers, heads, embedding=width, initializer_range=width**-0.5)


def artifact(work: Work, target: str, kind: str = "classifier", texts: Path | None = None) -> Path:
    """What `electra build` makes of the classifier or a sentence model; `texts` calibrate the targets that need it (default: made-up ones)."""
    folder = work.folder / (target if kind == "classifier" else f"{kind}-{target}")
    if not folder.exists():
        model, calibrate = encoder_model(work, kind), []
        if target in ("onnx-int8-static", "openvino-int8"):
            calibrate = ["--calibrate", str(texts or write_text(work.folder / "calibration.txt", 300))]
        electra("build", model, "--target", target, "--output", folder, *calibrate, threads=work.threads)
    return folder


def python_of(environment: Path) -> str:
    """The interpreter in a virtual environment."""
    return str(environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
