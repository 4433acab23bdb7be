"""inspect: every kind of path is recognized and counted right; --verify names damaged files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conformance import case
from hf_forms import as_bin, change_weights, make, set_fields, shard, write_tokenizer
from tiny_models import checkpoints, oracle, vocabulary

from electra.cli import main
from electra.errors import UserError
from electra.inference.artifact import write_measurements
from electra.inference.inspect import describe

ROOT = Path(__file__).resolve().parents[2]


def inspect(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The JSON answer; the table is printed once too, so that both are exercised."""
    assert main(["inspect", str(path)]) == 0
    table = capsys.readouterr().out
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] in table
    return found


def test_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    found = inspect(checkpoints()["discriminator"], capsys)
    reference = oracle("ElectraForPreTraining", "discriminator").model
    assert found["kind"] == "checkpoint" and found["architecture"] == "ElectraForPreTraining"
    assert found["num_parameters"] == sum(p.numel() for p in reference.parameters())
    assert found["hidden_size"] == 32 and found["tokenizer"] is True and found["dtype"] == "F32"
    assert found["generator"]["architecture"] == "ElectraForMaskedLM"
    assert inspect(checkpoints()["classifier"], capsys)["labels"] == ["negative", "neutral", "positive"]
    assert inspect(checkpoints()["lone"] / "model.safetensors", capsys)["kind"] == "weights"


def test_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = inspect(checkpoints()["vocab"], capsys)
    assert found["kind"] == "tokenizer" and found["vocab_size"] == len(vocabulary()) and found["lowercase"] is True
    assert found["special_ids"] == {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoints()["lone"] / name, tmp_path)
    assert inspect(tmp_path, capsys)["fingerprint"] == found["fingerprint"]


