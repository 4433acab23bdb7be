"""A library compiled by AOTInductor (model.pt2) run by PyTorch: the one artefact that needs torch, and the one that is a program.

It is loaded only where its hashes fit and the user trusts who built it (`electra.deploy.trust`). PyTorch's own reader,
`torch._inductor.aoti_load_package`, also unpickles whatever an archive has under models/, data/weights/ and data/constants/, without a bound on
what that may do; here an archive with any such file is refused, and only the reader of compiled libraries is called.
"""

from __future__ import annotations

import json
import platform
import threading
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electra.deploy.trust import require_trust
from electra.errors import UserError, require

Array = np.ndarray
MODEL = "model.pt2"
LIBRARY = "data/aotinductor/model/"
"""Where the compiled library and its description lie in the archive, below its first folder."""
PLAIN = ("archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id")
KINDS = (".so", ".cpp", ".json")
FLAGS = {"avx2": "avx2", "avx512": "avx512f", "amx": "amx_tile"}
"""AOTInductor's name of an instruction set -> Linux's, where they differ."""


def package_metadata(path: Path, name: str) -> dict[str, str]:
    """What an archive says of the machine it was compiled for, after its list of files was looked at; nothing of it is run or unpickled.

    Raises:
        UserError: no archive of a compiled library, or one that holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            inner = [info.filename.partition("/")[2] for info in archive.infolist()]
            for entry in inner:
                if entry not in PLAIN and not (entry.startswith(LIBRARY) and entry.endswith(KINDS) and "/" not in entry[len(LIBRARY) :]):
                    raise UserError(f"{name}: {MODEL} holds {entry[:80]!r}, which no library built here has; not opened")
            described = [info for info in archive.infolist() if info.filename.endswith("wrapper_metadata.json")]
            if not described or not any(entry.endswith(".so") for entry in inner):
                raise UserError(f"{name}: {MODEL} holds no compiled library; build it again")
            values = json.loads(archive.read(described[0]))
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{name}: {MODEL} cannot be read ({str(error)[:100]}); build it again") from None
    if not isinstance(values, dict) or not isinstance(values.get("AOTI_CPU_ISA", ""), str):
        raise UserError(f"{name}: {MODEL} does not say what it was compiled for; build it again")
    return {str(key): str(value) for key, value in values.items()}


def missing_instructions(wanted: str, flags: frozenset[str]) -> list[str]:
    """Instruction sets such as 'AVX512 AVX512_VNNI' -> those that a processor with these flags lacks."""
    return [one for one in wanted.split() if FLAGS.get(one.lower(), one.lower()) not in flags]


def cpu_flags() -> frozenset[str] | None:
    """This processor's flags in Linux's names; None where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((frozenset(line.partition(":")[2].split()) for line in lines if line.startswith(("flags", "Features"))), None)


class ExportedSession:
    """One loaded library: named inputs -> named outputs. One call at a time; further callers wait.

    Attributes:
        inputs, outputs: names, in the library's order.
        threads: how many compute an answer.
    """

    def __init__(
        self, folder: Path, *, inputs: Sequence[str], outputs: Sequence[str], options: Mapping[str, Any], threads: int = 0, name: str = ""
    ) -> None:
        """Load the library of a folder.

        Args:
            folder: has model.pt2.
            inputs, outputs: their names in order, which the library does not know.
            options: what building it recorded.
            threads: CPU threads of PyTorch; 0 leaves its choice.
            name: what messages call it.

        Raises:
            UserError: it is not trusted, was compiled for another machine or another torch, is damaged, or torch is missing.
        """
        name = name or str(folder)
        require_trust(name)
        metadata = package_metadata(folder / MODEL, name)
        self._limits = {key: _limit(options, key, name) for key in ("vocab_size", "type_vocab_size", "max_length")}
        torch = require("torch", "train")
        _refuse_other_machine(metadata, name)
        built, here = (".".join(str(version).split(".")[:2]) for version in (options.get("torch", ""), torch.__version__))
        if built != here:
            raise UserError(f"{name} was compiled with torch {built}, this is {here}; build it again here")
        if threads:
            torch.set_num_threads(threads)
        self.threads = torch.get_num_threads()
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self._torch = torch
        self._lock = threading.Lock()
        try:
            self._loader = torch._C._aoti.AOTIModelPackageLoader(str(folder / MODEL), "model", False, 1, -1)
        except RuntimeError as error:
            raise UserError(f"{name}: PyTorch cannot load its library ({str(error).splitlines()[0][:160]}); build it again here") from None

    def run(self, inputs: Mapping[str, Array], wanted: Sequence[str] = ()) -> dict[str, Array]:
        """Inputs by name -> outputs by name; `wanted`: these alone.

        Raises:
            UserError: an id, segment, position or length beyond the network's: the library itself would end the process.
        """
        self._check(inputs)
        tensors = [self._torch.from_numpy(np.ascontiguousarray(inputs[name], np.int64)) for name in self.inputs]
        with self._lock, self._torch.inference_mode():
            found = self._loader.run(tensors)
        return {name: value.numpy() for name, value in zip(self.outputs, found, strict=True) if name in (wanted or self.outputs)}

    def _check(self, inputs: Mapping[str, Array]) -> None:
        rows, length = inputs["input_ids"].shape
        largest = {"input_ids": self._limits["vocab_size"], "token_type_ids": self._limits["type_vocab_size"], "positions": rows * length}
        if length > self._limits["max_length"]:
            raise UserError(f"{length} tokens; this network reads at most {self._limits['max_length']}")
        for name in self.inputs:
            limit, values = largest.get(name), inputs[name]
            if limit is not None and values.size and not (values.min() >= 0 and values.max() < limit):
                raise UserError(f"{name} from {values.min()} to {values.max()}; this network knows 0 to {limit - 1}")


def _limit(options: Mapping[str, Any], key: str, name: str) -> int:
    value = options.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{name}: artefact.json has no usable build option {key}; it is damaged: build it again")
    return value


def _refuse_other_machine(metadata: Mapping[str, str], name: str) -> None:
    system, machine = metadata.get("AOTI_PLATFORM", ""), metadata.get("AOTI_MACHINE", "")
    if (system, machine) != (platform.system().lower(), platform.machine()) and (system or machine):
        raise UserError(
            f"{name} was compiled for {system} on {machine}, this is {platform.system().lower()} on {platform.machine()}; build it again here"
        )
    flags = cpu_flags()
    if flags is not None and (missing := missing_instructions(metadata.get("AOTI_CPU_ISA", ""), flags)):
        raise UserError(f"{name} was compiled for a processor with {' '.join(missing)}, which this one lacks; build it again here")
