"""experiments/corruption.py: a record without text, joined with the text, is the set that was made; our own record."""

from __future__ import annotations

import gzip
import importlib
import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from tiny_models import checkpoints

from electra.data.corruption_set import load_texts
from electra.errors import UserError

PARAGRAPHS = """
 = A tale =

 The chef cooked a well @-@ done meal for 1 @,@ 200 people in the old house . She walked home in the cold rain , and it was dark ! Was it <unk> ?
 = = Later = =

 The Actor was boring , the music was not , and I was cold . Short one . They ate soup near the river in the evening and had a very good time
 = American Beauty ( 1999 film ) =

 The film has a good story and one moving scene near the end of it .
 = Another =

 The sun was warm , the wind was cold , and the street was quiet in the morning .
"""
WANTED = [
    (3, 0, "The chef cooked a well-done meal for 1,200 people in the old house ."),
    (3, 1, "She walked home in the cold rain , and it was dark !"),
    (6, 0, "The Actor was boring , the music was not , and I was cold ."),
    (12, 0, "The sun was warm , the wind was cold , and the street was quiet in the morning ."),
]


@pytest.fixture(scope="module")
def corruption() -> Any:
    sys.path.insert(0, str(ROOT / "experiments"))
    try:
        return importlib.import_module("corruption")
    finally:
        sys.path.remove(str(ROOT / "experiments"))


def test_sentences_are_whole_and_not_of_the_articles_left_out(corruption: Any) -> None:
    assert [*corruption.sentences(PARAGRAPHS.encode())] == WANTED


def test_the_record_has_no_text_and_gives_the_set_back(corruption: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, record, output = tmp_path / "test.txt", tmp_path / "record.json.gz", tmp_path / "words.jsonl"
    data.write_text(PARAGRAPHS)
    generator = str(checkpoints()["masked"])
    corruption.make(Namespace(data=data, record=record, generator=generator, name="a tiny one", num=4, seed=1))
    assert "4 of 4 sentences" in capsys.readouterr().out
    found = json.loads(gzip.decompress(record.read_bytes()))
    assert len(found["generator"]["model.safetensors"]) == 64 and found["file"] == "test.txt"
    corruption.join(Namespace(data=data, record=record, output=output))
    texts = load_texts(output)
    assert [text.source for text in texts] == ["generator", "frequency"] * 4
    for (line, number, *changed), one, other, (at, index, original) in zip(found["items"], texts[::2], texts[1::2], WANTED, strict=True):
        assert (line, number) == (at, index)
        for words, text in zip(changed, (one, other), strict=True):
            assert {str(n): text.text[first:end] for n, (first, end, replaced) in enumerate(text.words) if replaced} == words
            kept = [text.text[first:end] for first, end, replaced in text.words if not replaced]
            assert kept == [original[first:end] for n, (first, end) in enumerate(corruption.find_words(original)) if str(n) not in words]
    data.write_text(PARAGRAPHS + "\n")
    with pytest.raises(UserError, match=r"expected .*WikiText-2's test\.txt; give that file"):
        corruption.join(Namespace(data=data, record=record, output=output))


@pytest.mark.realdata
def test_our_record_is_of_wikitext2(corruption: Any, data_root: Path, tmp_path: Path) -> None:
    corruption.join(Namespace(data=data_root / "wikitext2" / "test.txt", record=corruption.RECORD, output=tmp_path / "words.jsonl"))
    texts = load_texts(tmp_path / "words.jsonl")
    replaced = [sum(replaced for *_, replaced in text.words) / len(text.words) for text in texts]
    assert len(texts) == 3600 and 0.08 < sum(replaced) / len(replaced) < 0.16 and corruption.RECORD.stat().st_size < 200_000
