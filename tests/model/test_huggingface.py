"""Equality with `transformers` on random weights: states, logits and gradients, over a grid of shapes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from conformance import case
from hf_forms import as_bin, change_weights, check_exact, make, padded, set_fields

from electra import cpu_kernels
from electra.data.pretraining_batches import collate
from electra.model import huggingface
from electra.model.encoder import parameter_depth

transformers = pytest.importorskip("transformers")

SHAPES = [
    pytest.param(dict(embedding_size=32, hidden_size=32, num_attention_heads=2), id="embedding=hidden"),
    pytest.param(dict(embedding_size=16, hidden_size=48, num_attention_heads=4), id="embedding<hidden"),
    pytest.param(dict(embedding_size=40, hidden_size=24, num_attention_heads=1), id="embedding>hidden"),
]
BATCHES = {
    "padded, two segments": [([2, 5, 6, 7, 3, 8, 9, 3], [0] * 5 + [1] * 3), ([2, 5, 3], [0] * 3)],
    "one token": [([4], [0])],
    "nearly full": [([2, *range(20, 38), 3], [0] * 20), ([2, *range(40, 57), 3], [0] * 12 + [1] * 7)],
    "full": [([2, 10, 11, 3], [0] * 4), ([2, 12, 13, 3], [0, 0, 1, 1])],
}
CLASSES = ["ElectraModel", "ElectraForPreTraining", "ElectraForMaskedLM", "ElectraForSequenceClassification"]


@pytest.fixture(params=["plain", "fast"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The encoder as it comes, and as `electra.cpu_kernels` makes it fast; on a processor where that is of no use, all of its paths all the same."""
    if request.param == "fast" and not cpu_kernels.onednn_is_exact():
        monkeypatch.setattr(cpu_kernels, "uses_onednn", lambda: True)
    with cpu_kernels.onednn_matmuls(torch.device("cpu")) if request.param == "fast" else nullcontext():
        yield request.param


def theirs(name: str, shape: dict[str, int]) -> torch.nn.Module:
    torch.manual_seed(7)
    config = transformers.ElectraConfig(vocab_size=99, num_hidden_layers=3, intermediate_size=70, max_position_embeddings=40, num_labels=3, **shape)
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():  # LayerNorms and biases start at one and zero, where a swapped one would not show
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("features", BATCHES.values(), ids=BATCHES.keys())
@pytest.mark.parametrize("name", CLASSES)
def test_states_logits_and_gradients_equal_transformers(way: str, name: str, features: list, shape: dict[str, int], tmp_path: Path) -> None:
    reference = theirs(name, shape)
    reference.save_pretrained(tmp_path)
    ours = huggingface.load_checkpoint(tmp_path).module
    batch = collate(features)
    expected = reference(**padded(batch))[0]
    if name != "ElectraForSequenceClassification":
        expected = expected[batch.rows, batch.positions]
    found = ours(batch)
    assert torch.allclose(found, expected, atol=1e-5, rtol=0)

    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    gradients = {k: p.grad for k, p in reference.named_parameters() if p.grad is not None}
    mine = dict(ours.named_parameters())
    compared = 0
    for our_name, their_names in huggingface.parameter_names(huggingface.architecture_of(ours), 3, shape["embedding_size"] != shape["hidden_size"]):
        if our_name not in mine:
            continue
        parts = mine[our_name].grad.chunk(len(their_names))
        for part, their_name in zip(parts, their_names, strict=True):
            if their_name not in gradients:  # a gradient of zero everywhere
                assert part.abs().max() == 0
                continue
            scale = max(1.0, gradients[their_name].abs().max().item())
            assert torch.allclose(part, gradients[their_name], atol=1e-5 * scale, rtol=0), their_name
            compared += 1
    assert compared > 30


