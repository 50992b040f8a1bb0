"""Connections by themselves: slow, endless, idle, too many, gone; by sockets, as the worst clients do it."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from service.serving import Served
from tests.answers import assert_problem

Serve = Callable[..., httpx.Client]
GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
MATRIX = json.dumps({"image": [[1.5] * 1500] * 1500, "filter": "identity"}).encode()
MEGABYTES = b"POST /convolve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
MEGABYTES += b"Content-Length: %d\r\n\r\n" % len(MATRIX) + MATRIX


@contextmanager
def connected(client: httpx.Client) -> Iterator[socket.socket]:
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=20) as one:
        yield one


def until_closed(one: socket.socket) -> bytes:
    """Read until the service closes."""
    pieces = []
    while piece := one.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def assert_refusal(answer: bytes, status: int, says: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0].startswith(f"http/1.1 {status} ")
    assert "content-type: application/problem+json" in lines
    assert "connection: close" in lines
    assert any(line.startswith("x-request-id: ") for line in lines)
    problem = json.loads(body)
    assert problem["status"] == status
    assert says in problem["detail"]


def is_live(client: httpx.Client) -> bool:
    return client.get("/health/live").status_code == 200


def test_a_head_that_does_not_end_in_time_is_cut_off(serve: Serve) -> None:
    client = serve(head_timeout_s=0.5)
    with connected(client) as one, connected(client) as silent:
        one.sendall(b"GET /health/live HTTP/1.1\r\nHost:")
        started = time.monotonic()
        assert_refusal(until_closed(one), 408, "0.5 s, the limit")
        assert until_closed(silent) == b"", "nothing was asked, nothing is answered"
        assert time.monotonic() - started < 5


def test_a_byte_a_moment_does_not_keep_a_head_alive(serve: Serve) -> None:
    client = serve(head_timeout_s=0.5)
    with connected(client) as one:
        one.settimeout(0.1)
        one.sendall(b"GET /health/live HTTP/1.1\r\nX-Slow: ")
        started, answer = time.monotonic(), b""
        while not answer and time.monotonic() - started < 10:
            one.sendall(b"x")
            try:
                answer = one.recv(4096)
            except TimeoutError:
                continue
    assert_refusal(answer, 408, "did not arrive")


def test_a_head_without_end_is_refused_at_the_limit(serve: Serve) -> None:
    client = serve(max_head_bytes=5000)
    with connected(client) as one:
        one.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: ")
        for _ in range(6):
            one.sendall(b"a" * 1000)
            time.sleep(0.01)
        assert_refusal(until_closed(one), 431, "the limit is 5,000 bytes")


@pytest.mark.parametrize("name", ["header", "query"])
def test_a_large_head_in_one_piece_is_refused_and_told_its_size(serve: Serve, name: str) -> None:
    client = serve(max_head_bytes=5000)
    query, header = (
        (b"?" + b"q" * 6000, b"") if name == "query" else (b"", b"X-Long: " + b"a" * 6000 + b"\r\n")
    )
    with connected(client) as one:
        one.sendall(b"GET /filters" + query + b" HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n")
        assert_refusal(until_closed(one), 431, "6,0")


def test_a_large_body_beside_a_small_head_is_no_large_head(serve: Serve, cat: bytes) -> None:
    client = serve(max_head_bytes=500)
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(cat)}\r\n\r\n"
    )
    with connected(client) as one:
        one.sendall(head.encode() + cat)
        assert one.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_what_is_no_http_is_refused_in_the_form_of_all_errors(client: httpx.Client) -> None:
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"HELO example.org\r\n\r\n",
        b"GET / HTTP/1.1\r\nA B: c\r\n\r\n",
    ):
        with connected(client) as one:
            one.sendall(nonsense)
            assert_refusal(until_closed(one), 400, "no HTTP request")


def test_a_websocket_is_not_opened(client: httpx.Client) -> None:
    with connected(client) as one:
        one.sendall(
            b"GET /filters HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert not one.recv(4096).startswith(b"HTTP/1.1 101")


def test_a_body_that_does_not_arrive_in_time_is_cut_off(serve: Serve) -> None:
    client = serve(body_timeout_s=0.5)
    with connected(client) as one:
        one.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nabc"
        )
        started = time.monotonic()
        answer = one.recv(4096)
        assert b" 408 " in answer.split(b"\r\n")[0]
        assert b"0.5 s, the limit" in answer
        assert time.monotonic() - started < 5
        assert is_live(client)


def test_the_line_is_cut_where_a_body_goes_on_after_its_early_answer(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.connections.LINGER_S", 0.5)
    client = serve(max_body_bytes=1000)
    with connected(client) as one:
        one.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 900000\r\n\r\n"
        )
        answer = one.recv(4096)
        assert b" 413 " in answer.split(b"\r\n")[0]
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - started < 10:
                one.sendall(b"x" * 100)
                time.sleep(0.05)
        assert time.monotonic() - started < 5


def test_a_client_that_does_not_read_its_answer_is_cut_off(serve: Serve) -> None:
    client = serve(body_timeout_s=1)
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect((client.base_url.host, client.base_url.port))
        one.sendall(MEGABYTES)
        wait_for(client, lambda text: 'stride_connections_closed_total{reason="slow-reader"} 1.0' in text)
        one.settimeout(20)
        assert len(until_closed(one)) < 8_000_000, "9 MB were asked for"
    wait_for(client, lambda text: "stride_connections 1.0" in text)


def test_a_client_that_reads_slowly_but_steadily_gets_all_of_its_answer(serve: Serve) -> None:
    client = serve(body_timeout_s=1)
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(20)
        one.connect((client.base_url.host, client.base_url.port))
        one.sendall(MEGABYTES)
        answer, began = b"", time.monotonic()
        while piece := one.recv(65536):
            answer += piece
            if time.monotonic() - began < 3:  # longer than the limit
                time.sleep(0.02)
    assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["output"]) == 1498


def test_a_whole_body_after_an_early_answer_leaves_the_connection_usable(serve: Serve) -> None:
    client = serve(max_body_bytes=1000)
    body = b"x" * 50_000
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with connected(client) as one:
        one.sendall(head.encode())
        assert b" 413 " in one.recv(4096).split(b"\r\n")[0]
        one.sendall(body + GET)
        assert one.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_connections_beyond_the_limit_close_those_that_idle_longest(serve: Serve) -> None:
    client = serve(max_connections=10)
    crowd = [
        socket.create_connection((client.base_url.host, client.base_url.port), timeout=20) for _ in range(200)
    ]
    try:
        for _ in range(5):
            assert httpx.get(f"{client.base_url}/health/live").status_code == 200
        crowd[0].settimeout(5)
        assert crowd[0].recv(1) == b"", "the oldest was closed"
    finally:
        for one in crowd:
            one.close()


@pytest.mark.parametrize("size", [0, 300_000], ids=["small", "large"])
def test_nothing_is_computed_for_clients_that_went_away(
    serve: Serve, cat: bytes, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Reading pauses in the middle of a large body, and must go on after it to see its client go."""
    cat += bytes(size)  # after the end of a picture anything may stand
    gate, computed = threading.Event(), []
    classify = Served.classify

    def slow(served: Served, pictures: list[object]) -> object:
        computed.append(len(pictures))
        gate.wait(20)
        return classify(served, pictures)  # type: ignore[arg-type]

    monkeypatch.setattr(Served, "classify", slow)
    client = serve(batch_size=1)
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(cat)}\r\n\r\n"
    )
    leavers = [socket.create_connection((client.base_url.host, client.base_url.port)) for _ in range(20)]
    for one in leavers:
        one.sendall(head.encode())
    wait_for(client, lambda text: "stride_requests_in_flight 21.0" in text)  # all wait for their bodies
    for one in leavers:
        one.sendall(cat)
    in_queue = 'stride_queue_length{queue="cifar10-resnet"} '
    wait_for(client, lambda text: f"{in_queue}19.0" in text)
    for one in leavers:
        one.close()
    # Well before the queue's own deadline would empty it.
    wait_for(client, lambda text: f"{in_queue}0.0" in text, within_s=4)
    gate.set()
    assert client.post("/predict", files={"file": cat}).status_code == 200
    assert len(computed) == 2, "the first, which was under way, and the one that stayed"


