"""Original TensorFlow checkpoints: equality with the original's answers, and files that are damaged or hostile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.conformance import case, conforms
from support.tensorflow_checkpoints import (
    BERT,
    IDS,
    SEGMENTS,
    SMALL,
    answers,
    config,
    convert,
    entry,
    exact,
    field,
    original_variables,
    random_model,
    shape_of,
    write_bundle,
    write_checkpoint,
    written,
)

from electra.data.pretraining_batches import collate
from electra.errors import UserError
from electra.model import huggingface
from electra.model.huggingface import to_hf
from electra.model.tensorflow import TensorBundle, find_checkpoint, read_networks
from electra.protobuf import ordered, slice_key

transformers = pytest.importorskip("transformers")


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


# ---- fine-tuned ----


def fine_tuned(folder: Path, encoder: Any, heads: dict[str, np.ndarray]) -> Path:
    variables = {f"electra/{name.removeprefix('electra/')}": value for name, value in original_variables(encoder).items()}
    variables |= {f"task_specific/{name}": value for name, value in heads.items()}
    return write_checkpoint(folder / "model.ckpt-300", {**variables, "global_step": np.array(300)})


def matrix(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def dense(task: str, width: int, num: int, layer: str = "dense") -> dict[str, np.ndarray]:
    return {f"{task}/{layer}/kernel": matrix(width, num), f"{task}/{layer}/bias": matrix(num)}


QUESTIONS = {
    **dense("squad", 32, 1),
    **dense("squad", 64, 512, "qa_hidden"),
    **dense("squad", 512, 1, "dense_1"),
    **dense("squad", 64, 512, "dense_2"),
    **dense("squad", 512, 1, "dense_3"),
}
FINE_TUNED = "fine-tuned, "
KINDS: dict[str, tuple[dict[str, np.ndarray], tuple[str, ...], str, tuple[str, ...]]] = {
    "classification": (dense("mnli", 32, 3), (), "ElectraOriginalClassifier", ("contradiction", "entailment", "neutral")),
    "classification without names": (dense("sst", 32, 2), (), "ElectraOriginalClassifier", ("LABEL_0", "LABEL_1")),
    "classification with --labels": (
        dense("sst", 32, 2),
        ("--labels", "negative", "positive"),
        "ElectraOriginalClassifier",
        ("negative", "positive"),
    ),
    "regression": (dense("sts", 32, 1), (), "ElectraOriginalClassifier", ("LABEL_0",)),
    "an unknown task": (dense("mine", 32, 4), ("--head", "classification"), "ElectraOriginalClassifier", tuple(f"LABEL_{i}" for i in range(4))),
    "tagging": (dense("chunk", 32, 5), (), "ElectraForTokenClassification", tuple(f"LABEL_{i}" for i in range(5))),
    "questions": (QUESTIONS, (), "ElectraOriginalQuestionAnswering", ()),
    "one of several tasks": (
        {**dense("rte", 32, 2), **dense("chunk", 32, 5)},
        ("--task", "rte"),
        "ElectraOriginalClassifier",
        ("entailment", "not_entailment"),
    ),
    "several tasks": ({**dense("rte", 32, 2), **dense("chunk", 32, 5)}, (), "ElectraModel", ()),
    "an unknown task without --head": (dense("mine", 32, 4), (), "ElectraModel", ()),
    "an unknown head": (dense("mine", 32, 4, "conv"), (), "ElectraModel", ()),
    "no head": ({}, (), "ElectraModel", ()),
    "questions of SQuAD 1.1": ({name.replace("squad/", "squadv1/"): v for name, v in QUESTIONS.items()}, (), "ElectraOriginalQuestionAnswering", ()),
    "a head that is left out": (dense("mnli", 32, 3), ("--head", "encoder"), "ElectraModel", ()),
}


@pytest.mark.parametrize("form", exact(*(FINE_TUNED + form for form in KINDS)))
def test_fine_tuned_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    """States as in transformers; the head computes what the original's does, from its kernels."""
    from electra.data.pretraining_batches import collate
    from electra.model.huggingface import load_checkpoint

    form = form.removeprefix(FINE_TUNED)
    heads, flags, architecture, labels = KINDS[form]
    theirs = random_model("ElectraModel", config(**SMALL), 6)
    assert convert(fine_tuned(tmp_path / "c", theirs, heads), tmp_path / "out", "--num-attention-heads", "4", *flags) == 0
    printed = capsys.readouterr().out
    found = load_checkpoint(tmp_path / "out")
    assert (found.architecture, found.labels) == (architecture, labels)
    if architecture == "ElectraModel" and heads:
        assert "task_specific/" in printed and "not converted" in printed
    batch = collate([(IDS[0].tolist(), SEGMENTS[0].tolist())])
    states = answers(theirs)[0]
    with torch.no_grad():
        assert torch.allclose(found.encoder(batch), states, atol=1e-5)
        task = flags[1] if flags[:1] == ("--task",) else next(iter(heads), "").split("/")[0]
        if architecture in ("ElectraOriginalClassifier", "ElectraForTokenClassification"):
            kernel, bias = (torch.tensor(heads[f"{task}/dense/{name}"]) for name in ("kernel", "bias"))
            wanted = (states if architecture == "ElectraForTokenClassification" else states[:1]) @ kernel + bias
            assert torch.allclose(found.module(batch), wanted, atol=1e-4)
        elif architecture == "ElectraOriginalQuestionAnswering":
            state = found.module.state_dict()
            names = {
                "start": "dense",
                "end.dense": "qa_hidden",
                "end.output": "dense_1",
                "answerable.dense": "dense_2",
                "answerable.output": "dense_3",
            }
            assert all(np.array_equal(state[f"head.{ours}.weight"].numpy(), heads[f"{task}/{name}/kernel"].T) for ours, name in names.items())
    if form == "questions":
        spec = json.loads((tmp_path / "out" / "config.json").read_text())["electra_input_spec"]
        assert spec == {"unanswerable": True, "null_threshold": -2.75}
    if form == "tagging":
        assert json.loads((tmp_path / "out" / "config.json").read_text())["electra_input_spec"] == {"token_segment": 1}
    if form == "regression":
        assert json.loads((tmp_path / "out" / "config.json").read_text())["problem_type"] == "regression"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--task", "cola"), "--task cola: the checkpoint has mnli"),
        (("--labels", "a", "b"), "--labels gives 2 names; the head has 3 outputs"),
        (("--generator-attention-heads", "2"), "no generator of its own"),
    ],
)
def test_flags_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str) -> None:
    prefix = fine_tuned(tmp_path / "c", random_model("ElectraModel", config(**SMALL), 6), dense("mnli", 32, 3))
    assert convert(prefix, tmp_path / "out", "--num-attention-heads", "4", *flags) == 2
    assert message in capsys.readouterr().err


