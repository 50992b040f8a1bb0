"""What the manifests say of the service holds: started as they start it, asked as they ask it."""

import signal
import threading
import time

import httpx

from tests.kubernetes.rendering import KUBERNETES, Manifest, build
from tests.service.test_process import free_port, process, wait_until_ready


def container_of(pod: Manifest) -> Manifest:
    [container] = pod["containers"]
    return container


def deployed() -> Manifest:
    deployment = next(one for one in build(KUBERNETES / "base") if one["kind"] == "Deployment")
    return container_of(deployment["spec"]["template"]["spec"])


def test_probes_and_prometheus_are_answered_and_a_leaving_pod_says_so_at_once() -> None:
    container = deployed()
    runtime = next(one for one in build(KUBERNETES / "kserve") if one["kind"] == "ServingRuntime")
    given = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    given["STRIDE_THREADS"] = container["resources"]["limits"]["cpu"]
    given["STRIDE_DRAIN_S"] = "1"  # shorter than theirs: a test waits for it
    asked = [
        one[probe]["httpGet"]["path"]
        for one in (container, container_of(runtime["spec"]))
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    ]
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with process("-m", "service", "--port", str(port), **given) as service:
        wait_until_ready(port)
        for path in [*asked, "/metrics", "/v2/models/cifar10-resnet"]:
            assert httpx.get(address + path).status_code == 200, path
        service.send_signal(signal.SIGTERM)
        ready = container["readinessProbe"]["httpGet"]["path"]
        deadline = time.monotonic() + 0.9
        while (status := httpx.get(address + ready).status_code) == 200 and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert status == 503
        assert httpx.get(address + container["livenessProbe"]["httpGet"]["path"]).status_code == 200
        assert httpx.get(f"{address}/models").status_code == 200  # whoever has not heard yet is answered
        assert service.wait(timeout=30) in {0, -signal.SIGTERM}


def test_the_variables_of_a_kubernetes_service_would_stop_the_start() -> None:
    """Why enableServiceLinks is false: these are what Kubernetes sets for a Service named stride."""
    links = {"STRIDE_SERVICE_HOST": "10.0.0.1", "STRIDE_PORT": "tcp://10.0.0.1:80"}
    with process("-m", "service", "--port", "0", **links) as service:
        _, told = service.communicate(timeout=60)
    assert service.returncode == 2
    assert "STRIDE_SERVICE_HOST" in told
