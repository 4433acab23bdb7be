"""pretrain student --teacher: the loss, the start and the evaluation of a distilled encoder, against plain torch and `transformers`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import hf_forms
import pytest
import torch
import torch.nn.functional as F
import transformers
from hf_forms import padded
from pretraining_runs import shards as shards  # a fixture
from pretraining_starts import ODD, QUICK, STILL, first_evaluation, make, pretrain
from safetensors.torch import load_file

from electra.cli import main
from electra.data.tokenizer_files import SPECIAL_PIECES
from electra.pretraining.evaluate import held_out, spec_of_run
from electra.pretraining.setup import open_corpus, read_run

STUDENT = (
    "--hidden-size 16 --embedding-size 8 --num-hidden-layers 2 --num-attention-heads 2 --intermediate-size 32 --max-position-embeddings 40".split()
)


def distill(shards: Path, output: Path, teacher: object, *flags: object) -> int:
    words = ["pretrain", "student", "--data", str(shards), "--output", str(output), "--teacher", str(teacher)]
    return main([*words, *QUICK, *STUDENT, *map(str, flags)])


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(max((run / "checkpoints").glob("step-*")) / "training" / "weights.safetensors")


@pytest.mark.parametrize(("name", "layers"), [("BertModel", [0, 2, 3]), ("ElectraForPreTraining", [0, 2, 3])])
def test_a_student_has_the_loss_of_plain_torch_on_transformers_states(name: str, layers: list[int], shards: Path, tmp_path: Path) -> None:
    """TinyBERT's hidden loss: learned projections of the student's states against the teacher's, of layers evenly spaced."""
    config = {"num_hidden_layers": 3} | ({"embedding_size": 12} if name.startswith("Electra") else {})
    make(name, tmp_path / "teacher", shards, **config)
    assert distill(shards, tmp_path / "run", tmp_path / "teacher", *STILL, "--num-hidden-layers", "2") == 0
    found, run = first_evaluation(tmp_path / "run"), tmp_path / "run"
    settings, maps = read_run(run), weights(run)
    corpus = open_corpus(settings)
    student, teacher = (
        transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval() for folder in (run / "final", tmp_path / "teacher")
    )
    total, cosine, count = 0.0, 0.0, 0
    with torch.no_grad():
        for batch in held_out(spec_of_run(settings), corpus.shards, corpus.tokenizer):
            mine, its = (model(**padded(batch), output_hidden_states=True).hidden_states for model in (student, teacher))
            at = batch.rows, batch.positions
            guesses = [F.linear(state[at], maps[f"maps.{i}.weight"], maps[f"maps.{i}.bias"]) for i, state in enumerate(mine)]
            goals = [its[layer][at] for layer in layers]
            losses = [((guess - goal).norm(dim=-1) / goal.norm(dim=-1)).square().sum() for guess, goal in zip(guesses, goals, strict=True)]
            total += sum(map(float, losses)) / len(losses)
            cosine += F.cosine_similarity(guesses[-1], its[-1][at]).sum().item()
            count += batch.num_tokens
    assert found["hidden_loss"] == pytest.approx(total / count, rel=1e-5) and found["teacher_cosine"] == pytest.approx(cosine / count, abs=1e-5)


def test_a_student_starts_from_its_teacher(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Narrow embeddings are the best of their rank; equal layers are the teacher's; it is resumed to the bit, and continued as a detector."""
    teacher = make("BertModel", tmp_path / "teacher", shards, num_hidden_layers=4).eval()
    same = ["--hidden-size", 24, "--num-attention-heads", 3, "--intermediate-size", 40]
    assert distill(shards, tmp_path / "still", tmp_path / "teacher", *same, *STILL) == 0
    student = transformers.AutoModel.from_pretrained(tmp_path / "still" / "final", dtype=torch.float32)
    table, mine = teacher.embeddings.word_embeddings.weight, student.embeddings.word_embeddings.weight
    left, values, right = torch.linalg.svd(table.detach(), full_matrices=False)
    assert torch.allclose(mine @ right[:8], left[:, :8] * values[:8] @ right[:8], atol=1e-5)
    for layer, index in ((0, 1), (1, 3)):
        theirs = teacher.encoder.layer[index].state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in student.encoder.layer[layer].state_dict().items())
    assert json.loads((tmp_path / "still" / "start.json").read_text())[2:] == [
        "layers: the teacher's 2, 4",
        "states compared, student-teacher: 0-0, 1-2, 2-4 (0: the embeddings)",
    ]
    run = tmp_path / "run"
    assert distill(shards, run, tmp_path / "teacher", "--num-train-steps", 8, "--checkpoint-every", 4, "--log-every", 1) == 0
    assert "hidden_loss" in capsys.readouterr().err and "| teacher_cosine |" in (run / "final" / "README.md").read_text()
    losses = [line["hidden_loss"] for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if line["kind"] == "train"]
    assert losses[-1] < losses[0]
    final = weights(run)
    assert not any("teacher" in key for key in final)
    (run / "final").rename(tmp_path / "final")
    shutil.rmtree(run / "checkpoints" / "step-00000008")
    assert main(["pretrain", "--resume", str(run)]) == 0
    assert all(torch.equal(value, weights(run)[key]) for key, value in final.items())
    assert main(["inspect", str(run), "--json"]) == 0 and json.loads(capsys.readouterr().out)["training"]["flops_per_token"] > 0
    assert pretrain("student-rtd", shards, tmp_path / "rtd", run / "final", "--num-train-steps", 10) == 0
    detector = transformers.ElectraForPreTraining.from_pretrained(tmp_path / "rtd" / "final")
    assert detector.config.hidden_size == 16 and (tmp_path / "rtd" / "final" / "generator").is_dir()


