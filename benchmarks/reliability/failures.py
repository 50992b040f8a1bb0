"""Faults of the machine and of models: processes killed, disks full, clocks wrong, graphs that fail."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.reliability import sick
from benchmarks.reliability.launch import children, launched, ports_of, status
from benchmarks.reliability.load import LIVE, PREDICT, latencies_ms, summary, under_load, until
from benchmarks.reliability.wire import ask, request
from benchmarks.serving.environments import REPOSITORY

METRICS = request("GET", "/metrics")
MODELS = REPOSITORY / "models"


async def process_killed(clients: int = 32, times: int = 5) -> dict[str, Any]:
    """SIGKILL of one of two processes under load: lost is what was in flight on it, nothing else."""
    with launched(workers=2) as server:
        await until_all_serve(server.port, 2)
        lost = replaced_s = 0.0
        async with under_load(server.port, clients) as fate:
            for _ in range(times):
                await asyncio.sleep(1)
                victim = max(children(server.popen.pid), key=lambda pid: len(ports_of(pid, server.port)))
                on_it = ports_of(victim, server.port)
                before = len(fate.lost_on)
                os.kill(victim, signal.SIGKILL)
                began = time.monotonic()
                while len(now := children(server.popen.pid)) < 2 or victim in now:
                    assert time.monotonic() - began < 30, "it was not replaced"
                    await asyncio.sleep(0.02)
                replaced_s = max(replaced_s, time.monotonic() - began)
                others = [port for port in fate.lost_on[before:] if port not in on_it]
                assert not others, "requests were lost on the process that lives"
                lost += len(fate.lost_on) - before
            await asyncio.sleep(1)
        assert set(fate.statuses) == {200}, fate.statuses
        assert len(fate.lost_on) <= clients * times, fate.lost_on
        return {
            "kills": times,
            "clients": clients,
            "replaced_within_s": round(replaced_s, 2),
            **fate.figures(),
        }


async def process_stopped(clients: int = 16, seconds: float = 5) -> dict[str, Any]:
    """SIGSTOP of one of two processes and SIGCONT after a while: its requests are late, none is lost."""
    with launched(workers=2) as server:
        await until_all_serve(server.port, 2)
        async with under_load(server.port, clients) as fate:
            await asyncio.sleep(0.5)
            victim = children(server.popen.pid)[0]
            os.kill(victim, signal.SIGSTOP)
            on_it = len(ports_of(victim, server.port))
            before = fate.statuses[200]
            await asyncio.sleep(seconds)
            meanwhile = fate.statuses[200] - before
            os.kill(victim, signal.SIGCONT)
            await asyncio.sleep(1)
        assert set(fate.statuses) == {200}, fate.statuses
        assert not fate.lost_on, fate.lost_on
        assert meanwhile > 0, f"the other process did not go on: {on_it} of {clients} were on the one"
        return {"stopped_s": seconds, "answered_meanwhile": meanwhile, **fate.figures()}


async def log_full(script: str = "exec 2>/dev/full", requests: int = 50) -> dict[str, Any]:
    """A log that cannot be written: a full disk, or nothing at all where it should go."""
    with launched(script, workers=2) as server:
        spent = await latencies_ms(server.port, requests, PREDICT, pause_s=0)
        bad = await ask(server.port, PREDICT.replace(b"top_k=1", b"top_k=0"))
        assert bad.status == 422, bad
        victim = children(server.popen.pid)[0]
        os.kill(victim, signal.SIGKILL)  # which is logged as an error, at once
        await asyncio.sleep(2)
        assert len(children(server.popen.pid)) == 2, "it was not replaced"
        await latencies_ms(server.port, requests, PREDICT, pause_s=0)
        server.popen.terminate()
        await asyncio.to_thread(server.popen.wait, 30)
        assert server.popen.returncode == 0, server.popen.returncode
        return {"log": script, "requests": 2 * requests, **summary(spent)}


async def metrics_folder_gone() -> dict[str, Any]:
    """The folder in which the processes add up their metrics is deleted under them."""
    folder = Path(tempfile.mkdtemp(prefix="reliability-metrics-"))
    with launched(workers=2, PROMETHEUS_MULTIPROC_DIR=str(folder)) as server:
        shutil.rmtree(folder)  # before the first request, and so before the first file of many
        spent = await latencies_ms(server.port, 30, PREDICT, pause_s=0)
        await asyncio.sleep(1.5)
        answer = await ask(server.port, METRICS)
        victim = children(server.popen.pid)[0]
        os.kill(victim, signal.SIGKILL)
        await asyncio.sleep(2.5)
        again = await latencies_ms(server.port, 30, PREDICT, pause_s=0)
        living = len(children(server.popen.pid))
        metrics = await ask(server.port, METRICS)
        assert living == 2, f"{living} of 2 processes are there: {server.log.read_text()[-600:]}"
        # Nothing to tell is told as an error, which alerts; a process that is started makes the folder anew.
        assert (answer.status, metrics.status) == (500, 200), (answer.status, metrics.status)
        return {"predictions": len(spent) + len(again), "metrics": f"{answer.status}, then {metrics.status}"}


async def models_folder_gone(clients: int = 8) -> dict[str, Any]:
    """The models' folder is removed while it is watched, and comes back: what was loaded is served on."""
    folder = Path(tempfile.mkdtemp(prefix="reliability-models-"))
    shutil.copy(MODELS / "cifar10-lenet.pt", folder)
    with launched(STRIDE_MODELS_DIR=str(folder), STRIDE_WATCH_S="0.1") as server:
        async with under_load(server.port, clients) as fate:
            await asyncio.sleep(0.5)
            aside = folder.rename(folder.with_name(f"{folder.name}-aside"))  # noqa: ASYNC240
            await until_metrics(server.port, "stride_models_refused 1.0")
            aside.rename(folder)
            await until_metrics(server.port, "stride_models_refused 0.0")
        shutil.rmtree(folder)
        assert set(fate.statuses) == {200}, fate.statuses
        assert not fate.lost_on
        return fate.figures()


