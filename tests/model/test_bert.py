"""BERTs: every head equals `transformers`, is saved as a BERT that opens there without a warning, and a task gets the BERT's own head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hf_forms import change_weights, check_exact, features, make, outputs
from safetensors.torch import load_file

from electra.contracts import Head
from electra.data.pretraining_batches import collate
from electra.errors import UserError
from electra.model import adapted_embeddings, huggingface
from electra.model.encoder import Encoder
from electra.model.task_models import start_pooler, task_network

transformers = pytest.importorskip("transformers")

from conformance import case  # noqa: E402

CLASSES = {
    "BertModel": "BertModel",
    "BertForPreTraining": "BertForPreTraining",
    "BertForMaskedLM": "BertForMaskedLM",
    "BertForSequenceClassification": "BertForSequenceClassification",
    "BertForTokenClassification": "BertForTokenClassification",
    "BertForQuestionAnswering": "BertForQuestionAnswering",
}
ROLES = {
    "BertForPreTraining": "generator",
    "BertForMaskedLM": "generator",
    "BertForSequenceClassification": "classifier",
    "BertForTokenClassification": "token-classification",
    "BertForQuestionAnswering": "question-answering",
}
LABELS = {"id2label": {0: "no", 1: "yes", 2: "maybe"}, "label2id": {"no": 0, "yes": 1, "maybe": 2}}


def labels_of(name: str) -> dict:
    return LABELS if "Classification" in name else {}


@pytest.mark.parametrize("name", [case(name, form=name, where=("load", "Python"), outcome="exact") for name in CLASSES])
def test_answers_equal_transformers(name: str, tmp_path: Path) -> None:
    make(name, tmp_path, **labels_of(name))
    found = check_exact(tmp_path, name)
    assert found.architecture == name
    assert found.labels == (("no", "yes", "maybe") if labels_of(name) else ())
    assert not found.ignored
    assert check_exact(tmp_path, name, role=ROLES.get(name, "encoder")).architecture == name


@pytest.mark.parametrize("name", [case(name, form=name, where="save", outcome="exact") for name in CLASSES])
def test_it_is_saved_as_a_bert_that_opens_without_a_warning(name: str, tmp_path: Path) -> None:
    reference = make(name, tmp_path / "theirs", **labels_of(name))
    found = huggingface.load_checkpoint(tmp_path / "theirs")
    huggingface.save_checkpoint(found.module, tmp_path / "ours")
    again, report = getattr(transformers, name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    assert load_file(tmp_path / "ours" / "model.safetensors").keys() == load_file(tmp_path / "theirs" / "model.safetensors").keys()
    for key, value in reference.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    varying = ("dtype", "_name_or_path")
    ours, theirs = (transformers.AutoConfig.from_pretrained(tmp_path / part).to_dict() for part in ("ours", "theirs"))
    assert {key: ours[key] for key in theirs if key not in varying} == {key: value for key, value in theirs.items() if key not in varying}
    assert huggingface.load_checkpoint(tmp_path / "ours").labels == found.labels


@pytest.mark.parametrize("name", CLASSES)
def test_its_encoder_is_that_of_any_head(name: str, tmp_path: Path) -> None:
    make(name, tmp_path)
    expected = transformers.BertModel.from_pretrained(tmp_path).eval()
    batch = collate(features())
    encoder = huggingface.load_checkpoint(tmp_path, "encoder").module
    assert isinstance(encoder, Encoder)
    with torch.no_grad():
        assert torch.allclose(encoder(batch), outputs(expected, batch), atol=1e-5)
    has_pooler = name in ("BertModel", "BertForPreTraining", "BertForSequenceClassification")
    assert set(encoder.kept) == (set(huggingface.POOLER) if has_pooler else set())


@pytest.mark.parametrize(
    "name",
    [
        case(n, form=f"{n} as an encoder", where="load", outcome="exact")
        for n in ("BertForNextSentencePrediction", "BertForMultipleChoice", "BertLMHeadModel")
    ],
)
def test_other_heads_are_refused_by_name_and_their_encoders_are_read(name: str, tmp_path: Path) -> None:
    make(name, tmp_path, is_decoder=False)
    with pytest.raises(UserError, match=f"architecture '{name}' is not supported"):
        huggingface.load_checkpoint(tmp_path)
    expected = transformers.BertModel.from_pretrained(tmp_path).eval()
    batch = collate(features())
    with torch.no_grad():
        assert torch.allclose(huggingface.load_checkpoint(tmp_path, "encoder").module(batch), outputs(expected, batch), atol=1e-5)


TASKS = {
    "BertForSequenceClassification": Head(kind="classification", labels=("a", "b")),
    "BertForTokenClassification": Head(kind="tagging", labels=("a", "b")),
    "BertForQuestionAnswering": Head(kind="span"),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_gets_the_berts_own_head_and_its_pooler(name: str, tmp_path: Path) -> None:
    reference = make("BertModel", tmp_path / "start")
    encoder = huggingface.load_checkpoint(tmp_path / "start", "encoder").encoder
    network = task_network(encoder, TASKS[name])
    start_pooler(network, encoder)
    huggingface.save_checkpoint(network, tmp_path / "tuned")
    again, report = getattr(transformers, name).from_pretrained(tmp_path / "tuned", output_loading_info=True)
    assert not any(report.values()), report
    if name == "BertForSequenceClassification":
        assert torch.equal(again.bert.pooler.dense.weight, reference.pooler.dense.weight)
        with pytest.raises(UserError, match="--head original"):
            task_network(encoder, TASKS[name], "original")
    check_exact(tmp_path / "tuned", name)


def test_a_masked_lm_without_the_next_sentence_head_is_one(tmp_path: Path) -> None:
    make("BertForPreTraining", tmp_path)
    change_weights(tmp_path, lambda tensors: {name: value for name, value in tensors.items() if "seq_relationship" not in name})
    assert huggingface.load_checkpoint(tmp_path).architecture == "BertForMaskedLM"


@pytest.mark.parametrize(
    ("name", "config"),
    [
        case("BertForPreTraining", {}, form="BertForPreTraining", where="vocab", outcome="exact"),
        case("BertForMaskedLM", {}, form="BertForMaskedLM", where="vocab", outcome="exact"),
        case(
            "BertForMaskedLM",
            {"tie_word_embeddings": False},
            form="tie_word_embeddings false with an own output matrix",
            where="vocab",
            outcome="exact",
        ),
    ],
)
def test_more_rows_leave_the_old_ones(name: str, config: dict, tmp_path: Path) -> None:
    reference = make(name, tmp_path / "theirs", **config)
    extended = adapted_embeddings.with_vocabulary(huggingface.load_checkpoint(tmp_path / "theirs"), range(99), [(5, 6), (7,)], np.array([-1.0, 0.5]))
    huggingface.save_checkpoint(extended, tmp_path / "ours")
    again, report = getattr(transformers, name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values()), report
    old, new = reference.state_dict(), again.state_dict()
    for key, value in old.items():
        if key == "cls.predictions.bias" and config:
            continue  # `transformers` does not add it where the output is not tied
        assert torch.equal(new[key][:99] if len(value) == 99 and "position" not in key else new[key], value), key
    for matrix in ("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"):
        assert torch.allclose(new[matrix][99:], torch.stack([old[matrix][5:7].mean(0), old[matrix][7]])), matrix
    check_exact(tmp_path / "ours", name)
