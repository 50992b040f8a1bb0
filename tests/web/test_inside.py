"""The third view: every layer of whatever network is served, down to the numbers of one cell."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect
from torch import nn

from tests.artefacts import write_artefact
from tests.web.conftest import Open
from training.export import save_artefact
from training.networks import Classifier, build, count_macs, count_parameters

SAMPLES = Path(__file__).parents[2] / "service" / "web" / "samples"
CAT = (SAMPLES / "cat.jpg").read_bytes()


def layers_of(client: httpx.Client, model: str) -> list[dict[str, Any]]:
    answer = client.post("/layers", params={"model": model}, files={"file": CAT})
    layers: list[dict[str, Any]] = answer.json()["layers"]
    return layers


def shown(page: Page) -> list[tuple[str, str, str]]:
    """Name, title and shape of each layer drawn, but for the picture's own."""
    items = page.locator(".layer").all()[1:]
    return [
        (
            item.locator("h3 code").inner_text(),
            item.locator(".kind").text_content() or "",
            item.locator(".facts span").first.inner_text(),
        )
        for item in items
    ]


def assert_all_drawn(page: Page, layers: list[dict[str, Any]]) -> None:
    expect(page.locator(".layer")).to_have_count(len(layers) + 1)
    assert shown(page) == [
        (layer["name"], layer["title"], "×".join(map(str, layer["output_shape"]))) for layer in layers
    ]
    for layer in layers:
        if layer["parameter_count"]:
            facts = page.locator(f".layer[data-layer='{layer['name']}'] .facts")
            expect(facts).to_contain_text(f"{layer['parameter_count']:,} parameters")


def test_the_articles_network_is_drawn_in_the_articles_words(open_page: Open, client: httpx.Client) -> None:
    page = open_page("#inside?model=cifar10-lenet")
    layers = layers_of(client, "cifar10-lenet")
    assert_all_drawn(page, layers)
    titles = [layer["title"] for layer in layers]
    for word in ("convolution", "ReLU", "max pooling", "flatten", "fully connected"):
        assert word in titles
    expect(page.locator(".layer[data-layer=conv1] .formula")).to_have_text("⌊(32 + 2·0 − 5) / 1⌋ + 1 = 28")
    expect(page.locator(".overview")).to_contain_text("62,006 parameters")
    assert page.locator(".learned canvas").count() == 6


