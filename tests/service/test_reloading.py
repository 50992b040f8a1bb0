"""The models folder changes while the service runs; and what the manifest lets in."""

import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import torch
from PIL import Image

from service import shelf
from service.checksums import MANIFEST, read_manifest, read_verified
from service.errors import ArtefactError
from service.model import load_models
from tests.artefacts import Brightness, write_artefact
from tests.conftest import picture_file

Serve = Callable[..., httpx.Client]
WHITE = picture_file(Image.new("RGB", (4, 4), "white"), "PNG")


class Upside(Brightness):
    """Says dark where Brightness says bright."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.layer.weight.neg_()


def write_manifest(folder: Path) -> None:
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in folder.glob("*.pt")]
    (folder / MANIFEST).write_text("\n".join(lines) + "\n")


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < until, "never so"
        time.sleep(0.05)


def models(client: httpx.Client) -> dict[str, str]:
    return {one["name"]: one["version"] for one in client.get("/models").json()["models"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_artefact(tmp_path / "light.pt", version="1")
    write_artefact(tmp_path / "other.pt", version="1")
    write_manifest(tmp_path)
    return tmp_path


def watched(serve: Serve, folder: Path, **settings: object) -> httpx.Client:
    return serve(models_dir=folder, default_model="light", watch_s=0.1, **settings)


def replace(path: Path, **changes: object) -> None:
    """Put a new file in the place of an old one at once, as training does."""
    beside = path.with_suffix(".new")
    shutil.move(write_artefact(beside, Upside(), name=path.stem, **changes), path)


def test_a_new_file_takes_the_old_ones_place_and_no_request_fails(serve: Serve, folder: Path) -> None:
    client = watched(serve, folder)
    stop = threading.Event()
    seen: list[tuple[int, str, str]] = []

    def ask() -> None:
        with httpx.Client(base_url=client.base_url) as own:
            while not stop.is_set():
                answer = own.post("/predict?top_k=1", content=WHITE, headers={"Content-Type": "image/png"})
                body = answer.json()
                seen.append((answer.status_code, body.get("version", ""), body["predictions"][0]["label"]))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(seen) > 20)
        replace(folder / "light.pt", version="2")
        write_manifest(folder)
        wait_until(lambda: models(client)["light"] == "2")
        count = len(seen)
        wait_until(lambda: len(seen) > count + 20)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    # Never one model's version with another's answer.
    assert set(seen) == {(200, "1", "bright"), (200, "2", "dark")}
    assert 'stride_reloads_total{result="swapped"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("spoil", ["truncated", "foreign", "not in the manifest", "altered", "wrong card"])
def test_a_file_that_cannot_be_served_leaves_the_old_one_in_place_and_is_named(
    serve: Serve, folder: Path, spoil: str
) -> None:
    client = watched(serve, folder)
    path = folder / "light.pt"
    if spoil == "wrong card":
        shutil.move(write_artefact(folder / "new", name="other"), path)
    elif spoil == "foreign":
        path.write_bytes(b"no model")
    elif spoil == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        replace(path, version="2")
    if spoil not in {"altered"}:
        write_manifest(folder)
    if spoil == "not in the manifest":
        lines = (folder / MANIFEST).read_text().splitlines()
        (folder / MANIFEST).write_text("\n".join(line for line in lines if "light" not in line))
    wait_until(lambda: client.get("/models").json()["refused"] != {})
    refused = client.get("/models").json()["refused"]
    assert set(refused) == {"light.pt"}
    assert refused["light.pt"].startswith("light.pt: ")
    assert str(folder) not in refused["light.pt"], "a path is nobody else's business"
    assert models(client) == {"light": "1", "other": "1"}
    text = client.get("/metrics").text
    assert "stride_models_refused 1.0" in text
    assert 'stride_reloads_total{result="refused"} 1.0' in text
    assert client.post("/predict", files={"file": WHITE}).status_code == 200

    replace(path, version="3")
    write_manifest(folder)
    wait_until(lambda: models(client)["light"] == "3")
    assert client.get("/models").json()["refused"] == {}


def test_models_come_and_go_but_the_default_stays(serve: Serve, folder: Path) -> None:
    client = watched(serve, folder)
    write_artefact(folder / "third.pt", version="1")
    (folder / "other.pt").unlink()
    (folder / "light.pt").unlink()
    write_manifest(folder)
    wait_until(lambda: set(models(client)) == {"light", "third"})
    assert "is gone" in client.get("/models").json()["refused"]["light.pt"]
    assert client.post("/predict?model=third", files={"file": WHITE}).status_code == 200
    assert client.post("/predict?model=other", files={"file": WHITE}).status_code == 404
    served = re.findall(r'stride_model_info\{model="(\w+)".*\} (\d)', client.get("/metrics").text)
    assert sorted(served) == [("light", "1"), ("other", "0"), ("third", "1")]


class NoCrowds(Brightness):
    """Runs on a few pictures, not on a full batch."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape[0] < 8
        return self.layer(images.float() / 127.5 - 1).mean((2, 3))


