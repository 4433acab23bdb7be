"""Readers of models: TensorFlow checkpoints, config.json and the files of sentence-transformers, weights, tokenizers, artifacts."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.limits import Wrong
from fuzz.places import FULL, Folder, as_json, chosen, new_folder, numbered, require_equal, root
from fuzz.readers_data import vocabulary_text, zipped
from protobuf_writer import field, varint

from electra.errors import UserError

SIZES = {"vocab_size": 80, "embedding_size": 4, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
SIZES |= {"max_position_embeddings": 16}


@functools.cache
def checkpoint(architecture: str = "ElectraForSequenceClassification") -> Path:
    """A tiny checkpoint of ours, tokenizer included."""
    from electra.data.tokenizer import load_tokenizer
    from electra.model.encoder import EncoderConfig
    from electra.model.huggingface import new_module, reinitialize, save_checkpoint

    folder = root() / architecture
    (root() / "vocab.txt").write_text(vocabulary_text(), encoding="utf-8")
    tokenizer = load_tokenizer(root() / "vocab.txt")
    labels = ("no", "yes") if "Classification" in architecture else ()
    module = new_module(architecture, EncoderConfig(**{**SIZES, "vocab_size": tokenizer.vocab_size}), len(labels))
    reinitialize(module, 3)
    save_checkpoint(module, folder, labels=labels)
    tokenizer.save(folder, 16)
    return folder


def copied(source: Path, name: str) -> Path:
    """A folder's copy, to be changed."""
    shutil.rmtree(root() / name, ignore_errors=True)
    return Path(shutil.copytree(source, root() / name))


# ---- TensorFlow ----

BUNDLE = ("index", "data", "block", "message", "config")


def entries_block(pairs: Mapping[bytes, bytes]) -> bytes:
    """Sorted entries without shared prefixes, and the table of restarts."""
    body = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in pairs.items())
    return body + struct.pack("<II", 0, 1)


def index_file(block: bytes) -> bytes:
    """A table of one block, with its checksums and footer."""
    from electra.protobuf import masked_crc

    def closed(part: bytes) -> bytes:
        return part + b"\0" + struct.pack("<I", masked_crc(part + b"\0"))

    first, meta = closed(block), closed(entries_block({}))
    at = len(first)
    index = closed(entries_block({b"\xff": varint(0) + varint(at - 5)}))
    footer = varint(at) + varint(len(meta) - 5) + varint(at + len(meta)) + varint(len(index) - 5)
    return first + meta + index + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


@functools.cache
def bundle() -> tuple[bytes, bytes]:
    """(block of entries, data) of a tiny ELECTRA."""
    from electra.protobuf import masked_crc, slice_key

    found: dict[bytes, bytes] = {b"": field(1, 1)}
    data = b""

    def entry(array: np.ndarray, kind: int) -> bytes:
        nonlocal data
        shape = b"".join(field(2, field(1, size)) for size in array.shape)
        values = array.tobytes()
        out = field(1, kind) + field(2, shape) + field(4, len(data)) + field(5, len(values))
        data += values
        return out + varint(6 << 3 | 5) + struct.pack("<I", masked_crc(values))

    variables = _variables()
    for name, array in variables.items():
        found[name.encode()] = entry(array, 9 if array.dtype == np.int64 else 1)
    whole = np.arange(8, dtype=np.float32).reshape(4, 2)
    slices = tuple(((start, 2), (0, -1)) for start in (0, 2))
    extents = [field(1, field(1, start) + field(2, 2)) + field(1, b"") for start in (0, 2)]
    found[b"parted"] = field(1, 1) + field(2, b"".join(field(2, field(1, n)) for n in (4, 2))) + b"".join(field(7, one) for one in extents)
    for place, (start, _) in zip(slices, (one[0] for one in slices), strict=True):
        found[slice_key("parted", place)] = entry(whole[start : start + 2], 1)
    return entries_block(dict(sorted(found.items()))), data


