"""Faults of clients: slow ones, idle ones, thousands of them, ones that vanish."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.reliability import footprint
from benchmarks.reliability.launch import launched, processor_s, raise_open_files
from benchmarks.reliability.load import LIVE, LOST, PREDICT, latencies_ms, summary, until
from benchmarks.reliability.wire import RESET, Line, ask, read_answer, request
from benchmarks.serving.process import Server

HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n"


@contextlib.contextmanager
def crowd(port: int, count: int, first: bytes = b"", receive_bytes: int = 0) -> Iterator[list[socket.socket]]:
    """Open so many connections, each with something sent already; close all at the end of the block."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            if receive_bytes:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            one.settimeout(20)
            one.connect(("127.0.0.1", port))
            if first:
                one.sendall(first)
            found.append(one)
        yield found


async def slow_bodies(count: int = 500, timeout_s: float = 20) -> dict[str, Any]:
    """Clients that send a byte of a body a second: others are served, and each gets a 408 in time."""
    with launched(workers=2, STRIDE_BODY_TIMEOUT_S=str(timeout_s)) as server:
        began, statuses = time.monotonic(), []

        async def dribble() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(HEAD)
            answer = asyncio.create_task(read_answer(reader))
            while not answer.done():
                writer.write(b"x")
                await asyncio.wait([answer], timeout=1)
            writer.close()
            statuses.append((await answer).status)

        tasks = [asyncio.create_task(dribble()) for _ in range(count)]
        await asyncio.sleep(min(3, timeout_s / 2))
        health, predict = await latencies_ms(server.port, 20), await latencies_ms(server.port, 10, PREDICT)
        await asyncio.wait_for(asyncio.gather(*tasks), timeout_s + 20)
        spent_s = time.monotonic() - began
        assert statuses == [408] * count, set(statuses)
        return {
            "clients": count,
            "limit_s": timeout_s,
            "all_408_after_s": round(spent_s, 1),
            "health": summary(health),
            "predict": summary(predict),
        }


async def idle(count: int = 10_000, hold_s: float = 5) -> dict[str, Any]:
    """Connections that have been answered once and then do nothing, all of them held at the same time."""
    assert raise_open_files() > count + 100, "too few open files are allowed here: ulimit -n"
    with launched(STRIDE_MAX_CONNECTIONS=str(count + 1000)) as server:
        await latencies_ms(server.port, 5, PREDICT)
        before = footprint.look(server.processes())
        with crowd(server.port, count, LIVE) as connections:
            for one in connections:
                assert one.recv(4096).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(hold_s)
            health, predict = (
                await latencies_ms(server.port, 50),
                await latencies_ms(server.port, 20, PREDICT),
            )
            held = footprint.look(server.processes())
            assert held.files >= count, "they were not held"
            connections[0].sendall(LIVE)
            assert connections[0].recv(4096).startswith(b"HTTP/1.1 200 "), "the first of them is of no use"
        await until_files(server, before.files + 5)
        await asyncio.sleep(12)  # free memory goes back every ten seconds
        after = footprint.look(server.processes())
        return {
            "connections": count,
            "health": summary(health),
            "predict": summary(predict),
            "kib_a_connection": round((held.own_mib - before.own_mib) * 1024 / count, 1),
            "own_mib": {"before": before.own_mib, "held": held.own_mib, "after": after.own_mib},
            "files_after": after.files - before.files,
        }


async def idle_beyond_limit(count: int = 10_000) -> dict[str, Any]:
    """The same against the default limit of connections: the oldest give way, whoever is new is answered."""
    raise_open_files()
    with launched(workers=2) as server:
        with crowd(server.port, count, LIVE) as connections:
            health, predict = (
                await latencies_ms(server.port, 50),
                await latencies_ms(server.port, 20, PREDICT),
            )
            held = footprint.look(server.processes()).files
            last = connections[-1]
            assert last.recv(4096).startswith(b"HTTP/1.1 200 ")
        return {"opened": count, "files_held": held, "health": summary(health), "predict": summary(predict)}


async def until_files(server: Server, most: int) -> None:
    """Wait until the server holds so few files."""
    async with asyncio.timeout(30):
        while footprint.look(server.processes()).files > most:  # noqa: ASYNC110  (another process's)
            await asyncio.sleep(0.2)


async def slow_readers(count: int = 40, limit_s: float = 5) -> dict[str, Any]:
    """Clients that ask for megabytes and read a byte a second: they are cut off, their answers let go of."""
    image = np.random.default_rng(0).integers(0, 256, (700, 700)).tolist()
    body = str({"image": image, "filter": "gaussian-5"}).replace("'", '"').encode()
    data = request("POST", "/convolve", body, content_type="application/json")
    settings = {"STRIDE_BODY_TIMEOUT_S": str(limit_s), "STRIDE_TIMEOUT_S": str(limit_s + 5)}
    with launched(workers=1, **settings) as server:
        await ask(server.port, data)
        before = footprint.look(server.processes())
        with crowd(server.port, count, data, receive_bytes=4096) as connections:
            await asyncio.sleep(2)
            held = footprint.look(server.processes())
            health = await latencies_ms(server.port, 20)
            began = time.monotonic()
            while (files := footprint.look(server.processes()).files) > before.files + 2:
                assert time.monotonic() - began < limit_s + 20, f"{files - before.files} are still held"
                for one in connections:
                    with contextlib.suppress(OSError):
                        one.recv(1, socket.MSG_DONTWAIT)
                await asyncio.sleep(1)
        await until(server.port)
        return {
            "clients": count,
            "held_mib": round(held.own_mib - before.own_mib, 1),
            "limit_s": limit_s,
            "let_go_after_s": round(time.monotonic() - began + 2, 1),
            "health": summary(health),
        }