async def until_metrics(port: int, line: str) -> None:
    """Wait until the metrics say so."""
    async with asyncio.timeout(30):
        while True:
            if line in (await ask(port, METRICS)).body.decode():
                return
            await asyncio.sleep(0.1)


async def until_all_serve(port: int, processes: int) -> None:
    """Wait until every process is there: ready is the first of them."""
    async with asyncio.timeout(30):
        while True:
            metrics = (await ask(port, METRICS)).body.decode()
            if metrics.count("stride_process_resident_memory_bytes{") == processes:
                return
            await asyncio.sleep(0.1)


def clock_library() -> Path | None:
    """Find libfaketime, which shows a process another time."""
    return next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)


async def clock_jumps(jumps: Sequence[str] = ("+0", "+86400", "-86400", "+0")) -> dict[str, Any]:
    """The time of day jumps by a day, forwards and back: time-outs, quotas and answers stay as they are."""
    library = clock_library()
    assert library is not None, "libfaketime is not installed (Debian, Ubuntu: apt install faketime)"
    with tempfile.TemporaryDirectory() as name:
        clock = Path(name, "clock")
        clock.write_text("+0")  # noqa: ASYNC240  (a small file)
        settings = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "STRIDE_RATE_LIMIT": "20/second",
            "STRIDE_HEAD_TIMEOUT_S": "5",
        }
        found = {}
        with launched(**settings) as server:
            for jump in jumps:
                clock.write_text(jump)  # noqa: ASYNC240
                await asyncio.sleep(2.1)
                answers = await asyncio.gather(*(ask(server.port, PREDICT) for _ in range(60)))
                statuses = [one.status for one in answers]
                await asyncio.sleep(1.2)
                after = (await ask(server.port, PREDICT)).status
                spent = await latencies_ms(server.port, 5)
                assert 429 in statuses, f"no quota at {jump}"
                assert statuses.count(200) >= 20, f"{statuses.count(200)} let in at {jump}"
                assert after == 200, f"{after} at {jump}"
                found[jump] = f"{statuses.count(200)} of 60 let in, health {spent[-1]:.1f} ms at most"
            text = server.log.read_text()
        # libfaketime itself fails a sleep where the clock jumps; the log's thread is started again.
        assert text.count("Traceback") == text.count("time.sleep(FLUSH_AFTER_S)\nOSError"), text
        return found | {"days_in_the_log": len({line[:10] for line in text.splitlines() if line[:2] == "20"})}


