"""Predictions -> report.json, report.md and charts: errors, calibration, scores by length."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electra.storage import atomic
from electra.tasks import metrics
from electra.tasks.evaluate import Assessment
from electra.tasks.metrics import confidences, reliability

NUM_ERRORS = 20
NUM_SLICES = 4
SHOWN_CHARACTERS = 300


def measure(found: Assessment) -> dict[str, Any]:
    """The report as plain values."""
    scores = found.scores()
    out: dict[str, Any] = {"task": found.task.name, "main_metric": found.task.main_metric, "num_examples": len(found.examples), "scores": scores}
    if found.head.kind == "classification":
        out |= confusions([str(e.label) for e in found.examples], [str(p.label) for p in found.predictions], found.head.labels)
    if (calibration := reliability_of(found)) is not None:
        out["calibration"] = calibration
    if found.head.kind == "multilabel":
        out["classes"] = label_rows(found)
    out["slices"] = slices(found)
    out["errors"] = worst_errors(found)
    return out


def reliability_of(found: Assessment) -> dict[str, Any] | None:
    """How far the probabilities of classes can be believed (`electra.tasks.metrics.reliability`); None where the answers have none."""
    if found.head.kind not in ("classification", "multilabel"):
        return None
    p, right = confidences(found.examples, found.predictions, found.head)
    return reliability(p, right) if p and all(0 <= one <= 1 for one in p) else None


def confusions(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Counts (gold by predicted), and precision, recall, F1 and support of each class."""
    counts = metrics.confusion(gold, predicted, labels)
    rows = _class_rows(labels, np.stack([np.diagonal(counts), counts.sum(axis=0), counts.sum(axis=1)], axis=1))
    return {"confusion": {"labels": list(labels), "counts": counts.tolist()}, "classes": rows}


