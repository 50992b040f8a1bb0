"""The service as a process: how it starts, refuses to start, shares work and stops."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.artefacts import write_artefact

ROOT = Path(__file__).parents[2]
forks = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def process(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a Python command in the repository, and kill it if the test leaves it running."""
    started = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "STRIDE_DRAIN_S": "0", **environment},
        stderr=subprocess.PIPE,
        pipesize=2**20,  # a log that nobody reads yet: a full pipe would stop the service
        text=True,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
        started.communicate()


def wait_until_ready(port: int, within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("never ready")


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "service", "--port", "{port}"),
        ("-m", "service", "--port", "{port}", "--workers", "2"),
        ("-m", "uvicorn", "service.app:create_app", "--factory", "--port", "{port}"),
    ],
    ids=["module", "two workers", "uvicorn"],
)
def test_each_way_to_start_serves_and_stops_cleanly(command: tuple[str, ...], cat: bytes) -> None:
    port = free_port()
    with process(*(part.format(port=port) for part in command)) as service:
        wait_until_ready(port)
        answer = httpx.post(f"http://127.0.0.1:{port}/predict", files={"file": cat}, timeout=30)
        assert answer.status_code == 200
        service.send_signal(signal.SIGTERM)
        _, log = service.communicate(timeout=30)
        assert service.returncode in {0, -signal.SIGTERM}, log
        assert "Traceback" not in log
        servers = 2 if "--workers" in command else 1
        assert log.count("Uvicorn running") == 1  # not again by every process
        assert log.count("Finished server process") == servers, "the last lines are lost"


def test_requests_in_flight_at_sigterm_are_answered() -> None:
    port = free_port()
    # Two seconds of work and more, made to bytes beforehand.
    body = json.dumps({"image": [[1] * 800] * 800, "filter": [[1] * 41] * 41}).encode()
    with process("-m", "service", "--port", str(port)) as service:
        wait_until_ready(port)

        sent = threading.Barrier(7)

        def parts() -> Iterator[bytes]:
            yield body
            sent.wait(60)

        def one(_: int) -> int:
            headers = {"Content-Type": "application/json"}
            url = f"http://127.0.0.1:{port}/convolve"
            return httpx.post(url, content=parts(), headers=headers, timeout=60).status_code

        with ThreadPoolExecutor(6) as pool:
            answers = [pool.submit(one, i) for i in range(6)]
            sent.wait(60)
            # Answered after what came before it was seen: the six are inside.
            assert httpx.get(f"http://127.0.0.1:{port}/health/live", timeout=60).status_code == 200
            assert not all(answer.done() for answer in answers), "nothing was in flight"
            service.send_signal(signal.SIGTERM)
            assert [answer.result() for answer in answers] == [200] * 6
        service.communicate(timeout=60)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_broken_artefact_stops_the_start_with_one_sentence(tmp_path: Path, workers: str) -> None:
    write_artefact(tmp_path / "light.pt", name="dark")
    command = ("-m", "service", "--port", str(free_port()), "--workers", workers)
    with process(*command, STRIDE_MODELS_DIR=str(tmp_path)) as service:
        _, log = service.communicate(timeout=120)
        assert service.returncode != 0
        assert "light.pt: model.json says the name is 'dark'" in log
        assert "Traceback" not in log


def test_an_unknown_default_model_or_setting_stops_the_start(tmp_path: Path) -> None:
    write_artefact(tmp_path / "light.pt")
    for setting, says in (
        ({"STRIDE_MODELS_DIR": str(tmp_path), "STRIDE_DEFAULT_MODEL": "nope"}, "served are light"),
        ({"STRIDE_MODEL_DIR": str(tmp_path)}, "unknown setting STRIDE_MODEL_DIR"),
    ):
        with process("-m", "service", "--port", str(free_port()), **setting) as service:
            _, log = service.communicate(timeout=120)
            assert service.returncode != 0
            assert says in log
            assert "Traceback" not in log


@pytest.mark.parametrize(
    ("options", "setting", "says"),
    [
        (("--port", "99999"), {}, "99999 is not between 0 and 65535"),
        (("--workers", "0"), {}, "0 is not between 1 and 1024"),
        ((), {"STRIDE_API_KEYS": ","}, "nothing between the commas"),
        ((), {"STRIDE_API_KEYS": "in-plain"}, "entry 1 is not name:sha256"),
        ((), {"STRIDE_RATE_LIMIT": "often"}, "write it as 100/minute"),
        ((), {"STRIDE_BATCH_SIZE": "100000000"}, "STRIDE_BATCH_SIZE='100000000'"),
        ((), {"STRIDE_DRAIN_S": "inf"}, "STRIDE_DRAIN_S='inf'"),
        ((), {"STRIDE_TIMEOUT_S": "nan"}, "STRIDE_TIMEOUT_S='nan'"),
        ((), {"PROMETHEUS_MULTIPROC_DIR": "/not/there"}, "no folder that can be written to"),
    ],
)
def test_what_cannot_be_meant_stops_the_start_in_a_sentence(
    options: tuple[str, ...], setting: dict[str, str], says: str
) -> None:
    with process("-m", "service", "--port", str(free_port()), *options, **setting) as service:
        _, log = service.communicate(timeout=60)
    assert service.returncode == 2
    assert says in log
    assert "Traceback" not in log
    assert "in-plain" not in log


