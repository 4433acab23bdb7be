"""GLUE's larger tasks in their official layout, from small files made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from electra.contracts import Example, Prediction
from electra.errors import UserError
from electra.tasks.registry import find_task

QQP = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
QNLI = "index\tquestion\tsentence\tlabel"
_MNLI = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2"


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def mnli_row(number: int, *labels: str) -> str:
    return "\t".join([str(number), *["x"] * 7, f"premise {number}", f"claim {number}", *labels])


@pytest.fixture
def mnli(tmp_path: Path) -> Path:
    """A GLUE folder with MNLI's five files and the diagnostic set."""
    folder = tmp_path / "MNLI"
    write(folder / "train.tsv", _MNLI + "\tlabel1\tgold_label", mnli_row(0, "neutral", "entailment"), mnli_row(1, "neutral", "contradiction"))
    votes = "\t".join(f"label{i}" for i in range(1, 6))
    write(
        folder / "dev_matched.tsv", f"{_MNLI}\t{votes}\tgold_label", mnli_row(0, *["entailment"] * 5, "neutral"), mnli_row(1, *["x"] * 5, "neutral")
    )
    write(folder / "dev_mismatched.tsv", f"{_MNLI}\t{votes}\tgold_label", mnli_row(7, *["entailment"] * 5, "entailment"))
    write(folder / "test_matched.tsv", _MNLI, mnli_row(0))
    write(folder / "test_mismatched.tsv", _MNLI, mnli_row(0), mnli_row(1))
    write(tmp_path / "diagnostic" / "diagnostic.tsv", "index\tsentence1\tsentence2", "0\tThe cat sat.\tThe cat did not sit.")
    return tmp_path


def test_mnli_reads_all_its_files_by_their_headers(mnli: Path) -> None:
    task = find_task("MNLI")
    for place in (mnli, mnli / "MNLI"):
        first, second = task.read(place, "train")
        assert first == Example(id="train-0", text="premise 0", text_pair="claim 0", label="entailment") and second.label == "contradiction"
        assert [(e.id, e.label) for e in task.read(place, "dev")] == [
            ("dev_matched-0", "neutral"),
            ("dev_matched-1", "neutral"),
            ("dev_mismatched-0", "entailment"),
        ]
        sizes = {split: len(task.read(place, split)) for split in ("test", "test_matched", "test_mismatched", "ax")}
        assert sizes == {"test": 1, "test_matched": 1, "test_mismatched": 2, "ax": 1}
        (diagnostic,) = task.read(place, "ax")
        assert (diagnostic.text, diagnostic.text_pair, diagnostic.label) == ("The cat sat.", "The cat did not sit.", None)
    assert task.head([]).labels == ("contradiction", "entailment", "neutral")
    (mnli / "diagnostic" / "diagnostic.tsv").rename(mnli / "AX.tsv")
    assert len(task.read(mnli, "ax")) == 1


def test_mnli_scores_its_halves_apart(mnli: Path) -> None:
    task = find_task("mnli")
    examples = task.read(mnli, "dev")
    answers = [Prediction(label=label) for label in ("neutral", "entailment", "entailment")]
    assert task.score(examples, answers, task.head([])) == {"accuracy": 0.5, "accuracy_mismatched": 1.0}
    (mnli / "MNLI" / "dev_mismatched.tsv").unlink()
    assert task.score(task.read(mnli, "dev"), answers[:2], task.head([])) == {"accuracy": 0.5}
    with pytest.raises(UserError, match="dev_mismatched split of MNLI not found"):
        task.read(mnli, "dev_mismatched")


def test_qqp_skips_and_reports_broken_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["0\t1\t2\tWhat?\tWhat is it?\t1", "1\t3\t4\tHow did the row", "2\t5\t6\tWhy?\tWho?\t0", "cut"]
    write(tmp_path / "QQP" / "train.tsv", QQP, *rows)
    task = find_task("qqp")
    assert [(e.id, e.text, e.text_pair, e.label) for e in task.read(tmp_path, "train")] == [
        ("train-0", "What?", "What is it?", "1"),
        ("train-1", "Why?", "Who?", "0"),
    ]
    assert "train.tsv: 2 rows with fewer than 6 columns skipped (lines 3, 5)" in capsys.readouterr().err
    assert not task.unordered_pairs and task.main_metric == "accuracy"


def test_qqps_test_file_keeps_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "QQP" / "test.tsv", "id\tquestion1\tquestion2", "0\tWhat?\tWhy?", "1\tHalf")
    examples = find_task("qqp").read(tmp_path, "test")
    assert [(e.text, e.text_pair, e.label) for e in examples] == [("What?", "Why?", None), ("Half", "", None)]
    assert "1 rows with fewer than 3 columns read as empty texts (lines 3)" in capsys.readouterr().err


def test_qnli(tmp_path: Path) -> None:
    write(tmp_path / "QNLI" / "train.tsv", QNLI, '0\tWho "sat"?\tThe cat sat.\tentailment')
    write(tmp_path / "QNLI" / "test.tsv", "index\tquestion\tsentence", "0\tWho?\tNobody.")
    task = find_task("qnli")
    assert task.read(tmp_path, "train") == [Example(id="train-0", text='Who "sat"?', text_pair="The cat sat.", label="entailment")]
    assert task.read(tmp_path, "test")[0].label is None


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("qqp", [QQP, "0\t1\t2\ta\tb\t2"], r"label '2' is not one of QQP's"),
        ("qqp", [QQP, "0\t1"], r"header but no examples"),
        ("qqp", ["id\tquestion1\tis_duplicate", "0\ta\t1"], r"no column 'question2'"),
        ("qnli", [QNLI, "0\ta\tb"], r"line 2: 3 columns, expected 4"),
        ("qnli", [QNLI, "0\ta\tb\tentails"], r"did you mean 'entailment'"),
        ("mnli", [_MNLI, mnli_row(0)], r"no column 'gold_label'"),
        ("mnli", [_MNLI + "\tgold_label", mnli_row(0, "-")], r"label '-' is not one of MNLI's"),
    ],
)
def test_wrong_rows_are_named(name: str, lines: list[str], message: str, tmp_path: Path) -> None:
    write(tmp_path / name.upper() / "train.tsv", *lines)
    with pytest.raises(UserError, match=message):
        find_task(name).read(tmp_path, "train")
