"""Fit a classifier: the loop reads top to bottom."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F  # noqa: N812

from training.batches import Batches
from training.checkpoint import Checkpoint, State
from training.data import Data
from training.evaluate import evaluate
from training.networks import Classifier
from training.progress import Progress
from training.recipes import Recipe


class Interrupted(Exception):
    """The user stopped the run; its checkpoint is saved."""


def sgd(classifier: Classifier, recipe: Recipe) -> torch.optim.SGD:
    """Build the recipe's optimiser."""
    return torch.optim.SGD(
        classifier.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


def fit(
    classifier: Classifier,
    recipe: Recipe,
    data: Data,
    seed: int,
    checkpoint: Checkpoint,
    progress: Progress,
    *,
    resume: bool = False,
) -> float:
    """Train in place, on the device of `data`, and return the seconds it took (all sittings).

    Saves a checkpoint after each epoch, and when interrupted (then raises Interrupted). What follows
    from a checkpoint is what would have followed without the interruption: order and augmentation
    depend on (seed, epoch), the learning rate on the batch's number, the rest is saved.
    """
    # A quarter faster on a CPU at batch 256; the weights are the same numbers in another order.
    classifier.to(memory_format=torch.channels_last)
    optimiser = sgd(classifier, recipe)
    state = checkpoint.restore(classifier, optimiser) if resume else State()
    batches = Batches(data.train, recipe, seed)
    total = len(batches) * recipe.epochs
    device = data.train.labels.device
    sitting = time.monotonic() - state.seconds
    progress.begin(state.epoch * len(data.train) + state.batch * recipe.batch_size)

    with stop_signals() as stopped:
        for epoch in range(state.epoch, recipe.epochs):
            classifier.train()
            # float32: loss, hits and pictures of this epoch, loss since the last report; read rarely
            meter = torch.zeros(4) if state.meter is None else state.meter
            meter, done = meter.to(device), state.batch

            for images, labels in batches.epoch(epoch, done, state.generator):
                rate = recipe.rate((epoch * len(batches) + done) / total)
                optimiser.param_groups[0]["lr"] = rate
                optimiser.zero_grad()
                logits = classifier(images)
                loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
                loss.backward()
                optimiser.step()

                done += 1
                with torch.no_grad():
                    hits = (logits.argmax(1) == labels).sum()
                    meter[0] += loss * len(labels)
                    meter[1] += hits
                    meter[2] += len(labels)
                    meter[3] += loss
                if progress.due:
                    mean, accuracy = (meter[:2] / meter[2]).tolist()
                    progress.show(epoch, int(meter[2]), mean, accuracy)
                if recipe.report_every and done % recipe.report_every == 0:
                    mean = meter[3].item() / recipe.report_every
                    progress.line(f"[{epoch + 1}, {done:5d}] loss: {mean:.3f}")
                    meter[3] = 0
                if stopped():
                    seconds = time.monotonic() - sitting
                    state = State(epoch, done, batches.state(), meter.cpu(), seconds)
                    checkpoint.save(state, classifier, optimiser)
                    raise Interrupted(f"stopped in epoch {epoch + 1} after {done} batches")

            state = State(epoch + 1, seconds=time.monotonic() - sitting)
            checkpoint.save(state, classifier, optimiser)
            mean, accuracy = (meter[:2] / meter[2]).tolist()
            progress.show(epoch, int(meter[2]), mean, accuracy)
            tested = evaluate(classifier.eval(), data.test, data.labels).accuracy
            progress.line(
                f"epoch {epoch + 1}/{recipe.epochs}  loss {mean:.3f}  training accuracy {accuracy:.1%}"
                f"  {data.split} accuracy {tested:.1%}  {state.seconds:.0f} s"
            )
    classifier.to(memory_format=torch.contiguous_format)
    return state.seconds


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
