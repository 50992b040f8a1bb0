"""The command line: `python -m benchmarks.capacity measure | check | study | page | plan | cost`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.capacity import check, measure, page, pinned, planning, study
from benchmarks.capacity.cases import Unknown
from benchmarks.capacity.measure import MEASURED
from benchmarks.serving import load
from benchmarks.serving.environments import REPOSITORY

QUICK = REPOSITORY / "build" / "bench" / "capacity"  # a quick run replaces no published figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; returns 2 where that cannot be, with one sentence."""
    options = parse(arguments)
    try:
        done: int = options.do(options)
    except (Unknown, ValueError) as error:
        print(f"error: {error.args[0]}", file=sys.stderr)
        return 2
    return done


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity",
        description="How many replicas a load needs, and what that rests on.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, text, do in (
        (
            "measure",
            "what a core answers and a replica needs, into measured.json (needs wrk, two cores)",
            measured,
        ),
        ("check", "the service and its simulation under the same load, into checked.json", checked),
        (
            "study",
            "simulate 10,000 requests a second: sizes, failures, autoscalers, into studied.json",
            studied,
        ),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--quick", action="store_true", help="a look whether it runs")
        if name == "measure":
            command.add_argument("--requests", action="store_true", help="not memory, start and batches anew")
        command.set_defaults(do=do)
    page_of = commands.add_parser("page", help="write the tables and charts of docs/scaling.md anew")
    page_of.set_defaults(do=write_page)
    plan = commands.add_parser("plan", help="replicas, memory and settings for a load")
    plan.add_argument("--rate", type=float, required=True, help="requests a second")
    plan.add_argument("--payload", default="photo", help=planning.payload_names())
    plan.add_argument("--model", default="cifar10-resnet")
    plan.add_argument("--load", type=float, default=planning.LOAD, help="of what a core can answer, 0 to 1")
    plan.set_defaults(do=planned)
    cost = commands.add_parser("cost", help="what a million predictions cost at your price of a core")
    cost.add_argument(
        "--core-hour", type=float, required=True, help="the price of a core for an hour, any money"
    )
    cost.add_argument("--load", type=float, default=planning.LOAD, help="of what a core can answer, 0 to 1")
    cost.add_argument("--watts", type=float, default=0.0, help="a core takes, where machines are your own")
    cost.add_argument("--kilowatt-hour", type=float, default=0.0, help="the price of electricity")
    cost.set_defaults(do=costed)
    return parser.parse_args(arguments)


def able() -> None:
    """Raise Unknown where nothing can be measured here."""
    if not load.installed():
        raise Unknown(load.HINT)
    if not pinned.enough_cores():
        raise Unknown("two cores are needed: one for the service, one for its load")


def measured(options: argparse.Namespace) -> int:
    able()
    result = measure.run(read(MEASURED) if options.requests else None, quick=options.quick)
    write(QUICK / MEASURED.name if options.quick else MEASURED, result)
    return 0


def checked(options: argparse.Namespace) -> int:
    able()
    result = check.run(read(MEASURED), quick=options.quick)
    write(QUICK / check.CHECKED.name if options.quick else check.CHECKED, result)
    return 0


def studied(options: argparse.Namespace) -> int:
    result = study.run(read(MEASURED), quick=options.quick)
    write(QUICK / study.STUDIED.name if options.quick else study.STUDIED, result)
    return 0


def write_page(_: argparse.Namespace) -> int:
    page.write(read(MEASURED), read(check.CHECKED), read(study.STUDIED))
    return 0


def planned(options: argparse.Namespace) -> int:
    found = read(MEASURED)
    sized = planning.sizing(found, options.rate, options.payload, options.model, options.load)
    print(planning.describe(found, sized, options.payload, options.model))
    return 0


def costed(options: argparse.Namespace) -> int:
    found = read(MEASURED)
    print(planning.price_list(found, options.core_hour, options.load, options.watts, options.kilowatt_hour))
    return 0


def read(path: Path) -> dict[str, Any]:
    """Read figures. Raises Unknown where there are none yet."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise Unknown(f"no {path.name} yet: python -m benchmarks.capacity measure") from None
    return found


def write(path: Path, result: dict[str, Any]) -> None:
    """Keep every figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(path.name)


if __name__ == "__main__":
    sys.exit(main())
