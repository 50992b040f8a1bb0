"""What each choice for speed gives, in training and for one served picture: ratios taken in one run.

python -m benchmarks.speed                       of the residual network, on this machine's CPU
python -m benchmarks.speed --compile             torch.compile as well, which first takes minutes

The variants take turns, round after round; a ratio is the median over the rounds of base / variant.
"""

import argparse
import copy
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from service.model import load_model
from training import residual, winograd
from training.devices import keep_freed_memory, multiplies_bfloat16
from training.export import load_artefact, quiet_deprecation, save_artefact
from training.networks import Classifier, build
from training.optimisers import optimisers_for
from training.recipes import RECIPES

BATCH = 500
Variants = dict[str, Callable[[], object]]


def step(
    side: int = 32, batch: int = BATCH, optimiser: str = "muon", **choices: bool
) -> Callable[[], object]:
    """Give a training step on random pictures: forward, backward, optimisers."""
    classifier = build("resnet", 10)
    if choices.get("channels_last", True):
        classifier.to(memory_format=torch.channels_last)
    model = torch.compile(classifier) if choices.get("compiled") else classifier
    recipe = replace(RECIPES["modern"], optimiser=optimiser)
    optimisers = optimisers_for(classifier, recipe)
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
    labels = torch.randint(0, 10, (batch,))

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=choices.get("bfloat16", False)):
            logits = model(images)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        for each in optimisers:
            each.step()
            each.zero_grad()

    return run


def steps_when_asked(asked: Connection) -> None:
    """Do a step for everything that comes in, and answer."""
    run = step()
    with suppress(EOFError):
        while asked.recv():
            run()
            asked.send(True)


@contextmanager
def elsewhere() -> Iterator[Callable[[], object]]:
    """Give a step in a process of its own, which gives freed memory back: that is for a whole process."""
    here, there = multiprocessing.Pipe()
    worker = multiprocessing.get_context("spawn").Process(target=steps_when_asked, args=(there,))
    worker.start()
    there.close()  # so that a worker's death ends the wait for its answer

    def run() -> object:
        here.send(True)
        return here.recv()

    try:
        yield run
    finally:
        here.close()
        worker.join()


def without_winograd(run: Callable[[], object]) -> Callable[[], object]:
    """Give the same step with plain convolutions."""

    def plainly() -> None:
        with mock.patch.object(winograd, "pays", return_value=False):
            run()

    return plainly


def training_variants(given_back: Callable[[], object], *, compiled: bool) -> Variants:
    base, threads = step(), torch.get_num_threads()

    def on_one_thread() -> None:
        torch.set_num_threads(1)
        base()
        torch.set_num_threads(threads)

    variants: Variants = {
        f"base: {threads} threads, channels-last, freed memory kept": base,
        "channels first": step(channels_last=False),
        "freed memory given back": given_back,
        "convolutions without Winograd's filtering": without_winograd(base),
        "SGD in place of Muon": step(optimiser="sgd"),
        "pictures of 20 pixels": step(side=20),
        "bfloat16": step(bfloat16=True),
        "one thread": on_one_thread,
    }
    if compiled:
        variants["torch.compile"] = step(compiled=True)
    return variants


def exported(classifier: Classifier, *, widened: bool = True) -> torch.nn.Module:
    """Give the classifier as the service has it: from the file, half-precision weights widened once."""
    card = {
        "schema": 1,
        "name": "speed",
        "version": "1",
        "labels": [str(index) for index in range(10)],
        "input": {"height": 32, "width": 32, "channels": 3},
        "metrics": {},
        "training": {},
        "parameters": sum(parameter.numel() for parameter in classifier.parameters()),
        "macs": 0,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speed.pt"
        save_artefact(path, classifier, card, torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8))
        return load_model(path).module if widened else load_artefact(path)[0]


def of_width(times: float) -> Classifier:
    """Give the network so many times as wide, as it is deployed."""
    widths = tuple(round(times * width) for width in residual.WIDTHS)
    with mock.patch.object(residual, "WIDTHS", widths):
        classifier = build("resnet", 10).eval()
    return classifier.deployable()


def serving_variants() -> Variants:
    with mock.patch.object(residual, "WinogradConv2d", nn.Conv2d):  # which is not exported
        trained = build("resnet", 10).eval()
    trained.initialise(torch.randint(0, 256, (500, 3, 32, 32), dtype=torch.uint8))
    deployed = trained.deployable()
    served = exported(deployed)
    picture = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)

    def timed(module: torch.nn.Module) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.inference_mode():
                for _ in range(20):
                    logits: Tensor = module(picture)
            return logits

        return run

    with quiet_deprecation():
        frozen = torch.jit.freeze(copy.deepcopy(served).eval())
    return {
        "base: as the service has it": timed(served),
        "weights left in half precision": timed(exported(deployed, widened=False)),
        "channels first": timed(copy.deepcopy(served).to(memory_format=torch.contiguous_format)),
        "normalisations not folded": timed(exported(trained.to(memory_format=torch.channels_last))),
        "torch.jit.freeze": timed(frozen),
        "half the width": timed(exported(of_width(0.5))),
        "twice the width": timed(exported(of_width(2))),
        "article's network": timed(exported(build("lenet", 10).eval())),
    }


def compare(title: str, unit: str, variants: Variants, rounds: int, scale: float) -> None:
    """Time the variants in turns and print a table; `scale` makes seconds the unit."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds + 1):  # the first warms up
        for name, run in variants.items():
            began = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - began) * scale)
    base = next(iter(times.values()))[1:]
    print(f"\n| {title} | {unit} | times as fast as the base |\n| --- | --- | --- |")
    for name, (_, *taken) in times.items():
        ratio = statistics.median(b / t for b, t in zip(base, taken, strict=True))
        print(f"| {name} | {statistics.median(taken):.2f} | {ratio:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, bfloat16 in hardware: {multiplies_bfloat16(torch.device('cpu'))}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    compare("one picture, one thread", "ms", serving_variants(), 10 * options.rounds, 1000 / 20)
    torch.set_num_threads(threads)
    keep_freed_memory()  # for good: so the service, which does not, comes first
    with elsewhere() as given_back:
        training = training_variants(given_back, compiled=options.compile)
        compare(f"a step of {BATCH} pictures", "seconds", training, options.rounds, 1)
    print(f"\npeak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    main()
