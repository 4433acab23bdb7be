"""Scores, suspicions and sizes -> pictures: inline SVG and HTML, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from electra.recipes.page import escape

NAMES = 250
"""Width of the column of names, of 700."""


def exchanged(pair: Mapping[str, Any]) -> tuple[int, str, str]:
    """A sentence before and after one of its words was exchanged -> where, the word that belongs there, the word put in its place."""
    before, after, other = pair["original"]["text"], pair["changed"]["text"], pair["word"]
    same = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
    start = before.rfind(" ", 0, same) + 1
    return start, before[start : start + len(before) - len(after) + len(other)], other


def suspicion(detection: Mapping[str, Any], start: int, word: str) -> float:
    """The highest probability of 'replaced' among the tokens of the word that stands there."""
    return max((t["probability"] for t in detection["tokens"] if t["start"] < start + len(word) and start < t["end"]), default=0.0)


def dots(rows: Sequence[tuple[str, float, bool]], error: float, level: tuple[float, str], low: float) -> str:
    """(name, share of 1, whether it is ours) -> a dot each on a line from `low` to 1, with `error` to both sides; `level`: a dashed line, named."""
    height = 34 * len(rows) + 46

    def x(share: float) -> float:
        return NAMES + (min(1.0, max(low, share)) - low) / (1.0 - low) * (680 - NAMES)

    out = [f'<svg class="broad" viewBox="0 0 700 {height}" role="img" aria-label="accuracy of each model">']
    for tick in range(math.ceil(low * 10), 11):
        at = x(tick / 10)
        out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="18" y2="{height - 22}" stroke="var(--line)"/>')
        out.append(f'<text x="{at:.1f}" y="{height - 6}" text-anchor="middle">{10 * tick}%</text>')
    at = x(level[0])
    out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="18" y2="{height - 22}" stroke="var(--soft)" stroke-dasharray="4 4"/>')
    out.append(f'<text x="{at:.1f}" y="12" text-anchor="middle">{escape(level[1])}</text>')
    for number, (name, share, ours) in enumerate(rows):
        y, colour = 38 + 34 * number, "var(--two)" if ours else "var(--one)"
        out.append(f'<text x="{NAMES - 14}" y="{y + 4}" text-anchor="end" class="{"name ours" if ours else "name"}">{escape(name)}</text>')
        out.append(f'<line x1="{x(share - error):.1f}" x2="{x(share + error):.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<rect x="{x(share) - 5:.1f}" y="{y - 5}" width="10" height="10" rx="5" fill="{colour}"></rect>')
        out.append(f'<text x="{x(share):.1f}" y="{y - 9}" text-anchor="middle" class="value">{100 * share:.1f}</text>')
    return "".join(out) + "</svg>"


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """(name, value, as it is said) -> a bar each, from zero."""
    height, most = 44 * len(rows) + 24, max((value for _, value, _ in rows), default=0.0) or 1.0
    heading = f'<text x="0" y="14" class="name ours">{escape(title)}</text>'
    out = [f'<svg viewBox="0 0 340 {height}" role="img" aria-label="{escape(title)}">{heading}']
    for number, (name, value, said) in enumerate(rows):
        y, colour = 30 + 44 * number, "var(--two)" if number else "var(--one)"
        width = 250 * value / most
        out.append(f'<text x="0" y="{y + 9}" class="name">{escape(name)}</text>')
        out.append(f'<rect x="0" y="{y + 15}" width="{max(1.0, width):.1f}" height="13" rx="3" fill="{colour}"></rect>')
        out.append(f'<text x="{max(1.0, width) + 7:.1f}" y="{y + 26}" class="value">{escape(said)}</text>')
    return "".join(out) + "</svg>"


def pairs(rows: Sequence[tuple[str, float, str, float]]) -> str:
    """(word, suspicion, other word, its suspicion) -> both as dots on one line from 0 to 1, the other one in its colour."""
    height = 34 * len(rows) + 46
    out = [f'<svg class="broad" viewBox="0 0 700 {height}" role="img" aria-label="suspicion of each word and of the one put in its place">']

    def x(share: float) -> float:
        return NAMES + share * (680 - NAMES)

    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        out.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="10" y2="{height - 22}" stroke="var(--line)"/>')
        out.append(f'<text x="{x(tick):.1f}" y="{height - 6}" text-anchor="middle">{tick:g}</text>')
    for number, (word, first, other, second) in enumerate(rows):
        y = 30 + 34 * number
        out.append(f'<text x="{NAMES - 14}" y="{y + 4}" text-anchor="end" class="name">{escape(word)} \N{RIGHTWARDS ARROW} {escape(other)}</text>')
        out.append(f'<line x1="{x(first):.1f}" x2="{x(second):.1f}" y1="{y}" y2="{y}" stroke="var(--soft)" stroke-width="2"/>')
        for share, colour in ((first, "var(--one)"), (second, "var(--two)")):
            out.append(f'<rect x="{x(share) - 6:.1f}" y="{y - 6}" width="12" height="12" rx="6" fill="{colour}"></rect>')
    return "".join(out) + "</svg>"


def heat_map(detection: Mapping[str, Any], marked: Sequence[tuple[int, int]] = ()) -> str:
    """A text's tokens as cells, each as red as it is suspicious, with its probability below; tokens within `marked` spans are underlined."""
    cells = []
    for token in detection["tokens"]:
        start, end, share = token["start"], token["end"], token["probability"]
        shown = escape(detection["text"][start:end])
        if any(start < b and a < end for a, b in marked):
            shown = f"<u>{shown}</u>"
        cells.append(f'<span style="background:rgba(var(--bad),{min(1.0, share) * 0.85:.2f})">{shown}<small>{share:.2f}</small></span>')
    return f'<p class="heat">{"".join(cells)}</p>'


def scale() -> str:
    """What the reds of a heat map mean."""
    steps = "".join(f'<span style="background:rgba(var(--bad),{share * 0.85:.2f})">{share:g}</span>' for share in (0.0, 0.25, 0.5, 0.75, 1.0))
    return f'<p class="scale">believed to belong there {steps} believed to be replaced</p>'


def journey(stations: Sequence[tuple[str, str, str]]) -> str:
    """(what, figure, sentence) -> boxes in a row."""
    boxes = "".join(f'<div class="card"><i>{escape(what)}</i><b>{escape(big)}</b><span>{escape(small)}</span></div>' for what, big, small in stations)
    return f'<div class="cards">{boxes}</div>'
