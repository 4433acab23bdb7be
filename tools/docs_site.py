"""The documentation as a site: its pages, the reference from docstrings, the examples -> site/, every link in it checked (`make docs`).

python tools/docs_site.py            build site/; exit code 1 and one line for each broken link
python tools/docs_site.py --check    the same in a temporary folder

The pages are those of the repository, so that they read as well without the site: links between them are rewritten, and a file that a page links
to (a record, an example) is copied. docs/zensical.toml has the order of the pages and the look.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import griffe

from electra import cli, command_line, config, settings

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "ops/README.md": "ops.md",
    "electra/bundled/README.md": "bundled-models.md",
    ".github/pull_request_template.md": "pull-request.md",
    "AGENTS.md": "agents.md",
    "bench/README.md": "bench.md",
    "examples": "examples.md",
}
"""Path in the repository -> page of the site, besides docs/*.md."""
FILES = "files/"
"""Folder of the site with the files that pages link to."""
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
CODE = re.compile(r"^```.*?^```[^\n]*$|`[^`\n]*`", re.M | re.S)


# ---- the repository's pages ----


def pages(root: Path = ROOT) -> dict[str, str]:
    """Path in the repository -> page of the site."""
    return {f"docs/{path.name}": path.name for path in sorted((root / "docs").glob("*.md"))} | ELSEWHERE


class Source:
    """The folder that Zensical reads."""

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        """Empty, in a new `folder`; `root`: the repository."""
        self.folder, self.root, self.pages = folder, root, pages(root)

    def write(self, name: str, text: str) -> None:
        """A page."""
        place = self.folder / "pages" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def moved(self, link: str, page: str, place: str) -> str:
        """A link of the repository's `page` -> the same in the site, where the page is at `place`; the file it leads to is copied."""
        path, hash_sign, anchor = link.partition("#")
        if not path or urlsplit(link).scheme:
            return link
        target = os.path.normpath(PurePosixPath(page).parent / path)
        if (moved := self.pages.get(target)) is None:
            moved = target.removeprefix("docs/") if target.startswith("docs/images/") else FILES + target
            if (self.root / target).is_file():
                (self.folder / "pages" / moved).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.root / target, self.folder / "pages" / moved)
        return os.path.relpath(moved, PurePosixPath(place).parent) + hash_sign + anchor

    def copy(self, page: str) -> None:
        """Write a page of the repository, its links rewritten."""
        place, text, out, end = self.pages[page], (self.root / page).read_text(encoding="utf-8"), [], 0
        for code in [*CODE.finditer(text), None]:
            until = len(text) if code is None else code.start()
            out.append(LINK.sub(lambda found: self.moved(found[1], page, place), text[end:until]))
            if code is not None:
                # On GitHub a bar in the code of a table is escaped, here it is not.
                out.append(code[0] if code[0].startswith("```") else code[0].replace("\\|", "|"))
                end = code.end()
        self.write(place, "".join(out))


def examples(source: Source) -> str:
    """The page of the scripts in examples/, with their code, and of the notebooks."""
    out = ["# Examples", "", "Each script runs from a clone with the package installed; its first lines say how.", ""]
    for path in sorted((source.root / "examples").glob("*.py")):
        code = path.read_text(encoding="utf-8")
        title = (ast.get_docstring(ast.parse(code)) or path.stem).splitlines()[0]
        out += [f"## {path.stem.replace('_', ' ').capitalize()}", "", title, "", "```python", code.rstrip(), "```", ""]
    notebooks = sorted((source.root / "examples" / "notebooks").glob("*.ipynb"))
    if notebooks:
        out += ["## Notebooks", ""]
        for path in notebooks:
            link = source.moved(f"notebooks/{path.name}", "examples/README.md", "examples.md")
            out.append(f"- [{path.stem.replace('_', ' ').capitalize()}]({link})")
    return "\n".join(out) + "\n"


# ---- commands and settings ----


def _text(text: str) -> str:
    """Plain words of a help text -> Markdown that shows them as they are."""
    return re.sub(r"docs/([\w-]+)\.md", r"[\1](../../\1.md)", re.sub(r"([<*_\[\]])", r"\\\1", text))


def _cell(text: str) -> str:
    """The same, in a cell of a table; what is in backticks stays."""
    parts = text.replace("\n", " ").split("`")
    return "`".join(part if i % 2 else _text(part).replace("|", "\\|") for i, part in enumerate(parts))


def _row(action: argparse.Action) -> str:
    """A flag: how it is typed, its key in a settings file, what it means and its default."""
    words = ", ".join(action.option_strings) or str(action.metavar)
    if action.option_strings and action.nargs != 0:
        value = "|".join(map(str, action.choices)) if action.choices else str(action.metavar)
        words += f" {value}{' ...' if action.nargs == '+' else ''}"
    return f"| `{words}` | {_cell((action.help or '').replace('%%', '%'))} | `{action.dest}` |"


def flags(cls: type, prog: str) -> Iterator[str]:
    """The tables of a command's settings: those that people change most often, then the others, then those of settings files alone."""
    often = {action.dest for action in command_line.parser(cls, prog)._actions if action.help != argparse.SUPPRESS}
    groups = command_line.parser(cls, prog, everything=True)._action_groups
    every = [action for group in groups for action in group._group_actions if action.help != argparse.SUPPRESS]
    header = "| flag | meaning | in a settings file |\n|---|---|---|\n"
    for wanted, title in ((True, "Settings"), (False, "Further settings")):
        if rows := [_row(action) for action in every if (action.dest in often) == wanted and not action.dest.startswith("help")]:
            yield f"## {title}\n\n{header}" + "\n".join(rows) + "\n"
    alone = [
        (".".join(path), config.field_help(owner).get(field.name, "")) for path, owner, field in config.leaves(cls) if field.metadata.get("toml_only")
    ]
    if alone:
        yield "## Only in a settings file\n\n| key | meaning |\n|---|---|\n" + "\n".join(f"| `{key}` | {_cell(text)} |" for key, text in alone) + "\n"


def command(name: str) -> str:
    """The page of a command."""
    known = cli.COMMANDS[name]
    cls = getattr(settings, known.settings)
    made = command_line.parser(cls, f"electra {name}")
    out = [f"# electra {name}", "", _text(made.description or ""), "", "```sh", made.usage or "", "```", ""]
    presets, _, listed = (made.epilog or "").partition("examples:\n")
    if presets:
        rows = [re.split(r" {2,}", line.strip(), maxsplit=1) for line in presets.splitlines()[1:] if line.strip()]
        out += ["## Presets", "", "| preset | what it is |", "|---|---|", *(f"| `{row[0]}` | {_cell(row[-1])} |" for row in rows), ""]
    if listed:
        out += ["## Examples", "", "```sh", *(line.removeprefix("  ") for line in listed.splitlines()), "```", ""]
    return "\n".join([*out, *flags(cls, f"electra {name}")])


# ---- Python ----


def _signature(found: griffe.Function, name: str) -> str:
    """A function as it is called, one parameter per line where it is long."""
    words = []
    parameters = [each for each in found.parameters if each.name not in ("self", "cls")]
    keyword_only = False
    for each in parameters:
        stars = {griffe.ParameterKind.var_keyword: "**", griffe.ParameterKind.var_positional: "*"}.get(each.kind, "") if each.kind else ""
        if each.kind == griffe.ParameterKind.keyword_only and not keyword_only and not any(word.startswith("*") for word in words):
            words.append("*")
        keyword_only |= each.kind == griffe.ParameterKind.keyword_only
        default = f" = {each.default}" if each.default is not None and not stars else ""
        words.append(f"{stars}{each.name}{f': {each.annotation}' if each.annotation else ''}{default}")
    returns = f" -> {found.returns}" if found.returns else ""
    line = f"{name}({', '.join(words)}){returns}"
    return line if len(line) <= 100 else f"{name}(\n    " + ",\n    ".join(words) + f",\n){returns}"


def _documented(docstring: griffe.Docstring | None) -> list[str]:
    """A docstring in Google's form -> Markdown."""
    out: list[str] = []
    for section in docstring.parsed if docstring else ():
        if section.kind == griffe.DocstringSectionKind.text:
            out += [re.sub(r"((?:^ {4}.*\n?|^\n)+)", _as_block, str(section.value) + "\n", flags=re.M).rstrip(), ""]
            continue
        if not isinstance(section.value, list):
            continue
        out += [f"*{section.kind.value.capitalize()}*", ""]
        if section.kind == griffe.DocstringSectionKind.examples:
            for kind, text in section.value:
                out += [text, ""] if kind == griffe.DocstringSectionKind.text else ["```python", text, "```", ""]
            continue
        for item in section.value:
            name = getattr(item, "name", None) or (str(item.annotation) if getattr(item, "annotation", None) else "")
            out.append(f"- {f'`{name}`: ' if name else ''}{' '.join(str(item.description).split())}")
        out.append("")
    return out


def _as_block(found: re.Match[str]) -> str:
    text = found[1]
    if not text.strip():
        return text
    return "\n```python\n" + "\n".join(line.removeprefix("    ") for line in text.strip("\n").splitlines()) + "\n```\n\n"


def _own(docstring: griffe.Docstring | None) -> str:
    return " ".join(docstring.value.split()) if docstring else ""


def _of_class(found: griffe.Class, name: str) -> list[str]:
    """A class: its fields and properties as a table, its methods below."""
    out = [f"### {name}", "", *_documented(found.docstring)]
    attributes = [each for each in found.members.values() if each.is_attribute and each.docstring and not each.name.startswith("_")]
    if attributes:
        out += ["| attribute | type | |", "|---|---|---|"]
        out += [
            f"| `{each.name}` | {_cell(f'`{each.annotation}`') if each.annotation else ''} | {_cell(_own(each.docstring))} |" for each in attributes
        ]
        out += [""]
    for each in found.members.values():
        if each.is_function and each.docstring and (not each.name.startswith("_") or each.name == "__call__"):
            assert isinstance(each, griffe.Function)
            out += [f"#### {name}.{each.name}", "", "```python", _signature(each, each.name), "```", "", *_documented(each.docstring)]
    return out


def python() -> str:
    """The page of the Python API: what `import electra` offers."""
    import electra

    package = griffe.load("electra", search_paths=[ROOT], docstring_parser="google")
    assert isinstance(package, griffe.Module)
    out = ["# Python", "", *_documented(package.docstring)]
    classes: list[str] = []
    functions: list[str] = []
    for name in electra.__all__:
        found = package[f"{electra._MODULES[name].removeprefix('electra.')}.{name}"]
        found = found.final_target if found.is_alias else found
        if isinstance(found, griffe.Class):
            classes += _of_class(found, name)
        else:
            functions += [f"### electra.{name}", "", "```python", _signature(found, name), "```", "", *_documented(found.docstring)]
    text = "\n".join([*out, "## Functions", "", *functions, "## Classes", "", *classes])
    # A command that a docstring names has a page.
    return re.sub(r"`electra (\w+)`", lambda m: f"[`electra {m[1]}`](commands/{m[1]}.md)" if m[1] in cli.COMMANDS else m[0], text) + "\n"


# ---- the site ----


def write_source(folder: Path) -> None:
    """Everything that Zensical reads."""
    source = Source(folder)
    for page in source.pages:
        if page.endswith(".md"):
            source.copy(page)
    source.write("examples.md", examples(source))
    source.write("reference/python.md", python())
    for name in cli.COMMANDS:
        source.write(f"reference/commands/{name}.md", command(name))
    listed = ", ".join(f'{{ "{name}" = "reference/commands/{name}.md" }}' for name in cli.COMMANDS)
    text = (ROOT / "docs" / "zensical.toml").read_text(encoding="utf-8")
    (folder / "zensical.toml").write_text(text.replace('"COMMANDS"', f"[ {listed} ]"), encoding="utf-8")


def build(target: Path) -> list[str]:
    """Build the site into `target`, which is replaced -> what is wrong with it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_source(folder)
        command_line_ = [str(Path(sys.executable).with_name("zensical")), "build", "--clean"]
        done = subprocess.run(command_line_, cwd=folder, env=os.environ | {"NO_COLOR": "1"}, capture_output=True, text=True)
        if done.returncode:
            return [f"zensical: {line}" for line in (done.stdout + done.stderr).splitlines()[-20:]]
        shutil.rmtree(target, ignore_errors=True)
        shutil.move(folder / "site", target)
    return problems(target)


class _Page(HTMLParser):
    """The anchors and links of a page of the site."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") not in ("canonical", "prev", "next", "alternate"):
            self.fetched.append(values.get("href", ""))
        elif "src" in values:
            self.fetched.append(values["src"])


def problems(site: Path) -> list[str]:
    """What is wrong with the links of a built site, a line each: pages and anchors that do not exist, files fetched from outside."""
    found = {path: _Page(path) for path in sorted(site.rglob("*.html"))}
    out = []
    for path, page in found.items():
        if path.name == "404.html":
            continue
        where = path.relative_to(site)
        out += [f"{where}: fetches {link} from outside" for link in page.fetched if urlsplit(link).netloc]
        for link in [*page.links, *page.fetched]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path if not parts.path else Path(os.path.normpath(path.parent / unquote(parts.path)))
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                out.append(f"{where}: {link} leads nowhere")
            elif parts.fragment and target in found and unquote(parts.fragment) not in found[target].anchors | {"__top"}:
                out.append(f"{where}: {link}: no such title")
    return out


def main() -> int:
    """Build, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="build in a temporary folder and report what is wrong")
    parser.add_argument("--output", type=Path, default=ROOT / "site", help="folder of the site; it is replaced (default: site)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "site" if given.check else given.output
        found = build(target)
        number = len(list(target.rglob("*.html")))
    print("\n".join(found) or f"{'the site' if given.check else given.output}: {number} pages, every link leads somewhere")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
