"""Fitting: it learns, it repeats itself bit for bit, and an interruption leaves no trace in the weights."""

import io
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from training.checkpoint import Checkpoint, State
from training.data import Data
from training.devices import Machine
from training.errors import CheckpointError, Interrupted
from training.evaluate import evaluate
from training.history import History
from training.networks import Classifier, build
from training.processes import Processes
from training.progress import Progress
from training.recipes import Recipe
from training.train import fit

MEASURED = re.compile(r"\.state(\.rows\.\d+)?\.(seconds|time|pictures_per_second|peak_memory_bytes)")
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
) -> tuple[Classifier, list[str]]:
    """Fit a fresh network as the command line does; give it and the lines that were printed."""
    torch.manual_seed(seed)
    classifier = build("lenet", len(data.labels))
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
        {"batch_size": 15},
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
@pytest.mark.parametrize("at", [1, 2, 3, BATCHES, BATCHES + 1, 2 * BATCHES, 3 * BATCHES - 1, 3 * BATCHES])
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(
    data: Data, tmp_path: Path, at: int, kind: str, request: pytest.FixtureRequest
) -> None:
    run: Run = request.getfixturevalue(kind)
    broken = tmp_path / "broken.pt"
    epoch, batches = (at - 1) // BATCHES + 1, (at - 1) % BATCHES + 1
    with pytest.raises(Interrupted, match=f"stopped in epoch {epoch} after {batches} batches"):
        train(data, run.recipe, broken, at=at)
    _, rest = train(data, run.recipe, broken, resume=True)
    assert_same_state(run.path, broken)
    assert rest == run.lines[len(run.lines) - len(rest) :], "a broken epoch's loss is of all of it"


def test_a_run_may_be_interrupted_again_and_again(data: Data, whole: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    for sitting in range(3 * BATCHES):
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
    assert begun == [0, 60 + 2 * 16]


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
