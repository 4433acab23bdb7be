"""electra convert on other people's TensorFlow checkpoints: equal to `transformers` with the same weights, or refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.conformance import case, conforms
from support.tensorflow_checkpoints import (
    BERT,
    BFLOAT16,
    HALF,
    SMALL,
    answers,
    config,
    convert,
    exact,
    original_variables,
    random_model,
    refused,
    write_checkpoint,
    written,
)

from electra.cli import main

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TINY = {"vocab_size": 90, "hidden_size": 312, "num_hidden_layers": 4, "intermediate_size": 1248, "max_position_embeddings": 64}
"""The shape of CLUE's electra-tiny, with a small vocabulary."""
GENERATOR = {**TINY, "embedding_size": 312, "hidden_size": 78, "intermediate_size": 312, "num_attention_heads": 1}
DISCRIMINATOR = {**TINY, "embedding_size": 312, "num_attention_heads": 12}


def pretrained(folder: Path, discriminator: dict[str, Any], generator: dict[str, Any], **how: Any) -> tuple[Any, Any, Path]:
    """Discriminator and generator of transformers, which share their embeddings, and the original's checkpoint of both."""
    first = random_model("ElectraForPreTraining", config(**discriminator), 1)
    second = random_model("ElectraForMaskedLM", config(**generator), 2)
    second.electra.embeddings.load_state_dict(first.electra.embeddings.state_dict())
    variables = {**original_variables(first), **original_variables(second, scope="generator", shared_embeddings=True)}
    slots = {f"{name}/adam_{kind}": value * 0.5 for name, value in variables.items() for kind in "mv"}
    prefix = write_checkpoint(folder / "model.ckpt-1000", {**variables, **slots, "global_step": np.array(1000)}, **how)
    return first, second, prefix


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    return pretrained(tmp_path_factory.mktemp("tiny"), DISCRIMINATOR, GENERATOR)


@pytest.fixture
def release(tiny: tuple[Any, Any, Path], tmp_path: Path) -> Path:
    """electra-tiny's checkpoint without a configuration."""
    return shutil.copytree(tiny[2].parent, tmp_path / "release")


# ---- the number of heads ----

HPARAMS = {"model_size": "small", "vocab_size": 90, "embedding_size": 312, "model_hparam_overrides": {**TINY, "num_attention_heads": 12}}
BESIDE: dict[str, dict[str, Any]] = {
    "bert_config_tiny.json": {"bert_config_tiny.json": DISCRIMINATOR},
    "bert_config.json without embedding_size": {
        "bert_config.json": {**TINY, "num_attention_heads": 12, "hidden_act": "gelu", "pooler_type": "first"}
    },
    "discriminator_config.json and generator_config.json": {"discriminator_config.json": DISCRIMINATOR, "generator_config.json": GENERATOR},
    "HFL's small_discriminator_config.json": {"small_generator_config.json": GENERATOR, "small_discriminator_config.json": DISCRIMINATOR},
    "bert_config and generator_config in one file": {"run.json": {"bert_config": DISCRIMINATOR, "generator_config": GENERATOR}},
    "config.json": {"config.json": {**DISCRIMINATOR, "model_type": "electra"}},
    "the original's hparams": {"pretraining_config.json": HPARAMS},
    "several sizes, one of which fits": {"base_config.json": {"hidden_size": 768, "num_attention_heads": 4}, "tiny_config.json": DISCRIMINATOR},
}


