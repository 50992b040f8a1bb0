"""A served model: the artefact file, checked, warmed and run. The one file of `service` that names torch.jit.

The artefact is TorchScript with one extra file, `model.json`. A move to another format is a change here.
"""

import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from service.checksums import read_manifest, read_verified
from service.errors import ArtefactError
from service.insight.network import Network
from service.prepacking import prepack

log = logging.getLogger("service")
EXTRA = "model.json"
LARGE_MACS = (
    10_000_000  # multiply-adds a picture: the article's network has 0.65 million, the residual one 144
)
FAR_SLOWER = 10  # times: no busy moment of the machine is mistaken for the wrong layout
TOLERANCE = 0.05  # of a probability, between a rewritten graph and the plain one; bfloat16 moves it by 0.01
WARM_UP_RUNS = 3  # TorchScript profiles a graph in its first two runs and rewrites it in the next


class InputSize(BaseModel):
    """S: what `forward` takes."""

    height: Annotated[int, Field(ge=1, le=4096)]
    width: Annotated[int, Field(ge=1, le=4096)]
    channels: Literal[1, 3]


class Card(BaseModel):
    """`model.json`, as far as the service depends on it; what else it holds is passed on as it is."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: str
    version: str
    labels: Annotated[list[str], Field(min_length=1)]
    input: InputSize
    metrics: dict[str, Any]
    training: dict[str, Any]
    parameters: int
    macs: int


class Model:
    """One artefact, loaded on the CPU. `prepare` and `classify` may be called from any thread."""

    def __init__(self, module: torch.jit.ScriptModule, card: Card, sha256: str = "") -> None:
        self.module = module
        self.card = card
        self.sha256 = sha256  # of the file, in hexadecimal
        self.infer: Callable[[Tensor], Tensor] = module
        self.way = "as it is"  # how `infer` was made quicker, in words
        size = card.input
        self.shape = (size.channels, size.height, size.width)

    @property
    def name(self) -> str:
        return self.card.name

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Make a picture the model's input: uint8 C×H×W, any size -> uint8 C×S×S."""
        if image.shape == self.shape:
            return image  # by contract it passes unchanged; asking the graph costs 20 µs
        with torch.inference_mode():
            prepared: Tensor = self.module.prepare(torch.from_numpy(image))
        return prepared.numpy()

    def classify(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """Classify a batch: N of uint8 C×S×S -> float64 N×classes, probabilities."""
        with torch.inference_mode():
            # Contiguous, though decoded pixels lie channels last: a network may `view` what it gets.
            logits = self.infer(torch.from_numpy(np.ascontiguousarray(np.stack(images))))
            probabilities: NDArray[np.float64] = logits.double().softmax(1).numpy()
        return probabilities

    @cached_property
    def network(self) -> Network:
        """The layers of the graph, for looking inside."""
        with quiet_deprecation():
            return Network(torch.jit.freeze(self.module, optimize_numerics=False).graph)

    def filters(self) -> Tensor:
        """Give the first layer's filters, float32 K×C×F×F. Raises LookupError where there are none."""
        for name, parameter in self.module.named_parameters():
            if name.endswith("weight") and parameter.dim() == 4:
                return parameter.detach()
        raise LookupError(f"model {self.name} has no convolutional layer")

    def accelerate(self, *, bfloat16: bool) -> None:
        """Have `classify` run a rewritten graph, if that gives the same answers and is quicker.

        A large network's convolutions are prepacked, with `bfloat16` in that precision; a small one's
        time goes elsewhere (docs/performance.md has the figures of each).
        """
        channels, height, width = self.shape
        example = torch.arange(2 * math.prod(self.shape)).to(torch.uint8).view(2, channels, height, width)
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        way = "optimised" if self.card.macs < LARGE_MACS else f"prepacked, {str(dtype)[6:]}"
        try:
            with torch.inference_mode(), quiet_deprecation():
                frozen = torch.jit.freeze(self.module)
                quicker: Callable[[Tensor], Tensor] | None
                if way == "optimised":
                    quicker = torch.jit.optimize_for_inference(frozen)
                else:
                    quicker = prepack(frozen.graph, example, dtype)
                if quicker is None or not is_as_good(quicker, self.module, example):
                    return
        except Exception as error:  # torch's own operators, not public: any torch may have others
            log.info("model %s runs as it is, not %s: %s", self.name, way, str(error).partition("\n")[0])
            return
        self.infer, self.way = quicker, way

    def move(self, device: torch.device) -> None:
        """Have `classify` run on a device; pictures go there and logits come back a batch at a time.

        Raises RuntimeError where the graph does not run there, ArithmeticError where it answers otherwise.
        """
        channels, height, width = self.shape
        example = torch.arange(2 * math.prod(self.shape)).to(torch.uint8).view(2, channels, height, width)
        file = BytesIO()
        with quiet_deprecation():
            torch.jit.save(self.module, file)
            file.seek(0)
            moved = torch.jit.load(file, map_location=device).eval()  # constants too

        def infer(images: Tensor) -> Tensor:
            logits: Tensor = moved(images.to(device))
            return logits.cpu()

        with torch.inference_mode():
            off = (infer(example).softmax(1) - self.module(example).softmax(1)).abs().max()
        if not off <= TOLERANCE:
            raise ArithmeticError(f"probabilities differ by {off:.3g} from the CPU's")
        self.infer, self.way = infer, f"on {device}"

    def warm_up(self, batch_size: int) -> None:
        """Run single pictures and full batches until TorchScript has settled: no request pays for it."""
        blank = np.zeros(self.shape, np.uint8)
        for count in (1, batch_size):
            for _ in range(WARM_UP_RUNS):
                self.classify([blank] * count)


def is_as_good(
    quicker: Callable[[Tensor], Tensor], plain: Callable[[Tensor], Tensor], example: Tensor
) -> bool:
    """Compare probabilities, and times: with a layout it does not expect, oneDNN takes 100 times as long."""
    for batch in (example, example[:1]):
        off = (quicker(batch).softmax(1) - plain(batch).softmax(1)).abs().max()
        if not off <= TOLERANCE:  # NaN is not
            return False
    return fastest_s(quicker, example) < FAR_SLOWER * fastest_s(plain, example)


def fastest_s(function: Callable[[Tensor], Tensor], example: Tensor) -> float:
    times = []
    for _ in range(WARM_UP_RUNS):
        started = time.perf_counter()
        function(example)
        times.append(time.perf_counter() - started)
    return min(times)


def load_models(folder: Path) -> dict[str, Model]:
    """Load every `<name>.pt` of a folder. Raises ArtefactError for the first that cannot be served."""
    if not folder.is_dir():
        raise ArtefactError(
            f"models folder {folder} is not there: set STRIDE_MODELS_DIR to the folder of artefacts"
        )
    paths = artefacts(folder)
    if not paths:
        raise ArtefactError(
            f"models folder {folder} holds no .pt file: train one with `python -m training fit`"
        )
    manifest = read_manifest(folder)
    return {path.stem: load_model(path, manifest) for path in paths}


def artefacts(folder: Path) -> list[Path]:
    """List a folder's artefacts by name; what begins with a dot is being written."""
    return sorted(path for path in folder.glob("*.pt") if not path.name.startswith("."))


def load_model(path: Path, manifest: Mapping[str, str] | None = None) -> Model:
    """Load one artefact and check that its graph does what its `model.json` says.

    Loading TorchScript runs the file's code: only ever from the models folder, never from an upload, and
    where there is a manifest only what it names. Raises ArtefactError with one sentence that names the file
    and what is wrong.
    """
    data, digest = read_verified(path, manifest)
    extra = {EXTRA: b""}
    try:
        with quiet_deprecation():
            module = torch.jit.load(BytesIO(data), map_location="cpu", _extra_files=extra).eval()
        # Weights kept in half precision are converted once, here, and not in every call.
        module = module.float()
    except (RuntimeError, ValueError, OSError) as error:
        raise ArtefactError(f"{path}: not a TorchScript file, or damaged") from error
    card = read_card(path, extra[EXTRA])
    model = Model(module, card, digest)
    check_graph(path, model)
    return model


@contextmanager
def quiet_deprecation() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)  # known, and asked for
        yield


