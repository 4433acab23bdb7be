"""Texts of many requests -> batches of one model, in the order they came.

Each model has a queue and one thread. The thread takes what waits longest, adds what asks the same, up to a budget of tokens, and answers
it in one call. While it computes, the next batch gathers; an idle model waits a moment for company. A request's texts may end up in
different batches; it is answered when the last one is.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from electra.serve.limits import Limits, Refused
from electra.serve.observability import Metrics
from electra.serve.operations import Cost, Operation

LONGEST_RETRY = 60
"""Seconds; the most that Retry-After says."""


@dataclass(eq=False)
class Ticket:
    """A request's place in the queue: its answers, one per text, when `done` is."""

    done: asyncio.Future[list[Any]]
    answers: list[Any]
    missing: int
    failure: BaseException | None = None


@dataclass(eq=False)
class Entry:
    """One text in the queue."""

    ticket: Ticket
    index: int
    operation: Operation
    item: Any
    cost: Cost
    arrived: float = field(default_factory=time.monotonic)


Run = Callable[[Operation, list[Any], int], list[Any]]
"""(what is asked, texts, pieces at a time) -> one answer per text."""


class Batcher:
    """The queue of one model and the thread that empties it."""

    def __init__(self, name: str, run: Run, limits: Limits, metrics: Metrics) -> None:
        self.name = name
        self.run = run
        self.limits = limits
        self.metrics = metrics
        self._queue: deque[Entry] = deque()
        self._queued_tokens = 0
        self._running_tokens = 0
        self._changed = threading.Condition()
        self._closed = self._stopping = False
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
        """Take nothing more; what was taken is still answered."""
        self._closed = True

    def stop(self) -> None:
        """Answer what waits, then end the thread."""
        with self._changed:
            self._closed = self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    # ---- the side of the requests (the event loop's thread) ----

    def submit(self, operation: Operation, items: Sequence[tuple[Any, Cost]]) -> Ticket:
        """Texts with their costs -> a ticket. Either all of them are taken or none is.

        Raises:
            Refused: 503 while shutting down, 429 where the queue has no room for them.
        """
        ticket = Ticket(asyncio.get_running_loop().create_future(), [None] * len(items), len(items))
        entries = [Entry(ticket, index, operation, item, cost) for index, (item, cost) in enumerate(items)]
        with self._changed:
            self.check_room(len(items))
            self._queue.extend(entries)
            self._queued_tokens += sum(entry.cost.read for entry in entries)
            self._changed.notify()
        return ticket

    def check_room(self, count: int) -> None:
        """Nothing, when `count` texts would be taken now.

        Raises:
            Refused: as `submit`.
        """
        if self._closed:
            raise Refused(503, "shutting down; ask again in a moment", "closing", self.retry_after())
        if len(self._queue) + count > self.limits.max_queue:
            raise Refused(429, "Model is overloaded", "queue", self.retry_after())

    def withdraw(self, ticket: Ticket) -> None:
        """Take a ticket's texts out of the queue: nobody waits for them any more."""
        with self._changed:
            kept = [entry for entry in self._queue if entry.ticket is not ticket]
            self._queue = deque(kept)
            self._queued_tokens = sum(entry.cost.read for entry in kept)
        ticket.done.cancel()

    def retry_after(self) -> int:
        """Seconds until the queue of now will be empty, at the pace of late; 1 to 60."""
        waiting = (self._queued_tokens + self._running_tokens) / self._tokens_per_second
        return min(LONGEST_RETRY, max(1, math.ceil(waiting)))

    # ---- the side of the model (its own thread) ----

    def _work(self) -> None:
        while batch := self._next_batch():
            started = time.monotonic()
            for entry in batch:
                self.metrics.queue_seconds.labels(self.name).observe(started - entry.arrived)
            tokens = sum(entry.cost.read for entry in batch)
            self._answer(batch)
            self._note(batch, tokens, time.monotonic() - started)

    def _next_batch(self) -> list[Entry]:
        """Wait for texts, then for company, and take a batch; nothing when the queue is empty and no more will come."""
        while True:
            with self._changed:
                while not self._queue:
                    if self._stopping:
                        return []
                    self._changed.wait()
                ready = self._queue[0].arrived + self.limits.max_wait_ms / 1000
                while self._queue and not self._closed and self._queued_tokens < self.limits.max_batch_tokens:
                    rest = ready - time.monotonic()
                    if rest <= 0:
                        break
                    self._changed.wait(rest)
                if self._queue:  # else all were withdrawn meanwhile
                    batch, kept = choose(self._queue, self.limits.max_batch_tokens)
                    self._queue = deque(kept)
                    self._running_tokens = sum(entry.cost.read for entry in batch)
                    self._queued_tokens -= self._running_tokens
                    return batch

    def _answer(self, batch: list[Entry]) -> None:
        pieces = sum(entry.cost.pieces for entry in batch)
        longest = max(entry.cost.longest for entry in batch)
        at_a_time = pieces if pieces * longest <= self.limits.max_batch_tokens else max(1, self.limits.max_batch_tokens // longest)
        try:
            answers = self.run(batch[0].operation, [entry.item for entry in batch], at_a_time)
            assert len(answers) == len(batch)
        except Exception as error:
            if len(batch) > 1:
                # One text that cannot be answered takes no others with it.
                for entry in batch:
                    self._answer([entry])
                return
            answers = [None]
            batch[0].ticket.failure = error
        finished = []
        for entry, answer in zip(batch, answers, strict=True):
            ticket = entry.ticket
            ticket.answers[entry.index] = answer
            ticket.missing -= 1
            if not ticket.missing:
                finished.append(ticket)
        if finished:
            with contextlib.suppress(RuntimeError):  # the loop was closed by force
                finished[0].done.get_loop().call_soon_threadsafe(_hand_over, finished)

    def _note(self, batch: list[Entry], tokens: int, seconds: float) -> None:
        self._running_tokens = 0
        pace = tokens / max(seconds, 1e-6)
        self._tokens_per_second = 0.8 * self._tokens_per_second + 0.2 * pace
        self.metrics.batch_texts.labels(self.name).observe(len(batch))
        self.metrics.batch_tokens.labels(self.name).observe(tokens)
        self.metrics.inference.labels(self.name).observe(seconds)
        self.metrics.texts.labels(self.name).inc(len(batch))
        self.metrics.tokens.labels(self.name).inc(tokens)


def choose(queue: Sequence[Entry] | deque[Entry], max_tokens: int) -> tuple[list[Entry], list[Entry]]:
    """A queue -> (the next batch, what stays): the first entry, and those behind it that ask the same and fit.

    A batch costs what a network that pads computes: its pieces times the longest of them. The first entry is taken whatever it costs.
    """
    batch: list[Entry] = []
    kept: list[Entry] = []
    pieces = longest = 0
    for entry in queue:
        if batch:
            fits = (pieces + entry.cost.pieces) * max(longest, entry.cost.longest) <= max_tokens
            if entry.operation.alone or entry.operation != batch[0].operation or not fits:
                kept.append(entry)
                continue
        batch.append(entry)
        pieces += entry.cost.pieces
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
