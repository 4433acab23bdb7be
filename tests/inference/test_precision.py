"""--precision: bf16 answers are near those of fp32, in every role; every command hands it on, with --threads; else it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built_models import artifact
from pretraining_runs import shards as shards  # a fixture
from served_models import sources

from electra.cli import main
from electra.data.windows import Window, WindowInput
from electra.errors import UserError
from electra.inference import predictor
from electra.inference.predictor import load

TEXTS = ["the chef cooked a meal in the old city .", "quickly", "the river " * 12]
ROLES = ("classifier", "tagger", "finder", "discriminator", "masked")


def outputs(model: Any) -> np.ndarray:
    """What a model's head computes for TEXTS, in one row."""
    backend, ids = model.backend, [[2, *row[:40], 3] for row in model.tokenizer.encode(TEXTS)]
    inputs = [WindowInput(row, [0] * len(row), Window(0, 0, 1, 1), ((1, 0.5),)) for row in ids]
    head = {
        "ElectraForSequenceClassification": "class_logits",
        "ElectraForTokenClassification": "token_logits",
        "ElectraForQuestionAnswering": "span_outputs",
    }
    head |= {"ElectraForPreTraining": "replaced_logits", "ElectraForMaskedLM": "word_logits"}
    return np.concatenate([np.ravel(row) for row in getattr(backend, head[backend.architecture])(inputs)])


@pytest.mark.parametrize("role", ROLES)
def test_bf16_is_near_fp32(role: str) -> None:
    source = sources()[role]
    exact, rounded = (outputs(load(source, precision=precision, threads=1)) for precision in ("fp32", "bf16"))
    assert rounded.dtype == np.float32 and not np.array_equal(exact, rounded)
    assert np.abs(exact - rounded).max() < 0.1 * np.abs(exact).max() and np.corrcoef(exact, rounded)[0, 1] > 0.999


def test_vectors_and_the_generator_have_it_too() -> None:
    exact, rounded = (load(sources()["discriminator"], precision=precision) for precision in ("fp32", "bf16"))
    one, other = exact.embed(TEXTS), rounded.embed(TEXTS)
    assert not np.array_equal(one, other) and np.abs(one - other).max() < 0.05 and np.corrcoef(np.ravel(one), np.ravel(other))[0, 1] > 0.999
    assert rounded.generator.precision == "bf16" and exact.generator.precision == "fp32"


COMMANDS = [
    "predict {classifier} {texts}",
    "predict {classifier} {texts} {more} --output {out}",
    "embed {discriminator} {texts}",
    "detect {discriminator} {texts}",
    "score {masked} {texts}",
    "score {masked} {texts} --nbest a",
    "rerank {classifier} --query who {texts}",
    "mine {table} --model {discriminator} --output {out}.jsonl",
    "evaluate {classifier} --task own --data {table} --text query --label passage",
    "evaluate {discriminator} --task retrieval --data {beir} --split test",
    "evaluate {discriminator} --corruption {out}.jsonl --data {texts}",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_hands_on_threads_and_precision(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    (tmp_path / "more.txt").write_text("\n".join(TEXTS) + "\n")
    (tmp_path / "table.csv").write_text("query,passage\n" + "".join(f"{text},{text}\n" for text in TEXTS))
    (tmp_path / "beir" / "qrels").mkdir(parents=True)
    (tmp_path / "beir" / "corpus.jsonl").write_text('{"_id": "d", "title": "", "text": "the meal"}\n')
    (tmp_path / "beir" / "queries.jsonl").write_text('{"_id": "q", "text": "who"}\n')
    (tmp_path / "beir" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    seen: dict[str, Any] = {}

    def opened(source: Any, **given: Any) -> Any:
        seen.update(given)
        raise UserError("seen")

    monkeypatch.setattr(predictor, "open_backend", opened)
    names = {name: str(path) for name, path in sources().items()}
    names |= {name: str(tmp_path / f"{name}.txt") for name in ("texts", "more")}
    names |= {"table": str(tmp_path / "table.csv"), "beir": str(tmp_path / "beir"), "out": str(tmp_path / "out")}
    assert main([*command.format(**names).split(), "--threads", "1", "--precision", "bf16"]) == 2
    assert (seen["threads"], seen["precision"]) == (1, "bf16")


def test_where_it_does_not_apply_it_is_refused(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts.txt").write_text("a\n")
    built = artifact(sources()["classifier"], "onnx", zipped=True)
    for source, precision, message in (
        (built, "bf16", "is an artifact, whose number format is that of its target; leave it out, or build another target"),
        (sources()["classifier"], "fp16", "precision fp16 is for GPUs; on a CPU give bf16 or fp32"),
    ):
        assert main(["predict", str(source), str(tmp_path / "texts.txt"), "--precision", precision]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    for words in (["--corruption", str(tmp_path / "c.npz")], []):
        assert main(["evaluate", str(sources()["discriminator"]), "--data", str(shards), *words, "--precision", "fp16"]) == 2
        assert "precision fp16 is for GPUs" in capsys.readouterr().err and not (tmp_path / "c.npz").exists()
    with pytest.raises(UserError, match="unknown precision 'half'"):
        load(sources()["classifier"], precision="half")