def wait_for(client: httpx.Client, is_so: Callable[[str], bool], within_s: float = 20) -> None:
    """Ask for the metrics until they say so."""
    until = time.monotonic() + within_s
    while not is_so(client.get("/metrics").text):
        assert time.monotonic() < until
        time.sleep(0.02)


CHUNKED = (
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
)


@pytest.mark.parametrize("trailer", [b"X-T: " + b"a" * 990 + b"\r\n", b"a" * 1000], ids=["many", "endless"])
@pytest.mark.parametrize("last", [b"0\r\n", b"5;"], ids=["trailers", "chunk extension"])
def test_what_comes_around_a_body_without_end_is_refused(serve: Serve, trailer: bytes, last: bytes) -> None:
    client = serve(max_head_bytes=5000)
    with connected(client) as one:
        one.sendall(CHUNKED + last + (b"X-T: " if last == b"0\r\n" and b":" not in trailer else b""))
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                one.sendall(trailer)
                time.sleep(0.001)
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = until_closed(one)
    assert b" 431 " in answer.split(b"\r\n")[0] or b" 400 " in answer.split(b"\r\n")[0] or not answer
    assert is_live(client)


def test_trailers_are_not_kept(serve: Serve) -> None:
    client = serve()
    with connected(client) as one:
        one.sendall(CHUNKED + b"0\r\nX-Request-ID: forged\r\n\r\n" + GET)
        answer = b""
        while b'{"status":"live"}' not in answer:
            answer += one.recv(4096)
    assert b"forged" not in answer


