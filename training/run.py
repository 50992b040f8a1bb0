"""One training run from the data to the model: data -> fit -> temperature -> figures -> artefact and card."""

import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from training import card as cards
from training import export
from training.checkpoint import Checkpoint
from training.data import Data, load
from training.devices import Machine, Precision, choose_device, set_up
from training.errors import ArtefactError, DataError, Diverged, Interrupted
from training.evaluate import fit_temperature, measure, predict
from training.history import History
from training.networks import Classifier, build
from training.processes import Processes, joined, restarts
from training.progress import Progress
from training.recipes import Recipe
from training.sets import Pictures
from training.train import fit

WHITENED_ON = 5000  # pictures
LEAST_CALIBRATION = 100  # pictures: fewer say nothing about a temperature
SHOWN_MISTAKES = 48


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
    resume: bool
    command: str


def run_fit(config: FitConfig, console: Console) -> None:
    """Train, measure and export, alone or with the processes that torchrun started."""
    with joined() as processes:
        device = choose_device(config.device)
        machine = set_up(device, config.precision, processes, compiled=config.compiled)
        console.quiet = not processes.first
        data = load_in_turn(config, processes)
        say_data(data, console)
        for folder in (config.models_dir, config.run_dir):
            check_writable(folder)
        train_and_export(config, data, machine, console)


def load_in_turn(config: FitConfig, processes: Processes) -> Data:
    """Load the data; the first process before the others, which then need not download."""

    def load_here() -> Data:
        prepare = Classifier(torch.nn.Identity(), config.size).prepare
        return load(
            config.data, config.data_dir, prepare, config.seed, mirror=config.mirror, memory=config.memory
        )

    if processes.first:
        data = load_here()
    processes.share(None)
    return data if processes.first else load_here()


def train_and_export(config: FitConfig, data: Data, machine: Machine, console: Console) -> None:
    """Go from the data to the files."""
    whole, recipe = data, config.recipe
    if recipe.mirror and not data.mirrorable:
        recipe = replace(recipe, mirror=False)
        console.print(f"{data.name} is not mirrored: its classes have a left and a right", soft_wrap=True)
    data, calibration = hold_for_calibration(data, recipe.calibration, config.seed)
    adapted = recipe.fitted_to(len(data.train))
    if adapted != recipe:
        console.print(
            f"{len(data.train):,} pictures are few: {adapted.epochs} epochs, batches of {adapted.batch_size}",
            soft_wrap=True,
        )
    recipe = adapted
    torch.manual_seed(config.seed)
    classifier = build(config.network, len(data.labels), size=config.size)
    classifier.initialise(first_pictures(data.train, WHITENED_ON))
    classifier.to(machine.device)
    data = replace(data, train=data.train.to(machine.device), test=data.test.to(machine.device))
    checkpoint = Checkpoint(config.run_dir / "checkpoint.pt", identity(config, recipe, data))
    console.print(
        f"{config.network}, recipe {recipe.name}, on {machine.name()}"
        f"{' in bfloat16' if machine.bfloat16 else ''}; checkpoints in {config.run_dir}",
        soft_wrap=True,
    )
    # torchrun starts everything anew when a process fails: then, too, the run goes on.
    resume = config.resume or (restarts() > 0 and checkpoint.path.is_file())
    if machine.processes.first and not resume and (aside := checkpoint.set_aside()):
        console.print(f"a new run: the checkpoint that was there is now {aside}", soft_wrap=True)
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
    console.print(f"peak memory {machine.peak_memory() / 2**20:,.0f} MiB", soft_wrap=True)
    deployed = classifier.deployable()
    if calibration and len(calibration) >= LEAST_CALIBRATION:
        calibration = calibration.to(machine.device)
        logits = predict(deployed, calibration, len(data.labels), machine.processes)
        deployed.temperature = fit_temperature(logits, calibration.labels.cpu())
        console.print(
            f"temperature {deployed.temperature:.3f}, from {len(calibration):,} held-out training pictures",
            soft_wrap=True,
        )
    logits = predict(deployed, data.test, len(data.labels), machine.processes)
    if not machine.processes.first:
        return
    truth = data.test.labels.cpu()
    metrics = measure(logits, truth, data.labels)
    card = cards.describe_model(
        config.name,
        config.version,
        config.network,
        recipe,
        config.seed,
        history.rows,
        machine,
        deployed,
        whole,
        metrics,
        config.note,
        config.command,
    )
    path = config.models_dir / f"{config.name}.pt"
    export.save_artefact(path, deployed.cpu(), card, first_pictures(data.test, 256).cpu())
    cards.write_card(path.with_suffix(".md"), card)
    save_result(config.run_dir / "result.pt", card, logits, data.test, deployed)
    console.print(cards.table(metrics))
    console.print(f"wrote {path} and {path.with_suffix('.md')}", soft_wrap=True)
    console.print(f"to look at the run: python -m training report {config.run_dir}", soft_wrap=True)