def _variables() -> dict[str, np.ndarray]:
    """Names as the original writes them, of one layer."""
    width, wide, vocabulary, embedding = SIZES["hidden_size"], SIZES["intermediate_size"], SIZES["vocab_size"], SIZES["embedding_size"]
    scope, layer = "electra", "electra/encoder/layer_0"
    shapes: dict[str, tuple[int, ...]] = {
        f"{scope}/embeddings/word_embeddings": (vocabulary, embedding),
        f"{scope}/embeddings/token_type_embeddings": (2, embedding),
        f"{scope}/embeddings/position_embeddings": (SIZES["max_position_embeddings"], embedding),
        f"{scope}/embeddings/LayerNorm/gamma": (embedding,),
        f"{scope}/embeddings/LayerNorm/beta": (embedding,),
        f"{scope}/embeddings_project/kernel": (embedding, width),
        f"{scope}/embeddings_project/bias": (width,),
    }
    for part, (inner, outer) in {
        **{f"attention/self/{name}": (width, width) for name in ("query", "key", "value")},
        "attention/output/dense": (width, width),
        "intermediate/dense": (width, wide),
        "output/dense": (wide, width),
    }.items():
        shapes |= {f"{layer}/{part}/kernel": (inner, outer), f"{layer}/{part}/bias": (outer,)}
    for part in ("attention/output", "output"):
        shapes |= {f"{layer}/{part}/LayerNorm/{name}": (width,) for name in ("gamma", "beta")}
    shapes |= {"discriminator_predictions/dense/kernel": (width, width), "discriminator_predictions/dense/bias": (width,)}
    shapes |= {"discriminator_predictions/dense_1/kernel": (width, 1), "discriminator_predictions/dense_1/bias": (1,)}
    rng = np.random.default_rng(3)
    return {"global_step": np.array(7, np.int64), **{name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}}


def tensorflow_seeds() -> list[bytes]:
    block, data = bundle()
    config = as_json(SIZES | {"hidden_act": "gelu"})
    hparams = as_json({"model_size": "small", "vocab_size": 80, "model_hparam_overrides": {"hidden_size": 8, "num_attention_heads": 2}})
    shared = varint(0) + varint(2) + varint(1) + b"aa" + b"\1" + (varint(2) + varint(1) + varint(0) + b"b") * 2 + struct.pack("<II", 0, 1)
    return [
        *numbered([index_file(block), data, block, field(1, 7) + field(2, b"abc") + varint(3 << 3 | 5) + b"abcd", config]),
        b"\2" + shared,
        b"\4" + hparams,
    ]


def tensorflow(data: bytes) -> None:
    """TensorFlow checkpoints: the index, the data, a block of the index or a message to which the harness adds the checksums, the configuration
    next to it. References: Google's protobuf (messages and entries), the bytes that were written (the checksums see every change)."""
    from electra.model.tensorflow import read_networks
    from electra.protobuf import Damaged, TensorBundle, describe_checkpoint, fields

    kind, content = chosen(data, BUNDLE)
    if kind == "message":
        try:
            found = list(fields(content))
        except Damaged:
            return
        _compare_message(content, found)
        return
    folder = new_folder("bundle")
    block, values = bundle()
    prefix = folder / "model.ckpt-7"
    index = content if kind == "index" else index_file(content if kind == "block" else block)
    prefix.with_name("model.ckpt-7.index").write_bytes(index)
    prefix.with_name("model.ckpt-7.data-00000-of-00001").write_bytes(content if kind == "data" else values)
    (folder / "vocab.txt").write_text(vocabulary_text(), encoding="utf-8")
    (folder / "electra_config.json").write_bytes(content if kind == "config" else as_json(SIZES))
    opened = TensorBundle(prefix)
    for name in opened.entries:
        try:
            array = opened.read(name)
        except UserError:
            continue
        if kind == "data" and array.tobytes() != _written(name).tobytes():
            raise Wrong("changed values that are not reported")
    try:
        describe_checkpoint(folder)
    finally:
        networks = read_networks(prefix)
    if kind in ("data", "index"):
        theirs = _variables()["electra/encoder/layer_0/output/dense/kernel"]
        ours = next(
            value for name, value in networks.main.state_dict().items() if value.shape == theirs.T.shape and np.array_equal(value.numpy(), theirs.T)
        )
        assert ours is not None


def _written(name: str) -> np.ndarray:
    return np.arange(8, dtype=np.float32).reshape(4, 2) if name == "parted" else _variables()[name]


def _compare_message(content: bytes, ours: list[tuple[int, int | bytes]]) -> None:
    from google.protobuf import empty_pb2, message, unknown_fields

    parsed = empty_pb2.Empty()
    try:
        parsed.ParseFromString(content)
    except message.DecodeError:
        raise Wrong("a message that Google's protobuf refuses") from None
    theirs = [(one.field_number, one.data) for one in unknown_fields.UnknownFieldSet(parsed)]
    require_equal(ours, theirs, "fields of a message")


# ---- config.json, and the files of sentence-transformers ----

