"""Metrics: what is counted, that sums come out as observations would, and several processes."""

import os
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import SECONDS, Tally
from tests.service.test_process import children, forks, free_port, process, wait_until_ready

Serve = Callable[..., httpx.Client]


def scrape(client: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Read the metrics: (name, labels) -> value."""
    answer = client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(found: dict[tuple[str, tuple[tuple[str, str], ...]], float], name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


def test_requests_are_counted_by_route_and_status(serve: Serve, cat: bytes) -> None:
    client = serve()
    for _ in range(3):
        client.post("/predict", files={"file": cat})
    client.post("/predict", content=b"nonsense", headers={"Content-Type": "image/png"})
    client.get("/models/cifar10-lenet")
    client.get("/models/nope")
    for number in range(5):
        client.get(f"/made-up/{number}")
    client.get("/web/page.css")
    requests = "stride_requests_total"
    # A request is counted after its answer is out.
    wait_until(lambda: value(scrape(client), requests, route="/web", method="GET", status="200") == 1)
    found = scrape(client)
    assert value(found, requests, route="/predict", method="POST", status="200") == 3
    assert value(found, requests, route="/predict", method="POST", status="400") == 1
    assert value(found, requests, route="/models/{name}", method="GET", status="200") == 1
    assert value(found, requests, route="/models/{name}", method="GET", status="404") == 1
    assert value(found, requests, route="other", method="GET", status="404") == 5, "or anybody makes series"
    assert value(found, "stride_request_seconds_count", route="/predict") == 4
    assert value(found, "stride_requests_in_flight") == 1, "this one"


def test_predictions_and_stages_are_seen(serve: Serve, cat: bytes) -> None:
    client = serve()
    answer = client.post("/predict", files={"file": cat}).json()
    client.post("/predict/batch", files=[("files", cat), ("files", cat), ("files", b"none")])
    found = scrape(client)
    model, label = answer["model"], answer["predictions"][0]["label"]
    assert value(found, "stride_predictions_total", model=model, label=label) == 3
    assert value(found, "stride_confidence_count", model=model) == 3
    expected = 3 * answer["predictions"][0]["probability"]
    # Not to the last digit: in a batch of two, bfloat16 rounds elsewhere.
    assert value(found, "stride_confidence_sum", model=model) == pytest.approx(expected, abs=0.05)
    assert value(found, "stride_batch_size_sum", model=model) == 3
    assert value(found, "stride_stage_seconds_count", stage="infer") == 2
    assert value(found, "stride_ready") == 1
    assert value(found, "stride_connections") == 1
    info = [dict(labels) for name, labels in found if name == "stride_model_info"]
    assert {one["model"] for one in info} == {"cifar10-lenet", "cifar10-resnet"}
    assert all(re.fullmatch("[0-9a-f]{64}", one["sha256"]) for one in info)


def test_refusals_are_counted_by_reason(serve: Serve, cat: bytes) -> None:
    client = serve(max_pixels=1000)
    client.post("/predict", files={"file": cat})
    assert value(scrape(client), "stride_refusals_total", reason="too-large") == 1


def test_sums_come_out_as_observations_would() -> None:
    registry = CollectorRegistry()
    one, many = (Histogram(name, name, registry=registry, buckets=SECONDS) for name in ("one", "many"))
    tally = Tally(SECONDS)
    for number in (0.0, 0.001, 0.0011, 0.5, 29.9, 30.0, 31.0, 1e9):
        one.observe(number)
        tally.observe(number)
    tally.flush(many)
    tally.flush(many)

    def samples(histogram: Histogram) -> list[tuple[str, object, float]]:
        (family,) = histogram.collect()
        return [
            (sample.name[len(family.name) :], sample.labels, sample.value)
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]

    assert samples(many) == samples(one)


@forks
def test_the_metrics_of_several_processes_are_added_up_and_outlive_one(cat: bytes) -> None:
    port = free_port()
    with process("-m", "service", "--port", str(port), "--workers", "2", STRIDE_DRAIN_S="0") as service:
        wait_until_ready(port)
        url = f"http://127.0.0.1:{port}"

        def one(_: int) -> int:  # each on a connection of its own: both processes get some
            return httpx.post(f"{url}/predict", files={"file": cat}, timeout=30).status_code

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(one, range(60))) == [200] * 60

        def counted() -> float:
            with httpx.Client(base_url=url) as client:
                found = scrape(client)
            assert len([1 for name, _ in found if name == "stride_process_resident_memory_bytes"]) == 2
            assert value(found, "stride_ready") == 1
            return value(found, "stride_requests_total", route="/predict", method="POST", status="200")

        wait_until(lambda: counted() == 60)
        os.kill(children(service.pid)[0], signal.SIGKILL)
        wait_until(lambda: len(children(service.pid)) == 2)
        wait_until_ready(port)
        wait_until(lambda: counted() == 60)
        service.send_signal(signal.SIGTERM)
        service.communicate(timeout=30)


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            if is_so():
                return
        except AssertionError:
            if time.monotonic() > until:
                raise
        assert time.monotonic() < until
        time.sleep(0.1)
