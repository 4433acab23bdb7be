"""How much one request may ask for, and how many requests are taken at a time. Every limit is a flag of 'electra serve'."""

from __future__ import annotations

from dataclasses import dataclass

from electra.errors import UserError
from electra.settings import ServeSettings


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server takes. The defaults are those of the command line."""

    max_body_bytes: int = 2_000_000
    max_texts: int = 32
    max_tokens: int = 16_384
    max_requests: int = 256
    max_queue: int = 512
    max_batch_tokens: int = 4_096
    max_wait_ms: float = 2.0
    timeout: float = 30.0


def limits_of(settings: ServeSettings) -> Limits:
    """Settings -> limits that make sense together.

    Raises:
        UserError: one that is not above zero, or a queue that is too short for one request.
    """
    values = {name: getattr(settings, name) for name in Limits.__dataclass_fields__}
    for name, value in values.items():
        if value < 0 or (value == 0 and name != "max_wait_ms"):
            raise UserError(f"--{name.replace('_', '-')} {value}: expected a number above 0")
    if settings.max_queue < settings.max_texts:
        raise UserError(
            f"--max-queue {settings.max_queue} is below --max-texts {settings.max_texts}: a request of that many texts would never be taken; raise it"
        )
    return Limits(**values)
