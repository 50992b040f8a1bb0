"""The command line: `python -m training fit …` and `python -m training evaluate MODEL --data …`."""

import argparse
import re
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from training import card as cards
from training import data as datasets
from training import export
from training.checkpoint import Checkpoint, CheckpointError
from training.evaluate import evaluate
from training.networks import NETWORKS, build
from training.progress import Progress
from training.recipes import RECIPES, Recipe
from training.train import Interrupted, fit

# Plain: a class folder may be called "[red]" or ":cat:".
console = Console(markup=False, emoji=False, highlight=False)
complaints = Console(stderr=True, markup=False, emoji=False, highlight=False)


@dataclass(frozen=True)
class FitConfig:
    """What `fit` was asked for."""

    network: str
    recipe: Recipe
    data: str
    data_dir: Path
    note: str
    name: str
    version: str
    models_dir: Path
    run_dir: Path
    seed: int
    device: torch.device
    resume: bool


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 2 wrong use or data, 130 interrupted."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "evaluate":
            run_evaluate(options.model, options.data, options.data_dir)
        else:
            run_fit(fit_config(options))
    except (datasets.DataError, CheckpointError, export.ArtefactError, OSError) as error:
        complaints.print(f"error: {datasets.shown(str(error))}", style="red", soft_wrap=True)
        return 2
    except Interrupted as error:
        complaints.print(f"interrupted: {error}", soft_wrap=True)
        return 130
    except KeyboardInterrupt:
        complaints.print(
            "interrupted; --resume goes on from the last checkpoint, if there is one", soft_wrap=True
        )
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    evaluating = commands.add_parser("evaluate", help="repeat a model's figures from its file alone")
    evaluating.add_argument("model", type=Path, help="models/NAME.pt")
    fitting = commands.add_parser("fit", help="train a network and export it")
    fitting.add_argument("--network", choices=sorted(NETWORKS), default="lenet")
    fitting.add_argument("--recipe", choices=sorted(RECIPES), default="standard")
    fitting.add_argument("--epochs", type=positive, help="instead of the recipe's")
    fitting.add_argument("--name", help="of the model (default: DATA-NETWORK); the file is models/NAME.pt")
    fitting.add_argument("--version", default="1.0.0")
    fitting.add_argument("--note", default="", help="a sentence about the data, for the model card")
    fitting.add_argument("--models-dir", type=Path, default=Path("models"))
    fitting.add_argument("--run-dir", type=Path, help="for the checkpoint (default: runs/NAME)")
    fitting.add_argument("--seed", type=seed, default=0)
    fitting.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")
    fitting.add_argument("--resume", action="store_true", help="continue an interrupted run")
    for command in (evaluating, fitting):
        command.add_argument(
            "--data",
            required=command is evaluating,
            default="cifar10",
            help="a data set's name (cifar10) or a folder with train/CLASS/… and test/CLASS/…",
        )
        command.add_argument(
            "--data-dir", type=Path, default=Path("data"), help="where named data sets are kept"
        )
    return top


