"""electra compare reads the tables that evaluate reads: accuracy against pandas and `electra.pipeline`, or one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conformance import case

from electra import cli, pipeline
from electra.benchmark import measure
from electra.benchmark.worker import REQUESTS, WorkerFailed
from electra.errors import UserError

pd = pytest.importorskip("pandas")
MODEL = "shipped:sentiment"
TEXTS = ["a gripping film", 'the "best", most moving film', "dull; and\nfar too long", "a waste of time", "funny and warm", "it never comes alive"]
LABELS = ["positive", "positive", "negative", "negative", "positive", "positive"]
FRAME = pd.DataFrame({"review": TEXTS, "sentiment": LABELS, "stars": [5, 4, 1, 1, 4, 3]})
COLUMNS = ("--text", "review", "--label", "sentiment")


class Inside:
    """A worker in this process: the tables are what is tried here."""

    def __init__(self, opener: Callable[..., Any], arguments: tuple[Any, ...], cores: Any, **more: Any) -> None:
        self.opener, self.arguments = opener, arguments

    def ask(self, kind: str, *values: Any) -> Any:
        """As `Worker.ask`."""
        try:
            if kind == "open":
                self.model = self.opener(*self.arguments, 1)
                return self.model.head, self.model.max_length, 0.1
            if kind == "examples":
                (self.examples,) = values
            return REQUESTS[kind](self.model, self.examples, *values) if kind in REQUESTS else 1
        except UserError as error:
            raise WorkerFailed(str(error)) from None

    def close(self) -> None:
        """Nothing to end."""


@pytest.fixture(scope="module")
def answers() -> list[str]:
    return [row["label"] for row in pipeline("text-classification", model=MODEL)(TEXTS)]


def lines(frame: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in frame.to_dict("records"))


def write(frame: Any, place: Path, form: str) -> None:
    nested = [{"document": {"review": text}, "sentiment": label} for text, label in zip(frame["review"], frame["sentiment"], strict=True)]
    content: dict[str, Callable[[], Any]] = {
        "data.csv": lambda: frame.to_csv(place, index=False),
        "semicolon.csv": lambda: frame.to_csv(place, index=False, sep=";"),
        "bom.csv": lambda: frame.to_csv(place, index=False, encoding="utf-8-sig"),
        "index.csv": lambda: frame.to_csv(place),
        "windows.csv": lambda: frame.to_csv(place, index=False, lineterminator="\r\n"),
        "packed.csv.gz": lambda: frame.to_csv(place, index=False),
        "data.tsv": lambda: frame.to_csv(place, index=False, sep="\t"),
        "data.jsonl": lambda: place.write_text(lines(frame)),
        "nested.jsonl": lambda: place.write_text("".join(json.dumps(row) + "\n" for row in nested)),
        "data.json": lambda: place.write_text(json.dumps(frame.to_dict("records"))),
        "data.parquet": lambda: frame.to_parquet(place),
    }
    content[form]()


def compare(place: Path, *columns: str) -> int:
    return cli.main(["compare", MODEL, "--task", "own", "--data", str(place), *columns, "--calls", "10", "--threads", "1", "--json"])


WHERE: Any = {"where": "compare", "section": "tables"}


@pytest.mark.parametrize(
    ("form", "columns"),
    [
        case("data.csv", COLUMNS, form="csv with quotes, separators and line ends in cells", outcome="exact", **WHERE),
        case("semicolon.csv", COLUMNS, form="csv separated by semicolons", outcome="exact", **WHERE),
        case("bom.csv", COLUMNS, form="csv with a byte-order mark", outcome="exact", **WHERE),
        case("index.csv", COLUMNS, form="csv with pandas' index column", outcome="exact", **WHERE),
        case("windows.csv", COLUMNS, form="csv with Windows' line ends", outcome="exact", **WHERE),
        case("packed.csv.gz", COLUMNS, form="csv.gz", outcome="exact", **WHERE),
        case("data.tsv", COLUMNS, form="tsv that pandas quoted", outcome="exact", **WHERE),
        case("data.jsonl", COLUMNS, form="jsonl", outcome="exact", **WHERE),
        case("nested.jsonl", ("--text", "document.review", *COLUMNS[2:]), form="nested fields by dotted name", outcome="exact", **WHERE),
        case("data.json", COLUMNS, form="json: a list of objects", outcome="exact", **WHERE),
        case("data.parquet", COLUMNS, form="parquet", outcome="exact", **WHERE),
    ],
)
def test_accuracy_is_that_of_pandas_rows(
    form: str, columns: tuple[str, ...], answers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "Worker", Inside)
    write(FRAME, tmp_path / form, form)
    assert compare(tmp_path / form, *columns) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["num_examples"] == len(TEXTS) and row["predictions"] == answers
    assert row["score"] == pytest.approx((pd.Series(answers) == FRAME["sentiment"]).mean())


@pytest.mark.parametrize(
    ("change", "columns", "message"),
    [
        case({}, ("--text", "reviews", *COLUMNS[2:]), "did you mean 'review'", form="a column that is not there", outcome="refused", **WHERE),
        case(
            {"sentiment": [*LABELS[:5], None]},
            COLUMNS,
            "line 8: the label column 'sentiment' is empty",
            form="a missing label",
            outcome="refused",
            **WHERE,
        ),
        case({}, ("--text", "review", "--label", "stars"), "--labels", form="labels that the model does not have", outcome="refused", **WHERE),
    ],
)
def test_what_cannot_be_read_is_one_line(
    change: dict[str, Any],
    columns: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(measure, "Worker", Inside)
    FRAME.assign(**change).to_csv(tmp_path / "data.csv", index=False)
    assert compare(tmp_path / "data.csv", *columns) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("electra: ") and message in last
