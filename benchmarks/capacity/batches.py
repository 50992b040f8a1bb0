"""How long the model's thread takes for a batch of each size, and how that varies, on one core.

Runs pinned, as a process of its own: `python -m benchmarks.capacity.batches MODEL ROUNDS` prints one line
of JSON. Times are the thread's processor time, so that other programs on the core do not count.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.capacity.pinned import SERVICE_CORE
from benchmarks.serving.environments import REPOSITORY
from benchmarks.serving.payloads import small_png

if TYPE_CHECKING:
    from service.model import Model
    from service.serving import Picture

SIZES = (1, 2, 4, 8, 16, 32)
SHARES = tuple(float(share) for share in np.round(np.linspace(0.005, 0.995, 34), 4))


def measure(model: str, rounds: int) -> dict[str, Any]:
    """Time batches in a process of its own on the service's core; see `times`."""
    command = ["taskset", "--cpu-list", str(SERVICE_CORE), sys.executable, "-m", __name__, model, str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def times(model: "Model", rounds: int) -> dict[str, Any]:
    """Time `rounds` batches of each size, small pictures as files and as pixels: mean, deviation, quantiles.

    Sizes take turns, so that a slow moment of the machine falls on all of them.
    """
    from service.images import decode_image  # noqa: PLC0415  (torch, which planning does without)
    from service.serving import Served  # noqa: PLC0415
    from service.workers import Workers  # noqa: PLC0415

    served = Served(model, Workers(1, 1), max_pixels=10**9, batch_size=max(SIZES), queue_length=1)
    file = small_png().data
    kinds: dict[str, Picture] = {"files": file, "pixels": model.prepare(decode_image(file, max_pixels=10**9))}
    spent: dict[str, dict[int, list[float]]] = {kind: {size: [] for size in SIZES} for kind in kinds}
    for _ in range(rounds):
        for kind, picture in kinds.items():
            for size in SIZES:
                began = time.thread_time()
                served.classify([picture] * size)
                spent[kind][size].append((time.thread_time() - began) * 1e6)
    return {
        kind: {str(size): summary(values) for size, values in sizes.items()} for kind, sizes in spent.items()
    }


def summary(values_us: Sequence[float]) -> dict[str, Any]:
    """Give mean, deviation and quantiles (as multiples of the mean), microseconds."""
    values = np.array(values_us)
    mean = float(values.mean())
    quantiles = [round(float(value) / mean, 4) for value in np.quantile(values, SHARES)]
    return {
        "n": len(values),
        "mean_us": round(mean, 2),
        "median_us": round(float(np.median(values)), 2),
        "deviation_us": round(float(values.std(ddof=1)), 2),
        "quantiles": quantiles,
    }


def main() -> None:
    """Load a model as the service does, and time it."""
    import torch  # noqa: PLC0415

    from service.model import load_model  # noqa: PLC0415
    from service.prepacking import multiplies_bfloat16  # noqa: PLC0415

    torch.set_num_threads(1)
    model = load_model(REPOSITORY / "models" / f"{sys.argv[1]}.pt")
    model.accelerate(bfloat16=multiplies_bfloat16())
    model.warm_up(max(SIZES))
    print(json.dumps(times(model, int(sys.argv[2]))))


if __name__ == "__main__":
    main()
