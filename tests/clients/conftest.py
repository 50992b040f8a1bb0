"""What tests of clients share: the document's blocks, a folder to run them in, a client generated from it."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.access import new_key
from service.settings import Settings
from tests.conftest import MODELS, running
from tests.shell import shell

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
ADDRESS = "127.0.0.1:8000"
KEY, ENTRY = new_key("alice")
GENERATE = "openapi-python-client generate"


def blocks(language: str) -> list[str]:
    """Give the document's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="session")
def keyed() -> Iterator[httpx.Client]:
    """A client of a service that asks for an API key, which this client does not send."""
    with running(Settings(models_dir=MODELS, api_keys=(ENTRY,))) as client:
        yield client


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the repository to a block; in `pictures` are the page's and two bad files."""
    folder = tmp_path_factory.mktemp("clients")
    (folder / "docs").symlink_to(ROOT / "docs")
    (folder / "README.md").symlink_to(ROOT / "README.md")
    shutil.copytree(ROOT / "service" / "web" / "samples", folder / "pictures")
    (folder / "pictures" / "notes.txt").write_text("no picture")
    (folder / "pictures" / "broken.jpg").write_bytes((folder / "pictures" / "ship.jpg").read_bytes()[:2000])
    return folder


@pytest.fixture
def with_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key in the environment, as the document has it."""
    monkeypatch.setenv("STRIDE_KEY", KEY)


@pytest.fixture(scope="session")
def generated(client: httpx.Client, folder: Path) -> Path:
    """The folder in which the document's commands made `stride_client`; a warning of the generator fails."""
    (script,) = (block for block in blocks("bash") if GENERATE in block)
    assert "--fail-on-warning" in script
    with pytest.MonkeyPatch.context() as patch:  # the generator, and the ruff that it runs
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        printed = shell(script, client, folder)
    assert "warning" not in printed.lower()
    return folder
