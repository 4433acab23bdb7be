"""The Python face: `from electra import load, pipeline`, as the tutorial and the model card have it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from tiny_models import TEXTS, checkpoints, oracle

import electra
from electra.errors import UserError
from electra.inference.pipelines import PIPELINES, pipeline
from electra.inference.predictor import load


def test_importing_is_light() -> None:
    """No torch, no numpy, no tokenizers until an attribute is used; the modules of the deployment layers load without torch."""
    code = (
        "import sys, electra; assert electra.__version__; "
        "heavy = {'torch', 'numpy', 'tokenizers', 'huggingface_hub', 'transformers'} & set(sys.modules); assert not heavy, heavy; "
        "electra.load, electra.pipeline, electra.Predictor; "
        "heavy = {'torch', 'transformers', 'sklearn'} & set(sys.modules); assert not heavy, heavy; "
        "import electra.commands.predict, electra.commands.detect, electra.commands.embed, electra.commands.inspect, electra.commands.deploy; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_everything_promised_is_there() -> None:
    assert set(electra.__all__) <= set(dir(electra))
    for name in electra.__all__:
        assert getattr(electra, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        electra.lod  # noqa: B018
    assert (Path(electra.__file__).parent / "py.typed").exists()


def test_the_tutorial() -> None:
    """The tutorial's lines, on a model that has a sentiment head."""
    classifier = pipeline("sentiment-analysis", model=checkpoints()["classifier"])
    texts = ["ELECTRA is surprisingly fast and accurate.", "The training time was a bit too long for my liking."]
    results = classifier(texts)
    reference = oracle("ElectraForSequenceClassification", "classifier")
    for text, res in zip(texts, results, strict=True):
        wanted = softmax(reference.logits(text))
        assert res == {"label": ("negative", "neutral", "positive")[wanted.argmax()], "score": pytest.approx(wanted.max(), abs=1e-5)}


@pytest.mark.parametrize("name", ["google/electra-small-discriminator", "google/electra-base-generator"])
def test_the_tutorials_mistake_is_answered(name: str) -> None:
    """Known without a network: the published checkpoints have no sentiment head."""
    with pytest.raises(UserError) as caught:
        pipeline("sentiment-analysis", model=name)
    assert "no classification head" in str(caught.value)
    assert f"electra finetune sst2 --model {name}" in str(caught.value)


@pytest.mark.parametrize("kind", ["discriminator", "masked"])
def test_a_checkpoint_without_a_classification_head_is_refused(kind: str) -> None:
    with pytest.raises(UserError, match="electra finetune sst2 --model"):
        pipeline("text-classification", model=str(checkpoints()[kind]))
    with pytest.raises(UserError, match="electra finetune sst2 --model"):
        load(checkpoints()[kind]).predict(["a text"])


def test_the_model_card() -> None:
    """Load discriminator and tokenizer, tell real from fake tokens: equal to the card's code with `transformers`."""
    discriminator = load(checkpoints()["discriminator"])
    reference = oracle("ElectraForPreTraining", "discriminator")
    sentence = "the quick brown fox fake over the lazy dog"
    predictions = np.round((np.sign(reference.logits(sentence)) + 1) / 2)[1:-1]
    tokens = discriminator.detect([sentence])[0].tokens
    assert [t.replaced for t in tokens] == predictions.astype(bool).tolist()
    assert discriminator.tokenizer.encode([sentence])[0] == reference.tokenizer(sentence, add_special_tokens=False)["input_ids"]
    assert sum(p.numel() for p in discriminator.model.parameters()) == sum(p.numel() for p in reference.model.parameters())
    assert not discriminator.model.training