async def model_fails(pictures: int = 64) -> dict[str, Any]:
    """A model that raises for some pictures: those get a 500, their neighbours in the batch their answers."""
    with tempfile.TemporaryDirectory() as folder:
        sick.write(Path(folder))
        with launched(STRIDE_MODELS_DIR=folder) as server:
            numbers = [sick.RAISES if one % 8 == 3 else one for one in range(pictures)]
            answers = await asyncio.gather(*(ask(server.port, sick.ask_for(number)) for number in numbers))
            for number, answer in zip(numbers, answers, strict=True):
                if number == sick.RAISES:
                    assert answer.status == 500, answer
                else:
                    assert answer.json()["predictions"][0]["label"] == str(number), (number, answer)
            failed = await asyncio.gather(
                *(ask(server.port, sick.ask_for(sick.RAISES)) for _ in range(pictures))
            )
            assert {one.status for one in failed} == {500}
            assert b"cannot take this picture" not in failed[0].body
            await until(server.port, sick.ask_for(5), within_s=5)
            return {
                "answered": pictures - numbers.count(sick.RAISES),
                "failed": numbers.count(sick.RAISES) + pictures,
            }


async def model_hangs(limit_s: float = 1, steps: int = 30_000) -> dict[str, Any]:
    """A model that takes longer than the time-out: callers get 503, health says so, then it is well."""
    with tempfile.TemporaryDirectory() as folder:
        sick.write(Path(folder), steps)
        with launched(STRIDE_MODELS_DIR=folder, STRIDE_TIMEOUT_S=str(limit_s), STRIDE_THREADS="1") as server:
            began = time.monotonic()
            hung = asyncio.create_task(ask(server.port, sick.ask_for(sick.HANGS)))
            await asyncio.sleep(limit_s / 2)
            waiting = asyncio.create_task(ask(server.port, sick.ask_for(3)))
            late = await hung
            assert late.status == 503, late
            assert time.monotonic() - began < limit_s + 2, "it was told late"
            assert (await waiting).status == 503
            told_s = await until(server.port, LIVE, status=503, within_s=10)
            well_s = await until(server.port, sick.ask_for(3), within_s=120)
            assert await until(server.port, LIVE, within_s=5) < 1
            return {
                "limit_s": limit_s,
                "health_says_503_after_s": round(limit_s + told_s, 1),
                "well_after_s": well_s,
            }


async def model_hangs_for_ever(limit_s: float = 1) -> dict[str, Any]:
    """A model that never comes back: health says 503, other requests go on, and SIGTERM ends the process."""
    with tempfile.TemporaryDirectory() as folder:
        sick.write(Path(folder))
        with launched(STRIDE_MODELS_DIR=folder, STRIDE_TIMEOUT_S=str(limit_s)) as server:
            late = await ask(server.port, sick.ask_for(sick.HANGS_FOR_EVER))
            assert late.status == 503, late
            await until(server.port, LIVE, status=503, within_s=10)
            assert status(server.port, "/models") == 200
            began = time.monotonic()
            server.popen.terminate()
            await asyncio.to_thread(server.popen.wait, limit_s + 20)
            spent_s = time.monotonic() - began
            assert "the process ends all the same" in server.log.read_text()
            return {"limit_s": limit_s, "ended_after_s": round(spent_s, 2)}
