"""electra score: an Electric's energies, a masked LM against `transformers` token by token, n-best lists."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import TEXTS, Oracle, checkpoints

from electra.cli import main
from electra.inference.predictor import load


@pytest.fixture(scope="module")
def electric(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny discriminator, called an Electric."""
    import shutil

    folder = tmp_path_factory.mktemp("models") / "electric"
    shutil.copytree(checkpoints()["lone"], folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"electra_objective": "electric"}))
    return folder


def test_an_electrics_score_is_minus_its_energies(electric: Path) -> None:
    oracle = Oracle("ElectraForPreTraining", checkpoints()["lone"])
    texts = [text for text in TEXTS if len(text.split()) < 30]
    for text, found in zip(texts, load(electric).score(texts), strict=True):
        energies = oracle.logits(text)[1:-1]
        assert found.score == pytest.approx(-energies.sum(), abs=1e-4)
        assert [t.score for t in found.tokens] == pytest.approx((-energies).tolist(), abs=1e-4)
        assert all(text[t.start : t.end] for t in found.tokens)


def test_a_masked_lms_score_masks_one_token_at_a_time() -> None:
    oracle = Oracle("ElectraForMaskedLM", checkpoints()["masked"])
    texts = [text for text in TEXTS if len(text.split()) < 30]
    for text, found in zip(texts, load(checkpoints()["masked"], batch_size=3).score(texts), strict=True):
        ids = oracle.tokenizer(text, return_tensors="pt").input_ids[0]
        expected = []
        for at in range(1, len(ids) - 1):
            masked = ids.clone()
            masked[at] = oracle.tokenizer.mask_token_id
            with torch.no_grad():
                logits = oracle.model(input_ids=masked[None]).logits[0, at]
            expected.append(torch.log_softmax(logits, -1)[ids[at]].item())
        assert [t.score for t in found.tokens] == pytest.approx(expected, abs=1e-4)
        assert found.score == pytest.approx(sum(expected), abs=1e-3)


def test_an_electra_answers_through_its_generator() -> None:
    texts = ["the chef cooked the meal", "she walked home"]
    whole, alone = load(checkpoints()["discriminator"]), load(checkpoints()["generator"])
    assert [s.score for s in whole.score(texts)] == [s.score for s in alone.score(texts)]


def test_long_texts_are_read_in_windows(electric: Path) -> None:
    text = "the chef cooked the meal " * 40
    for folder in (electric, checkpoints()["masked"]):
        (found,) = load(folder).score([text])
        assert len(found.tokens) == 200 and np.isfinite(found.score)
        assert [text[t.start : t.end] for t in found.tokens] == text.split()


def test_the_command(electric: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text("the chef cooked the meal\n\nshe walked home\n")
    assert main(["score", str(electric), str(tmp_path / "t.txt")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[1:] for line in lines] == [["5", "the chef cooked the meal"], ["0", ""], ["3", "she walked home"]]
    assert main(["score", str(electric), str(tmp_path / "t.txt"), "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [f"{record['score']:.4f}" for record in records] == [line.split("\t")[0] for line in lines]
    assert records[0]["per_token"] == pytest.approx(records[0]["score"] / 5)


def test_nbest_lists_come_back_ranked(electric: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [
        {"id": 1, "hypotheses": [{"text": "the chef cooked the meal", "score": -3.0}, {"text": "she walked home", "score": -1.0}]},
        {"id": 2, "hypotheses": []},
        {"id": 3, "hypotheses": ["the chef cooked", "the chef cooked the meal again"]},
        {"id": 4, "hypotheses": []},
    ]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(map(json.dumps, lists)).encode())))
    assert main(["score", str(electric), "-", "--nbest", "hypotheses", "--weight", "0.5"]) == 0
    out = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["id"] for record in out] == [1, 2, 3, 4]
    alone = {s.text: s.score for s in load(electric).score([h["text"] if isinstance(h, dict) else h for x in lists for h in x["hypotheses"]])}
    for record, given in zip(out, lists, strict=True):
        combined = [h["combined"] for h in record["hypotheses"]]
        assert combined == sorted(combined, reverse=True) and len(combined) == len(given["hypotheses"])
        for h in record["hypotheses"]:
            assert h["combined"] == pytest.approx(h.get("score", 0.0) + 0.5 * alone[h["text"]], abs=1e-6)


def test_many_lists_stream_in_order(electric: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More lists than one chunk holds, some of them empty."""
    lists = [{"id": i, "hypotheses": ["the chef cooked"] * (i % 4)} for i in range(100)]
    (tmp_path / "n.jsonl").write_text("\n".join(map(json.dumps, lists)))
    assert main(["score", str(electric), str(tmp_path / "n.jsonl"), "--nbest", "hypotheses", "--batch-size", "2"]) == 0
    out = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(r["id"], len(r["hypotheses"])) for r in out] == [(i, i % 4) for i in range(100)]


WRONG = {
    '{"hypotheses": "the chef"}': "no list 'hypotheses'",
    '{"hypotheses": [3]}': "expected texts",
    '{"hypotheses": [{"text": "the", "score": "high"}]}': "'score' is 'high'",
    "[1]": "expected a JSON object",
    "no json": "not valid JSON",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_lists_are_one_line(line: str, electric: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "n.jsonl").write_text(line + "\n")
    assert main(["score", str(electric), str(tmp_path / "n.jsonl"), "--nbest", "hypotheses"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and WRONG[line] in err and "line 1" in err


def test_models_without_likelihoods_are_refused(electric: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text("the chef\n")
    assert main(["score", str(checkpoints()["classifier"]), str(tmp_path / "t.txt")]) == 2
    assert "gives no likelihoods" in capsys.readouterr().err
    assert main(["detect", str(electric), str(tmp_path / "t.txt")]) == 2
    assert "use 'electra score'" in capsys.readouterr().err