SENTENCE = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
        {"idx": 3, "name": "3", "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"},
    ],
    "config_sentence_transformers.json": {
        "__version__": {"sentence_transformers": "6.2"},
        "prompts": {"query": "q: "},
        "similarity_fn_name": "cosine",
    },
    "sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": False},
    "1_Pooling/config.json": {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
    "2_Dense/config.json": {"in_features": 8, "out_features": 3, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"},
}


@functools.cache
def _config_folder() -> Folder:
    from safetensors.numpy import save_file

    folder = copied(checkpoint("ElectraModel"), "sentence-model")
    for name in ("1_Pooling", "2_Dense", "3_Normalize"):
        (folder / name).mkdir()
    for name, value in SENTENCE.items():
        (folder / name).write_bytes(as_json(value))
    save_file({"linear.weight": np.ones((3, 8), np.float32), "linear.bias": np.ones(3, np.float32)}, folder / "2_Dense" / "model.safetensors")
    classifier = checkpoint()
    for role in ("classifier", "plain"):
        shutil.copytree(classifier, folder / role)
    return Folder(folder, ("classifier/config.json", "config.json", *SENTENCE, "2_Dense/model.safetensors"))


def config_seeds() -> list[bytes]:
    folder = _config_folder()
    bert = {"model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": 80, "hidden_size": 8, "num_attention_heads": 2}
    return [*folder.seeds(), b"\1" + as_json(bert), b"\0" + as_json({"model_type": "electra"})]


def config(data: bytes) -> None:
    """config.json in every role, and the files of sentence-transformers' modules. References: `json`, transformers' configuration classes."""
    from electra.inference.embeddings import check_widths, read_modules
    from electra.model.flops import SHAPE
    from electra.model.hf_config import ROLE_HEADS, read_config
    from electra.model.huggingface import encoder_config
    from electra.storage.resolve import unused_modules
    from electra.tasks.input_spec import input_spec, recorded_columns

    folder = _config_folder()
    with folder.replaced(data) as name:
        if (not name.endswith("/config.json") and name != "config.json") or name[0] in "12":
            modules = read_modules(folder.path)
            check_widths(modules, 8, "model")
            unused_modules(folder.path, folder.path)
            return
        place = (folder.path / name).parent
        refused: list[UserError] = []
        for role in ("any", "encoder", *ROLE_HEADS):
            try:
                values = read_config(place, role)
            except UserError as error:
                refused.append(error)
                continue
            encoder_config(values)
            recorded_columns(values)
            for shape in SHAPE:
                given = json.loads(data[1:]).get(shape)
                if given is not None and values[shape] != given and not (shape == "embedding_size" and values["model_type"] == "bert"):
                    raise Wrong(f"another {shape} than the file's")
            try:
                input_spec(values, None, values["max_position_embeddings"])
            except UserError as error:
                refused.append(error)
            if FULL:
                _compare_config(values, json.loads(data[1:]))
        if refused:
            raise refused[0]


def _compare_config(ours: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    import transformers

    kind = transformers.BertConfig if ours["model_type"] == "bert" else transformers.ElectraConfig
    try:
        theirs = kind.from_dict({key: value for key, value in given.items() if key != "architectures"})
    except Exception:  # it has checks of its own, of which ours need not be a part
        return
    for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings"):
        require_equal(ours[name], getattr(theirs, name), name)


# ---- weights ----

WEIGHTS = ("model.safetensors", "sharded/model.safetensors.index.json", "sharded/model-00002-of-00002.safetensors", "pickled/pytorch_model.bin")


@functools.cache
def _weights_folder() -> Folder:
    import torch
    from safetensors.torch import load_file, save_file

    folder = copied(checkpoint(), "weights")
    tensors = load_file(folder / "model.safetensors")
    for name in ("sharded", "pickled"):
        (folder / name).mkdir()
        shutil.copyfile(folder / "config.json", folder / name / "config.json")
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for name, part in halves.items():
        save_file({key: tensors[key] for key in part}, folder / "sharded" / name, metadata={"format": "pt"})
    table = {key: name for name, part in halves.items() for key in part}
    (folder / WEIGHTS[1]).write_bytes(as_json({"metadata": {"total_size": 1}, "weight_map": table}))
    torch.save(tensors, folder / WEIGHTS[3])
    return Folder(folder, WEIGHTS)


def weight_seeds() -> list[bytes]:
    return _weights_folder().seeds()


def weights(data: bytes) -> None:
    """safetensors, their shards and index, pytorch_model.bin. References: `safetensors`, `torch.load` with weights alone."""
    from electra.inference.inspect import describe
    from electra.model.hf_config import read_weights, safetensors_header, weight_names
    from electra.model.huggingface import load_checkpoint

    folder = _weights_folder()
    with folder.replaced(data) as name:
        path = folder.path / name
        place = path.parent
        if path.suffix == ".safetensors":
            safetensors_header(path)
        names = weight_names(place)
        tensors = read_weights(place)
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            theirs = load(data[1:])
            current = {
                key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): value for key, value in theirs.items()
            }
            for key, value in current.items():
                ours = tensors[key]
                if (
                    ours.shape != value.shape
                    or ours.dtype != value.dtype
                    or ours.contiguous().view(-1).tolist().__repr__() != value.view(-1).tolist().__repr__()
                ):
                    raise Wrong("a tensor differs from the reference")
            if not set(theirs) <= names:
                raise Wrong("names of weights differ from the reference")
        load_checkpoint(place)
        describe(str(place))


# ---- tokenizers ----

TOKENIZER = ("bert/vocab.txt", "bert/tokenizer_config.json", "bert/special_tokens_map.json", "bert/added_tokens.json", "bert/tokenizer.json")
TOKENIZER = (*TOKENIZER, "json/tokenizer.json", "json/tokenizer_config.json", "bare/vocab.txt", "bpe/tokenizer.json", "unigram/tokenizer.json")
SAMPLES = ("The cat sat on a mat.", "CRÈME brûlée 電影 [MASK] <mask>", "w" * 120, "")


@functools.cache
def _tokenizer_folder() -> Folder:
    import tokenizers
    from tokenizers import models, pre_tokenizers, processors, trainers

    folder = new_folder("tokenizers")
    source = checkpoint()
    for name in ("bert", "json"):
        (folder / name).mkdir()
        for file in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            shutil.copyfile(source / file, folder / name / file)
    (folder / "bert" / "tokenizer.json").unlink()
    (folder / "bert" / "added_tokens.json").write_bytes(as_json({"[E1]": 200}))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), ("<pad>", "<unk>", "<s>", "</s>", "<mask>"), strict=True))
    (folder / "json" / "vocab.txt").unlink()
    plain = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 16, "model_input_names": ["input_ids", "token_type_ids"]}
    (folder / "json" / "tokenizer_config.json").write_bytes(as_json(plain | {"cls_token": "[CLS]", "added_tokens_decoder": {}}))
    (folder / "bare").mkdir()
    shutil.copyfile(source / "vocab.txt", folder / "bare" / "vocab.txt")
    for name in ("bpe", "unigram"):
        backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>") if name == "bpe" else models.Unigram())
        backend.pre_tokenizer = pre_tokenizers.Metaspace() if name == "unigram" else pre_tokenizers.ByteLevel()
        options = {"special_tokens": list(names.values()), "show_progress": False, "vocab_size": 80}
        trainer = trainers.BpeTrainer(**options) if name == "bpe" else trainers.UnigramTrainer(unk_token="<unk>", **options)
        backend.train_from_iterator(["the cat sat on a mat and ran home", "a dog sang over old trees"] * 3, trainer)
        marks = [(token, backend.token_to_id(token)) for token in ("<s>", "</s>")]
        backend.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=marks)
        (folder / name).mkdir()
        backend.save(str(folder / name / "tokenizer.json"), pretty=False)
        (folder / name / "tokenizer_config.json").write_bytes(as_json(plain | names))
    return Folder(folder, TOKENIZER, also={"bert/tokenizer.json": (source / "tokenizer.json").read_bytes()})


