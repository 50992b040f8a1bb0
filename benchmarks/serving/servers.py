"""The servers that are compared: how each is started, asked and described."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.serving import launches
from benchmarks.serving.payloads import Body, Picture, multipart, multipart_data, open_inference


@dataclass(frozen=True)
class Entry:
    """One row of the table."""

    name: str
    label: str
    launch: launches.Launch
    settings: str
    environment: str | None = None  # of build/peers; none: the product's own
    package: str = ""  # whose version is stated
    path: str = "/predict"
    body: Callable[[Picture], Body] = multipart
    answers: bool = True  # whether it classifies, so that its answer can be checked


OURS = Entry("ours", "Stride, 2 workers", launches.ours(2), "as documented: `--workers 2`, log to a file")

ENTRIES = (
    OURS,
    Entry("ours-1", "Stride, 1 worker", launches.ours(1), "as documented, log to a file"),
    Entry(
        "bare",
        "bare ASGI, no decoding, no model",
        launches.uvicorn("bare:app", 1),
        "1 process; constant answer: the ceiling of uvicorn",
        package="uvicorn",
        answers=False,
    ),
    Entry(
        "tutorial",
        "FastAPI tutorial, 1 worker",
        launches.uvicorn("tutorial:app", 1),
        "torch's default threads, no access log",
        package="fastapi",
    ),
    Entry(
        "tutorial-1",
        "FastAPI tutorial, 1 thread",
        launches.uvicorn("tutorial:app", 1, threads=1),
        "1 worker, 1 torch thread, no access log",
        package="fastapi",
    ),
    Entry(
        "tutorial-2",
        "FastAPI tutorial, 2 workers",
        launches.uvicorn("tutorial:app", 2, threads=1),
        "1 torch thread each, no access log",
        package="fastapi",
    ),
    Entry(
        "torchserve",
        "TorchServe",
        launches.torchserve,
        "2 workers, 1 torch thread each, batchSize 32, maxBatchDelay 1 ms",
        environment="torchserve",
        package="torchserve",
        path="/predictions/classifier",
        body=multipart_data,
    ),
    Entry(
        "mlserver",
        "MLServer",
        launches.mlserver,
        "2 parallel workers, 1 torch thread each, V2 JSON with base64, max_batch_size 32 within 1 ms",
        environment="mlserver",
        package="mlserver",
        path="/v2/models/classifier/infer",
        body=open_inference,
    ),
    Entry(
        "litserve",
        "LitServe",
        launches.litserve,
        "2 workers, 1 torch thread each, max_batch_size 32, batch_timeout 1 ms, fast_queue",
        environment="litserve",
        package="litserve",
    ),
    Entry(
        "bentoml",
        "BentoML",
        launches.bentoml,
        "2 workers, 1 torch thread each, adaptive batching, max_batch_size 32, no access log",
        environment="bentoml",
        package="bentoml",
    ),
    Entry(
        "rayserve",
        "Ray Serve",
        launches.rayserve,
        "2 replicas, 1 torch thread each, @serve.batch 32 within 1 ms, no access log",
        environment="rayserve",
        package="ray",
        path="/",
    ),
)
