"""A record of the bench -> its markdown: goals met or missed, one table per section, figures of others."""

from __future__ import annotations

import importlib
from typing import Any

from section import table

SECTIONS = {
    "machine": "machine_limits",
    "pretraining": "throughput",
    "length": "length",
    "prepare": "prepare",
    "finetuning": "finetuning",
    "inference": "deployment",
    "embedding": "embedding",
    "serving": "serving",
    "startup": "startup",
    "scaling": "scaling",
    "gpu": "gpu",
}
"""Section -> the module of this folder that measures it, in the order they run."""
QUOTED = (
    ("original TensorFlow code, small, 32 x 128, two AVX-512 cores", "about 1,000 tokens/s of training"),
    ("original's Python tokenizer, the same cores", "about 0.2 MB/s of English text"),
    ("paper, small on a V100", "about 47,000 tokens/s"),
    ("NVIDIA's ELECTRA-Base, sequence 128, one A100", "955 sequences/s (122,000 tokens/s)"),
)
"""Figures of others, not measured here."""


def module(name: str) -> Any:
    """A section's module."""
    return importlib.import_module(SECTIONS[name])


def to_markdown(record: dict[str, Any]) -> str:
    """The whole record."""
    machine, sections = record["machine"], record["sections"]
    done = [name for name in SECTIONS if sections.get(name, {}).get("state") == "done"]
    memory = f", {machine['memory_bytes'] / 2**30:.0f} GiB" if "memory_bytes" in machine else ""
    out = [f"# Bench, {record['date']}", ""]
    out += [
        f"{machine['processor']} ({', '.join(machine['instruction_set'])}), {machine['cores']} cores{memory}"
        + (f", {gpu}" if (gpu := machine.get("gpu")) else "")
    ]
    out[-1] += f"; load average before: {machine.get('load_before', ['-'])[0]}. Ours: {versions(machine['versions'])}; commit {record['commit']}."
    for which, found in record["peers"].items():
        out[-1] += f" {which.capitalize()}: {versions(found['versions']) if 'versions' in found else 'none, ' + found['problem']}."
    if record["options"]["quick"]:
        out += ["", "**A quick run: tiny shapes, few turns. It shows that the bench runs; no figure here means anything.**"]
    verdicts = [target for name in done for target in module(name).targets(sections[name]["result"])]
    if verdicts:
        out += ["", "## Targets", ""]
        out += table(("what", "goal", "measured", ""), ([each.what, each.asked, each.shown, each.verdict] for each in verdicts))
    for name in SECTIONS:
        found = sections.get(name)
        if found is None:
            continue
        out += ["", f"## {name}", ""]
        if found["state"] != "done":
            out += [f"{'Not run' if found['state'] == 'skipped' else 'Failed'}: {found['why']}."]
            continue
        out += module(name).lines(found["result"])
        out += ["", f"{found['seconds']:,.0f} s; load average before {found['load_before']:.1f}, after {found['load_after']:.1f}."]
        if found["commit"] != record["commit"]:
            out[-1] += f" Measured at commit {found['commit']}."
    out += ["", "## Quoted, not run here", "", *table(("what", "figure"), QUOTED)]
    return "\n".join(out) + "\n"


def versions(found: dict[str, str]) -> str:
    """Names and versions in a line."""
    return ", ".join(f"{name} {version}" for name, version in found.items())
