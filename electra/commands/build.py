"""electra build: checkpoint -> artifact, for a target."""

from __future__ import annotations

import json

from electra import api
from electra.settings import BuildSettings
from electra.terminal import data_size


def run(settings: BuildSettings) -> None:
    """Build and report; of target 'auto' also why not the others."""
    found = api.build(settings)
    if settings.json:
        print(json.dumps(dict(found.manifest), ensure_ascii=False))
    elif found.reason:
        for name, reason in found.dropped.items():
            print(f"  {name:<18}{reason}")
        print(f"{found.path}: {found.target}, {found.reason}; all measurements are in its artefact.json")
    elif settings.layout == "hub":
        seconds, formats = found.manifest["build"]["seconds"], ", ".join(found.manifest["build"]["options"]["dtypes"])
        print(f"{found.path}: {found.manifest['role']} for transformers.js and optimum in {formats}, built in {seconds:.0f} s")
    else:
        seconds = found.manifest["build"]["seconds"]
        print(f"{found.path}: {found.manifest['role']} for {found.target}, {data_size(found.size_bytes)}, built in {seconds:.0f} s")
