"""What Prometheus reads at /metrics: requests, latencies, batches, queues, refusals; each server has a registry of its own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


class Metrics:
    """Counters and histograms of one server. Labels take few values: models come from the command line, routes from the route table."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        route = ("model", "route", "status")
        self.requests = Counter("electra_requests", "Requests answered or refused.", route, registry=registry)
        self.duration = Histogram("electra_request_seconds", "Arrival to answer.", ("model", "route"), buckets=SECONDS, registry=registry)
        self.rejected = Counter("electra_rejected", "Requests refused, by reason.", ("model", "reason"), registry=registry)
        self.texts = Counter("electra_texts", "Texts answered.", ("model",), registry=registry)
        self.tokens = Counter("electra_tokens", "Tokens answered.", ("model",), registry=registry)
        self.batch_texts = Histogram("electra_batch_texts", "Texts answered together.", ("model",), buckets=COUNTS, registry=registry)
        self.batch_tokens = Histogram("electra_batch_tokens", "Tokens answered together.", ("model",), buckets=TOKENS, registry=registry)
        self.queue_seconds = Histogram("electra_queue_seconds", "A text's wait for its batch.", ("model",), buckets=SECONDS, registry=registry)
        self.inference = Histogram("electra_inference_seconds", "One batch through its model.", ("model",), buckets=SECONDS, registry=registry)
        self.queue = Gauge("electra_queue_texts", "Texts waiting.", ("model",), registry=registry)
        self.in_flight = Gauge("electra_requests_in_flight", "Requests being received, waiting or answered.", registry=registry)

    def watch(self, model: str, waiting: Callable[[], int]) -> None:
        """Read a model's queue length whenever metrics are asked for."""
        self.queue.labels(model).set_function(waiting)

    def exposition(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
