"""Writes the generated tables of the documentation from records, presets and the task table; checks links and names in it.

    python bench/docs_tables.py           writes every generated table, and the new file of a test that moved
    python bench/docs_tables.py --check   exit code 1 and one line per page with a wrong table, link, test or record name

A generated table is what lies between two lines of a page. Edit its maker in docs_speed.py or docs_quality.py, not the table:

    <!-- table: NAME -->
    <!-- end -->

Some columns are written by hand (what a task is, its files). A maker that has such columns keeps them row by row.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import re
import sys
from pathlib import Path

import docs_quality  # noqa: F401 (registers its makers)
import docs_speed  # noqa: F401
from docs_records import MAKERS, ROOT, MissingRow

COMMAND = "python bench/docs_tables.py"
MARK = re.compile(r"^<!-- table: ([\w-]+) -->\n(.*?)^<!-- end -->$", re.M | re.S)


def pages() -> list[Path]:
    """Every page of the documentation."""
    named = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "bench/README.md", "ops/README.md", "electra/bundled/README.md"]
    return [*(ROOT / name for name in named), *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / ".github").glob("*.md"))]


def generated(text: str) -> str:
    """A page with its tables made anew.

    Raises:
        MissingRow: a table cannot be made; the message says which.
    """

    def fill(match: re.Match[str]) -> str:
        try:
            lines = MAKERS[match[1]](match[2].strip("\n").splitlines())
        except KeyError as error:
            raise MissingRow(f"table {match[1]}: no maker or no such value in its record ({error})") from None
        except MissingRow as error:
            raise MissingRow(f"table {match[1]}: {error}") from None
        return f"<!-- table: {match[1]} -->\n" + "\n".join(lines).strip("\n") + "\n<!-- end -->"

    return MARK.sub(fill, text)


def anchors(text: str) -> set[str]:
    """The anchors of a page's titles, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    out = []
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            out.append(link)
    return out


def defined(path: Path) -> set[str]:
    """Names that a module defines: functions, classes, and `Class.method`."""
    out = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            out.add(node.name)
        if isinstance(node, ast.ClassDef):
            out |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    return out


def unknown_names(text: str) -> list[str]:
    """Functions (`package/module.py:name`), tests (`folder/test_file::test_name`) and records that a page names and that do not exist."""
    out = []
    for file, name in set(re.findall(r"`([\w/]+\.py):([\w.]+)`", text)):
        path = ROOT / "electra" / file
        if not path.exists() or name not in defined(path):
            out.append(f"{file}:{name}")
    for file, name in set(re.findall(r"`([\w/]*test_\w+)::(test_\w+)`", text)):
        path = ROOT / "tests" / f"{file}.py"
        if not path.exists() or f"def {name}(" not in path.read_text(encoding="utf-8"):
            out.append(f"{file}::{name}")
    records = set(re.findall(r"`((?:bench|experiments)/records/[\w.*/-]*[\w*])/?`", text))
    return sorted(out) + sorted(name for name in records if not list(ROOT.glob(name)))


def with_moved_tests(text: str) -> str:
    """A page in which tests that moved to another file, and of whose name there is one only, have their new file."""
    for missing in unknown_names(text):
        file, _, name = missing.partition("::")
        found = [path for path in (ROOT / "tests").rglob("test_*.py") if name and f"def {name}(" in path.read_text(encoding="utf-8")]
        if len(found) == 1:
            text = text.replace(f"`{file}::{name}`", f"`{found[0].relative_to(ROOT / 'tests').with_suffix('')}::{name}`")
    return text


def problems(page: Path) -> str:
    """What is wrong with a page, in one line; '' where nothing is."""
    text, out = page.read_text(encoding="utf-8"), []
    try:
        if (made := generated(text)) != text:
            stale = [match[1] for match in MARK.finditer(text) if match[0] not in made]
            out.append(f"tables differ from their records ({', '.join(stale)}): {COMMAND}")
    except MissingRow as error:
        out.append(str(error))
    if links := broken_links(page):
        out.append(f"broken links: {', '.join(links)}")
    if page.name != "log.md" and (names := unknown_names(text)):
        out.append(f"no such function, test or record (moved tests: {COMMAND}): {', '.join(names)}")
    return f"{page.relative_to(ROOT)}: {'; '.join(out)}" if out else ""


def main() -> int:
    """Write the tables, or check every page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something is wrong")
    options = parser.parse_args()
    if not options.check:
        for page in pages():
            text = page.read_text(encoding="utf-8")
            with contextlib.suppress(MissingRow):
                if (made := with_moved_tests(generated(text))) != text:
                    page.write_text(made, encoding="utf-8")
                    print(f"{page.relative_to(ROOT)}: written")
    found = [line for page in pages() if (line := problems(page))]
    print("\n".join(found), file=sys.stderr) if found else None
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
