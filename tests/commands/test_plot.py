"""Learning curves: what is drawn, and the errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from electra import cli
from electra.commands import plot

pytest.importorskip("matplotlib")


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs, the second without evaluations and with a line half written."""
    for number, name in enumerate(("mini", "mini-mlm")):
        lines = []
        for step in range(1, 60):
            values = {"loss": 5 / step + number + 0.1 * (step % 3), "disc_auc": 1 - 1 / (step + 1), "tokens_per_second": 100.0}
            cost = {} if number else {"flops": step * 1e9}
            lines.append({"step": step, "tokens": step * 9, "seconds": step * 0.5, **cost, "kind": "train", **values})
            if step % 20 == 0 and not number:
                lines.append(
                    {"step": step, "tokens": step * 9, "seconds": step * 0.5, **cost, "kind": "evaluation", "loss": 5 / step, "only_here": 0.5}
                )
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + ('\n{"step": 60, "to' if number else "\n"))
    return tmp_path / "mini", tmp_path / "mini-mlm"


def test_a_picture_appears(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    image = pytest.importorskip("matplotlib.image")
    assert cli.main(["plot", *map(str, runs)]) == 0
    assert "4 metrics of 2 runs" in capsys.readouterr().err
    pixels = image.imread(runs[0] / "curves.png")
    assert pixels.shape[0] > 500 and pixels.shape[1] > 1000
    assert len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize("x", ["steps", "tokens", "flops", "seconds"])
def test_axis_and_metrics_are_chosen(runs: tuple[Path, Path], tmp_path: Path, x: str) -> None:
    output = tmp_path / "pictures" / "c.png"
    assert cli.main(["plot", str(runs[0]), "--metrics", "loss", "only_here", "--x", x, "--output", str(output)]) == 0
    assert output.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_losses_come_first_and_speed_last(runs: tuple[Path, Path]) -> None:
    lines = {path.name: plot.read(path) for path in runs}
    assert plot.choose(lines, ()) == ["loss", "disc_auc", "only_here", "tokens_per_second"]
    places, values = plot.curve(lines["mini"], "evaluation", "loss", "seconds")
    assert places == pytest.approx([10 / 60, 20 / 60]) and values == [0.25, 0.125]
    assert plot.curve(lines["mini"], "evaluation", "loss", "flops")[0] == [20e9, 40e9]
    assert plot.curve(lines["mini"], "evaluation", "loss", "step")[0] == [20, 40]


def test_smoothing_keeps_a_constant_and_halves_noise() -> None:
    assert plot.smooth([3.0] * 50) == pytest.approx([3.0] * 50)
    noise = np.random.default_rng(0).normal(size=300)
    assert np.std(plot.smooth(noise.tolist())[30:]) < np.std(noise) / 2
    assert plot.smooth([]) == [] and plot.smooth([1.0, 9.0]) == [1.0, 9.0]


def test_runs_are_named_by_what_differs() -> None:
    assert plot.run_names((Path("/x/mini"), Path("/x/small"))) == ["mini", "small"]
    assert plot.run_names((Path("/x/seed-1"), Path("/y/seed-1"))) == ["x/seed-1", "y/seed-1"]


def test_mistakes_are_one_line(runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "metrics.jsonl").write_text("")
    for seed in ("seed-1", "seed-2"):
        (tmp_path / "tuned" / seed).mkdir(parents=True)
        (tmp_path / "tuned" / seed / "metrics.jsonl").write_text("")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "metrics.jsonl").write_bytes(b"\x00\xff\n" * 5)
    cases = {
        (str(runs[0]), "--metrics", "disc_acu"): "did you mean 'disc_auc'?",
        (str(tmp_path / "mimi"),): "did you mean 'mini'?",
        (str(tmp_path / "empty"),): "has no metrics.jsonl; give the --output of 'electra pretrain', or RUN/seed-1 of 'electra finetune'",
        (str(tmp_path / "tuned"),): f"has no metrics.jsonl; give its seeds: {tmp_path / 'tuned' / 'seed-1'} {tmp_path / 'tuned' / 'seed-2'}",
        (str(tmp_path / "new"),): "is still empty",
        (str(tmp_path / "odd"),): "line 1 is not a line of metrics",
        (str(runs[0]), str(runs[0])): "is given twice",
        (*map(str, runs), "--x", "flops"): "run mini-mlm has not recorded its flops",
        (str(runs[0]), "--output", str(runs[0] / "metrics.jsonl" / "c.png")): "choose another path",
    }
    for words, message in cases.items():
        assert cli.main(["plot", *words]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
