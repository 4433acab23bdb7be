"""Texts of many requests -> batches of one model, in the order they came.

Each model has a queue and one thread. The thread takes the oldest text, adds others of the same operation up to a budget of tokens, and
answers them in one call. While it computes, the next batch gathers; an idle model waits a moment for more texts, if the last batch had texts of
several requests or others came meanwhile: a client that is alone does not wait. A request's texts may be in different batches; it is answered when
the last one is.

Clients take turns by tokens, whoever sends more (start-time fair queueing, Goyal, Vin and Cheng 1996): a text's turn is the later of the present
one and the end of its client's last text; the texts of one client stay in order.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from electra.serve.limits import Limits, RequestError
from electra.serve.observability import Metrics
from electra.serve.operations import Operation, PreparedText, TextCost

LONGEST_RETRY = 60
"""Seconds; the most that Retry-After says."""
CLIENT_FULL = "Model is overloaded, and this address has its share of the queue"


@dataclass(eq=False)
class Ticket:
    """A queued request: its answers, one per text, once `done` is set."""

    done: asyncio.Future[list[Any]]
    answers: list[Any]
    missing: int
    failure: BaseException | None = None


@dataclass(eq=False)
class QueuedText:
    """One text in the queue."""

    ticket: Ticket
    index: int
    operation: Operation
    text: PreparedText
    client: str = ""
    turn: float = 0.0
    """Place in the queue, in tokens."""
    arrived: float = field(default_factory=time.monotonic)

    @property
    def cost(self) -> TextCost:
        """What answering it takes."""
        return self.text.cost


Run = Callable[[Operation, Sequence[PreparedText], int], list[Any]]
"""(operation, texts, inputs at a time) -> one answer per text."""


class Batcher:
    """The queue of one model and the thread that empties it."""

    def __init__(self, name: str, run: Run, limits: Limits, metrics: Metrics) -> None:
        self.name = name
        self.run = run
        self.limits = limits
        self.metrics = metrics
        self._queue: list[QueuedText] = []
        self._turn = 0.0
        self._next_turns: dict[str, float] = {}
        self._queued_tokens = 0
        self._running_tokens = 0
        self._changed = threading.Condition()
        self._closed = self._stopping = False
        self._waits = True
        """Whether to wait for more texts: the last ones overlapped, or none came yet."""
        self._tokens_per_second = 2_000.0
        self._thread = threading.Thread(target=self._work, name=f"model {name}", daemon=True)
        metrics.watch(name, lambda: len(self._queue))

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Take no more texts; those that were taken are still answered."""
        self._closed = True

    def stop(self) -> None:
        """Answer the queued texts, then end the thread."""
        with self._changed:
            self._closed = self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    # ---- called by requests (the event loop's thread) ----

    def submit(self, operation: Operation, texts: Sequence[PreparedText], client: str = "") -> Ticket:
        """Texts of a client -> a ticket. Either all of them are queued or none is.

        Raises:
            RequestError: 503 while shutting down, 429 where the queue or the client's share of it is full.
        """
        ticket = Ticket(asyncio.get_running_loop().create_future(), [None] * len(texts), len(texts))
        entries = [QueuedText(ticket, index, operation, text, client) for index, text in enumerate(texts)]
        with self._changed:
            self.check_queue(len(texts), client)
            turn = max(self._turn, self._next_turns.get(client, 0.0))
            for entry in entries:
                entry.turn, turn = turn, turn + entry.cost.read
                bisect.insort(self._queue, entry, key=lambda one: one.turn)
            self._next_turns[client] = turn
            self._queued_tokens += sum(entry.cost.read for entry in entries)
            self._changed.notify()
        return ticket

    def check_queue(self, count: int, client: str = "") -> None:
        """Check that `count` texts of a client would be taken now.

        Raises:
            RequestError: as `submit`.
        """
        if self._closed:
            raise RequestError(503, "shutting down; ask again in a moment", "closing", self.retry_after())
        if len(self._queue) + count > self.limits.max_queue:
            raise RequestError(429, "Model is overloaded", "queue", self.retry_after())
        mine = sum(entry.client == client for entry in self._queue)
        if not self.limits.allows(client, self.limits.max_queue, len(self._queue), mine, count):
            raise RequestError(429, CLIENT_FULL, "client", self.retry_after())

    def withdraw(self, ticket: Ticket) -> None:
        """Take a ticket's texts out of the queue: nobody waits for them any more."""
        with self._changed:
            removed = [entry for entry in self._queue if entry.ticket is ticket]
            self._queue = [entry for entry in self._queue if entry.ticket is not ticket]
            if removed:  # what was never read takes no turn of its client; what was read before it does
                client, first = removed[0].client, min(entry.turn for entry in removed)
                last = max((e.turn + e.cost.read for e in self._queue if e.client == client), default=0.0)
                self._next_turns[client] = max(self._turn, first, last)
            self._queued_tokens = sum(entry.cost.read for entry in self._queue)
        ticket.done.cancel()

    def retry_after(self) -> int:
        """Seconds until the queue of now is empty at the recent speed; 1 to 60."""
        waiting = (self._queued_tokens + self._running_tokens) / self._tokens_per_second
        return min(LONGEST_RETRY, max(1, math.ceil(waiting)))

    # ---- the model's thread ----

    def _work(self) -> None:
        while batch := self._next_batch():
            started = time.monotonic()
            for entry in batch:
                self.metrics.queue_seconds.labels(self.name).observe(started - entry.arrived)
            tokens = sum(entry.cost.read for entry in batch)
            finished = self._answer(batch)
            self._waits = bool(self._queue) or any(entry.ticket is not batch[0].ticket for entry in batch)
            # Counted before it is handed over: whoever has an answer finds it in the metrics.
            self._note(batch, tokens, time.monotonic() - started)
            if finished:
                with contextlib.suppress(RuntimeError):  # the loop was closed by force
                    finished[0].done.get_loop().call_soon_threadsafe(_hand_over, finished)

    def _next_batch(self) -> list[QueuedText]:
        """Wait for texts, then a moment for more, and take a batch; empty when the queue is empty and no more will come."""
        while True:
            with self._changed:
                while not self._queue:
                    if self._stopping:
                        return []
                    self._changed.wait()
                ready = self._queue[0].arrived + (self.limits.max_wait_ms / 1000 if self._waits else 0.0)
                while self._queue and not self._closed and self._queued_tokens < self.limits.max_batch_tokens:
                    rest = ready - time.monotonic()
                    if rest <= 0:
                        break
                    self._changed.wait(rest)
                if self._queue:  # else all were withdrawn meanwhile
                    batch, self._queue = choose(self._queue, self.limits.max_batch_tokens)
                    self._turn = batch[0].turn
                    # Whoever has had less than that begins with the others.
                    self._next_turns = {client: turn for client, turn in self._next_turns.items() if turn > self._turn}
                    self._running_tokens = sum(entry.cost.read for entry in batch)
                    self._queued_tokens -= self._running_tokens
                    return batch

    def _answer(self, batch: list[QueuedText]) -> list[Ticket]:
        """Answer a batch -> the tickets that are complete now."""
        windows = sum(entry.cost.windows for entry in batch)
        longest = max(entry.cost.longest for entry in batch)
        batch_size = windows if windows * longest <= self.limits.max_batch_tokens else max(1, self.limits.max_batch_tokens // longest)
        try:
            answers = self.run(batch[0].operation, [entry.text for entry in batch], batch_size)
            assert len(answers) == len(batch)
        except Exception as error:
            if len(batch) > 1:
                # One text that cannot be answered does not fail the others.
                return [ticket for entry in batch for ticket in self._answer([entry])]
            answers = [None]
            batch[0].ticket.failure = error
        finished = []
        for entry, answer in zip(batch, answers, strict=True):
            ticket = entry.ticket
            ticket.answers[entry.index] = answer
            ticket.missing -= 1
            if not ticket.missing:
                finished.append(ticket)
        return finished

    def _note(self, batch: list[QueuedText], tokens: int, seconds: float) -> None:
        self._running_tokens = 0
        pace = tokens / max(seconds, 1e-6)
        self._tokens_per_second = 0.8 * self._tokens_per_second + 0.2 * pace
        self.metrics.batch_texts.labels(self.name).observe(len(batch))
        self.metrics.batch_tokens.labels(self.name).observe(tokens)
        self.metrics.inference.labels(self.name).observe(seconds)
        self.metrics.texts.labels(self.name).inc(len(batch))
        self.metrics.tokens.labels(self.name).inc(tokens)


def choose(queue: Sequence[QueuedText], max_tokens: int) -> tuple[list[QueuedText], list[QueuedText]]:
    """A queue -> (the next batch, the rest): the first entry, and later ones of the same operation that fit.

    A batch costs what a model that pads computes: its inputs times the longest of them. The first entry is taken whatever it costs.
    """
    batch: list[QueuedText] = []
    kept: list[QueuedText] = []
    windows = longest = 0
    for entry in queue:
        if batch:
            fits = (windows + entry.cost.windows) * max(longest, entry.cost.longest) <= max_tokens
            if entry.operation.alone or entry.operation != batch[0].operation or not fits:
                kept.append(entry)
                continue
        batch.append(entry)
        windows += entry.cost.windows
        longest = max(longest, entry.cost.longest)
    return batch, kept


def _hand_over(tickets: list[Ticket]) -> None:
    for ticket in tickets:
        if ticket.done.done():
            continue  # withdrawn meanwhile
        if ticket.failure is not None:
            ticket.done.set_exception(ticket.failure)
        else:
            ticket.done.set_result(ticket.answers)
