"""Tags of texts of any length: equal to `transformers` on random weights; places are exact; columns and JSON lines."""

from __future__ import annotations

import io
import json
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import SHAPE, checkpoints, vocabulary

from electra.cli import main
from electra.contracts import Example, Head
from electra.data.tokenizer import load_tokenizer
from electra.errors import UserError
from electra.inference.pipelines import pipeline
from electra.inference.predictor import Predictor, load
from electra.tasks.tagging import decode_words, featurize_words

torch = pytest.importorskip("torch")
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TEXTS = (
    "the chef cooked the meal",
    "an Épic film, was it?",
    "naïve 42 cooking (walked) \u4e2d\u56fd \U0001f600 home-again",
    "cafe\u0301 don't stop",
    "",
    "she walked home again in the rain . Was it ?",
)


def make(labels: tuple[str, ...]) -> Path:
    """A checkpoint for tags as `transformers` writes it."""
    import transformers

    torch.manual_seed(11)
    names = dict(enumerate(labels))
    config = transformers.ElectraConfig(
        vocab_size=len(vocabulary()), **SHAPE, id2label=names, label2id={name: number for number, name in names.items()}
    )
    folder = Path(tempfile.mkdtemp())
    model = transformers.ElectraForTokenClassification(config).eval()
    torch.nn.init.normal_(model.classifier.weight, std=1.0)
    model.save_pretrained(folder)
    load_tokenizer(checkpoints()["vocab"]).save(folder)
    return folder


@pytest.fixture(scope="module")
def folder() -> Path:
    return make(LABELS)


@pytest.fixture(scope="module")
def tagger(folder: Path) -> Predictor:
    return load(folder, role="tagger", device="cpu", batch_size=3)


def theirs(folder: Path, **options: Any) -> Any:
    import transformers

    return transformers.pipeline("token-classification", model=str(folder), device="cpu", **options)


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
@pytest.mark.parametrize("labels", [LABELS, ("NN", "VB", "O", "DT"), ("S-A", "B-A", "E-A", "I-A", "O", "S-B")])
def test_the_pipeline_equals_that_of_transformers(strategy: Any, labels: tuple[str, ...]) -> None:
    folder = make(labels)
    wanted = theirs(folder, aggregation_strategy=strategy)
    mine = pipeline("ner", model=folder, aggregation_strategy=strategy, device="cpu")
    for text, found in zip(TEXTS, mine(list(TEXTS)), strict=True):
        expected = wanted(text) if text else []
        assert [list(record) for record in found] == [list(record) for record in expected]
        for ours, other in zip(found, expected, strict=True):
            assert ours.pop("score") == pytest.approx(float(other.pop("score")), abs=1e-5)
            assert ours == other
    assert any(mine(list(TEXTS)))


@pytest.mark.parametrize("labels", [LABELS, ("S-A", "B-A", "E-A", "I-A", "O", "S-B"), ("U-A", "B-A", "L-A", "I-A", "O", "U-B")])
def test_spans_are_those_that_conlleval_finds_in_the_tags_of_the_words(labels: tuple[str, ...]) -> None:
    """Against seqeval, an implementation of its rules; `transformers` knows no letters but B and I."""
    from seqeval.metrics.sequence_labeling import get_entities

    folder = make(labels)
    found = 0
    for text, tagged, records in zip(
        TEXTS, load(folder, device="cpu").tag(TEXTS), pipeline("ner", model=folder, aggregation_strategy="spans")(list(TEXTS)), strict=True
    ):
        tags = [word.tag.replace("U-", "S-").replace("L-", "E-") for word in tagged.words]
        wanted = [(kind, tagged.words[first].start, tagged.words[last].end) for kind, first, last in get_entities(tags)]
        assert [(r["entity_group"], r["start"], r["end"]) for r in records] == wanted
        assert all(r["word"] == text[r["start"] : r["end"]] and 0 < r["score"] <= 1 for r in records)
        found += len(records)
    assert found


