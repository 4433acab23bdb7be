"""A server's models and their queues; one request: its texts -> prepared, checked against the limits, queued -> answers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from electra.errors import UserError, did_you_mean
from electra.inference.text_io import Text
from electra.serve.batch_scheduler import Batcher
from electra.serve.limits import CLIENT_GONE, Limits, RequestError
from electra.serve.models import Model
from electra.serve.observability import Metrics, RequestLog
from electra.serve.operations import Decode, Embed, EmbedAll, Operation, PreparedText, Tokenize, unknown_tokens
from electra.storage.resolve import with_article

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
LONG_REQUEST = 8_192
"""Characters; more are tokenized in a thread, so that other requests are served meanwhile."""
WRITTEN_PER_TOKEN = 64
"""An answer may have this many tokens or numbers for each token of --max-tokens."""
OF_VECTORS = frozenset(operation.name for operation in (Embed, EmbedAll, Tokenize, Decode))
"""Operations for which an encoder is right; the token ids that /tokenize gives are input of /embed."""


@dataclass
class RequestContext:
    """A request while it is served, for the log and the metrics."""

    receive: Receive
    deadline: float
    id: str = field(default_factory=lambda: uuid4().hex)
    """Sent back, and in the log; the client may choose it."""
    started: float = field(default_factory=time.monotonic)
    client: str = ""
    """Whose share of the limits it takes (see `limits.client_of`); '': nobody's."""
    model: str | None = None
    field: str = "inputs"
    """What its form calls the texts."""
    texts: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    read: int = 0
    """Tokens that went through the model, special ones included."""
    shown: list[str] | None = None
    reason: str | None = None
    """Why it was rejected."""

    async def left(self) -> None:
        """Return when the client has disconnected."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


class Turns:
    """One thread for work that takes long. Clients take turns: one with many requests does not hold up the others. Used from the event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._waiting: dict[str, deque[tuple[asyncio.Future[Any], Callable[[], Any]]]] = {}
        self._busy = self._stopped = False

    def submit(self, client: str, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Do `work` when it is the client's turn -> its result; not at all if the future is cancelled before."""
        future = asyncio.get_running_loop().create_future()
        if self._stopped:
            future.cancel()
            return future
        self._waiting.setdefault(client, deque()).append((future, work))
        self._next()
        return future

    def stop(self) -> None:
        """Do no more; what waits is cancelled."""
        self._stopped = True
        for future, _ in (job for jobs in self._waiting.values() for job in jobs):
            future.cancel()
        self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _next(self) -> None:
        while self._waiting and not self._busy:
            client = next(iter(self._waiting))
            jobs = self._waiting.pop(client)
            future, work = jobs.popleft()
            if jobs:
                self._waiting[client] = jobs  # after the others
            if not future.cancelled():
                asyncio.get_running_loop().run_in_executor(self._thread, work).add_done_callback(partial(self._done, future))
                self._busy = True

    def _done(self, future: asyncio.Future[Any], found: asyncio.Future[Any]) -> None:
        self._busy = False
        error = None if found.cancelled() else found.exception()
        if found.cancelled():
            future.cancel()
        elif not future.done():
            future.set_result(found.result()) if error is None else future.set_exception(error)
        self._next()


class Serving:
    """Models by name; their queues, limits, metrics and log."""

    def __init__(
        self, models: dict[str, Model], limits: Limits, *, token: str | None = None, log: RequestLog | None = None, local: bool = False
    ) -> None:
        self.models = models
        self.limits = limits
        self.token = token.encode() if token else None
        self.local = local
        """Whether it is for this machine only, without a token: then a request names an address or localhost as its host."""
        self.log = log or RequestLog()
        self.metrics = Metrics()
        self.batchers = {name: Batcher(name, model.run, limits, self.metrics) for name, model in models.items()}
        self.closing = False
        self._turns = Turns()

    def start(self) -> None:
        """Start the models' threads."""
        for batcher in self.batchers.values():
            batcher.start()

    def close(self) -> None:
        """Take no more requests; those that were taken are still answered."""
        self.closing = True
        for batcher in self.batchers.values():
            batcher.close()

    def stop(self) -> None:
        """Answer the queued requests, then end the threads."""
        self.close()
        for batcher in self.batchers.values():
            batcher.stop()
        self._turns.stop()

    @property
    def healthy(self) -> bool:
        """Whether requests are taken and every model's thread runs."""
        return not self.closing and all(batcher.alive for batcher in self.batchers.values())

    def find(self, name: str) -> Model:
        """A model by name.

        Raises:
            RequestError: 404, there is none of that name.
        """
        if name not in self.models:
            raise RequestError(404, f"no model '{name[:64]}' is served here; {did_you_mean(name[:64], self.models)}", "model")
        return self.models[name]

    def choose(self, operation: type[Operation] | None = None) -> Model:
        """The model for a request that names none: the first if it is right, else the only other one that is; for vectors, an encoder is right.

        The first also answers where none is right.

        Raises:
            RequestError: 424, the first model is not right, and several others are.
        """
        models = list(self.models.values())
        if operation is None:
            return models[0]
        vectors = operation.name in OF_VECTORS
        right = [model for model in models if (model.role == "encoder" if vectors else operation.name in model.abilities)]
        if models[0] in right or not right:
            return models[0]
        if len(right) > 1:
            first, why = models[0], "was not made for vectors" if vectors else f"has no answer to '{operation.name}'"
            what = f"model '{first.name}' ({with_article(first.role)}) {why}, and the request names no model"
            raise RequestError(424, f"{what}{self._others(right)}", "ability")
        return right[0]

    async def ask(self, context: RequestContext, model: Model, operation: Operation, items: Sequence[Any]) -> list[Any]:
        """Texts of one request -> their answers, in order.

        Raises:
            RequestError: the model has no such ability (424), too much at once (413), a full queue (429), shutting down (503), too late (504), the
                client has left (499), or the texts cannot be answered (422).
        """
        context.model = model.name
        context.shown = self.log.quoted([" ".join(filter(None, _parts(item))) for item in items])
        self._check(context, model, operation, items)
        batcher = self.batchers[model.name]
        if not operation.immediate:
            batcher.check_queue(len(items), context.client)
        texts = await self._prepare(context, model, operation, items)
        read, written = sum(text.cost.read for text in texts), sum(text.cost.written for text in texts)
        context.texts, context.tokens, context.read = len(items), sum(text.cost.tokens for text in texts), read
        unk_id = model.predictor.tokenizer.unk_id
        context.unknown_tokens = sum(unknown_tokens(text, unk_id) for text in texts)
        self.metrics.unknown_tokens.labels(model.name).inc(context.unknown_tokens)
        if read > self.limits.max_tokens:
            raise RequestError(413, f"{read} tokens to read, at most {self.limits.max_tokens} at once; send less, or fewer texts", "tokens")
        if written > self.limits.max_tokens * WRITTEN_PER_TOKEN:
            raise RequestError(413, "the answer would be too long; send a shorter text, or request fewer proposals", "tokens")
        return operation.run(model.predictor, texts, 1) if operation.immediate else await self._wait(context, batcher, operation, texts)

    def _check(self, context: RequestContext, model: Model, operation: Operation, items: Sequence[Any]) -> None:
        if not operation.immediate and operation.name not in model.abilities:
            able = ", ".join(sorted(model.abilities))
            others = self._others([other for other in self.models.values() if operation.name in other.abilities])
            what = f"model '{model.name}' ({with_article(model.role)}) has no answer to '{operation.name}'; it can: {able}"
            raise RequestError(424, f"{what}{others or operation.needs}", "ability")
        if not items:
            raise RequestError(400, f"`{context.field}` cannot be empty", "empty")
        if len(items) > (most := self.limits.max_texts):
            raise RequestError(413, f"batch size {len(items)} > maximum allowed batch size {most} (--max-texts); split the request", "texts")

    @staticmethod
    def _others(models: Sequence[Model]) -> str:
        """Where other models answer."""
        return f"; use {' or '.join(f'/models/{model.name}/...' for model in models[:4])}" if models else ""

    async def _prepare(self, context: RequestContext, model: Model, operation: Operation, items: Sequence[Any]) -> list[PreparedText]:
        prepare = partial(_prepared, model, operation, items, self.limits.max_tokens)
        try:
            if sum(len(part) for item in items for part in _parts(item)) <= LONG_REQUEST:
                return prepare()
            prepared = self._turns.submit(context.client, prepare)
            return await self._first(context, prepared, self.batchers[model.name])
        except UserError as error:
            raise RequestError(422, str(error), "question") from None

    async def _wait(self, context: RequestContext, batcher: Batcher, operation: Operation, texts: list[PreparedText]) -> list[Any]:
        ticket = batcher.submit(operation, texts, context.client)
        try:
            return await self._first(context, ticket.done, batcher)
        except UserError as error:
            raise RequestError(422, str(error), "question") from None
        finally:
            if not ticket.done.done() or ticket.done.cancelled():
                batcher.withdraw(ticket)

    async def _first(self, context: RequestContext, wanted: asyncio.Future[list[Any]], batcher: Batcher) -> list[Any]:
        """The result of a future, unless the client disconnects or the request's time is over first."""
        left = asyncio.ensure_future(context.left())
        either: set[asyncio.Future[Any]] = {wanted, left}
        try:
            await asyncio.wait(either, timeout=max(0.0, context.deadline - time.monotonic()), return_when=asyncio.FIRST_COMPLETED)
            if wanted.done():
                return wanted.result()
            if left.done():
                raise RequestError(CLIENT_GONE, "the client has left", "left")
            raise RequestError(504, f"no answer within {self.limits.timeout:g} s; try again later, or send less", "timeout", batcher.retry_after())
        finally:
            wanted.cancel()
            left.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await left


def _prepared(model: Model, operation: Operation, items: Sequence[Any], max_tokens: int) -> list[PreparedText]:
    return [operation.prepare(model.predictor, item, max_tokens) for item in items]


def _parts(item: Any) -> tuple[str, ...]:
    """The texts of an item; of token ids, their numbers."""
    if isinstance(item, Text):
        return (item.text, item.pair or "")
    if isinstance(item, list):
        return (" ".join(map(str, item)),)
    return (item,) if isinstance(item, str) else tuple(item)
