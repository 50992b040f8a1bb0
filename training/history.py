"""What a run has come to, epoch by epoch: `history.jsonl` for programs, TensorBoard events for eyes."""

import json
import os
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

Row = dict[str, Any]  # of one epoch; the names are in docs/training.md

CURVES = {
    "loss": "loss/training",
    "test_loss": "loss/test",
    "accuracy": "accuracy/training",
    "test_accuracy": "accuracy/test",
    "learning_rate": "learning rate",
    "pictures_per_second": "pictures per second",
}


class History:
    """The rows of a run, which also travel in its checkpoint: a resumed run goes on where that stands.

    A run killed between writing a checkpoint and a row has the row in the checkpoint; a row written
    twice cannot be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "history.jsonl"
        self.rows: list[Row] = []
        self.events: Any = None

    def begin(self, rows: list[Row]) -> None:
        """Start with the rows of the epochs before: none, or those of the checkpoint resumed from."""
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  (3 s, which only `fit` pays)

        self.rows = list(rows)
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".new")
        beside.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        os.replace(beside, self.path)  # noqa: PTH105  (atomic)
        # What an interrupted sitting wrote of later epochs is not shown.
        self.events = SummaryWriter(str(self.folder / "tensorboard"), purge_step=len(rows) + 1)

    def add(self, row: Row) -> None:
        """Write the row of the epoch that is over."""
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(row)}\n")
        for key, name in CURVES.items():
            self.events.add_scalar(name, row[key], row["epoch"])
        self.events.flush()

    def __enter__(self) -> "History":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.events:
            # Where a disk is full it fails like everything else: what failed first is what is told.
            with suppress(OSError) if error else nullcontext():
                self.events.close()
