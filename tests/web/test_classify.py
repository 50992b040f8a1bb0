"""The first view, used as a person would: drop, paste, choose, photograph; read, compare, copy."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Open

SAMPLES = Path(__file__).parents[2] / "service" / "web" / "samples"


def predict(client: httpx.Client, picture: bytes, **query: Any) -> list[dict[str, Any]]:
    answer = client.post("/predict", params=query, files={"file": picture})
    guesses: list[dict[str, Any]] = answer.json()["predictions"]
    return guesses


def shown(page: Page) -> list[tuple[str, str]]:
    """The classes and percentages of the first card's bars."""
    rows = page.locator(".verdict").first.locator(".bars li").all()
    return [(row.locator(".label").inner_text(), row.locator(".value").inner_text()) for row in rows]


def assert_shows(page: Page, guesses: list[dict[str, Any]]) -> None:
    expect(page.locator(".verdict .label").first).to_have_text(guesses[0]["label"])
    rows = shown(page)
    assert [label for label, _ in rows] == [guess["label"] for guess in guesses[:5]]
    for (_, text), guess in zip(rows, guesses, strict=False):
        number = float(re.sub(r"[^0-9.]", "", text))
        assert number == pytest.approx(100 * guess["probability"], abs=0.11), text


def hand_over(page: Page, picture: bytes, name: str, kind: str, event: str) -> None:
    """Drop a file on the page, or paste it."""
    page.evaluate(
        """([bytes, name, kind, event]) => {
            const data = new DataTransfer();
            const raw = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
            data.items.add(new File([raw], name, { type: kind }));
            const options = { bubbles: true, cancelable: true };
            const happening = event === "drop"
                ? new DragEvent("drop", { ...options, dataTransfer: data })
                : new ClipboardEvent("paste", { ...options, clipboardData: data });
            document.querySelector("#main").dispatchEvent(happening);
        }""",
        [base64.b64encode(picture).decode(), name, kind, event],
    )


def test_the_first_thing_seen_is_a_picture_classified(open_page: Open, client: httpx.Client) -> None:
    page = open_page()
    assert_shows(page, predict(client, (SAMPLES / "cat.jpg").read_bytes()))
    expect(page.locator(".verdict h2")).to_contain_text("cat")
    expect(page.locator("[data-sample=cat]").first).to_have_attribute("aria-pressed", "true")


def test_what_the_model_sees_is_the_prepared_input_enlarged(open_page: Open, client: httpx.Client) -> None:
    page = open_page()
    seen = page.locator(".seen img")
    answer = client.post("/layers", files={"file": (SAMPLES / "cat.jpg").read_bytes()}).json()
    assert seen.get_attribute("src") == f"data:image/png;base64,{answer['input']['png']}"
    assert seen.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [32, 32]
    assert seen.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"
    box = seen.bounding_box()
    assert box
    assert box["width"] == 7 * 32


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_can_be_dropped_or_pasted(open_page: Open, client: httpx.Client, event: str) -> None:
    page = open_page()
    ship = (SAMPLES / "ship.jpg").read_bytes()
    hand_over(page, ship, "my ship.jpg", "image/jpeg", event)
    expect(page.locator(".verdict h2")).to_contain_text("ship")
    assert_shows(page, predict(client, ship))
    expect(page.locator("#picture-name")).to_have_text("my ship.jpg, 288×288")
    expect(page.locator("[data-sample=cat]").first).to_have_attribute("aria-pressed", "false")


def test_a_picture_can_be_chosen(open_page: Open, client: httpx.Client) -> None:
    page = open_page()
    page.locator("#file").set_input_files(SAMPLES / "truck.jpg")
    expect(page.locator(".verdict h2")).to_contain_text("truck")
    assert_shows(page, predict(client, (SAMPLES / "truck.jpg").read_bytes()))


def test_a_photo_can_be_taken(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("button", name="Take a photo").click()
    page.locator("dialog video[data-ready]").wait_for()
    page.get_by_role("button", name="Take the photo").click()
    expect(page.locator("#picture-name")).to_contain_text("photo.jpg")
    expect(page.locator("dialog")).to_have_count(0)


def test_where_no_camera_may_be_used_the_page_says_so(open_page: Open) -> None:
    page = open_page()
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia ="
        " async () => { throw new DOMException('', 'NotAllowedError'); }; }"
    )
    page.get_by_role("button", name="Take a photo").click()
    expect(page.locator("#picture-problem")).to_contain_text(
        "The camera was not allowed. Choose a file instead."
    )


def test_an_unsure_model_says_so(open_page: Open, client: httpx.Client) -> None:
    first = predict(client, (SAMPLES / "frog.jpg").read_bytes())[0]
    assert first["probability"] < 0.5, "the sample is there because of this"
    page = open_page("#classify?sample=frog")
    expect(page.locator(".verdict h2")).to_have_text("I am not sure")
    expect(page.locator(".explained")).to_contain_text(f"leans to {first['label']}")


def test_the_stages_are_those_of_the_answer(open_page: Open) -> None:
    page = open_page()
    terms = page.locator(".timings dt").all_inner_texts()
    assert terms == ["decode", "wait", "infer", "server", "from here"]
    spent = [float(text.removesuffix(" ms")) for text in page.locator(".timings dd").all_inner_texts()]
    assert spent[2] > 0
    assert sum(spent[:3]) <= spent[3] + 0.2
    assert spent[3] <= spent[4] + 1


