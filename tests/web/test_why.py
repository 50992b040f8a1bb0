"""The fourth view: heat maps by three methods, for any class that is clicked."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import Page, expect

from tests.web.conftest import Open

SAMPLES = Path(__file__).parents[2] / "service" / "web" / "samples"
METHODS = ("grad-cam", "hires-cam", "occlusion")


def explain(client: httpx.Client, sample: str, **query: Any) -> dict[str, Any]:
    picture = (SAMPLES / f"{sample}.jpg").read_bytes()
    result: dict[str, Any] = client.post(
        "/explain", params={"format": "json"} | query, files={"file": picture}
    ).json()
    return result


def opacity(page: Page, method: str) -> np.ndarray:
    """How strongly each pixel of a heat map is drawn, 0..255."""
    pixels = page.locator(f"[data-method={method}] canvas").evaluate(
        """canvas => {
            const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
            copy.drawImage(canvas, 0, 0);
            return [...copy.getImageData(0, 0, canvas.width, canvas.height).data];
        }"""
    )
    return np.reshape(pixels, (32, 32, 4))[..., 3].astype(float)


def test_each_method_draws_the_services_heat(open_page: Open, client: httpx.Client) -> None:
    page = open_page("#why?sample=ship")
    for method in METHODS:
        heat = np.maximum(explain(client, "ship", method=method)["heat"], 0)
        drawn = opacity(page, method)
        assert np.unravel_index(drawn.argmax(), drawn.shape) == np.unravel_index(heat.argmax(), heat.shape)
        assert np.corrcoef((drawn / 255).ravel() ** (1 / 0.6), heat.ravel())[0, 1] > 0.99


def test_the_likeliest_class_is_explained_first_and_any_other_on_a_click(
    open_page: Open, client: httpx.Client
) -> None:
    page = open_page("#why?sample=ship")
    labels = page.locator("#labels button")
    assert labels.count() == 10
    expect(labels.first).to_have_attribute("aria-pressed", "true")
    expect(labels.first).to_contain_text("ship")
    before = opacity(page, "grad-cam")
    page.locator("#labels [data-label=truck]").click()
    expect(page.locator("#labels [data-label=truck]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("[data-method=grad-cam] canvas")).to_have_attribute(
        "aria-label", "Grad-CAM: heat map for truck"
    )
    assert not np.array_equal(opacity(page, "grad-cam"), before)
    assert "label=truck" in page.url
    heat = np.maximum(explain(client, "ship", method="grad-cam", label="truck")["heat"], 0)
    drawn = opacity(page, "grad-cam")
    assert np.corrcoef((drawn / 255).ravel() ** (1 / 0.6), heat.ravel())[0, 1] > 0.99


def test_a_link_to_a_class_opens_that_class(open_page: Open) -> None:
    page = open_page("#why?model=cifar10-lenet&sample=truck&label=automobile")
    expect(page.locator("#labels [data-label=automobile]")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("radio", name="cifar10-lenet")).to_be_checked()


def test_a_new_picture_is_explained_by_its_own_likeliest_class(open_page: Open) -> None:
    page = open_page("#why?sample=truck&label=ship")
    page.locator("#side [data-sample=aeroplane]").click()
    expect(page.locator("#labels button[aria-pressed=true]")).to_contain_text("airplane")
    assert "label" not in page.url


def test_the_heat_can_be_faded_to_see_the_picture(open_page: Open) -> None:
    page = open_page("#why")
    page.get_by_label("Heat map over picture").fill("0")
    assert page.locator(".stacked canvas").first.evaluate("canvas => getComputedStyle(canvas).opacity") == "0"