class Odd(nn.Module):
    """What the committed networks have not: stride, groups, dilation, branches joined, average pooling."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.left = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
        self.right = nn.Conv2d(8, 4, 1)
        self.pool = nn.AvgPool2d(2)
        self.last = nn.Linear(12, classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        found = torch.relu(self.norm(self.first(pictures)))
        joined = torch.cat([self.left(found), self.right(found)], 1)
        result: torch.Tensor = self.last(self.pool(joined).mean((2, 3)))
        return result


@pytest.fixture
def other_models(tmp_path: Path) -> Path:
    """Three artefacts as the training package exports them, and one that somebody else wrote."""
    torch.manual_seed(0)
    networks = {
        "large-lenet": (build("lenet", 3, size=48), 3),
        "fresh-resnet": (build("resnet", 4), 3),
        "odd": (Classifier(Odd(5), 40), 1),
    }
    for name, (classifier, channels) in networks.items():
        deployed = classifier.eval().deployable()
        pictures = torch.randint(0, 256, (2, channels, deployed.size, deployed.size), dtype=torch.uint8)
        card = {
            **{"schema": 1, "name": name, "version": "1", "metrics": {}, "training": {}},
            "labels": [f"class {i}" for i in range(deployed(pictures).shape[1])],
            "input": {"height": deployed.size, "width": deployed.size, "channels": channels},
            "parameters": count_parameters(deployed),
            "macs": count_macs(deployed, channels),
        }
        save_artefact(tmp_path / f"{name}.pt", deployed, card, pictures)
    write_artefact(tmp_path / "brightness.pt")
    (tmp_path / "SHA256SUMS").unlink()  # it vouches for three of the four
    return tmp_path


def test_any_artefact_is_drawn_whatever_its_network(
    open_page: Open, serve: Callable[..., httpx.Client], other_models: Path
) -> None:
    client = serve(models_dir=other_models)
    base = str(client.base_url).rstrip("/")
    for model in ("large-lenet", "fresh-resnet", "odd", "brightness"):
        page = open_page(f"#inside?model={model}", base_url=base)
        layers = layers_of(client, model)
        assert_all_drawn(page, layers)
        card = client.get(f"/models/{model}").json()
        assert sum(layer["parameter_count"] for layer in layers) == card["parameters"]
        weighted = next(layer for layer in layers if layer["kind"] == "convolution")
        page.locator(f".layer[data-layer='{weighted['name']}'] .tile").first.click()
        expect(page.locator(".detail .total .value")).to_be_visible()


def cell(client: httpx.Client, layer: str, model: str, **place: int) -> dict[str, Any]:
    answer = client.post(f"/layers/{layer}", params={"model": model} | place, files={"file": CAT})
    result: dict[str, Any] = json.loads(answer.text)
    return result


def number(text: str) -> float:
    return float(text.replace("\u2212", "-"))


def test_a_map_clicked_shows_its_filter_its_window_and_the_numbers(
    open_page: Open, client: httpx.Client
) -> None:
    page = open_page("#inside?model=cifar10-lenet")
    page.locator(".layer[data-layer=conv1] .tile").nth(2).click()
    detail = page.locator(".detail")
    expect(detail.locator(".result figcaption")).to_have_text(
        "conv1, map 3: row 15, column 15. Choose any cell."
    )
    answer = cell(client, "conv1", "cifar10-lenet", channel=2, row=14, column=14)
    assert number(detail.locator(".total .value").inner_text()) == pytest.approx(answer["value"], rel=1e-4)
    order = np.argsort(-np.abs(answer["sums"]), kind="stable")
    for place, channel in enumerate(order):
        tables = detail.locator(".equation").nth(place).locator("table")
        for table, key in ((tables.nth(0), "window"), (tables.nth(1), "filter")):
            cells = [number(text) for text in table.locator("td").all_inner_texts()]
            assert np.reshape(cells, (5, 5)) == pytest.approx(np.array(answer[key][channel]), abs=0.006)
    # The value is what the numbers shown add up to.
    assert answer["sum"] + answer["bias"] == pytest.approx(answer["value"], abs=1e-4)


def test_a_cell_is_chosen_by_pointer_and_by_arrow_keys(open_page: Open, client: httpx.Client) -> None:
    page = open_page("#inside?model=cifar10-lenet")
    page.locator(".layer[data-layer=pool1] .tile").first.click()
    picker = page.locator(".detail .picker")
    box = picker.bounding_box()
    assert box
    picker.hover(position={"x": box["width"] * 2.5 / 14, "y": box["height"] * 4.5 / 14})
    caption = page.locator(".detail .result figcaption")
    expect(caption).to_have_text("pool1, map 1: row 5, column 3. Choose any cell.")
    picker.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(caption).to_have_text("pool1, map 1: row 6, column 4. Choose any cell.")
    answer = cell(client, "pool1", "cifar10-lenet", channel=0, row=5, column=3)
    expect(page.locator(".detail .total")).to_contain_text("The largest is")
    shown_value = page.locator(".detail .total .value")
    expect(shown_value).to_be_visible()
    assert number(shown_value.inner_text()) == pytest.approx(answer["value"], rel=1e-4, abs=1e-6)
    assert max(max(row) for row in answer["window"]) == answer["value"]


def test_a_fully_connected_number_shows_the_products_that_count_most(
    open_page: Open, client: httpx.Client
) -> None:
    page = open_page("#inside?model=cifar10-lenet")
    page.locator(".layer[data-layer=fc3] .logit").nth(3).click()
    detail = page.locator(".detail")
    answer = cell(client, "fc3", "cifar10-lenet", channel=3)
    products = np.array(answer["window"]) * np.array(answer["filter"])
    largest = sorted(products, key=abs, reverse=True)[:8]
    expect(detail.locator(".products li")).to_have_count(8)
    values = [number(text) for text in detail.locator(".products .value").all_inner_texts()]
    assert values == pytest.approx(largest, rel=0.01)
    expect(detail.locator(".note")).to_contain_text("cat:")
    assert number(detail.locator(".total .value").inner_text()) == pytest.approx(answer["value"], rel=1e-4)


def test_closing_gives_the_focus_back(open_page: Open) -> None:
    page = open_page("#inside?model=cifar10-lenet")
    tile = page.locator(".layer[data-layer=relu1] .tile").nth(1)
    tile.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".detail")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".detail")).to_have_count(0)
    expect(tile).to_be_focused()


def test_a_map_is_drawn_with_blue_below_zero_and_red_above(open_page: Open, client: httpx.Client) -> None:
    page = open_page("#inside?model=cifar10-lenet")
    pixels = page.locator(".layer[data-layer=conv1] canvas").first.evaluate(
        """canvas => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]"""
    )
    colours = np.reshape(pixels, (28, 28, 4)).astype(int)
    for row, column in ((3, 3), (10, 20), (14, 14), (20, 5), (25, 25)):
        value = cell(client, "conv1", "cifar10-lenet", channel=0, row=row, column=column)["value"]
        red, _, blue, _ = colours[row, column]
        if abs(value) > 0.1:
            assert bool(red > blue) == (value > 0), value


def test_all_maps_can_be_seen(open_page: Open) -> None:
    page = open_page("#inside?model=cifar10-resnet")
    layer = page.locator(".layer[data-layer=stem]")
    assert layer.locator(".tile").count() == 16
    layer.get_by_role("button", name="Show all 24").click()
    assert layer.locator(".tile").count() == 24
    expect(page.locator(".layer[data-layer=sum1] .words")).to_contain_text(
        "a shortcut past the layers between"
    )
