"""Show a run as it goes: one bar over all epochs, and a line an epoch that stays."""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.table import Column

REFRESH_S = 0.25
LINE_EVERY_S = 30  # where no terminal shows the bar


class Progress:
    """A rich progress bar: loss, accuracy, pictures a second, time left; plain lines where no terminal is."""

    def __init__(self, console: Console, pictures: int, epochs: int) -> None:
        self.console = console
        self.pictures, self.epochs = pictures, epochs
        self.bar = Bar(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(None),
            TextColumn("{task.percentage:.0f} %"),
            TextColumn("loss {task.fields[loss]:.3f} · accuracy {task.fields[accuracy]:.1%}"),
            TextColumn("· {task.fields[rate]:,.0f} pictures/s"),
            TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
            console=console,
            expand=True,
        )
        self.task = self.bar.add_task(
            "fit",
            total=pictures * epochs,
            epoch="",
            loss=0.0,
            accuracy=0.0,
            rate=0.0,
        )
        self.since, self.since_done, self.shown = time.monotonic(), 0, 0.0
        self.lined = self.since

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def begin(self, done: int) -> None:
        """Start the clock with `done` pictures of the run behind us: a resumed run's speed is its own."""
        self.since, self.since_done = time.monotonic(), done
        self.bar.reset(self.task, completed=done)
        self.bar.start()

    @property
    def due(self) -> bool:
        """Say whether the bar is old enough to draw anew: reading a loss off a GPU waits for it."""
        return time.monotonic() - self.shown > REFRESH_S

    def show(self, epoch: int, done: int, loss: float, accuracy: float) -> None:
        """Move the bar: `done` pictures of this epoch (counted from 0), mean loss and accuracy so far."""
        self.shown = time.monotonic()
        completed = epoch * self.pictures + done
        rate = (completed - self.since_done) / max(self.shown - self.since, 1e-9)
        self.bar.update(
            self.task,
            completed=completed,
            epoch=f"{epoch + 1}/{self.epochs}",
            loss=loss,
            accuracy=accuracy,
            rate=rate,
        )
        if not self.console.is_terminal and self.shown - self.lined > LINE_EVERY_S:
            whole = self.pictures * self.epochs
            left = (whole - completed) / rate / 60
            self.line(
                f"epoch {epoch + 1}/{self.epochs}  {completed / whole:.0%}  loss {loss:.3f}"
                f"  training accuracy {accuracy:.1%}  {rate:,.0f} pictures/s  {left:.0f} min left"
            )

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        self.lined = time.monotonic()
        self.console.print(text, highlight=False, soft_wrap=True)
