"""Who may call, how often, and what a browser may make of the answers."""

import hashlib
import hmac
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from service.access import Keys, KeysError, Quota, new_key
from service.errors import StartError
from tests.answers import assert_problem

Serve = Callable[..., httpx.Client]
KEY, ENTRY = new_key("alice")
OTHER_KEY, OTHER_ENTRY = new_key("bob")
PROTECTED = (
    "/models",
    "/filters",
    "/metrics",
    "/v2",
    "/v2/models/cifar10-lenet",
    "/nope",
    "//health/live",
    "/predict",
)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("path", PROTECTED)
def test_without_a_key_nobody_gets_in(serve: Serve, path: str) -> None:
    client = serve(api_keys=(ENTRY,))
    for headers in ({}, bearer("wrong"), bearer(ENTRY.partition(":")[2]), {"Authorization": "Basic YTpi"}):
        answer = client.request("POST" if path == "/predict" else "GET", path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "wrong" not in answer.text


def test_a_known_key_gets_in_by_either_header(serve: Serve, cat: bytes) -> None:
    client = serve(api_keys=(OTHER_ENTRY, ENTRY))
    for headers in (bearer(KEY), bearer(OTHER_KEY), {"X-API-Key": KEY}, {"Authorization": f"bearer {KEY}"}):
        assert client.post("/predict", files={"file": cat}, headers=headers).status_code == 200
        assert client.get("/metrics", headers=headers).status_code == 200


def test_probes_and_the_page_need_no_key(serve: Serve) -> None:
    client = serve(api_keys=(ENTRY,))
    for path in ("/health/live", "/health/ready", "/", "/docs", "/openapi.json", "/web/js/main.js"):
        assert client.get(path).status_code == 200, path


def test_the_description_says_that_a_key_is_needed(serve: Serve, client: httpx.Client) -> None:
    description = serve(api_keys=(ENTRY,)).get("/openapi.json").json()
    assert description["components"]["securitySchemes"]["key"] == {"type": "http", "scheme": "bearer"}
    assert description["security"] == [{"key": []}]
    assert "security" not in client.get("/openapi.json").json()


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(a) or compare(a, b))
    keys = Keys((ENTRY, OTHER_ENTRY), None)
    for given in (KEY, OTHER_KEY, "neither"):
        compared.clear()
        keys.owner(given.encode())
        assert len(compared) == 2, given


def test_keys_rotate_without_another_start(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# of November\n{ENTRY}\n")
    client = serve(api_keys_file=file)
    assert client.get("/models", headers=bearer(KEY)).status_code == 200
    file.write_text(f"{OTHER_ENTRY}\n")
    until = time.monotonic() + 20
    while client.get("/models", headers=bearer(KEY)).status_code != 401:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert client.get("/models", headers=bearer(OTHER_KEY)).status_code == 200


def test_a_keys_file_that_breaks_keeps_the_keys_that_were(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text(ENTRY)
    keys = Keys((), file)
    for broken in (b"alice:secret-in-plain", b"\xff\xfe"):
        file.write_bytes(broken)
        keys.refresh()
        assert keys.owner(KEY.encode()) == "alice"
    file.unlink()
    keys.refresh()
    assert keys.owner(KEY.encode()) == "alice"
    assert keys.are_needed
    assert "stay as they were" in caplog.text
    assert "secret" not in caplog.text


def test_an_empty_keys_file_lets_nobody_in(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.touch()
    assert_problem(serve(api_keys_file=file).get("/models", headers=bearer(KEY)), 401, "is not known")


def test_entries_that_are_none_are_refused_without_showing_them(tmp_path: Path) -> None:
    for entries in (["a-plain-secret"], [ENTRY, "bob:a-plain-secret"], [f"a b:{'0' * 64}"]):
        with pytest.raises(KeysError, match=r"entry \d is not name:sha256") as error:
            Keys(entries, None)
        assert "secret" not in str(error.value)
    with pytest.raises(KeysError, match="STRIDE_API_KEYS_FILE cannot be read"):
        Keys((), tmp_path / "missing")


def test_a_pipe_in_the_place_of_the_keys_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "keys")
    with pytest.raises(KeysError, match="no regular file"):
        Keys((), tmp_path / "keys")


@pytest.mark.parametrize(
    "rate",
    ["abc", "0/minute", "100/0minute", "5/second;1/minute", "10/minute, 3/second", "-1/day", "1/fortnight"],
)
def test_what_is_no_rate_is_refused(rate: str) -> None:
    with pytest.raises(StartError, match="write it as 100/minute"):
        Quota(rate)


@pytest.mark.parametrize("rate", ["100/minute", "5/10 seconds", "1 / hour", "1000/10minutes"])
def test_rates_are_read(rate: str) -> None:
    Quota(rate).spend("somebody")


def test_the_command_makes_a_key_and_its_entry() -> None:
    command = [sys.executable, "-m", "service", "--new-key"]
    done = subprocess.run([*command, "carol"], capture_output=True, text=True, check=True)
    key, entry = re.findall(r": +(\S+)$", done.stdout, re.MULTILINE)
    assert entry == f"carol:{hashlib.sha256(key.encode()).hexdigest()}"
    assert len(key) >= 43
    refused = subprocess.run([*command, "two words"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "letters, digits" in refused.stderr


def test_a_caller_beyond_its_rate_is_told_when_to_come_again(serve: Serve) -> None:
    client = serve(api_keys=(ENTRY, OTHER_ENTRY), rate_limit="3/minute")
    for _ in range(3):
        assert client.get("/filters", headers=bearer(KEY)).status_code == 200
    answer = client.get("/filters", headers=bearer(KEY))
    assert_problem(answer, 429, "3 per 1 minute")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert client.get("/filters", headers=bearer(OTHER_KEY)).status_code == 200, "another's quota"
    assert client.get("/health/live").status_code == 200


def test_without_keys_the_rate_is_an_addresss(serve: Serve) -> None:
    client = serve(rate_limit="2/minute")
    assert [client.get("/filters").status_code for _ in range(3)] == [200, 200, 429]


def test_documentation_and_metrics_can_be_switched_off(serve: Serve) -> None:
    client = serve(docs=False, metrics=False)
    for path in ("/docs", "/openapi.json", "/metrics"):
        assert_problem(client.get(path), 404)
    assert client.get("/").status_code == 200


def test_every_answer_tells_browsers_what_they_may_not_do(client: httpx.Client) -> None:
    for path in ("/filters", "/nope", "/predict", "/", "/docs", "/web/page.css", "/metrics"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert (path in {"/", "/docs"}) == (headers.get("Referrer-Policy") == "no-referrer")
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert len(headers.get_list("Content-Security-Policy")) == 1
        assert "server" not in headers


def test_an_error_beyond_the_routes_reaches_a_browser_elsewhere_too(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "service")

    def broken(_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("service.routes.models.card_of", broken)
    client = serve(cors_origins=("https://example.org",), api_keys=(ENTRY,))
    headers = {"Origin": "https://example.org"}
    for path, given, status in (("/models", bearer(KEY), 500), ("/models", {}, 401)):
        answer = client.get(path, headers=headers | given)
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == "https://example.org"
    asked = headers | {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    assert client.options("/models", headers=asked).status_code == 200, "a browser asks first, without a key"
