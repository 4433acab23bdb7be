"""Forms of other people's checkpoint folders: the answers equal `transformers`, or one line names the field, the place and the remedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conformance import case, conforms
from hf_forms import as_bin, change_weights, check_exact, make, set_fields, shard
from safetensors.torch import load_file, save_file

from electra.errors import UserError
from electra.model import huggingface
from electra.model.encoder import ACTIVATION
from electra.model.hf_config import ACTIVATIONS, labels, read_config

transformers = pytest.importorskip("transformers")

Form = Callable[[Path], Any]
FAMILIES = ("Electra", "Bert")
WHERE = ("load", "Python")


def renamed(*pairs: tuple[str, str]) -> Form:
    """Names of weights with their beginning or a part replaced."""

    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        out = {}
        for name, value in tensors.items():
            for old, new in pairs:
                name = name.replace(old, new)
            out[name] = value
        return out

    return lambda folder: change_weights(folder, change)


def both(*forms: Form) -> Form:
    return lambda folder: [form(folder) for form in forms]


def fields(**values: Any) -> Form:
    return lambda folder: set_fields(folder, **values)


def cast(dtype: torch.dtype) -> Form:
    return lambda folder: change_weights(folder, lambda tensors: {name: value.to(dtype) for name, value in tensors.items()})


def without_prefix(folder: Path) -> None:
    change_weights(folder, lambda tensors: {name.removeprefix("electra.").removeprefix("bert."): value for name, value in tensors.items()})


def with_extra(**extra: torch.Tensor) -> Form:
    return lambda folder: change_weights(folder, lambda tensors: {**tensors, **{name.replace("__", "."): value for name, value in extra.items()}})


def without(*parts: str) -> Form:
    return lambda folder: change_weights(folder, lambda tensors: {n: v for n, v in tensors.items() if not any(part in n for part in parts)})


def position_ids(folder: Path) -> None:
    prefix = "bert" if "bert" in (folder / "config.json").read_text() else "electra"
    ids = {f"{prefix}.embeddings.position_ids": torch.arange(40)[None], f"{prefix}.embeddings.token_type_ids": torch.zeros(1, 40, dtype=torch.int64)}
    change_weights(folder, lambda tensors: {**tensors, **ids})


def with_other_weights(folder: Path) -> None:
    """pytorch_model.bin with other values next to model.safetensors, which comes first."""
    torch.save({name: value + 1 for name, value in load_file(folder / "model.safetensors").items()}, folder / "pytorch_model.bin")


def old_zip(folder: Path) -> None:
    """The format of torch before 1.6."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def with_parameters(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({name: torch.nn.Parameter(value) for name, value in tensors.items()}, folder / "pytorch_model.bin")


