"""Make the page's sample pictures, service/web/samples/: two photos from scikit-image, four drawings.

    python docs/draw_samples.py

The photos are free (CC0: Chelsea the cat by Stéfan van der Walt, a cup of coffee by Rachel Michetti);
what is drawn here is the project's own.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFilter, ImageOps

SAMPLES = Path(__file__).parent.parent / "service" / "web" / "samples"
CAT = Path(__file__).parent / "cat.jpg"
SIDE, THUMBNAIL = 288, 96  # pixels a side
FINER = 4  # times; drawn finer, then reduced, edges are smooth
Colour = tuple[int, int, int]


def main() -> None:
    """Write every sample as a JPEG."""
    SAMPLES.mkdir(parents=True, exist_ok=True)
    pictures = {
        "coffee": photo(skimage.data.coffee(), left=130, top=0, side=400),
        "ship": drawn(sky((150, 190, 225), (225, 235, 240)), draw_ship),
        "aeroplane": drawn(sky((95, 150, 215), (190, 215, 240)), draw_aeroplane),
        "truck": drawn(sky((190, 210, 225), (235, 235, 230)), draw_truck),
        "frog": drawn(sky((120, 150, 85), (150, 165, 105)), draw_frog),
    }
    for name, picture in pictures.items():
        picture.save(SAMPLES / f"{name}.jpg", quality=82, optimize=True)
    shutil.copyfile(CAT, SAMPLES / "cat.jpg")  # the README's: figures there and on the page are the same
    for name in (*pictures, "cat"):
        picture = Image.open(SAMPLES / f"{name}.jpg")
        thumbnail = ImageOps.fit(picture, (THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        thumbnail.save(SAMPLES / f"{name}-small.jpg", quality=78, optimize=True)


def photo(pixels: np.ndarray, *, left: int, top: int, side: int) -> Image.Image:
    """Cut a square out of a photo and reduce it."""
    return Image.fromarray(pixels[top : top + side, left : left + side]).resize(
        (SIDE, SIDE), Image.Resampling.LANCZOS
    )


def sky(above: Colour, below: Colour) -> Image.Image:
    """Paint a background that fades from one colour to another."""
    rows = np.linspace(0, 1, SIDE * FINER)[:, None, None]
    shades = np.array(above) * (1 - rows) + np.array(below) * rows
    return Image.fromarray(np.broadcast_to(shades, (SIDE * FINER, SIDE * FINER, 3)).round().astype(np.uint8))


def drawn(canvas: Image.Image, draw: Callable[["Pen"], None]) -> Image.Image:
    """Draw on a canvas in hundredths of its side, blur as a lens does, add a film's grain."""
    pen = Pen(canvas)
    draw(pen)
    small = canvas.filter(ImageFilter.GaussianBlur(FINER)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    grain = np.random.default_rng(0).normal(0, 4, (SIDE, SIDE, 1))
    return Image.fromarray((np.asarray(small) + grain).clip(0, 255).round().astype(np.uint8))


class Pen:
    """Fills shapes; places are hundredths of the canvas from the left and from the top."""

    def __init__(self, canvas: Image.Image) -> None:
        self.pen, self.scale = ImageDraw.Draw(canvas), canvas.width / 100

    def shape(self, colour: Colour, *points: tuple[float, float]) -> None:
        self.pen.polygon([(x * self.scale, y * self.scale) for x, y in points], colour)

    def box(
        self, colour: Colour, left: float, top: float, right: float, bottom: float, radius: float = 0
    ) -> None:
        edges = tuple(edge * self.scale for edge in (left, top, right, bottom))
        self.pen.rounded_rectangle(edges, radius * self.scale, colour)

    def disc(self, colour: Colour, x: float, y: float, across: float, down: float | None = None) -> None:
        down = across if down is None else down
        edges = (x - across, y - down, x + across, y + down)
        self.pen.ellipse(tuple(edge * self.scale for edge in edges), colour)


def draw_ship(pen: Pen) -> None:
    """A cargo ship on the sea."""
    pen.box((60, 100, 130), 0, 68, 100, 100)
    for row in range(7):
        for wave in range(12):
            x, y = wave * 9 + row * 4 % 9, 71 + row * 4.4
            pen.box((82, 124, 152), x, y, x + 4, y + 0.6, 0.3)
    pen.shape((150, 40, 40), (8, 66), (92, 66), (86, 76), (14, 76))
    pen.shape((45, 50, 62), (5, 55), (96, 55), (92, 67), (8, 67))
    pen.box((235, 235, 232), 62, 38, 82, 55, 1)
    pen.box((235, 235, 232), 66, 29, 79, 39, 1)
    for window in range(4):
        pen.box((60, 75, 95), 64 + window * 4.4, 42, 67 + window * 4.4, 45)
    pen.box((190, 60, 45), 70, 17, 76, 30)
    pen.box((40, 40, 45), 70, 17, 76, 20)
    for place, colour in enumerate([(196, 110, 60), (90, 120, 150), (170, 60, 60), (120, 140, 90)]):
        pen.box(colour, 13 + place * 12, 45, 24 + place * 12, 55)
    pen.box((80, 80, 85), 11, 26, 12, 55)


def draw_aeroplane(pen: Pen) -> None:
    """An airliner from the side, climbing a little."""
    body, shade = (238, 240, 243), (176, 184, 194)
    pen.shape(shade, (46, 50), (60, 50), (78, 28), (70, 28))
    pen.shape(body, (6, 58), (12, 50), (30, 46), (84, 42), (95, 44), (92, 52), (60, 60), (20, 63))
    pen.disc(body, 16, 55.5, 10, 7)
    pen.shape((52, 90, 160), (80, 43), (88, 20), (95, 20), (94, 45))
    pen.shape(shade, (82, 47), (98, 40), (99, 43), (88, 50))
    pen.shape((150, 158, 170), (38, 57), (58, 55), (72, 78), (62, 79))
    pen.box((110, 118, 130), 44, 61, 54, 67, 3)
    for window in range(13):
        pen.disc((70, 84, 104), 24 + window * 4.4, 53 - window * 0.42, 0.8)
    pen.shape((60, 74, 94), (8, 54), (13, 50), (17, 50), (15, 54))


def draw_truck(pen: Pen) -> None:
    """A lorry on a road."""
    pen.box((110, 112, 115), 0, 74, 100, 100)
    pen.box((130, 150, 110), 0, 66, 100, 75)
    pen.box((236, 236, 234), 30, 24, 94, 68, 1)
    pen.box((205, 206, 206), 30, 62, 94, 68)
    pen.shape((190, 45, 40), (6, 70), (6, 50), (12, 36), (29, 36), (29, 70))
    pen.shape((150, 185, 205), (9, 50), (13, 39), (23, 39), (23, 50))
    pen.box((60, 60, 64), 6, 66, 96, 72)
    pen.box((240, 220, 150), 5, 60, 9, 64, 1)
    for x in (18, 70, 84):
        pen.disc((28, 28, 30), x, 74, 8)
        pen.disc((150, 152, 155), x, 74, 3.6)


def draw_frog(pen: Pen) -> None:
    """A tree frog from the front on a leaf."""
    green, dark, pale = (96, 150, 50), (60, 104, 36), (206, 210, 150)
    pen.shape((66, 96, 52), (0, 78), (50, 70), (100, 80), (100, 100), (0, 100))
    pen.disc(dark, 22, 72, 17, 11)
    pen.disc(dark, 78, 72, 17, 11)
    pen.disc(green, 50, 60, 31, 25)
    pen.disc(pale, 50, 71, 21, 13)
    pen.disc(green, 50, 47, 26, 17)
    for x in (31, 69):
        pen.disc(green, x, 32, 10.5)
        pen.disc((214, 164, 40), x, 31, 7.5)
        pen.disc((22, 22, 20), x, 31, 3, 5.6)
        pen.disc((250, 250, 245), x - 2, 28, 1.4)
    pen.shape(dark, (28, 51), (40, 56), (50, 57.5), (60, 56), (72, 51), (61, 58.5), (50, 60), (39, 58.5))
    pen.disc(dark, 46, 45, 1)
    pen.disc(dark, 54, 45, 1)
    for x in (24, 33, 67, 76):
        pen.disc(green, x, 84, 4.5, 3)


if __name__ == "__main__":
    main()
