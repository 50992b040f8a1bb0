"""The command line's options: what there is to say, and what follows from what was said."""

import argparse
import re
from dataclasses import replace
from pathlib import Path

from training.errors import DataError
from training.folders import shown
from training.networks import LARGEST, NETWORKS, SMALLEST
from training.recipes import DEFAULT_RECIPE, RECIPES, Recipe
from training.run import FitConfig

MOST = 1_000_000_000
MODELS = Path("models")


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(
        prog="python -m training", description="Fit a CNN and export it for the service."
    )
    commands = top.add_subparsers(dest="command", required=True)
    fitting = commands.add_parser("fit", help="train a network and export it")
    add_fit_options(fitting)
    evaluating = commands.add_parser("evaluate", help="repeat a model's figures from its file alone")
    evaluating.add_argument("model", type=Path, help="models/NAME.pt")
    for command in (evaluating, fitting):
        add_data_options(command, required=command is evaluating)
    reporting = commands.add_parser("report", help="draw a run as one HTML page")
    reporting.add_argument("folder", metavar="RUN", type=Path, help="the run's folder: runs/NAME")
    timing = commands.add_parser(
        "benchmark", help="time to accuracy over several runs", epilog="further options are those of `fit`"
    )
    timing.add_argument("--runs", type=positive, default=10)
    timing.add_argument("--target", type=accuracy, default=0.9, help="test accuracy, 0..1 or per cent")
    return top


def add_fit_options(fitting: argparse.ArgumentParser) -> None:
    add = fitting.add_argument
    add("--network", choices=sorted(NETWORKS), default="resnet")
    add("--recipe", choices=sorted(RECIPES), help="default: modern for resnet, standard for lenet")
    add(
        "--size", type=picture_size, default=SMALLEST, help=f"of the pictures, {SMALLEST} to {LARGEST} pixels"
    )
    add("--epochs", type=positive, help="instead of the recipe's")
    add("--batch-size", type=positive, help="instead of the recipe's")
    add("--learning-rate", type=positive_real, help="the peak, instead of the recipe's")
    add("--class-weights", choices=["none", "balanced"], default="none", help="for unequal classes")
    add("--no-mirror", action="store_true", help="do not flip pictures: text, digits, left and right hands")
    add("--name", help="of the model (default: DATA-NETWORK); the file is models/NAME.pt")
    add("--version", default="1.0.0")
    add("--note", default="", help="a sentence about the data, for the model card")
    add("--models-dir", type=Path, default=MODELS)
    add("--run-dir", type=Path, help="for checkpoint, history and events (default: runs/NAME)")
    add("--seed", type=seed, default=0)
    add("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")
    add("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    add("--compile", action="store_true", help="with torch.compile: pays on long runs, needs a C++ compiler")
    add(
        "--resume",
        nargs="?",
        const="yes",
        choices=["yes", "auto"],
        help="go on with an interrupted run; auto: begin where there is none, as schedulers want it",
    )


def add_data_options(command: argparse.ArgumentParser, *, required: bool) -> None:
    add = command.add_argument
    add(
        "--data",
        required=required,
        default="cifar10",
        help="a folder with train/CLASS/… and test/CLASS/…, or a data set's name: cifar10, cifar100, "
        "fashion-mnist, mnist, stl10, svhn",
    )
    add("--data-dir", type=Path, default=Path("data"), help="where named data sets are kept")
    add("--mirror", metavar="ADDRESS", help="fetch named data sets from there instead")
    add(
        "--memory",
        type=positive_real,
        metavar="GB",
        help="read larger folders from their files as the run goes (default: a quarter of this machine's)",
    )


def positive(text: str) -> int:
    """Parse a number of at least 1."""
    number = int(text)
    if not 1 <= number <= MOST:
        raise argparse.ArgumentTypeError(f"{number} is not in 1..{MOST:,}")
    return number


def positive_real(text: str) -> float:
    """Parse a number above 0."""
    number = float(text)
    if not 0 < number <= MOST:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {MOST:,}")
    return number


def picture_size(text: str) -> int:
    """Parse the side of the network's input, in pixels."""
    number = int(text)
    if not SMALLEST <= number <= LARGEST:
        raise argparse.ArgumentTypeError(f"{number} is not in {SMALLEST}..{LARGEST}")
    return number


def accuracy(text: str) -> float:
    """Parse an accuracy: 0.9 and 90 are the same."""
    number = float(text)
    number = number / 100 if number > 1 else number
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no accuracy: 0.9 or 90")
    return number


def seed(text: str) -> int:
    """Parse a seed: the numbers that every generator in use takes, each as another seed."""
    number = int(text)
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"{number} is not in 0..{2**32 - 1}")
    return number


