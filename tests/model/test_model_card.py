"""Model cards: front matter that the hub reads, a heading, sections."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import ModelCard

from electra.model.model_card import adapted_card, converted_card, model_card, pretraining_card, uploaded_card, without_local_paths
from electra.settings import PretrainSettings


def test_the_hub_reads_every_card() -> None:
    cards = {
        "pretrain": pretraining_card(PretrainSettings(preset="mini"), ["a corpus of 5 documents"], {"disc_auc": 0.79, "other": 1.0}),
        "convert": converted_card("small", "ElectraModel (12 layers of width 256, 13.5 M parameters)", "model.ckpt"),
        "extend": adapted_card("more", "small", 1000),
        "trim": adapted_card("less", "small", -1000),
        "push": uploaded_card("me/small", "ElectraForSequenceClassification", ["bad", "good"], 1234567),
    }
    for name, text in cards.items():
        data = ModelCard(text).data
        # What a checkpoint opens in, push sees by its files.
        assert data.library_name == (None if name == "push" else "transformers") and "electra" in data.tags, name
        assert re.fullmatch(r"---\n(.+\n)+---\n\n# .+\n\n(.|\n)+[^\n]\n", text) and "\n\n\n" not in text, name
    assert "Labels: bad, good." in cards["push"] and "1,234,567 parameters" in cards["push"]
    assert 'pipeline("text-classification", model="me/small")' in cards["push"]
    for architecture, use in {
        "ElectraForPreTraining": "AutoModelForPreTraining",
        "ElectraModel": "AutoModel",
        "ElectraMeanClassifier": "load(",
    }.items():
        assert use in uploaded_card("me/small", architecture, [], 1)
    assert "| disc_auc | 0.7900 |" in cards["pretrain"] and "other" not in cards["pretrain"] and "- a corpus of 5 documents" in cards["pretrain"]


def test_sections_keep_their_order() -> None:
    text = model_card("x", "about", {"B": "one", "A": "two"}, tags=("electra", "sst2"), library="electra")
    assert text == "---\nlibrary_name: electra\ntags:\n- electra\n- sst2\n---\n\n# x\n\nabout\n\n## B\n\none\n\n## A\n\ntwo\n"


def test_absolute_paths_of_this_machine_are_shortened(tmp_path: Path) -> None:
    (here := tmp_path / "runs" / "mini").mkdir(parents=True)
    text = f"shape of {here}, `{here}/`, {Path.cwd()}/gone/away; https://hub.co/a/b, and/or/not, /no/such/place"
    assert without_local_paths(text) == "shape of runs/mini, `runs/mini/`, gone/away; https://hub.co/a/b, and/or/not, /no/such/place"
    assert str(tmp_path) not in model_card("x", f"from {here}")


def test_a_start_on_the_hub_is_the_base_model() -> None:
    for init, expected in {
        "google/electra-small-discriminator": "google/electra-small-discriminator",
        "/here/mini": None,
        "shipped:mini": None,
    }.items():
        cards = [pretraining_card(PretrainSettings(preset="mini", init=init), [], {}), converted_card("x", "ElectraModel", init)]
        cards += [adapted_card("x", init, change) for change in (1000, -1000)]
        assert [ModelCard(card).data.base_model for card in cards] == [expected] * 4
        assert all(f"`{expected or 'mini' if init == '/here/mini' else init}`" in card for card in cards[1:])