def test_corpus(tmp_path: Path, tiny_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tiny_corpus.read_text(encoding="utf-8")
    found = inspect(tiny_corpus, capsys)
    lines = [line for line in text.splitlines() if line]
    assert (found["kind"], found["num_documents"], found["num_lines"]) == ("corpus", 60, len(lines))
    assert found["num_words"] == len(text.split()) and found["num_characters"] == sum(map(len, lines))
    for name in ("a.txt", "b.txt"):
        shutil.copy(tiny_corpus, tmp_path / name)
    folder = inspect(tmp_path, capsys)
    assert folder["num_files"] == 2 and folder["num_lines"] == 2 * len(lines)
    assert folder["size_bytes"] == 2 * tiny_corpus.stat().st_size


def test_shards(tmp_path: Path, tiny_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = tmp_path / "shards"
    vocab = str(checkpoints()["vocab"])
    assert main(["prepare", str(tiny_corpus), "--tokenizer", vocab, "--output", str(shards), "--workers", "1", "--held-out", "10%"]) == 0
    capsys.readouterr()
    found = inspect(shards, capsys)
    assert found["kind"] == "shards"
    splits = found["splits"].values()
    assert sum(split["documents"] for split in splits) == 60
    oracle_ids = oracle("ElectraForPreTraining", "lone").tokenizer(tiny_corpus.read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    assert sum(split["tokens"] for split in splits) == len(oracle_ids)


def test_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.toml").write_text('preset = "mini"\n', encoding="utf-8")
    lines = [
        {"kind": "train", "step": 50, "tokens": 100, "loss": 9.0},
        {"kind": "evaluation", "step": 50, "disc_auc": 0.6},
        {"kind": "train", "step": 100, "tokens": 200, "loss": 8.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "tra', encoding="utf-8")
    for step in ("step-00000050", "step-00000100"):
        shutil.copytree(checkpoints()["lone"], tmp_path / "checkpoints" / step)
    found = inspect(tmp_path, capsys)
    assert found["kind"] == "run" and found["preset"] == "mini" and found["status"].startswith("unfinished")
    assert found["last_train"]["step"] == 100 and found["last_evaluation"]["disc_auc"] == 0.6
    assert found["checkpoints"] == ["step-00000050", "step-00000100"]
    shutil.copytree(checkpoints()["lone"], tmp_path / "final")
    assert inspect(tmp_path, capsys)["status"] == "finished"


@pytest.mark.parametrize("bytes_kept", [0, 4, 100, -1])
def test_truncated_weights_are_seen(tmp_path: Path, bytes_kept: int) -> None:
    folder = shutil.copytree(checkpoints()["lone"], tmp_path / "broken")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:bytes_kept])
    with pytest.raises(UserError, match="damaged or incomplete"):
        describe(str(folder))


def test_hostile_header_is_refused(tmp_path: Path) -> None:
    for content in (b"\xff" * 64, (8).to_bytes(8, "little") + b"[1, 2]  ", (2).to_bytes(8, "little") + b"{}extra"):
        file = tmp_path / "model.safetensors"
        file.write_bytes(content)
        with pytest.raises(UserError, match="damaged or incomplete"):
            describe(str(file))


# ---- checkpoints of other people ----

INSPECTED = ("inspect", "embed")


def exact(change: Any, expected: dict[str, Any], form: str, kind: str = "BertForSequenceClassification", **config: Any) -> Any:
    return case(kind, config, change, expected, form=form, where=INSPECTED, outcome="exact")


def in_float16(folder: Path) -> None:
    change_weights(folder, lambda tensors: {name: value.half() for name, value in tensors.items()})


def in_old_names(folder: Path) -> None:
    old = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
    change_weights(folder, lambda tensors: {name.replace(*old[0]).replace(*old[1]): value for name, value in tensors.items()})


FORMS = [
    exact(lambda folder: None, {"hidden_act": "gelu_new", "head": "classification"}, "hidden_act gelu_new", hidden_act="gelu_new"),
    exact(shard, {"files": [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)], "dtype": "F32"}, "sharded safetensors"),
    exact(lambda folder: shard(folder, "bin"), {"files": [f"pytorch_model-0000{i}-of-00003.bin" for i in (1, 2, 3)]}, "sharded pytorch_model.bin"),
    exact(as_bin, {"file": "pytorch_model.bin"}, "pytorch_model.bin"),
    exact(in_float16, {"dtype": "F16"}, "float16"),
    exact(in_old_names, {"labels": ["LABEL_0", "LABEL_1"]}, "gamma and beta"),
    exact(lambda folder: set_fields(folder, architectures=...), {"head": "span"}, "no architectures", "BertForQuestionAnswering"),
    exact(lambda folder: set_fields(folder, architectures=...), {"architecture": "BertModel"}, "no architectures, weights that fit two heads"),
    exact(lambda folder: None, {"vocab_size": 112, "tokens": 99, "rows_without_token": 13}, "more rows than tokens", vocab_size=112),
    exact(lambda folder: None, {"labels": ["a", "b", "c"]}, "id2label of three", id2label={0: "a", 1: "b", 2: "c"}),
    exact(lambda folder: None, {"type_vocab_size": 1}, "one segment type, single texts", type_vocab_size=1),
    exact(lambda folder: None, {"head": "tagging"}, "ElectraForTokenClassification", "ElectraForTokenClassification"),
    exact(lambda folder: None, {"head": "not implemented; the encoder is"}, "BertForMultipleChoice", "BertForMultipleChoice"),
]


@pytest.mark.parametrize(("kind", "config", "change", "expected"), FORMS)
def test_what_embed_reads_is_described(
    kind: str, config: dict[str, Any], change: Any, expected: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "m"
    make(kind, folder, **config)
    write_tokenizer(folder)
    change(folder)
    found = inspect(folder, capsys)
    assert {key: found[key] for key in expected} == expected
    (tmp_path / "texts.txt").write_text("w3 w4 w5\n")
    assert main(["embed", str(folder), str(tmp_path / "texts.txt")]) == 0
    base = "BertModel" if kind.startswith("Bert") else "ElectraModel"
    model, tokenizer = getattr(transformers, base).from_pretrained(folder, dtype="float32").eval(), transformers.AutoTokenizer.from_pretrained(folder)
    states = model(**tokenizer("w3 w4 w5", return_tensors="pt")).last_hidden_state[0].mean(0).tolist()
    assert json.loads(capsys.readouterr().out) == pytest.approx(states, abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        case(
            {"position_embedding_type": "relative_key"}, "position_embedding_type", form="position_embedding_type", where="inspect", outcome="refused"
        ),
        case({"quantization_config": {"bits": 4}}, "quantization_config", form="quantization_config", where="inspect", outcome="refused"),
        case({"model_type": "roberta"}, "roberta", form="another model_type", where="inspect", outcome="refused"),
        case({"hidden_act": "snake"}, "hidden_act", form="an unknown hidden_act", where="inspect", outcome="refused"),
    ],
)
def test_what_is_not_read_is_refused_by_name(fields: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("BertModel", tmp_path)
    write_tokenizer(tmp_path)
    set_fields(tmp_path, **fields)
    assert main(["inspect", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


# ---- verify ----


def verified(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The damaged files that 'inspect --verify' names; both forms of its answer and its exit code agree."""
    code = main(["inspect", str(path), "--verify"])
    lines = capsys.readouterr().out.splitlines()
    assert main(["inspect", str(path), "--verify", "--json"]) == code
    damaged: list[str] = json.loads(capsys.readouterr().out)["damaged"]
    assert (code, lines) == ((2, damaged) if damaged else (0, [f"{path}: every file is as it was written"]))
    return damaged


def test_verify_of_checkpoints_and_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("final", "checkpoints/step-10"):
        shutil.copytree(checkpoints()["discriminator"], tmp_path / "run" / place)
    (tmp_path / "run" / "config.toml").write_text("")
    assert verified(tmp_path / "run", capsys) == [] and verified(tmp_path / "run" / "final", capsys) == []
    weights = tmp_path / "run" / "checkpoints" / "step-10" / "generator" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (line,) = verified(tmp_path / "run", capsys)
    assert str(weights) in line and "damaged" in line
    assert main(["inspect", str(tmp_path / "run" / "config.toml"), "--verify"]) == 2
    assert "--verify reads tokenized data, artifacts, checkpoints, runs and parts" in capsys.readouterr().err


def test_verify_of_artifacts_names_every_changed_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "built"
    shutil.copytree(ROOT / "tests" / "fixtures" / "v0.1" / "artefacts" / "onnx", place)
    assert verified(place, capsys) == []
    with (place / "config.json").open("a") as file:
        file.write(" ")
    (place / "vocab.txt").unlink()
    lines = verified(place, capsys)
    assert len(lines) == 2 and str(place / "config.json") in lines[0] and f"{place / 'vocab.txt'} cannot be read" in lines[1]
    (place / "more.bin").write_bytes(b"x")
    assert verified(place, capsys)[0] == f"{place} contains 'more.bin', which is not in its artefact.json"


def test_measurements_of_an_artifact_are_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "built"
    shutil.copytree(ROOT / "tests" / "fixtures" / "v0.1" / "artefacts" / "onnx", place)
    row = {"name": "fast", "error": None, "metric": "accuracy", "score": 0.8125, "latency": {"p50_ms": 0.1578}, "size_bytes": 2_500_000}
    write_measurements(place, [row, {"name": "broken", "error": "it ended with code 1", "score": None, "latency": None, "size_bytes": None}])
    assert main(["inspect", str(place)]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.partition("measured")[2].splitlines()[1:]]
    assert lines == [["fast", "accuracy 0.8125, 0.158 ms a text, 2.5 MB"], ["broken", "it ended with code 1"]]


@pytest.mark.parametrize(("name", "inside"), [("several", "best/rte"), ("suite", "sst2/best"), ("search", "")])
def test_verify_of_runs_with_several_models(name: str, inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / name
    shutil.copytree(ROOT / "tests" / "fixtures" / "v0.1" / "runs" / name, run)
    assert verified(run, capsys) == []
    weights = run / inside / "model.safetensors" if inside else next(run.rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    assert verified(run, capsys) == [f"{weights} is damaged or incomplete"]
