"""A library compiled by AOTInductor (model.pt2) run by PyTorch: the one artefact that needs torch, and the one that is a program.

It is loaded only where its hashes fit and the user trusts who built it (`electra.inference.aoti_runtime`). PyTorch's own reader,
`torch._inductor.aoti_load_package`, also unpickles whatever an archive has under models/, data/weights/ and data/constants/, without a bound on
what that may do; here an archive with any such file is refused, and only the reader of compiled libraries is called.
"""

from __future__ import annotations

import atexit
import json
import os
import platform
import threading
import weakref
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from electra.errors import UserError, require

# ---- Whether native code in an artefact may run: only where the user said so ----


VARIABLE = "ELECTRA_TRUST"
"""Environment variable: '1' lets native code of artefacts run, in this process and in those it starts."""


def is_trusting() -> bool:
    """Whether native code may run."""
    return os.environ.get(VARIABLE, "") == "1"


def require_trust(name: str) -> None:
    """Nothing, when native code may run.

    Raises:
        UserError: it may not; the flag is part of the message.
    """
    if not is_trusting():
        raise UserError(
            f"{name} holds native code (target torch-export), which would run with your rights; "
            f"if you trust who built it: electra --trust COMMAND ..., or {VARIABLE}=1"
        )


def trust() -> None:
    """Let native code run from now on."""
    os.environ[VARIABLE] = "1"


@contextmanager
def trusting() -> Iterator[None]:
    """Let native code run meanwhile: for what was built a moment ago."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


Array = np.ndarray
MODEL, FACTS = "model.pt2", "model.json"
LIBRARY = "data/aotinductor/model/"
"""Where the compiled library and its description lie in the archive, below its first folder."""
PLAIN = ("archive_format", "archive_version", "byteorder", ".data/version", ".data/serialization_id")
KINDS = (".so", ".cpp", ".json")
FLAGS = {"avx2": "avx2", "avx512": "avx512f", "amx": "amx_tile"}
"""AOTInductor's name of an instruction set -> Linux's, where they differ."""


def package_metadata(path: Path) -> dict[str, str]:
    """What an archive says of the machine it was compiled for, after its list of files was looked at; nothing of it is run or unpickled.

    Raises:
        UserError: no archive of a compiled library, or one that holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            inner = [info.filename.partition("/")[2] for info in archive.infolist()]
            for entry in inner:
                if entry not in PLAIN and not (entry.startswith(LIBRARY) and entry.endswith(KINDS) and "/" not in entry[len(LIBRARY) :]):
                    raise UserError(f"{path} holds {entry[:80]!r}, which no library built here has; not opened")
            described = [info for info in archive.infolist() if info.filename.endswith("wrapper_metadata.json")]
            if not described or not any(entry.endswith(".so") for entry in inner):
                raise UserError(f"{path} holds no compiled library; build it again")
            values = json.loads(archive.read(described[0]))
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{path} cannot be read ({str(error)[:100]}); build it again") from None
    if not isinstance(values, dict) or not isinstance(values.get("AOTI_CPU_ISA", ""), str):
        raise UserError(f"{path} does not say what it was compiled for; build it again")
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


class ExportedRunner:
    """One loaded library. One call at a time; further callers wait.

    Attributes:
        threads: how many compute an answer.
    """

    def __init__(self, loader: Any, facts: Mapping[str, Any], torch: Any) -> None:
        self.threads = int(torch.get_num_threads())
        self._loader, self._facts, self._torch = loader, facts, torch
        self._lock = threading.Lock()
        # The loader unpacks the library into /tmp, and removes it when it goes: which objects alive at the end of a process never do.
        atexit.register(_release, weakref.ref(self))

    def __call__(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> list[Array]:
        """See `electra.inference.backends.Runner`.

        Raises:
            UserError: an id, segment, position or length beyond the network's: the library itself would end the process.
        """
        self._check(inputs)
        tensors = [self._torch.from_numpy(np.ascontiguousarray(inputs[name], np.int64)) for name in self._facts["inputs"]]
        with self._lock, self._torch.inference_mode():
            found = dict(zip(self._facts["outputs"], self._loader.run(tensors), strict=True))
        return [found[name].numpy() for name in wanted]

    def _check(self, inputs: Mapping[str, Array]) -> None:
        rows, length = inputs["input_ids"].shape
        most = self._facts["max_length"]
        if not self._facts["min_length"] <= length <= most:
            raise UserError(f"{length} tokens; this network reads {self._facts['min_length']} to {most}")
        largest = {"input_ids": self._facts["vocab_size"], "token_type_ids": self._facts["type_vocab_size"], "positions": rows * length}
        for name, limit in largest.items():
            values = inputs.get(name)
            if values is not None and values.size and not (values.min() >= 0 and values.max() < limit):
                raise UserError(f"{name} from {values.min()} to {values.max()}; this network knows 0 to {limit - 1}")


def _release(runner: weakref.ref[ExportedRunner]) -> None:
    if (alive := runner()) is not None:
        alive._loader = None


def open_runner(folder: Path, threads: int = 0) -> ExportedRunner:
    """The model.pt2 of a folder, ready; `threads` 0 leaves PyTorch's choice.

    Raises:
        UserError: it is not trusted, was compiled for another machine or another torch, is damaged, or torch is missing.
    """
    name = str(folder / MODEL)
    require_trust(name)
    metadata, facts = package_metadata(folder / MODEL), _read_facts(folder / FACTS)
    torch = require("torch", "train")
    _refuse_other_machine(metadata, name)
    built, here = (".".join(str(version).split(".")[:2]) for version in (facts["torch"], torch.__version__))
    if built != here:
        raise UserError(f"{name} was compiled with torch {built}, this is {here}; build it again here")
    if threads:
        torch.set_num_threads(threads)
    try:
        loader = torch._C._aoti.AOTIModelPackageLoader(name, "model", False, 1, -1)
    except RuntimeError as error:
        raise UserError(f"{name}: PyTorch cannot load its library ({str(error).splitlines()[0][:160]}); build it again here") from None
    return ExportedRunner(loader, facts, torch)


def _read_facts(path: Path) -> dict[str, Any]:
    """What the library does not know of itself."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        sizes = [values[key] for key in ("vocab_size", "type_vocab_size", "min_length", "max_length")]
        names = [*values["inputs"], *values["outputs"], values["torch"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is missing or damaged ({type(error).__name__}); build it again") from None
    if not all(isinstance(size, int) and size > 0 for size in sizes) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path} is damaged; build it again")
    return dict(values)


def _refuse_other_machine(metadata: Mapping[str, str], name: str) -> None:
    system, machine = metadata.get("AOTI_PLATFORM", ""), metadata.get("AOTI_MACHINE", "")
    if (system, machine) != (platform.system().lower(), platform.machine()) and (system or machine):
        raise UserError(
            f"{name} was compiled for {system} on {machine}, this is {platform.system().lower()} on {platform.machine()}; build it again here"
        )
    flags = cpu_flags()
    if flags is not None and (missing := missing_instructions(metadata.get("AOTI_CPU_ISA", ""), flags)):
        raise UserError(f"{name} was compiled for a processor with {' '.join(missing)}, which this one lacks; build it again here")
