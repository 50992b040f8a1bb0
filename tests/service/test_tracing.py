"""Traces: one span a request in the caller's trace, its stages inside, and nothing of it unless asked for."""

import subprocess
import sys
from collections.abc import Callable

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from service import app
from service.errors import StartError
from service.tracing import Tracing

Serve = Callable[..., httpx.Client]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What would be sent to a collector."""
    kept = InMemorySpanExporter()
    made: list[Tracing] = []

    def make() -> Tracing:
        made.append(Tracing(kept))
        return made[-1]

    def flush() -> None:
        made[-1].provider.force_flush()

    monkeypatch.setattr(app, "Tracing", make)
    monkeypatch.setattr(kept, "flush", flush, raising=False)
    return kept


def spans(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    exporter.flush()  # type: ignore[attr-defined]
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_request_is_a_span_of_its_callers_trace_with_its_stages_inside(
    serve: Serve, cat: bytes, exporter: InMemorySpanExporter
) -> None:
    client = serve(tracing=True)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "find-me"}
    assert client.post("/predict", files={"file": cat}, headers=headers).status_code == 200
    client.get("/health/live")  # the one before has ended for sure
    found = spans(exporter)
    request = found["POST /predict"]
    assert request.kind == SpanKind.SERVER
    assert f"{request.context.trace_id:032x}" == TRACE
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["stride.request_id"] == "find-me"
    assert request.start_time is not None
    for stage in ("decode", "queue", "infer"):
        span = found[stage]
        assert span.parent is not None
        assert span.parent.span_id == request.context.span_id
        assert request.start_time - 1_000_000 <= span.start_time <= span.end_time <= request.end_time  # type: ignore[operator]


def test_routes_are_named_without_what_stands_in_them(serve: Serve, exporter: InMemorySpanExporter) -> None:
    client = serve(tracing=True)
    client.get("/models/cifar10-lenet")
    client.get("/made/up")
    client.get("/health/live")
    assert {"GET /models/{name}", "GET other"} <= set(spans(exporter))


def test_asked_for_and_not_installed_it_stops_the_start_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(StartError, match=r"pip install 'stride\[tracing\]'"):
        Tracing()


def test_unless_asked_for_nothing_of_it_is_loaded() -> None:
    """Of OpenTelemetry's interface, which others load where they find it, nothing that gathers or sends."""
    code = "import sys, service.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "service.app" in loaded
    assert not loaded & {"opentelemetry.sdk.trace", "opentelemetry.exporter"}
