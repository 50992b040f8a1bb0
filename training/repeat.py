"""Repeat a model's figures from its file alone, used as the service would use it."""

from pathlib import Path

import torch
from rich.console import Console

from training import card as cards
from training import export
from training.data import Data, load
from training.devices import Machine
from training.errors import ArtefactError, DataError
from training.evaluate import measure, predict


def run_evaluate(
    path: Path, source: str, data_dir: Path, mirror: str | None, memory: int | None, console: Console
) -> None:
    """Measure a file as the service would use it, and set its own figures beside."""
    module, card = export.load_artefact(path)
    try:
        labels, recorded = card["labels"], cards.headline(card["metrics"])
        split_seed, fingerprint = card["training"]["seed"], card["metrics"]["data"]["fingerprint"]
    except (KeyError, TypeError) as error:
        raise ArtefactError(f"{path}: its {export.EXTRA} is not one of this tool: {error}") from error
    most = Machine().memory() // 4 if memory is None else memory
    with console.status(f"reading {source}"):
        data = load(source, data_dir, module.prepare, split_seed, mirror=mirror, memory=most)
    say_data(data, console)
    if list(data.labels) != labels:
        raise DataError(
            f"the data's classes ({', '.join(data.labels)}) are not the model's ({', '.join(labels)})"
        )
    metrics = measure(predict(module, data.test, len(labels)), data.test.labels, data.labels)
    console.print(cards.table(metrics.as_json()))
    console.print(f"measured: {cards.headline(metrics.as_json())}", soft_wrap=True)
    console.print(f"recorded: {recorded}", soft_wrap=True)
    same = data.fingerprint == fingerprint
    verdict = "those" if same else "not those"
    warning = "" if same else ": pictures that it was trained on may be among them"
    console.print(f"the data are {verdict} the model was measured on{warning}", soft_wrap=True)


def say_data(data: Data, console: Console) -> None:
    """Print what was loaded, and what was not."""
    counts = torch.bincount(data.train.labels.cpu(), minlength=len(data.labels))
    console.print(
        f"{data.name}: {len(data.train):,} pictures to train on, {len(data.test):,} to test on "
        f"({data.split}), {len(data.labels)} classes of {counts.min():,} to {counts.max():,}",
        soft_wrap=True,
    )
    tested = torch.bincount(data.test.labels.cpu(), minlength=len(data.labels))
    if untested := [label for label, count in zip(data.labels, tested, strict=True) if not count]:
        console.print(f"no test pictures of {', '.join(untested)}", style="yellow", soft_wrap=True)
    for file in data.skipped:
        console.print(f"skipped {file}", style="yellow", soft_wrap=True)
