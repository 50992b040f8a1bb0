"""Write and read the artefact: the one file of `training` that names torch.jit.

The artefact is TorchScript with one extra file, `model.json`. A move to another format is a change here.
"""

import hashlib
import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from training.errors import ArtefactError
from training.files import write_atomically
from training.networks import Classifier

EXTRA = "model.json"
MANIFEST = "SHA256SUMS"  # as sha256sum writes it
TOLERANCE = 1e-4  # of a logit, between the eager network and the file


def save_artefact(path: Path, classifier: Classifier, card: dict[str, Any], pictures: Tensor) -> None:
    """Write `path` atomically, after the network read back has been compared with the eager one.

    `pictures` (uint8 N×C×S×S) are what both are compared on. `classifier` is on the CPU, float32 and in
    eval mode. Raises ArtefactError, and then leaves what was at `path`.
    """
    try:
        text = json.dumps(card, indent=2, allow_nan=False)
    except ValueError as error:
        raise ArtefactError(f"{EXTRA} would hold a figure that is not finite: training diverged") from error
    file = io.BytesIO()  # torch's writer ends the process where a disk is full
    with quiet_deprecation():
        torch.jit.export(Classifier.prepare)  # marks it; `forward` is always exported
        torch.jit.save(torch.jit.script(classifier), file, _extra_files={EXTRA: text})
    file.seek(0)
    check_parity(file, classifier, pictures)
    try:
        write_atomically(path, file.getvalue())
        note_checksum(path, file.getvalue())
    except OSError as error:
        raise ArtefactError(f"cannot write {path}: {error.strerror}; make room, then --resume") from error


def note_checksum(path: Path, content: bytes) -> None:
    """Write the file's SHA-256 into the folder's manifest, which the service holds every artefact to.

    None is begun where artefacts lie beside that nobody has vouched for: they would not be served any more.
    """
    manifest = path.with_name(MANIFEST)
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        if any(other != path for other in path.parent.glob("*.pt")):
            return
        lines = []
    others = [line for line in lines if line.split("  ", 1)[-1] != path.name]
    own = f"{hashlib.sha256(content).hexdigest()}  {path.name}"
    write_atomically(manifest, "\n".join([*others, own, ""]).encode())


def check_parity(file: BinaryIO, classifier: Classifier, pictures: Tensor) -> None:
    """Compare the file with the eager network on `pictures` and on sizes that need preparing."""
    with quiet_deprecation():
        loaded = torch.jit.load(file, map_location="cpu").eval()
    with torch.inference_mode():
        difference = (loaded(pictures) - classifier(pictures)).abs().max().item()
    if not difference <= TOLERANCE:  # NaN fails too
        raise ArtefactError(f"the exported network's logits differ by {difference:.2g}, over {TOLERANCE}")
    channels = pictures.shape[1]
    for height, width in ((classifier.size, classifier.size), (97, 61), (9, 300)):
        image = torch.randint(0, 256, (channels, height, width), dtype=torch.uint8)
        if not torch.equal(loaded.prepare(image), classifier.prepare(image)):
            raise ArtefactError(f"the exported prepare differs on a {height}×{width} picture")


def load_artefact(path: Path) -> tuple[torch.jit.ScriptModule, dict[str, Any]]:
    """Load a file this tool wrote: its module, on the CPU, and its `model.json`. Raises ArtefactError.

    Loading TorchScript runs the code in the file: only for files you trust.
    """
    if not path.is_file():
        raise ArtefactError(f"{path} is not there")
    extra = {EXTRA: ""}
    try:
        with quiet_deprecation():
            module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    except (RuntimeError, ValueError) as error:
        raise ArtefactError(f"{path} is not a TorchScript file, or is damaged") from error
    if not extra[EXTRA]:  # torch leaves b'' where the extra file is missing
        raise ArtefactError(f"{path} has no {EXTRA} inside: it was not exported by this tool")
    if not hasattr(module, "prepare"):
        raise ArtefactError(f"{path} has no method `prepare`: it was not exported by this tool")
    try:
        return module.eval(), json.loads(extra[EXTRA])
    except ValueError as error:
        raise ArtefactError(f"{path}: the {EXTRA} inside is not JSON") from error


@contextmanager
def quiet_deprecation() -> Iterator[None]:
    """Keep torch.jit's deprecation to ourselves: it is known, works, and was asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        yield