@pytest.mark.parametrize("form", exact(*BESIDE, "--num-attention-heads"))
def test_heads_of_electra_tiny(tiny: tuple[Any, Any, Path], release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    """Discriminator (12 heads of 26) and generator (1 head of 78) answer as in transformers, whatever says the heads; both are printed."""
    for name, values in BESIDE.get(form, {}).items():
        (release / name).write_text(json.dumps(values))
    flags = ("--num-attention-heads", "12") if form.startswith("--") else ()
    assert convert(release, tmp_path / "out", *flags) == 0
    printed = capsys.readouterr().out
    assert "discriminator: 12 attention heads (" in printed and "generator: 1 attention head (" in printed
    assert all(name in printed for name in (BESIDE.get(form, {}) if "several" not in form else ["tiny_config.json"]))
    for kind, theirs, place in (("ElectraForPreTraining", tiny[0], ""), ("ElectraForMaskedLM", tiny[1], "generator")):
        assert torch.allclose(answers(written(kind, tmp_path / "out" / place)), answers(theirs), atol=1e-5)


REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "nothing says the heads": ({}, (), "give --num-attention-heads, or put its bert_config.json next to it"),
    "configuration of another width": (
        {"bert_config.json": {**DISCRIMINATOR, "hidden_size": 768}},
        (),
        "bert_config.json: hidden_size is 768, but the discriminator has 312",
    ),
    "configuration of another vocabulary": (
        {"bert_config.json": {**DISCRIMINATOR, "vocab_size": 21128}},
        (),
        "bert_config.json: vocab_size is 21128",
    ),
    "hyperparameters of another depth": (
        {"hparams.json": {**HPARAMS, "model_hparam_overrides": {"hidden_size": 312}}},
        (),
        "hparams.json: num_hidden_layers is 12",
    ),
    "configuration of another generator": (
        {"bert_config.json": DISCRIMINATOR, "generator_config.json": DISCRIMINATOR},
        (),
        "generator_config.json: hidden_size is 312",
    ),
    "two configurations that disagree": (
        {"a_config.json": DISCRIMINATOR, "b_config.json": {**DISCRIMINATOR, "num_attention_heads": 6}},
        (),
        "b_config.json: num_attention_heads is 6, but a_config.json says 12",
    ),
    "heads that do not divide": ({"bert_config.json": {**DISCRIMINATOR, "num_attention_heads": 7}}, (), "7 heads do not divide"),
    "heads that are no number": ({"bert_config.json": {**DISCRIMINATOR, "num_attention_heads": "12"}}, (), "give --num-attention-heads"),
    "generator's heads that do not divide": (
        {},
        ("--num-attention-heads", "12", "--generator-attention-heads", "4"),
        "give --generator-attention-heads",
    ),
    "an activation that is not implemented": ({"bert_config.json": {**DISCRIMINATOR, "hidden_act": "selu"}}, (), "'selu'"),
    "a generator whose activation Hugging Face's form cannot have": (
        {"bert_config.json": {**DISCRIMINATOR, "hidden_act": "relu"}},
        (),
        "hidden_act 'relu': a masked-LM head of ELECTRA has gelu",
    ),
    "configuration that is not JSON": ({"bert_config.json": "{"}, (), "bert_config.json is not valid JSON"),
}