def read_card(path: Path, text: bytes) -> Card:
    """Parse `model.json` and check it against the file's name."""
    if not text:  # torch leaves b'' where the extra file is missing
        raise ArtefactError(f"{path}: no {EXTRA} inside; export it with `python -m training fit`")
    try:
        card = Card.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ArtefactError(f"{path}: {EXTRA} field {field!r}: {first['msg']}") from error
    except ValueError as error:
        raise ArtefactError(f"{path}: {EXTRA} is not JSON") from error
    if card.name != path.stem:
        raise ArtefactError(f"{path}: {EXTRA} says the name is {card.name!r}; file and name must agree")
    if len(set(card.labels)) != len(card.labels):
        raise ArtefactError(f"{path}: {EXTRA} has the same label twice")
    return card


def check_graph(path: Path, model: Model) -> None:
    """Run the graph once on a picture that does not fit and on a batch of two, and look at what comes out."""
    size = model.card.input
    wanted = (size.channels, size.height, size.width)
    parameters = sum(parameter.numel() for parameter in model.module.parameters())
    if parameters != model.card.parameters:
        raise ArtefactError(f"{path}: {parameters} parameters, but {EXTRA} says {model.card.parameters}")
    if not hasattr(model.module, "prepare"):
        raise ArtefactError(f"{path}: the graph has no method `prepare`")
    try:
        prepared = model.prepare(np.zeros((size.channels, size.height + 3, size.width + 8), np.uint8))
        with torch.inference_mode():
            fitting = torch.arange(math.prod(wanted)).to(torch.uint8).view(wanted)
            unchanged = torch.equal(model.module.prepare(fitting), fitting)
            logits = model.module(torch.zeros(2, *wanted, dtype=torch.uint8))
    except Exception as error:  # the graph is somebody's code: it may raise anything
        raise ArtefactError(f"{path}: the graph does not run on {wanted} uint8 pictures") from error
    if prepared.dtype != np.uint8 or prepared.shape != wanted:
        raise ArtefactError(
            f"{path}: prepare gave {prepared.dtype} {prepared.shape}, but {EXTRA} says {wanted} of uint8"
        )
    if not unchanged:
        raise ArtefactError(f"{path}: prepare changes a picture that fits already, {wanted}")
    if logits.dtype != torch.float32 or tuple(logits.shape) != (2, len(model.card.labels)):
        raise ArtefactError(
            f"{path}: forward gave {tuple(logits.shape)} for two pictures, but {EXTRA} has "
            f"{len(model.card.labels)} labels"
        )
    if not logits.isfinite().all():
        raise ArtefactError(f"{path}: forward's logits are not finite on black pictures")