def test_pipeline_options(folder: Path, tagger: Predictor) -> None:
    ner = pipeline("token-classification", model=tagger)
    assert len(ner(TEXTS[0], ignore_labels=())) == 5 and [r["entity_group"] for r in ner(TEXTS[0], aggregation_strategy="simple")]
    with pytest.raises(UserError, match=r"unknown aggregation_strategy 'frist'; did you mean 'first'"):
        pipeline("ner", model=tagger, aggregation_strategy="frist")
    with pytest.raises(UserError, match="has no token-classification head"):
        pipeline("ner", model=checkpoints()["classifier"])
    with pytest.raises(UserError, match="tags no words"):
        load(checkpoints()["classifier"]).tag(["a"])


def test_words_are_found_with_exact_offsets_and_tagged_at_their_first_token(folder: Path, tagger: Predictor) -> None:
    import transformers

    model, tokenizer = transformers.ElectraForTokenClassification.from_pretrained(folder).eval(), transformers.AutoTokenizer.from_pretrained(folder)
    for text, tagged in zip(TEXTS, tagger.tag(TEXTS), strict=True):
        inputs = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            rows = model(**inputs).logits[0].softmax(-1).numpy()
        words = inputs.word_ids()
        firsts = [i for i, word in enumerate(words) if word is not None and word != words[i - 1]]
        assert [word.tag for word in tagged.words] == [LABELS[rows[i].argmax()] for i in firsts]
        np.testing.assert_allclose([word.probability for word in tagged.words], [rows[i].max() for i in firsts], atol=1e-5)
        assert tagged.text == text and all(text[word.start : word.end] == word.word for word in tagged.words)
    assert [w.word for w in tagger.tag([TEXTS[2]])[0].words] == "naïve 42 cooking ( walked ) \u4e2d \u56fd \U0001f600 home - again".split()
    assert [w.word for w in tagger.tag([TEXTS[3]])[0].words] == ["cafe\u0301", "don", "'", "t", "stop"]


def test_entities_are_the_spans_of_the_tags(tagger: Predictor) -> None:
    for tagged in tagger.tag(TEXTS):
        inside = [False] * len(tagged.words)
        for entity in tagged.entities:
            words = tagged.words[entity.first_word : entity.end_word]
            assert entity.text == tagged.text[entity.start : entity.end] and entity.start == words[0].start and entity.end == words[-1].end
            assert {word.tag[2:] for word in words} == {entity.kind} and not any(word.tag.startswith("B-") for word in words[1:])
            assert entity.probability == pytest.approx(np.mean([word.probability for word in words]))
            inside[entity.first_word : entity.end_word] = [True] * len(words)
        assert inside == [word.tag != "O" for word in tagged.words]


def test_constrained_tags_are_those_of_evaluation(tagger: Predictor) -> None:
    free, bound = tagger.tag(TEXTS), tagger.tag(TEXTS, constrained=True)
    assert [t.words for t in free] != [t.words for t in bound]
    for tagged in bound:
        tags = ["O", *(word.tag for word in tagged.words)]
        assert all(now[0] != "I" or before[2:] == now[2:] for before, now in pairwise(tags))


def test_given_words_keep_their_number(tagger: Predictor) -> None:
    words = ["near-record", "\x01", "", "New York", "meal"]
    (tagged,) = tagger.tag([words])
    assert [word.word for word in tagged.words] == words and tagged.text == " ".join(words)
    assert all(tagged.text[word.start : word.end] == word.word for word in tagged.words)
    assert tagger.tag([("the", "chef")])[0].words == tagger.tag(["the chef"])[0].words
    with pytest.raises(UserError, match="expected a text or a list of words"):
        tagger.tag([3])  # type: ignore[list-item]


def test_long_sentences_are_tagged_as_they_are_evaluated(folder: Path, tagger: Predictor) -> None:
    """The predictor's windows are those of fine-tuning's features; a text that fits into one is unaffected."""
    from electra.finetuning.trainer import compute_outputs
    from electra.model.huggingface import load_checkpoint
    from electra.settings import LoopSettings

    words = tuple("the chef cooked a meal in the cold evening rain and walked home".split() * 12)
    head = Head(kind="tagging", labels=LABELS)
    example = Example(id="0", text=" ".join(words), words=words)
    for max_length in (16, 64):
        features = featurize_words([example], tagger.tokenizer, max_length, head)
        network: Any = load_checkpoint(folder, "token-classification").module
        outputs = compute_outputs(network, features, head, LoopSettings(batch_size=4), torch.device("cpu"))
        (wanted,) = decode_words(outputs, features, [example], head)
        model = load(folder, device="cpu", max_length=max_length, batch_size=3)
        from_words, from_text = model.tag([words, example.text])
        assert tuple(word.tag for word in from_words.words) == wanted.label == tuple(word.tag for word in from_text.words)
        assert from_words.num_windows == from_text.num_windows == wanted.num_windows == len(features) > 2
    records = pipeline("ner", model=tagger)(example.text, ignore_labels=())
    assert [record["index"] for record in records] == list(range(1, len(words) + 1))