def test_a_model_that_fails_in_warm_up_is_refused_and_others_come_in(serve: Serve, folder: Path) -> None:
    client = watched(serve, folder)
    shutil.move(write_artefact(folder / "new", NoCrowds(), name="light", version="2"), folder / "light.pt")
    write_artefact(folder / "third.pt", version="1")
    write_manifest(folder)
    wait_until(lambda: "third" in models(client))
    assert models(client) == {"light": "1", "other": "1", "third": "1"}
    assert "does not run on batches" in client.get("/models").json()["refused"]["light.pt"]


def test_a_file_replaced_while_the_service_loads_is_noticed(
    serve: Serve, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = shelf.load_models

    def load_and_change(at: Path) -> object:
        loaded = load(at)
        monkeypatch.setattr(shelf, "load_models", load)
        replace(folder / "light.pt", version="2")
        write_manifest(folder)
        return loaded

    monkeypatch.setattr(shelf, "load_models", load_and_change)
    client = watched(serve, folder)
    wait_until(lambda: models(client)["light"] == "2")


def test_a_folder_that_is_half_written_is_left_alone(serve: Serve, folder: Path) -> None:
    client = serve(models_dir=folder, default_model="light", watch_s=1)
    replace(folder / "light.pt", version="2")
    time.sleep(0.3)
    write_manifest(folder)
    wait_until(lambda: models(client)["light"] == "2")
    assert 'stride_reloads_total{result="refused"} 0.0' in client.get("/metrics").text


def test_a_slow_request_is_answered_by_the_model_it_began_with(serve: Serve, folder: Path) -> None:
    client = watched(serve, folder)
    gate = threading.Event()

    def parts() -> object:
        yield WHITE[:10]
        gate.wait(20)
        yield WHITE[10:]

    answers: list[httpx.Response] = []

    def ask() -> None:
        headers = {"Content-Type": "image/png"}
        answers.append(httpx.post(f"{client.base_url}/predict", content=parts(), headers=headers))  # type: ignore[arg-type]

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: "stride_buffered_bytes 10.0" in client.get("/metrics").text)
    replace(folder / "light.pt", version="2")
    write_manifest(folder)
    wait_until(lambda: models(client)["light"] == "2")
    gate.set()
    thread.join()
    assert answers[0].json()["version"] == "1"


def test_the_manifest_is_looked_at_before_torch_sees_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("torch has seen it")

    (folder / "light.pt").write_bytes(b"code of somebody else")
    monkeypatch.setattr(torch.jit, "load", loaded)
    with pytest.raises(ArtefactError, match=r"light\.pt: its SHA-256 is \w{12}… but SHA256SUMS says"):
        load_models(folder)


def test_what_is_loaded_is_what_was_verified(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file changed between the check and the load changes nothing: it is read once."""
    read = Path.read_bytes

    def read_and_change(path: Path) -> bytes:
        data = read(path)
        if path.suffix == ".pt":
            path.write_bytes(b"changed")
        return data

    monkeypatch.setattr(Path, "read_bytes", read_and_change)
    assert set(load_models(folder)) == {"light", "other"}


def test_a_folder_without_a_manifest_is_served(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    models = load_models(folder)
    assert models["light"].sha256 == hashlib.sha256((folder / "light.pt").read_bytes()).hexdigest()


@pytest.mark.parametrize("text", ["nonsense", "0" * 63 + "  light.pt", "0" * 64 + " light.pt", "\x00"])
def test_a_damaged_manifest_stops_the_start(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(ArtefactError, match=f"{MANIFEST}: line 1 is no"):
        load_models(folder)


def test_a_manifest_that_vanishes_does_not_open_the_door(serve: Serve, folder: Path) -> None:
    client = watched(serve, folder)
    (folder / MANIFEST).unlink()
    write_artefact(folder / "third.pt", version="1")
    wait_until(lambda: client.get("/models").json()["refused"] != {})
    assert client.get("/models").json()["refused"] == {
        MANIFEST: f"{MANIFEST}: is gone; nothing is loaded without it"
    }
    assert set(models(client)) == {"light", "other"}


@pytest.mark.parametrize("name", ["light.pt", MANIFEST])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ArtefactError, match=f"{name}: is no regular file"):
        load_models(folder)


def test_the_manifest_is_read_as_sha256sum_writes_it(tmp_path: Path) -> None:
    digest = "a" * 64
    (tmp_path / MANIFEST).write_text(f"{digest}  one.pt\n\n{digest} *two words.pt\n")
    assert read_manifest(tmp_path) == {"one.pt": digest, "two words.pt": digest}
    with pytest.raises(ArtefactError, match="cannot be read: FileNotFoundError"):
        read_verified(tmp_path / "one.pt", {})


def test_the_committed_manifest_fits_the_committed_models() -> None:
    folder = Path(__file__).parents[2] / "models"
    manifest = read_manifest(folder)
    assert manifest is not None
    assert set(manifest) == {path.name for path in folder.glob("*.pt")}
    for name in manifest:
        read_verified(folder / name, manifest)
