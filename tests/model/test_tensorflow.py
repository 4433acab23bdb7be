"""Original TensorFlow checkpoints: equality with the original's answers, and files that are damaged or hostile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tensorflow_checkpoints import entry, field, shape_of, write_bundle

from electra.data.pretraining_batches import collate
from electra.errors import UserError
from electra.model import huggingface
from electra.model.huggingface import to_hf
from electra.model.tensorflow import TensorBundle, find_checkpoint, read_networks
from electra.protobuf import ordered, slice_key


@pytest.fixture(scope="module")
def reference(reference_root: Path) -> Path:
    return reference_root / "tf1-original"


# ---- equality ----


@pytest.mark.realdata
def test_networks_answer_as_the_original(reference: Path) -> None:
    """Hidden states and logits of the discriminator, logits of the generator, at every real token: to 1e-5."""
    networks = read_networks(reference / "model.ckpt", num_attention_heads=4)
    assert networks.unused == () and networks.discriminator is not None and networks.generator is not None
    values = np.load(reference / "reference.npz")
    lengths = values["attention_mask"].sum(1)
    rows = [(values["input_ids"][i, :n].tolist(), values["token_type_ids"][i, :n].tolist()) for i, n in enumerate(lengths)]
    batch = collate(rows)
    real = values["attention_mask"].astype(bool)
    with torch.no_grad():
        hidden = networks.discriminator.encoder(batch).numpy()
        logits = networks.discriminator(batch).numpy()
        generated = networks.generator(batch).numpy()
    assert np.abs(hidden - values["discriminator_hidden"][real]).max() < 1e-5
    assert np.abs(logits - values["discriminator_logits"][real]).max() < 1e-5
    assert np.abs(generated[: min(16, lengths[0])] - values["generator_logits_row0"][: lengths[0]]).max() < 1e-5
    assert (generated.argmax(-1) == values["generator_argmax"][real]).mean() > 0.999


@pytest.mark.realdata
def test_every_variable_is_read_bit_for_bit_and_comes_back(reference: Path, tmp_path: Path) -> None:
    """All variables are found with the shapes the original listed, and a converted folder holds the same bits."""
    listed = {name: tuple(shape) for name, shape in json.loads((reference / "reference.json").read_text())["variables"]}
    bundle = TensorBundle(reference / "model.ckpt")
    entries = {name: entry.shape for name, entry in bundle.entries.items() if name != "global_step"}
    assert entries == listed
    networks = read_networks(reference / "model.ckpt", num_attention_heads=4)
    assert networks.discriminator is not None
    huggingface.save_checkpoint(networks.discriminator, tmp_path / "d")
    again = to_hf(huggingface.load_checkpoint(tmp_path / "d", "discriminator").module)
    kernel = bundle.read("electra/encoder/layer_2/intermediate/dense/kernel")
    assert np.array_equal(again["electra.encoder.layer.2.intermediate.dense.weight"].numpy(), kernel.T)
    assert np.array_equal(again["electra.embeddings.word_embeddings.weight"].numpy(), bundle.read("electra/embeddings/word_embeddings"))


@pytest.mark.realdata
def test_the_command_writes_what_transformers_opens(reference: Path, tmp_path: Path, data_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Discriminator and generator open in transformers without a missing or unknown weight; the tokenizer is the vocabulary's."""
    transformers = pytest.importorskip("transformers")
    from electra.cli import main

    out = tmp_path / "converted"
    vocab = data_root / "vocab" / "uncased-en.txt"
    assert main(["convert", str(reference), str(out), "--num-attention-heads", "4", "--vocab", str(vocab)]) == 0
    assert "ElectraForPreTraining (3 layers of width 64" in capsys.readouterr().out
    for name, folder in (("ElectraForPreTraining", out), ("ElectraForMaskedLM", out / "generator")):
        _, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"], report
    assert transformers.AutoTokenizer.from_pretrained(out)("unaffable")["input_ids"][0] == 101
    assert main(["convert", str(reference), str(out), "--num-attention-heads", "4"]) == 2
    assert "already exists" in capsys.readouterr().err
    # From there on it is a checkpoint as any other, and converting it again loses nothing.
    assert main(["convert", str(out), str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "generator" / "model.safetensors").read_bytes() == (out / "generator" / "model.safetensors").read_bytes()


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("short index", "damaged or not a TensorFlow checkpoint"),
        ("flipped bit in index", "damaged or not a TensorFlow checkpoint"),
        ("short data", "ends before byte"),
        ("flipped bit in data", "wrong checksum"),
        ("no data", "No such file"),
        ("empty index", "damaged or not a TensorFlow checkpoint"),
        ("wrong heads", "do not divide"),
        ("no heads", "give --num-attention-heads"),
        ("no checkpoint", "not found"),
    ],
)
def test_damaged_checkpoints_end_in_one_line(reference: Path, tmp_path: Path, damage: str, message: str) -> None:
    for file in reference.glob("model.ckpt.*"):
        shutil.copyfile(file, tmp_path / file.name)
    index, data = tmp_path / "model.ckpt.index", tmp_path / "model.ckpt.data-00000-of-00001"
    heads, prefix = 4, tmp_path / "model.ckpt"
    file = index if "index" in damage else data
    content = bytearray(file.read_bytes())
    if "flipped" in damage:
        content[100] ^= 4
        file.write_bytes(content)
    elif "short" in damage:
        file.write_bytes(content[: len(content) // 2])
    elif damage == "empty index":
        file.write_bytes(b"")
    elif damage == "no data":
        file.unlink()
    elif damage == "wrong heads":
        heads = 5
    elif damage == "no heads":
        heads = 0
    else:
        prefix = tmp_path / "model.ckp"
    with pytest.raises(UserError) as caught:
        read_networks(prefix, heads)
    assert message in str(caught.value) and "\n" not in str(caught.value)


# ---- the format, on bundles written here ----


def test_partitioned_variables_are_put_together(tmp_path: Path) -> None:
    """A variable in two slices along its first dimension; each slice lies under its own key."""
    top, bottom = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(6, 15, dtype=np.float32).reshape(3, 3)

    def extents(start: int, length: int) -> bytes:
        return field(7, field(1, (field(1, start) if start else b"") + field(2, length)) + field(1, b""))

    whole = field(1, 1) + field(2, shape_of((5, 3))) + extents(0, 2) + extents(2, 3)
    keys = {slice_key("w", ((0, 2), (0, -1))): entry(top, 0), slice_key("w", ((2, 3), (0, -1))): entry(bottom, top.nbytes)}
    write_bundle(tmp_path / "c", {b"w": whole, **keys}, top.tobytes() + bottom.tobytes())
    assert np.array_equal(TensorBundle(tmp_path / "c").read("w"), np.arange(15, dtype=np.float32).reshape(5, 3))
    write_bundle(tmp_path / "d", {b"w": whole, slice_key("w", ((0, 2), (0, -1))): entry(top, 0)}, top.tobytes())
    with pytest.raises(UserError, match=r"slice .* is missing"):
        TensorBundle(tmp_path / "d").read("w")


def test_numbers_inordered_code() -> None:
    """Values from the specification in ordered_code.h: a leading one per byte, two's complement below, order of bytes = order of numbers."""
    assert [ordered(v) for v in (0, 1, -1, 63, -64)] == [b"\x80", b"\x81", b"\x7f", b"\xbf", b"\x40"]
    assert [ordered(v) for v in (64, -65)] == [b"\xc0\x40", b"\x3f\xbf"]
    numbers = sorted({sign * (1 << shift) + d for shift in range(0, 40, 3) for d in (-1, 0, 1) for sign in (1, -1)})
    assert [ordered(n) for n in numbers] == sorted(ordered(n) for n in numbers)


def test_types(tmp_path: Path) -> None:
    half = np.array([1.5, -2.0], np.float16)
    brain = (np.array([1.5, -3.0], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    step = np.array(12, np.int64)
    entries = {b"half": entry(half, 0, 19), b"brain": entry(brain, 4, 14), b"step": entry(step, 8, 9), b"text": entry(half, 0, 7)}
    write_bundle(tmp_path / "c", entries, half.tobytes() + brain.tobytes() + step.tobytes())
    bundle = TensorBundle(tmp_path / "c")
    assert bundle.read("half").tolist() == [1.5, -2.0] and bundle.read("brain").tolist() == [1.5, -3.0] and bundle.read("step") == 12
    with pytest.raises(UserError, match="data type 7"):
        bundle.read("text")


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": shape_of((1 << 39, 1 << 39))},
        {"shape": field(2, field(1, (1 << 64) - 1))},
        {"size": 1 << 62},
        {"offset": 1 << 62},
        {"shape": shape_of((3,))},
    ],
)
def test_absurd_sizes_take_no_memory(tmp_path: Path, changes: dict[str, bytes | int]) -> None:
    values = np.zeros(2, np.float32)
    write_bundle(tmp_path / "c", {b"w": entry(values, **({"offset": 0} | changes))}, values.tobytes())
    with pytest.raises(UserError, match="damaged"):
        TensorBundle(tmp_path / "c").read("w")


def test_a_folder_names_its_checkpoint_and_cannot_climb(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_bundle(tmp_path / name, {b"w": entry(np.zeros(2, np.float32), 0)}, bytes(8))
    with pytest.raises(UserError, match="several"):
        find_checkpoint(tmp_path)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/somewhere/else/b"\nall_model_checkpoint_paths: "a"\n')
    assert find_checkpoint(tmp_path) == tmp_path / "b"
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "../../etc/passwd"\n')
    with pytest.raises(UserError, match="several"):
        find_checkpoint(tmp_path)
    with pytest.raises(UserError, match="neither an ELECTRA nor a BERT"):
        read_networks(tmp_path / "a")
