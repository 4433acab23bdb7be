"""texts -> which tokens were replaced: coloured in a terminal, JSON lines elsewhere, or a table."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from electra.errors import UserError
from electra.inference import text_io
from electra.inference.predictor import Predictor, describe, load_for
from electra.inference.replaced_tokens import Corruption, Detection
from electra.inference.text_io import AnsweredText, Text, TextColumns
from electra.settings import DetectSettings
from electra.tasks.data_warnings import reporting
from electra.tasks.input_spec import recorded_columns
from electra.terminal import counted

if TYPE_CHECKING:
    from rich.console import Console


def run(settings: DetectSettings) -> None:
    """Print every text with the predictions for its tokens; with --corrupt, every step that leads to them; or a table, or JSON."""
    if not 0 <= settings.threshold <= 1:
        raise UserError(f"--threshold {settings.threshold}: expected a probability between 0 and 1")
    name, file = text_io.model_and_texts("detect", "discriminator", settings.model, settings.file, settings.text)
    text_io.check_readable(file, settings.kind)
    chosen = text_io.output_format(settings, file, settings.kind)
    model = load_for(settings, name, "discriminator")
    columns = TextColumns(text=settings.text, trained=recorded_columns(model.hf_config))
    texts = reporting(text_io.read_texts(file, columns, pairs=False, kind=settings.kind), model.tokenizer)
    inputs, again = itertools.tee(texts)
    found = counted(_found(settings, model, (text.text for text in inputs)), "texts", describe(model))
    if chosen is None and not settings.json and sys.stdout.isatty():
        for item in found:
            show_corruption(item, _console()) if isinstance(item, Corruption) else show_detection(item, _console())
        return
    answers = (_answered(text, item) for item, text in zip(found, again, strict=False))
    text_io.write_answers(answers, settings, file, kind=settings.kind, as_json=True)


def _found(settings: DetectSettings, model: Predictor, texts: Iterator[str]) -> Iterator[Detection | Corruption]:
    if settings.corrupt:
        return model.corrupt(texts, mask_prob=settings.mask_prob, temperature=settings.temperature, seed=settings.seed, threshold=settings.threshold)
    return model.iterate_detections(texts, threshold=settings.threshold)


def _answered(text: Text, item: Detection | Corruption) -> AnsweredText:
    record = item.to_dict()
    del record["text"]  # is among the input's columns
    return AnsweredText(text=text, line="", record=record, columns=record)


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def show_detection(detection: Detection, console: Console, label: str = "") -> None:
    """The text with its tokens on a background from nothing (original) to red (replaced); the replaced ones listed below."""
    from rich.text import Text as RichText

    shown = RichText(_printable(detection.text))
    for token in detection.tokens:
        if token.replaced:
            shown.stylize("bold white on red", token.start, token.end)
        elif token.probability >= 0.1:
            shown.stylize(f"on rgb({int(200 * token.probability)},{int(60 * token.probability)},0)", token.start, token.end)
    console.print(RichText(f"{label:<11}" if label else "") + shown)
    found = [f"{token.token} {token.probability:.2f}" for token in detection.tokens if token.replaced]
    likely = max(detection.tokens, key=lambda t: t.probability, default=None)
    if found:
        result = "replaced: " + ", ".join(found)
    elif likely is not None:
        result = f"nothing replaced (most suspicious: {likely.token} {likely.probability:.2f})"
    else:
        result = "no tokens"
    console.print(RichText(" " * (11 if label else 2) + _printable(result), style="dim"))


def show_corruption(corruption: Corruption, console: Console) -> None:
    """Every step: the text, masked, the generator's proposals and samples, the discriminator's predictions."""
    from rich.table import Table
    from rich.text import Text as RichText

    console.print(RichText(f"{'text':<11}{_printable(corruption.text)}"))
    console.print(RichText(f"{'masked':<11}{_printable(corruption.masked)}"))
    table = Table("original", "generator's proposals", "sample", "discriminator", "correct?")
    for item in corruption.replacements:
        proposals = "  ".join(f"{word} {p:.2f}" for word, p in item.proposals)
        result = f"{'replaced' if item.verdict else 'original'} {item.probability:.2f}"
        cells = [item.original, proposals, item.sampled, result, "yes" if item.verdict == item.changed else "no"]
        table.add_row(*(RichText(_printable(cell)) for cell in cells), style="bold" if item.changed else "dim")
    console.print(table)
    show_detection(corruption.corrupted, console, "corrupted")
    console.print()


def _printable(text: str) -> str:
    """Control characters (which could steer the terminal) as a replacement sign, one for one: offsets keep."""
    return "".join(c if c.isprintable() else (" " if c.isspace() else "\ufffd") for c in text)
