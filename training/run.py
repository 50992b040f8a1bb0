"""One training run from the data to the model: data -> fit -> temperature -> figures -> artefact and card."""

import math
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import Tensor

from training import card as cards
from training import export
from training.checkpoint import Checkpoint, missing
from training.data import Data, check_source, load
from training.devices import Machine, Precision, choose_device, compute_exactly, set_up
from training.errors import DataError, Diverged, Interrupted
from training.evaluate import fit_temperature, measure, predict
from training.files import kept_to_one, set_aside
from training.history import History, Row
from training.named import NAMES
from training.networks import Classifier, build
from training.processes import Processes, joined
from training.progress import Progress
from training.recipes import Recipe
from training.repeat import say_data
from training.result import save_result
from training.sets import Pictures
from training.train import fit

WHITENED_ON = 5000  # pictures
LEASE_S = 120  # a shared disk may keep the lock of a machine that was lost for so long
LEAST_CALIBRATION = 100  # pictures: fewer say nothing about a temperature
MOST_CALIBRATION = 0.04  # of the training pictures: more are missed


@dataclass(frozen=True)
class FitConfig:
    """What `fit` was asked for."""

    network: str
    recipe: Recipe
    size: int
    data: str
    data_dir: Path
    mirror: str | None
    memory: int | None  # bytes
    note: str
    name: str
    version: str
    models_dir: Path
    run_dir: Path
    seed: int
    device: str
    precision: Precision
    compiled: bool
    resume: Literal["yes", "auto"] | None
    command: str


def run_fit(config: FitConfig, console: Console) -> None:
    """Train, measure and export, alone or with the processes that torchrun started."""
    with joined() as processes, ExitStack() as alone:
        device = choose_device(config.device, processes)
        machine = set_up(device, config.precision, processes, compiled=config.compiled)
        console.quiet = not processes.first
        resume = False
        if processes.first:
            check_places(config)
            alone.enter_context(kept_to_one(config.run_dir, LEASE_S if processes.count > 1 else 0))
            resume = goes_on(config, processes, console)
        resume = processes.share(resume)
        with console.status(f"reading {config.data}"):
            whole = load_in_turn(config, machine)
        if processes.share(whole.fingerprint) != whole.fingerprint:
            raise DataError(f"{config.data} holds other pictures here than where the first process reads")
        say_data(whole, console)
        described = cards.describe_data(whole, config.note)
        data, calibration = hold_for_calibration(whole, config.recipe.calibration, config.seed)
        del whole  # its training pictures are in one of these two now
        recipe = adapt(config.recipe, data, console)
        data = replace(data, train=data.train.to(device), test=data.test.to(device))
        classifier, history = train(config, recipe, data, machine, console, resume=resume)
        deployed = classifier.deployable()
        compute_exactly()
        if calibration:
            calibrate(deployed, calibration.to(device), len(data.labels), processes, console)
        elif recipe.calibration:
            console.print("too few pictures to hold any out for a temperature: it stays 1", soft_wrap=True)
        logits = predict(deployed, data.test, len(data.labels), processes)
        if processes.first:
            held = len(calibration) if calibration else 0
            card = describe(config, recipe, history, machine, deployed, held, described, data, logits)
            write_model(config, card, deployed, data.test, logits, console)


def goes_on(config: FitConfig, processes: Processes, console: Console) -> bool:
    """Say whether this run goes on from a checkpoint; a new one sets aside what the run before left.

    Before anything that may fail: what torchrun then starts anew must not find the run before.
    """
    path = config.run_dir / "checkpoint.pt"
    # torchrun starts everything anew when a process fails: then, too, the run goes on.
    if config.resume == "yes" or (path.is_file() and (config.resume == "auto" or processes.again)):
        return True
    set_aside(config.run_dir / "result.pt")
    if aside := set_aside(path):
        console.print(f"a new run: the checkpoint that was there is now {aside}", soft_wrap=True)
    return False


def load_in_turn(config: FitConfig, machine: Machine) -> Data:
    """Load the data; a named set in the first process before the others, which then need not download."""

    def load_here() -> Data:
        prepare = Classifier(torch.nn.Identity(), config.size).prepare
        memory = machine.memory() // 4 if config.memory is None else config.memory
        return load(config.data, config.data_dir, prepare, config.seed, mirror=config.mirror, memory=memory)

    if config.data not in NAMES:
        return load_here()
    if machine.processes.first:
        data = load_here()
    machine.processes.share(None)
    return data if machine.processes.first else load_here()


def adapt(recipe: Recipe, data: Data, console: Console) -> Recipe:
    """Make a recipe fit the data, and say what changed."""
    if recipe.mirror and not data.mirrorable:
        recipe = replace(recipe, mirror=False)
        console.print(f"{data.name} is not mirrored: its classes have a left and a right", soft_wrap=True)
    fitted = recipe.fitted_to(len(data.train))
    if fitted != recipe:
        console.print(
            f"{len(data.train):,} pictures are few: {fitted.epochs} epochs, batches of {fitted.batch_size}",
            soft_wrap=True,
        )
    return fitted


