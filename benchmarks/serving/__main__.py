"""The command line: `python -m benchmarks.serving [compare | SCENARIO]`, SCENARIOS below."""

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from benchmarks.serving import breakdown, chart, fairness, load, machine, overload, start, strong, table
from benchmarks.serving.compare import Method, compare
from benchmarks.serving.environments import REPOSITORY
from benchmarks.serving.servers import ENTRIES

NAMES = tuple(entry.name for entry in ENTRIES)
RESULTS = Path(__file__).parent / "results.json"
CHART = REPOSITORY / "docs" / "performance.svg"
# A run of a few servers, or a quick one, replaces no published figure.
PARTIAL = REPOSITORY / "build" / "bench"
SCENARIOS = {
    "strong": strong.run,
    "start": start.run,
    "fairness": fairness.run,
    "overload": overload.run,
    "breakdown": breakdown.run,
}


def main() -> int:
    """Measure and print; returns 2 where there is no load generator, 1 where nothing could be measured."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended
    options = parse()
    if not load.installed():
        print(f"error: {load.HINT}", file=sys.stderr)
        return 2
    if options.scenario != "compare":
        result = SCENARIOS[options.scenario](quick=options.quick)
        print(result.pop("text"))
        write(options.json or PARTIAL / f"{options.scenario}.json", result)
        return 0
    method = (
        Method(1, 2, 1) if options.quick else Method(options.rounds, options.seconds, min(2, options.seconds))
    )
    result = described(method) | compare(options.only, method)
    if not result["servers"]:
        return 1
    print(table.render(result))
    partial = options.quick or set(options.only) != set(NAMES)
    write(options.json or (PARTIAL if partial else RESULTS.parent) / "results.json", result)
    picture = options.chart or (PARTIAL / CHART.name if partial else CHART)
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(chart.draw(result))
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description="Compare servers of the same model under the same load, which wrk drives.",
        epilog=f"Where {load.HINT}, it says so and ends.",
    )
    parser.add_argument("scenario", nargs="?", choices=("compare", *SCENARIOS), default="compare")
    parser.add_argument("--only", type=names, default=NAMES, help=f"some of {','.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each load, whole seconds")
    parser.add_argument("--quick", action="store_true", help="1 round of 2 s")
    parser.add_argument("--json", type=Path, help="where every figure goes")
    parser.add_argument("--chart", type=Path, help="where the chart goes")
    return parser.parse_args()


def names(value: str) -> tuple[str, ...]:
    """Read a list of servers."""
    given = tuple(value.split(","))
    if unknown := sorted(set(given) - set(NAMES)):
        raise argparse.ArgumentTypeError(f"no server {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return given


def described(method: Method) -> dict[str, Any]:
    """State what the figures are of."""
    how = {"rounds": method.rounds, "seconds": method.seconds, "connections": list(method.connections)}
    payloads = [f"{picture.name}: {picture.describe()}" for picture in method.pictures]
    return {"machine": machine.describe(), "method": how | {"payloads": payloads}}


def write(path: Path, result: dict[str, Any]) -> None:
    """Keep every figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
