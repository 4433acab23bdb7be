"""What a page is put together from: sections, tables, figures with a sentence under them. Strings of HTML, escaped where they are made."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def escape(value: object) -> str:
    """Text for HTML."""
    return html.escape(str(value))


def section(title: str, *parts: str) -> str:
    """A heading and HTML -> a section."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> str:
    """Cells (HTML already) under a head -> a table; the columns in `numbers` are set right."""

    def cells(tag: str, row: Sequence[object]) -> str:
        return "".join(f"<{tag}{' class=n' if i in numbers else ''}>{cell}</{tag}>" for i, cell in enumerate(row))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells("th", head)}</tr>{body}</table></div>'


def figure(picture: str, sentence: str) -> str:
    """A picture (HTML already; nothing where there is none) and what one sees in it -> a figure."""
    return f'<figure><div class="wide">{picture}</div><figcaption>{sentence}</figcaption></figure>' if picture else ""


def verdict(right: bool) -> str:
    """Yes or no, in its colour."""
    return f"<span class={'right' if right else 'wrong'}>{'yes' if right else 'no'}</span>"


def bar(fraction: float) -> str:
    """A share of a line."""
    return f'<div class="bar"><i style="width:{100 * min(1.0, max(0.0, fraction)):.1f}%"></i></div>'


def clock(seconds: float) -> str:
    """Seconds -> '0.4 s', '45 s', '3 min 20 s'."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
