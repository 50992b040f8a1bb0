"""Draw docs/answer.jpg, the README's picture, from the answers of a running service.

python docs/draw_answer.py http://127.0.0.1:8000      (needs Pillow alone)
"""

import io
import json
import sys
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).parent
WIDTH, HEIGHT, SCALE = 1160, 700, 2
INK, QUIET, PAPER, LINE, ACCENT = "#1b2430", "#687385", "#ffffff", "#e3e7ed", "#2f6fed"
ARTICLE = [[10, 10, 10, 0, 0, 0]] * 6


def post(url: str, body: bytes, kind: str) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": kind})
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())


def form(picture: bytes, **fields: str) -> tuple[bytes, str]:
    """Build a multipart body of one picture and some fields."""
    mark = uuid.uuid4().hex
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="cat.jpg"\r\n'
    parts.append(f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + picture + b"\r\n")
    return b"".join(parts) + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


class Sheet:
    """A canvas in CSS-like pixels, drawn at twice the size."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), PAPER)
        self.pen = ImageDraw.Draw(self.image)

    def text(
        self, x: float, y: float, words: str, size: int = 15, ink: str = INK, anchor: str = "la"
    ) -> None:
        font = ImageFont.load_default(size * SCALE)
        self.pen.text((x * SCALE, y * SCALE), words, ink, font, anchor)

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, edge: str | None = None
    ) -> None:
        corners = (x * SCALE, y * SCALE, (x + width) * SCALE, (y + height) * SCALE)
        self.pen.rectangle(corners, fill, edge)

    def picture(self, x: int, y: int, picture: Image.Image, width: int, height: int) -> None:
        self.image.paste(
            picture.resize((width * SCALE, height * SCALE), Image.Resampling.LANCZOS), (x * SCALE, y * SCALE)
        )

    def grid(self, x: int, y: int, rows: list[list[float]], cell: int, largest: float) -> None:
        """Draw numbers as cells whose grey is their value, or the accent for what a filter found."""
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                share = abs(value) / largest
                fill = tuple(round(255 - (255 - c) * share * 0.85) for c in (47, 111, 237))
                self.box(x + j * cell, y + i * cell, cell, cell, f"rgb{fill}", LINE)
                ink = PAPER if share > 0.6 else INK
                self.text(x + (j + 0.5) * cell, y + (i + 0.5) * cell, f"{value:g}", 15, ink, "mm")


def main() -> None:
    base = sys.argv[1].rstrip("/")
    cat = (HERE / "cat.jpg").read_bytes()
    answer: dict[str, Any] = json.loads(post(f"{base}/predict", *form(cat)))
    edges = post(f"{base}/convolve/image", *form(cat, filter="sobel-x", normalize="abs"))
    request = json.dumps({"image": ARTICLE, "filter": "vertical-edge"}).encode()
    found = json.loads(post(f"{base}/convolve", request, "application/json"))["output"]

    sheet = Sheet()
    photo = Image.open(io.BytesIO(cat))
    high = 250
    wide = round(photo.width * high / photo.height)
    top = 64
    sheet.text(40, 26, "POST /predict", 18)
    sheet.picture(40, top, photo, wide, high)
    left = 40 + wide + 40
    for row, guess in enumerate(answer["predictions"]):
        y = top + 8 + row * 49
        sheet.text(left, y, guess["label"])
        sheet.text(left + 270, y, f"{guess['probability']:.1%}", anchor="ra", ink=QUIET)
        sheet.box(left, y + 22, 270, 9, LINE)
        sheet.box(left, y + 22, 270 * guess["probability"], 9, ACCENT)
    right = left + 270 + 50
    sheet.text(right, 26, "POST /convolve/image · sobel-x", 18)
    shown = WIDTH - 40 - right
    sheet.picture(right, top, Image.open(io.BytesIO(edges)), shown, round(shown * photo.height / photo.width))

    base_y = top + high + 48
    sheet.text(40, base_y, "POST /convolve", 18)
    cell, y = 43, base_y + 38
    sheet.grid(40, y, ARTICLE, cell, 10)
    sheet.text(40 + 6 * cell + 36, y + 3 * cell, "*", 30, QUIET, "mm")
    x = 40 + 6 * cell + 72
    sheet.grid(x, y + round(1.5 * cell), [[1, 0, -1]] * 3, cell, 3)
    sheet.text(x + 3 * cell + 36, y + 3 * cell, "=", 30, QUIET, "mm")
    x += 3 * cell + 72
    sheet.grid(x, y + cell, found, cell, 30)
    words = ("floor((n + 2p - f) / s) + 1", "(6 + 2·0 - 3) / 1 + 1 = 4")
    for line, text in enumerate(words):
        sheet.text(x + 4 * cell + 36, y + (2.4 + line * 0.7) * cell, text, 16, INK if line else QUIET)
    sheet.image.save(HERE / "answer.jpg", quality=90, subsampling=0)


if __name__ == "__main__":
    main()