async def resets(count: int = 500) -> dict[str, Any]:
    """Clients that break off with a reset, in the head, in the body, and while they wait."""
    with launched(workers=2) as server:
        for number in range(count):
            data = PREDICT[: (30, len(PREDICT) - 100, len(PREDICT))[number % 3]]
            one = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            one.sendall(data)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            one.close()
        health = await latencies_ms(server.port, 10)
        await latencies_ms(server.port, 10, PREDICT)
        await asyncio.sleep(1.5)
        metrics = (await ask(server.port, request("GET", "/metrics"))).body.decode()
        assert "stride_buffered_bytes 0.0" in metrics
        assert "Traceback" not in server.log.read_text()
        return {"clients": count, "health": summary(health)}


async def half_closed() -> dict[str, Any]:
    """A client that says it sends no more, and waits; and one that vanished without a word of it."""
    with launched() as server:
        with crowd(server.port, 1, PREDICT) as (one,):
            one.shutdown(socket.SHUT_WR)
            answer = await asyncio.to_thread(one.recv, 4096)
        await until(server.port, within_s=5)
        return {"answered": answer[:15].decode()}


async def pipelined(count: int = 200) -> dict[str, Any]:
    """Many requests in one piece: each answered, in the order sent."""
    with launched() as server:
        line = Line(server.port)
        reader, writer = await line.open()
        ids = [f"number-{number}" for number in range(count)]
        for one in ids:
            writer.write(PREDICT.replace(b"Host:", b"X-Request-ID: " + one.encode() + b"\r\nHost:", 1))
        answers = [await asyncio.wait_for(read_answer(reader), 30) for _ in ids]
        line.leave()
        assert [one.headers["x-request-id"] for one in answers] == ids
        assert {one.status for one in answers} == {200}
        return {"requests": count}


async def storm(per_second: int = 1000, seconds: float = 10) -> dict[str, Any]:
    """New connections by the clock, each asking once: none is lost."""
    with launched(workers=2) as server:
        spent: list[float] = []
        failed: list[str] = []

        async def visit() -> None:
            began = time.perf_counter()
            try:
                answer = await ask(server.port, LIVE)
                assert answer.status == 200, answer
                spent.append((time.perf_counter() - began) * 1000)
            except (*LOST, AssertionError) as error:
                failed.append(repr(error))

        began, tasks = time.perf_counter(), []
        for number in range(round(per_second * seconds)):
            late_s = began + number / per_second - time.perf_counter()
            if late_s > 0:
                await asyncio.sleep(late_s)
            tasks.append(asyncio.create_task(visit()))
        sent_s = time.perf_counter() - began
        await asyncio.gather(*tasks)
        assert not failed, failed[:3]
        spent.sort()
        return {
            "connections": len(tasks),
            "a_second": round(len(tasks) / sent_s),
            "p99_ms": round(spent[len(spent) * 99 // 100], 1),
            **summary(spent),
        }


async def stop_with_open_connections(count: int = 200, timeout_s: int = 3) -> dict[str, Any]:
    """SIGTERM while connections idle and send slowly: the service ends in its time all the same."""
    with launched(workers=2, STRIDE_TIMEOUT_S=str(timeout_s)) as server, contextlib.ExitStack() as stack:
        for first in (b"", LIVE, HEAD[:40], HEAD, HEAD + b"x" * 500):
            stack.enter_context(crowd(server.port, count // 5, first))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        server.popen.terminate()
        await asyncio.to_thread(server.popen.wait, timeout_s + 30)
        spent_s = time.monotonic() - began
        assert server.popen.returncode == 0, server.popen.returncode
        assert spent_s < timeout_s + 5, spent_s
        return {"connections": count, "timeout_s": timeout_s, "ended_after_s": round(spent_s, 2)}


async def no_more_files(limit: int = 64) -> dict[str, Any]:
    """More connections than the service may have open files: no busy loop, and well again afterwards."""
    with launched(f"ulimit -n {limit}") as server:
        with crowd(server.port, limit * 2, LIVE):
            await asyncio.sleep(1)
            began_s, began = processor_s(server.popen.pid), time.monotonic()
            await asyncio.sleep(3)
            busy = (processor_s(server.popen.pid) - began_s) / (time.monotonic() - began)
        again_s = await until(server.port, within_s=20)
        assert busy < 0.5, f"{busy:.0%} of a core while nothing could be done"
        return {
            "open_files": limit,
            "connections": limit * 2,
            "busy": round(busy, 3),
            "well_after_s": again_s,
        }
