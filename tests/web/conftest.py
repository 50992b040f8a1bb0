"""A real browser on a really running service. Without one the tests are skipped, and the summary says so."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.web.chromium import find_chromium

FOLDER = Path(__file__).parent
ARGUMENTS = [
    *("--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),  # a camera that shows a clock
]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
VIEWS = ("classify", "convolve", "inside", "why")

CHROMIUM = find_chromium()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None and not os.environ.get("REQUIRE_BROWSER"):
        for item in items:
            if FOLDER in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="no Chromium found"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if CHROMIUM is None:
        terminalreporter.section("The page was NOT tested: no Chromium found", yellow=True)
        terminalreporter.line("`make browser` installs one.")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, client: httpx.Client) -> Iterator[Open]:
    """Open the page at a fragment and wait until its first answer is drawn: `open_page("#why", PHONE)`.

    At the end nothing may stand in the console, and nothing may have been fetched from elsewhere.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []
    base = str(client.base_url).rstrip("/")

    def start(
        fragment: str = "",
        size: dict[str, int] | None = None,
        *,
        base_url: str = base,
        ready: bool = True,
        **options: Any,
    ) -> Page:
        context = browser.new_context(
            viewport=size or DESKTOP,  # type: ignore[arg-type]
            permissions=["clipboard-read", "clipboard-write", "camera"],
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: complaints.append(request.url) if is_elsewhere(request.url, base_url) else None,
        )
        page.goto(f"{base_url}/{fragment}")
        if ready:
            wait_until_drawn(page)
        return page

    start.complaints = complaints  # type: ignore[attr-defined]
    yield start
    for context in contexts:
        context.close()
    assert not complaints


def is_elsewhere(url: str, base: str) -> bool:
    return not url.startswith((f"{base}/", "blob:", "data:"))


def wait_until_drawn(page: Page) -> None:
    """Wait for what the service answered to be on the page."""
    drawn = {
        "classify": ".verdict .bars",
        "convolve": "#step-sum",
        "inside": ".layer[data-layer=softmax]",
        "why": ".heatmap[data-method=occlusion] canvas",
    }
    view = page.locator("html").get_attribute("data-view")
    assert view
    page.locator(drawn[view]).first.wait_for()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """A folder for screenshots to look at; it stays."""
    folder = FOLDER / "screenshots"
    folder.mkdir(exist_ok=True)
    return folder
