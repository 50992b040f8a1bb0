"""Fitting: it learns, it repeats itself bit for bit, and an interruption leaves no trace in the weights."""

import io
import json
import re
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from training import residual
from training.checkpoint import Checkpoint, State
from training.data import Data
from training.devices import Machine
from training.errors import CheckpointError, Diverged, Interrupted
from training.evaluate import evaluate
from training.history import History
from training.networks import Classifier, build
from training.processes import Processes
from training.progress import Progress
from training.recipes import RECIPES, Recipe
from training.sets import PictureSet
from training.train import balance, fit

MEASURED = re.compile(r"\.state(\.rows\.\d+)?\.(seconds|peak|time|pictures_per_second|peak_memory_bytes)")
BATCHES = 4  # of 16 in 60 pictures, an epoch


class Watch(Progress):
    """A progress bar that nobody sees, and that acts after a batch, counted from 1 in this sitting."""

    def __init__(
        self, data: Data, recipe: Recipe, at: int = 0, act: Callable[[], None] | None = None
    ) -> None:
        super().__init__(Console(file=io.StringIO()), len(data.train), recipe.epochs)
        self.batches, self.at, self.act = 0, at, act
        self.lines: list[str] = []

    @property
    def due(self) -> bool:
        self.batches += 1
        if self.batches == self.at and self.act:
            self.act()
        return super().due

    def line(self, text: str) -> None:
        self.lines.append(re.sub(r" +\d+ s$", "", text))


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def train(
    data: Data,
    recipe: Recipe,
    path: Path,
    *,
    seed: int = 0,
    at: int = 0,
    act: Callable[[], None] = press_ctrl_c,
    resume: bool = False,
    network: str = "lenet",
) -> tuple[Classifier, list[str]]:
    """Fit a fresh network as the command line does; give it and the lines that were printed."""
    torch.manual_seed(seed)
    classifier = build(network, len(data.labels))
    watch = Watch(data, recipe, at, act)
    with History(path.parent) as history:
        fit(
            classifier,
            recipe,
            data,
            seed,
            Machine(),
            Checkpoint(path, "a run"),
            history,
            watch,
            resume=resume,
        )
    return classifier, watch.lines


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Spread nested dictionaries and lists out: {"optimiser.state.0.momentum_buffer": tensor, …}."""
    if isinstance(value, dict):
        value = list(value.items())
    elif isinstance(value, list):
        value = list(enumerate(value))
    else:
        return {name: value}
    return {key: leaf for part, inner in value for key, leaf in flat(inner, f"{name}.{part}").items()}


def assert_same_state(one: Path, other: Path) -> None:
    """Compare two checkpoints bit for bit: weights, momentum, rate, generator; the time they took aside."""
    first, second = (flat(torch.load(path, weights_only=True)) for path in (one, other))
    assert first.keys() == second.keys()
    assert any("momentum_buffer" in name for name in first)
    for name, value in first.items():
        if MEASURED.fullmatch(name):
            continue
        same = torch.equal(value, second[name]) if isinstance(value, Tensor) else value == second[name]
        assert same, f"{name} differs"


@dataclass(frozen=True)
class Run:
    """A run in one sitting, its checkpoint at the end, and the lines it printed."""

    recipe: Recipe
    path: Path
    lines: list[str]


def run_whole(data: Data, recipe: Recipe, factory: pytest.TempPathFactory) -> Run:
    path = factory.mktemp("whole") / "checkpoint.pt"
    return Run(recipe, path, train(data, recipe, path)[1])


@pytest.fixture(scope="module")
def whole(data: Data, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train in one sitting with every part of a recipe; not to be changed."""
    return run_whole(data, recipe, tmp_path_factory)


