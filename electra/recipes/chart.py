"""Numbers -> an inline SVG picture of curves, coloured by the page's style sheet."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

Points = Sequence[tuple[float, float]]


def escape(value: object) -> str:
    """Text for HTML."""
    return html.escape(str(value))


def chart(title: str, series: Sequence[tuple[str, Points]], level: tuple[float, str] | None = None, width: int = 440, height: int = 240) -> str:
    """Named curves (x, y) -> an inline SVG; `level`: a dashed line at a value, with its name."""
    series = [(name, [(x, y) for x, y in points if math.isfinite(y)]) for name, points in series]
    points = [point for _, curve in series for point in curve]
    if not points:
        return ""
    left, right, top, bottom = 46, 20, 34, 34
    ys = [y for _, y in points] + ([level[0]] if level else [])
    low, high = min(ys), max(ys)
    low, high = (low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1))
    last = max(x for x, _ in points) or 1.0

    def place(x: float, y: float) -> str:
        return f"{left + x / last * (width - left - right):.1f},{top + (high - y) / (high - low) * (height - top - bottom):.1f}"

    heading = f'<text x="{left}" y="14" style="font-size:13px;font-weight:600">{escape(title)}</text>'
    out = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{heading}']
    for tick in _ticks(low, high):
        x, y = place(0, tick).split(",")
        out.append(f'<line x1="{x}" x2="{width - right}" y1="{y}" y2="{y}" stroke="var(--line)"/>')
        out.append(f'<text x="{left - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in _ticks(0, last):
        out.append(f'<text x="{place(tick, low).split(",")[0]}" y="{height - 16}" text-anchor="middle">{tick:,.0f}</text>')
    out.append(f'<text x="{width - right}" y="{height - 2}" text-anchor="end">steps</text>')
    if level:
        y = place(0, level[0]).split(",")[1]
        out.append(f'<line x1="{left}" x2="{width - right}" y1="{y}" y2="{y}" stroke="var(--soft)" stroke-dasharray="4 4"/>')
        out.append(f'<text x="{width - right}" y="{float(y) - 5:.1f}" text-anchor="end">{escape(level[1])}</text>')
    for number, (name, curve) in enumerate(series):
        color = ("var(--one)", "var(--two)")[number % 2]
        path = " ".join(place(x, y) for x, y in curve)
        out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{2 if number else 1.6}" stroke-linejoin="round"/>')
        out.append(f'<text x="{left + 88 * number}" y="28" style="fill:{color}">{escape(name)}</text>')
    return "".join(out) + "</svg>"


def _ticks(low: float, high: float) -> list[float]:
    """About four round values between two."""
    rough = (high - low) / 4
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    return [round(step * i, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
