"""Writes the table of docs/licences.md: every pinned package, what needs it, its licence by its own metadata.

    python tools/licences.py           write the table (part of `make docs`)
    python tools/licences.py --check   exit code 1 where the page differs (part of `make check`)

Both also end with 1 where a licence is not allowed, or a needed package is not pinned. Packages that are not installed (those of the extra
`wandb`, of other systems) keep their row.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
MARK = re.compile(r"(?<=^<!-- licences -->\n).*?(?=^<!-- end -->$)", re.M | re.S)
ALLOWED = set("Apache-2.0 MIT MIT-0 MIT-CMU BSD BSD-2-Clause BSD-3-Clause 0BSD ISC PSF-2.0 Zlib CC0-1.0 BSL-1.0 CNRI-Python MPL-2.0".split())
"""Compatible with Apache-2.0 where a package is used as it is. MPL-2.0 binds changes of the package's own files only."""
EXCEPTIONS = {"LLVM-exception"}
"""They permit more than their licence."""
NAMES = {
    "Apache-2.0": (
        "apache",
        "apache 2.0",
        "apache license 2.0",
        "apache 2.0 license",
        "apache software license",
        "osi approved :: apache software license",
    ),
    "BSD": ("bsd", "bsd license"),
    "BSD-2-Clause": ("bsd 2-clause license",),
    "BSD-3-Clause": ("bsd 3-clause license", "3-clause bsd license"),
    "ISC": ("isc license", "isc license (iscl)"),
    "MIT": ("mit license",),
    "MPL-2.0": ("mozilla public license 2.0 (mpl 2.0)",),
    "PSF-2.0": ("python software foundation license",),
}
"""Licence by SPDX -> what metadata of before SPDX calls it."""
LAST = ("dev", "wandb")
"""The last is rarely installed: no other row must depend on it."""
BY_NAME = {name: licence for licence, names in NAMES.items() for name in names}


def pinned() -> list[str]:
    """The names in constraints.txt."""
    return [line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line]


def licence(package: importlib.metadata.Distribution) -> str:
    """The licence of an installed package, an SPDX expression where it can be; '' where its metadata has none."""
    fields = package.metadata
    if expression := fields.get("License-Expression"):
        return str(expression)
    classified = [text.rpartition(" :: ")[2] for text in fields.get_all("Classifier") or [] if text.startswith("License :: OSI Approved :: ")]
    free = (fields.get("License") or "").strip()
    # A short free text is more exact than 'BSD License'; a long one is the licence itself.
    if free and len(free) < 60 and "\n" not in free and (spdx(free) or not classified):
        return BY_NAME.get(free.lower(), free)
    return " OR ".join(dict.fromkeys(BY_NAME.get(text.lower(), text) for text in classified))


def spdx(text: str) -> bool:
    """Whether every name of an expression is one that is known here."""
    return all(BY_NAME.get(text.lower(), word) in ALLOWED | EXCEPTIONS for word in re.split(r" (?:AND|OR|WITH) ", text))


def allowed(expression: str) -> bool:
    """Whether the licence that `expression` offers is among the allowed ones: each part of an AND, one choice of an OR."""
    parts = expression.replace("(", "").replace(")", "").split(" AND ")
    return all(any(choice.partition(" WITH ")[0] in ALLOWED for choice in part.split(" OR ")) for part in parts)


def required(requirement: str, seen: set[tuple[str, str]]) -> Iterator[str]:
    """The names of a requirement and of all that it needs on this machine."""
    wanted = Requirement(requirement)
    name = str(canonicalize_name(wanted.name))
    for extra in ("", *sorted(wanted.extras)):
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        yield name
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for line in needed:
            below = Requirement(line)
            base = below.marker is None or below.marker.evaluate({"extra": ""})
            if base if not extra else (not base and below.marker is not None and below.marker.evaluate({"extra": extra})):
                yield from required(line, seen)


def needed() -> dict[str, list[str]]:
    """Package -> the extras of electra that need it, directly or not; 'base' without an extra, those of `LAST` only where no other does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = {"base": project["project"]["dependencies"], **project["project"]["optional-dependencies"]}
    extras |= {name: extras.pop(name) for name in LAST}
    extras["dev"] = [*extras["dev"], *project["build-system"]["requires"]]
    out: dict[str, list[str]] = {}
    for extra, lines in extras.items():
        seen: set[tuple[str, str]] = set()
        for name in dict.fromkeys(name for line in lines if not line.startswith("electra[") for name in required(line, seen)):
            if "base" not in out.get(name, []) and (extra not in LAST or name not in out):
                out.setdefault(name, []).append(extra)
    return out


def main() -> int:
    """Write the table, or check it."""
    page = PAGE.read_text(encoding="utf-8")
    old = {match[1]: match[0] for match in re.finditer(r"^\| ([a-z0-9-]+) \|.*$", page, re.M)}
    users, rows, problems = needed(), [], []
    problems += [f"{name}: needed by {', '.join(users[name])}, not in constraints.txt" for name in sorted(set(users) - {*pinned(), "electra"})]
    for name in pinned():
        try:
            found = licence(importlib.metadata.distribution(name))
        except importlib.metadata.PackageNotFoundError:
            row = old.get(name, "")
            found = row.split(" | ")[2].rstrip(" |") if row else ""
        else:
            row = f"| {name} | {', '.join(users.get(name, ['another system']))} | {found} |"
        rows.append(row)
        if not allowed(found):
            problems.append(f"{name}: licence '{found}' is not among the allowed ones (tools/licences.py)")
    made = MARK.sub("\n".join(["| package | needed by | licence |", "|---|---|---|", *filter(None, rows), ""]), page)
    if made != page and "--check" in sys.argv[1:]:
        problems.append("docs/licences.md: differs from the installed packages; run: python tools/licences.py")
    elif made != page:
        PAGE.write_text(made, encoding="utf-8")
    print("\n".join(problems) or f"docs/licences.md: {len(rows)} packages", file=sys.stderr if problems else sys.stdout)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
