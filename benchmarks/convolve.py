"""What `/convolve` takes beside what people would write instead, and which way of convolving is quicker.

python -m benchmarks.convolve                    Markdown tables; --json FILE for a program

Who is compared takes turns, round after round; a ratio is the median over the rounds. Peak memory is a
process's own, beyond what it had after a 2×2 matrix, the body it was sent included.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `python -m service` sets it, before NumPy loads

import numpy as np
import orjson
from scipy.signal import correlate2d

from service.arithmetic import fourier
from service.arithmetic.convolution import Convolution, _correlate_by_windows, convolve
from service.arithmetic.geometry import Limits
from service.matrices.answers import answer_convolve
from service.matrices.calls import Call
from service.matrices.npy import write_npy

Timed = dict[str, Callable[[], object]]
LIMITS = Limits(2**24, 4_000_000_000)
TINY = b'{"image": [[1, 2], [3, 4]], "filter": [[1]]}'
SOBEL = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
SIDES = (1, 3, 5, 7, 9, 11, 15, 25, 31, 51, 101)

# What a tutorial has: pydantic reads the numbers, SciPy convolves, FastAPI writes them. And the same with the
# answer's type declared, which lets pydantic write them.
TUTORIAL = """
from fastapi import FastAPI
from pydantic import BaseModel
from scipy.signal import correlate2d

class Body(BaseModel):
    image: list[list[float]]
    filter: list[list[float]]

app = FastAPI()

@app.post("/convolve")
def convolve(body: Body){returns}:
    return {{"output": correlate2d(body.image, body.filter, "valid").tolist()}}
"""
TUTORIALS = {
    "as tutorials have it": "",
    "with its answer's type declared": " -> dict[str, list[list[float]]]",
}


def measure(variants: Timed, rounds: int) -> dict[str, list[float]]:
    """Time the variants in turn, after a round that does not count: milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, run in variants.items():
            started = time.perf_counter()
            run()
            if turn:
                times[name].append((time.perf_counter() - started) * 1000)
    return times


def row(name: str, ours: list[float], theirs: list[float], bar: str) -> dict[str, Any]:
    """Compare one with the other, round by round: how many times as long the first takes."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return {
        "name": name,
        "ours_ms": statistics.median(ours),
        "other_ms": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "bar": bar,
    }


def images() -> dict[str, np.ndarray[Any, Any]]:
    generator = np.random.default_rng(0)
    return {
        "integers 0 to 255": generator.integers(0, 256, (1000, 1000)),
        "doubles": generator.random((1000, 1000)),
    }


def body_of(image: np.ndarray[Any, Any]) -> bytes:
    return orjson.dumps({"image": image, "filter": SOBEL}, option=orjson.OPT_SERIALIZE_NUMPY)


def in_process(rounds: int) -> Iterator[dict[str, Any]]:
    """JSON beside orjson alone on the same bytes, .npy beside the convolution alone."""
    for kind, image in images().items():
        body = body_of(image)
        times = measure(
            {
                "ours": lambda body=body: answer_convolve(Call(body, "application/json", [], ""), LIMITS),
                "orjson": lambda body=body: orjson.dumps(orjson.loads(body)),
            },
            rounds,
        )
        yield row(f"JSON, {kind} / orjson reads and writes it", times["ours"], times["orjson"], "at most 1.5")
    pixels = images()["doubles"]
    npy, asked = write_npy(pixels), Convolution(np.array(SOBEL, dtype=float)[np.newaxis, np.newaxis])
    query = [("filter", "sobel-x")]
    times = measure(
        {
            "ours": lambda: answer_convolve(
                Call(npy, "application/x-npy", query, "application/x-npy"), LIMITS
            ),
            "alone": lambda: convolve(pixels[np.newaxis], asked),
        },
        rounds,
    )
    yield row(".npy / the convolution alone", times["ours"], times["alone"], "at most 2")


@contextmanager
def serving(*command: str, **options: Any) -> Iterator[tuple[str, int]]:
    """Run a server on a free port until the block ends: its address and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    server = subprocess.Popen([sys.executable, *command, "--port", port], **options)
    try:
        yield f"http://127.0.0.1:{port}", server.pid
    finally:
        server.terminate()
        server.wait(60)


def post(address: str, body: bytes, *, tries: int = 1) -> bytes:
    request = urllib.request.Request(f"{address}/convolve", body, {"Content-Type": "application/json"})
    for left in reversed(range(tries)):
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return bytes(answer.read())
        except OSError:
            if not left:
                raise
            time.sleep(0.2)
    raise AssertionError


def over_http(rounds: int) -> Iterator[dict[str, Any]]:
    """Servers of one process on loopback, asked in turn; answers are compared first."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        addresses = {"ours": stack.enter_context(serving("-m", "service", stderr=subprocess.DEVNULL))[0]}
        for number, (name, returns) in enumerate(TUTORIALS.items()):
            module = f"tutorial{number}"
            (Path(folder) / f"{module}.py").write_text(TUTORIAL.format(returns=returns), encoding="utf-8")
            command = ("-m", "uvicorn", f"{module}:app", "--app-dir", folder, "--log-level", "warning")
            addresses[name] = stack.enter_context(serving(*command))[0]
        for kind, image in images().items():
            body = body_of(image)
            answers = [orjson.loads(post(address, body, tries=200)) for address in addresses.values()]
            for answer in answers[1:]:
                np.testing.assert_allclose(answers[0]["output"], answer["output"], atol=1e-9)
            times = measure(
                {
                    name: lambda body=body, address=address: post(address, body)
                    for name, address in addresses.items()
                },
                rounds,
            )
            for name, returns in TUTORIALS.items():
                label = f"over HTTP, {kind}: FastAPI, list[list[float]] and SciPy, {name} / ours"
                yield row(label, times[name], times["ours"], "" if returns else "at least 10")


PEAK = """
import sys
from benchmarks.convolve import LIMITS, TINY, Call, answer_convolve, peak
def answer(read):
    answer_convolve(Call(read(), "application/json", [], ""), LIMITS)