def test_labels_of_a_configuration(tmp_path: Path) -> None:
    prefix = fine_tuned(tmp_path / "c", random_model("ElectraModel", config(**SMALL), 6), dense("sst", 32, 2))
    (tmp_path / "c" / "config.json").write_text(json.dumps({**SMALL, "id2label": {"0": "bad", "1": "good"}}))
    assert convert(prefix.parent, tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["id2label"] == {"0": "bad", "1": "good"}


# ---- BERT ----

CHINESE = {
    "directionality": "bidi",
    "pooler_fc_size": 768,
    "pooler_num_attention_heads": 12,
    "pooler_size_per_head": 128,
    "pooler_type": "first_token_transform",
}
"""Fields of the released BERT-Base, Chinese that no code reads."""


def bert_checkpoint(folder: Path, model: Any, *left_out: str) -> Path:
    """A BERT of transformers as google-research/bert stores it, with its bert_config.json."""
    prefix = "" if hasattr(model, "bert") else "bert/"
    variables = {prefix + name: value for name, value in original_variables(model).items()}
    variables = {name: value for name, value in variables.items() if not name.startswith(left_out or ("-",))}
    slots = {f"{name}/adam_{kind}": value for name, value in variables.items() for kind in "mv"}
    found = write_checkpoint(folder / "bert_model.ckpt", {**variables, **slots, "global_step": np.array(10)})
    values = {key: value for key, value in model.config.to_dict().items() if key in {*BERT, "hidden_act", "hidden_dropout_prob", "initializer_range"}}
    (folder / "bert_config.json").write_text(json.dumps({**values, **CHINESE}))
    return found


BERTS: dict[str, tuple[str, dict[str, Any], tuple[str, ...], str]] = {
    "pre-trained": ("BertForPreTraining", {}, (), "BertForPreTraining"),
    "pre-trained without next sentence": ("BertForMaskedLM", {}, (), "BertForMaskedLM"),
    "encoder": ("BertModel", {}, (), "BertModel"),
    "run_classifier.py": ("BertForSequenceClassification", {"num_labels": 3}, (), "BertForSequenceClassification"),
    "run_classifier.py, names of labels": (
        "BertForSequenceClassification",
        {"num_labels": 3},
        ("--labels", "x", "y", "z"),
        "BertForSequenceClassification",
    ),
    "run_classifier.py, regression": ("BertForSequenceClassification", {"num_labels": 1}, (), "BertForSequenceClassification"),
    "run_squad.py": ("BertForQuestionAnswering", {}, (), "BertForQuestionAnswering"),
    "token classifier": ("BertForTokenClassification", {"num_labels": 5}, ("--head", "tagging"), "BertForTokenClassification"),
    "classifier left out": ("BertForSequenceClassification", {"num_labels": 3}, ("--head", "encoder"), "BertModel"),
    "relu": ("BertForPreTraining", {"hidden_act": "relu"}, (), "BertForPreTraining"),
}


@pytest.mark.parametrize("form", [case(form, form=f"TF1 checkpoint, BERT, {form}", where="convert", outcome="exact") for form in BERTS])
def test_a_bert_stays_a_bert(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    """Every output of transformers' class (logits of all heads, states, pooled state), from the configuration next to the checkpoint."""
    kind, more, flags, wanted = BERTS[form]
    theirs = random_model(kind, transformers.BertConfig(**BERT, **more), 9)
    assert convert(bert_checkpoint(tmp_path / "c", theirs), tmp_path / "out", *flags) == 0
    printed = capsys.readouterr().out
    assert "BERT: 4 attention heads (bert_config.json)" in printed and f"{wanted} (2 layers" in printed
    values = json.loads((tmp_path / "out" / "config.json").read_text())
    assert values["model_type"] == "bert" and values["architectures"] == [wanted] and values["hidden_act"] == more.get("hidden_act", "gelu")
    ours, theirs = written(wanted, tmp_path / "out"), theirs.bert if wanted == "BertModel" and kind != "BertModel" else theirs
    with torch.no_grad():
        expected, found = (model.eval()(input_ids=IDS, token_type_ids=SEGMENTS) for model in (theirs, ours))
    compared = [name for name, value in expected.items() if isinstance(value, torch.Tensor)]
    assert compared and all(
        torch.allclose(found[name], expected[name], atol=1e-5) for name in compared if name != "pooler_output" or wanted == "BertModel"
    )
    if "--labels" in flags:
        assert values["id2label"] == {"0": "x", "1": "y", "2": "z"}
    if form.endswith("regression"):
        assert values["problem_type"] == "regression"
    if wanted == "BertModel" and kind != "BertModel":
        assert "not converted" in printed and "output_weights" in printed


@pytest.mark.parametrize(
    ("form", "flags", "message"),
    [
        case(
            ("no configuration"),
            (),
            "this BERT (2 layers of width 32) is no released model",
            form="TF1 checkpoint, BERT, no configuration",
            where="convert",
            outcome="refused",
        ),
        case(
            ("relative positions"), (), "position_embedding_type", form="TF1 checkpoint, BERT, relative positions", where="convert", outcome="refused"
        ),
        case(
            ("an unknown field"),
            (),
            "rotary_value",
            form="TF1 checkpoint, BERT, unknown field of bert_config.json",
            where="convert",
            outcome="refused",
        ),
        case(("a task"), ("--task", "x"), "--task x", form="TF1 checkpoint, BERT, --task", where="convert", outcome="refused"),
        case(
            ("pre-trained"),
            ("--labels", "x"),
            "--labels is for fine-tuned",
            form="TF1 checkpoint, BERT, --labels",
            where="convert",
            outcome="refused",
        ),
    ],
)
def test_berts_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, flags: tuple[str, ...], message: str) -> None:
    prefix = bert_checkpoint(tmp_path / "c", random_model("BertForPreTraining", transformers.BertConfig(**BERT), 9))
    path = prefix.parent / "bert_config.json"
    values = json.loads(path.read_text())
    values |= {"relative positions": {"position_embedding_type": "relative_key"}, "an unknown field": {"rotary_value": True}}.get(form, {})
    path.write_text(json.dumps(values))
    if form == "no configuration":
        path.unlink()
    assert convert(prefix, tmp_path / "out", *flags) == 2
    printed = capsys.readouterr().err
    assert message in printed and "Traceback" not in printed


@conforms(form="TF1 checkpoint, BERT, a released shape", where="convert", outcome="exact")
def test_a_released_bert_is_inferred(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Google's smallest: 2 layers of width 128 with 2 heads."""
    small = {**BERT, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512}
    theirs = random_model("BertForPreTraining", transformers.BertConfig(**small), 9)
    prefix = bert_checkpoint(tmp_path / "c", theirs)
    (prefix.parent / "bert_config.json").unlink()
    assert convert(prefix, tmp_path / "out") == 0
    assert "BERT: 2 attention heads (one per 64 of width" in capsys.readouterr().out
    ours = written("BertForPreTraining", tmp_path / "out")
    with torch.no_grad():
        expected, found = (model.eval()(input_ids=IDS, token_type_ids=SEGMENTS) for model in (theirs, ours))
    assert torch.allclose(found.prediction_logits, expected.prediction_logits, atol=1e-5)


@conforms(form="TF1 checkpoint, ELECTRA with the heads of google-research/bert", where="convert", outcome="exact")
def test_an_electra_with_berts_heads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`output_weights` next to an ELECTRA: the encoder, until --head says what they are; `cls/squad` is for questions."""
    theirs = random_model("ElectraForQuestionAnswering", config(**SMALL), 10)
    assert convert(write_checkpoint(tmp_path / "q" / "c", original_variables(theirs)), tmp_path / "a", "--num-attention-heads", "4") == 0
    ours = written("ElectraForQuestionAnswering", tmp_path / "a")
    with torch.no_grad():
        expected, found = (model.eval()(input_ids=IDS, token_type_ids=SEGMENTS) for model in (theirs, ours))
    assert torch.allclose(found.start_logits, expected.start_logits, atol=1e-5) and torch.allclose(found.end_logits, expected.end_logits, atol=1e-5)
    theirs = random_model("ElectraForTokenClassification", config(**SMALL, num_labels=4), 10)
    prefix = write_checkpoint(tmp_path / "t" / "c", original_variables(theirs))
    capsys.readouterr()
    crf = {**original_variables(theirs), "crf_loss/transitions": matrix(4, 4)}
    crf = {name: value for name, value in crf.items() if not name.startswith("output_")}
    assert convert(write_checkpoint(tmp_path / "crf" / "c", crf), tmp_path / "d", "--num-attention-heads", "4") == 0
    assert "encoder only: a head with the variable 'crf_loss/transitions' is not known" in capsys.readouterr().out
    assert convert(prefix, tmp_path / "b", "--num-attention-heads", "4") == 0
    assert "encoder only: give --head classification or --head tagging" in capsys.readouterr().out
    assert convert(prefix, tmp_path / "c", "--num-attention-heads", "4", "--head", "tagging") == 0
    assert torch.allclose(answers(written("ElectraForTokenClassification", tmp_path / "c")), answers(theirs), atol=1e-5)
