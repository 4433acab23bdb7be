"""Which of a model's heads answers, in words: a checkpoint of somebody else's may hold another than one thinks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from electra.contracts import Head
from electra.tasks.notices import head_line

if TYPE_CHECKING:
    from electra.deploy.predictor import Predictor

OTHER_HEADS = {
    "ElectraForPreTraining": "whether each token was replaced",
    "ElectraForMaskedLM": "words for the masked places",
    "ElectraModel": "none, its last hidden states",
}


def head_of(model: Predictor) -> Head | None:
    """The head of a fine-tuned model; None for one that is pre-trained only."""
    network = model.network
    if network.architecture in ("ElectraForQuestionAnswering", "ElectraOriginalQuestionAnswering"):
        return Head(kind="span")
    if network.architecture == "ElectraForTokenClassification":
        return Head(kind="tagging", labels=network.labels)
    if network.architecture in OTHER_HEADS:
        return None
    if network.is_regression:
        return Head(kind="regression")
    return Head(kind="multilabel" if network.is_multilabel else "classification", labels=network.labels)


def head_said(model: Predictor) -> str:
    """'runs/sst2/best: ElectraForSequenceClassification, its head: classification into 2 classes (0, 1)'."""
    head = head_of(model)
    if head is not None:
        return head_line(model.name, {"architectures": [model.network.architecture]}, head)
    what = "how likely each token is (Electric)" if model.network.is_electric else OTHER_HEADS[model.network.architecture]
    return f"{model.name}: {model.network.architecture}, its head: {what}"