def tokenizer_seeds() -> list[bytes]:
    added = {"added_tokens_decoder": {"3": {"content": "[X]", "special": True, "lstrip": False}}, "extra_special_tokens": ["[A]"]}
    return [*_tokenizer_folder().seeds(), b"\1" + as_json({"tokenizer_class": "BertTokenizer", "do_lower_case": False} | added)]


def tokenizers(data: bytes) -> None:
    """vocab.txt, tokenizer.json (WordPiece, BPE, Unigram), tokenizer_config.json, special_tokens_map.json, added_tokens.json. Reference:
    `tokenizers` on the same file."""
    import tokenizers as reference

    from electra.data.tokenizer import load_tokenizer

    folder = _tokenizer_folder()
    with folder.replaced(data) as name:
        path = folder.path / name
        tokenizer = load_tokenizer(path if name == "bare/vocab.txt" else path.parent)
        ids = tokenizer.encode(list(SAMPLES))
        for text, one in zip(SAMPLES, ids, strict=True):
            if any(not 0 <= index < tokenizer.vocab_size for index in one):
                raise Wrong("an id outside of the vocabulary")
            require_equal(tokenizer.encode_offsets(text)[0], one, "ids with offsets")
            tokenizer.encode_words(text)
            tokenizer.decode(one)
            tokenizer.wrap(one, one, 16)
        lines, counts = tokenizer.encode_lines("\n".join(SAMPLES).encode())
        require_equal([lines.tolist(), counts.tolist()], [[i for one in ids for i in one], [len(one) for one in ids]], "ids of lines")
        if name.endswith("tokenizer.json") and not name.startswith("bert"):
            theirs = reference.Tokenizer.from_file(str(path))
            require_equal(ids, [theirs.encode(text, add_special_tokens=False).ids for text in SAMPLES], "ids")
        if name.endswith("vocab.txt"):
            known = reference.models.WordPiece.read_file(str(path))
            for piece in (piece for piece in ("cat", "[CLS]", "##a", "the") if piece in known):
                require_equal(tokenizer.backend.token_to_id(piece), known[piece], "an id of the vocabulary")
        saved = new_folder("saved-tokenizer")
        tokenizer.save(saved, 16)
        require_equal(load_tokenizer(saved).encode(list(SAMPLES)), ids, "ids after saving")


