"""A server's models with their queues, and the way of one request through them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from electra.errors import UserError, did_you_mean
from electra.inference.text_io import Text
from electra.serve.batch_scheduler import Batcher
from electra.serve.limits import CLIENT_GONE, Limits, Refused
from electra.serve.models import Model
from electra.serve.observability import Metrics, RequestLog
from electra.serve.operations import Cost, Operation, truncated

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
LONG_REQUEST = 8_192
"""Characters; the tokens of more are counted in a thread, so that other requests are heard meanwhile."""
WRITTEN_PER_TOKEN = 64
"""An answer may have this many tokens or numbers for each token of --max-tokens."""


@dataclass
class Passage:
    """One request on its way: what the log and the metrics will say of it."""

    receive: Receive
    deadline: float
    started: float = field(default_factory=time.monotonic)
    model: str | None = None
    texts: int = 0
    tokens: int = 0
    shown: list[str] | None = None
    reason: str | None = None
    """Why it was refused."""

    async def left(self) -> None:
        """Return when the client has gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


class Serving:
    """Models by name, the first at the root; their queues, limits, metrics and log."""

    def __init__(self, models: dict[str, Model], limits: Limits, *, token: str | None = None, log: RequestLog | None = None) -> None:
        self.models = models
        self.limits = limits
        self.token = token.encode() if token else None
        self.log = log or RequestLog()
        self.metrics = Metrics()
        self.batchers = {name: Batcher(name, model.run, limits, self.metrics) for name, model in models.items()}
        self.closing = False
        self._counting = ThreadPoolExecutor(1, thread_name_prefix="count tokens")

    def start(self) -> None:
        """Start the models' threads."""
        for batcher in self.batchers.values():
            batcher.start()

    def close(self) -> None:
        """Take no more requests; what was taken is still answered."""
        self.closing = True
        for batcher in self.batchers.values():
            batcher.close()

    def stop(self) -> None:
        """Answer what waits, then end the threads."""
        self.close()
        for batcher in self.batchers.values():
            batcher.stop()
        self._counting.shutdown(wait=False, cancel_futures=True)

    @property
    def healthy(self) -> bool:
        """Whether requests are taken and every model's thread runs."""
        return not self.closing and all(batcher.alive for batcher in self.batchers.values())

    def find(self, name: str | None) -> Model:
        """A model by name, or the first.

        Raises:
            Refused: 404, there is none of that name.
        """
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Refused(404, f"no model '{name[:64]}' is served here; {did_you_mean(name[:64], self.models)}", "model")
        return self.models[name]

    async def ask(self, passage: Passage, model: Model, operation: Operation, items: Sequence[Any], *, truncate: bool = False) -> list[Any]:
        """Texts of one request -> their answers, in order.

        Raises:
            Refused: the model cannot answer that (424), too much at once (413), no room (429), closing (503), too late (504), nobody waits (499),
                or the texts cannot be answered (422).
        """
        passage.model = model.name
        passage.shown = self.log.quoted([" ".join(filter(None, _parts(item))) for item in items])
        self._check(model, operation, items)
        batcher = self.batchers[model.name]
        batcher.check_room(len(items))
        measured = await self._measure(passage, model, operation, items, truncate)
        read, written = sum(cost.read for _, cost in measured), sum(cost.written for _, cost in measured)
        passage.texts, passage.tokens = len(items), sum(cost.tokens for _, cost in measured)
        if read > self.limits.max_tokens:
            raise Refused(413, f"{read} tokens to read, at most {self.limits.max_tokens} at once; send less, or fewer texts", "tokens")
        if written > self.limits.max_tokens * WRITTEN_PER_TOKEN:
            raise Refused(413, "the answer would be too long; send a shorter text, or ask for fewer proposals", "tokens")
        return await self._wait(passage, batcher, operation, measured)

    def _check(self, model: Model, operation: Operation, items: Sequence[Any]) -> None:
        if operation.name not in model.abilities:
            able = ", ".join(sorted(model.abilities))
            raise Refused(424, f"model '{model.name}' (a {model.role}) has no answer to '{operation.name}'; it can: {able}", "ability")
        if not items:
            raise Refused(422, "`inputs` cannot be empty", "empty")
        if len(items) > self.limits.max_texts:
            raise Refused(413, f"batch size {len(items)} > maximum allowed batch size {self.limits.max_texts}; split the request", "texts")

    async def _measure(self, passage: Passage, model: Model, operation: Operation, items: Sequence[Any], truncate: bool) -> list[tuple[Any, Cost]]:
        count = partial(_measured, model, operation, items, truncate)
        if sum(len(part) for item in items for part in _parts(item)) <= LONG_REQUEST:
            return count()
        counted = asyncio.get_running_loop().run_in_executor(self._counting, count)
        return await self._first(passage, counted, self.batchers[model.name])

    async def _wait(self, passage: Passage, batcher: Batcher, operation: Operation, items: list[tuple[Any, Cost]]) -> list[Any]:
        ticket = batcher.submit(operation, items)
        try:
            return await self._first(passage, ticket.done, batcher)
        except UserError as error:
            raise Refused(422, str(error), "question") from None
        finally:
            if not ticket.done.done() or ticket.done.cancelled():
                batcher.withdraw(ticket)

    async def _first(self, passage: Passage, wanted: asyncio.Future[list[Any]], batcher: Batcher) -> list[Any]:
        """What a future gives, unless the client leaves or the request's time is over before; nothing then waits for the future."""
        left = asyncio.ensure_future(passage.left())
        either: set[asyncio.Future[Any]] = {wanted, left}
        try:
            await asyncio.wait(either, timeout=max(0.0, passage.deadline - time.monotonic()), return_when=asyncio.FIRST_COMPLETED)
            if wanted.done():
                return wanted.result()
            if left.done():
                raise Refused(CLIENT_GONE, "the client has left", "left")
            raise Refused(504, f"no answer within {self.limits.timeout:g} s; try again later, or send less", "timeout", batcher.retry_after())
        finally:
            wanted.cancel()
            left.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await left


def _measured(model: Model, operation: Operation, items: Sequence[Any], truncate: bool) -> list[tuple[Any, Cost]]:
    if truncate:
        items = [truncated(model.predictor, item) if isinstance(item, Text) else truncated(model.predictor, Text(item)).text for item in items]
    return [(item, operation.measure(model.predictor, item)) for item in items]


def _parts(item: Any) -> tuple[str, ...]:
    """The texts of an item."""
    if isinstance(item, Text):
        return (item.text, item.pair or "")
    return (item,) if isinstance(item, str) else tuple(item)