def positive(text: str) -> int:
    """Parse a number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def seed(text: str) -> int:
    """Parse a seed: the numbers that every generator in use takes, each as another seed."""
    number = int(text)
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"{number} is not in 0..{2**32 - 1}")
    return number


def fit_config(options: argparse.Namespace) -> FitConfig:
    """Check the options and fill in what follows from them."""
    recipe = RECIPES[options.recipe]
    if options.epochs:
        recipe = replace(recipe, epochs=options.epochs)
    name = options.name
    if name is None:
        source = f"{Path(options.data).resolve().name}-{options.network}".lower()
        name = re.sub(r"[^a-z0-9._]+", "-", source).strip("._-")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise datasets.DataError(
            f"--name {name!r}: ASCII letters, digits, '.', '_' and '-' only, a letter or digit first"
        )
    return FitConfig(
        network=options.network,
        recipe=recipe,
        data=options.data,
        data_dir=options.data_dir,
        note=datasets.shown(options.note),
        name=name,
        version=options.version,
        models_dir=options.models_dir,
        run_dir=options.run_dir or Path("runs") / name,
        seed=options.seed,
        device=choose_device(options.device),
        resume=options.resume,
    )


def choose_device(name: str) -> torch.device:
    """Find the device: `auto` takes CUDA, then MPS, then the CPU. Raises DataError where there is none."""
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, available in there.items() if available)
    if not there[name]:
        raise datasets.DataError(f"--device {name}: torch {torch.__version__} finds none on this machine")
    return torch.device(name)


def run_fit(config: FitConfig) -> None:
    """Train, measure and export: data -> fit -> evaluate -> artefact and card."""
    sizing = build(config.network, classes=2)
    data = datasets.load(config.data, config.data_dir, sizing.prepare, config.seed)
    say_data(data)
    check_writable(config.models_dir)
    check_writable(config.run_dir)
    torch.manual_seed(config.seed)
    classifier = build(config.network, len(data.labels)).to(config.device)
    data = replace(data, train=data.train.to(config.device), test=data.test.to(config.device))
    checkpoint = Checkpoint(config.run_dir / "checkpoint.pt", identity(config, data))
    console.print(
        f"{config.network}, recipe {config.recipe.name}, on {cards.device_name(config.device)}; "
        f"checkpoints in {config.run_dir}",
        soft_wrap=True,
    )
    if not config.resume and (aside := checkpoint.set_aside()):
        console.print(f"a new run: the checkpoint that was there is now {aside}", soft_wrap=True)
    with Progress(console, len(data.train), config.recipe.epochs) as progress:
        try:
            seconds = fit(
                classifier,
                config.recipe,
                data,
                config.seed,
                checkpoint,
                progress,
                resume=config.resume,
            )
        except Interrupted as error:
            raise Interrupted(f"{error}; saved in {checkpoint.path}, go on with --resume") from None
    metrics = evaluate(classifier.eval(), data.test, data.labels)
    card = cards.describe_model(
        config.name,
        config.version,
        config.network,
        config.recipe,
        config.seed,
        seconds,
        classifier,
        data,
        metrics,
        config.note,
    )
    path = config.models_dir / f"{config.name}.pt"
    export.save_artefact(path, classifier.cpu(), card, data.test.images[:256].cpu())
    cards.write_card(path.with_suffix(".md"), card)
    console.print(cards.table(metrics))
    console.print(f"wrote {path} and {path.with_suffix('.md')}", soft_wrap=True)


def check_writable(folder: Path) -> None:
    """Find out before the hours of training, not after. Raises DataError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise datasets.DataError(f"cannot write to {folder}: {error.strerror}") from error


def identity(config: FitConfig, data: datasets.Data) -> str:
    """Say what makes a run this run, a line each: what a checkpoint must agree with to be resumed."""
    settings = asdict(config.recipe) | {"seed": config.seed, "data": data.fingerprint()}
    return "\n".join(f"{key} {value}" for key, value in ({"network": config.network} | settings).items())


def run_evaluate(path: Path, source: str, data_dir: Path) -> None:
    """Measure a file as the service would use it, and set its own figures beside."""
    module, card = export.load_artefact(path)
    try:
        labels, recorded = card["labels"], cards.headline(card["metrics"])
        split_seed, fingerprint = card["training"]["seed"], card["metrics"]["data"]["fingerprint"]
    except (KeyError, TypeError) as error:
        raise export.ArtefactError(f"{path}: its {export.EXTRA} is not one of this tool: {error}") from error
    data = datasets.load(source, data_dir, module.prepare, split_seed)
    say_data(data)
    if list(data.labels) != labels:
        raise datasets.DataError(
            f"the data's classes ({', '.join(data.labels)}) are not the model's ({', '.join(labels)})"
        )
    metrics = evaluate(module, data.test, data.labels)
    console.print(cards.table(metrics))
    console.print(f"measured: {cards.headline(metrics.as_json())}", soft_wrap=True)
    console.print(f"recorded: {recorded}", soft_wrap=True)
    same = data.fingerprint() == fingerprint
    verdict = "those" if same else "not those"
    console.print(f"the data are {verdict} the model was measured on", soft_wrap=True)


def say_data(data: datasets.Data) -> None:
    """Print what was loaded, and what was not."""
    console.print(
        f"{data.name}: {len(data.train):,} pictures to train on, {len(data.test):,} to test on "
        f"({data.split}), {len(data.labels)} classes",
        soft_wrap=True,
    )
    for file in data.skipped:
        console.print(f"skipped {file}", style="yellow", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