def test_a_segment_of_one_is_remembered(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "one")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "one" / "config.json").write_text(json.dumps(config | {"electra_reading": {"token_segment": 1}}))
    import transformers

    model, tokenizer = transformers.ElectraForTokenClassification.from_pretrained(folder).eval(), transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("the chef cooked", return_tensors="pt")
    for segment, name in ((0, folder), (1, tmp_path / "one")):
        with torch.no_grad():
            rows = model(**inputs | {"token_type_ids": torch.full_like(inputs["input_ids"], segment)}).logits[0].softmax(-1)
        (tagged,) = load(name, device="cpu").tag(["the chef cooked"])
        assert tagged.words[0].probability == pytest.approx(float(rows[1].max()), abs=1e-5)


# ---- the command ----


def test_predict_prints_columns(folder: Path, tagger: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("the chef\tcooked!\n\nshe ate\n", encoding="utf-8")
    assert main(["predict", str(folder), str(file)]) == 0
    wanted = tagger.tag(["the chef cooked!", "", "she ate"])
    expected = "".join("".join(f"{word.word}\t{word.tag}\n" for word in tagged.words) + "\n" for tagged in wanted)
    assert capsys.readouterr().out == expected and expected.count("\t") == 6


def test_predict_reads_lists_of_words_and_writes_json(
    folder: Path, tagger: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "words.jsonl"
    file.write_text('{"words": ["the", "New\\tYork"]}\n{"words": "the chef."}\n')
    assert main(["predict", str(folder), str(file), "--text", "words", "--json"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert [word["word"] for word in first["words"]] == ["the", "New\tYork"] and [w["word"] for w in second["words"]] == ["the", "chef", "."]
    assert set(first) == {"text", "words", "entities", "windows"} and set(first["words"][0]) == {"word", "tag", "probability", "start", "end"}
    assert main(["predict", str(folder), str(file), "--text", "words"]) == 0
    assert capsys.readouterr().out.split("\n")[1].startswith("New York\t")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the chef")))
    assert main(["predict", str(folder)]) == 0
    assert capsys.readouterr().out.split()[::2] == ["the", "chef"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": ["a"]}\n{"txt": ["a"]}\n', "line 2: no column 'text' (did you mean 'txt'?"),
        ("a.jsonl", '{"text": [1]}\n', "neither a text nor a list of words"),
        ("a.txt", "", "empty"),
        ("a.txt", "a\0b", "binary"),
    ],
)
def test_predict_refuses_bad_files(name: str, content: str, message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text(content)
    assert main(["predict", str(folder), str(tmp_path / name)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error


@pytest.mark.parametrize("labels", [LABELS, ("NN", "VB", "O", "DT"), ("S-A", "B-A", "E-A", "I-A", "O", "S-B")])
def test_spans_are_those_of_predict(labels: tuple[str, ...]) -> None:
    """With marks for ends and single words too, which `transformers` does not know; words where tags are plain."""
    folder = make(labels)
    found = pipeline("ner", model=folder, aggregation_strategy="spans", device="cpu")(list(TEXTS))
    for text, mine, tagged in zip(TEXTS, found, load(folder, role="tagger", device="cpu").tag(list(TEXTS)), strict=True):
        expected = (
            [(e.kind, e.start, e.end) for e in tagged.entities]
            if "-" in "".join(labels)
            else [(w.tag, w.start, w.end) for w in tagged.words if w.tag != "O"]
        )
        assert [(record["entity_group"], record["start"], record["end"]) for record in mine] == expected
        assert all(record["word"] == text[record["start"] : record["end"]] for record in mine)
    assert any(found)