answer(lambda: TINY)
before = peak("self")
answer(open(sys.argv[1], "rb").read)
print(peak("self") - before)
"""


def peak(process: int | str) -> float:
    """A process's peak memory so far, in sizes of the array (8 MB)."""
    # Not getrusage's, which begins with that of the process this one was forked from.
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 8e6


def memory() -> Iterator[dict[str, Any]]:
    """The peak of one answer in a fresh process, in sizes of the array."""
    for kind, image in images().items():
        with tempfile.NamedTemporaryFile() as file:
            file.write(body_of(image))
            file.flush()
            command = [sys.executable, "-c", PEAK, file.name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        yield {"name": f"peak memory / the array, {kind}", "ratio": float(done.stdout), "bar": "at most 6"}


def server_memory() -> Iterator[dict[str, Any]]:
    """The peak of a server that has answered the same body five times: some of it is not given back."""
    for kind, image in images().items():
        with serving("-m", "service", stderr=subprocess.DEVNULL) as (address, process):
            post(address, TINY, tries=200)
            before = peak(process)
            for _ in range(5):
                post(address, body_of(image))
            most = peak(process) - before
        yield {"name": f"a server's peak memory / the array, {kind}", "ratio": most, "bar": "at most 6"}


def algorithms(rounds: int) -> Iterator[dict[str, Any]]:
    """Windows and frequencies, and which is chosen; depthwise, each channel is a picture of its own."""
    generator = np.random.default_rng(0)
    cases = [(1, 1, side, 1) for side in SIDES] + [(1, 1, 31, 4)]
    cases += [(channels, 1, 15, 1) for channels in (3, 16)] + [(1, 8, 31, 1), (1, 64, 31, 1)]
    cases += [(3, kernels, side, 1) for kernels in (8, 64) for side in (3, 7, 11)]
    for channels, kernels, side, stride in cases:
        length = 1000 if channels * kernels <= 3 else 300
        image = generator.random((channels, length, length))
        filters = generator.standard_normal((kernels, channels, side, side))
        geometry = Convolution(filters, stride=(stride, stride)).plan(image)
        out = np.empty((kernels, *geometry.output))
        given = (image, filters, geometry, out)
        variants: Timed = {
            "windows": lambda given=given: _correlate_by_windows(*given),
            "frequencies": lambda given=given: fourier.correlate_by_frequencies(*given),
        }
        if channels == kernels == stride == 1 and side <= 31:
            variants["SciPy"] = lambda i=image[0], f=filters[0, 0]: correlate2d(i, f, "valid")
        times = measure(variants, 1 if side > 31 else max(3, rounds // 3))
        chosen = "frequencies" if fourier.pays(geometry, channels, kernels) else "windows"
        medians = {name: statistics.median(each) for name, each in times.items()}
        yield {
            "channels": channels,
            "filters": kernels,
            "size": side,
            "stride": stride,
            "image": length,
            **medians,
            "chosen": chosen,
        }


def print_ratios(rows: list[dict[str, Any]]) -> None:
    print("| what | first, ms | second, ms | ratio (least to most) | bar |\n| --- | --- | --- | --- | --- |")
    for each in rows:
        if "least" in each:
            first, second = f"{each['ours_ms']:.1f}", f"{each['other_ms']:.1f}"
            ratio = f"**{each['ratio']:.2f}** ({each['least']:.2f} to {each['most']:.2f})"
        else:
            first, second, ratio = "", "", f"**{each['ratio']:.2f}**"
        print(f"| {each['name']} | {first} | {second} | {ratio} | {each['bar']} |")


def print_algorithms(rows: list[dict[str, Any]]) -> None:
    print("\n| image | filters, stride | windows, ms | frequencies, ms | SciPy's correlate2d, ms | chosen |")
    print("| --- | --- | --- | --- | --- | --- |")
    for each in rows:
        image = f"{each['image']}×{each['image']}×{each['channels']}"
        scipy = f"{each['SciPy']:.1f}" if "SciPy" in each else ""
        print(
            f"| {image} | {each['filters']} of {each['size']}×{each['size']}, {each['stride']}"
            f" | {each['windows']:.1f} | {each['frequencies']:.1f} | {scipy} | {each['chosen']} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "orjson": orjson.__version__,
        "rounds": options.rounds,
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()) + "\n")
    ratios = [*in_process(options.rounds), *memory(), *server_memory(), *over_http(options.rounds)]
    print_ratios(ratios)
    ways = list(algorithms(options.rounds))
    print_algorithms(ways)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "ratios": ratios, "ways": ways}, indent=1))


if __name__ == "__main__":
    main()