def test_top_k_and_pairs() -> None:
    classify = pipeline("text-classification", model=checkpoints()["classifier"])
    everything: Any = classify([("a film", "it was good"), "rain"], top_k=None)
    assert [len(row) for row in everything] == [3, 3]
    assert sum(entry["score"] for entry in everything[0]) == pytest.approx(1)
    for given, best in ((("a film", "it was good"), everything[0][0]), ("rain", everything[1][0])):
        assert classify(given) == [{"label": best["label"], "score": pytest.approx(best["score"], abs=1e-5)}]
    assert everything[1] == sorted(everything[1], key=lambda e: -e["score"])


def test_a_regression_pipeline_gives_the_value() -> None:
    found = pipeline("text-classification", model=checkpoints()["regression"])("rain")
    wanted = oracle("ElectraForSequenceClassification", "regression").logits("rain")[0]
    assert found == [{"label": "LABEL_0", "score": pytest.approx(wanted, abs=1e-5)}]


def test_feature_extraction_equals_transformers() -> None:
    extract = pipeline("feature-extraction", model=checkpoints()["masked"])
    reference = oracle("ElectraForMaskedLM", "masked")
    for text, found in zip(TEXTS, extract(list(TEXTS)), strict=True):
        np.testing.assert_allclose(found, reference(text).hidden_states[-1].numpy(), atol=1e-5)


@pytest.mark.parametrize(("kind", "text"), [("masked", "the chef [MASK] the meal ."), ("discriminator", "[MASK] walked [MASK] again")])
def test_fill_mask_equals_transformers(kind: str, text: str) -> None:
    """Also with a discriminator whose generator is saved next to it."""
    import transformers

    name = "generator" if kind == "discriminator" else kind
    reference = oracle("ElectraForMaskedLM", name)
    theirs = transformers.pipeline("fill-mask", model=reference.model, tokenizer=reference.tokenizer, device="cpu")(text)
    ours = pipeline("fill-mask", model=checkpoints()[kind])(text)
    several = text.count("[MASK]") > 1
    for one, other in zip(ours if several else [ours], theirs if several else [theirs], strict=True):
        assert [(m["token"], m["token_str"]) for m in one] == [(m["token"], reference.tokenizer.convert_ids_to_tokens(m["token"])) for m in other]
        np.testing.assert_allclose([m["score"] for m in one], [m["score"] for m in other], atol=1e-5)
    assert len(pipeline("fill-mask", model=checkpoints()[kind])([text, text])) == 2


def test_replaced_token_detection_pipeline() -> None:
    model = load(checkpoints()["discriminator"])
    found = pipeline("replaced-token-detection", model=model)("the chef ate")
    tokens = model.detect(["the chef ate"])[0].tokens
    assert found == [[{"token": t.token, "start": t.start, "end": t.end, "score": t.probability, "replaced": t.replaced} for t in tokens]]


def test_mistakes_name_their_remedy() -> None:
    model = str(checkpoints()["lone"])
    with pytest.raises(UserError, match="did you mean 'sentiment-analysis'"):
        pipeline("sentiment-analisys", model=model)
    with pytest.raises(UserError, match=r"write \[MASK\]"):
        pipeline("fill-mask", model=checkpoints()["masked"])("no mask here")
    with pytest.raises(UserError, match="without its generator"):
        pipeline("fill-mask", model=model)("a [MASK]")
    with pytest.raises(UserError, match="replaced"):
        load(checkpoints()["masked"]).detect(["text"])
    with pytest.raises(UserError, match="not available"):
        load(model, device="cuda:99")
    with pytest.raises(UserError, match="got int"):
        load(checkpoints()["classifier"]).predict([3])  # type: ignore[list-item]
    assert set(PIPELINES) >= {"sentiment-analysis", "text-classification", "replaced-token-detection", "feature-extraction", "fill-mask"}


def test_a_name_is_resolved_through_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network: a name in the cache opens, another is one clear error."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--me--tiny"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(checkpoints()["discriminator"])
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    assert load("me/tiny").detect(["rain"]) == load(checkpoints()["discriminator"]).detect(["rain"])
    with pytest.raises(UserError, match="me/tin'"):
        load("me/tin")
