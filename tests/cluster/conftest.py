"""One Ray cluster for the tests of a file, in processes of its own: none of Ray is loaded into the tests."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.serving.process import MARK, alive, family, free_ports

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "deploy" / "ray" / "serve.yaml"
LIMIT_S = 120  # for what takes seconds where nothing else runs
ANSWER_S = 300  # for one command, the start of three machines among them: Ray may wait for ever
REPLICAS = 3
HAPROXY = os.environ.get("CLUSTER_HAPROXY") != "0"  # as deployed; 0: Ray's own proxy


class RunningCluster:
    """A cluster that runs: what is asked of it goes to `nodes.py`."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, folder: Path) -> None:
        self.process, self.port, self.folder = process, port, folder
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, name: str, *arguments: str) -> Any:
        assert self.process.stdin
        print(json.dumps([name, *arguments]), file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self) -> Any:
        assert self.process.stdout
        # One line an answer, so nothing of it is left in Python's buffer.
        told, _, _ = select.select([self.process.stdout], [], [], ANSWER_S)
        assert told, f"no answer in {ANSWER_S} s:\n{(self.folder / 'log').read_text()[-3000:]}"
        line = self.process.stdout.readline()
        assert line, f"the cluster has ended:\n{(self.folder / 'log').read_text()[-3000:]}"
        return json.loads(line)

    def deploy(self, given: dict[str, Any] | None = None, **deployment: Any) -> None:
        """Run deploy/ray/serve.yaml on these machines, with other settings or numbers."""
        config = yaml.safe_load(CONFIG.read_text())
        config["proxy_location"] = "HeadOnly"  # one address on one machine
        config["http_options"] |= {"host": "127.0.0.1", "port": self.port}
        application = config["applications"][0]
        application["args"] |= {"models_dir": str(ROOT / "models")} | (given or {})
        application["deployments"][0] |= deployment
        path = self.folder / "serve.yaml"
        path.write_text(yaml.safe_dump(config))
        self.ask("deploy", str(path))

    def has(self, running: int) -> Callable[[], bool]:
        """Say whether so many replicas run, and none comes or goes."""
        wanted = {"application": "RUNNING", "message": "", "RUNNING": running}
        return lambda: self.ask("replicas") == wanted

    def wait(self, so: Callable[[], bool]) -> None:
        """Wait until it is so."""
        ends = time.monotonic() + LIMIT_S
        while not so():
            assert time.monotonic() < ends, self.ask("replicas")
            time.sleep(0.1)


def fixed(count: int) -> dict[str, Any]:
    """Have so many replicas, whatever the load."""
    return {"autoscaling_config": {"min_replicas": count, "max_replicas": count}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    """Three machines with three replicas of the application as checked in, the committed models."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install -e '.[cluster]'")
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: the names of Ray's sockets are long
    with running(folder) as process:
        cluster = RunningCluster(process, free_ports(1)[0], folder)
        assert cluster.answer() == {"machines": 3}
        cluster.deploy(**fixed(REPLICAS))
        cluster.wait(cluster.has(REPLICAS))
        yield cluster


@contextlib.contextmanager
def running(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run `nodes.py`, and see to it that none of its processes is left."""
    mark = uuid.uuid4().hex
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STRIDE_", "RAY_"))}
    environment = kept | {
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": str(folder),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "service.ingress:layers",
        "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": str(int(HAPROXY)),
        **haproxy(folder),
        # For balancers that notice late; there is none here.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        # What an autoscaler looks at, sooner than every ten seconds.
        "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
        "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
        "RAY_prestart_worker_first_driver": "0",
        MARK: mark,
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "nodes.py"), str(free_ports(1)[0])],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        with process:
            try:
                yield process
            finally:
                known = family(process.pid, mark)
                assert process.stdin
                process.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
                end(known | family(process.pid, mark))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def haproxy(folder: Path) -> dict[str, str]:
    """Give HAProxy files and ports that no other cluster of this machine has."""
    names = {
        "CONFIG_FILE_LOC": "haproxy.cfg",
        "SOCKET_PATH": "admin.sock",
        "METRICS_SOCKET_PATH": "metrics.sock",
        "SERVER_STATE_BASE": "",
        "SERVER_STATE_FILE": "server-state",
    }
    given = {name: str(folder / "haproxy" / file) for name, file in names.items()}
    given |= dict(zip(("METRICS_PORT", "STATS_PORT"), map(str, free_ports(2)), strict=True))
    return {f"RAY_SERVE_HAPROXY_{name}": value for name, value in (given | {"NBTHREAD": "1"}).items()}


def end(processes: set[int]) -> None:
    for process in alive(processes):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
