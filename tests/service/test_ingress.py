"""What stands before a proxy that takes any body and answers in its own words."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from service.ingress import Ingress, layers
from service.middleware import Buffered

Message = dict[str, Any]


class Proxy:
    """Does as Ray's: takes the whole body before anything else, stops where its client has gone."""

    def __init__(self, status: int | None, *headers: tuple[str, str], body: bytes = b"its own words") -> None:
        self.status, self.body = status, body
        self.headers = [(name.encode(), value.encode()) for name, value in headers]
        self.taken = 0
        self.scope: Scope = {}
        self.saw_its_client_go = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        while (message := await receive())["type"] == "http.request":
            self.taken += len(message["body"])
            if not message.get("more_body", False):
                break
        else:
            self.saw_its_client_go = (await receive())["type"] == "http.disconnect"
            return
        if self.status is not None:
            await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
            await send({"type": "http.response.body", "body": self.body})


OURS = ("Server-Timing", "total;dur=1")


def before(app: ASGIApp, **limits: Any) -> Ingress:
    given = {"max_body_bytes": 100, "body_timeout_s": 5.0, "buffered": Buffered(10_000)} | limits
    return Ingress(app, **given)


def ask(app: ASGIApp, path: str = "/predict", **request: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://proxy") as client:
            return await client.post(path, **request)

    return asyncio.run(run())


def in_pieces(count: int, pause_s: float = 0) -> Callable[[], AsyncIterator[bytes]]:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(count):
            await asyncio.sleep(pause_s)
            yield b"0123456789"

    return pieces


def test_the_applications_answer_goes_on_with_one_id() -> None:
    proxy = Proxy(422, OURS, ("X-Request-ID", "mine"), ("X-Request-ID", "mine"), body=b"answer")
    answer = ask(before(proxy), content=b"1234", headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.content, proxy.taken) == (422, b"answer", 4)
    assert answer.headers.get_list("X-Request-ID") == ["mine"]


def test_an_id_that_is_not_sane_reaches_neither_the_proxy_nor_the_caller() -> None:
    proxy = Proxy(200, OURS, ("X-Request-ID", "a b"))
    answer = ask(before(proxy), headers={"X-Request-ID": "a b"})
    given = [value for name, value in proxy.scope["headers"] if name == b"x-request-id"]
    assert given == [answer.headers["X-Request-ID"].encode()]
    assert len(given[0]) == 32


@pytest.mark.parametrize(
    "name",
    [
        "X-Request-Timeout-Seconds",
        "X-Request-Disconnect-Disabled",
        "serve_multiplexed_model_id",
        "Serve-Multiplexed-Model-Id",
        "X-Serve-Router-Anything",
    ],
)
def test_a_caller_cannot_command_the_proxy(name: str) -> None:
    proxy = Proxy(200, OURS)
    ask(before(proxy), headers={name: "0", "X-Other": "kept"})
    names = {given.decode() for given, _ in proxy.scope["headers"]}
    assert "x-other" in names
    assert name.lower() not in names


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, "not-served"),
        (408, "took-too-long"),
        (429, "queue-full"),
        (503, "queue-full"),
        (500, "replica-lost"),
        (None, "replica-lost"),
    ],
)
def test_the_proxys_own_words_become_a_problem(status: int | None, kind: str) -> None:
    answer = ask(before(Proxy(status, ("X-Request-ID", "its own"))))
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:stride:problem:{kind}"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Server-Timing"].startswith("total;dur=")
    assert len(answer.headers["X-Request-ID"]) == 32


def test_under_v2_it_is_an_error_of_that_protocol() -> None:
    answer = ask(before(Proxy(None)), "/v2/models/any/infer")
    assert answer.status_code == 503
    assert set(answer.json()) == {"error"}


def test_the_proxys_own_addresses_stay_as_they_are() -> None:
    answer = ask(before(Proxy(503, body=b"draining")), "/-/healthz")
    assert (answer.status_code, answer.content) == (503, b"draining")


@pytest.mark.parametrize("path", ["/-/", "/-/healthz/", "/-/predict"])
def test_what_only_looks_like_one_of_them_has_the_limits(path: str) -> None:
    assert ask(before(Proxy(200, OURS)), path, content=b"0" * 101).status_code == 413


def test_a_body_that_says_it_is_too_large_is_not_taken() -> None:
    proxy = Proxy(200, OURS)
    answer = ask(before(proxy), content=b"0" * 101)
    assert (answer.status_code, proxy.scope) == (413, {})
    assert "101 bytes; the limit is 100 bytes" in answer.json()["detail"]


def test_a_body_that_grows_too_large_ends_what_was_begun_for_it() -> None:
    proxy = Proxy(200, OURS)
    buffered = Buffered(10_000)
    answer = ask(before(proxy, buffered=buffered), content=in_pieces(50)())
    assert answer.status_code == 413
    assert proxy.taken == 100
    assert proxy.saw_its_client_go
    assert buffered.held == 0


def test_a_body_that_does_not_come_is_waited_for_so_long() -> None:
    proxy = Proxy(200, OURS)
    answer = ask(before(proxy, body_timeout_s=0.2), content=in_pieces(9, pause_s=0.05)())
    assert answer.status_code == 408
    assert 0 < proxy.taken < 90
    assert proxy.saw_its_client_go


def test_all_bodies_together_have_a_limit_and_leave_when_answered() -> None:
    buffered = Buffered(100)
    buffered.held = 70  # others'
    ingress = before(Proxy(200, OURS), buffered=buffered)
    assert ask(ingress, content=b"0" * 40).status_code == 503
    assert ask(ingress, content=b"0" * 20).status_code == 200
    assert buffered.held == 70


def test_an_error_of_the_proxy_itself_is_told_as_any_other(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("secret")

    answer = ask(before(broken))
    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:stride:problem:internal-error"
    assert "secret" not in answer.text
    assert "secret" in caplog.text


def test_half_an_answer_is_cut_off_rather_than_made_whole() -> None:
    async def dying(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"server-timing", b"x")]})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        ask(before(dying))


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has said whom uvicorn is to believe; what `layers` says goes with the test."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")  # recorded, so that it is undone
    monkeypatch.delenv("FORWARDED_ALLOW_IPS")


@pytest.mark.parametrize(("said", "address"), [(None, "127.0.0.1"), ("127.0.0.1", "9.9.9.9")])
def test_a_caller_names_no_other_address_unless_a_balancer_is_believed(
    said: str | None, address: str, trusted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if said:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", said)
    layers()
    proxy = Proxy(200, OURS)
    config = uvicorn.Config(proxy, ws="none", log_config=None)
    config.load()
    ask(config.loaded_app, headers={"X-Forwarded-For": "9.9.9.9"})
    assert proxy.scope["client"][0] == address


def test_the_limits_are_those_of_the_settings(trusted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIDE_MAX_BODY_BYTES", "5")
    (layer,) = layers()
    ingress = layer.cls(Proxy(200, OURS), *layer.args, **layer.kwargs)
    assert ask(ingress, content=b"12345").status_code == 200
    assert ask(ingress, content=b"123456").status_code == 413
