"""Where the processor's time of one request goes: stage by stage, and as a drawing."""

import asyncio
import os
import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import orjson
import torch

from benchmarks.serving import load, machine
from benchmarks.serving.chart import MARGIN, STYLE, WIDTH, text
from benchmarks.serving.environments import REPOSITORY
from benchmarks.serving.harness import started
from benchmarks.serving.launches import MODEL
from benchmarks.serving.payloads import Picture, multipart, photo, small_png
from benchmarks.serving.servers import ENTRIES, OURS, Entry
from service.images import decode_image
from service.model import Model, load_model
from service.routes.prediction import likeliest
from service.serving import Served
from service.uploads import parse_form
from service.workers import Workers

BATCH = 32
BARE = next(entry for entry in ENTRIES if entry.name == "bare")
DRAWING = REPOSITORY / "docs" / "performance-request.svg"
BAR, TOP, ROW = 34, 84, 118
COLOURS = ("#8250df", "#bf3989", "#0969da", "#1a7f37", "#9a6700", "#8c959f")
STAGES = {
    "http": "HTTP: kernel and uvicorn",
    "form": "form",
    "decode": "decode",
    "model": "model",
    "answer": "answer",
    "rest": "queue, threads, log, headers",
}


def run(*, quick: bool = False) -> dict[str, Any]:
    """Take the stages apart in this process, and the whole from the servers' processor time."""
    seconds = 2 if quick else 6
    torch.set_num_threads(1)
    model = load_model(MODEL)
    model.accelerate(bfloat16=True)
    pictures = (small_png(), photo())
    bare = processor_us(BARE, pictures, seconds)
    whole = processor_us(OURS, pictures, seconds)
    rows = []
    for picture in pictures:
        stages = {"http": bare[picture.name], **asyncio.run(stages_us(model, picture))}
        stages["rest"] = max(whole[picture.name] - sum(stages.values()), 0.0)
        rows.append({"payload": picture.name, "whole_us": whole[picture.name], "stages_us": stages})
    result = {"machine": machine.describe(), "rows": rows}
    if not quick:
        DRAWING.write_text(draw(result), encoding="utf-8")
    return result | {"text": render(result)}


def processor_us(entry: Entry, pictures: tuple[Picture, ...], seconds: int) -> dict[str, float]:
    """Load a server and read what its processes spent, user and system: microseconds a request."""
    found = {}
    with started(entry) as server:
        for picture in pictures:
            body = multipart(picture)
            load.drive(server.port, entry.path, body, 64, 1)
            before = spent_s(server.processes())
            done = load.drive(server.port, entry.path, body, 64, seconds)
            found[picture.name] = (spent_s(server.processes()) - before) / done.requests * 1e6
    return found


def spent_s(processes: set[int]) -> float:
    """Sum the processor time of processes."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in processes]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


async def stages_us(model: Model, picture: Picture) -> dict[str, float]:
    """Time the stages one by one, as the service calls them."""
    served = Served(model, Workers(1, 1), max_pixels=10**9, batch_size=BATCH, queue_length=1)
    body, size = multipart(picture), model.card.input.height
    pixels = model.prepare(decode_image(picture.data, max_pixels=10**9, square=served.square))
    small = len(picture.data) < 10_000
    together = BATCH if small else 1  # photos come one by one
    rankings = served.classify([pixels] * together)

    def answer() -> bytes:
        guesses = likeliest(rankings[0], served, 5)
        return orjson.dumps({"model": model.name, "version": "1.0.0", "predictions": guesses})

    return {
        "form": least_us(lambda: parse_form(body.data, body.content_type, 4)),
        "decode": least_us(lambda: model.prepare(decode_image(picture.data, max_pixels=10**9, square=size))),
        "model": least_us(lambda: served.classify([pixels] * together)) / together,
        "answer": least_us(answer),
    }


def least_us(call: Callable[[], object], seconds: float = 0.5) -> float:
    """Call for so long; the least time, in microseconds."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return best * 1e6


def render(result: dict[str, Any]) -> str:
    """Write a column a stage."""
    lines = ["| µs of a core | " + " | ".join(STAGES.values()) + " | in all |"]
    lines.append("| --- |" + " --- |" * (len(STAGES) + 1))
    for row in result["rows"]:
        figures = " | ".join(f"{row['stages_us'][stage]:,.0f}" for stage in STAGES)
        lines.append(f"| {row['payload']} | {figures} | {row['whole_us']:,.0f} |")
    return "\n".join([*lines, "\n" + machine.signature(result["machine"])])


def draw(result: dict[str, Any]) -> str:
    """Draw one bar a payload, a piece a stage."""
    height = TOP + ROW * len(result["rows"]) + 34
    words = " ".join(
        f"{row['payload']}: "
        + ", ".join(f"{name} {row['stages_us'][stage]:.0f} µs" for stage, name in STAGES.items())
        + "."
        for row in result["rows"]
    )
    fills = "".join(f".s{index} {{ fill: {colour} }} " for index, colour in enumerate(COLOURS))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-labelledby="title description">',
        '<title id="title">Where the time of one request goes</title>',
        f'<desc id="description">{escape(words)}</desc>',
        f"<style>{STYLE} {fills} .on {{ fill: #ffffff; font-size: 12.5px }}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>',
        text(MARGIN, 36, "Where one request's time goes, microseconds of a core", "title"),
        text(
            MARGIN,
            57,
            "64 connections, the article's network, client and load generator not counted",
            "quiet",
        ),
    ]
    names = {"small": "Small PNG, 32×32", "photo": "Photo, 1200×900 JPEG"}
    for position, row in enumerate(result["rows"]):
        parts += bar(row, names[row["payload"]], TOP + position * ROW)
    return "\n".join([*parts, "</svg>\n"])


def bar(row: dict[str, Any], name: str, top: float) -> list[str]:
    """Draw the pieces of one request, each with its figure, and what they are below."""
    scale = (WIDTH - 2 * MARGIN) / sum(row["stages_us"].values())
    parts, left = [text(MARGIN, top + 14, f"{name}: {row['whole_us']:,.0f} µs", "panel")], float(MARGIN)
    key = float(MARGIN)
    for index, (stage, label) in enumerate(STAGES.items()):
        spent = row["stages_us"][stage]
        width = spent * scale
        parts.append(
            f'<rect class="s{index}" x="{left:.1f}" y="{top + 24}" width="{max(width - 1.5, 1):.1f}"'
            f' height="{BAR}" rx="2"/>'
        )
        if width > 34:
            parts.append(text(left + width / 2, top + 46, f"{spent:,.0f}", "on", "middle"))
        parts.append(f'<rect class="s{index}" x="{key:.1f}" y="{top + 70}" width="11" height="11" rx="2"/>')
        parts.append(text(key + 16, top + 80, f"{label} {spent:,.0f}", "quiet"))
        key += 34 + 6.6 * len(f"{label} {spent:,.0f}")
        left += width
    return parts
