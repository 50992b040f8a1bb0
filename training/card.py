"""Say what a model is: its `model.json`, its model card, and the table an evaluation prints."""

import copy
import datetime
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from training.data import Data
from training.devices import Machine, processor
from training.evaluate import Metrics
from training.files import write_atomically
from training.history import Row
from training.networks import Classifier, count_macs, count_parameters
from training.recipes import Recipe

TIMED_RUNS = 50


def describe_data(data: Data, note: str) -> dict[str, Any]:
    """Say which data were used: name, pictures, how they were split, fingerprint, and the user's note."""
    counts = torch.bincount(data.train.labels.cpu(), minlength=len(data.labels))
    return {
        "name": data.name,
        "note": note,
        "pictures_a_class": [int(counts.min()), int(counts.max())],  # to train on
        "training_pictures": len(data.train),
        "test_pictures": len(data.test),
        "split": data.split,
        "fingerprint": data.fingerprint,
        "skipped": len(data.skipped),
    }


def describe_model(
    name: str,
    version: str,
    network: str,
    recipe: Recipe,
    seed: int,
    history: list[Row],
    machine: Machine,
    classifier: Classifier,
    calibration_pictures: int,
    data: dict[str, Any],
    metrics: Metrics,
    command: str,
) -> dict[str, Any]:
    """Make `model.json`, as the contract has it; `command` is how the run is repeated."""
    size = {"height": classifier.size, "width": classifier.size, "channels": 3}
    last = history[-1]
    return {
        "schema": 1,
        "name": name,
        "version": version,
        "labels": list(metrics.per_class_accuracy),
        "input": size,
        "metrics": metrics.as_json() | {"data": data},
        "training": {
            "network": network,
            "recipe": asdict(recipe),
            "seed": seed,
            "epochs": recipe.epochs,
            "data": data,
            "temperature": round(classifier.temperature, 4),
            "calibration_pictures": calibration_pictures,
            "device": machine.name(),
            "arithmetic": "bfloat16" if machine.bfloat16 else "float32",
            "seconds": round(last["seconds"], 1),
            "pictures_per_second": statistics.median(row["pictures_per_second"] for row in history),
            "peak_memory_bytes": last["peak_memory_bytes"],
            "command": command,
            "torch": torch.__version__,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        },
        "parameters": count_parameters(classifier),
        "macs": count_macs(classifier),
        "speed": measure_speed(classifier),
    }


def measure_speed(classifier: Classifier) -> dict[str, Any]:
    """Time `forward` on one picture and one CPU thread: what a request pays. Milliseconds, the median."""
    here, threads = copy.deepcopy(classifier).cpu(), torch.get_num_threads()
    picture = torch.zeros(1, 3, classifier.size, classifier.size, dtype=torch.uint8)
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            times = []
            for _ in range(TIMED_RUNS):
                began = time.perf_counter()
                here(picture)
                times.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    milliseconds = round(statistics.median(times) * 1000, 2)
    return {"milliseconds": milliseconds, "batch": 1, "threads": 1, "processor": processor()}


def table(metrics: dict[str, Any]) -> Table:
    """Lay out an evaluation for a terminal: per class, then the confusion matrix's worst confusion."""
    labels, confusion = list(metrics["per_class_accuracy"]), metrics["confusion_matrix"]
    shown = Table("class", "accuracy", "most often taken for")
    for index, (label, accuracy) in enumerate(metrics["per_class_accuracy"].items()):
        row = [0 if other == index else count for other, count in enumerate(confusion[index])]
        most = max(range(len(row)), key=row.__getitem__)
        confused = f"{labels[most]} ({row[most]})" if row[most] else "–"
        shown.add_row(label, "–" if accuracy is None else f"{accuracy:.1%}", confused)
    return shown


def headline(metrics: dict[str, Any]) -> str:
    """Say the three figures of a model in a line."""
    return (
        f"accuracy {metrics['accuracy']:.2%} · loss {metrics['loss']:.4f} · "
        f"calibration error {metrics['expected_calibration_error']:.2%} · {metrics['pictures']:,} pictures"
    )


def in_a_cell(text: str) -> str:
    """Escape what would end a cell of a Markdown table."""
    return text.replace("|", "\\|")


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write the model card beside the artefact, every figure taken from `model.json`."""
    metrics, training, data = card["metrics"], card["training"], card["training"]["data"]
    recipe = training["recipe"]
    held = "its own test split" if data["split"] == "test" else "pictures held out by seed"
    classes = "\n".join(
        f"| {in_a_cell(label)} | {'–' if value is None else f'{value:.1%}'} |"
        for label, value in metrics["per_class_accuracy"].items()
    )
    settings = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in recipe.items())
    size = card["input"]
    calibrated = weighted = ""
    if training["calibration_pictures"]:
        calibrated = (
            f"Logits are divided by {training['temperature']:g}, fitted on "
            f"{training['calibration_pictures']:,} of the training pictures, held out for that. "
        )
    least, most = data["pictures_a_class"]
    if least < most:
        balanced = recipe["class_weights"] == "balanced"
        how = "each weighted by the inverse of its frequency" if balanced else "not weighted"
        weighted = f"\nClasses are not equally frequent: {least:,} to {most:,} training pictures, {how}.\n"
    skipped = f"; {data['skipped']:,} files could not be read" if data["skipped"] else ""
    note = f"\n{data['note']}\n" if data["note"] else ""
    text = f"""# {card["name"]} {card["version"]}

A classifier of {len(card["labels"])} kinds of picture: {", ".join(card["labels"])}.
Network `{training["network"]}`, {card["parameters"]:,} parameters, {card["macs"]:,} multiply-adds a picture,
input {size["height"]}×{size["width"]}, {size["channels"]} channels; {card["speed"]["milliseconds"]:g} ms a picture on one CPU core. Made by `python -m training`; this card is written by it.

## Data

`{data["name"]}`: {data["training_pictures"]:,} pictures to train on, {data["test_pictures"]:,} to test on ({held}){skipped}.
{weighted}{note}
Fingerprint of the decoded pictures and labels: `{data["fingerprint"]}`.

## Figures

{calibrated}One pass a picture, no test-time augmentation, on the {metrics["pictures"]:,} test pictures, from the weights after the
last epoch (no epoch was chosen by its test figure).

| accuracy | loss (nats) | expected calibration error (15 bins) |
| --- | --- | --- |
| {metrics["accuracy"]:.2%} | {metrics["loss"]:.4f} | {metrics["expected_calibration_error"]:.2%} |

| class | accuracy |
| --- | --- |
{classes}

The confusion matrix is in the file's `model.json` (`GET /models/{card["name"]}`).

## Limits

- It knows these {len(card["labels"])} classes and nothing else: a picture of something else gets one of these labels all the same.
- It sees the central square of a picture at {size["height"]}×{size["width"]} pixels: what lies outside, or is small, is lost.
- Its mistakes are not spread evenly: see the classes above before relying on one of them.

## Reproduce

Seed {training["seed"]}, {training["epochs"]} epochs, {training["seconds"]:,.0f} s on {training["device"]} in {training["arithmetic"]}
({training["pictures_per_second"]:,.0f} pictures a second, at most {training["peak_memory_bytes"] / 2**20:,.0f} MiB), torch {training["torch"]}, {training["date"]}.

```
{training["command"]}
python -m training evaluate models/{card["name"]}.pt --data FOLDER_OR_NAME
```

| recipe `{recipe["name"]}` | |
| --- | --- |
{settings}
"""  # noqa: E501  (a paragraph of Markdown is one line)
    write_atomically(path, text.encode())
