"""Fit a classifier: the loop reads top to bottom."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.nn import CrossEntropyLoss
from torch.nn.parallel import DistributedDataParallel

from training.batches import Batches, shrink
from training.checkpoint import Checkpoint, Optimisers, State
from training.data import Data
from training.devices import Machine
from training.errors import Diverged, Interrupted
from training.evaluate import measure, predict
from training.history import History, Row
from training.networks import Classifier
from training.optimisers import optimisers_for
from training.processes import share_norms
from training.progress import Progress
from training.recipes import Recipe

SAVE_EVERY_S = 300  # inside an epoch


def fit(  # noqa: PLR0915  (a story, told in one go)
    classifier: Classifier,
    recipe: Recipe,
    data: Data,
    seed: int,
    machine: Machine,
    checkpoint: Checkpoint,
    history: History,
    progress: Progress,
    *,
    resume: bool = False,
) -> float:
    """Train in place, on the machine's device, and return the seconds it took (all sittings).

    Saves a checkpoint after each epoch, every few minutes, and when interrupted (then raises
    Interrupted). What follows from a checkpoint is what would have followed without the
    interruption: order and augmentation depend on (seed, epoch), the learning rate on the batch's
    number, the rest is saved. Raises Diverged, and then leaves the last good checkpoint.
    """
    processes, device = machine.processes, machine.device
    # Half the time on a CPU; the weights are the same numbers in another order.
    classifier.to(memory_format=torch.channels_last)
    optimisers = optimisers_for(classifier, recipe)
    state = checkpoint.restore(classifier, optimisers, processes) if resume else State()
    model = prepare_model(classifier, machine)
    weights = balance(data) if recipe.class_weights == "balanced" else None
    batches = Batches(data.train, recipe, seed, processes, weights)
    criterion = CrossEntropyLoss(weights, label_smoothing=recipe.label_smoothing).to(device)
    total = len(batches) * recipe.epochs
    sitting = time.monotonic() - state.seconds
    saved = time.monotonic()
    if processes.first:
        history.begin(state.rows)
    progress.begin(state.epoch * len(data.train) + state.batch * len(data.train) // len(batches))

    with stop_signals() as stopped:
        for epoch in range(state.epoch, recipe.epochs):
            classifier.train()
            # float32: loss, hits and pictures of this epoch, loss since the last report; read rarely
            meter = torch.zeros(4) if state.meter is None or not processes.first else state.meter
            meter, done = meter.to(device), state.batch
            began, before = time.monotonic(), done

            for batch in batches.epoch(epoch, done, state.generator):
                set_rates(optimisers, recipe.factor((epoch * len(batches) + done) / total))
                with machine.autocast():
                    logits = model(batch.images)
                loss = criterion(logits.float(), batch.labels)
                (loss * batch.share).backward()
                for optimiser in optimisers:
                    optimiser.step()
                    optimiser.zero_grad()

                done += 1
                count_in(meter, loss.detach(), logits, batch.labels)
                if progress.due:
                    mean, accuracy = (meter[:2] / meter[2]).tolist()
                    check_finite(mean, f"in epoch {epoch + 1}, batch {done}")
                    progress.show(epoch, len(data.train) * done // len(batches), mean, accuracy)
                if recipe.report_every and done % recipe.report_every == 0:
                    mean = meter[3].item() / recipe.report_every
                    progress.line(f"[{epoch + 1}, {done:5d}] loss: {mean:.3f}")
                    meter[3] = 0
                if done == len(batches):
                    break
                stop = processes.any(stopped())
                if processes.first and (stop or time.monotonic() - saved > SAVE_EVERY_S):
                    saved = time.monotonic()
                    rest = State(
                        epoch,
                        done,
                        batches.state(),
                        meter.cpu(),
                        saved - sitting,
                        max(machine.peak_memory(), state.peak),
                        history.rows,
                    )
                    checkpoint.save(rest, classifier, optimisers)
                if stop:
                    raise Interrupted(f"stopped in epoch {epoch + 1} after {done} batches")

            speed = len(data.train) * (1 - before / len(batches)) / (time.monotonic() - began)
            seconds = time.monotonic() - sitting
            mean, accuracy = (processes.sum(meter[:3])[:2] / meter[2]).tolist()
            check_finite(mean, f"in epoch {epoch + 1}")
            side = recipe.side(((epoch + 1) * len(batches) - 1) / total, classifier.size)
            seen = partial(see, classifier.eval(), side)
            logits = predict(seen, data.test, len(data.labels), processes)
            tested = measure(logits, data.test.labels.cpu(), data.labels)
            row: Row = {
                "epoch": epoch + 1,
                "loss": mean,
                "accuracy": accuracy,
                "test_loss": tested.loss,
                "test_accuracy": tested.accuracy,
                "learning_rate": optimisers[0].param_groups[0]["lr"],
                "seconds": round(seconds, 3),
                "pictures_per_second": round(speed, 1),
                "peak_memory_bytes": (peak := max(machine.peak_memory(), state.peak)),
                "time": round(time.time(), 3),
            }
            state = State(epoch + 1, seconds=seconds, peak=peak, rows=[*state.rows, row])
            if processes.first:
                checkpoint.save(state, classifier, optimisers)
                history.add(row)
            saved = time.monotonic()
            progress.show(epoch, len(data.train), mean, accuracy)
            progress.line(
                f"epoch {epoch + 1}/{recipe.epochs}  loss {mean:.3f}  training accuracy {accuracy:.1%}"
                f"  {data.split} accuracy {tested.accuracy:.1%}  {seconds:.0f} s"
            )
            if epoch + 1 < recipe.epochs and processes.any(stopped()):
                raise Interrupted(f"stopped after epoch {epoch + 1}")
    return state.seconds


def see(classifier: Classifier, side: int, images: Tensor) -> Tensor:
    """Classify pictures at the size that the network is being trained on."""
    logits: Tensor = classifier(shrink(images, side))
    return logits


def set_rates(optimisers: Optimisers, factor: float) -> None:
    """Set every learning rate to `factor` (0..1) of its peak."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor


@torch.no_grad()
def count_in(meter: Tensor, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
    """Add a batch to the meter without waiting for the device."""
    meter[0] += loss * len(labels)
    meter[1] += (logits.argmax(1) == labels).sum()
    meter[2] += len(labels)
    meter[3] += loss


def prepare_model(classifier: Classifier, machine: Machine) -> torch.nn.Module:
    """Give what the loop calls: the classifier, compiled and averaged over processes as is wanted."""
    model: torch.nn.Module = classifier
    if machine.processes.count > 1:
        share_norms(classifier)
        model = DistributedDataParallel(classifier)
    if machine.compiled:
        model.compile()
    return model


def balance(data: Data) -> Tensor:
    """Weigh each class by the inverse of its frequency, float32 classes, 1 on average over pictures."""
    counts = torch.bincount(data.train.labels.cpu(), minlength=len(data.labels))
    return len(data.train) / (len(data.labels) * counts)


def check_finite(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise Diverged(f"the loss is {loss} {where}")


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C (or SIGTERM) into a flag read between batches; a second one kills as usual."""
    caught: list[int] = []

    def remember(number: int, _: object) -> None:
        caught.append(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(caught)
    finally:
        restore()
