"""Follow the models folder: load what changed there, and keep what is served where that fails."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from service.checksums import MANIFEST, read_manifest, read_verified
from service.errors import ArtefactError
from service.model import Model, artefacts, load_model

log = logging.getLogger("service")
Fingerprint = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Loaded:
    """The models to serve, and the files that cannot be, each with a sentence that says why."""

    models: Mapping[str, Model]
    refused: Mapping[str, str] = field(default_factory=dict)


def fingerprint(folder: Path) -> Fingerprint:
    """Tell one state of a folder's artefacts from another without reading them."""
    found = []
    for path in [*artefacts(folder), folder / MANIFEST]:
        try:
            status = path.stat()
        except OSError:
            continue
        found.append((path.name, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def load_changes(
    folder: Path,
    served: Mapping[str, Model],
    default: str,
    get_ready: Callable[[Model], None],
    *,
    is_listed: bool,
) -> Loaded:
    """Load what is new or other than what is served. Blocking.

    With `is_listed` there was a manifest, and nothing is loaded without one.

    A model whose file is the same stays as it is, one whose new file cannot be served stays with the old
    one, and so does the default one whose file is gone; others whose files are gone are not served any more.
    """
    models: dict[str, Model] = {}
    refused: dict[str, str] = {}
    try:
        manifest = read_manifest(folder)
        if manifest is None and is_listed:
            raise ArtefactError(f"{folder}/{MANIFEST}: is gone; nothing is loaded without it")
    except ArtefactError as error:
        log.error("%s; what is served stays", error)
        return Loaded(served, {MANIFEST: without_folder(error, folder)})
    for path in artefacts(folder):
        known = served.get(path.stem)
        try:
            models[path.stem] = load_change(path, manifest, known, get_ready)
        except ArtefactError as error:
            refused[path.name] = without_folder(error, folder)
            log.error("%s; %s", error, "the old one is served on" if known else "it is not served")
            if known:
                models[path.stem] = known
    if default not in models:
        refused[f"{default}.pt"] = f"{default}.pt: is gone; the default model is served on"
        log.error("the file of the default model %s is gone; it is served on", default)
        models[default] = served[default]
    for name in served.keys() - models.keys():
        log.info("model %s is served no more: its file is gone", name)
    return Loaded(dict(sorted(models.items())), refused)


def load_change(
    path: Path, manifest: Mapping[str, str] | None, known: Model | None, get_ready: Callable[[Model], None]
) -> Model:
    if known and read_verified(path, manifest)[1] == known.sha256:
        return known
    model = load_model(path, manifest)
    get_ready(model)
    return model


def without_folder(error: ArtefactError, folder: Path) -> str:
    """Say it without where the folder is: that goes to callers."""
    return str(error).replace(f"{folder}/", "")