def without_metadata(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file({name: value.clone() for name, value in tensors.items()}, folder / "model.safetensors")


def unless_bert(form: Form) -> Form:
    return lambda folder: None if "bert" in (folder / "config.json").read_text() else form(folder)


def several(folder: Path) -> None:
    family = "Bert" if "bert" in (folder / "config.json").read_text() else "Electra"
    set_fields(folder, architectures=[f"{family}ForPreTraining", f"{family}ForSequenceClassification"])


FILES: dict[str, Form] = {
    "model.safetensors": lambda folder: None,
    "sharded safetensors": shard,
    "pytorch_model.bin": as_bin,
    "sharded pytorch_model.bin": lambda folder: shard(folder, "bin"),
    "one shard with an index": lambda folder: shard(folder, count=1),
    "pytorch_model.bin of torch before 1.6": old_zip,
    "pytorch_model.bin of parameters": with_parameters,
    "model.safetensors and another pytorch_model.bin": with_other_weights,
    "float16 weights": cast(torch.float16),
    "bfloat16 weights": cast(torch.bfloat16),
    "float64 weights": cast(torch.float64),
    "sharded float16 weights": both(cast(torch.float16), shard),
    "LayerNorm.gamma and LayerNorm.beta": renamed(("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")),
    "gamma and beta in pytorch_model.bin": both(renamed(("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")), as_bin),
    "encoder weights without the prefix": without_prefix,
    "position_ids and token_type_ids buffers": position_ids,
    "unknown extra weights": with_extra(extra__weight=torch.ones(3), electra__other__down=torch.ones(2, 2)),
    "weights of layers beyond num_hidden_layers": with_extra(electra__encoder__layer__7__output__dense__bias=torch.ones(32)),
    "safetensors without metadata": without_metadata,
    "the architecture of the encoder alone, with a head's weights": unless_bert(fields(architectures=["ElectraModel"])),
    "several architectures": several,
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", [case(change, form=form, where=WHERE, outcome="exact") for form, change in FILES.items()])
def test_files_of_weights(form: Form, family: str, tmp_path: Path) -> None:
    make(f"{family}ForSequenceClassification", tmp_path, num_labels=3)
    form(tmp_path)
    check_exact(tmp_path, f"{family}ForSequenceClassification", role="classifier")


FIELDS: dict[str, dict[str, Any]] = {
    "no architectures": {"architectures": ...},
    "architectures null": {"architectures": None},
    "architectures empty": {"architectures": []},
    "architectures with another name first": {"architectures": ["MyClassifier", "{}ForSequenceClassification"]},
    "hidden_dropout_prob 0": {"hidden_dropout_prob": 0},
    "classifier_dropout": {"classifier_dropout": 0.3},
    "attention_probs_dropout_prob unlike hidden_dropout_prob": {"attention_probs_dropout_prob": 0.2, "hidden_dropout_prob": 0.0},
    "layer_norm_eps 0.1": {"layer_norm_eps": 0.1},
    "pad_token_id 7": {"pad_token_id": 7},
    "pad_token_id null": {"pad_token_id": None},
    "position_embedding_type absolute": {"position_embedding_type": "absolute"},
    "fields of BERT's first release": {"directionality": "bidi", "pooler_fc_size": 768, "pooler_num_fc_layers": 3, "pooler_type": "first_token"},
    "output flags": {"output_hidden_states": True, "output_past": True, "return_dict": True},
    "chunk_size_feed_forward": {"chunk_size_feed_forward": 2},
    "generation fields": {"max_length": 20, "num_beams": 4, "do_sample": False, "eos_token_id": 3},
    "task_specific_params": {"task_specific_params": {"x": {"y": 1}}, "finetuning_task": "sst2"},
    "torch_dtype": {"torch_dtype": "float32", "dtype": ...},
    "summary fields": {"summary_type": "mean", "summary_use_proj": False, "summary_activation": "tanh", "summary_last_dropout": 0.5},
    "pruned_heads empty": {"pruned_heads": {}},
    "sentence_transformers": {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity", "version": "4.1.0"}},
    "use_cache and gradient_checkpointing": {"use_cache": False, "gradient_checkpointing": True},
    "generator_size, which other ELECTRAs have": {"generator_size": "0.25"},
    "unknown fields without a value": {"my_field": None, "my_table": {}, "my_text": ""},
    "fields of TinyBERT": {"emb_size": 32, "cell": {}, "pre_trained": "", "structure": [], "training": ""},
    "eos_token_ids, of early releases": {"eos_token_ids": 0},
    "problem_type regression of three outputs": {"problem_type": "regression"},
    "problem_type multi_label_classification": {"problem_type": "multi_label_classification"},
    "problem_type single_label_classification": {"problem_type": "single_label_classification"},
    "num_labels without id2label": {"num_labels": 3, "id2label": ..., "label2id": ...},
    "num_labels that contradicts id2label": {"num_labels": 3, "id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}},
    "id2label null": {"id2label": None, "label2id": None, "num_labels": 3},
    "id2label of integers": {"id2label": {"0": 0, "1": 1, "2": 2}, "label2id": {"0": 0, "1": 1, "2": 2}},
    "id2label in another order": {"id2label": {"2": "c", "0": "a", "1": "b"}},
    "id2label without label2id": {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": ...},
    "label2id that contradicts id2label": {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"c": 0, "b": 1, "a": 2}},
    "label2id of strings": {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": "0", "b": "1", "c": "2"}},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("changes", [case(changes, form=form, where=WHERE, outcome="exact") for form, changes in FIELDS.items()])
def test_fields_of_config(changes: dict[str, Any], family: str, tmp_path: Path) -> None:
    name = f"{family}ForSequenceClassification"
    make(name, tmp_path, num_labels=3)
    set_fields(tmp_path, **json.loads(json.dumps(changes, default=lambda _: "...").replace("{}F", f"{family}F"), object_hook=_ellipses))
    found = check_exact(tmp_path, name, role="classifier")
    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    assert found.labels == tuple(str(theirs.id2label[i]) for i in range(theirs.num_labels))
    assert found.hf_config.get("problem_type") == theirs.problem_type
    assert found.architecture == name
    huggingface.save_checkpoint(found.module, tmp_path / "again")
    ours = transformers.AutoConfig.from_pretrained(tmp_path / "again")
    for field in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "layer_norm_eps", "pad_token_id", "problem_type"):
        assert getattr(ours, field) == getattr(theirs, field), field
    assert tuple(ours.id2label.values()) == found.labels


def _ellipses(table: dict[str, Any]) -> dict[str, Any]:
    return {key: ... if value == "..." else value for key, value in table.items()}


@pytest.mark.parametrize("name", ["ElectraForMaskedLM", "ElectraForPreTraining", "BertForMaskedLM", "ElectraForSequenceClassification"])
@pytest.mark.parametrize("activation", [case(name, form=f"hidden_act {name}", where=WHERE, outcome="exact") for name in ACTIVATIONS])
def test_activations(activation: str, name: str, tmp_path: Path) -> None:
    make(name, tmp_path, hidden_act=activation)
    found = check_exact(tmp_path, name)
    huggingface.save_checkpoint(found.module, tmp_path / "again")
    check_exact(tmp_path / "again", name)


def test_every_activation_has_a_function() -> None:
    assert set(ACTIVATIONS) == set(ACTIVATION)
    grid = torch.linspace(-12, 12, 4001)
    for name, function in ACTIVATION.items():
        assert torch.allclose(function(grid), transformers.activations.ACT2FN[name](grid), atol=2e-6), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("name", "other"),
    [
        case("ForSequenceClassification", "classifier", form="no architectures, a classifier's weights", where="load", outcome="exact"),
        case("ForTokenClassification", "token-classification", form="no architectures, a token classifier's weights", where="load", outcome="exact"),
        case("ForQuestionAnswering", "question-answering", form="no architectures, a QA model's weights", where="load", outcome="exact"),
        case("ForMaskedLM", "generator", form="no architectures, a masked LM's weights", where="load", outcome="exact"),
        case("ForPreTraining", "any", form="no architectures, a pre-trained model's weights", where="load", outcome="exact"),
        case("Model", "encoder", form="no architectures, an encoder's weights", where="load", outcome="exact"),
    ],
)
def test_the_head_is_found_by_the_names_of_weights(name: str, other: str, family: str, tmp_path: Path) -> None:
    make(family + name, tmp_path)
    set_fields(tmp_path, architectures=...)
    assert check_exact(tmp_path, family + name, role=other).architecture == family + name
    shard(tmp_path)
    assert check_exact(tmp_path, family + name, role=other).architecture == family + name


@pytest.mark.parametrize("name", [case(f"{f}Model", form="one token type (type_vocab_size 1)", where="load", outcome="exact") for f in FAMILIES])
def test_one_token_type(name: str, tmp_path: Path) -> None:
    make(name, tmp_path, type_vocab_size=1)
    check_exact(tmp_path, name, num_segments=1)


@pytest.mark.parametrize(
    "name",
    [case(f"{f}ForSequenceClassification", form="a head's file without the prefix, as an encoder", where="load", outcome="exact") for f in FAMILIES],
)
def test_an_encoder_file_is_read_with_the_prefix_and_without(name: str, tmp_path: Path) -> None:
    make(name, tmp_path)
    without_prefix(tmp_path)
    check_exact(tmp_path, f"{name.removesuffix('ForSequenceClassification')}Model", role="encoder")


# ---- refused ----


def gone(name: str) -> Form:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Form:
    return lambda folder: (folder / name).write_text(text)


def one_shard_missing(folder: Path) -> None:
    shard(folder)
    (folder / "model-00002-of-00003.safetensors").unlink()


def index_elsewhere(folder: Path) -> None:
    shard(folder)
    path = folder / "model.safetensors.index.json"
    path.write_text(path.read_text().replace("model-00001", "../model-00001"))


def nan_in(part: str, value: float) -> Form:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            if part in name:
                tensor.view(-1)[0] = value

    return lambda folder: change_weights(folder, change)


def cast_one(part: str, dtype: torch.dtype) -> Form:
    return lambda folder: change_weights(folder, lambda tensors: {n: v.to(dtype) if part in n else v for n, v in tensors.items()})


def sparse(folder: Path) -> None:
    as_bin(folder)
    path = folder / "pytorch_model.bin"
    torch.save({name: v.to_sparse() if "query.weight" in name else v for name, v in torch.load(path).items()}, path)


def untied_bias(folder: Path) -> None:
    words = "bert.embeddings.word_embeddings.weight"
    change_weights(folder, lambda tensors: {**tensors, "cls.predictions.decoder.weight": tensors[words] * 2})


REFUSED: dict[str, tuple[Form, str]] = {
    "position_embedding_type relative_key": (fields(position_embedding_type="relative_key"), 'position_embedding_type "relative_key" changes'),
    "position_embedding_type relative_key_query": (fields(position_embedding_type="relative_key_query"), "position_embedding_type"),
    "is_decoder true": (fields(is_decoder=True), "is_decoder true"),
    "add_cross_attention true": (fields(add_cross_attention=True), "add_cross_attention true"),
    "is_encoder_decoder true": (fields(is_encoder_decoder=True), "is_encoder_decoder"),
    "pruned_heads": (fields(pruned_heads={"0": [1]}), "pruned_heads"),
    "quantization_config": (fields(quantization_config={"quant_method": "bitsandbytes"}), "quantization_config.*not quantized"),
    "auto_map with own code": (fields(auto_map={"AutoModel": "modeling.MyModel"}), "auto_map.*own code"),
    "configuration_files": (fields(configuration_files=["config.4.0.0.json"]), "configuration_files.*rename"),
    "a pointer of Git LFS": (write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n"), "git lfs pull"),
    "adapters": (fields(adapters={"adapters": {"x": "y"}}), "adapters.*merge"),
    "adapter_config.json": (write("adapter_config.json", "{}"), "adapter_config.json.*merge"),
    "per_layer_config": (fields(per_layer_config={"0": {"intermediate_size": 7}}), "per_layer_config"),
    "unknown field with a value": (fields(rope_theta=10000.0), "field 'rope_theta'.*delete it"),
    "unknown field that is false": (fields(attention_bias=False), "field 'attention_bias'"),
    "hidden_act selu": (fields(hidden_act="selu"), "hidden_act 'selu' is not supported"),
    "hidden_act with parameters (prelu)": (fields(hidden_act="prelu"), "hidden_act 'prelu'"),
    "hidden_size of another file": (fields(hidden_size=64, embedding_size=16), "weight '.*' has shape"),
    "num_hidden_layers beyond the weights": (fields(num_hidden_layers=3), "encoder.layer.2.* is missing"),
    "vocab_size unlike the embeddings": (fields(vocab_size=104), "word_embeddings.weight' has shape \\(99"),
    "max_position_embeddings unlike the weights": (fields(max_position_embeddings=64), "position_embeddings.weight' has shape"),
    "type_vocab_size unlike the weights": (fields(type_vocab_size=3), "token_type_embeddings.weight' has shape"),
    "num_attention_heads that do not divide hidden_size": (
        fields(num_attention_heads=5),
        "hidden_size 32 is not a multiple",
    ),
    "a size as a string": (fields(hidden_size="32"), "hidden_size is '32'"),
    "a size that is no whole number": (fields(num_hidden_layers=2.0), "num_hidden_layers is 2.0"),
    "a size of 0": (fields(intermediate_size=0), "intermediate_size is 0"),
    "dropout null": (fields(hidden_dropout_prob=None), "hidden_dropout_prob is None"),
    "dropout above 1": (fields(attention_probs_dropout_prob=1.5), "attention_probs_dropout_prob is 1.5"),
    "layer_norm_eps as a string": (fields(layer_norm_eps="1e-12"), "layer_norm_eps is '1e-12'"),
    "pad_token_id outside of the vocabulary": (fields(pad_token_id=99), "pad_token_id is 99"),
    "tie_word_embeddings null": (fields(tie_word_embeddings=None), "tie_word_embeddings is None"),
    "id2label with a gap": (fields(id2label={"0": "a", "2": "b", "3": "c"}), "id2label has the ids 0, 2, 3; expected 0 to 2"),
    "id2label with words for ids": (fields(id2label={"a": "0", "b": "1", "c": "2"}), "id2label has the ids a, b, c"),
    "id2label with one name twice": (fields(id2label={"0": "a", "1": "a", "2": "b"}), "id2label has the name 'a' twice"),
    "id2label as a list": (fields(id2label=["a", "b", "c"]), "id2label is a list"),
    "id2label with null": (fields(id2label={"0": None, "1": "b", "2": "c"}), "id2label 0 is None"),
    "id2label empty": (fields(id2label={}), "id2label has the ids of nothing"),
    "id2label of another size than the head": (fields(id2label={"0": "a", "1": "b"}), "has shape"),
    "label2id alone": (fields(id2label=..., label2id={"a": 0, "b": 1, "c": 2}), "has shape"),
    "num_labels as a string": (fields(num_labels="3"), "num_labels is '3'"),
    "problem_type of an unknown name": (fields(problem_type="ranking"), "problem_type is 'ranking'"),
    "model_type roberta": (fields(model_type="roberta"), "type 'roberta'"),
    "model_type deberta-v2": (fields(model_type="deberta-v2"), "type 'deberta-v2'"),
    "model_type convbert": (fields(model_type="convbert"), "type 'convbert'"),
    "model_type distilbert": (fields(model_type="distilbert"), "type 'distilbert'"),
    "model_type albert": (fields(model_type="albert"), "type 'albert'"),
    "no model_type, no architectures": (fields(model_type=..., architectures=...), "model_type is missing; add"),
    "architectures as a string": (fields(architectures="ElectraModel"), "architectures is .*expected a list"),
    "config.json that is no object": (write("config.json", "[1]"), "expected a JSON object"),
    "config.json cut short": (write("config.json", '{"model_type": '), "not valid JSON"),
    "no config.json": (gone("config.json"), "no config.json"),
    "no weights": (gone("model.safetensors"), "no model.safetensors or pytorch_model.bin"),
    "tf_model.h5 alone": (
        both(gone("model.safetensors"), write("tf_model.h5", "x")),
        "is a Keras model.*not read",
    ),
    "flax_model.msgpack alone": (
        both(gone("model.safetensors"), write("flax_model.msgpack", "x")),
        "is a Flax model, which is not read",
    ),
    "model.fp16.safetensors alone": (lambda folder: shutil.move(folder / "model.safetensors", folder / "model.fp16.safetensors"), "model.fp16.safe"),
    "a missing shard": (one_shard_missing, "shard model-00002-of-00003.safetensors is missing; fetch all 3 files"),
    "an index of files elsewhere": (index_elsewhere, "expected files next to it"),
    "an index without a weight_map": (both(gone("model.safetensors"), write("model.safetensors.index.json", "{}")), "not an index of weights"),
    "model.safetensors cut short": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100]),
        "model.safetensors cannot be read",
    ),
    "pytorch_model.bin of a training checkpoint": (
        both(gone("model.safetensors"), lambda folder: torch.save({"state_dict": {}, "epoch": 3}, folder / "pytorch_model.bin")),
        "contains no table of tensors",
    ),
    "weights of DataParallel (module.)": (renamed(("electra.", "module.electra."), ("bert.", "module.bert.")), "is missing"),
    "int8 weights": (cast_one("query.weight", torch.int8), "of type int8.*not quantized"),
    "float8 weights": (cast_one("query.weight", torch.float8_e4m3fn), "of type float8_e4m3fn"),
    "NaN in a weight": (nan_in("query.weight", float("nan")), "query.weight' contains NaN"),
    "infinity in a weight": (nan_in("LayerNorm.weight", float("inf")), "contains NaN or infinity"),
    "a weight that is missing": (without("layer.1.output.dense.weight"), "layer.1.output.dense.weight' is missing"),
    "a head that is missing": (without("classifier."), "weight 'classifier.* is missing"),
    "a sparse weight in pytorch_model.bin": (sparse, "query.weight' is a sparse tensor"),
    "an adapter among the weights": (with_extra(adapter__down=torch.ones(2, 2)), "belongs to an adapter; merge"),
    "weight norm (weight_g, weight_v)": (
        renamed(("layer.0.output.dense.weight", "layer.0.output.dense.weight_g")),
        "output.dense.weight' is missing",
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("form", "message"), [case(*pair, form=form, where=WHERE, outcome="refused") for form, pair in REFUSED.items()])
def test_what_is_refused_is_named(form: Form, message: str, family: str, tmp_path: Path) -> None:
    make(f"{family}ForSequenceClassification", tmp_path, num_labels=3)
    form(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        huggingface.load_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


OTHERS = {
    "architectures of another family": ("BertForMaskedLM", {"architectures": ["ElectraForMaskedLM"]}, "contradict each other"),
    "single_label_classification of one output": (
        "BertForSequenceClassification",
        {"problem_type": "single_label_classification", "id2label": {"0": "a"}, "label2id": {"a": 0}},
        "single_label_classification' needs more",
    ),
    "a QA model of three outputs": ("BertForQuestionAnswering", {"num_labels": 3}, "num_labels is 3; expected 2"),
    "a QA model whose id2label is a number": (
        "ElectraForQuestionAnswering",
        {"id2label": 5, "num_labels": ...},
        "id2label is a int; expected an object",
    ),
    "ElectraForMultipleChoice": ("ElectraForMultipleChoice", {}, "'ElectraForMultipleChoice' is not supported"),
    "ElectraForCausalLM": ("ElectraForCausalLM", {"is_decoder": False}, "'ElectraForCausalLM' is not supported"),
    "tie_word_embeddings false, no output matrix (ELECTRA)": (
        "ElectraForMaskedLM",
        {"tie_word_embeddings": False},
        "generator_lm_head.weight' is",
    ),
    "tie_word_embeddings false, no output matrix (BERT)": ("BertForMaskedLM", {"tie_word_embeddings": False}, "decoder.weight' is missing"),
    "no architectures and a BERT's classifier with a pooler": (
        "BertForSequenceClassification",
        {"architectures": ...},
        "fit BertForTokenClassification and BertForSequenceClassification",
    ),
}


@pytest.mark.parametrize(
    ("name", "changes", "message"), [case(*values, form=form, where="load", outcome="refused") for form, values in OTHERS.items()]
)
def test_architectures_that_are_refused(name: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    make(name, tmp_path)
    set_fields(tmp_path, **changes)
    with pytest.raises(UserError, match=message):
        huggingface.load_checkpoint(tmp_path)


@conforms(form="tie_word_embeddings false, one bias for two (BERT of transformers 4)", where="load", outcome="refused")
def test_an_untied_output_needs_its_own_bias(tmp_path: Path) -> None:
    make("BertForMaskedLM", tmp_path)
    both(untied_bias, fields(tie_word_embeddings=False))(tmp_path)
    with pytest.raises(UserError, match=r"decoder.bias' is missing; copy"):
        huggingface.load_checkpoint(tmp_path)


@conforms(form="the architecture of the encoder alone, with the weights of either head", where="load", outcome="exact")
def test_the_encoder_named_is_read_where_the_head_is_not_known(tmp_path: Path) -> None:
    make("BertForSequenceClassification", tmp_path)
    set_fields(tmp_path, architectures=["BertModel"])
    assert huggingface.load_checkpoint(tmp_path).architecture == "BertModel"
    check_exact(tmp_path, "BertForSequenceClassification", role="classifier")
    check_exact(tmp_path, "BertForTokenClassification", role="token-classification")


def test_a_missing_model_type_is_that_of_the_architectures(tmp_path: Path) -> None:
    make("BertForTokenClassification", tmp_path)
    set_fields(tmp_path, model_type=...)
    assert read_config(tmp_path)["model_type"] == "bert"
    assert huggingface.load_checkpoint(tmp_path).architecture == "BertForTokenClassification"


def test_a_bias_of_minus_infinity_for_padding_is_kept(tmp_path: Path) -> None:
    make("BertForMaskedLM", tmp_path)
    nan_in("cls.predictions.bias", float("-inf"))(tmp_path)
    module = huggingface.load_checkpoint(tmp_path).module
    assert module.head.output.bias[0] == float("-inf")


def test_labels_are_those_of_transformers() -> None:
    for values in ({}, {"num_labels": 5}, {"id2label": {"1": "b", "0": "a"}}, {"num_labels": 3, "id2label": {"0": "a"}}, {"label2id": {"a": 0}}):
        theirs = transformers.BertConfig(**values).id2label
        assert labels(values, Path("config.json")) == tuple(theirs[i] for i in range(len(theirs)))