def fit_config(options: argparse.Namespace) -> FitConfig:
    """Check the options and fill in what follows from them. Raises DataError."""
    name = options.name
    if name is None:
        source = f"{Path(options.data).resolve().name}-{options.network}".lower()
        name = re.sub(r"[^a-z0-9._]+", "-", source)[:100].strip("._-")
    for option, text in (("--name", name), ("--version", options.version)):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
            raise DataError(
                f"{option} {text!r}: ASCII letters, digits, '.', '_' and '-' only, "
                "a letter or digit first, 100 at most"
            )
    return FitConfig(
        network=options.network,
        recipe=choose_recipe(options),
        size=options.size,
        data=options.data,
        data_dir=options.data_dir,
        mirror=options.mirror,
        memory=memory_bytes(options),
        note=shown(options.note),
        name=name,
        version=options.version,
        models_dir=options.models_dir,
        run_dir=options.run_dir or Path("runs") / name,
        seed=options.seed,
        device=options.device,
        precision=options.precision,
        compiled=options.compile,
        resume=options.resume,
        command=repeat_command(options, name),
    )


def choose_recipe(options: argparse.Namespace) -> Recipe:
    """Take the recipe, with what was asked for instead of its own numbers. Raises DataError."""
    recipe = RECIPES[options.recipe or DEFAULT_RECIPE[options.network]]
    if recipe.optimiser == "muon" and options.network == "lenet":
        raise DataError(f"--recipe {recipe.name} needs a network with batch normalisation: --network resnet")
    asked = {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        # What was asked for is not adapted to a small set.
        "least_batch": options.batch_size,
        "least_batches": 0 if options.epochs else None,
        "mirror": False if options.no_mirror else None,
    }
    given = {key: value for key, value in asked.items() if value is not None}
    return replace(recipe, class_weights=options.class_weights, **given)


def check_benchmark(asked: argparse.Namespace) -> None:
    """Refuse what a benchmark chooses itself. Raises DataError."""
    chosen = {
        "--resume": asked.resume,
        "--seed": asked.seed,
        "--run-dir": asked.run_dir,
        "--name": asked.name,
        "--models-dir": asked.models_dir != MODELS,
    }
    if given := [option for option, value in chosen.items() if value]:
        raise DataError(f"benchmark runs afresh, with seeds 0, 1, … in folders of its own: no {given[0]}")


def memory_bytes(options: argparse.Namespace) -> int | None:
    return None if options.memory is None else int(options.memory * 1e9)


def repeat_command(options: argparse.Namespace, name: str) -> str:
    """Write the command that fits the same network again; where the data lie is the reader's to say."""
    recipe = options.recipe or DEFAULT_RECIPE[options.network]
    words = ["python -m training fit --data FOLDER_OR_NAME"]
    words += [f"--network {options.network} --recipe {recipe} --name {name} --seed {options.seed}"]
    asked = vars(options)
    for key, default in (
        ("size", SMALLEST),
        ("epochs", None),
        ("batch_size", None),
        ("learning_rate", None),
        ("class_weights", "none"),
        ("precision", "auto"),
    ):
        if asked[key] != default:
            words.append(f"--{key.replace('_', '-')} {asked[key]}")
    return " ".join(words + ["--no-mirror"] * options.no_mirror)
