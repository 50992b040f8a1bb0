"""The page of a service that wants an API key: it asks, once, and goes on."""

from collections.abc import Callable
from pathlib import Path

import httpx
from playwright.sync_api import expect

from service.access import new_key
from tests.web.conftest import PHONE, Open, wait_until_drawn

KEY, ENTRY = new_key("reader")
Serve = Callable[..., httpx.Client]


def test_the_page_asks_for_a_key_until_one_is_right_and_then_no_more(
    serve: Serve, open_page: Open, screenshots: Path
) -> None:
    base = str(serve(api_keys=(ENTRY,)).base_url).rstrip("/")
    page = open_page(base_url=base, ready=False, size=PHONE)
    dialog = page.get_by_role("dialog", name="API key")
    dialog.wait_for()
    expect(page.get_by_role("dialog")).to_have_count(1)  # however many calls wait
    page.screenshot(path=screenshots / "key-phone.png")
    dialog.get_by_label("API key").fill("wrong")
    dialog.get_by_role("button", name="Go on").click()
    expect(dialog).to_contain_text("not known")
    dialog.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    wait_until_drawn(page)
    expect(page.locator("#snippets")).to_contain_text("$STRIDE_KEY")
    expect(page.locator("#snippets")).not_to_contain_text(KEY)
    page.reload()
    wait_until_drawn(page)
    expect(page.get_by_role("dialog")).to_have_count(0)
    forget_refusals(open_page)


def test_without_a_key_the_page_says_why_nothing_comes(serve: Serve, open_page: Open) -> None:
    base = str(serve(api_keys=(ENTRY,)).base_url).rstrip("/")
    page = open_page(base_url=base, ready=False)
    page.get_by_role("dialog", name="API key").get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("An API key is needed").first).to_be_visible()
    forget_refusals(open_page)


def forget_refusals(open_page: Open) -> None:
    """Take out what the browser itself writes to the console of an answer with 401; anything else stays."""
    complaints: list[str] = open_page.complaints  # type: ignore[attr-defined]
    complaints[:] = [line for line in complaints if "401 (Unauthorized)" not in line]
