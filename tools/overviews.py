"""Writes AGENTS.md (for coding assistants) and llms.txt (llmstxt.org) from the files that say it for people.

    python tools/overviews.py           write both (part of `make docs`)
    python tools/overviews.py --check   exit code 1 where one differs from its sources (part of `make check`)

Sources: the Makefile's help, README.md, CONTRIBUTING.md, the order of pages in docs/zensical.toml, titles and first sentences of pages,
docstrings of examples, titles of notebooks. Nothing in the two files is written by hand.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from docs_site import pages

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```.*?^```$|<!--.*?-->", re.M | re.S)
SHORT = 60
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def read(name: str) -> str:
    """A file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """The text under a heading of level two, without the heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    if found is None:
        raise ValueError(f"no section '## {title}'")
    return found[1].strip()


def fences(text: str) -> list[str]:
    """Blocks of code, with their fences."""
    return re.findall(r"^```.*?^```$", text, re.M | re.S)


def first_sentence(text: str) -> str:
    """The first sentence of prose below the title, without links; the next one too where it is short."""
    for paragraph in re.split(r"\n\s*\n", FENCE.sub("", text.partition("\n")[2])):
        line = LINK.sub(r"\1", " ".join(paragraph.split()))
        if line and not line.startswith(("#", "|", "- ", "* ", "!", "<")):
            first, *more = re.split(r"(?<=[.:])\s+(?=[A-Z`])", line)
            return (f"{first} {more[0]}" if more and len(first) < SHORT and not more[0].endswith(":") else first).removesuffix(":")
    return ""


def summary() -> str:
    """What electra is: README.md's first paragraph, on one line, without links."""
    return LINK.sub(r"\1", " ".join(read("README.md").split("\n\n")[1].split()))


# ---- AGENTS.md ----


def agents() -> str:
    """The contents of AGENTS.md."""
    guide = read("CONTRIBUTING.md")
    targets = re.findall(r"^([a-z-]+):.*?## (.*)$", read("Makefile"), re.M)
    additions = re.findall(r"^### (.*)$", section(guide, "How to add ..."), re.M)
    commit = [section(guide, "Before you commit"), section(guide, "With an assistant")]
    parts = [
        "# electra, for coding assistants",
        "<!-- Written by tools/overviews.py from Makefile, README.md and CONTRIBUTING.md: change those, then `make docs`. -->",
        summary(),
        "## Commands\n\n" + "\n".join(f"- `make{'' if name == 'install' else ' ' + name}`: {text}" for name, text in targets),
        fences(section(guide, "Set up"))[-1],
        "## Layout\n\n" + section(read("README.md"), "Files").partition("\n\n")[0],
        "## Layers\n\nA layer imports only layers to its right; layers in parentheses do not see each other.\n\n"
        + fences(section(guide, "Layers"))[0],
        "## Rules\n\n" + section(guide, "Rules"),
        "## How to add\n\n" + ", ".join(f"[{name}](CONTRIBUTING.md#{name.replace(' ', '-')})" for name in additions) + ".",
        "## Before you commit\n\n" + "\n\n".join(commit),
        "Why it is built so: [docs/design.md](docs/design.md). What was tried: [docs/log.md](docs/log.md). Every page: [llms.txt](llms.txt).",
    ]
    return "\n\n".join(parts) + "\n"


# ---- llms.txt ----


def described() -> dict[str, str]:
    """Page -> what README.md's table says that it holds; a row of several pages tells of the first."""
    rows = re.findall(r"^\| (.*?) \| (.*) \|$", section(read("README.md"), "What it does"), re.M)
    found = {tuple(re.findall(r"\]\(([\w/.-]+\.md)\)", cell)): LINK.sub(r"\1", text) for cell, text in rows}
    return {pages[0]: text for pages, text in found.items() if pages}


def entry(path: str, title: str, text: str) -> str:
    """A line of llms.txt."""
    return f"- [{title}]({path}): {' '.join(text.split())}".removesuffix(": ")


def examples() -> Iterator[str]:
    """A line for each notebook and each script."""
    for path in sorted((ROOT / "examples" / "notebooks").glob("*.ipynb")):
        text = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        yield entry(path.relative_to(ROOT).as_posix(), text.partition("\n")[0].removeprefix("# "), first_sentence(text))
    for path in sorted((ROOT / "examples").glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        yield entry(path.relative_to(ROOT).as_posix(), path.stem.replace("_", " "), first_sentence("\n" + text))


def llms() -> str:
    """The contents of llms.txt."""
    sources = {page: path for path, page in pages().items() if path.endswith(".md")}
    known, parts = described(), [f"# electra\n\n> {summary()}", "Commands, layout and rules of the code: [AGENTS.md](AGENTS.md)."]
    for group in tomllib.loads(read("docs/zensical.toml"))["project"]["nav"]:
        for title, listed in group.items():
            names = [listed] if isinstance(listed, str) else [page for item in listed for page in item.values()]
            lines = []
            for path in (sources[name] for name in names if isinstance(name, str) and name in sources):
                text = re.sub(r"\A---\n.*?^---\n+", "", read(path), flags=re.M | re.S)  # without the card's fields
                lines.append(entry(path, text.partition("\n")[0].removeprefix("# "), known.get(path) or first_sentence(text)))
            parts.append("\n".join([f"## {title}", "", *lines])) if lines else None
    return "\n\n".join([*parts, "\n".join(["## Examples", "", *examples()])]) + "\n"


def main() -> int:
    """Write the files, or check them."""
    wrong = 0
    for name, made in (("AGENTS.md", agents()), ("llms.txt", llms())):
        path = ROOT / name
        if path.exists() and path.read_text(encoding="utf-8") == made:
            continue
        if "--check" in sys.argv[1:]:
            print(f"{name}: differs from its sources; run: python tools/overviews.py", file=sys.stderr)
            wrong = 1
        else:
            path.write_text(made, encoding="utf-8")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