def test_ctrl_c_while_it_imports_ends_it_quietly() -> None:
    with process("-m", "service", "--port", str(free_port()), "--workers", "2") as service:
        time.sleep(0.6)
        service.send_signal(signal.SIGINT)
        _, log = service.communicate(timeout=60)
    assert "Traceback" not in log


@forks
def test_processes_whose_parent_is_gone_end() -> None:
    port = free_port()
    with process("-m", "service", "--port", str(port), "--workers", "2") as service:
        wait_until_ready(port)
        orphans = children(service.pid)
        service.kill()
        until = time.monotonic() + 20
        while any(Path(f"/proc/{orphan}").exists() for orphan in orphans):
            assert time.monotonic() < until, "they hold the port"
            time.sleep(0.1)


SILENT = """
import os, socket, sys, time
from service.supervisor import supervise

started = time.monotonic()

def serve(own, beat):
    print("began", flush=True)
    if time.monotonic() - started < 1:
        time.sleep(60)  # and does not say that it is well
    for _ in range(30):
        beat()
        time.sleep(0.1)
    os.kill(os.getppid(), 15)
    return 0

sys.exit(supervise(serve, [socket.socket()], most_silent_s=1.5))
"""


@forks
def test_a_process_that_is_stuck_is_replaced() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SILENT], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.count("began") == 2
    assert "was not heard of for" in done.stderr
    assert done.returncode == 0


def test_a_json_log_line_is_json_with_the_request_id() -> None:
    port = free_port()
    with process("-m", "service", "--port", str(port), STRIDE_LOG_FORMAT="json") as service:
        wait_until_ready(port)
        httpx.get(f"http://127.0.0.1:{port}/filters", headers={"X-Request-ID": "find-me"})
        service.send_signal(signal.SIGTERM)
        _, log = service.communicate(timeout=30)
    lines = [json.loads(line) for line in log.splitlines()]
    line = next(line for line in lines if line.get("request_id") == "find-me")
    assert line["status"] == 200
    assert line["total_ms"] > 0


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@forks
def test_a_process_that_dies_is_replaced_and_the_others_go_on(cat: bytes) -> None:
    port = free_port()
    with process("-m", "service", "--port", str(port), "--workers", "2") as service:
        wait_until_ready(port)
        before = children(service.pid)
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        # The address goes on: whoever is left answers, and soon there are two again.
        for _ in range(5):
            answer = httpx.post(f"http://127.0.0.1:{port}/predict", files={"file": cat}, timeout=30)
            assert answer.status_code == 200
        deadline = time.monotonic() + 30
        while len(now := children(service.pid)) < 2 or before[0] in now:
            assert time.monotonic() < deadline, "not replaced"
            time.sleep(0.05)
        assert before[1] in now
        service.send_signal(signal.SIGTERM)
        _, log = service.communicate(timeout=30)
        assert service.returncode == 0
        assert f"process {before[0]} died with -9" in log


def send_until(stop: threading.Event, url: Callable[[], str | None], body: bytes, seen: list[str]) -> None:
    """Ask over and over as a client behind a balancer does: on kept connections, of one that is ready."""
    with httpx.Client(timeout=30) as client:
        while not stop.wait(0.01):  # some of the processor is left to those that start
            address = url()
            try:
                answer = client.post(
                    f"{address}/predict?top_k=1", content=body, headers={"Content-Type": "image/jpeg"}
                )
                seen.append(f"{answer.status_code} {answer.json().get('version', '')}")
            except httpx.TransportError as error:
                seen.append(repr(error))


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_after_sigterm_it_is_not_ready_at_once_and_answers_on(cat: bytes) -> None:
    port = free_port()
    with process("-m", "service", "--port", str(port), STRIDE_DRAIN_S="2") as service:
        wait_until_ready(port)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as kept:
            kept.get("/health/live")
            service.send_signal(signal.SIGTERM)
            sent = time.monotonic()
            while (answer := httpx.get(f"http://127.0.0.1:{port}/health/ready")).status_code == 200:
                assert time.monotonic() - sent < 0.5
            assert answer.status_code == 503
            assert answer.json()["type"] == "urn:stride:problem:shutting-down"
            answer = kept.post("/predict", files={"file": cat})
            assert answer.status_code == 200
            assert answer.headers["Connection"] == "close", "the next request has to go elsewhere"
        _, log = service.communicate(timeout=30)
        assert 2 <= time.monotonic() - sent < 10
        assert "Traceback" not in log


