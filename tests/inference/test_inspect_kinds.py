"""`electra inspect` describes everything that our commands read and write, in a table that fits a terminal and as JSON."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance import case
from conftest import ROOT
from tensorflow_checkpoints import write_checkpoint
from tiny_models import checkpoints

from electra.cli import COMMANDS, main
from electra.commands.inspect import LONGEST
from electra.recipes.ablation.plan import AblationPlan, PretrainingRun, TaskPlan
from electra.storage import resolve

V1 = ROOT / "tests" / "fixtures" / "v0.1"
WRITES: dict[str, list[str]] = {
    "vocab": ["v/vocab", "v/vocab/vocab.txt", "v/vocab/tokenizer.json"],
    "prepare": ["v/shards", "v/shards/manifest.json"],
    "pretrain": ["v/runs/electra", "v/runs/electra/mlm-first", "v/runs/interrupted", "v/runs/electra/final", "v/runs/electra/checkpoints"],
    "finetune": [
        "log",
        "log/events.out.tfevents.1.host",
        "v/runs/seeds",
        "v/runs/seeds/seed-1",
        "v/runs/several",
        "v/runs/suite",
        "v/runs/search",
        "v/runs/search/sst2",
        "v/runs/squad2/best",
    ],
    "ablate": ["ablation", "ablation-finished", "ablation-finished/results.json"],
    "demo": ["demo", "demo-finished"],
    "predict": ["labels.jsonl"],
    "detect": ["detected.jsonl"],
    "score": ["scores.jsonl"],
    "rerank": ["ranked.jsonl"],
    "mine": ["mined.jsonl"],
    "embed": ["vectors.npy", "vectors.jsonl"],
    "evaluate": ["predictions.jsonl", "report", "report/report.json", "corruption.npz"],
    "significance": ["significance.json"],
    "compare": ["comparison", "comparison/results.json", "kept.zip"],
    "inspect": [],
    "plot": ["curves.png"],
    "build": ["v/artefacts/onnx", "v/artefacts/squad2.zip", "hub"],
    "serve": [],
    "convert": ["converted"],
    "push": ["repository"],
    "submit": ["submission.zip"],
    "dataset": ["imdb"],
}
"""Command -> what it writes, each with a kind in KINDS. A new command needs a line here, empty if it writes no file."""
KINDS = {
    "v/vocab": "tokenizer",
    "v/vocab/vocab.txt": "tokenizer",
    "v/vocab/tokenizer.json": "tokenizer",
    "v/shards": "shards",
    "v/shards/manifest.json": "shards",
    "v/runs/electra": "run",
    "v/runs/electra/mlm-first": "run",
    "v/runs/interrupted": "run",
    "v/runs/electra/final": "checkpoint",
    "v/runs/electra/checkpoints": "folder",
    "log": "TensorBoard log",
    "log/events.out.tfevents.1.host": "TensorBoard log",
    "v/runs/seeds": "run",
    "v/runs/seeds/seed-1": "run",
    "v/runs/several": "run",
    "v/runs/suite": "run",
    "v/runs/search": "run",
    "v/runs/search/sst2": "folder",
    "v/runs/squad2/best": "checkpoint",
    "ablation": "ablation",
    "ablation-finished": "ablation",
    "ablation-finished/results.json": "ablation",
    "demo": "demo",
    "demo-finished": "demo",
    "labels.jsonl": "table",
    "detected.jsonl": "table",
    "scores.jsonl": "table",
    "ranked.jsonl": "table",
    "mined.jsonl": "table",
    "vectors.npy": "vectors",
    "vectors.jsonl": "vectors",
    "predictions.jsonl": "predictions",
    "report": "report",
    "report/report.json": "scores",
    "corruption.npz": "corruption set",
    "significance.json": "record",
    "comparison": "comparison",
    "comparison/results.json": "comparison",
    "kept.zip": "artifact",
    "curves.png": "picture",
    "v/artefacts/onnx": "artifact",
    "v/artefacts/squad2.zip": "artifact",
    "hub": "artifact",
    "converted": "checkpoint",
    "repository": "checkpoint",
    "submission.zip": "submission",
    "imdb": "data set",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of everything."""
    place = tmp_path_factory.mktemp("kinds")
    (place / "v").symlink_to(V1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(V1)
        for words in (
            ("embed", "runs/electra", "inputs/plain.txt", "--output", place / "vectors.npy"),
            ("embed", "runs/electra", "inputs/plain.txt", "--output", place / "vectors.jsonl"),
            ("evaluate", "runs/electra", "--data", "shards", "--corruption", place / "corruption.npz", "--num-examples", 4),
            ("plot", "runs/electra", "--metrics", "loss", "--output", place / "curves.png"),
        ):
            assert main([*map(str, words)]) == 0
        reviews = ("--task", "own", "--data", "data/reviews-dev.csv", "--predictions", place / "predictions.jsonl", "--report", place / "report")
        assert main(["evaluate", "runs/classification", *map(str, reviews)]) == 0
    assert main(["push", str(checkpoints()["classifier"]), "--output", str(place / "repository"), "--dtypes", "fp32"]) == 0
    lines(place / "labels.jsonl", {"text": "a film", "label": "good", "probability": 0.9})
    lines(place / "detected.jsonl", {"text": "a film", "tokens": [{"token": "a", "probability": 0.1}]})
    lines(place / "ranked.jsonl", {"text": "a film", "rank": 1, "score": 0.9, "index": 0})
    lines(place / "mined.jsonl", {"query": "who cooked?", "passage": "the chef cooked", "negatives": ["it rained"]})
    lines(place / "scores.jsonl", {"text": "a film", "score": -3.0, "num_tokens": 2, "tokens": []})
    (place / "significance.json").write_text(json.dumps({"metric": "accuracy", "p_value": 0.5, "interval": [0, 1], "sentence": "x"}))
    for name, finished in (("ablation", False), ("ablation-finished", True)):
        make_ablation(place / name, finished=finished)
    for name in ("demo", "demo-finished"):
        (place / name / "steps").mkdir(parents=True)
        (place / name / "steps" / "about.json").write_text(json.dumps({"date": "2026-11-29", "machine": "2 cores", "asked": {}}))
        (place / name / "steps" / "vocab.json").write_text(json.dumps({"size": 8192, "seconds": 2.0}))
    (place / "demo-finished" / "report.html").write_text("<html></html>")
    (place / "comparison").mkdir()
    (place / "log").mkdir()
    (place / "log" / "events.out.tfevents.1.host").write_bytes(b"events")
    rows = [
        {"name": f"row {i}", "error": None, "metric": "accuracy", "score": 0.8, "latency": {"p50_ms": 1.5, "turns_ms": [[1.0] * 900]}} for i in (1, 2)
    ]
    (place / "comparison" / "results.json").write_text(json.dumps({"task": "sst2", "split": "dev", "num_examples": 9, "machine": {}, "rows": rows}))
    shutil.copytree(V1 / "artefacts" / "onnx", place / "kept")
    manifest = json.loads((place / "kept" / "artefact.json").read_text()) | {"measured": rows}
    (place / "kept" / "artefact.json").write_text(json.dumps(manifest))
    archive(place / "kept.zip", {str(file.relative_to(place / "kept")): file.read_bytes() for file in (place / "kept").rglob("*") if file.is_file()})
    archive(place / "submission.zip", {"SST-2.tsv": b"index\tprediction\n0\t1\n1\t0\n", "AX.tsv": b"index\tprediction\n0\tneutral\n"})
    (place / "hub" / "onnx").mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(V1 / "artefacts" / "onnx" / name, place / "hub")
    shutil.copy(V1 / "artefacts" / "onnx" / "model.onnx", place / "hub" / "onnx")
    shutil.copytree(checkpoints()["classifier"], place / "converted")
    (place / "imdb").mkdir()
    for split in ("train", "dev"):
        (place / "imdb" / f"{split}.csv").write_text("text,label\n" + "".join(f"film {i},{'neg' if i % 2 else 'pos'}\n" for i in range(30)))
    return place


def lines(file: Path, *rows: dict[str, Any]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def archive(file: Path, contents: dict[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w") as opened:
        for name, content in contents.items():
            opened.writestr(name, content)


def make_ablation(folder: Path, *, finished: bool) -> None:
    run = PretrainingRun(name="electra", method="electra", match="", num_steps=8, stage_steps=(4, 4), points=((1, 4),), flops=1e9, seconds=3.0)
    tasks = (TaskPlan(num_train=4, num_dev=4, finetune_seconds=1.0),)
    sizes: dict[str, Any] = {"tasks": tasks, "finetune_preset": "mini", "vocab_size": 120}
    folder.mkdir()
    (folder / "config.toml").write_text('variant = "scratch"\npreset = "mini"\ntask = "sst2"\nseeds = 2\n')
    (folder / "plan.json").write_text(json.dumps(asdict(AblationPlan(runs=(run,), speeds={}, setup_seconds=0.0, **sizes))))
    if finished:
        points = [{"score": {"mean": 0.75}, "flops": 1e9}]
        values = {
            "variant": "scratch",
            "task": "sst2",
            "metric": "accuracy",
            "finished": True,
            "runs": {"electra": {"points": points}},
            "sentences": ["x"],
        }
        (folder / "results.json").write_text(json.dumps(values))


def inspected(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """The JSON, and the table, which has no line that a reader cannot take in."""
    capsys.readouterr()
    assert main(["inspect", str(path)]) == 0, capsys.readouterr().err
    table = capsys.readouterr().out
    assert max(map(len, table.splitlines())) < 3 * LONGEST and table.count("\n") < 120 and "None" not in table
    assert main(["inspect", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out), table


def test_every_command_is_listed() -> None:
    assert WRITES.keys() == COMMANDS.keys(), "a command that writes files needs its files in WRITES"
    assert {name for names in WRITES.values() for name in names} == KINDS.keys()


@pytest.mark.parametrize("name", KINDS)
def test_what_commands_write(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, table = inspected(place / name, capsys)
    assert found["kind"] == KINDS[name]
    expected = {
        "v/runs/interrupted": ("status", "unfinished: continue with --resume"),
        "v/runs/seeds/seed-1": ("status", "finished"),
        "v/runs/several": ("scores", json.loads((V1 / "runs" / "several" / "scores.json").read_text())),
        "v/runs/suite": ("average", 0.75),
        "ablation": ("status", "unfinished: continue with --resume"),
        "ablation-finished": ("scores", {"electra": 0.75}),
        "demo": ("status", "unfinished: the same command continues"),
        "demo-finished": ("status", "finished"),
        "vectors.npy": ("arrays", {"vectors": "float32 3 x 16"}),
        "curves.png": ("size_bytes", (place / "curves.png").stat().st_size),
        "submission.zip": ("rows", {"SST-2.tsv": 2, "AX.tsv": 1}),
        "predictions.jsonl": ("rows", 30),
        "v/runs/electra": ("step", 400),
    }
    if name in expected:
        key, value = expected[name]
        assert found[key] == value
    if name == "kept.zip":
        assert "accuracy 0.8, 1.5 ms a text" in table
    if name == "v/runs/electra":
        assert found["all_phases"]["tokens"] == found["tokens"] == 58708 + 58941
    if name == "corruption.npz":
        assert found["examples"] == 4 and set(found["replaced_fraction"]) == {"generator", "frequency"}


SQUAD: dict[str, Any] = {"data": [{"paragraphs": [{"context": "a b", "qas": [{"id": "1", "question": "?", "answers": [], "is_impossible": True}]}]}]}
TAGS = "Ada B-PER\nLovelace I-PER\nwas O\nhere O\n\nin O\nLondon B-LOC\n"
READ = [
    ("dev.csv", "text;label\na;1\nb;0\nc;1\n", {"kind": "table", "rows": 3}, "a csv with semicolons"),
    ("dev.tsv", "sentence\tlabel\na b\t1\nc d\t0\n", {"kind": "table", "format": "tsv", "rows": 2}, "a tsv"),
    ("rows.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n', {"kind": "table", "rows": 2}, "jsonl with labels"),
    ("text.jsonl", '{"text": "a b c"}\n{"text": "d e"}\n', {"kind": "corpus", "num_documents": 2}, "jsonl of texts"),
    (
        "words.jsonl",
        '{"text": "a b", "words": [[0, 1, 0], [2, 3, 1]], "source": "hand"}\n{"text": "c", "words": [[0, 1, 0]]}\n',
        {"kind": "corruption set", "examples": 2, "words": 3, "replaced_fraction": {"hand": 0.5, "generator": 0.0}},
        "words replaced in texts",
    ),
    ("tags.txt", TAGS, {"kind": "tagged words", "sentences": 2, "words": 6, "scheme": "BIO2", "types": ["LOC", "PER"]}, "tagged words in columns"),
    ("tags.iob", "Ada I-PER\nLovelace I-PER\nBob B-PER\n", {"kind": "tagged words", "scheme": "IOB1"}, "IOB1 tags"),
    ("tags.jsonl", '{"tokens": ["a", "b"], "ner_tags": ["O", "B-X"]}\n', {"kind": "tagged words", "words": 2}, "jsonl of tagged words"),
    ("dev-v2.0.json", json.dumps(SQUAD), {"kind": "questions", "questions": 1, "unanswerable": 1, "task": "squad2"}, "SQuAD 2.0"),
    ("mrqa.jsonl", '{"header": {}}\n{"context": "a b", "qas": [{"qid": "1", "question": "?", "answers": ["a"]}]}\n', {"kind": "questions"}, "MRQA"),
    ("predictions.json", '{"q1": "a", "q2": ""}', {"kind": "predictions", "questions": 2, "without_answer": 1}, "predictions of SQuAD"),
    (
        "nbest_predictions.json",
        '{"q1": [{"text": "a"}, {"text": "b"}]}',
        {"form": "n best answers to questions", "most": 2},
        "n-best predictions of SQuAD",
    ),
    ("null_odds.json", '{"q1": -1.5, "q2": 2.0}', {"form": "null odds of questions", "smallest": -1.5, "largest": 2.0}, "null odds of SQuAD"),
    ("metrics.json", '{"disc_auc": 0.75, "loss": 9.5}', {"kind": "metrics", "disc_auc": 0.75}, "metrics saved as JSON"),
    (
        "preset.toml",
        "[objective]\nmask_prob = 0.3\n",
        {"kind": "settings", "command": "pretrain", "objective": {"mask_prob": 0.3}},
        "a preset's TOML",
    ),
    ("other.json", '{"a": [1], "b": 2}', {"kind": "record", "keys": ["a", "b"], "b": 2}, "other JSON"),
    ("text.txt", "One sentence here.\nAnd another one.\n", {"kind": "corpus", "num_lines": 2}, "plain text"),
    ("pairs.txt", "one text\tanother text\nthird\tfourth\na\tb\nc\td\ne\tf\n", {"kind": "corpus"}, "pairs of texts by tabs"),
]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [case(name, content, expected, form=form, where="inspect", outcome="exact", section="tables") for name, content, expected, form in READ],
)
def test_what_commands_read(name: str, content: str, expected: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_text(content)
    found, _ = inspected(tmp_path / name, capsys)
    assert {key: found.get(key) for key in expected} == expected
    if name.endswith((".csv", ".tsv")):
        assert inspected(tmp_path, capsys)[0]["files"][name]["rows"] == found["rows"]


def test_archives_and_what_an_interrupted_prepare_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `prepare` reads is described, what it left says how to continue, a vocabulary may have the line ends of Windows."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("One sentence here.\nAnd another one.\n")
    with tarfile.open(tmp_path / "folder" / "c.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "folder" / "a.txt", "b.txt")
    for place, lines in ((tmp_path / "folder" / "c.tar.gz", 2), (tmp_path / "folder", 4)):
        assert inspected(place, capsys)[0]["num_lines"] == lines
    (tmp_path / "begun" / "parts").mkdir(parents=True)
    (tmp_path / "begun" / "plan.json").write_text("{}")
    assert main(["inspect", str(tmp_path / "begun")]) == 2
    assert "prepare" in capsys.readouterr().err
    pieces = (resolve.resolve("shipped:mini") / "vocab.txt").read_bytes().split()
    (tmp_path / "vocab.txt").write_bytes(b"\r\n".join(pieces) + b"\r\n")
    assert inspected(tmp_path / "vocab.txt", capsys)[0]["kind"] == "tokenizer"


def test_labels_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wide.csv").write_text("text,label,id\n" + "".join(f"text {i},{'xyz'[i % 3]},{i}\n" for i in range(3000)))
    found, table = inspected(tmp_path / "wide.csv", capsys)
    assert found["columns"]["label"] == {"filled": 3000, "counts": {"x": 1000, "y": 1000, "z": 1000}}
    assert "x (1,000), y (1,000), z (1,000)" in table and "3,000 values, such as text 0" in table
    (tmp_path / "many.csv").write_text(",".join(f"c{i}" for i in range(900)) + "\n" + ",".join("0" * 900) + "\n")
    assert "(900 columns in all)" in inspected(tmp_path / "many.csv", capsys)[1]


def test_tfrecords(reference_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = reference_root / "tf1-tfrecords"
    found, _ = inspected(source, capsys)
    assert found["kind"] == "TFRecords" and found["records"] > 0 and set(found["features"]) >= {"input_ids", "input_mask", "segment_ids"}
    assert 0 <= found["smallest_id"] < found["largest_id"] < 30522 and len(found["features"]["input_ids"]["lengths"]) == 1
    first = sorted(source.glob("*.tfrecord*"))[0]
    assert inspected(first, capsys)[0]["records"] <= found["records"]


def test_tensorflow_checkpoints_and_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path / "tf1" / "model.ckpt", {"electra/embeddings/word_embeddings": np.zeros((9, 4), np.float32)})
    for place in ("tf1", "tf1/model.ckpt", "tf1/model.ckpt.index"):
        assert inspected(tmp_path / place, capsys)[0]["kind"] == "TensorFlow checkpoint"
    (tmp_path / "weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "noise.bin").write_bytes(bytes(range(256)))
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "empty.csv").write_text("")
    for name in ("weights.h5", "noise.bin", "broken.zip", "empty.csv", "none.csv"):
        assert main(["inspect", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and name in error and len(error) < 400


def test_a_folder_of_several_things(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, table = inspected(V1 / "runs", capsys)
    assert found["kind"] == "folder" and set(found["entries"].values()) == {"run"} and "(14 in all)" in table
    assert inspected(V1 / "data" / "glue", capsys)[0]["entries"] == {"RTE": "data set", "SST-2": "data set"}
