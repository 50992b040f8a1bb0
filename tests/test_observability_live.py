"""A real Prometheus reads the service's metrics, and answers every question the dashboard asks."""

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

FOLDER = Path(__file__).parent.parent / "deploy" / "observability"
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "stride.json").read_text())
QUESTIONS = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
]
SECONDS = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
# Of these there is nothing to see while all is well, or for the first minutes.
QUIET = r"stride:|ALERTS|refusals_total|connections_closed_total|reloads_total"


@pytest.fixture(scope="module")
def prometheus(
    tmp_path_factory: pytest.TempPathFactory, client: httpx.Client, cat: bytes
) -> Iterator[Callable[[str], Any]]:
    """Ask a Prometheus that has scraped the service for some seconds, with the committed rules."""
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] |= SECONDS
    config["rule_files"] = [str(FOLDER / "alerts.yml")]
    stride = next(job for job in config["scrape_configs"] if job["job_name"] == "stride")
    del stride["dns_sd_configs"]
    stride["static_configs"] = [{"targets": [client.base_url.netloc.decode()]}]
    config["scrape_configs"] = [stride]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
        )
    try:
        yield asker(process, port, folder / "log", client, cat)
    finally:
        process.terminate()
        process.wait(10)


def asker(
    process: subprocess.Popen[bytes], port: int, log: Path, client: httpx.Client, cat: bytes
) -> Callable[[str], Any]:
    """Wait until it has seen the service at work; give the function that asks."""

    def ask(expression: str) -> Any:
        address = f"http://127.0.0.1:{port}/api/v1/query"
        answer = httpx.post(address, data={"query": expression}, timeout=10).json()
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        client.post("/predict", files={"file": cat}).raise_for_status()
        if ready(port) and ask("sum(increase(stride_predictions_total[5s])) > 2"):
            return ask
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def ready(port: int) -> bool:
    """Say whether it answers yet."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/-/ready").is_success
    except httpx.TransportError:
        return False


def free_port() -> int:
    """A port nobody listens on: Prometheus does not tell which it took by itself."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.parametrize("expression", QUESTIONS)
def test_a_panel_has_something_to_show(prometheus: Callable[[str], Any], expression: str) -> None:
    filled = expression.replace("$__rate_interval", "20s").replace("$instance", ".+").replace("$model", ".+")
    assert "$" not in filled
    result = prometheus(filled)
    if not re.search(QUIET, expression):
        assert result
        # A route that nobody asked for in the last seconds has no quantile.
        assert any(one["value"][1] not in {"NaN", "+Inf"} for one in result)


def test_a_service_that_is_well_raises_no_alert(prometheus: Callable[[str], Any]) -> None:
    assert prometheus('ALERTS{alertstate="firing"}') == []
    assert prometheus('up{job="stride"}')[0]["value"][1] == "1"
