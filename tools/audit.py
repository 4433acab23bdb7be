"""Compares constraints.txt with the known vulnerabilities in osv.dev (advisories of PyPA and GitHub): exit code 1 if a pinned version has one.

    python tools/audit.py                            one request to api.osv.dev with all names and versions (`make audit`)
    python tools/audit.py --advisories all.zip       without a network: the PyPI file of osv.dev's public dump, or a folder of its JSON files

Where the service cannot be reached, it says so and ends with exit code 0: nothing was compared.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parent.parent
SERVICE = "https://api.osv.dev/v1/querybatch"
SECONDS = 30
ACCEPTED: dict[str, str] = {}
"""Id of an advisory -> why it does not concern electra. Empty: none is accepted."""
Found = dict[str, list[str]]
"""name==version -> ids of its advisories."""


def pins(text: str) -> dict[str, str]:
    """constraints.txt -> package -> version."""
    return dict(re.findall(r"^([a-z0-9.-]+)==([^\s;#]+)", text, re.M))


def asked(pinned: dict[str, str], service: str) -> Found:
    """What the service knows of these versions.

    Raises:
        OSError: it cannot be reached.
        ValueError: it answers something else.
    """
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in pinned.items()]
    request = urllib.request.Request(service, json.dumps({"queries": queries}).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=SECONDS) as reply:
        results = json.load(reply).get("results", [])
    if len(results) != len(queries):
        raise ValueError(f"{len(results)} answers to {len(queries)} questions")
    pairs = zip(pinned.items(), results, strict=True)
    return {f"{name}=={version}": ids for (name, version), result in pairs if (ids := [one["id"] for one in result.get("vulns", [])])}


def advisories(path: Path) -> Iterator[dict[str, Any]]:
    """The advisories of a zip or folder of JSON files in the form of OSV."""
    if path.is_dir():
        yield from (json.loads(file.read_text(encoding="utf-8")) for file in sorted(path.glob("*.json")))
        return
    with zipfile.ZipFile(path) as archive:
        yield from (json.loads(archive.read(name)) for name in archive.namelist() if name.endswith(".json"))


def concerns(affected: dict[str, Any], version: str) -> bool:
    """Whether a version is in an entry of `affected`: listed, or in one of its ranges."""
    if version in affected.get("versions", ()):
        return True
    ours = Version(version)
    for span in affected.get("ranges", ()):
        inside = False
        for event in span.get("events", ()) if span.get("type") == "ECOSYSTEM" else ():
            (kind, text), *_ = event.items()
            try:
                limit = Version("0" if text == "0" else text)
            except InvalidVersion:
                continue
            if kind == "introduced" and ours >= limit:
                inside = True
            elif (kind == "fixed" and ours >= limit) or (kind == "last_affected" and ours > limit):
                inside = False
        if inside:
            return True
    return False


def compared(pinned: dict[str, str], known: Iterable[dict[str, Any]]) -> Found:
    """The advisories that concern these versions."""
    out: Found = {}
    for entry in known:
        for affected in entry.get("affected", ()) if "withdrawn" not in entry else ():
            name = str(canonicalize_name(affected.get("package", {}).get("name", "")))
            of_pypi = affected.get("package", {}).get("ecosystem") == "PyPI"
            if of_pypi and name in pinned and concerns(affected, pinned[name]) and entry["id"] not in out.get(f"{name}=={pinned[name]}", []):
                out.setdefault(f"{name}=={pinned[name]}", []).append(entry["id"])
    return out


def main(argv: list[str] | None = None) -> int:
    """Print what is found, one package a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--constraints", type=Path, default=ROOT / "constraints.txt")
    parser.add_argument("--advisories", type=Path, help="a zip or folder of OSV's JSON files; nothing is sent")
    parser.add_argument("--service", default=SERVICE)
    options = parser.parse_args(argv)
    pinned = pins(options.constraints.read_text(encoding="utf-8"))
    try:
        found = compared(pinned, advisories(options.advisories)) if options.advisories else asked(pinned, options.service)
    except (OSError, ValueError) as error:
        if options.advisories:
            print(f"audit: {options.advisories} cannot be read ({error})", file=sys.stderr)
            return 2
        print(f"audit: NOT DONE, {options.service} cannot be reached ({error}); nothing was compared. Offline: --advisories", file=sys.stderr)
        return 0
    open_ = {pin: [name for name in ids if name not in ACCEPTED] for pin, ids in found.items()}
    for pin, ids in sorted(open_.items()):
        print(f"{pin}: {', '.join(f'https://osv.dev/{name}' for name in ids)}") if ids else None
    num = sum(map(len, open_.values()))
    print(f"audit: {len(pinned)} pinned versions, {num} known vulnerabilities, {sum(map(len, found.values())) - num} accepted")
    return 1 if num else 0


if __name__ == "__main__":
    sys.exit(main())