def test_a_rolling_restart_under_load_fails_no_request(cat: bytes) -> None:
    """Two instances behind clients that look every tenth of a second which of them is ready."""
    ports = [free_port(), free_port()]
    command = ("-m", "service", "--port")
    ready: list[int] = []
    stop = threading.Event()
    seen: list[str] = []

    def look() -> None:
        while not stop.is_set():
            ready[:] = [port for port in ports if is_ready(port)] or ready
            time.sleep(0.1)

    def choose() -> str:
        return f"http://127.0.0.1:{random.choice(list(ready))}"

    with ExitStack() as stack:
        running = [stack.enter_context(process(*command, str(port), STRIDE_DRAIN_S="1")) for port in ports]
        for port in ports:
            wait_until_ready(port)
        ready.extend(ports)
        threads = [threading.Thread(target=look)]
        threads += [threading.Thread(target=send_until, args=(stop, choose, cat, seen)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for place, port in enumerate(ports):
                count = len(seen)
                running[place].send_signal(signal.SIGTERM)
                running[place].communicate(timeout=60)
                running[place] = stack.enter_context(process(*command, str(port), STRIDE_DRAIN_S="1"))
                wait_until_ready(port)
                assert len(seen) > count + 10, "no load meanwhile"
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert Counter(seen).keys() == {"200 1.0.0"}, Counter(seen)


@forks
@pytest.mark.parametrize("workers", ["1", "2"])
def test_sighup_swaps_a_model_in_every_process_under_load(tmp_path: Path, workers: str, cat: bytes) -> None:
    port = free_port()
    write_artefact(tmp_path / "light.pt", version="1")
    command = ("-m", "service", "--port", str(port), "--workers", workers)
    with process(*command, STRIDE_MODELS_DIR=str(tmp_path), STRIDE_DRAIN_S="0") as service:
        wait_until_ready(port)
        stop = threading.Event()
        seen: list[str] = []
        address = f"http://127.0.0.1:{port}"
        threads = [
            threading.Thread(target=send_until, args=(stop, lambda: address, cat, seen)) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        try:
            write_artefact(tmp_path / "new", name="light", version="2").rename(tmp_path / "light.pt")
            service.send_signal(signal.SIGHUP)
            until = time.monotonic() + 20
            while not seen or set(seen[-50:]) != {"200 2"}:
                assert time.monotonic() < until
                time.sleep(0.05)
            if workers == "2":  # one that dies is replaced by one with the new model
                os.kill(children(service.pid)[0], signal.SIGKILL)
                while len(children(service.pid)) < 2:
                    time.sleep(0.05)
                del seen[:]
                wait_until_ready(port)
                while len(seen) < 50:
                    time.sleep(0.05)
                assert {each for each in seen if each.startswith("200")} == {"200 2"}
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        if workers == "1":
            assert set(seen) == {"200 1", "200 2"}
        service.send_signal(signal.SIGTERM)
        service.communicate(timeout=30)


@pytest.mark.parametrize(("workers", "says"), [("1", "Waiting for application startup"), ("2", "is ready")])
def test_sigterm_while_it_loads_ends_it_before_anybody_is_served(workers: str, says: str) -> None:
    port = free_port()
    command = ("-m", "service", "--port", str(port), "--workers", workers)
    with process(*command, STRIDE_DRAIN_S="20") as service:
        assert service.stderr is not None
        while says not in service.stderr.readline():
            assert service.poll() is None
        service.send_signal(signal.SIGTERM)
        started = time.monotonic()
        while service.poll() is None:
            assert not is_ready(port)
            assert time.monotonic() - started < 15, "it drains, and there is nobody to drain"
        assert "Traceback" not in service.stderr.read()


@forks
def test_another_ones_child_does_not_end_the_supervisor(cat: bytes) -> None:
    port = free_port()
    script = f"sleep 0.1 & exec {sys.executable} -m service --port {port} --workers 2"
    with process("-c", f"import os; os.execvp('sh', ['sh', '-c', {script!r}])") as service:
        wait_until_ready(port)
        assert httpx.post(f"http://127.0.0.1:{port}/predict", files={"file": cat}).status_code == 200
        assert service.poll() is None
        service.send_signal(signal.SIGTERM)
        _, log = service.communicate(timeout=30)
        assert "Traceback" not in log
        assert service.returncode == 0


@forks
def test_a_second_process_shares_the_models_memory() -> None:
    def own_mib(pid: int) -> float:
        """What a process would give back if it ended: its private pages."""
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_")) / 1024

    port = free_port()
    with process("-m", "service", "--port", str(port), "--workers", "2") as service:
        wait_until_ready(port)
        parent_and_all = own_mib(service.pid) + sum(map(own_mib, children(service.pid)))
        assert max(map(own_mib, children(service.pid))) < 80, "one by itself takes 350"
        assert parent_and_all < 300