def train(
    config: FitConfig, recipe: Recipe, data: Data, machine: Machine, console: Console, *, resume: bool
) -> tuple[Classifier, list[Row]]:
    """Fit a fresh network, or go on with one, and give it with the history of its epochs."""
    torch.manual_seed(config.seed)
    classifier = build(config.network, len(data.labels), size=config.size)
    classifier.initialise(some_pictures(data.train, WHITENED_ON).cpu())
    classifier.to(machine.device)
    checkpoint = Checkpoint(
        config.run_dir / "checkpoint.pt", identity(config, recipe, data, bfloat16=machine.bfloat16)
    )
    console.print(
        f"{config.network}, recipe {recipe.name}, on {machine.name()}"
        f"{' in bfloat16' if machine.bfloat16 else ''}; checkpoints in {config.run_dir}",
        soft_wrap=True,
    )
    with History(config.run_dir) as history, Progress(console, len(data.train), recipe.epochs) as progress:
        try:
            fit(
                classifier,
                recipe,
                data,
                config.seed,
                machine,
                checkpoint,
                history,
                progress,
                resume=resume,
            )
        except Interrupted as error:
            raise Interrupted(f"{error}; saved in {checkpoint.path}, go on with --resume") from None
        except Diverged as error:
            raise Diverged(
                f"{error}: the training diverged; lower the learning rate or check the pictures. "
                f"The last good checkpoint, if an epoch was finished, is {checkpoint.path}"
            ) from None
    if history.rows:  # of the first process alone
        peak = history.rows[-1]["peak_memory_bytes"]
        console.print(f"peak memory {peak / 2**20:,.0f} MiB", soft_wrap=True)
    return classifier, history.rows


def calibrate(
    deployed: Classifier, calibration: Pictures, classes: int, processes: Processes, console: Console
) -> None:
    """Fit the temperature to pictures that the network was not trained on, in place."""
    logits = predict(deployed, calibration, classes, processes)
    deployed.temperature = fit_temperature(logits, calibration.labels.cpu())
    console.print(
        f"temperature {deployed.temperature:.3f}, from {len(calibration):,} held-out training pictures",
        soft_wrap=True,
    )


def describe(
    config: FitConfig,
    recipe: Recipe,
    history: list[Row],
    machine: Machine,
    deployed: Classifier,
    held: int,
    described: dict[str, Any],
    data: Data,
    logits: Tensor,
) -> dict[str, Any]:
    """Make `model.json`, with the figures of the test part's logits."""
    return cards.describe_model(
        config.name,
        config.version,
        config.network,
        recipe,
        config.seed,
        history,
        machine,
        deployed,
        held,
        described,
        measure(logits, data.test.labels.cpu(), data.labels),
        config.command,
    )


def write_model(
    config: FitConfig,
    card: dict[str, Any],
    deployed: Classifier,
    test: Pictures,
    logits: Tensor,
    console: Console,
) -> None:
    """Write the artefact, its card, and what the report shows."""
    path = config.models_dir / f"{config.name}.pt"
    export.save_artefact(path, deployed.cpu(), card, some_pictures(test, 256).cpu())
    cards.write_card(path.with_suffix(".md"), card)
    save_result(config.run_dir / "result.pt", card, logits, test, deployed)
    console.print(cards.table(card["metrics"]))
    console.print(cards.headline(card["metrics"]), soft_wrap=True)
    console.print(f"wrote {path} and {path.with_suffix('.md')}", soft_wrap=True)
    console.print(f"to look at the run: python -m training report {config.run_dir}", soft_wrap=True)


def hold_for_calibration(data: Data, part: float, seed: int) -> tuple[Data, Pictures | None]:
    """Set a part of the training pictures aside, chosen by `seed`, for the temperature alone."""
    if not part:
        return data, None
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
    chosen = torch.zeros(len(order), dtype=torch.bool)
    count = max(round(len(order) * part), LEAST_CALIBRATION)
    chosen[:count] = True
    labels = data.train.labels.cpu()
    # A class that may have no picture to spare keeps all.
    rare = torch.bincount(labels) < len(order) / count
    chosen &= ~rare[labels[order]]
    if count > max(part, MOST_CALIBRATION) * len(order) or chosen.sum() < LEAST_CALIBRATION / 2:
        return data, None
    return replace(data, train=data.train.part(order[~chosen])), data.train.part(order[chosen])


def some_pictures(pictures: Pictures, count: int) -> Tensor:
    """Read up to `count` pictures from all over a set: uint8 N×C×S×S."""
    return next(pictures.batches([torch.arange(0, len(pictures), math.ceil(len(pictures) / count))]))


def check_places(config: FitConfig) -> None:
    """Find out before the hours of training, not after. Raises DataError or CheckpointError."""
    check_source(config.data)
    path = config.run_dir / "checkpoint.pt"
    if config.resume == "yes" and not path.is_file():
        raise missing(path)
    for folder in (config.models_dir, config.run_dir):
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            raise DataError(f"cannot write to {folder}: {error.strerror}") from error
        home = Path(config.data).resolve()
        if config.data not in NAMES and home in folder.resolve().parents and not (home / "train").is_dir():
            raise DataError(
                f"{folder} lies among the class folders of {config.data}: "
                "name --run-dir and --models-dir elsewhere"
            )


def identity(config: FitConfig, recipe: Recipe, data: Data, *, bfloat16: bool) -> str:
    """Say what makes a run this run, a line each: what a checkpoint must agree with to be resumed."""
    first = {"network": config.network, "size": config.size}
    last = {"seed": config.seed, "data": data.fingerprint, "bfloat16": bfloat16}
    settings = first | asdict(recipe) | last
    return "\n".join(f"{key} {value}" for key, value in settings.items())
