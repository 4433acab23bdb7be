"""Random models of `transformers` in a folder, changed into another form of file, and compared with what our loader makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from conftest import SPECIALS
from safetensors.torch import load_file, save_file

from electra.contracts import Batch
from electra.data.pretraining_batches import collate
from electra.model import huggingface

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 50,
    "max_position_embeddings": 40,
    "vocab_size": 99,
}
Change = Callable[[dict[str, torch.Tensor]], Any]


def features(num_segments: int = 2) -> list[tuple[list[int], list[int]]]:
    second = min(1, num_segments - 1)
    return [([2, 5, 6, 7, 3, 8, 9, 3], [0] * 5 + [second] * 3), ([2, 5, 3], [0] * 3)]


def padded(batch: Batch) -> dict[str, torch.Tensor]:
    grid = torch.zeros(len(batch.lengths), batch.max_length, dtype=torch.long)
    out = {name: grid.clone() for name in ("input_ids", "token_type_ids", "attention_mask")}
    for name, values in zip(out, (batch.ids, batch.segments, torch.ones_like(batch.ids)), strict=True):
        out[name][batch.rows, batch.positions] = values
    return out


def make(name: str, folder: Path, **config: Any) -> Any:
    """A random model of a class of `transformers`, saved in a folder; no LayerNorm is one, no bias zero."""
    import transformers

    torch.manual_seed(7)
    kind = "BertConfig" if name.startswith("Bert") else "ElectraConfig"
    sizes = SIZES if kind == "BertConfig" else {**SIZES, "embedding_size": 16}
    model = getattr(transformers, name)(getattr(transformers, kind)(**{**sizes, **config})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return model


def set_fields(folder: Path, **fields: Any) -> None:
    """Change config.json; ... removes a field."""
    path = folder / "config.json"
    values = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))


def change_weights(folder: Path, change: Change) -> None:
    """Change model.safetensors in place."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors = change(tensors) or tensors
    path.unlink()
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, path, metadata={"format": "pt"})


def as_bin(folder: Path, name: str = "pytorch_model.bin") -> None:
    """model.safetensors -> pytorch_model.bin."""
    torch.save(load_file(folder / "model.safetensors"), folder / name)
    (folder / "model.safetensors").unlink()


def shard(folder: Path, suffix: str = "safetensors", count: int = 3) -> None:
    """model.safetensors -> shards and an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    table = {}
    for i in range(count):
        part = {name: tensors[name] for name in sorted(tensors)[i::count]}
        file = f"{stem}-{i + 1:05d}-of-{count:05d}.{suffix}"
        if suffix == "safetensors":
            save_file(part, folder / file, metadata={"format": "pt"})
        else:
            torch.save(part, folder / file)
        table |= dict.fromkeys(part, file)
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": table}))


def outputs(model: Any, batch: Batch) -> torch.Tensor:
    """What a model of `transformers` answers, (B, C) or (T, ...): its first output, or a QA model's two."""
    with torch.no_grad():
        found = model(**padded(batch))
    values = torch.stack([found.start_logits, found.end_logits], -1) if "start_logits" in found else found[0]
    return values if values.dim() == 2 and "SequenceClassification" in type(model).__name__ else values[batch.rows, batch.positions]


def check_exact(folder: Path, name: str, *, role: str = "any", num_segments: int = 2) -> huggingface.Checkpoint:
    """Our loader's answers from a folder equal those of the class `name` of `transformers`, to 1e-5."""
    import transformers

    reference = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32).eval()
    ours = huggingface.load_checkpoint(folder, role)
    batch = collate(features(num_segments))
    with torch.no_grad():
        found = ours.module(batch)
    expected = outputs(reference, batch)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5), (found - expected).abs().max()
    return ours


def write_tokenizer(folder: Path) -> None:
    """A vocabulary of 99 words, with tokenizer files of ours."""
    from electra.data.tokenizer import load_tokenizer

    words = [*SPECIALS, *(f"w{i}" for i in range(99 - len(SPECIALS)))]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    load_tokenizer(folder / "vocab.txt").save(folder)