@pytest.mark.parametrize("form", refused(*REFUSED))
def test_heads_that_are_not_known_are_refused(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    files, flags, message = REFUSED[form]
    for name, values in files.items():
        (release / name).write_text(values if isinstance(values, str) else json.dumps(values))
    assert convert(release, tmp_path / "out", *flags) == 2
    printed = capsys.readouterr().err
    assert message in printed and "Traceback" not in printed and not (tmp_path / "out").exists()


def test_a_flag_takes_precedence_and_says_so(tiny: tuple[Any, Any, Path], release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (release / "bert_config.json").write_text(json.dumps({**DISCRIMINATOR, "num_attention_heads": 4}))
    assert convert(release, tmp_path / "out", "--num-attention-heads", "12", "--generator-attention-heads", "2") == 0
    printed = capsys.readouterr().out
    assert "discriminator: 12 attention heads (--num-attention-heads; bert_config.json says 4)" in printed
    assert "generator: 2 attention heads (--generator-attention-heads)" in printed
    tiny[1].config.num_attention_heads = 2
    assert json.loads((tmp_path / "out" / "generator" / "config.json").read_text())["num_attention_heads"] == 2
    assert torch.allclose(answers(written("ElectraForPreTraining", tmp_path / "out")), answers(tiny[0]), atol=1e-5)


@conforms(form="TF1 checkpoint, a released shape", where="convert", outcome="exact")
def test_a_released_shape_is_inferred_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Google's Small: 256 wide in 12 layers, embeddings of 128; its generator by the original's rule."""
    sizes = {"vocab_size": 50, "embedding_size": 128, "num_hidden_layers": 12, "max_position_embeddings": 16}
    small = {**sizes, "hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 4}
    first, second, prefix = pretrained(tmp_path / "small", small, {**sizes, "hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1})
    assert convert(prefix, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "discriminator: 4 attention heads (one per 64 of width, as in the released model of this size" in printed
    assert "generator: 1 attention head (max(1, 64 // 64), as the original makes generators" in printed
    assert torch.allclose(answers(written("ElectraForPreTraining", tmp_path / "out")), answers(first), atol=1e-5)
    assert torch.allclose(answers(written("ElectraForMaskedLM", tmp_path / "out" / "generator")), answers(second), atol=1e-5)


# ---- forms of variables ----


@pytest.mark.parametrize(
    "form",
    exact(
        "float16 variables",
        "bfloat16 variables",
        "partitioned variables",
        "scope module/ (TF Hub)",
        "slots of other optimizers",
        "without the optimizer's variables",
    ),
)
def test_variables_in_other_forms(tmp_path: Path, form: str) -> None:
    model = random_model("ElectraForPreTraining", config(**SMALL), 3)
    if "float16" in form:
        model = model.to(getattr(torch, form.split()[0])).float()
    variables = original_variables(model)
    if form.startswith("scope"):
        variables = {f"module/{name}": value for name, value in variables.items()}
    if form != "without the optimizer's variables":
        variables |= {f"{name}/adam_m": value for name, value in variables.items()} | {"global_step": np.array(5)}
    how = {
        "float16 variables": {"kind": HALF},
        "bfloat16 variables": {"kind": BFLOAT16},
        "partitioned variables": {"partitioned": "electra/embeddings/word_embeddings"},
    }.get(form, {})
    prefix = write_checkpoint(tmp_path / "model.ckpt", variables, **how)
    assert convert(prefix, tmp_path / "out", "--num-attention-heads", "4") == 0
    assert torch.allclose(answers(written("ElectraForPreTraining", tmp_path / "out")), answers(model), atol=1e-5)


@conforms(form="TF1 checkpoint, generator tied, untied or alone", where="convert", outcome="exact")
def test_generators_of_other_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights tied to the discriminator's; embeddings of its own; the original's BERT objective (a masked LM in the scope electra)."""
    first, second = random_model("ElectraForPreTraining", config(**SMALL), 4), random_model("ElectraForMaskedLM", config(**SMALL), 5)
    head = {name: value for name, value in original_variables(second).items() if name.startswith("generator_predictions")}
    flags = ("--num-attention-heads", "4")
    untied = {**original_variables(first), **original_variables(second, scope="generator")}
    assert convert(write_checkpoint(tmp_path / "untied" / "c", untied), tmp_path / "a", *flags, "--generator-attention-heads", "4") == 0
    assert torch.allclose(answers(written("ElectraForMaskedLM", tmp_path / "a" / "generator")), answers(second), atol=1e-5)
    assert convert(write_checkpoint(tmp_path / "bert" / "c", original_variables(second)), tmp_path / "b", *flags) == 0
    assert torch.allclose(answers(written("ElectraForMaskedLM", tmp_path / "b")), answers(second), atol=1e-5)
    assert convert(write_checkpoint(tmp_path / "tied" / "c", {**original_variables(first), **head}), tmp_path / "c", *flags) == 0
    second.electra.load_state_dict(first.electra.state_dict())
    assert torch.allclose(answers(written("ElectraForMaskedLM", tmp_path / "c" / "generator")), answers(second), atol=1e-5)
    assert torch.allclose(answers(written("ElectraForPreTraining", tmp_path / "c")), answers(first), atol=1e-5)
    capsys.readouterr()
    alone = original_variables(second, scope="generator")
    assert convert(write_checkpoint(tmp_path / "alone" / "c", alone), tmp_path / "d", *flags) == 0
    assert "no discriminator" in capsys.readouterr().out
    assert torch.allclose(answers(written("ElectraForMaskedLM", tmp_path / "d")), answers(second), atol=1e-5)


@conforms(form="TF1 checkpoint, Electric (two towers)", where="convert", outcome="exact")
def test_two_towers(tmp_path: Path) -> None:
    """Electric's checkpoint: energies, and a generator of two towers that share the discriminator's embeddings. The oracle is the same module."""
    from electra.model.encoder import Encoder, EncoderConfig
    from electra.model.generators import TwoTowerGenerator
    from electra.model.huggingface import is_electric, load_checkpoint, reinitialize, to_hf

    shape = EncoderConfig(**SMALL, max_position_embeddings=64)
    model, left = random_model("ElectraForPreTraining", config(**SMALL), 3), Encoder(shape)
    towers = TwoTowerGenerator(left, Encoder(shape, left.embeddings))
    reinitialize(towers, 5)
    weights = to_hf(towers)
    shared = {f"electra.{name}": value for name, value in model.electra.state_dict().items() if name.startswith("embeddings.")}
    weights |= {name: value for name, value in shared.items() if name in weights}

    class Towers:
        def state_dict(self) -> dict[str, Any]:
            return weights

    found = original_variables(Towers(), scope="generator_ltr")
    found = {name.replace("electra_right/", "generator_rtl/").replace("generator_predictions/", "cloze_predictions/"): v for name, v in found.items()}
    found = {name: value for name, value in found.items() if "/embeddings/" not in name} | original_variables(model)
    flags = ("--num-attention-heads", "4", "--generator-attention-heads", "4")
    assert convert(write_checkpoint(tmp_path / "c" / "c", found), tmp_path / "out", *flags) == 0
    discriminator = load_checkpoint(tmp_path / "out")
    assert is_electric(discriminator) and torch.equal(
        written("ElectraForPreTraining", tmp_path / "out").electra.state_dict()["embeddings.word_embeddings.weight"],
        weights["electra.embeddings.word_embeddings.weight"],
    )
    again = to_hf(load_checkpoint(tmp_path / "out" / "generator").module)
    assert set(again) == set(weights) and all(torch.equal(again[name], value) for name, value in weights.items())


def _without(name: str) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    return lambda variables: {key: value for key, value in variables.items() if key != name}


def _with(name: str) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    return lambda variables: {**variables, name: np.zeros((4, 4), np.float32)}


WRONG: dict[str, tuple[Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], str]] = {
    "a missing weight": (_without("electra/encoder/layer_1/attention/self/key/bias"), "layer.1.attention.self.key.bias"),
    "no embeddings": (_without("electra/embeddings/word_embeddings"), "electra/embeddings/word_embeddings"),
    "a variable of another architecture": (_with("electra/encoder/layer_0/adapter/kernel"), "electra/encoder/layer_0/adapter/kernel"),
    "relative positions": (_with("electra/embeddings/relative_embeddings"), "relative_embeddings"),
    "two models": (lambda v: {**v, **{f"teacher/{name}": value for name, value in v.items()}}, "several scopes: (top), teacher"),
    "an ALBERT": (_with("bert/encoder/transformer/group_0/inner_group_0/attention_1/self/key/kernel"), "is an ALBERT"),
    "another network": (lambda v: {f"model/{i}": value for i, value in enumerate(v.values())}, "neither an ELECTRA nor a BERT"),
    "TensorFlow 2's objects": (lambda v: {f"model/{name}/.ATTRIBUTES/VARIABLE_VALUE": value for name, value in v.items()}, "object-based checkpoint"),
}


@pytest.mark.parametrize("form", refused(*WRONG))
def test_other_variables_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    change, message = WRONG[form]
    variables = change(original_variables(random_model("ElectraForPreTraining", config(**SMALL), 3)))
    assert convert(write_checkpoint(tmp_path / "c" / "model.ckpt", variables), tmp_path / "out", "--num-attention-heads", "4") == 2
    printed = capsys.readouterr().err
    assert message in printed and "Traceback" not in printed


def test_pretrained_checkpoints_take_no_flags_of_fine_tuned_ones(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flag, value in (("--task", "sst"), ("--head", "tagging"), ("--labels", "a")):
        assert convert(release, tmp_path / "out", "--num-attention-heads", "12", flag, value) == 2
        assert f"{flag} is for fine-tuned checkpoints" in capsys.readouterr().err
    assert convert(release, tmp_path / "out", "--num-attention-heads", "12", "--head", "encoder") == 0


# ---- files ----


def test_vocabularies_are_found_where_they_are_unambiguous(tiny_vocab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Next to the checkpoint under any name; above it only if it has as many tokens as the table has rows."""
    size = len(tiny_vocab.read_text().split("\n")) - 1
    prefix = write_checkpoint(
        tmp_path / "models" / "x" / "c", original_variables(random_model("ElectraForPreTraining", config(**SMALL | {"vocab_size": size}), 3))
    )
    folder, flags = prefix.parent, ("--num-attention-heads", "4")
    assert convert(folder, tmp_path / "a", *flags) == 0 and not (tmp_path / "a" / "vocab.txt").exists()
    assert "no vocabulary" in capsys.readouterr().out
    shutil.copyfile(tiny_vocab, tmp_path / "vocab.txt")
    (tmp_path / "models" / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    assert convert(folder, tmp_path / "b", *flags) == 0 and (tmp_path / "b" / "vocab.txt").exists()
    assert f"vocabulary: {tmp_path / 'vocab.txt'}" in capsys.readouterr().out
    shutil.copyfile(tiny_vocab, folder / "bert_vocab.txt")
    assert convert(folder, tmp_path / "c", *flags) == 0
    assert f"vocabulary: {folder / 'bert_vocab.txt'}" in capsys.readouterr().out
    shutil.copyfile(tiny_vocab, folder / "old_vocab.txt")
    assert convert(folder, tmp_path / "d", *flags) == 2 and "several vocabularies" in capsys.readouterr().err
    shutil.copyfile(tiny_vocab, folder / "vocab.txt")
    assert convert(folder, tmp_path / "d", *flags, "--dtype", "float16") == 0


def test_the_file_checkpoint_may_name_another(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (release / "checkpoint").write_text('model_checkpoint_path: "gs://bucket/model.ckpt-2000"\n')
    assert convert(release, tmp_path / "out", "--num-attention-heads", "12") == 0
    assert "checkpoint: model.ckpt-1000 (the file 'checkpoint' names model.ckpt-2000)" in capsys.readouterr().out


OTHERS = {
    "tf_model.h5": "a Keras model of TensorFlow 2",
    "flax_model.msgpack": "a Flax model",
    "saved_model.pb": "a TensorFlow SavedModel",
    "frozen.pb": "a frozen TensorFlow graph",
    "model.tflite": "a TensorFlow Lite model",
    "rust_model.ot": "a model of rust-bert",
    "electra_small.zip": "an archive",
    "electra_small.meta": "the graph of a TensorFlow checkpoint without its weights",
    "electra_small.data-00000-of-00001": "without its index",
    "electra_small.ckpt": "save it again with TensorFlow",
    "model.ckpt-1000": "save it again with TensorFlow",
}


@pytest.mark.parametrize("name", [case(name, form=f"{form} ({name})", where="convert", outcome="refused") for name, form in OTHERS.items()])
@pytest.mark.parametrize("given", ["folder", "file"])
def test_other_forms_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, given: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**SMALL, "model_type": "electra"}))
    (folder / name).write_bytes(b"\x89HDF")
    assert convert(folder if given == "folder" else folder / name, tmp_path / "out") == 2
    printed = capsys.readouterr().err
    assert OTHERS[name] in printed and name in printed and "Traceback" not in printed


def test_a_release_that_was_unpacked_into_a_folder_of_its_own(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    release.rename(outer / "electra_tiny")
    assert convert(outer, tmp_path / "out") == 2
    assert f"the TensorFlow checkpoint is in {outer / 'electra_tiny'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "kind",
    [
        case(kind, form=f"{kind} of transformers", where="convert", outcome="exact")
        for kind in ("BertForSequenceClassification", "BertForPreTraining")
    ],
)
def test_a_bert_of_transformers_keeps_its_heads(tmp_path: Path, kind: str) -> None:
    """The classifier with its labels; the next-sentence head and the pooler; the same weights, bit for bit."""
    labels = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    model = random_model(kind, transformers.BertConfig(**BERT, **(labels if "Sequence" in kind else {})), 8)
    model.save_pretrained(tmp_path / "model")
    assert convert(tmp_path / "model", tmp_path / "out") == 0
    again = written(kind, tmp_path / "out")
    assert again.config.id2label[1] == ("good" if "Sequence" in kind else "LABEL_1")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_labels_of_a_hugging_face_directory_are_kept(tmp_path: Path) -> None:
    labels = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    model = random_model("ElectraForSequenceClassification", config(**SMALL, **labels), 8)
    model.save_pretrained(tmp_path / "model")
    assert convert(tmp_path / "model", tmp_path / "out") == 0
    again = written("ElectraForSequenceClassification", tmp_path / "out")
    assert again.config.id2label == {0: "bad", 1: "good"} and torch.equal(answers(again), answers(model))


COMMANDS = {"predict": ("{model}", "{text}"), "detect": ("{model}", "{text}"), "embed": ("{model}", "{text}")}


@pytest.mark.parametrize(
    "command", [case(name, form="TF1 checkpoint, any", where=name, outcome="refused") for name in (*COMMANDS, "evaluate", "finetune")]
)
def test_other_commands_name_the_remedy(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    text = tmp_path / "text.csv"
    text.write_text("text,label\nthe chef,a\nthe meal,b\n")
    flags = {
        "evaluate": ("{model}", "--task", "own", "--data", "{text}"),
        "finetune": ("own", "--model", "{model}", "--train", "{text}", "--dev", "{text}", "--output", "{out}"),
    }
    for model in (release, release / "model.ckpt-1000"):
        values = {"model": model, "text": text, "out": tmp_path / "out"}
        assert main([command, *(flag.format(**values) for flag in {**COMMANDS, **flags}[command])]) == 2
        printed = capsys.readouterr().err
        assert f"is a TensorFlow checkpoint; convert it first: electra convert {model}" in printed and "Traceback" not in printed


@conforms(form="TF1 checkpoint, any", where="inspect", outcome="exact")
def test_inspect_describes_a_tensorflow_checkpoint(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Networks, sizes and the step; the same by the folder, the name, or a file of it."""
    (release / "config.json").write_text(json.dumps(DISCRIMINATOR))
    for source in (release, release / "model.ckpt-1000", release / "model.ckpt-1000.index"):
        assert main(["inspect", str(source), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["kind"] == "TensorFlow checkpoint" and found["step"] == 1000 and found["vocab_size"] == 90
        assert found["networks"]["electra"] == {"num_hidden_layers": 4, "hidden_size": 312, "intermediate_size": 1248}
        assert found["networks"]["generator"]["hidden_size"] == 78 and found["num_optimizer_variables"] == 2 * found["num_variables"]
    assert main(["inspect", str(release)]) == 0 and "hidden size" in capsys.readouterr().out


def test_hyperparameters_say_the_case(tiny_vocab: Path, tmp_path: Path) -> None:
    """`do_lower_case` of the original's hyperparameters, unless a flag says otherwise."""
    size = len(tiny_vocab.read_text().split("\n")) - 1
    model = random_model("ElectraForPreTraining", config(**SMALL | {"vocab_size": size}), 3)
    folder = write_checkpoint(tmp_path / "c" / "c", original_variables(model)).parent
    shutil.copyfile(tiny_vocab, folder / "vocab.txt")
    shape = {key: SMALL[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")}
    hparams = {"model_size": "small", "embedding_size": 16, "do_lower_case": False, "model_hparam_overrides": shape}
    (folder / "hparams.json").write_text(json.dumps(hparams))
    for flags, lower in (((), False), (("--lowercase",), True)):
        out = tmp_path / f"out-{lower}"
        assert convert(folder, out, *flags) == 0
        assert transformers.AutoTokenizer.from_pretrained(out).tokenize("The")[0] == ("the" if lower else "[UNK]")


@conforms(form="sentence-transformers folder", where="convert", outcome="exact")
def test_a_sentence_encoder_keeps_its_modules(tiny_vocab: Path, tmp_path: Path) -> None:
    """modules.json, the pooling and the tokenizer's limit and case are those of the source, not of the vocabulary's look."""
    size = len(tiny_vocab.read_text().split("\n")) - 1
    source = tmp_path / "source"
    random_model("BertModel", transformers.BertConfig(**BERT | {"vocab_size": size}), 8).save_pretrained(source)
    shutil.copyfile(tiny_vocab, source / "vocab.txt")
    (source / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": False, "model_max_length": 24}))
    modules = (("Transformer", ""), ("Pooling", "1_Pooling"))
    listed = [{"name": kind, "path": path, "type": f"sentence_transformers.models.{kind}"} for kind, path in modules]
    (source / "modules.json").write_text(json.dumps(listed))
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling" / "config.json").write_text("{}")
    assert convert(source, tmp_path / "out") == 0
    assert (tmp_path / "out" / "modules.json").read_text() == (source / "modules.json").read_text()
    assert (tmp_path / "out" / "1_Pooling" / "config.json").exists()
    tokenizer, theirs = (transformers.AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "out", source))
    assert tokenizer.model_max_length == 24 and tokenizer("The chef")["input_ids"] == theirs("The chef")["input_ids"]


def test_weights_that_are_left_out_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    random_model("ElectraForPreTraining", config(**SMALL), 8).save_pretrained(tmp_path / "source")
    path = tmp_path / "source" / "model.safetensors"
    save_file({**load_file(path), "teacher.weight": torch.zeros(2)}, path, metadata={"format": "pt"})
    (tmp_path / "source" / "spiece.model").write_bytes(b"x")
    assert convert(tmp_path / "source", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "has no such weights: 1 (teacher.weight)" in printed and "spiece.model needs other software" in printed


@pytest.mark.parametrize(
    "name",
    [
        case(name, form=f"{OTHERS[name]} ({name})", where="predict", outcome="refused")
        for name in ("tf_model.h5", "flax_model.msgpack", "saved_model.pb")
    ],
)
def test_other_forms_are_refused_by_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**SMALL, "model_type": "electra", "architectures": ["ElectraForSequenceClassification"]}))
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "text.txt").write_text("a\n")
    assert main(["predict", str(tmp_path), str(tmp_path / "text.txt")]) == 2
    printed = capsys.readouterr().err
    assert OTHERS[name] in printed and "Traceback" not in printed


@conforms(form="TF1 checkpoint, relu and layer_norm_eps in its configuration", where="convert", outcome="exact")
def test_activation_and_epsilon_of_the_configuration(tmp_path: Path) -> None:
    shape = {**SMALL, "hidden_act": "relu", "layer_norm_eps": 1e-3}
    model = random_model("ElectraForPreTraining", config(**shape), 3)
    prefix = write_checkpoint(tmp_path / "c" / "c", original_variables(model))
    (prefix.parent / "bert_config.json").write_text(json.dumps(shape))
    assert convert(prefix, tmp_path / "out") == 0
    ours = written("ElectraForPreTraining", tmp_path / "out")
    assert ours.config.hidden_act == "relu" and ours.config.layer_norm_eps == 1e-3 and torch.allclose(answers(ours), answers(model), atol=1e-5)
