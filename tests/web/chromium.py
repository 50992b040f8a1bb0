"""Find a Chromium, the system's or Playwright's own. As a command: print its path, status 1 without one."""

import shutil
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """Give the path of a browser, or None."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (half a second, seldom needed)

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


if __name__ == "__main__":
    found = find_chromium()
    print(found or "no Chromium found")  # noqa: T201
    sys.exit(found is None)
