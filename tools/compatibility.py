"""Writes the tables of docs/compatibility.md: the tests marked by tests/support/conformance.py as rows of form, commands, tests.

    python tools/compatibility.py           write the tables (part of `make docs`)
    python tools/compatibility.py --check   exit code 1 where the page differs from the tests (part of `make check`)

A table lies between `<!-- cases: SECTION -->` and `<!-- end -->`; the rest of the page is written by hand.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "compatibility.md"
MARK = re.compile(r"^<!-- cases: (\w+) -->\n(.*?)^<!-- end -->$", re.M | re.S)
IMPORT = re.compile(r"^(?:from|import) [\w.]*\bconformance\b", re.M)
COLUMNS = (
    *("load", "inspect", "predict", "detect", "score", "fill", "embed", "evaluate", "compare", "build", "serve", "finetune", "--teacher"),
    *("pretrain --init", "convert", "vocab", "prepare", "dataset", "save", "hub", "URL"),
    *("Python", "pipeline", "sentence-transformers", "HTTP", "InferenceClient", "TEI", "transformers.js"),
)
"""The order of commands and interfaces in a cell; others follow by name."""


class Case(NamedTuple):
    """One mark of one test: `test` as in `model/test_huggingface::test_forms`."""

    section: str
    form: str
    where: str
    outcome: str
    test: str


class Collector:
    """A plugin of pytest: the cases among the tests that it collects."""

    def __init__(self) -> None:
        self.cases: set[Case] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Read the marks; nothing runs."""
        for item in items:
            file = item.path.relative_to(ROOT / "tests").with_suffix("").as_posix()
            test = f"{file}::{item.nodeid.rpartition('::')[2].partition('[')[0]}"
            for mark in item.iter_markers("conformance"):
                values: dict[str, Any] = mark.kwargs
                self.cases |= {Case(values["section"], values["form"], where, values["outcome"], test) for where in values["where"]}


def collected() -> set[Case]:
    """The cases of every test file that names the module of their marks. Raises RuntimeError where such a file cannot be collected."""
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if IMPORT.search(path.read_text("utf-8"))]
    collector, printed = Collector(), io.StringIO()
    os.chdir(ROOT)
    if files:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            words = ["--collect-only", "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", *map(str, files)]
            code = pytest.main(words, plugins=[collector])
        if code != pytest.ExitCode.OK:
            raise RuntimeError(f"the tests cannot be collected:\n{printed.getvalue()}")
    return collector.cases


def tests_of(cases: Iterable[Case], form: str) -> list[str]:
    """The tests of one form."""
    return sorted({case.test for case in cases if case.form == form})


def rows(cases: Iterable[Case], section: str) -> list[str]:
    """The table of one section, as Markdown. Raises ValueError where two tests say different things of one form and command."""
    own = sorted(case for case in cases if case.section == section)
    outcomes: dict[tuple[str, str], str] = {}
    for case in own:
        if outcomes.setdefault((case.form, case.where), case.outcome) != case.outcome:
            tests = ", ".join(each.test for each in own if (each.form, each.where) == (case.form, case.where))
            raise ValueError(f"{case.form}, {case.where}: both exact and refused ({tests})")
    found = {case.where for case in own}
    order = [name for name in COLUMNS if name in found] + sorted(found - {*COLUMNS})
    out = ["| form | exact | refused | tests |", "|---|---|---|---|"]
    for form in sorted({case.form for case in own}, key=str.lower):
        places = [", ".join(name for name in order if outcomes.get((form, name)) == outcome) for outcome in ("exact", "refused")]
        line = [form, *places, ", ".join(f"`{test}`" for test in tests_of(own, form))]
        out.append("| " + " | ".join(text.replace("|", r"\|") for text in line) + " |")
    return out


def written(page: str, cases: Iterable[Case]) -> str:
    """The page with the tables of these cases."""
    cases = set(cases)

    def fill(match: re.Match[str]) -> str:
        own = {case for case in cases if case.section == match[1]}
        count = f"{len({case.form for case in own})} forms, {len({(case.form, case.where) for case in own})} answers:"
        return "\n".join([f"<!-- cases: {match[1]} -->", count, "", *rows(own, match[1]), "<!-- end -->"])

    return MARK.sub(fill, page)


def main() -> int:
    """Write the tables, or check them."""
    try:
        cases = collected()
        page = PAGE.read_text(encoding="utf-8")
        made = written(page, cases)
    except (RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    forms = {(case.section, case.form) for case in cases}
    print(f"{PAGE.relative_to(ROOT)}: {len(forms)} forms, {len({case[:3] for case in cases})} answers")
    if made != page and "--check" in sys.argv[1:]:
        print(f"{PAGE.relative_to(ROOT)}: differs from the tests; run: python tools/compatibility.py", file=sys.stderr)
        return 1
    if made != page:
        PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
