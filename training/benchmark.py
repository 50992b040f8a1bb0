"""Time to accuracy on this machine: `python -m training benchmark --runs 10 --target 0.9`."""

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from training.errors import Interrupted, TrainingError
from training.export import load_artefact


@dataclass(frozen=True)
class Run:
    """One run, from the start of its process: imports, data, compilation and evaluations included."""

    seed: int
    accuracy: float  # after the last epoch, one pass a picture
    training_s: float  # of the loop
    reached_s: float | None  # from the start of the process to the end of the first epoch at the target
    whole_s: float  # from the start of the process to its end, with the model written
    device: str


def run_benchmark(runs: int, target: float, arguments: list[str], console: Console) -> None:
    """Fit `runs` times with seeds 0, 1, … and the given arguments of `fit`; print mean ± deviation.

    Each run is a process of its own, so that none finds a warm cache of this tool's making. Raises
    TrainingError if one fails.
    """
    table = Table("seed", "accuracy", f"to {target:.1%}, s", "training, s", "process, s")
    done: list[Run] = []
    for number in range(runs):
        try:
            run = time_run(number, target, arguments)
        except KeyboardInterrupt:
            if done:
                summarise(done, target, table, console)
            raise Interrupted(f"after {len(done)} of {runs} runs") from None
        done.append(run)
        reached = "not reached" if run.reached_s is None else f"{run.reached_s:.1f}"
        table.add_row(
            str(number), f"{run.accuracy:.2%}", reached, f"{run.training_s:.1f}", f"{run.whole_s:.1f}"
        )
        console.print(f"run {number + 1}/{runs}: {run.accuracy:.2%} in {run.whole_s:.1f} s", soft_wrap=True)
    summarise(done, target, table, console)


def summarise(done: list[Run], target: float, table: Table, console: Console) -> None:
    """Print the runs, and mean ± deviation over them."""
    runs = len(done)
    console.print(table)
    reached_s = [run.reached_s for run in done if run.reached_s is not None]
    console.print(f"accuracy           {spread([run.accuracy * 100 for run in done], '%')}")
    console.print(f"training           {spread([run.training_s for run in done], 's')}")
    console.print(f"process            {spread([run.whole_s for run in done], 's')}")
    console.print(f"reached {target:.1%}      {len(reached_s)} of {runs} runs")
    if reached_s:
        console.print(f"time to {target:.1%}      {spread(reached_s, 's')}, from the process's start")
    console.print(
        f"on {done[0].device}, torch {torch.__version__}, Python {platform.python_version()}; "
        "single-pass test accuracy, no test-time augmentation",
        soft_wrap=True,
    )


def time_run(number: int, target: float, arguments: list[str]) -> Run:
    """Fit once in a fresh process and an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        places = ["--run-dir", f"{folder}/run", "--models-dir", f"{folder}/models"]
        command = [sys.executable, "-m", "training", "fit", *arguments, "--seed", str(number), *places]
        began = time.time()
        process = subprocess.run(command, capture_output=True, text=True)  # noqa: S603  (our own command)
        whole_s = time.time() - began
        if process.returncode:
            raise TrainingError(
                f"run {number + 1} failed: {process.stderr.strip() or process.stdout.strip()}"
            )
        lines = Path(f"{folder}/run/history.jsonl").read_text(encoding="utf-8").splitlines()
        (model,) = Path(f"{folder}/models").glob("*.pt")
        device = load_artefact(model)[1]["training"]["device"]
    rows = [json.loads(line) for line in lines]
    reached = next((row["time"] - began for row in rows if row["test_accuracy"] >= target), None)
    return Run(number, rows[-1]["test_accuracy"], rows[-1]["seconds"], reached, whole_s, device)


def spread(values: list[float], unit: str) -> str:
    """Say mean ± standard deviation (n − 1), and n."""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation} {unit} (n = {len(values)})"
