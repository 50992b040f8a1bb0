"""Named data sets: small ones in each set's own format, fetched, kept, mended and refused."""

import errno
import gzip
import hashlib
import io
import pickle
import shutil
import socket
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray
from torchvision import datasets

from training import archives
from training.errors import DataError
from training.named import NAMES, load_named, mirrorable

Files = dict[str, bytes]  # by their path below a mirror
Expected = tuple[tuple[str, ...], list[tuple[NDArray[np.uint8], NDArray[np.int64]]]]
ANIMALS = tuple(f"animal {i}" for i in range(10))
RAW = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw"}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def draw(count: int, side: int, channels: int, seed: int) -> NDArray[np.uint8]:
    shape = (count, side, side, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def tar(folder: str, members: Files) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def python2_pickle(value: object) -> bytes:
    """Pickle as the published files are: NumPy's flags are integers, which 2.4.0 to 2.4.4 warn of."""
    return pickle.dumps(value, protocol=0).replace(b"I00\n", b"I0\n").replace(b"I01\n", b"I1\n")


def publish_cifar(kind: Any, key: str, classes: tuple[str, ...], patch: pytest.MonkeyPatch) -> Files:
    members: Files = {}
    for seed, entry in enumerate((*kind.train_list, *kind.test_list)):
        pixels = draw(2, 32, 3, seed).transpose(0, 3, 1, 2).reshape(2, -1)
        members[entry[0]] = python2_pickle({"data": pixels, key: [seed, 9 - seed]})
    members[kind.meta["filename"]] = python2_pickle({kind.meta["key"]: list(classes)})
    for part in ("train_list", "test_list"):
        patch.setattr(kind, part, [[name, md5(members[name])] for name, _ in getattr(kind, part)])
    patch.setattr(kind, "meta", kind.meta | {"md5": md5(members[kind.meta["filename"]])})
    archive = tar(kind.base_folder, members)
    patch.setattr(kind, "tgz_md5", md5(archive))
    return {kind.filename: archive}


def cifar10(patch: pytest.MonkeyPatch) -> tuple[Files, Expected]:
    files = publish_cifar(datasets.CIFAR10, "labels", ANIMALS, patch)
    train = np.concatenate([draw(2, 32, 3, seed) for seed in range(5)])
    labels = np.array([0, 9, 1, 8, 2, 7, 3, 6, 4, 5])
    return files, (ANIMALS, [(train, labels), (draw(2, 32, 3, 5), np.array([5, 4]))])


def cifar100(patch: pytest.MonkeyPatch) -> tuple[Files, Expected]:
    files = publish_cifar(datasets.CIFAR100, "fine_labels", ANIMALS, patch)
    parts = [(draw(2, 32, 3, seed), np.array([seed, 9 - seed])) for seed in (0, 1)]
    return files, (ANIMALS, parts)


def idx(values: NDArray[np.uint8]) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes((0, 0, 8, values.ndim)) + sizes + values.tobytes()


def publish_idx(
    name: str, kind: Any, classes: tuple[str, ...], seed: int, patch: pytest.MonkeyPatch
) -> tuple[Files, Expected]:
    files: Files = {}
    parts = []
    for part, count in (("train", 3), ("t10k", 2)):
        grey, labels = draw(count, 28, 1, seed + count), np.arange(9, 9 - count, -1)
        files[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(idx(grey[..., 0]))
        files[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(idx(labels.astype(np.uint8)))
        parts.append((np.concatenate([grey] * 3, axis=3), labels))
    patch.setattr(kind, "resources", [(file, md5(content)) for file, content in files.items()])
    return {f"{name}/{file}": content for file, content in files.items()}, (classes, parts)


def mnist(patch: pytest.MonkeyPatch) -> tuple[Files, Expected]:
    return publish_idx("mnist", datasets.MNIST, tuple("0123456789"), 10, patch)


def fashion_mnist(patch: pytest.MonkeyPatch) -> tuple[Files, Expected]:
    clothes = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
    words = tuple(clothes.split(","))
    return publish_idx("fashion-mnist", datasets.FashionMNIST, words, 20, patch)


def svhn(patch: pytest.MonkeyPatch) -> tuple[Files, Expected]:
    files: Files = {}
    parts = []
    published = dict(datasets.SVHN.split_list)
    for part, digits in (("train", [10, 1, 9]), ("test", [2, 10])):  # the authors' 10 is the digit 0
        pixels = draw(len(digits), 32, 3, len(digits))
        out = io.BytesIO()
        scipy.io.savemat(
            out, {"X": pixels.transpose(1, 2, 3, 0), "y": np.array(digits, np.uint8)[:, np.newaxis]}
        )
        address, file, _ = published[part]
        files[file] = out.getvalue()
        published[part] = [address, file, md5(files[file])]
        parts.append((pixels, np.array(digits) % 10))
    patch.setattr(datasets.SVHN, "split_list", published)
    return files, (tuple("0123456789"), parts)


def stl10(patch: pytest.MonkeyPatch) -> tuple[Files, Expected]:
    kind = datasets.STL10
    members: Files = {"class_names.txt": "\n".join(ANIMALS).encode(), "unlabeled_X.bin": b"never looked at"}
    parts = []
    for part, labels in (("train", [0, 9, 4]), ("test", [3, 2])):
        pixels = draw(len(labels), 96, 3, len(labels))
        members[f"{part}_X.bin"] = pixels.transpose(0, 3, 2, 1).tobytes()  # column by column
        members[f"{part}_y.bin"] = bytes(label + 1 for label in labels)
        parts.append((pixels, np.array(labels)))
    for part in ("train_list", "test_list"):
        known = [
            [name, old if "unlabeled" in name else md5(members[name])] for name, old in getattr(kind, part)
        ]
        patch.setattr(kind, part, known)
    archive = tar(kind.base_folder, members)
    patch.setattr(kind, "tgz_md5", md5(archive))
    return {kind.filename: archive}, (ANIMALS, parts)


BUILDERS: dict[str, Callable[[pytest.MonkeyPatch], tuple[Files, Expected]]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "fashion-mnist": fashion_mnist,
    "mnist": mnist,
    "stl10": stl10,
    "svhn": svhn,
}


class World:
    """Small data sets as if published, `mirror` with their files, and `data`, where they are kept."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.mirror, self.broken, self.data = folder / "a mirror", folder / "broken", folder / "data"
        self.expected: dict[str, Expected] = {}
        self.files: dict[str, Files] = {}
        for name, build in BUILDERS.items():
            self.files[name], self.expected[name] = build(patch)
            for file, content in self.files[name].items():
                write(self.mirror / file, content)
                write(self.broken / file, content[:-9])

    def load(self, name: str, mirror: str | None = None) -> None:
        """Load a set and compare it with what was published."""
        classes, parts = load_named(name, self.data, mirror)
        right_classes, right_parts = self.expected[name]
        assert classes == right_classes
        assert len(parts) == 2
        for (pixels, labels), (right_pixels, right_labels) in zip(parts, right_parts, strict=True):
            assert (pixels.dtype, labels.dtype) == (np.uint8, np.int64)
            np.testing.assert_array_equal(pixels, right_pixels, strict=True)
            np.testing.assert_array_equal(labels, right_labels)

    def refusal(self, name: str, mirror: str | None) -> str:
        with pytest.raises(DataError) as refused:
            load_named(name, self.data, mirror)
        says = str(refused.value)
        assert says.startswith(f"{name}: ")
        assert "\n" not in says
        return says


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class BreaksOff(Quiet):
    """Promises more than it sends."""

    def send_header(self, keyword: str, value: str) -> None:
        super().send_header(keyword, "10000000" if keyword == "Content-Length" else value)


def closed() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_each_name_has_its_small_set_here() -> None:
    assert tuple(BUILDERS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_set_is_fetched_once_and_read_without_a_network_from_then_on(world: World, name: str) -> None:
    with serving(partial(Quiet, directory=world.mirror)) as address:
        world.load(name, f"{address}/")
    world.load(name, address)
    world.load(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_can_be_the_mirror(world: World, name: str) -> None:
    world.load(name, world.mirror.as_uri())


def test_without_a_mirror_a_set_comes_from_its_authors(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(partial(Quiet, directory=world.mirror)) as address:
        monkeypatch.setattr(datasets.CIFAR10, "url", f"{address}/cifar-10-python.tar.gz")
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{closed()}/", f"{address}/mnist/"])
        world.load("cifar10")
        world.load("mnist")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_the_published_file_is_refused_and_mended_by_a_good_mirror(
    world: World, name: str
) -> None:
    with serving(partial(Quiet, directory=world.broken)) as address:
        says = world.refusal(name, address)
    assert "its MD5 checksum differs" in says
    assert "--mirror" in says
    assert "its MD5 checksum differs" in world.refusal(name, world.broken.as_uri())
    assert "is there with another checksum" in world.refusal(name, closed()), "no later run trusts it"
    world.load(name, world.mirror.as_uri())


@pytest.mark.parametrize("name", NAMES)
def test_a_download_that_breaks_off_is_refused_and_mended_by_a_good_mirror(world: World, name: str) -> None:
    with serving(partial(BreaksOff, directory=world.broken)) as address:
        assert "fetch it another way" in world.refusal(name, address)
    world.load(name, world.mirror.as_uri())


@pytest.mark.parametrize("name", NAMES)
def test_a_host_that_cannot_be_reached_says_what_to_do(world: World, name: str) -> None:
    address = closed()
    file = next(iter(world.files[name]))
    says = world.refusal(name, address)
    assert f"cannot fetch {Path(file).name} ({address}/{file}: Connection refused)" in says
    assert (
        f"put it into {world.data} (the folder named with --data-dir), or name a mirror with --mirror" in says
    )


def test_a_mirror_that_lacks_the_file_says_so(world: World) -> None:
    with serving(partial(Quiet, directory=world.data.parent)) as address:
        assert "HTTP Error 404: File not found" in world.refusal("svhn", address)
    assert "No such file or directory" in world.refusal("svhn", world.data.as_uri())


def test_a_host_that_sends_nothing_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "DOWNLOAD_TIMEOUT_S", 0.2)
    before = socket.getdefaulttimeout()
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "timed out" in world.refusal("cifar10", f"http://127.0.0.1:{server.getsockname()[1]}")
    assert socket.getdefaulttimeout() == before, "the limit is for the download alone"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("below_its_name", [False, True])
def test_archives_put_in_place_by_hand_are_used(world: World, name: str, below_its_name: bool) -> None:
    for file, content in world.files[name].items():
        write(world.data / (file if below_its_name else Path(file).name), content)
    world.load(name, closed())


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("unpacked", [False, True])
def test_archives_put_where_torchvision_wants_them_are_used(world: World, name: str, unpacked: bool) -> None:
    for file, content in world.files[name].items():
        place = world.data / RAW[name] / Path(file).name
        write(place.with_suffix("") if unpacked else place, gzip.decompress(content) if unpacked else content)
    world.load(name, closed())


def test_sets_that_share_file_names_are_told_apart_by_checksum(world: World) -> None:
    for file, content in world.files["mnist"].items():
        write(world.data / Path(file).name, content)
    assert "is there with another checksum" in world.refusal("fashion-mnist", closed())
    world.load("fashion-mnist", world.mirror.as_uri())
    world.load("mnist", closed())


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-5], lambda _: b"", flip], ids=["cut", "empty", "bit"]
)
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cifar10", "cifar-10-batches-py/data_batch_3"),
        ("cifar100", "cifar-100-python/meta"),
        ("fashion-mnist", "FashionMNIST/raw/t10k-labels-idx1-ubyte"),
        ("mnist", "MNIST/raw/train-images-idx3-ubyte"),
        ("stl10", "stl10_binary/test_X.bin"),
    ],
)
def test_a_damaged_unpacked_file_is_unpacked_again_without_a_network(
    world: World, name: str, file: str, damage: Callable[[bytes], bytes]
) -> None:
    world.load(name, world.mirror.as_uri())
    path = world.data / file
    path.write_bytes(damage(path.read_bytes()))
    world.load(name, closed())


def test_cut_class_names_are_unpacked_again(world: World) -> None:
    world.load("stl10", world.mirror.as_uri())
    (world.data / "stl10_binary/class_names.txt").write_bytes(b"animal 0\nani\xff")
    world.load("stl10", closed())


def test_the_pictures_without_labels_are_not_needed(world: World) -> None:
    world.load("stl10", world.mirror.as_uri())
    (world.data / "stl10_binary/unlabeled_X.bin").unlink()
    (world.data / "stl10_binary.tar.gz").unlink()
    world.load("stl10", closed())


@pytest.mark.parametrize("left", [0, 3, 7, 20])
def test_a_cut_file_without_its_archive_is_refused(world: World, left: int) -> None:
    world.load("mnist", world.mirror.as_uri())
    shutil.rmtree(world.mirror)
    path = world.data / "MNIST/raw/train-images-idx3-ubyte"
    path.with_name(f"{path.name}.gz").unlink()
    path.write_bytes(path.read_bytes()[:left])
    assert "cannot fetch train-images-idx3-ubyte.gz" in world.refusal("mnist", world.mirror.as_uri())


@pytest.mark.parametrize("labels", [[1, 2], [1, 2, 200]])
def test_labels_of_other_pictures_are_refused(world: World, labels: list[int]) -> None:
    world.load("mnist", world.mirror.as_uri())
    path = world.data / "MNIST/raw/train-labels-idx1-ubyte"
    path.with_name(f"{path.name}.gz").unlink()
    path.write_bytes(idx(np.array(labels, np.uint8)))
    assert "do not belong together; remove mnist's files there" in world.refusal("mnist", None)


def test_older_copies_of_torchvision_are_not_read_unverified(world: World) -> None:
    for file in ("training.pt", "test.pt"):
        write(world.data / "MNIST/processed" / file, b"no tensor")
    world.load("mnist", world.mirror.as_uri())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is a device of Linux")
@pytest.mark.parametrize("over_http", [True, False])
@pytest.mark.parametrize(
    ("name", "file"),
    [("svhn", "test_32x32.mat"), ("mnist", "MNIST/raw/t10k-images-idx3-ubyte")],
    ids=["download", "unpack"],
)
def test_a_full_disk_is_one_sentence_and_mended_by_room(
    world: World, name: str, file: str, over_http: bool
) -> None:
    path = world.data / file
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")
    with serving(partial(Quiet, directory=world.mirror)) as address:
        says = world.refusal(name, address if over_http else world.mirror.as_uri())
    assert "No space left on device" in says
    assert "--data-dir" in says
    path.unlink()
    world.load(name, world.mirror.as_uri())


def test_a_disk_that_fills_is_not_blamed_on_the_second_try_over_http(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def retrieve(address: str, _: str) -> None:
        if address.startswith("https:"):
            raise OSError(errno.ENOSPC, "No space left on device")
        raise URLError("Connection refused")

    monkeypatch.setattr(datasets.utils, "_get_redirect_url", lambda address, **_: address)
    monkeypatch.setattr(datasets.utils, "_urlretrieve", retrieve)
    says = world.refusal("cifar10", "https://mirror.example")
    assert f"cannot be kept in {world.data} (No space left on device)" in says


@pytest.mark.parametrize("name", NAMES)
def test_a_data_dir_that_is_a_file_is_one_sentence(world: World, name: str) -> None:
    world.data.write_bytes(b"")
    says = world.refusal(name, world.mirror.as_uri())
    assert f"cannot be kept in {world.data}" in says
    assert "name another folder with --data-dir" in says


@pytest.mark.parametrize(
    "mirror",
    ["", "data", "/srv/data", "ftp://host/data", "http://", "http://[", "file://", "file://host/data"],
)
def test_a_mirror_that_is_no_address_is_refused(world: World, mirror: str) -> None:
    world.load("svhn", world.mirror.as_uri())
    with pytest.raises(DataError, match="not an address") as refused:
        load_named("svhn", world.data, mirror)
    assert str(refused.value).startswith(f"--mirror {mirror}: ")


def test_svhn_without_scipy_says_what_to_install(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert "needs scipy.io; install it: pip install" in world.refusal("svhn", world.mirror.as_uri())


def test_nothing_is_printed_into_a_log(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(partial(Quiet, directory=world.mirror)) as address:
        world.load("cifar10", address)
        world.load("mnist", address)
    assert capsys.readouterr() == ("", "")


def test_digits_are_not_mirrored() -> None:
    assert [name for name in NAMES if not mirrorable(name)] == ["mnist", "svhn"]
