"""What it costs to get at a picture's pixels: small ones beside bare Pillow, JPEGs whole and scaled.

OPENBLAS_NUM_THREADS=1 python -m benchmarks.decode               as the service has it
OPENBLAS_NUM_THREADS=1 python -m benchmarks.decode --json FILE   the figures for a program, too

A time is the least of many calls, the variants in turns, on one core.
"""

import argparse
import io
import json
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import PIL
import torch
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from service import scaling
from service.images import decode_image
from service.model import Model, load_models
from tests.service.test_scaled_decoding import cut_photos, photo

MODELS = Path(__file__).parents[1] / "models"
PIXELS = 10**9  # no limit
S = 32
SIZES = ((300, 200), (640, 480), (1200, 900), (2000, 1500), (4000, 3000))
DETAILS = (2, 3, 5, 7, 10)
Row = dict[str, str | int | float]


def least(calls: dict[str, Callable[[], object]], seconds: float = 1.5) -> dict[str, float]:
    """Call each in turns for so many seconds in all, twice at least; the least of each, in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while len(times[next(iter(calls))]) < 2 or time.perf_counter() < end:
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - began) * 1000)
    return {name: min(taken) for name, taken in times.items()}


def file(picture: Image.Image, kind: str, **options: object) -> bytes:
    body = io.BytesIO()
    picture.save(body, kind, **options)
    return body.getvalue()


def small_pictures() -> Iterator[Row]:
    """A picture of the model's own size: what decode_image adds to Pillow's reader."""
    readers: dict[str, Callable[[io.BytesIO], ImageFile]] = {"PNG": PngImageFile, "JPEG": JpegImageFile}
    for kind, read in readers.items():
        data = file(photo("chelsea").resize((S, S)), kind)

        def bare(read: Callable[[io.BytesIO], ImageFile] = read, data: bytes = data) -> bytes:
            image = read(io.BytesIO(data))
            image.load()
            return image.tobytes()

        def ours(data: bytes = data) -> object:
            return decode_image(data, max_pixels=PIXELS, square=S)

        taken = least({"bare": bare, "ours": ours})
        yield {
            "picture": f"{kind} {S}×{S}",
            "bytes": len(data),
            "Pillow alone, µs": round(taken["bare"] * 1000, 1),
            "decode_image, µs": round(taken["ours"] * 1000, 1),
            "times": round(taken["ours"] / taken["bare"], 2),
        }


def large_pictures(model: Model) -> Iterator[Row]:
    """From bytes to the model's input, every pixel decoded or no more than are needed."""
    for size in SIZES:
        picture = photo("coffee").resize(size, Image.Resampling.BICUBIC)
        files = {"JPEG": file(picture, "JPEG", quality=74)}
        if size == (1200, 900):
            files["JPEG, progressive"] = file(picture, "JPEG", quality=74, progressive=True)
            files |= {kind: file(picture, kind) for kind in ("PNG", "WebP")}
        for kind, data in files.items():

            def decoded(square: int | None, data: bytes = data) -> object:
                return model.prepare(decode_image(data, max_pixels=PIXELS, square=square))

            taken = least({"whole": lambda: decoded(None), "scaled": lambda: decoded(S)})
            yield {
                "picture": f"{kind} {size[0]}×{size[1]}",
                "KB": round(len(data) / 1000),
                "whole, ms": round(taken["whole"], 2),
                "scaled, ms": round(taken["scaled"], 2),
                "times as fast": round(taken["whole"] / taken["scaled"], 1),
            }


def agreement(models: dict[str, Model], count: int, seed: int) -> Iterator[Row]:
    """What the models answer for photos scaled while they are decoded, against every pixel decoded."""
    photos = list(cut_photos(count, seed))
    whole = [decode_image(data, max_pixels=PIXELS) for data in photos]
    for detail in DETAILS:
        with mock.patch.object(scaling, "DETAIL", detail):
            scaled = [decode_image(data, max_pixels=PIXELS, square=S) for data in photos]
        pairs = [pair for pair in zip(whole, scaled, strict=True) if pair[0].shape != pair[1].shape]
        row: Row = {"pixels a side / S, at least": detail, "photos scaled": len(pairs)}
        for name, model in models.items():
            answers = [model.classify([model.prepare(pair[side]) for pair in pairs]) for side in (0, 1)]
            same = (answers[0].argmax(1) == answers[1].argmax(1)).mean()
            row[f"{name}: same top class, %"] = round(100 * float(same), 2)
            row[f"{name}: mean difference"] = round(float(np.abs(answers[0] - answers[1]).mean()), 4)
        yield row


def table(rows: list[Row]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--photos", type=int, default=400, help="that the models answer; 0 for none")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = load_models(MODELS)
    print(f"Python {platform.python_version()}, Pillow {PIL.__version__}, torch {torch.__version__}")
    found = {
        "small": list(small_pictures()),
        "large": list(large_pictures(next(iter(models.values())))),
        "agreement": list(agreement(models, options.photos, options.seed)) if options.photos else [],
    }
    for rows in filter(None, found.values()):
        print(f"\n{table(rows)}")
    if options.json:
        options.json.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