def hold_for_calibration(data: Data, part: float, seed: int) -> tuple[Data, Pictures | None]:
    """Set a part of the training pictures aside, chosen by `seed`, for the temperature alone."""
    if not part:
        return data, None
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
    count = round(len(order) * part)
    if count < LEAST_CALIBRATION:
        return data, None
    return replace(data, train=data.train.part(order[count:])), data.train.part(order[:count])


def first_pictures(pictures: Pictures, count: int) -> torch.Tensor:
    """Read the first pictures of a set: uint8 N×C×S×S."""
    return next(pictures.batches([torch.arange(min(count, len(pictures)))]))


def save_result(
    path: Path, card: dict[str, object], logits: torch.Tensor, test: Pictures, classifier: Classifier
) -> None:
    """Keep what the report shows: the card, the test part's logits, the surest mistakes, the filters."""
    truth = test.labels.cpu()
    confidence, predicted = logits.softmax(1).max(1)
    wrong = (predicted != truth).nonzero().flatten()
    surest = wrong[confidence[wrong].argsort(descending=True)[:SHOWN_MISTAKES]]
    size = classifier.size
    images = next(test.batches([surest])).cpu() if len(surest) else torch.empty(0, 3, size, size).byte()
    filters = next((p for name, p in classifier.named_parameters() if p.dim() == 4), None)
    torch.save(
        {
            "card": json.dumps(card),
            "logits": logits,
            "truth": truth,
            "mistakes": {
                "images": images,
                "truth": truth[surest],
                "predicted": predicted[surest],
                "confidence": confidence[surest],
            },
            "filters": None if filters is None else filters.detach().float().contiguous(),
        },
        path,
    )


def check_writable(folder: Path) -> None:
    """Find out before the hours of training, not after. Raises DataError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}") from error


def identity(config: FitConfig, recipe: Recipe, data: Data) -> str:
    """Say what makes a run this run, a line each: what a checkpoint must agree with to be resumed."""
    first = {"network": config.network, "size": config.size}
    settings = first | asdict(recipe) | {"seed": config.seed, "data": data.fingerprint}
    return "\n".join(f"{key} {value}" for key, value in settings.items())


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
    data = load(source, data_dir, module.prepare, split_seed, mirror=mirror, memory=memory)
    say_data(data, console)
    if list(data.labels) != labels:
        raise DataError(
            f"the data's classes ({', '.join(data.labels)}) are not the model's ({', '.join(labels)})"
        )
    metrics = measure(predict(module, data.test, len(labels)), data.test.labels, data.labels)
    console.print(cards.table(metrics))
    console.print(f"measured: {cards.headline(metrics.as_json())}", soft_wrap=True)
    console.print(f"recorded: {recorded}", soft_wrap=True)
    same = data.fingerprint == fingerprint
    verdict = "those" if same else "not those"
    console.print(f"the data are {verdict} the model was measured on", soft_wrap=True)


def say_data(data: Data, console: Console) -> None:
    """Print what was loaded, and what was not."""
    counts = torch.bincount(data.train.labels.cpu(), minlength=len(data.labels))
    console.print(
        f"{data.name}: {len(data.train):,} pictures to train on, {len(data.test):,} to test on "
        f"({data.split}), {len(data.labels)} classes of {counts.min():,} to {counts.max():,}",
        soft_wrap=True,
    )
    for file in data.skipped:
        console.print(f"skipped {file}", style="yellow", soft_wrap=True)
