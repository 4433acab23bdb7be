"""Every parser of strangers' bytes: changed inputs, and every input that once was a fault, are read as the reference reads them or refused in time.

`make fuzz` runs the same table for longer, guided by coverage (tests/fuzz/run.py).
"""

from __future__ import annotations

import mmap
import random
from pathlib import Path

import pytest
from fuzz import limits
from fuzz.limits import judge
from fuzz.mutations import mutate
from fuzz.targets import TARGETS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from electra.errors import UserError, parse_json

KEPT = sorted((Path(__file__).parent / "corpus").glob("*/*"))
PATIENCE = 20.0
"""Times the limit of a run: here other tests may have the processor."""


@pytest.mark.parametrize("name", TARGETS)
def test_changed_inputs_are_read_or_refused(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    for seed in seeds:
        found = judge(target.check, seed, slack=PATIENCE, memory=False)
        assert not found.crash, f"{found.crash}\n{seed[:300]!r}\n{found.trace}"

    @settings(
        max_examples=12,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(st.sampled_from(seeds), st.integers(0, 2**32))
    def changed(seed: bytes, number: int) -> None:
        data = mutate(seed, random.Random(number), target.words)
        found = judge(target.check, data, slack=PATIENCE)
        assert not found.crash, f"{found.crash}\n{data[:300]!r}\n{found.trace}"

    changed()


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_a_fault_is_none_any_more(path: Path) -> None:
    target = TARGETS[path.parent.name]
    check, data = target.check, path.read_bytes()
    judge(check, target.seeds()[0], memory=False)  # imports
    found = judge(check, data, slack=PATIENCE)
    assert not found.crash, f"{found.crash}\n{found.trace}"


def test_faults_are_seen() -> None:
    def wrong(data: bytes) -> None:
        raise limits.Wrong("rows differ from the reference")

    def refused(data: bytes) -> None:
        raise UserError(data.decode())

    def large(data: bytes) -> None:
        # Memory that Python freed before would be taken again, and the peak stay where it was.
        with mmap.mmap(-1, 300 << 20) as area:
            for _ in range(300):
                area.write(bytes(1 << 20))

    def slow(data: bytes) -> None:
        sum(range(60_000_000))

    assert judge(wrong, b"").crash == "Wrong in tests: rows differ from the reference"
    assert judge(refused, b"no").refused and not judge(refused, b"no").crash and judge(refused, b" ").crash
    assert judge(lambda data: parse_json(data.decode()), b"{").crash == "JSONDecodeError in errors.py:parse_json"
    assert judge(large, b"").crash == "more than 256 MB"
    assert judge(slow, b"", slack=0.01).crash == "more than 1 s"


def test_mutations_are_repeatable_and_bounded() -> None:
    for number in range(300):
        first, second = (mutate(b'{"a": [1, 2]}\n' * 20, random.Random(number), (b"word",), 4000) for _ in range(2))
        assert first == second and len(first) <= 4000


def test_every_target_says_what_it_covers() -> None:
    for name, target in TARGETS.items():
        assert len(target.covers) > 40 and target.covers.endswith("."), name
        assert all((limits.PACKAGE / module).is_file() for module in target.modules), name


def test_nesting_is_refused_as_other_text_that_is_not_json() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)
