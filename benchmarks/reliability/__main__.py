"""The command line: `python -m benchmarks.reliability soak | faults | races | overload`."""

import argparse
import sys
from typing import Any

from benchmarks.reliability import faults, overload, races, races_http, results, soak

MOST_GROWTH = 0.02


def main() -> int:
    """Try what is asked for, write the figures to results.json; returns 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    trials = parser.add_subparsers(dest="trial", required=True)
    long = trials.add_parser("soak", help="mixed requests, every answer checked, memory watched")
    long.add_argument("--requests", type=int, default=150_000)
    long.add_argument("--workers", type=int, default=2)
    some = trials.add_parser("faults", help="processes, disks, clocks, models and clients that fail")
    some.add_argument("only", nargs="*", metavar="FAULT", help=f"of {', '.join(faults.FAULTS)}; default: all")
    many = trials.add_parser("races", help="batching against cancellation, answer by answer")
    many.add_argument("--schedules", type=int, default=1000, help="of 60 callers each, in one process")
    many.add_argument("--requests", type=int, default=10_000, help="over HTTP")
    trials.add_parser("overload", help="ten times the clients that fill it (needs wrk)")
    options = parser.parse_args()
    found, kept = TRIALS[options.trial](options)
    if not getattr(options, "only", None):  # of a few, nothing is published
        results.write(options.trial, found)
    return 0 if kept else 1


def run_soak(options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    found = soak.run(options.requests, options.workers)
    kept = not found["wrong_count"] and found["memory_growth"] < MOST_GROWTH
    print(*found["wrong"], sep="\n")
    print(
        f"{found['requests']:,} requests in {found['seconds']:.0f} s, {found['bad']:,} bad,"
        f" {found['left']:,} left;"
        f" {found['wrong_count']} wrong answers; memory {found['memory_growth']:+.1%}"
        f" ({found['memory_growth_by_fit']:+.1%} by a fitted line), open files {found['files_growth']:+.1%}"
    )
    return found, kept


def run_faults(options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    found = faults.run(options.only)
    return found, all(one["survived"] for one in found.values())


def run_races(options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    found = {"batcher": races.run(options.schedules), "http": races_http.run(options.requests)}
    print(found)
    return found, not any(one["wrong_count"] for one in found.values())


def run_overload(_: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    found = overload.run()
    print(found.pop("text"))
    return found, True


TRIALS = {"soak": run_soak, "faults": run_faults, "races": run_races, "overload": run_overload}

if __name__ == "__main__":
    sys.exit(main())
