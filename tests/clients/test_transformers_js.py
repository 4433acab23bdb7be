"""A folder written by `electra build --layout hub` in transformers.js, run in Node: its answers are those of the checkpoint here."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hf_forms
import numpy as np
import onnxruntime
import pytest
from built_models import checkpoint
from built_models import hub_folder as hub
from conformance import case, conforms
from tiny_models import SHAPE, TEXTS, checkpoints, vocabulary
from tokenizer_folders import ADDED, CASED, JSON, NAMES, VOCAB, check_equal, trained, write
from tokenizer_folders import TEXTS as ODD_TEXTS
from tokenizers import decoders, normalizers, pre_tokenizers
from transformers_js import run

from electra import pipeline
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.exporting.targets import build_hub_folder, save_for_transformers_js
from electra.inference.artifact import HUB_FILES
from electra.inference.predictor import load

CLIENT: Any = {"where": "transformers.js", "outcome": "exact", "section": "clients"}
REFUSED: Any = {"where": "build --layout hub", "outcome": "refused", "section": "clients"}
LONG = "the old city was good . " * 30
QUESTIONS = ["who cooked?", "what was it?"]
CONTEXTS = ["the chef cooked a meal in the old city .", "the epic film , it was good and long . " * 2]


@functools.cache
def other(kind: str, lowercase: bool = True, **config: Any) -> Path:
    """A random model of `transformers`: a BERT, or with other fields of config.json; with the tokenizer of the small models."""
    folder = Path(tempfile.mkdtemp()) / kind
    hf_forms.make(kind, folder, **{**SHAPE, "vocab_size": len(vocabulary()), "initializer_range": 0.4, **config})
    load_tokenizer(checkpoints()["vocab"], lowercase).save(folder, 64)
    return folder


def close(found: Any, expected: Any, *names: str) -> None:
    """Assert that records, or lists of lists of them, have equal names and close scores."""
    if found and isinstance(found[0], list):
        for one, two in zip(found, expected, strict=True):
            close(one, two, *names)
        return
    assert [[row[name] for name in names] for row in found] == [[row[name] for name in names] for row in expected]
    np.testing.assert_allclose([row["score"] for row in found], [row["score"] for row in expected], atol=1e-4)


# ---- classification ----


@pytest.mark.parametrize(
    "source",
    [
        case(lambda: checkpoints()["classifier"], form="ElectraForSequenceClassification", **CLIENT),
        case(lambda: checkpoint("ElectraOriginalClassifier"), form="the original's classifier head", **CLIENT),
        case(lambda: checkpoint("ElectraMeanClassifier"), form="a head on the mean of all states", **CLIENT),
        case(lambda: checkpoint("ElectraForSequenceClassification", multilabel=True), form="several labels (sigmoid)", **CLIENT),
        case(lambda: other("BertForSequenceClassification"), form="BertForSequenceClassification", **CLIENT),
        case(lambda: other("ElectraForSequenceClassification", num_labels=4), form="num_labels without id2label", **CLIENT),
        case(lambda: other("ElectraForSequenceClassification", num_labels=1), form="one output without problem_type (sigmoid)", **CLIENT),
        case(lambda: other("BertForSequenceClassification", lowercase=False), form="a cased vocabulary", **CLIENT),
    ],
)
def test_classification(source: Callable[[], Path]) -> None:
    folder, ours = hub(source()), pipeline("text-classification", source(), device="cpu")
    close(run("text-classification", folder, list(TEXTS), top_k=None), ours(list(TEXTS), top_k=None), "label")


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        case("an Épic film , was it ?", {}, form="one text", **CLIENT),
        case("an Épic film , was it ?", {"top_k": 2}, form="top_k 2", **CLIENT),
        case("an Épic film , was it ?", {"top_k": None}, form="top_k null: all labels", **CLIENT),
        case(["the chef", LONG[:60], "naïve 42"], {}, form="a batch with padding", **CLIENT),
        case("", {"top_k": None}, form="an empty text", **CLIENT),
        case(LONG, {"top_k": None}, form="a text longer than the model reads", **CLIENT),
        case(["it was good", LONG], {"top_k": None}, form="a batch with a text longer than the model reads", **CLIENT),
    ],
)
def test_calls_of_text_classification(inputs: Any, options: dict[str, Any]) -> None:
    source = checkpoints()["classifier"]
    expected: Any = pipeline("text-classification", source, device="cpu", truncate="head")(inputs, **options)
    close(run("text-classification", hub(source), inputs, **options), expected, "label")


@pytest.mark.parametrize(
    "inputs",
    [
        case([("the chef cooked", "a good meal ?")], form="a pair (text_pair)", **CLIENT),
        case([("the chef", "she ate the old soup"), ("was it good in the rain", "no")], form="a batch of pairs", **CLIENT),
        case([("the chef cooked", LONG)], form="a pair whose second text is cut", **CLIENT),
    ],
)
def test_pairs(inputs: list[tuple[str, str]]) -> None:
    source = checkpoints()["classifier"]
    first, second = map(list, zip(*inputs, strict=True))
    found = run("AutoModelForSequenceClassification", hub(source), first, text_pair=second)["logits"]
    logits = np.reshape(found["data"], found["dims"])
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = load(source, device="cpu", truncate="head").predict(inputs)
    np.testing.assert_allclose(shares, [list(row.probabilities.values()) for row in expected], atol=1e-4)


@conforms(form="a regression (AutoModelForSequenceClassification)", **CLIENT)
def test_a_regression() -> None:
    source = checkpoints()["regression"]
    found = run("AutoModelForSequenceClassification", hub(source), list(TEXTS))["logits"]
    np.testing.assert_allclose(found["data"], [row.label for row in load(source, device="cpu").predict(TEXTS)], atol=1e-4)
    # Its pipeline makes 1 of every number, so the card shows the class.
    assert "AutoModelForSequenceClassification" in (hub(source) / "README.md").read_text()


@pytest.mark.parametrize(
    "dtype",
    [
        *(case(dtype, form=f"dtype {dtype}", **CLIENT) for dtype in HUB_FILES),
        case(None, form="no dtype: fp32 in Node", **CLIENT),
    ],
)
def test_number_formats(dtype: str | None) -> None:
    source = checkpoints()["classifier"]
    folder, tokenizer = hub(source, *HUB_FILES), load_tokenizer(source)
    found = run("AutoModelForSequenceClassification", folder, "an Épic film , was it ?", dtype=dtype)["logits"]["data"]
    session = onnxruntime.InferenceSession(folder / HUB_FILES[dtype or "fp32"], providers=["CPUExecutionProvider"])
    ids, segments = tokenizer.wrap(tokenizer.encode(["an Épic film , was it ?"])[0])
    feed = {"input_ids": [ids], "attention_mask": [[1] * len(ids)], "token_type_ids": [segments]}
    expected = session.run(["logits"], {name: np.array(values) for name, values in feed.items()})[0][0]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    exact = load(source, device="cpu").backend.class_logits([type("Input", (), {"ids": ids, "segments": segments})])[0]  # type: ignore[list-item]
    np.testing.assert_allclose(found, exact, atol={"fp32": 1e-4, None: 1e-4, "fp16": 0.02}.get(dtype, 0.5))


# ---- other heads ----


@pytest.mark.parametrize(
    ("source", "inputs", "options"),
    [
        case(lambda: checkpoint("ElectraForTokenClassification"), TEXTS[1], {}, form="ElectraForTokenClassification", **CLIENT),
        case(lambda: other("BertForTokenClassification", num_labels=3), TEXTS[1], {}, form="BertForTokenClassification", **CLIENT),
        case(lambda: checkpoint("ElectraForTokenClassification"), list(TEXTS[:2]), {}, form="tagging: a batch with padding", **CLIENT),
        case(lambda: checkpoint("ElectraForTokenClassification"), TEXTS[3], {"ignore_labels": ["I-LOC"]}, form="ignore_labels", **CLIENT),
        case(
            lambda: checkpoint("ElectraForTokenClassification"),
            [TEXTS[0], TEXTS[4]],
            {"aggregation_strategy": "simple", "ignore_labels": []},
            form="aggregation_strategy simple",
            **CLIENT,
        ),
    ],
)
def test_tagging(source: Callable[[], Path], inputs: Any, options: dict[str, Any]) -> None:
    expected = pipeline("token-classification", source(), device="cpu")(inputs, **options)
    names = ("entity_group", "word") if options.get("aggregation_strategy") else ("entity", "index", "word")
    close(run("token-classification", hub(source()), inputs, **options), expected, *names)


@conforms(form="tagging with segment 1, as the original's", **CLIENT)
def test_tags_of_segment_one(tmp_path: Path) -> None:
    shutil.copytree(checkpoint("ElectraForTokenClassification"), source := tmp_path / "tagger")
    hf_forms.set_fields(source, electra_input_spec={"max_length": 40, "token_segment": 1})
    expected = pipeline("token-classification", source, device="cpu")(TEXTS[1])
    close(run("token-classification", hub(source), TEXTS[1]), expected, "entity", "index", "word")
    close(pipeline("token-classification", hub(source))(TEXTS[1]), expected, "entity", "word")


@pytest.mark.parametrize(
    ("source", "several", "top_k"),
    [
        case(lambda: checkpoint("ElectraForQuestionAnswering"), False, 1, form="ElectraForQuestionAnswering", **CLIENT),
        case(lambda: checkpoint("ElectraForQuestionAnswering"), False, 3, form="questions: top_k 3", **CLIENT),
        case(lambda: checkpoint("ElectraForQuestionAnswering"), True, 1, form="a batch of questions", **CLIENT),
        case(lambda: other("BertForQuestionAnswering"), True, 2, form="BertForQuestionAnswering", **CLIENT),
    ],
)
def test_questions(source: Callable[[], Path], several: bool, top_k: int) -> None:
    questions, contexts = (QUESTIONS, CONTEXTS) if several else (QUESTIONS[0], CONTEXTS[0])
    ours = pipeline("question-answering", source(), device="cpu")(question=questions, context=contexts, top_k=top_k, max_answer_len=100)
    found = run("question-answering", hub(source()), questions, contexts, top_k=top_k)

    def plain(answers: Any) -> list[Any]:
        rows = answers if isinstance(answers, list) else [answers]
        # transformers.js decodes tokens, which `start` and `end` of a text do not need.
        return [plain(row) if isinstance(row, list) else {**row, "answer": row["answer"].replace(" ", "").replace("##", "")} for row in rows]

    close(plain(found), plain(ours), "answer")


@pytest.mark.parametrize(
    ("source", "inputs", "top_k"),
    [
        case(lambda: checkpoint("ElectraForMaskedLM"), "the chef [MASK] a meal , it's", 5, form="ElectraForMaskedLM", **CLIENT),
        case(lambda: other("BertForMaskedLM"), "the chef [MASK] a meal", 5, form="BertForMaskedLM", **CLIENT),
        case(lambda: other("BertForPreTraining"), "the chef [MASK] a meal", 2, form="BertForPreTraining", **CLIENT),
        case(
            lambda: other("ElectraForMaskedLM", tie_word_embeddings=False),
            "[MASK] was good",
            3,
            form="a masked LM with its own output matrix",
            **CLIENT,
        ),
        case(lambda: checkpoint("ElectraForMaskedLM"), ["it was [MASK] .", "[MASK]"], 3, form="fill-mask: a batch", **CLIENT),
    ],
)
def test_fill_mask(source: Callable[[], Path], inputs: Any, top_k: int) -> None:
    expected = pipeline("fill-mask", source(), device="cpu")(inputs, top_k=top_k)
    close(run("fill-mask", hub(source()), inputs, top_k=top_k), expected, "token", "token_str", "sequence")


@conforms(form="the generator next to a discriminator", **CLIENT)
def test_the_generator_of_a_discriminator() -> None:
    source = checkpoints()["discriminator"]
    expected = pipeline("fill-mask", source, device="cpu")("the chef [MASK] a meal")
    close(run("fill-mask", hub(source) / "generator", "the chef [MASK] a meal"), expected, "token", "sequence")


@pytest.mark.parametrize(
    ("source", "inputs", "options"),
    [
        case(lambda: checkpoint("ElectraModel"), TEXTS[1], {}, form="feature-extraction: all tokens", **CLIENT),
        case(lambda: checkpoint("ElectraModel"), list(TEXTS[:2]), {"pooling": "mean"}, form="feature-extraction: mean of a batch", **CLIENT),
        case(lambda: checkpoint("ElectraModel"), list(TEXTS[:2]), {"pooling": "cls"}, form="feature-extraction: cls", **CLIENT),
        case(
            lambda: other("BertModel"),
            list(TEXTS[3:5]),
            {"pooling": "mean", "normalize": True},
            form="feature-extraction: BertModel, normalize",
            **CLIENT,
        ),
        case(lambda: checkpoints()["lone"], TEXTS[0], {"pooling": "mean"}, form="feature-extraction: a discriminator", **CLIENT),
        case(lambda: checkpoints()["classifier"], TEXTS[0], {"pooling": "mean"}, form="feature-extraction: a classifier's encoder", **CLIENT),
    ],
)
def test_feature_extraction(source: Callable[[], Path], inputs: Any, options: dict[str, Any]) -> None:
    texts = [inputs] if isinstance(inputs, str) else inputs
    states = load(source(), device="cpu").token_vectors(texts)
    found = run("feature-extraction", hub(source()), inputs, **options)
    values = np.reshape(found["data"], found["dims"])
    pool = {"mean": lambda rows: rows.mean(0), "cls": lambda rows: rows[0], None: lambda rows: rows}[options.get("pooling")]
    expected = np.stack([pool(rows) for rows in states])
    if options.get("normalize"):
        expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(values, expected, atol=1e-4)


@conforms(form="a sentence-transformers folder: cls, Normalize", **CLIENT)
def test_a_sentence_encoder(tmp_path: Path) -> None:
    shutil.copytree(checkpoint("ElectraModel"), source := tmp_path / "encoder")
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"} for i, (path, kind) in enumerate(kinds.items())
    ]
    (source / "1_Pooling").mkdir()
    write(source, modules__json=json.dumps(listed))
    write(source / "1_Pooling", config__json={"word_embedding_dimension": 32, "pooling_mode_cls_token": True})
    folder, texts = hub(source), [*TEXTS[:2], LONG]
    found = run("feature-extraction", folder, texts, pooling="cls", normalize=True)
    expected = load(source, device="cpu").embed(texts)
    np.testing.assert_allclose(np.reshape(found["data"], found["dims"]), expected, atol=1e-4)
    np.testing.assert_allclose(load(folder).embed(texts), expected, atol=1e-4)
    assert "{ pooling: 'cls', normalize: true }" in (folder / "README.md").read_text()


# ---- tokenizers ----

GREEK = "αβγδεζηθικλμνξοπρστυφχψωςΣ𠮷𠀀"
MORE_TEXTS = [
    *ODD_TEXTS,
    "ΟΔΟΣ, ΣΑΣ. Σίσυφος",
    "𠮷𠀀𠮷x 𠀀",
    "can't don't I'm you're",
    "٣٤ ²³ Ⅳ 3.14 1,000",
    "...!!! ?? a--b",
    "\u3000全角　ス a\u00a0b\u00adc",
]


def vocab_txt(config: dict[str, Any], extra: str = "") -> Callable[[Path], Any]:
    return lambda folder: write(folder, vocab__txt=VOCAB + extra, tokenizer_config__json=config)


def rules_json(model: str, pre_tokenizer: Any, normalizer: Any = None, decoder: Any = None, **config: Any) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        options = {"end_of_word_suffix": "</w>"} if isinstance(decoder, decoders.BPEDecoder) else {}
        trained(model, pre_tokenizer, normalizer, decoder, **options).save(str(folder / "tokenizer.json"))
        write(folder, tokenizer_config__json={**JSON, **NAMES, **config})

    return make


def sequence(*parts: Any) -> Any:
    return pre_tokenizers.Sequence(list(parts))


BYTES = pre_tokenizers.ByteLevel
SPACES = pre_tokenizers.Metaspace
UNCASED = {"tokenizer_class": "ElectraTokenizer", "do_lower_case": True}
NO_SEGMENTS = {"model_input_names": ["input_ids", "attention_mask"]}


@pytest.mark.parametrize(
    "make",
    [
        case(vocab_txt(UNCASED), form="tokenizer: uncased WordPiece", **CLIENT),
        case(vocab_txt(CASED), form="tokenizer: cased WordPiece", **CLIENT),
        case(vocab_txt({**UNCASED, "strip_accents": False}), form="tokenizer: strip_accents false", **CLIENT),
        case(vocab_txt({**CASED, "tokenize_chinese_chars": False}), form="tokenizer: Chinese characters not separated", **CLIENT),
        case(vocab_txt({**CASED, "added_tokens_decoder": ADDED}), form="tokenizer: an added token", **CLIENT),
        case(
            vocab_txt(UNCASED, "".join(f"{c}\n##{c}\n" for c in GREEK) + "𠮷𠀀\n"),
            form="tokenizer: Greek capitals, rare Chinese characters",
            **CLIENT,
        ),
        case(rules_json("Unigram", SPACES(), normalizers.NFKC(), decoders.Metaspace()), form="tokenizer: Unigram", **CLIENT),
        case(
            rules_json("Unigram", SPACES(prepend_scheme="first"), normalizers.Lowercase(), decoders.Metaspace(), **NO_SEGMENTS),
            form="tokenizer: Unigram without segments",
            **CLIENT,
        ),
        case(rules_json("BPE", BYTES(add_prefix_space=False), None, decoders.ByteLevel()), form="tokenizer: byte-level BPE", **CLIENT),
        case(rules_json("BPE", BYTES(add_prefix_space=True), None, decoders.ByteLevel()), form="tokenizer: byte-level BPE, prefix space", **CLIENT),
        case(rules_json("BPE", SPACES(), normalizers.NFD(), decoders.Metaspace()), form="tokenizer: BPE with Metaspace", **CLIENT),
        case(
            rules_json("BPE", pre_tokenizers.Whitespace(), normalizers.NFC(), decoders.BPEDecoder()), form="tokenizer: BPE with Whitespace", **CLIENT
        ),
        case(
            rules_json(
                "Unigram",
                sequence(pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(individual_digits=True), SPACES()),
            ),
            form="tokenizer: Punctuation and Digits",
            **CLIENT,
        ),
        case(
            rules_json("WordPiece", pre_tokenizers.WhitespaceSplit(), None, decoders.WordPiece()),
            form="tokenizer: WordPiece without normalizer",
            **CLIENT,
        ),
    ],
)
def test_tokenizers(make: Callable[[Path], Any], tmp_path: Path) -> None:
    (folder := tmp_path / "saved").mkdir()
    make(tmp_path)
    ours = load_tokenizer(tmp_path)
    save_for_transformers_js(ours, folder, 1000)
    seconds = [*MORE_TEXTS[1:], "the"]
    pairs = [(a, b) for a, b in zip(MORE_TEXTS, seconds, strict=True) if b]
    wanted = [ours.wrap(ids) for ids in ours.encode(MORE_TEXTS)]
    wanted += [ours.wrap(*ours.encode([a, b])) for a, b in pairs]
    found = run("tokenizer", folder, MORE_TEXTS), run("tokenizer", folder, [a for a, _ in pairs], text_pair=[b for _, b in pairs])
    assert found[0]["input_ids"] + found[1]["input_ids"] == [ids for ids, _ in wanted]
    if ours.settings.segments:
        assert found[0]["token_type_ids"] + found[1]["token_type_ids"] == [segments for _, segments in wanted]
    # `transformers` and electra read the same files alike.
    assert check_equal(folder, MORE_TEXTS).encode(MORE_TEXTS) == ours.encode(MORE_TEXTS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        case(rules_json("WordLevel", SPACES()), "model WordLevel", form="tokenizer: WordLevel for transformers.js", **REFUSED),
        case(rules_json("BPE", SPACES(), normalizers.Nmt()), "normalizer Nmt", form="tokenizer: Nmt for transformers.js", **REFUSED),
        case(
            rules_json("BPE", pre_tokenizers.Split(" ", "merged_with_next")),
            "Split with behavior MergedWithNext",
            form="tokenizer: a Split that merges",
            **REFUSED,
        ),
        case(
            rules_json("BPE", pre_tokenizers.UnicodeScripts()),
            "pre_tokenizer UnicodeScripts",
            form="tokenizer: UnicodeScripts for transformers.js",
            **REFUSED,
        ),
        case(
            vocab_txt({**CASED, "added_tokens_decoder": {"5": {**ADDED[next(iter(ADDED))], "single_word": True}}}),
            r"added token '\[E1\]' has single_word",
            form="tokenizer: single_word for transformers.js",
            **REFUSED,
        ),
    ],
)
def test_tokenizers_that_transformers_js_reads_otherwise(make: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(UserError, match=f"tokenizer.json: (a )?{message}"):
        save_for_transformers_js(load_tokenizer(tmp_path), tmp_path, 64)


@pytest.mark.parametrize(
    "make",
    [
        case(rules_json("BPE", BYTES(add_prefix_space=True), None, decoders.ByteLevel()), form="fill-mask: byte-level BPE, <mask>", **CLIENT),
        case(rules_json("Unigram", SPACES(), normalizers.NFKC(), decoders.Metaspace()), form="fill-mask: Unigram, <mask>", **CLIENT),
        case(
            rules_json("WordPiece", pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer(), decoders.WordPiece()),
            form="fill-mask: WordPiece, <mask>",
            **CLIENT,
        ),
    ],
)
def test_masks_of_other_names(make: Callable[[Path], Any], tmp_path: Path) -> None:
    make(tmp_path)
    hf_forms.make("ElectraForMaskedLM", tmp_path, **{**SHAPE, "vocab_size": load_tokenizer(tmp_path).vocab_size})
    text = "The quick <mask> Fox, isn't it?"
    expected = pipeline("fill-mask", tmp_path, device="cpu")(text)
    close(run("fill-mask", hub(tmp_path), text), expected, "token", "token_str", "sequence")


@conforms(form="questions with a Unigram tokenizer: segments", **CLIENT)
def test_segments_of_other_tokenizers(tmp_path: Path) -> None:
    rules_json("Unigram", SPACES(), normalizers.NFKC(), decoders.Metaspace())(tmp_path)
    config = {**SHAPE, "vocab_size": load_tokenizer(tmp_path).vocab_size, "initializer_range": 0.4}
    hf_forms.make("ElectraForQuestionAnswering", tmp_path, **config)
    pair = {"question": "where is English?", "context": "he said [MASK] and English in the café"}
    expected = pipeline("question-answering", tmp_path, device="cpu")(**pair, max_answer_len=100)
    (folder := tmp_path / "built").mkdir()
    build_hub_folder(str(tmp_path), folder, dtypes=("fp32",))
    found = run("question-answering", folder, *pair.values())
    assert found["score"] == pytest.approx(expected["score"], abs=1e-4)
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "ConvBertTokenizer"
