"""Model cards: front matter that the hub reads, a heading, sections."""

from __future__ import annotations

import re

from huggingface_hub import ModelCard

from electra.model.model_card import adapted_card, converted_card, model_card, pretraining_card, uploaded_card
from electra.settings import PretrainSettings


def test_the_hub_reads_every_card() -> None:
    found = {"architecture": "ElectraForSequenceClassification", "labels": ["bad", "good"], "num_parameters": 1234567, "lowercase": True}
    cards = {
        "pretrain": pretraining_card(PretrainSettings(preset="mini"), ["a corpus of 5 documents"], {"disc_auc": 0.79, "other": 1.0}),
        "convert": converted_card("small", "ElectraModel (12 layers of width 256, 13.5 M parameters)", "model.ckpt"),
        "extend": adapted_card("more", "small", 1000),
        "trim": adapted_card("less", "small", -1000),
        "push": uploaded_card("me/small", found),
    }
    for name, text in cards.items():
        data = ModelCard(text).data
        assert data.library_name == "transformers" and "electra" in data.tags, name
        assert re.fullmatch(r"---\n(.+\n)+---\n\n# .+\n\n(.|\n)+[^\n]\n", text) and "\n\n\n" not in text, name
    assert ModelCard(cards["push"]).data.pipeline_tag == "text-classification"
    assert "- labels: bad, good" in cards["push"] and "- num parameters: 1,234,567" in cards["push"] and "lowercase" not in cards["push"]
    assert "| disc_auc | 0.7900 |" in cards["pretrain"] and "other" not in cards["pretrain"] and "- a corpus of 5 documents" in cards["pretrain"]


def test_sections_keep_their_order() -> None:
    text = model_card("x", "about", {"B": "one", "A": "two"}, tags=("electra", "sst2"), library="electra")
    assert text == "---\nlibrary_name: electra\ntags: [electra, sst2]\n---\n\n# x\n\nabout\n\n## B\n\none\n\n## A\n\ntwo\n"
