"""`SHA256SUMS` of the models folder, as `sha256sum` writes it: what a file has to be before it is run."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from service.errors import ArtefactError

MANIFEST = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")


def read_manifest(folder: Path) -> dict[str, str] | None:
    """Read the sums by file name; None where there is no manifest. Raises ArtefactError for a damaged one."""
    path = folder / MANIFEST
    if path.exists() and not path.is_file():
        raise ArtefactError(f"{path}: is no regular file")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: cannot be read: {type(error).__name__}") from error
    found = {}
    for number, line in enumerate(lines, 1):
        match = LINE.fullmatch(line.strip())
        if match:
            found[match[2]] = match[1]
        elif line.strip():
            raise ArtefactError(f"{path}: line {number} is no `<sha256>  <file>`; write it with sha256sum")
    return found


def read_verified(path: Path, manifest: Mapping[str, str] | None) -> tuple[bytes, str]:
    """Read a file and its SHA-256. Raises ArtefactError where it is not what the manifest says it has to be.

    The bytes that were verified are what is returned: a file changed afterwards changes nothing.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
        raise ArtefactError(f"{path}: is no regular file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {type(error).__name__}") from error
    digest = hashlib.sha256(data).hexdigest()
    if manifest is None:
        return data, digest
    if path.name not in manifest:
        raise ArtefactError(f"{path}: is not in {MANIFEST}; if you trust it, add what sha256sum says of it")
    if manifest[path.name] != digest:
        raise ArtefactError(
            f"{path}: its SHA-256 is {digest[:12]}… but {MANIFEST} says {manifest[path.name][:12]}…:"
            " damaged, or not the file that was published"
        )
    return data, digest
