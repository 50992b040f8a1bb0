"""OpenTelemetry, the extra `tracing`: one span a request, its stages inside, in the caller's own trace.

Spans are made when a request has ended, from the times that were measured anyway: one that is not traced
pays nothing. Where they go, and which are kept, is OpenTelemetry's own `OTEL_*` environment.
"""

import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from starlette.types import Scope

from service.errors import StartError
from service.request_state import RequestState

SERVICE = "stride"


class Timings(dict[str, float]):
    """Stages' milliseconds, as a plain dictionary has them, and when each ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended_ns: dict[str, int] = {}

    def __setitem__(self, stage: str, spent_ms: float) -> None:
        super().__setitem__(stage, spent_ms)
        self.ended_ns[stage] = time.time_ns()

    def update(self, stages: Mapping[str, float]) -> None:  # type: ignore[override]
        for stage, spent_ms in stages.items():
            self[stage] = spent_ms


class Tracing:
    """Makes spans and sends them from a thread of its own: begin it in the process that serves."""

    def __init__(self, exporter: Any | None = None) -> None:
        """Raises StartError where OpenTelemetry is not installed. `exporter`: other than OTLP over HTTP."""
        try:
            self.api = import_module("opentelemetry.trace")
            sdk = import_module("opentelemetry.sdk.trace")
            export = import_module("opentelemetry.sdk.trace.export")
            resources = import_module("opentelemetry.sdk.resources")
            self.propagation = import_module("opentelemetry.propagate")
            if exporter is None:
                exporter = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
                exporter = exporter.OTLPSpanExporter()
        except ImportError as error:
            raise StartError(
                f"STRIDE_TRACING is true but {error.name} is not installed: pip install 'stride[tracing]'"
            ) from error
        resource = resources.Resource.create({"service.name": SERVICE})
        self.provider = sdk.TracerProvider(resource=resource)
        self.provider.add_span_processor(export.BatchSpanProcessor(exporter))
        self.tracer = self.provider.get_tracer(SERVICE)

    def note(self, scope: Scope, request: RequestState, route: str) -> None:
        """Make a request's spans, now that it has ended."""
        timings = request.timings
        ended_ns = time.time_ns()
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        span = self.tracer.start_span(
            f"{scope['method']} {route}",
            context=self.propagation.extract(carrier),
            kind=self.api.SpanKind.SERVER,
            start_time=ended_ns - round(timings.get("total", 0.0) * 1e6),
            attributes={
                "http.request.method": scope["method"],
                "http.route": route,
                "http.response.status_code": request.status,
                "stride.request_id": request.id,
            },
        )
        if request.status >= 500:
            span.set_status(self.api.StatusCode.ERROR)
        inside = self.api.set_span_in_context(span)
        for stage, noted_ns in timings.ended_ns.items() if isinstance(timings, Timings) else ():
            if stage == "total":
                continue
            # Waiting is noted together with the inference after it.
            stage_ended_ns = noted_ns - (round(timings.get("infer", 0.0) * 1e6) if stage == "queue" else 0)
            began_ns = stage_ended_ns - round(timings[stage] * 1e6)
            self.tracer.start_span(stage, context=inside, start_time=began_ns).end(stage_ended_ns)
        span.end(ended_ns)

    def close(self) -> None:
        """Send what is left. Blocking, for a few seconds at most."""
        self.provider.shutdown()