@pytest.mark.parametrize("shape", SHAPES[:2])
@pytest.mark.parametrize("name", CLASSES)
def test_round_trip_is_bit_exact_and_opens_without_a_warning(name: str, shape: dict[str, int], tmp_path: Path) -> None:
    reference = theirs(name, shape)
    reference.save_pretrained(tmp_path / "theirs")
    checkpoint = huggingface.load_checkpoint(tmp_path / "theirs")
    huggingface.save_checkpoint(checkpoint.module, tmp_path / "ours", labels=checkpoint.labels)
    again, report = getattr(transformers, name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    for key, value in reference.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    twice = huggingface.load_checkpoint(tmp_path / "ours")
    for key, value in checkpoint.module.state_dict().items():
        assert torch.equal(value, twice.module.state_dict()[key]), key


def test_old_bin_files_are_read_and_pickled_code_is_not(tmp_path: Path) -> None:
    reference = theirs("ElectraForPreTraining", dict(embedding_size=16, hidden_size=32, num_attention_heads=2))
    reference.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    old = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v for k, v in reference.state_dict().items()}
    torch.save(old, tmp_path / "pytorch_model.bin")
    loaded = huggingface.load_checkpoint(tmp_path, "discriminator")
    assert torch.equal(
        huggingface.to_hf(loaded.module)["electra.embeddings.word_embeddings.weight"], reference.electra.embeddings.word_embeddings.weight
    )

    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"x": Trap()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(huggingface.UserError, match=r"contains builtins\.getattr, which is more than plain tensors, and is never loaded"):
        huggingface.load_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()
    torch.save({"x": Trap()}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(huggingface.UserError, match="damaged, or contains more than plain tensors, which is never loaded"):
        huggingface.load_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_class_with_a_name_of_megabytes_is_refused_at_once(tmp_path: Path) -> None:
    """torch searches its message about the class with a pattern that needs hours for this one, in a zip and in the form before version 1.6."""
    reference = theirs("ElectraForPreTraining", dict(embedding_size=16, hidden_size=32, num_attention_heads=2))
    reference.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    path = tmp_path / "pytorch_model.bin"
    name = b"a" * 2_000_000
    path.write_bytes(b"c" + name + b"\n" + name + b"\n.")
    with pytest.raises(huggingface.UserError, match="a name of 4096 bytes or more"):
        huggingface.load_checkpoint(tmp_path)
    torch.save({"x": torch.zeros(1)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member, content in members.items():
            archive.writestr(member, b"\x80\x02c" + name + b"\n" + name + b"\n." if member.endswith("data.pkl") else content)
    with pytest.raises(huggingface.UserError, match=r"contains a{80}, which is more than plain tensors"):
        huggingface.load_checkpoint(tmp_path)


def test_a_checkpoint_that_does_not_fit_names_the_weight(tmp_path: Path) -> None:
    reference = theirs("ElectraForPreTraining", dict(embedding_size=16, hidden_size=32, num_attention_heads=2))
    reference.save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"vocab_size": 99', '"vocab_size": 98'))
    with pytest.raises(huggingface.UserError, match=r"word_embeddings.weight' has shape \(99, 16\)"):
        huggingface.load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(config.replace('"num_hidden_layers": 3', '"num_hidden_layers": 4'))
    with pytest.raises(huggingface.UserError, match=r"layer\.3.* is missing"):
        huggingface.load_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(huggingface.UserError, match="has no classifier head; fine-tune it first"):
        huggingface.load_checkpoint(tmp_path, "classifier")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(huggingface.UserError, match="damaged or incomplete"):
        huggingface.load_checkpoint(tmp_path)


def test_depth_of_parameters_counts_the_embedding_as_zero() -> None:
    names = {
        "encoder.embeddings.word.weight": 0,
        "encoder.projection.weight": 0,
        "encoder.layers.0.qkv.weight": 1,
        "encoder.layers.11.norm.bias": 12,
        "head.dense.weight": -1,
    }
    assert {name: parameter_depth(name) for name in names} == names


@pytest.mark.parametrize("features", BATCHES.values(), ids=BATCHES.keys())
def test_the_states_of_some_tokens_are_those_of_all(way: str, features: list, tmp_path: Path) -> None:
    """Values and gradients, where most of the last layer is not computed for the others."""
    theirs("ElectraModel", dict(embedding_size=16, hidden_size=48, num_attention_heads=4)).save_pretrained(tmp_path)
    encoder, batch = huggingface.load_checkpoint(tmp_path).encoder, collate(features)
    at = torch.arange(0, batch.num_tokens, 3)
    found, expected = [], []
    for states, kept in ((encoder(batch, at=at), found), (encoder(batch)[at], expected)):
        encoder.zero_grad()
        (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum().backward()
        kept += [states, *(parameter.grad for parameter in encoder.parameters())]
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, expected, strict=True))


def own_output(folder: Path) -> None:
    """An output matrix that is not the word embeddings."""
    output, words = (
        ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight")
        if "bert" in (folder / "config.json").read_text()
        else ("generator_lm_head.weight", "electra.embeddings.word_embeddings.weight")
    )
    bias = {"cls.predictions.decoder.bias": torch.linspace(-1, 1, 99)} if output.startswith("cls") else {}
    change_weights(folder, lambda tensors: {**tensors, output: tensors[words].flip(0) * 2, **bias})


def same_output(folder: Path) -> None:
    change_weights(
        folder,
        lambda tensors: {
            **tensors,
            **{
                output: tensors[words]
                for output, words in (
                    ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
                    ("cls.predictions.decoder.bias", "cls.predictions.bias"),
                    ("generator_lm_head.weight", "electra.embeddings.word_embeddings.weight"),
                )
                if words in tensors
            },
        },
    )


def untie(folder: Path) -> None:
    set_fields(folder, tie_word_embeddings=False)


def without_words(folder: Path) -> None:
    change_weights(folder, lambda tensors: {name: value for name, value in tensors.items() if "word_embeddings" not in name})


OUTPUTS: dict[str, tuple[Callable[[Path], None], ...]] = {
    "tied output without a weight": (),
    "tied output with the same weight": (same_output,),
    "tied output with the same weight in pytorch_model.bin": (same_output, as_bin),
    "tie_word_embeddings false with an own output matrix": (own_output, untie),
    "tie_word_embeddings true and another output matrix": (own_output,),
    "tie_word_embeddings false and equal matrices": (same_output, untie),
    "output matrix without word embeddings": (same_output, without_words),
}


@pytest.mark.parametrize("name", ["ElectraForMaskedLM", "BertForMaskedLM", "BertForPreTraining"])
@pytest.mark.parametrize("forms", [case(change, form=form, where=("load", "Python"), outcome="exact") for form, change in OUTPUTS.items()])
def test_output_matrices(forms: tuple[Callable[[Path], None], ...], name: str, tmp_path: Path) -> None:
    make(name, tmp_path)
    for form in forms:
        form(tmp_path)
    found = check_exact(tmp_path, name, role="generator")
    huggingface.save_checkpoint(found.module, tmp_path / "again")
    _, report = getattr(transformers, name).from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not any(report.values()), report
    check_exact(tmp_path / "again", name)
