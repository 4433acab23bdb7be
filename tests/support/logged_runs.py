"""What `--log-to` has stored, read by each library itself: `python logged_runs.py NAME RUN PROJECT` prints [[step, {name: value}], ...] as JSON.

A row is a line of metrics.jsonl. MLflow keeps the values of each name apart, so its rows are those of single values.
"""

from __future__ import annotations

import importlib.util
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("trackio", "mlflow", "wandb")
INSTALLED = [name for name in NAMES if importlib.util.find_spec(name) is not None]
EACH = [
    pytest.param(name, marks=pytest.mark.skipif(name not in INSTALLED, reason=f"could not import '{name}': pip install -e '.[{name}]'"))
    for name in NAMES
]
Row = tuple[int, dict[str, float]]


def trackio_rows(run: Path, project: str) -> list[Row]:
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    name = (run / "trackio-id").read_text().strip()
    (found,) = [each for each in trackio.Api().runs(project) if each.name == name]
    assert found.config["preset"] and found.config["log_project"] == project
    rows = SQLiteStorage.get_logs(project, name, run_id=found.id)
    return [(row["step"], {key: value for key, value in row.items() if key not in ("step", "timestamp")}) for row in rows]


def mlflow_rows(run: Path, project: str) -> list[Row]:
    import mlflow

    client = mlflow.MlflowClient()
    found = client.get_run((run / "mlflow-id").read_text().strip())
    assert found.info.status == "FINISHED" and found.data.params["preset"]
    assert client.get_experiment(found.info.experiment_id).name == project
    histories = [client.get_metric_history(found.info.run_id, name) for name in found.data.metrics]
    return [(each.step, {each.key: each.value}) for history in histories for each in sorted(history, key=lambda each: (each.step, each.timestamp))]


def wandb_rows(run: Path, project: str) -> list[Row]:
    """W&B has no reader of its offline files in Python, but the classes of their records; around these are the frames of LevelDB's log."""
    identity = (run / "wandb-id").read_text().strip()
    rows: list[Row] = []
    files = sorted((run / "wandb").glob("offline-run-*/*.wandb"))
    assert files and all(file.name == f"run-{identity}.wandb" for file in files)
    for file in files:
        for record in wandb_records(file.read_bytes()):
            if record.HasField("run"):
                assert record.run.project == project and any(item.key == "preset" for item in record.run.config.update)
            if record.HasField("history"):
                values = {item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                rows.append((int(values.pop("step")), {name: value for name, value in values.items() if not name.startswith("_")}))
    return rows


def wandb_records(content: bytes) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2

    position, parts = 7, b""  # after the header
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:  # no frame crosses a block
            position += left
            continue
        _, size, kind = struct.unpack_from("<IHB", content, position)
        parts += content[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # a whole record, or its last part
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def expected_rows(lines: list[dict[str, Any]]) -> list[Row]:
    """The rows of metrics.jsonl's lines."""
    axes, other = ("tokens", "seconds", "flops"), ("step", "kind", "phase", "phase_step")
    return [
        (
            line["step"],
            {name: line[name] for name in axes if name in line}
            | {f"{line['kind']}/{name}": value for name, value in line.items() if name not in (*axes, *other)},
        )
        for line in lines
    ]


def by_name(rows: list[Row]) -> dict[str, list[tuple[int, float]]]:
    """Rows -> name -> its steps and values, in their order; that of the names does not matter."""
    found: dict[str, list[tuple[int, float]]] = {}
    for step, values in rows:
        for name, value in values.items():
            found.setdefault(name, []).append((step, value))
    return found


READERS = {"trackio": trackio_rows, "mlflow": mlflow_rows, "wandb": wandb_rows}

if __name__ == "__main__":
    print(json.dumps(READERS[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])))
