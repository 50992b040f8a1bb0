"""Draw the README's pictures of the page, docs/page*.png and docs/convolve.gif, in a real browser.

python docs/draw_page.py http://127.0.0.1:8000      (needs '.[test]' and a Chromium: make browser)
"""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.web.chromium import find_chromium  # noqa: E402

EDGE = "#convolve?padding=1&step=1"
FRAME_MS, LAST_FRAME_MS = 380, 2200


def main(address: str) -> None:
    """Write every picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        for theme in ("light", "dark"):
            page = open_page(
                browser, f"{address}/#inside?model=cifar10-lenet&sample=ship", theme, height=1010
            )
            page.locator("[data-layer=conv1] .tile").nth(1).click()
            page.locator(".detail .total").wait_for()
            page.locator("[data-layer=conv1]").evaluate("layer => layer.scrollIntoView()")
            page.evaluate("scrollBy(0, -76)")  # the bar stays on top
            page.wait_for_timeout(300)
            shrink(page.screenshot()).save(HERE / f"page-{theme}.png", optimize=True)
        draw_slide(open_page(browser, f"{address}/{EDGE}", "light", height=1010))
        browser.close()


def open_page(browser: Browser, address: str, theme: str, height: int) -> Page:
    page = browser.new_page(
        viewport={"width": 1280, "height": height}, color_scheme=theme, reduced_motion="reduce"
    )
    page.goto(address)
    page.locator("#step-sum, [data-layer=softmax]").first.wait_for()
    page.wait_for_timeout(800)
    return page


def draw_slide(page: Page) -> None:
    """Film the window going over the article's image, padded, one frame a cell."""
    frames = []
    box = page.locator(".bench").bounding_box()
    below = page.locator(".pair").bounding_box()
    assert box
    assert below
    edge = 10
    clip = {
        "x": box["x"] - edge,
        "y": box["y"] - edge,
        "width": box["width"] + 2 * edge,
        "height": below["y"] + below["height"] - box["y"] + 2 * edge,
    }
    for _ in range(24):
        # The buttons' own outline is no part of the picture.
        page.evaluate("document.activeElement.blur()")
        frames.append(shrink(page.screenshot(clip=clip, full_page=True)))
        page.get_by_role("button", name="Step forward").click()
    palette = frames[2].quantize(160)
    pictures = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [FRAME_MS] * (len(pictures) - 1) + [LAST_FRAME_MS]
    pictures[0].save(
        HERE / "convolve.gif", save_all=True, append_images=pictures[1:], duration=durations, loop=0
    )


def shrink(png: bytes) -> Image.Image:
    """Read a screenshot as RGB, at most 1,000 pixels wide."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    scale = min(1, 1000 / picture.width)
    return picture.resize(
        (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
    )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