# ---- artifacts ----


@functools.cache
def _artifact_folder() -> Folder:
    """A folder and a zip in the form of an artifact; the network itself is never run, so a few bytes stand for it."""
    from electra.inference.artifact import write_artifact

    source, folder = checkpoint(), new_folder("artifacts")
    files = ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json")

    def make(place: Path) -> dict[str, Any]:
        for name in files:
            shutil.copyfile(source / name, place / name)
        (place / "model.onnx").write_bytes(b"a network")
        about = {"target": "onnx", "architecture": "ElectraForSequenceClassification", "role": "classifier", "labels": ["no", "yes"]}
        return about | {"limits": {"max_length": 16}, "source": {"name": "x"}, "build": {}, "task": "sst2"}

    write_artifact(folder / "built", make)
    write_artifact(folder / "built.zip", make)
    (folder / "packed.zip").write_bytes(zipped({name: (folder / "built" / name).read_bytes() for name in ("artefact.json", *files, "model.onnx")}))
    shutil.copytree(folder / "built", folder / "hub")
    (folder / "hub" / "artefact.json").unlink()
    (folder / "hub" / "onnx").mkdir()
    (folder / "hub" / "model.onnx").rename(folder / "hub" / "onnx" / "model.onnx")
    return Folder(folder, ("built/artefact.json", "built.zip", "packed.zip", "hub/config.json", "built/model.onnx", "built/vocab.txt"))


def artifact_seeds() -> list[bytes]:
    folder = _artifact_folder()
    climbing = zipped({"artefact.json": folder.contents["built/artefact.json"], "../x": b"1", "config.json": b"{}"})
    below = zipped({f"name/{file.name}": file.read_bytes() for file in (folder.path / "built").iterdir()})
    return [*folder.seeds(), b"\1" + climbing, b"\1" + below, b"\1" + zipped({"artefact.json": b" " * 100_000})]


def artifacts(data: bytes) -> None:
    """Artifacts as folder, as zip and in the hub's layout: opened, verified and described. References: `hashlib` on every file, `zipfile`."""
    import io
    import zipfile

    from electra.inference.artifact import damaged_files, is_artifact, open_artifact, read_manifest
    from electra.inference.inspect import describe
    from electra.tasks.input_spec import columns_of

    folder = _artifact_folder()
    with folder.replaced(data) as name:
        place = folder.path / (name if name.endswith(".zip") else name.split("/")[0])
        is_artifact(place)
        columns_of(place)
        refused: list[UserError] = []
        for read in (read_manifest, damaged_files, lambda source: describe(str(source))):
            try:
                read(place)
            except UserError as error:
                refused.append(error)
        opened = open_artifact(place)
        if name.endswith("model.onnx") or name.endswith("vocab.txt"):
            require_equal(data[1:], folder.contents[name], "a changed file that was opened")
        for file, entry in opened.manifest["files"].items():
            content = (opened.path / file).read_bytes()
            if "sha256" in entry and hashlib.sha256(content).hexdigest() != entry["sha256"]:
                raise Wrong("a file without its hash")
            if name.endswith(".zip"):
                with zipfile.ZipFile(io.BytesIO(data[1:])) as bundle:
                    members = {
                        re.sub("^[^/]*/(?=.)", "", member) if file not in bundle.namelist() else member: member for member in bundle.namelist()
                    }
                    require_equal(bundle.read(members[file]), content, "a file of the zip")
        str((opened.labels, opened.role, opened.size_bytes, opened.architecture, opened.has_generator))
        if refused:
            raise refused[0]
