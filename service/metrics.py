"""Prometheus metrics of a process, gathered in plain numbers and handed to prometheus-client once a second.

An observation in memory that several processes share takes 1.7 µs, a request makes seven, and is answered in
165: summed up first they cost 3 µs a request. Whoever asks for `/metrics` gets all processes' sums, at most
a second old. Everything here runs on the event loop, so nothing is locked.
"""

from bisect import bisect_left
from collections import Counter as Sums
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import values as prometheus_values
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
RELOADS = ("swapped", "unchanged", "refused")
CLOSED = ("slow-head", "slow-reader", "evicted", "lingering")
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Tally:
    """One histogram's observations since they were last handed over."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def flush(self, histogram: Histogram) -> None:
        # Not public, and the only way to add more than one at a time: a test holds prometheus-client to it.
        for bucket, count in zip(histogram._buckets, self.counts, strict=True):
            if count:
                bucket.inc(count)
        histogram._sum.inc(self.total)
        self.counts, self.total = [0] * len(self.counts), 0.0


class Metrics:
    """What one application counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.in_flight = 0
        self.shown: dict[str, set[tuple[str, ...]]] = {}  # a gauge's labels
        self.sums: dict[Counter, Sums[tuple[str, ...]]] = {}
        self.bounds: dict[Histogram, Sequence[float]] = {}
        self.tallies: dict[tuple[Histogram, str], Tally] = {}
        self.requests = self.counter("requests", "Requests answered", ["route", "method", "status"])
        self.refusals = self.counter("refusals", "Requests refused, by the kind of problem", ["reason"])
        self.predictions = self.counter("predictions", "Pictures by likeliest class", ["model", "label"])
        self.reloads = self.counter("reloads", "Reloads of the models folder", ["result"])
        self.closed = self.counter("connections_closed", "Connections cut off", ["reason"])
        for counter, known in ((self.reloads, RELOADS), (self.closed, CLOSED)):
            for label in known:  # from 0 on: the first of a kind is a rise, too
                counter.labels(label)
        self.seconds = self.histogram("request_seconds", "Whole requests", "route", SECONDS)
        self.stages = self.histogram("stage_seconds", "Decoding, waiting, inference", "stage", SECONDS)
        self.batch_sizes = self.histogram("batch_size", "Pictures a batch", "model", SIZES)
        self.confidences = self.histogram("confidence", "Probability of the likeliest class", "model", SHARES)
        self.gauges = {
            name: self.gauge(name, text, labels, mode)
            for name, text, labels, mode in (
                ("requests_in_flight", "Requests not yet answered", (), "livesum"),
                ("connections", "Open connections", (), "livesum"),
                ("queue_length", "Requests waiting for a model or a thread", ("queue",), "livesum"),
                ("buffered_bytes", "Bytes of request bodies in memory", (), "livesum"),
                ("models_refused", "Files of the models folder that cannot be served", (), "livemax"),
                ("ready", "1 where requests may be sent here", (), "livemin"),
                ("model_info", "The models served", ("model", "version", "sha256"), "livemax"),
                # Of several processes each has its own, labelled `pid`.
                ("process_resident_memory_bytes", "Memory of a process", (), "liveall"),
            )
        }

    def counter(self, name: str, text: str, labels: Sequence[str]) -> Counter:
        made = Counter(f"stride_{name}", text, labels, registry=self.registry)
        self.sums[made] = Sums()
        return made

    def histogram(self, name: str, text: str, label: str, bounds: Sequence[float]) -> Histogram:
        made = Histogram(f"stride_{name}", text, [label], registry=self.registry, buckets=bounds)
        self.bounds[made] = bounds
        return made

    def gauge(self, name: str, text: str, labels: Sequence[str], mode: Any) -> Gauge:
        return Gauge(f"stride_{name}", text, labels, registry=self.registry, multiprocess_mode=mode)

    def count(self, counter: Counter, *labels: str, by: int = 1) -> None:
        self.sums[counter][labels] += by

    def observe(self, histogram: Histogram, label: str, value: float) -> None:
        tally = self.tallies.get((histogram, label))
        if tally is None:
            tally = self.tallies[histogram, label] = Tally(self.bounds[histogram])
        tally.observe(value)

    def begin_request(self) -> None:
        self.in_flight += 1

    def end_request(self, route: str, method: str, status: int, timings: Mapping[str, float]) -> None:
        """Note a request and its stages, in milliseconds."""
        self.in_flight -= 1
        self.sums[self.requests][route, method, str(status)] += 1
        for stage, spent_ms in timings.items():
            if stage == "total":
                self.observe(self.seconds, route, spent_ms / 1000)
            else:
                self.observe(self.stages, stage, spent_ms / 1000)

    def batch_noter(self, model: str, labels: Sequence[str]) -> Callable[[Sequence[Any]], None]:
        """Make the function that notes a model's batches, each a list of rankings and errors."""
        predicted = self.sums[self.predictions]

        def note(results: Sequence[Any]) -> None:
            self.observe(self.batch_sizes, model, len(results))
            for result in results:
                if not isinstance(result, Exception):
                    predicted[model, labels[result.indices[0]]] += 1
                    self.observe(self.confidences, model, result.probabilities[0])

        return note

    def flush(self) -> None:
        """Hand over what was gathered. Files are touched here alone: no request fails where they do."""
        for counter, sums in self.sums.items():
            while sums:  # taken out first: where one cannot be noted, none is noted twice
                labels, amount = sums.popitem()
                counter.labels(*labels).inc(amount)
        for (histogram, label), tally in self.tallies.items():
            if any(tally.counts):
                tally.flush(histogram.labels(label))

    def set(self, name: str, value: float) -> None:
        self.gauges[name].set(value)

    def set_all(self, name: str, values: Mapping[tuple[str, ...], float]) -> None:
        """Set a gauge for all its labels: those that are not among them, of models that are gone say, to 0.

        Not taken away: what is shared between processes cannot be.
        """
        shown = self.shown.setdefault(name, set())
        shown.update(values)
        for labels in shown:
            self.gauges[name].labels(*labels).set(values.get(labels, 0))

    def render(self) -> bytes:
        """Write all metrics, of every process, as Prometheus reads them. Blocking."""
        if prometheus_values.ValueClass.__name__ == "MutexValue":  # one process
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)
