"""electra compare: a model and its artifacts -> accuracy, latency, throughput, size and memory of each, by one method."""

from __future__ import annotations

import json
import sys

from electra import api
from electra.settings import CompareSettings


def run(settings: CompareSettings) -> int:
    """Measure and print; exit code 1 if a model could not be measured."""
    from electra.benchmark.records import sealed
    from electra.benchmark.results import to_terminal

    found = api.compare(settings)
    if settings.json:
        print(json.dumps(sealed(found.to_dict())))
    else:
        from rich.console import Console

        # Without a terminal there is no width to cut the table to.
        Console(width=None if sys.stdout.isatty() else 240, highlight=False).print(to_terminal(found))
    return 1 if any(row.error for row in found.rows) else 0
