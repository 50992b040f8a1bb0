"""The second view, used as a person would: edit, step, point, play; every number is the service's."""

import io
import re
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.web.conftest import PHONE, Open

ARTICLE = [[10, 10, 10, 0, 0, 0]] * 6
RGB = "|".join(";".join([row] * 4) for row in ("9,9,1,1", "4,4,4,4", "1,1,8,8"))


def grid(page: Page, name: str) -> Locator:
    return page.get_by_role("grid", name=name, exact=True)


def numbers(table: Locator) -> list[list[float | None]]:
    """What stands in a grid: inputs' values, or text; None where nothing does."""
    return table.evaluate(
        """table => [...table.rows].map((row) => [...row.cells].map((cell) => {
            const shown = cell.querySelector("input")?.value ?? cell.firstChild.textContent ?? "";
            const text = shown.replace("\u2212", "-");
            return text === "" ? null : Number(text);
        }))"""
    )


def convolve(client: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = client.post("/convolve", params={"steps": True}, json=body)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def window(page: Page, grid_name: str = "Image") -> list[tuple[int, int]]:
    """The cells that lie under the filter, by row and column of the padded image."""
    return grid(page, grid_name).evaluate(
        "table => [...table.querySelectorAll('.under')]"
        ".map((cell) => [+cell.dataset.row, +cell.dataset.column])"
    )


def test_it_begins_with_the_articles_example(open_page: Open, client: httpx.Client) -> None:
    page = open_page("#convolve")
    answer = convolve(client, image=ARTICLE, filter="vertical-edge")
    assert numbers(grid(page, "Image")) == ARTICLE
    assert numbers(grid(page, "Filter")) == [[1, 0, -1]] * 3
    assert numbers(grid(page, "Output")) == answer["output"]
    expect(page.locator(".size .filled")).to_have_text("⌊(6 + 2·0 − 3) / 1⌋ + 1 = 4")
    expect(page.locator(".finds")).to_contain_text("vertical edges")


def test_an_edited_cell_changes_what_depends_on_it(open_page: Open, client: httpx.Client) -> None:
    page = open_page("#convolve")
    cell = grid(page, "Image").get_by_label("row 2, column 3")
    cell.click()
    cell.press_sequentially("-7.5")
    image = [list(row) for row in ARTICLE]
    image[1][2] = -7.5
    expected = convolve(client, image=image, filter="vertical-edge")["output"]
    expect(grid(page, "Output").locator("td").first).to_have_text(f"{expected[0][0]:g}")
    assert numbers(grid(page, "Output")) == expected
    expect(cell).to_be_focused()


def test_an_edited_filter_becomes_ones_own(open_page: Open, client: httpx.Client) -> None:
    page = open_page("#convolve")
    cell = grid(page, "Filter").get_by_label("row 1, column 1")
    cell.fill("5")
    expected = convolve(client, image=ARTICLE, filter=[[5, 0, -1], [1, 0, -1], [1, 0, -1]])["output"]
    expect(grid(page, "Output").locator("td").first).to_have_text(f"{expected[0][0]}")
    assert numbers(grid(page, "Output")) == expected
    expect(page.get_by_role("combobox", name="Filter", exact=True)).to_have_value("your own")
    expect(page.locator(".finds")).to_have_text("Your own filter.")


def test_the_window_steps_and_its_products_are_the_services(open_page: Open, client: httpx.Client) -> None:
    page = open_page("#convolve")
    steps = convolve(client, image=ARTICLE, filter="vertical-edge")["steps"]
    assert window(page) == [[r, c] for r in range(3) for c in range(3)]
    page.get_by_role("button", name="Step forward").click()
    expect(page.locator(".where")).to_have_text("Cell 2 of 16: row 1, column 2")
    assert window(page) == [[r, c] for r in range(3) for c in range(1, 4)]
    term = page.locator(".equation .term")
    assert numbers(term.nth(0).locator("table")) == steps[1]["window"]
    assert numbers(term.nth(2).locator("table")) == steps[1]["products"]
    expect(page.locator("#step-sum")).to_have_text(str(steps[1]["sum"]))
    expect(page.locator(".total")).to_contain_text("10 + 0 + 0 + 10 + 0 + 0 + 10 + 0 + 0 = 30")
    page.get_by_role("slider", name="Output cell").fill("15")
    expect(page.locator(".where")).to_have_text("Cell 16 of 16: row 4, column 4")
    page.get_by_role("button", name="First cell").click()
    expect(page.locator(".where")).to_have_text("Cell 1 of 16: row 1, column 1")


def test_the_products_appear_under_the_pointer_and_on_the_keyboard(open_page: Open) -> None:
    page = open_page("#convolve")
    output = grid(page, "Output")
    output.locator("td").nth(6).hover()
    expect(page.locator(".where")).to_have_text("Cell 7 of 16: row 2, column 3")
    assert window(page) == [[r, c] for r in range(1, 4) for c in range(2, 5)]
    remarks = grid(page, "Image").locator("td.under small").all_inner_texts()
    assert remarks == ["×1", "×0", "×−1"] * 3
    output.locator("td[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".where")).to_have_text("Cell 10 of 16: row 3, column 2")
    expect(page.locator("#announcer")).to_contain_text("Cell 10 of 16: row 3, column 2: 30")


def test_play_walks_through_every_cell_and_stops(open_page: Open) -> None:
    page = open_page("#convolve?image=1,2,3;4,5,6;7,8,9&filter=identity")
    page.get_by_role("spinbutton", name="Filter size").fill("2")
    page.get_by_role("spinbutton", name="Filter size").press("Enter")
    expect(page.locator(".where")).to_have_text("Cell 1 of 4: row 1, column 1")
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert numbers(grid(page, "Output"))[1][1] is None, "what is not computed yet is blank"
    expect(page.locator(".where")).to_have_text("Cell 4 of 4: row 2, column 2")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    assert all(None not in row for row in numbers(grid(page, "Output")))


def test_padding_looks_like_padding_and_holds_what_the_border_says(open_page: Open) -> None:
    page = open_page("#convolve?image=1,2,3;4,5,6;7,8,9&padding=1")
    image = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    assert numbers(grid(page, "Image")) == np.pad(image, 1).tolist()
    padding = grid(page, "Image").locator("td.padding")
    assert padding.count() == 16
    assert padding.locator("input").count() == 0
    assert "gradient" in padding.first.evaluate("cell => getComputedStyle(cell).backgroundImage")
    page.get_by_role("combobox", name="Border").select_option("reflect")
    expect(padding.first).to_have_text(re.compile("^5"))
    assert numbers(grid(page, "Image")) == np.pad(image, 1, mode="reflect").tolist()
    page.get_by_role("combobox", name="Padding").select_option("same")
    expect(page.locator(".size .filled")).to_have_text("⌊(3 + 2·1 − 3) / 1⌋ + 1 = 3")


def test_stride_dilation_and_flip_are_the_services(open_page: Open, client: httpx.Client) -> None:
    page = open_page("#convolve")
    image = np.arange(49).reshape(7, 7).tolist()
    text = ";".join(",".join(map(str, row)) for row in image)
    page.goto(
        f"{page.url.split('#')[0]}#convolve?image={text}&filter=1,2;3,4&stride=2&dilation=3&flip=true&step=2"
    )
    asked = {"image": image, "filter": [[1, 2], [3, 4]], "stride": 2, "dilation": 3, "flip": True}
    answer = convolve(client, **asked)
    expect(page.locator("#step-sum")).to_have_text(str(answer["steps"][1]["sum"]))
    assert numbers(grid(page, "Output")) == answer["output"]
    assert window(page) == [[0, 2], [0, 5], [3, 2], [3, 5]]
    assert grid(page, "Image").locator("td.under small").all_inner_texts() == ["×4", "×3", "×2", "×1"]
    expect(page.locator(".size .filled")).to_have_text("⌊(7 + 2·0 − 3·(2 − 1) − 1) / 2⌋ + 1 = 2")


def test_three_channels_are_multiplied_apart_and_added_up(open_page: Open, client: httpx.Client) -> None:
    page = open_page(f"#convolve?image={RGB}&filter=vertical-edge")
    image = [
        [[float(cell) for cell in row.split(",")] for row in channel.split(";")] for channel in RGB.split("|")
    ]
    answer = convolve(client, image=image, layout="CHW", filter="vertical-edge")
    assert numbers(grid(page, "Output")) == answer["output"]
    for channel, name in enumerate(("red", "green", "blue")):
        assert numbers(grid(page, f"Image, {name}")) == image[channel]
    assert page.locator(".equation").count() == 3
    expect(page.locator(".total")).to_contain_text("Sum of all 27 products")
    page.get_by_label("A filter of its own for each channel").check()
    grid(page, "Filter, blue").get_by_label("row 1, column 1").fill("100")
    filters = [[[1, 0, -1]] * 3, [[1, 0, -1]] * 3, [[100, 0, -1], [1, 0, -1], [1, 0, -1]]]
    answer = convolve(client, image=image, layout="CHW", filter=filters)
    expect(page.locator("#step-sum")).to_have_text(str(answer["steps"][0]["sum"]))
    assert numbers(grid(page, "Output")) == answer["output"]


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling_is_shown_in_the_same_way(open_page: Open, client: httpx.Client, kind: str) -> None:
    page = open_page("#convolve?image=1,3,2,1;2,9,1,1;1,3,2,3;5,6,1,2")
    page.get_by_role("button", name=f"{kind} pooling", exact=False).click()
    image = [[1, 3, 2, 1], [2, 9, 1, 1], [1, 3, 2, 3], [5, 6, 1, 2]]
    answer = client.post(
        "/pool", params={"steps": True}, json={"image": image, "size": 2, "kind": kind}
    ).json()
    expect(page.locator(".size .filled")).to_have_text("⌊(4 + 2·0 − 2) / 2⌋ + 1 = 2")
    assert numbers(grid(page, "Output")) == answer["output"]
    page.get_by_role("button", name="Step forward").click()
    expect(page.locator("#step-sum")).to_have_text(str(answer["steps"][1]["result"]))
    assert window(page) == [[0, 2], [0, 3], [1, 2], [1, 3]]


def test_the_address_holds_everything_so_that_a_link_can_be_sent(open_page: Open) -> None:
    page = open_page("#convolve")
    page.get_by_role("combobox", name="Filter", exact=True).select_option("sobel-x")
    page.get_by_role("combobox", name="Padding").select_option("2")
    page.get_by_role("spinbutton", name="Stride").fill("2")
    page.get_by_role("spinbutton", name="Stride").press("Enter")
    expect(page.locator(".where")).to_contain_text("of 16")
    page.get_by_role("button", name="Last cell").click()
    page.wait_for_url(re.compile("step=16"))
    address = page.url.partition("#")[2]
    assert address.startswith("convolve?image=10,10,10,0,0,0;10,")
    other = open_page(f"#{address}")
    expect(other.locator(".where")).to_have_text("Cell 16 of 16: row 4, column 4")
    assert numbers(grid(other, "Output")) == numbers(grid(page, "Output"))
    assert numbers(grid(other, "Filter")) == numbers(grid(page, "Filter"))


def test_a_link_that_cannot_be_read_is_said_to_be_so(open_page: Open) -> None:
    page = open_page("#convolve?image=1,2;x,4&filter=nonsense&kind=toString&padding=constructor&step=999")
    assert page.locator(".problem").all_inner_texts() == [
        "The image of this link cannot be read.",
        "The filter of this link cannot be read.",
    ]
    assert numbers(grid(page, "Image")) == ARTICLE


def test_what_the_service_refuses_is_a_sentence_and_can_be_mended(open_page: Open) -> None:
    page = open_page("#convolve")
    page.get_by_role("spinbutton", name="Rows").fill("2")
    page.get_by_role("spinbutton", name="Rows").press("Enter")
    expect(page.locator(".problem")).to_have_text("Filter is 3×3 but the padded image is 2×6.")
    complaints = open_page.complaints  # type: ignore[attr-defined]
    assert all("422" in one for one in complaints)
    complaints.clear()
    page.get_by_role("combobox", name="Padding").select_option("1")
    expect(page.locator(".size")).to_contain_text("⌊(2 + 2·1 − 3) / 1⌋ + 1 = 2")
    expect(page.locator(".problem")).to_have_count(0)


def test_a_patch_of_the_picture_becomes_the_image(open_page: Open) -> None:
    page = open_page("#convolve?sample=ship")
    place = page.get_by_role("button", name="Place of the patch")
    box = place.bounding_box()
    assert box
    place.click(position={"x": box["width"] * 0.55, "y": box["height"] * 0.72})  # on the red of the hull
    expect(page.locator(".where")).to_contain_text("of 36")
    grey = np.array(numbers(grid(page, "Image")), float)
    assert grey.shape == (8, 8)
    assert 0 <= grey.min() < grey.max() <= 255
    page.get_by_label("RGB: three channels").check()
    expect(page.locator(".channel").first).to_have_text("red")
    red, green, blue = (
        np.array(numbers(grid(page, f"Image, {name}")), float) for name in ("red", "green", "blue")
    )
    assert red.mean() > green.mean() + 30
    assert np.abs(0.299 * red + 0.587 * green + 0.114 * blue - grey).max() <= 1
    place.press("ArrowUp")
    expect(grid(page, "Image, red").locator("input").nth(8)).to_have_value(f"{red[0][0]:.0f}")


def test_the_whole_picture_before_and_after(open_page: Open, client: httpx.Client) -> None:
    page = open_page("#convolve?filter=sobel-x&padding=1")
    expect(page.locator("#after canvas")).to_have_attribute("aria-label", "After: 300×451")
    before = canvas_pixels(page, "#before canvas")
    png = io.BytesIO()
    Image.fromarray(before).save(png, "PNG")
    fields = {"filter": "sobel-x", "normalize": "abs", "padding": "1"}
    answer = client.post("/convolve/image", data=fields, files={"file": png.getvalue()})
    expected = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
    assert np.array_equal(canvas_pixels(page, "#after canvas"), expected)
    left, right = page.locator("#before").bounding_box(), page.locator("#after").bounding_box()
    assert left
    assert right
    assert left["y"] == right["y"]


def test_the_whole_picture_is_pooled_too(open_page: Open) -> None:
    page = open_page("#convolve?kind=max&size=2&stride=2")
    expect(page.locator("#after canvas")).to_have_attribute("aria-label", "After: 53×80")
    before, after = canvas_pixels(page, "#before canvas"), canvas_pixels(page, "#after canvas")
    blocks = before[:106, :160].reshape(53, 2, 80, 2, 3)
    assert np.array_equal(after, blocks.max((1, 3)))


def canvas_pixels(page: Page, selector: str) -> np.ndarray:
    width, height, pixels = page.locator(selector).evaluate(
        """canvas => { const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            return [width, height, [...data]]; }"""
    )
    return np.array(pixels, np.uint8).reshape(height, width, 4)[..., :3]


def test_on_a_phone_the_grids_fit(open_page: Open) -> None:
    page = open_page(f"#convolve?image={RGB}&padding=2", PHONE)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for table in page.get_by_role("grid").all():
        box = table.bounding_box()
        assert box
        assert box["x"] + box["width"] <= 390


def test_a_decimal_comma_is_read_and_what_is_no_number_is_put_back(open_page: Open) -> None:
    page = open_page("#convolve?image=4&filter=2")
    cell = grid(page, "Image").get_by_label("row 1, column 1")
    cell.click()
    cell.press_sequentially("1,5", delay=250)  # each key is computed before the next
    expect(grid(page, "Output").locator("td").first).to_have_text("3")
    cell.fill("1/2")
    cell.blur()
    expect(cell).to_have_value("1.5")


def test_another_image_may_be_chosen_while_the_window_plays(open_page: Open) -> None:
    page = open_page("#convolve")
    page.get_by_role("button", name="Play").click()
    page.get_by_role("combobox", name="Image", exact=True).select_option("RGB edge")
    expect(grid(page, "Image, blue")).to_be_visible()
    expect(page.locator(".where")).to_have_text("Cell 1 of 16: row 1, column 1")


def test_a_link_refused_at_once_leaves_the_settings_to_mend_it_with(open_page: Open) -> None:
    page = open_page("#convolve?kind=max&size=7&image=1,2;3,4", ready=False)
    expect(page.locator(".problem")).to_have_text("Size is 7×7 but the padded image is 2×2.")
    expect(page.locator(".bench")).to_be_hidden()
    open_page.complaints.clear()  # type: ignore[attr-defined]  # the browser's own note of the refusal
    page.get_by_role("spinbutton", name="Window").fill("2")
    page.get_by_role("spinbutton", name="Window").press("Enter")
    expect(page.locator("#step-sum")).to_have_text("4")
    expect(page.locator(".bench")).to_be_visible()
