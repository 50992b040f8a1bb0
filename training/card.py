"""Say what a model is: its `model.json`, its model card, and the table an evaluation prints."""

import datetime
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from training.data import Data
from training.evaluate import Metrics
from training.networks import Classifier, count_macs, count_parameters
from training.recipes import Recipe


def describe_data(data: Data, note: str) -> dict[str, Any]:
    """Say which data were used: name, pictures, how they were split, fingerprint, and the user's note."""
    return {
        "name": data.name,
        "note": note,
        "training_pictures": len(data.train),
        "test_pictures": len(data.test),
        "split": data.split,
        "fingerprint": data.fingerprint(),
    }


def describe_model(
    name: str,
    version: str,
    network: str,
    recipe: Recipe,
    seed: int,
    seconds: float,
    classifier: Classifier,
    data: Data,
    metrics: Metrics,
    note: str,
) -> dict[str, Any]:
    """Make `model.json`, as the contract has it."""
    size = {
        "height": classifier.size,
        "width": classifier.size,
        "channels": data.train.images.shape[1],
    }
    described = describe_data(data, note)
    return {
        "schema": 1,
        "name": name,
        "version": version,
        "labels": list(data.labels),
        "input": size,
        "metrics": metrics.as_json() | {"data": described},
        "training": {
            "network": network,
            "recipe": asdict(recipe),
            "seed": seed,
            "epochs": recipe.epochs,
            "data": described,
            "device": device_name(data.train.images.device),
            "seconds": round(seconds, 1),
            "torch": torch.__version__,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        },
        "parameters": count_parameters(classifier),
        "macs": count_macs(classifier, size["channels"]),
    }


def device_name(device: torch.device) -> str:
    """Name the device a run was on, with its threads where that is a CPU."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"
    return device.type


def table(metrics: Metrics) -> Table:
    """Lay out an evaluation for a terminal: per class, then the confusion matrix's worst confusion."""
    labels = list(metrics.per_class_accuracy)
    shown = Table("class", "accuracy", "most often taken for", title=headline(metrics.as_json()))
    for index, (label, accuracy) in enumerate(metrics.per_class_accuracy.items()):
        row = [0 if other == index else count for other, count in enumerate(metrics.confusion_matrix[index])]
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
    note = f"\n{data['note']}\n" if data["note"] else ""
    path.write_text(
        f"""# {card["name"]} {card["version"]}

A classifier of {len(card["labels"])} kinds of picture: {", ".join(card["labels"])}.
Network `{training["network"]}`, {card["parameters"]:,} parameters, {card["macs"]:,} multiply-adds a picture,
input {size["height"]}×{size["width"]}, {size["channels"]} channels. Made by `python -m training`; this card is written by it.

## Data

`{data["name"]}`: {data["training_pictures"]:,} pictures to train on, {data["test_pictures"]:,} to test on ({held}).
{note}
Fingerprint of the decoded pictures and labels: `{data["fingerprint"]}`.

## Figures

One pass a picture, no test-time augmentation, on the {metrics["pictures"]:,} test pictures, from the weights after the
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

Seed {training["seed"]}, {training["epochs"]} epochs, {training["seconds"]:,.0f} s on {training["device"]}, torch {training["torch"]}, {training["date"]}.

```
python -m training fit --network {training["network"]} --recipe {recipe["name"]} --data FOLDER_OR_NAME --name {card["name"]} --epochs {training["epochs"]} --seed {training["seed"]}
python -m training evaluate models/{card["name"]}.pt --data FOLDER_OR_NAME
```

| recipe `{recipe["name"]}` | |
| --- | --- |
{settings}
""",  # noqa: E501  (a paragraph of Markdown is one line)
        encoding="utf-8",
    )
