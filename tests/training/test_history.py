"""The history: a line an epoch for programs, events for TensorBoard, and none twice after a resume."""

import json
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.history import CURVES, History


def row(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "seconds": 1.0 * epoch} | dict.fromkeys(CURVES, epoch / 10)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def seen(folder: Path, curve: str) -> dict[int, float]:
    """Read a curve as TensorBoard shows it."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(curve)}


def test_each_epoch_is_a_line_and_a_point_of_every_curve(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        history.begin([])
        for epoch in (1, 2, 3):
            history.add(row(epoch))
            assert lines(tmp_path) == [row(each) for each in range(1, epoch + 1)], "at once, not at the end"
    for curve in CURVES.values():
        assert seen(tmp_path, curve) == pytest.approx({1: 0.1, 2: 0.2, 3: 0.3})


def test_a_resumed_run_goes_on_from_the_rows_of_its_checkpoint(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        history.begin([])
        for epoch in (1, 2, 3):
            history.add(row(epoch))
    better = row(3) | {"loss": 0.5}
    with History(tmp_path) as history:
        history.begin([row(1), row(2)])  # the third epoch came after the checkpoint
        history.add(better)
    assert lines(tmp_path) == [row(1), row(2), better]
    assert seen(tmp_path, "loss/training") == pytest.approx({1: 0.1, 2: 0.2, 3: 0.5})


def test_a_line_cut_by_a_crash_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text(f"{json.dumps(row(1))}\n{json.dumps(row(2))[:20]}")
    with History(tmp_path) as history:
        history.begin([row(1), row(2)])
    assert lines(tmp_path) == [row(1), row(2)]
