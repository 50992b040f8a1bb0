"""docs/clients.md is run: every block, against a service that asks for a key where the block sends one."""

import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import sync_playwright

from tests.clients.conftest import ADDRESS, DOCUMENT, GENERATE, KEY, blocks
from tests.shell import shell
from tests.web.chromium import find_chromium
from tests.web.conftest import ARGUMENTS

PICTURES = 12  # of the page's samples
LANGUAGES = ("bash", "python", "js", "javascript")
SCRIPTS = [block for block in blocks("bash") if GENERATE not in block]
PROGRAMS = {
    "one picture": 'print(f"{guess',
    "a folder": "rich.progress",
    "many at once": "asyncio",
    "matrices": "gaussian-5",
    "triton": "tritonclient",
    "generated": "stride_client",
}


def program(name: str) -> str:
    """Give the one Python block that has a program's mark."""
    (code,) = (block for block in blocks("python") if PROGRAMS[name] in block)
    return code


def run(code: str, client: httpx.Client, folder: Path, command: list[str]) -> str:
    """Run a block, but for its port, and give what it prints."""
    code = code.replace(ADDRESS, f"{client.base_url.host}:{client.base_url.port}")
    done = subprocess.run([*command, code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python(name: str, client: httpx.Client, folder: Path) -> str:
    return run(program(name), client, folder, [sys.executable, "-W", "error", "-c"])


def test_no_block_of_the_document_escapes() -> None:
    fences = re.findall(r"^```(\w*)$", DOCUMENT, re.MULTILINE)
    assert len(fences) == 2 * sum(len(blocks(language)) for language in LANGUAGES)
    assert len(blocks("python")) == len(PROGRAMS)
    assert (len(blocks("js")), len(blocks("javascript"))) == (1, 1)
    assert len(SCRIPTS) == len(blocks("bash")) - 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_curl_works_as_written(
    script: str, client: httpx.Client, keyed: httpx.Client, folder: Path, with_key: None
) -> None:
    for line in (one for one in script.split("\n\n") if "curl" in one):
        answer = shell(line, keyed if "STRIDE_KEY" in line else client, folder)
        assert '"label":"cat"' in answer
        if "order-17" in line:
            assert "x-request-id: order-17" in answer.lower()


def test_one_picture_is_classified(keyed: httpx.Client, folder: Path, with_key: None) -> None:
    lines = python("one picture", keyed, folder).splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("cat")


def test_a_refusal_is_shown_with_its_request_id(keyed: httpx.Client, folder: Path) -> None:
    with pytest.raises(AssertionError, match=r"API key.*\(request [\w.-]+\)"):  # no key in the environment
        python("one picture", keyed, folder)


def test_a_folder_is_classified_though_two_of_its_files_are_no_pictures(
    keyed: httpx.Client, folder: Path, with_key: None
) -> None:
    answered = dict(line.split("\t", 1) for line in rows(python("a folder", keyed, folder)))
    assert len(answered) == PICTURES + 2
    assert answered["pictures/cat.jpg"].startswith("cat\t0.9")
    assert answered["pictures/notes.txt"].startswith("-\tmedia type text/plain is not served")
    assert answered["pictures/broken.jpg"].startswith("-\t")


def test_many_at_once_are_classified_though_two_are_no_pictures(client: httpx.Client, folder: Path) -> None:
    answered = dict(line.split("\t", 1) for line in rows(python("many at once", client, folder)))
    assert len(answered) == PICTURES + 2
    assert answered["pictures/cat.jpg"] == "cat"
    assert answered["pictures/notes.txt"].startswith("- not a JPEG")
    assert answered["pictures/broken.jpg"].startswith("- ")


def rows(printed: str) -> list[str]:
    """Give the lines about files: the bar is one more."""
    return [line for line in printed.splitlines() if line.startswith("pictures/")]


@pytest.fixture
def full_at_first(client: httpx.Client) -> Iterator[tuple[httpx.Client, list[int]]]:
    """A service that says 503 and come again at once to the first two requests, and hangs up on the third."""
    answered: list[int] = []

    class Gate(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen = len(answered)
            answered.append(503 if seen < 2 else 0 if seen == 2 else 200)
            if answered[-1] == 0:
                self.close_connection = True
                return
            if answered[-1] == 503:
                self.reply(503, b'{"detail": "the queue is full"}', {"Retry-After": "0"})
                return
            kind = {"Content-Type": self.headers["Content-Type"]}
            passed_on = client.post(self.path, content=body, headers=kind)
            self.reply(passed_on.status_code, passed_on.content, {})

        def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Gate)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}") as gate:
        yield gate, answered
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", ["a folder", "many at once"])
def test_a_full_server_and_a_lost_connection_are_asked_again(
    name: str, full_at_first: tuple[httpx.Client, list[int]], folder: Path
) -> None:
    gate, answered = full_at_first
    code = program(name).replace("2.0**attempt", "0.01")  # it would wait for seconds
    printed = run(code, gate, folder, [sys.executable, "-W", "error", "-c"])
    assert len(rows(printed)) == PICTURES + 2
    assert "\tcat" in printed
    assert "full" not in printed
    assert answered[:3] == [503, 503, 0]
    assert set(answered[3:]) == {200}


def test_matrices_travel_as_npy_and_as_json(client: httpx.Client, folder: Path) -> None:
    assert python("matrices", client, folder) == "(600, 800, 3) float64\n[[30, 30]]\n"


def test_tritons_client_classifies_two_pictures(keyed: httpx.Client, folder: Path, with_key: None) -> None:
    assert python("triton", keyed, folder) == "(2, 10) float32 [3 3]\n"


def test_the_generated_client_works_as_shown(client: httpx.Client, generated: Path) -> None:
    assert python("generated", client, generated) == "cat\n[[30, 30]]\nb'PNG'\n"


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_node_classifies_several_pictures(keyed: httpx.Client, folder: Path, with_key: None) -> None:
    (code,) = blocks("javascript")
    printed = run(code, keyed, folder, ["node", "--input-type=module", "-e"])
    assert printed.startswith("docs/cat.jpg cat\nREADME.md not a JPEG")


Evaluate = Callable[[httpx.Client, str], object]


@pytest.fixture(scope="module")
def in_a_browser() -> Iterator[Evaluate]:
    """Run a function's body in a page of the service, with `classify` of the document's block at hand."""
    chromium = find_chromium()
    if chromium is None and not os.environ.get("REQUIRE_BROWSER"):
        pytest.skip("no Chromium found")
    (code,) = blocks("js")
    arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=arguments) as browser,
    ):

        def evaluate(client: httpx.Client, body: str) -> object:
            with browser.new_page() as page:
                page.goto(str(client.base_url.join("/")))
                picture = "await (await fetch('/web/samples/cat.jpg')).blob()"
                function = code.removeprefix("export ")
                return page.evaluate(f"async () => {{ {function}; const file = {picture}; {body} }}")

        yield evaluate


def test_a_browser_classifies_a_file(in_a_browser: Evaluate, client: httpx.Client) -> None:
    assert in_a_browser(client, "return (await classify(file))[0].label") == "cat"


def test_a_browser_sends_its_key_and_is_told_where_it_has_none(
    in_a_browser: Evaluate, keyed: httpx.Client
) -> None:
    assert in_a_browser(keyed, f"return (await classify(file, {{ key: '{KEY}' }}))[0].label") == "cat"
    refused = in_a_browser(keyed, "try { await classify(file) } catch (error) { return error.message }")
    assert "API key" in str(refused)
