"""Ray Serve: two replicas, each gathering its requests with `@serve.batch`."""

import os
import signal
import sys
from typing import Any

import ray
from classifier import Answer, Classifier
from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request

BATCH, WAIT_S = int(os.environ["MAX_BATCH"]), float(os.environ["MAX_WAIT_S"])


@serve.deployment(num_replicas=2, max_ongoing_requests=128, ray_actor_options={"num_cpus": 1})
class Pictures:
    """One picture a request, from the form field `file`."""

    def __init__(self) -> None:
        self.classifier = Classifier()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_S)
    async def classify(self, files: list[bytes]) -> list[Answer]:
        return self.classifier.classify([self.classifier.decode(data) for data in files])

    async def __call__(self, request: Request) -> Any:
        async with request.form() as form:
            return await self.classify(await form["file"].read())


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Pictures.bind(), route_prefix="/", logging_config=LoggingConfig(enable_access_log=False))
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
