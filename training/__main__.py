"""The command line: `python -m training fit …`, `evaluate MODEL …`, `report RUN`, `benchmark …`."""

import argparse
import sys

try:
    import torch
    from rich.console import Console

    from training.benchmark import run_benchmark
    from training.errors import Interrupted, TrainingError
    from training.folders import shown
    from training.options import check_benchmark, fit_config, memory_bytes, parser
    from training.repeat import run_evaluate
    from training.run import run_fit
except KeyboardInterrupt:  # torch takes seconds to import
    sys.exit(130)

# Plain: a class folder may be called "[red]" or ":cat:".
console = Console(markup=False, emoji=False, highlight=False)
complaints = Console(stderr=True, markup=False, emoji=False, highlight=False)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 2 wrong use or data, 130 interrupted."""
    described = parser()
    options, rest = described.parse_known_args(arguments)
    if options.command == "benchmark":
        # Refuses what `fit` would, before the first run.
        options.fit, options.rest = described.parse_args(["fit", *rest]), rest
    elif rest:
        described.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        COMMANDS[options.command](options)
    except (TrainingError, OSError) as error:
        complaints.print(f"error: {shown(str(error))}", style="red", soft_wrap=True)
        return 2
    except torch.OutOfMemoryError as error:
        complaints.print(f"error: {error} Lower --batch-size or --size.", style="red", soft_wrap=True)
        return 2
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        # Killed, for want of memory most often; torch says so wherever this process is just then.
        complaints.print(f"error: reading pictures failed: {error}", style="red", soft_wrap=True)
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


def fit(options: argparse.Namespace) -> None:
    run_fit(fit_config(options), console)


def evaluate(options: argparse.Namespace) -> None:
    run_evaluate(
        options.model, options.data, options.data_dir, options.mirror, memory_bytes(options), console
    )


def report(options: argparse.Namespace) -> None:
    from training.report import write_report  # noqa: PLC0415  (matplotlib, which only a report needs)

    console.print(f"wrote {write_report(options.folder)}", soft_wrap=True)


def benchmark(options: argparse.Namespace) -> None:
    check_benchmark(options.fit)
    run_benchmark(options.runs, options.target, options.rest, console)


COMMANDS = {"fit": fit, "evaluate": evaluate, "report": report, "benchmark": benchmark}

if __name__ == "__main__":
    sys.exit(main())