def test_another_model_can_be_chosen_and_all_be_compared(open_page: Open, client: httpx.Client) -> None:
    page = open_page()
    cat = (SAMPLES / "cat.jpg").read_bytes()
    page.get_by_role("radio", name="cifar10-lenet").check()
    expect(page.locator(".verdict .eyebrow")).to_have_text("cifar10-lenet")
    assert_shows(page, predict(client, cat, model="cifar10-lenet"))
    page.get_by_label("Compare all side by side").check()
    expect(page.locator(".verdict .eyebrow")).to_have_text(["cifar10-lenet", "cifar10-resnet"])
    assert "compare=true" in page.url
    left, right = (one.bounding_box() for one in page.locator(".verdict").all())
    assert left
    assert right
    assert left["x"] + left["width"] <= right["x"]


def test_the_curl_shown_is_copied_and_works(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    page.locator(".snippets").get_by_role("button", name="Copy").click()
    expect(page.locator(".snippets .copy")).to_have_text("Copied")
    command = page.evaluate("navigator.clipboard.readText()")
    (tmp_path / "cat.jpg").write_bytes((SAMPLES / "cat.jpg").read_bytes())
    done = subprocess.run(
        ["bash", "-c", f"{command} -sS"], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert json.loads(done.stdout)["predictions"][0]["label"] == "cat", done.stderr


def test_the_python_shown_works_and_the_javascript_too(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    code = page.locator(".snippets code")
    page.get_by_role("button", name="Python").click()
    (tmp_path / "cat.jpg").write_bytes((SAMPLES / "cat.jpg").read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", code.inner_text()], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert "cat" in done.stdout.splitlines()[0], done.stderr
    page.get_by_role("button", name="JavaScript").click()
    body = code.inner_text().split("\n", 1)[1]  # the first line says what `file` is
    file = "await (await fetch('web/samples/cat.jpg')).blob()"
    script = f"async () => {{ const file = {file}; {body}; return predictions[0].label; }}"
    assert page.evaluate(script) == "cat"


def test_what_is_no_picture_is_refused_in_a_sentence(open_page: Open) -> None:
    page = open_page()
    hand_over(page, b"notes", "notes.txt", "text/plain", "drop")
    expect(page.locator("#picture-problem [role=alert]")).to_have_text(
        "notes.txt is no picture. JPEG, PNG, WebP, GIF, BMP and TIFF are read."
    )
    expect(page.locator(".verdict h2")).to_contain_text("cat")


def test_the_services_error_stands_where_the_answer_would(open_page: Open, client: httpx.Client) -> None:
    page = open_page()
    broken = (SAMPLES / "ship.jpg").read_bytes()[:2000]
    detail = client.post("/predict", files={"file": broken}).json()["detail"]
    hand_over(page, broken, "broken.jpg", "image/jpeg", "drop")
    expect(page.locator(".verdict .problem")).to_have_text(detail[0].upper() + detail[1:] + ".")
    page.locator("[data-sample=ship]").first.click()
    expect(page.locator(".verdict h2")).to_contain_text("ship")
    complaints = open_page.complaints  # type: ignore[attr-defined]
    assert all("400" in one for one in complaints)  # the browser's own note of each refusal
    complaints.clear()


def test_the_frame_shows_the_square_that_is_cut(open_page: Open) -> None:
    page = open_page()
    page.locator("#picture-stage img").evaluate("image => image.decode()")
    frame, picture = page.locator(".square").bounding_box(), page.locator("#picture-stage img").bounding_box()
    assert frame
    assert picture
    assert frame["width"] == pytest.approx(frame["height"], abs=1)
    assert frame["height"] == pytest.approx(picture["height"], abs=1)
    assert frame["x"] + frame["width"] / 2 == pytest.approx(picture["x"] + picture["width"] / 2, abs=1)


def test_a_slow_answer_does_not_take_the_place_of_a_newer_one(open_page: Open) -> None:
    page = open_page()
    held = []
    page.route("**/layers*", lambda route: held.append(route) if not held else route.continue_())
    page.locator("#side [data-sample=ship]").click()
    page.wait_for_timeout(300)
    page.locator("#side [data-sample=truck]").click()
    expect(page.locator(".verdict h2")).to_contain_text("truck")
    held[0].continue_()
    page.wait_for_timeout(300)
    expect(page.locator(".verdict h2")).to_contain_text("truck")


def test_the_curl_works_for_a_file_whose_name_curl_would_take_apart(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    name = 'it\'s; a,b "cat".jpg'
    cat = (SAMPLES / "cat.jpg").read_bytes()
    hand_over(page, cat, name, "image/jpeg", "drop")
    expect(page.locator(".snippets code")).to_contain_text("a,b")
    (tmp_path / name).write_bytes(cat)
    command = page.locator(".snippets code").inner_text()
    done = subprocess.run(["bash", "-c", f"{command} -sS"], cwd=tmp_path, capture_output=True, text=True)
    assert json.loads(done.stdout)["predictions"][0]["label"] == "cat", done.stderr