def test_evaluate_repeats_a_distillation(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the teacher and the projections of the run; without them there is no loss to measure."""
    make("BertModel", tmp_path / "teacher", shards, num_hidden_layers=3)
    run, teacher = tmp_path / "run", tmp_path / "teacher"
    assert distill(shards, run, teacher, "--num-train-steps", 4, "--checkpoint-every", 2, "--evaluate-every", 2, "--keep-checkpoints", 2) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    measured = [{name: line[name] for name in ("hidden_loss", "teacher_cosine", "loss")} for line in lines if line["kind"] == "evaluation"]
    capsys.readouterr()
    for model, expected in ((run, measured[-1]), (run / "final", measured[-1]), (run / "checkpoints" / "step-00000002", measured[-2])):
        assert main(["evaluate", str(model), "--json"]) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out) == pytest.approx(expected, abs=1e-6) and "the teacher's hidden states" in printed.err
    assert measured[0] != measured[-1]
    copy = shutil.copytree(run / "final", tmp_path / "copy")
    for change, message in (
        (lambda: None, ""),
        (lambda: make("BertModel", teacher, shards, num_hidden_layers=2), f"{teacher} is not the teacher that {run} learned from"),
        (lambda: shutil.rmtree(teacher), str(teacher)),
        (lambda: shutil.rmtree(run / "checkpoints"), "the projections of a student are only in RUN/checkpoints"),
    ):
        change()
        if message:
            assert main(["evaluate", str(run)]) == 2
            assert message in (error := capsys.readouterr().err.splitlines()[-1]) and error.startswith("electra: ")
    assert main(["evaluate", str(copy), "--data", str(shards)]) == 2
    assert "the teacher and the projections, which are in its run alone; give the run" in capsys.readouterr().err


def test_equal_embeddings_are_copied_whole(shards: Path, tmp_path: Path) -> None:
    """The first states of a student of the teacher's width are the teacher's."""
    teacher = make("BertModel", tmp_path / "teacher", shards).eval()
    sizes = ["--hidden-size", 24, "--embedding-size", 24, "--num-attention-heads", 3, "--intermediate-size", 40]
    assert distill(shards, tmp_path / "run", tmp_path / "teacher", *sizes, *STILL) == 0
    assert first_evaluation(tmp_path / "run")["hidden_loss"] == pytest.approx(0, abs=1e-9)  # a student that is its teacher
    student = transformers.AutoModel.from_pretrained(tmp_path / "run" / "final", dtype=torch.float32).eval()
    ids = torch.arange(5, 20)[None]
    assert torch.allclose(student(ids).last_hidden_state, teacher(ids).last_hidden_state, atol=1e-6)


@pytest.mark.parametrize(("name", "config"), [("BertModel", {}), ("ElectraModel", {"embedding_size": 12})])
def test_wider_layers_begin_with_the_teachers_embeddings(name: str, config: dict[str, Any], shards: Path, tmp_path: Path) -> None:
    """Turned into the student's width by its projection, and back by the first map."""
    teacher, run = make(name, tmp_path / "teacher", shards, **config).eval(), tmp_path / "run"
    sizes = ["--hidden-size", 32, "--embedding-size", config.get("embedding_size", 24)]
    assert distill(shards, run, tmp_path / "teacher", *sizes, *STILL) == 0
    student = transformers.AutoModel.from_pretrained(run / "final", dtype=torch.float32).eval()
    ids = torch.arange(5, 20)[None]
    with torch.no_grad():
        mine, its = (model(ids, output_hidden_states=True).hidden_states[0] for model in (student, teacher))
    assert torch.allclose(F.linear(mine, weights(run)["maps.0.weight"], weights(run)["maps.0.bias"]), its, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("small --teacher TEACHER", "the objective 'electra' has no teacher"),
        ("small --embedding-init teacher", "are for the objective 'distill' with a --teacher"),
        ("student", "give --teacher ENCODER, with the data's vocabulary"),
        ("student --teacher TEACHER --init TEACHER", "--init: a student ('distill') starts from its teacher"),
        ("student --teacher TEACHER --mask-prob 0.3", "--mask-prob: a student"),
        ("student --teacher TEACHER --generator-size 0.5", "--generator-size: a student"),
        ("student --teacher TEACHER --mlm-first 0.5 --max-position-embeddings 40 --embedding-init normal", "mlm_first is for the objectives"),
        ("student --teacher TEACHER", "max_position_embeddings 128: the teacher"),
        (
            "student --teacher TEACHER --max-position-embeddings 40",
            "embedding_size 128 is above the teacher's 24, whose embeddings it starts from; expected at most 24",
        ),
        ("student --teacher OTHER --max-position-embeddings 40 --embedding-init normal", "--teacher OTHER: its vocabulary"),
    ],
)
def test_teachers_that_do_not_fit(words: str, said: str, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("BertModel", tmp_path / "TEACHER", shards)
    hf_forms.make("BertModel", tmp_path / "OTHER", vocab_size=50, **ODD)
    (tmp_path / "OTHER" / "vocab.txt").write_text("\n".join([*SPECIAL_PIECES, *map(chr, range(0x61, 0x7B))]), encoding="utf-8")
    named = [str(tmp_path / word) if word in ("TEACHER", "OTHER") else word for word in words.split()]
    capsys.readouterr()
    assert main(["pretrain", *named, "--data", str(shards), "--output", str(tmp_path / "run"), *QUICK]) == 2
    error = capsys.readouterr().err
    assert said.replace("OTHER", str(tmp_path / "OTHER")) in error and len(error.splitlines()) == 1 and not (tmp_path / "run").exists()