def test_a_damaged_chunk_is_answered(client: httpx.Client) -> None:
    for pieces in ([CHUNKED + b"zz\r\n"], [CHUNKED, b"zz\r\n"]):
        with connected(client) as one:
            for piece in pieces:
                one.sendall(piece)
                time.sleep(0.05)
            assert_refusal(until_closed(one), 400, "no HTTP request")


def test_a_wish_for_another_protocol_is_overread_with_its_body_kept(client: httpx.Client, cat: bytes) -> None:
    """As curl --http2 and Java's client ask, of servers that may not know it."""
    head = (
        "POST /predict HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(cat)}\r\n\r\n"
    )
    with connected(client) as one:
        one.sendall(head.encode() + cat + GET)
        answer = b""
        while b'{"status":"live"}' not in answer:
            answer += one.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("coding", ["gzip", "xchunked", "identity"])
def test_a_coding_that_is_not_read_is_answered(client: httpx.Client, coding: str) -> None:
    with connected(client) as one:
        one.sendall(f"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {coding}\r\n\r\nabc".encode())
        assert_refusal(until_closed(one), 400, "no HTTP request")


def test_answers_that_nobody_takes_make_room_for_others(serve: Serve) -> None:
    client = serve(max_buffered_bytes=1_000_000)
    body = b'{"image": [[1]], "filter": [[1]], "padding": 1000}'
    head = (
        "POST /convolve HTTP/1.1\r\nHost: x\r\nAccept: application/x-npy\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with connected(client) as one:
        one.sendall(head.encode() + body)  # 32 MB of an answer, and nobody reads
        closed = 'stride_connections_closed_total{reason="slow-reader"}'
        wait_for(client, lambda text: f"{closed} 1.0" in text)
    assert is_live(client)


def test_requests_in_one_piece_are_answered_in_turn(client: httpx.Client) -> None:
    with connected(client) as one:
        one.sendall(GET * 3)
        answer = b""
        while answer.count(b'{"status":"live"}') < 3:
            answer += one.recv(4096)


def test_a_refused_body_is_let_go_before_its_refusal_is_held_back(serve: Serve) -> None:
    client = serve(max_buffered_bytes=100_000)
    with connected(client) as one:
        head = (
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 150000\r\n\r\n"
        )
        one.sendall(head + b"x" * 120_000)
        wait_for(client, lambda text: "stride_requests_in_flight 2.0" in text)
        assert b" 503 " in one.recv(4096).split(b"\r\n")[0]
    assert "stride_buffered_bytes 0.0" in client.get("/metrics").text


def test_bodies_beyond_the_memory_for_them_are_refused(serve: Serve, cat: bytes) -> None:
    client = serve(max_buffered_bytes=100_000, body_timeout_s=10)
    with connected(client) as holder:
        holder.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 200000\r\n\r\n"
            + b"x" * 90_000
        )
        wait_for(client, lambda text: "stride_buffered_bytes 90000.0" in text)
        answer = client.post("/predict", content=b"x" * 20_000, headers={"Content-Type": "image/png"})
        assert_problem(answer, 503, "the limit is 100,000 bytes")
        assert answer.headers["Retry-After"] == "1"
    wait_for(client, lambda text: "stride_buffered_bytes 0.0" in text)
    assert client.post("/predict", files={"file": cat}).status_code == 200