@pytest.fixture(scope="module")
def plain(data: Data, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train in one sitting as the article does, with no more than momentum; not to be changed."""
    recipe = replace(recipe, schedule="constant", mirror=False, shift=0, nesterov=False, weight_decay=0.0)
    return run_whole(data, recipe, tmp_path_factory)


def test_the_loss_falls_and_the_shapes_are_told_apart(data: Data, recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(recipe, epochs=15, label_smoothing=0.0, report_every=0)
    classifier, lines = train(data, recipe, tmp_path / "checkpoint.pt")
    losses = [float(re.search(r"loss (\S+)", line)[1]) for line in lines]
    assert losses[0] > 1
    assert losses[-1] < losses[0] / 2
    measured = evaluate(classifier.eval(), data.test, data.labels)
    assert measured.accuracy > 0.8
    assert f"test accuracy {measured.accuracy:.1%}" in lines[-1]


def test_every_part_of_a_recipe_changes_the_weights(data: Data, recipe: Recipe, tmp_path: Path) -> None:
    parts: list[dict[str, Any]] = [
        {},
        {"batch_size": 20},
        {"learning_rate": 0.01},
        {"momentum": 0.5},
        {"schedule": "constant"},
        {"nesterov": False},
        {"weight_decay": 0.0},
        {"label_smoothing": 0.0},
        {"mirror": False},
        {"shift": 1},
    ]
    weights = [
        next(train(data, replace(recipe, epochs=1, **part), tmp_path / "checkpoint.pt")[0].parameters())
        for part in parts
    ]
    assert len({tuple(weight.flatten().tolist()) for weight in weights}) == len(parts)


def test_the_same_seed_gives_the_same_bits(data: Data, recipe: Recipe, tmp_path: Path) -> None:
    for name, seed in (("one", 7), ("again", 7), ("other", 8)):
        train(data, recipe, tmp_path / name, seed=seed)
    assert_same_state(tmp_path / "one", tmp_path / "again")
    with pytest.raises(AssertionError, match="differs"):
        assert_same_state(tmp_path / "one", tmp_path / "other")


@pytest.mark.parametrize("kind", ["whole", "plain"])
@pytest.mark.parametrize("at", [1, 2, 3, BATCHES, BATCHES + 1, 2 * BATCHES, 3 * BATCHES - 1])
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(
    data: Data, tmp_path: Path, at: int, kind: str, request: pytest.FixtureRequest
) -> None:
    run: Run = request.getfixturevalue(kind)
    broken = tmp_path / "broken.pt"
    epoch, batches = at // BATCHES + 1, at % BATCHES
    where = f"in epoch {epoch} after {batches} batches" if batches else f"after epoch {epoch - 1}"
    with pytest.raises(Interrupted, match=f"stopped {where}"):
        train(data, run.recipe, broken, at=at)
    _, rest = train(data, run.recipe, broken, resume=True)
    assert_same_state(run.path, broken)
    assert rest == run.lines[len(run.lines) - len(rest) :], "a broken epoch's loss is of all of it"


def test_ctrl_c_in_the_last_batch_of_all_finds_the_run_finished(
    data: Data, whole: Run, tmp_path: Path
) -> None:
    _, lines = train(data, whole.recipe, tmp_path / "checkpoint.pt", at=3 * BATCHES)
    assert lines[-1].startswith("epoch 3/3")
    assert_same_state(whole.path, tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("at", [2, 7])
def test_muon_and_growing_pictures_go_on_too(
    data: Data, recipe: Recipe, tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residual, "WIDTHS", (16, 32, 32))  # quick
    modern = replace(RECIPES["modern"], epochs=3, batch_size=recipe.batch_size, learning_rate=0.02)
    for name, stops in (("whole", 0), ("broken", at)):
        with suppress(Interrupted):
            train(data, modern, tmp_path / name, network="resnet", at=stops)
    train(data, modern, tmp_path / "broken", network="resnet", resume=True)
    assert_same_state(tmp_path / "whole", tmp_path / "broken")


def test_a_run_may_be_interrupted_again_and_again(data: Data, whole: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    for sitting in range(3 * BATCHES - 1):
        with pytest.raises(Interrupted):
            train(data, whole.recipe, broken, at=1, resume=sitting > 0)
    train(data, whole.recipe, broken, resume=True)
    assert_same_state(whole.path, broken)


def test_sigterm_is_an_interruption_too(data: Data, whole: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    with pytest.raises(Interrupted):
        train(data, whole.recipe, broken, at=6, act=lambda: signal.raise_signal(signal.SIGTERM))
    train(data, whole.recipe, broken, resume=True)
    assert_same_state(whole.path, broken)


def test_a_killed_run_goes_on_from_its_last_epoch(data: Data, whole: Run, tmp_path: Path) -> None:
    def die() -> None:
        raise MemoryError

    broken = tmp_path / "broken.pt"
    with pytest.raises(MemoryError):
        train(data, whole.recipe, broken, at=2 * BATCHES + 2, act=die)
    _, rest = train(data, whole.recipe, broken, resume=True)
    assert sum("epoch" in line for line in rest) == 1
    assert_same_state(whole.path, broken)


@pytest.mark.parametrize("at", [1, 2, BATCHES, BATCHES + 1, 2 * BATCHES])
def test_a_run_that_diverges_stops_and_keeps_the_last_good_checkpoint(
    data: Data, whole: Run, tmp_path: Path, at: int
) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.manual_seed(0)
    classifier = build("lenet", len(data.labels))

    def spoil() -> None:
        with torch.no_grad():
            next(classifier.parameters()).fill_(float("nan"))

    watch = Watch(data, whole.recipe, at, spoil)
    with (
        History(tmp_path) as history,
        pytest.raises(Diverged, match=r"the loss is nan in epoch \d|the weights are no longer finite"),
    ):
        fit(classifier, whole.recipe, data, 0, Machine(), Checkpoint(path, "a run"), history, watch)
    epochs = (at - 1) // BATCHES  # finished before
    assert path.exists() == (epochs > 0)
    if epochs:
        saved = torch.load(path, weights_only=True)
        assert saved["state"]["epoch"] == epochs
        assert all(weight.isfinite().all() for weight in saved["network"].values())
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == epochs


def test_a_full_disk_stops_the_run_in_a_sentence_and_keeps_the_last_checkpoint(
    data: Data, whole: Run, tmp_path: Path
) -> None:
    """The system itself refuses to write more than 100 kB a file, where a checkpoint takes 600."""
    path = tmp_path / "checkpoint.pt"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))

    try:
        with pytest.raises(CheckpointError, match=r"cannot write .*t\.pt: File too large; the one of"):
            train(data, whole.recipe, path, at=BATCHES + 1, act=fill_up)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert torch.load(path, weights_only=True)["state"]["epoch"] == 1
    assert {each.name for each in tmp_path.iterdir()} == {"checkpoint.pt", "history.jsonl", "tensorboard"}, (
        "what was half written takes no room"
    )
    train(data, whole.recipe, path, resume=True)
    assert_same_state(whole.path, path)


def test_a_long_epoch_is_saved_inside(
    data: Data, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise MemoryError

    path = tmp_path / "checkpoint.pt"
    monkeypatch.setattr("training.train.SAVE_EVERY_S", 0)
    with pytest.raises(MemoryError):
        train(data, whole.recipe, path, at=BATCHES + 3, act=die)
    state = torch.load(path, weights_only=True)["state"]
    assert (state["epoch"], state["batch"]) == (1, 2)
    train(data, whole.recipe, path, resume=True)
    assert_same_state(whole.path, path)


def test_the_history_has_a_row_an_epoch_with_what_it_came_to(whole: Run, data: Data) -> None:
    rows = [json.loads(line) for line in (whole.path.parent / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row, line in zip(rows, (line for line in whole.lines if line.startswith("epoch")), strict=True):
        assert f"loss {row['loss']:.3f}  training accuracy {row['accuracy']:.1%}" in line
        assert f"test accuracy {row['test_accuracy']:.1%}" in line
        assert 0 < row["test_loss"] < 10
        assert row["pictures_per_second"] > 0
        assert row["peak_memory_bytes"] > 10_000_000
    assert rows[0]["time"] < rows[1]["time"] < rows[2]["time"]


@pytest.mark.parametrize("at", [2, BATCHES + 1])
def test_the_peak_memory_is_that_of_all_sittings(
    data: Data, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    path = tmp_path / "checkpoint.pt"
    monkeypatch.setattr(Machine, "peak_memory", lambda _: 2000)
    with pytest.raises(Interrupted):
        train(data, recipe, path, at=at)
    monkeypatch.setattr(Machine, "peak_memory", lambda _: 1000)
    train(data, recipe, path, resume=True)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [row["peak_memory_bytes"] for row in rows] == [2000, 2000, 2000]


def test_balanced_weights_make_rare_classes_count_as_much() -> None:
    labels = torch.tensor([0] * 90 + [1] * 9 + [2])
    pictures = PictureSet(torch.zeros(100, 3, 1, 1, dtype=torch.uint8), labels)
    weights = balance(Data("x", ("a", "b", "c"), pictures, pictures, "test", ""))
    assert (weights * torch.tensor([90, 9, 1])).tolist() == pytest.approx([100 / 3] * 3)


def test_bfloat16_trains_weights_that_stay_float32(data: Data, recipe: Recipe, tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = build("lenet", len(data.labels))
    watch = Watch(data, recipe)
    machine = Machine(bfloat16=True)
    with History(tmp_path) as history:
        checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "a run")
        fit(classifier, replace(recipe, epochs=8), data, 0, machine, checkpoint, history, watch)
    assert all(weight.dtype == torch.float32 for weight in classifier.parameters())
    losses = [float(re.search(r"loss (\S+)", line)[1]) for line in watch.lines if line.startswith("epoch")]
    assert losses[-1] < losses[0]


def test_without_a_terminal_a_line_comes_every_half_minute() -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out, force_terminal=False, width=200), 1000, 4)
    progress.begin(0)
    progress.show(1, 500, loss=1.25, accuracy=0.5)
    assert out.getvalue() == "", "not so soon"
    progress.lined -= 31
    progress.since -= 15
    progress.show(1, 500, loss=1.25, accuracy=0.5)
    assert re.fullmatch(
        r"epoch 2/4  38%  loss 1\.250  training accuracy 50\.0%  \d+ pictures/s  0 min left\n", out.getvalue()
    )


def test_a_finished_run_has_nothing_left_to_train(data: Data, whole: Run) -> None:
    before = whole.path.read_bytes()
    _, lines = train(data, whole.recipe, whole.path, resume=True)
    assert lines == []
    assert whole.path.read_bytes() == before


def test_a_second_ctrl_c_kills_as_usual(data: Data, recipe: Recipe, tmp_path: Path) -> None:
    def press_twice() -> None:
        press_ctrl_c()
        press_ctrl_c()

    with pytest.raises(KeyboardInterrupt):
        train(data, recipe, tmp_path / "checkpoint.pt", at=2, act=press_twice)


def test_signals_are_given_back(data: Data, recipe: Recipe, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train(data, replace(recipe, epochs=1), tmp_path / "checkpoint.pt")
    with pytest.raises(Interrupted):
        train(data, recipe, tmp_path / "checkpoint.pt", at=1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_articles_line_says_the_mean_loss_since_the_last(
    data: Data, recipe: Recipe, tmp_path: Path
) -> None:
    """A network that learns nothing has the loss of before: in all 6 batches, so in each 3 on average."""
    still = replace(recipe, learning_rate=0.0, epochs=1, mirror=False, shift=0, label_smoothing=0.0)
    classifier, lines = train(data, replace(still, batch_size=10), tmp_path / "checkpoint.pt")
    loss = evaluate(classifier.eval(), data.train, data.labels).loss
    first, second = (re.fullmatch(r"\[1,     [36]\] loss: (\d\.\d{3})", line) for line in lines[:2])
    assert first
    assert second
    assert (float(first[1]) + float(second[1])) / 2 == pytest.approx(loss, abs=0.001)
    assert lines[2].startswith(f"epoch 1/1  loss {loss:.3f}  training accuracy ")


def test_the_seconds_of_all_sittings_add_up(data: Data, recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Interrupted):
        train(data, recipe, path, at=5)
    content = torch.load(path, weights_only=True)
    assert content["state"]["seconds"] > 0
    content["state"]["seconds"] = 1000.0
    torch.save(content, path)
    train(data, recipe, path, resume=True)
    assert 1000 < torch.load(path, weights_only=True)["state"]["seconds"] < 1100


def test_the_bar_ends_at_the_last_picture(data: Data, recipe: Recipe, tmp_path: Path) -> None:
    """60 pictures in batches of 16, or in one of 500, are 60 pictures."""
    for size in (16, 500):
        ended = replace(recipe, epochs=1, batch_size=size, report_every=0)
        torch.manual_seed(0)
        watch = Watch(data, ended)
        with History(tmp_path) as history:
            checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "a run")
            fit(build("lenet", 3), ended, data, 0, Machine(), checkpoint, history, watch)
        (task,) = watch.bar.tasks
        assert task.completed == task.total == 60


def test_a_resumed_runs_speed_is_its_own(data: Data, recipe: Recipe) -> None:
    progress = Progress(Console(file=io.StringIO()), 1_000_000, recipe.epochs)
    progress.begin(2_000_000)
    progress.since -= 10  # seconds ago
    progress.show(2, 1000, loss=1.0, accuracy=0.5)
    (task,) = progress.bar.tasks
    assert task.completed == 2_001_000
    assert task.fields["rate"] == pytest.approx(100, rel=0.1)


def test_the_bar_of_a_resumed_run_begins_where_that_stands(
    data: Data, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    monkeypatch.setattr(Progress, "begin", lambda _, done: begun.append(done))
    with pytest.raises(Interrupted):
        train(data, recipe, tmp_path / "checkpoint.pt", at=BATCHES + 2)
    train(data, recipe, tmp_path / "checkpoint.pt", resume=True)
    assert begun == [0, 60 + 2 * 15]


def test_a_resume_without_a_checkpoint_is_refused(data: Data, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing to resume: .*checkpoint\.pt is not there"):
        train(data, recipe, tmp_path / "checkpoint.pt", resume=True)


def test_the_checkpoint_of_another_run_is_refused_by_what_differs(tmp_path: Path) -> None:
    classifier = build("lenet", 2)
    optimiser = torch.optim.SGD(classifier.parameters(), lr=0.1)
    theirs = Checkpoint(tmp_path / "checkpoint.pt", "network lenet\nseed 1\nshift 2")
    torch.manual_seed(0)
    theirs.save(State(), build("lenet", 2), [optimiser])
    before = [weight.clone() for weight in classifier.parameters()]
    ours = replace(theirs, identity="network lenet\nseed 0\nshift 3")
    with pytest.raises(
        CheckpointError, match=r"of another run \(seed 1, here seed 0; shift 2, here shift 3\);"
    ):
        ours.restore(classifier, [optimiser], Processes())
    assert all(torch.equal(a, b) for a, b in zip(before, classifier.parameters(), strict=True))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04" + b"\0" * 50])
def test_a_damaged_checkpoint_is_refused(data: Data, recipe: Recipe, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt is damaged or no checkpoint of this version"):
        train(data, recipe, path, resume=True)


@pytest.mark.parametrize(
    "change", [{"identity": "a run\nof another version"}, {"network": {}}, {"state": {"epok": 1}}, None]
)
def test_a_foreign_checkpoint_is_refused(
    data: Data, whole: Run, tmp_path: Path, change: dict[str, Any] | None
) -> None:
    path = tmp_path / "checkpoint.pt"
    content = torch.load(whole.path, weights_only=True)
    torch.save([1, 2] if change is None else content | change, path)
    with pytest.raises(CheckpointError, match="is damaged or no checkpoint of this version"):
        train(data, whole.recipe, path, resume=True)


def test_a_run_killed_while_it_saves_keeps_the_checkpoint_before(
    data: Data, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Interrupted):
        train(data, recipe, path, at=2)
    before = path.read_bytes()

    def half(_: object, beside: IO[bytes]) -> None:
        beside.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        train(data, recipe, path, resume=True)
    assert path.read_bytes() == before