def label_rows(found: Assessment) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each of several labels at once."""

    def table(answers: Sequence[Any]) -> np.ndarray:
        return np.array([[name in _names(answer.label) for name in found.head.labels] for answer in answers])

    gold, predicted = table(found.examples), table(found.predictions)
    return _class_rows(found.head.labels, np.stack([(gold & predicted).sum(axis=0), predicted.sum(axis=0), gold.sum(axis=0)], axis=1))


def _names(label: Any) -> Sequence[str]:
    return label if isinstance(label, tuple) else (str(label),)


def _class_rows(labels: Sequence[str], counts: np.ndarray) -> list[dict[str, Any]]:
    """(C, 3) true positives, predicted, gold -> a row per class."""
    columns = [column.tolist() for column in (*metrics.class_scores(counts), counts[:, 2])]
    names = ("precision", "recall", "f1", "support")
    return [{"label": label, **dict(zip(names, values, strict=True))} for label, *values in zip(labels, *columns, strict=True)]


def slices(found: Assessment) -> list[dict[str, Any]]:
    """Scores by quartile of length in tokens; equal lengths stay together."""
    lengths = np.array(found.lengths())
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, NUM_SLICES + 1), method="lower"))
    place = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, max(0, len(edges) - 2))
    out = []
    for number in np.unique(place).tolist():
        chosen = np.flatnonzero(place == number).tolist()
        scores = found.task.score([found.examples[i] for i in chosen], [found.predictions[i] for i in chosen], found.head)
        span = {"from_tokens": int(lengths[chosen].min()), "to_tokens": int(lengths[chosen].max())}
        out.append({**span, "num_examples": len(chosen), "scores": scores})
    return out


def worst_errors(found: Assessment) -> list[dict[str, Any]]:
    """The most confident wrong classes, the largest errors of numbers, or the lowest-scored examples of other kinds; the worst first."""
    ranked = []
    for i, (example, answer) in enumerate(zip(found.examples, found.predictions, strict=True)):
        if found.head.kind == "classification":
            badness = (answer.probability or 0.0) if str(example.label) != str(answer.label) else 0.0
        elif found.head.kind == "regression":
            badness = abs(float(str(example.label)) - float(str(answer.label)))
        elif found.head.kind == "multilabel" and isinstance(example.label, tuple) and isinstance(answer.label, tuple):
            badness = 0.0 if {*example.label} == {*answer.label} else 1.0 - found.task.score([example], [answer], found.head)[found.task.main_metric]
        elif found.head.kind == "tagging" and answer.label == example.label:
            badness = 0.0  # of a sentence without entities F1 is 0
        else:
            badness = 1.0 - found.task.score([example], [answer], found.head)[found.task.main_metric]
        if badness > 0:
            ranked.append((-badness, i))
    rows = []
    for _, i in sorted(ranked)[:NUM_ERRORS]:
        example, answer = found.examples[i], found.predictions[i]
        row: dict[str, Any] = {"id": example.id, "label": example.gold, "prediction": answer.label, "text": example.text[:SHOWN_CHARACTERS]}
        row |= {} if example.text_pair is None else {"text_pair": example.text_pair[:SHOWN_CHARACTERS]}
        rows.append(row | ({} if answer.probability is None else {"probability": answer.probability}))
    return rows


# ---- files ----


def write(found: Assessment, model: str, folder: Path) -> dict[str, Any]:
    """Write report.json, report.md and the charts for the kind of label, and return the values; no charts without matplotlib.

    Raises:
        UserError: the folder cannot be written.
    """
    values = {"model": model, **measure(found)}
    pictures = importlib.util.find_spec("matplotlib") is not None
    with atomic.atomic_folder(folder) as place:
        if pictures:
            draw(values, found, place)
        (place / "report.json").write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (place / "report.md").write_text(to_markdown(values, pictures), encoding="utf-8")
    return values


def draw(values: dict[str, Any], found: Assessment, place: Path) -> None:
    """Write the charts into a folder."""
    if "confusion" in values:
        draw_confusion(values["confusion"], place / "confusion.png")
    if "calibration" in values:
        draw_reliability(values["calibration"], place / "calibration.png")
    if found.head.kind == "regression":
        gold, predicted = ([float(str(item.label)) for item in side] for side in (found.examples, found.predictions))
        draw_scatter(gold, predicted, place / "scatter.png")


def to_markdown(values: dict[str, Any], pictures: bool = True) -> str:
    """report.md."""
    lines = [f"# {values['model']} on {values['task']}: {values['num_examples']:,} examples", "", "| metric | value |", "|---|---|"]
    lines += [f"| {name} | {value:.4f} |" for name, value in values["scores"].items()]
    if "classes" in values:
        lines += ["", "## Classes", "", "| label | precision | recall | F1 | examples |", "|---|---|---|---|---|"]
        for row in values["classes"]:
            lines.append(f"| {_cell(row['label'])} | {row['precision']:.4f} | {row['recall']:.4f} | {row['f1']:.4f} | {row['support']:,} |")
    if "confusion" in values and pictures:
        lines += ["", "![gold labels by predicted labels](confusion.png)"]
    if "calibration" in values:
        found = values["calibration"]
        tendency = "overconfident" if found["overconfidence"] > 0 else "underconfident"
        lines += ["", "## Calibration", "", f"Expected calibration error {found['expected_calibration_error']:.4f} (15 bins), "]
        lines[-1] += f"largest gap {found['maximum']:.4f}. On average the model is {tendency}, by {abs(found['overconfidence']):.4f}."
        lines += [] if not pictures else ["", "![probability against accuracy](calibration.png)"]
    if values["scores"].get("pearson") is not None and pictures:
        lines += ["", "![gold against predicted numbers](scatter.png)"]
    metric = values["main_metric"]
    lines += ["", "## By length", "", f"| tokens | examples | {metric} |", "|---|---|---|"]
    for row in values["slices"]:
        lines.append(f"| {row['from_tokens']} to {row['to_tokens']} | {row['num_examples']:,} | {row['scores'][metric]:.4f} |")
    lines += ["", "## Worst errors", "", "| id | label | prediction | probability | text |", "|---|---|---|---|---|"]
    for row in values["errors"]:
        sure = f"{row['probability']:.4f}" if "probability" in row else ""
        text = row["text"] + (f" / {row['text_pair']}" if "text_pair" in row else "")
        lines.append(f"| {row['id']} | {_cell(row['label'])} | {_cell(row['prediction'])} | {sure} | {_cell(text)} |")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else " ".join(value) if isinstance(value, tuple | list) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


# ---- charts ----


MOST_LABELS = 40
"""With more labels, names are omitted."""
BLUE, RED, GREY = "#0072B2", "#D55E00", "#999999"


def draw_confusion(confusion: Mapping[str, Any], path: Path) -> None:
    """Fractions of each gold label's examples by predicted label, with counts."""
    from matplotlib.figure import Figure

    counts, labels = np.array(confusion["counts"]), confusion["labels"]
    size = min(14.0, 2.4 + 0.55 * len(labels))
    figure = Figure(figsize=(size + 0.8, size), dpi=130, layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(picture, ax=axes, shrink=0.8, label="fraction of the gold label's examples")
    if len(labels) <= MOST_LABELS:
        names = [label if len(label) <= 18 else label[:17] + "…" for label in labels]
        plain: Any = {"fontsize": 8, "parse_math": False}  # a label may have $
        axes.set_xticks(range(len(labels)), names, rotation=45 if len(labels) > 2 else 0, ha="right" if len(labels) > 2 else "center", **plain)
        axes.set_yticks(range(len(labels)), names, **plain)
        for i, row in enumerate(counts.tolist()):
            for j, count in enumerate(row):
                axes.text(j, i, f"{count:,}", ha="center", va="center", fontsize=8, color="white" if shares[i, j] > 0.6 else "black")
    axes.set_xlabel("predicted")
    axes.set_ylabel("gold")
    figure.savefig(path, format="png")


def draw_reliability(found: Mapping[str, Any], path: Path) -> None:
    """Mean probability of each bin against its accuracy, above the number of answers in each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 5.6), dpi=130, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    bins = found["bins"]
    above.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfectly calibrated")
    for row in bins:
        above.plot([row["probability"]] * 2, [row["probability"], row["accuracy"]], color=RED, linewidth=1.4)
    above.plot([row["probability"] for row in bins], [row["accuracy"] for row in bins], "o", color=BLUE, markersize=5, label="answers of a bin")
    above.set_ylabel("accuracy")
    above.set_ylim(-0.02, 1.02)
    above.set_title(f"expected calibration error {found['expected_calibration_error']:.3f}", fontsize=10)
    above.legend(fontsize=8, frameon=False, loc="upper left")
    width = [row["to"] - row["from"] for row in bins]
    below.bar([row["from"] for row in bins], [row["count"] for row in bins], width=width, align="edge", color=BLUE, alpha=0.6)
    below.set_ylabel("answers")
    below.set_xlabel("probability of the answer given")
    below.set_xlim(0, 1)
    for axes in (above, below):
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")


def draw_scatter(gold: Sequence[float], predicted: Sequence[float], path: Path) -> None:
    """A point per example."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 4.8), dpi=130, layout="constrained")
    axes = figure.subplots()
    ends = [min(*gold, *predicted), max(*gold, *predicted)]
    axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1)
    axes.plot(gold, predicted, "o", color=BLUE, markersize=3, alpha=0.5, markeredgewidth=0)
    axes.set_xlabel("gold")
    axes.set_ylabel("predicted")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")
