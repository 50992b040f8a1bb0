"""The models served now: put in place at the start, changed as one when the models folder changes."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from service.checksums import MANIFEST
from service.errors import ArtefactError, StartError
from service.housekeeping import Watch
from service.metrics import Metrics
from service.model import Model, load_models
from service.prepacking import multiplies_bfloat16
from service.reloading import Fingerprint, fingerprint, load_changes
from service.serving import Served, ServedModels
from service.settings import Settings
from service.workers import Workers

log = logging.getLogger("service")


class Shelf:
    """Puts a queue in front of each model; `publish` gets all of them, whenever there are others to serve."""

    def __init__(
        self,
        settings: Settings,
        workers: Workers,
        metrics: Metrics,
        default: str,
        publish: Callable[[ServedModels], None],
    ) -> None:
        self.settings = settings
        self.workers = workers
        self.metrics = metrics
        self.publish = publish
        self.models = ServedModels({}, default)
        self.watch = Watch(settings.models_dir, settings.watch_s)
        self.is_listed = False
        self.retired: set[asyncio.Task[None]] = set()
        self.reading: asyncio.Task[None] | None = None

    def build(self, loaded: Mapping[str, Model]) -> dict[str, Served]:
        """Give each model what serves it, the same as before where it is the same. Blocking."""
        before = self.models.by_name
        kept = {name: one for name, one in before.items() if loaded.get(name) is one.model}
        return {name: kept.get(name) or self.build_one(model) for name, model in loaded.items()}

    def put(self, served: Mapping[str, Served], refused: Mapping[str, str]) -> None:
        """Serve these from now on. Requests that have chosen a model already are answered by that one."""
        before = self.models.by_name
        for name, one in served.items():
            if before.get(name) is not one:
                one.batcher.start()
        self.models = ServedModels(served, self.models.default, refused)
        self.publish(self.models)
        cards = [(one.model.name, one.model.card.version, one.model.sha256) for one in served.values()]
        self.metrics.set_all("model_info", dict.fromkeys(cards, 1))
        for name, one in before.items():
            if served.get(name) is not one:
                task = asyncio.create_task(self.retire(one))
                self.retired.add(task)
                task.add_done_callback(self.retired.discard)

    def build_one(self, model: Model) -> Served:
        settings = self.settings
        served = Served(
            model,
            self.workers,
            max_pixels=settings.max_pixels,
            batch_size=settings.batch_size,
            queue_length=settings.queue_length,
            queue_timeout_s=settings.queue_timeout_s,
        )
        served.batcher.on_batch = self.metrics.batch_noter(model.name, model.card.labels)
        return served

    async def retire(self, served: Served) -> None:
        """End a model's queue once no request can have it in hand any more."""
        try:
            await asyncio.sleep(self.settings.timeout_s + 1)
        finally:
            await served.batcher.close()

    def want(self) -> None:
        """Have the folder read again within a second."""
        self.watch.wanted = True

    def follow(self) -> None:
        """Read the folder again where that is due and not under way."""
        if (self.reading is None or self.reading.done()) and self.watch.is_due():
            self.watch.has_begun()
            self.reading = asyncio.create_task(self.reload())

    async def reload(self) -> None:
        """Load what changed while the old ones serve on, and put it in place."""
        served = {name: one.model for name, one in self.models.by_name.items()}
        try:
            loaded = await asyncio.to_thread(
                load_changes,
                self.settings.models_dir,
                served,
                self.models.default,
                self.get_ready,
                is_listed=self.is_listed,
            )
            built = await asyncio.to_thread(self.build, loaded.models)
        except Exception:
            log.exception("the models folder could not be read again; what is served stays")
            self.metrics.count(self.metrics.reloads, "refused")
            return
        is_changed = dict(loaded.models) != served
        result = "refused" if loaded.refused else "swapped" if is_changed else "unchanged"
        self.metrics.count(self.metrics.reloads, result)
        self.put(built, loaded.refused)
        names = ", ".join(f"{name} {model.card.version}" for name, model in loaded.models.items())
        log.info("models folder read again (%s): served are %s", result, names)

    def get_ready(self, model: Model) -> None:
        get_ready(model, self.settings)

    async def close(self) -> None:
        """Answer what waits, end every queue."""
        if self.reading is not None:
            self.reading.cancel()
        for task in list(self.retired):
            task.cancel()
        await asyncio.gather(*self.retired, return_exceptions=True)
        for one in self.models.by_name.values():
            await one.batcher.close()


@dataclass(frozen=True)
class Stock:
    """Models that are ready, and how the folder was that they were loaded from."""

    models: Mapping[str, Model]
    seen: Fingerprint

    @property
    def is_listed(self) -> bool:
        """Whether a manifest said what each file has to be."""
        return any(name == MANIFEST for name, *_ in self.seen)


def load_warm(settings: Settings) -> Stock:
    """Load every model of the folder, make it quick, and run it until it is at its speed. Blocking."""
    check_device(settings.device)
    seen = fingerprint(settings.models_dir)  # before, or a change meanwhile would not be noticed
    loaded = load_models(settings.models_dir)
    if not any(name == MANIFEST for name, *_ in seen):
        log.info("there is no %s in the models folder: its files are taken as they are", MANIFEST)
    for model in loaded.values():
        get_ready(model, settings)
    return Stock(loaded, seen)


def check_device(device: str) -> None:
    """Raise StartError where the device is not to be had."""
    if device == "cuda" and not torch.cuda.is_available():
        build = "and finds no GPU" if torch.version.cuda else "that has no CUDA: build with VARIANT=cuda"
        raise StartError(f"STRIDE_DEVICE=cuda: this is a torch {torch.__version__} {build}")


def get_ready(model: Model, settings: Settings) -> None:
    """Make a model quick, and run it until it is at its speed. Raises ArtefactError. Blocking."""
    try:
        if settings.device == "cpu":
            model.accelerate(bfloat16=settings.precision == "auto" and multiplies_bfloat16())
        else:
            model.move(torch.device(settings.device))
        model.warm_up(settings.batch_size)
    except Exception as error:  # the graph is somebody's code: it may raise anything
        sizes = f"1 and of {settings.batch_size} pictures"
        where = f"{sizes} on {settings.device}"
        raise ArtefactError(f"{model.name}.pt: the graph does not run on batches of {where}") from error
    log.info("model %s is ready: %s", model.name, model.way)
