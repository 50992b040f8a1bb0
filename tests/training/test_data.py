"""Loading: folders as people have them."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from training import folders
from training.data import Data, Digest, load
from training.errors import DataError
from training.networks import build
from training.pictures import read_picture
from training.sets import PictureSet

Folder = Callable[..., Path]
prepare = build("lenet", 2).prepare


def load_pictures(folder: Path, seed: int = 0) -> Data:
    return load(str(folder), Path("nowhere"), prepare, seed, memory=10**9)


def reds(part: PictureSet) -> list[int]:
    """Tell the plain pictures of `folder` apart: each has its own red."""
    return part.images[:, 0, 0, 0].tolist()


def test_a_folder_with_a_test_part_is_taken_as_it_is(data: Data) -> None:
    assert data.name == "shapes"
    assert data.labels == ("bar", "checkers", "disc")
    assert data.split == "test"
    assert data.skipped == ()
    assert data.train.images.shape == (60, 3, 32, 32)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.tolist() == [0] * 20 + [1] * 20 + [2] * 20
    assert data.test.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8


def test_the_two_parts_are_read_from_their_own_folders(folder: Folder) -> None:
    data = load_pictures(folder({"train/cat": 2, "train/dog": 1, "test/cat": 1, "test/dog": 2}))
    assert (reds(data.train), data.train.labels.tolist()) == ([1, 2, 3], [0, 0, 1])
    assert (reds(data.test), data.test.labels.tolist()) == ([4, 5, 6], [0, 1, 1])


def test_class_folders_alone_are_enough(folder: Folder) -> None:
    data = load_pictures(folder({"cat": 5, "dog": 5}))
    assert data.labels == ("cat", "dog")
    assert (len(data.train), len(data.test), data.split) == (8, 2, "held-out")


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_without_a_test_part_a_fifth_of_each_class_is_held_out_by_seed(folder: Folder, prefix: str) -> None:
    root = folder({f"{prefix}cat": 20, f"{prefix}dog": 10})
    first, again, other = (load_pictures(root, seed) for seed in (1, 1, 2))
    assert torch.bincount(first.test.labels).tolist() == [4, 2]
    assert sorted(reds(first.train) + reds(first.test)) == list(range(1, 31)), "every picture in one part"
    assert reds(first.test) == reds(again.test)
    assert first.fingerprint == again.fingerprint
    assert reds(first.test) != reds(other.test)


def test_each_class_keeps_a_picture_to_train_on(folder: Folder) -> None:
    data = load_pictures(folder({"cat": 1, "dog": 2, "eel": 3}))
    assert torch.bincount(data.train.labels, minlength=3).tolist() == [1, 1, 2]
    assert torch.bincount(data.test.labels, minlength=3).tolist() == [0, 1, 1]


def test_a_class_may_be_called_train_or_test(folder: Folder) -> None:
    assert load_pictures(folder({"bus": 3, "train": 3, "test": 3})).labels == ("bus", "test", "train")


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_part_stands_for_the_test_part(folder: Folder, name: str) -> None:
    data = load_pictures(folder({"train/cat": 3, "train/dog": 2, f"{name}/cat": 1, f"{name}/dog": 2}))
    assert (len(data.train), len(data.test), data.split) == (5, 3, "test")


def test_the_test_part_comes_before_a_validation_part(folder: Folder) -> None:
    counts = {"train/cat": 3, "train/dog": 2, "val/cat": 1, "test/cat": 2, "test/dog": 2}
    assert len(load_pictures(folder(counts)).test) == 4


def test_pictures_in_folders_below_a_class_belong_to_it(folder: Folder) -> None:
    data = load_pictures(folder({"train/cat/2019": 2, "train/cat/2020": 1, "train/dog": 1, "test/cat": 1}))
    assert data.train.labels.tolist() == [0, 0, 0, 1]


def test_hidden_files_and_folders_are_not_looked_at(folder: Folder) -> None:
    root = folder({"cat": 2, "dog": 2, ".cache": 2})
    (root / "cat" / ".DS_Store").write_bytes(b"\0")
    data = load_pictures(root)
    assert data.labels == ("cat", "dog")
    assert data.skipped == ()


def test_files_that_are_no_pictures_are_skipped_and_listed_with_the_reason(folder: Folder) -> None:
    root = folder({"train/cat": 2, "train/dog": 2, "test/dog": 1})
    (root / "train/cat/Thumbs.db").write_bytes(b"no picture")
    whole = (root / "train/cat/0.png").read_bytes()
    (root / "test/dog/half.png").write_bytes(whole[: len(whole) - 30])
    data = load_pictures(root)
    assert (len(data.train), len(data.test)) == (4, 1)
    assert data.train.labels.tolist() == [0, 0, 1, 1], "labels stay with their pictures"
    listed, cut = data.skipped
    assert listed == f"{Path('train/cat/Thumbs.db')}: not a picture"
    assert cut.startswith(f"{Path('test/dog/half.png')}: ")
    assert "truncated" in cut or "Truncated" in cut


def test_a_picture_over_pillows_limit_is_skipped_with_that_reason(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder({"cat": 3, "dog": 3})
    Image.new("RGB", (100, 100)).save(root / "dog" / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    (skipped,) = load_pictures(root).skipped
    assert skipped.startswith(f"{Path('dog/huge.png')}: Image size (10000 pixels) exceeds limit")


def test_names_that_are_not_utf8_do_not_stop_the_run_later(folder: Folder) -> None:
    root = folder({"cat": 3, "dog": 3})
    odd = os.fsdecode(os.fsencode(root / "dog") + b"/\xff")
    try:
        Path(odd).write_bytes(b"no picture")
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    assert load_pictures(root).skipped == (f"{Path('dog/?')}: not a picture",)
    Path(os.fsdecode(os.fsencode(root) + b"/\xe9")).mkdir()
    with pytest.raises(DataError, match=r"class folder '\?': its name is not UTF-8"):
        load_pictures(root)


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({}, r"pets: found 0 class folders; a classifier needs at least two, as train/<class>/picture\.jpg"),
        ({"cat": 3}, "pets: found 1 class folders"),
        ({"train/cat": 3, "test/cat": 3}, "pets: found 1 class folders"),
        ({"train/cat": 3, "train/dog": 0, "test/cat": 1}, "no training pictures in dog: fill or remove"),
        ({"cat": 3, "dog": 0}, "no training pictures in dog: fill or remove"),
        ({"cat": 0, "dog": 0}, "pets: no training pictures could be read"),
        ({"cat": 1, "dog": 1}, "pets: no test pictures could be read; give test/<class>/… or two pictures"),
        ({"train/cat": 3, "train/dog": 3, "test/cat": 1, "test/eel": 1}, "classes that train lacks: eel"),
        ({"test/cat": 3, "test/dog": 3}, "pets: has test/<class>/… but no train/<class>/…"),
        ({"cat": 3, "dog": 3, "test/cat": 3}, "pets: has test/<class>/… but no train/<class>/…"),
        ({"training/cat": 3, "validation/cat": 3}, "pets: has validation/<class>/… but no train/<class>/…"),
        ({"cat": 3, "d\nog": 3}, r"class folder 'd\\nog': its name is not UTF-8 or has a line break; rename"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(folder: Folder, counts: dict[str, int], says: str) -> None:
    with pytest.raises(DataError, match=says):
        load_pictures(folder(counts))


@pytest.mark.parametrize("source", ["no/such/folder", "cifar11", ""])
def test_what_is_neither_a_name_nor_a_folder_is_refused(source: str) -> None:
    with pytest.raises(
        DataError, match=rf"--data {source}: neither a data set's name \(cifar10, .*\) nor a folder"
    ):
        load(source, Path("data"), prepare, 0, memory=10**9)


@pytest.mark.parametrize("name", ["pets", "my pets", "Haustiere süß 🐈", "[bold] :cat:"])
def test_a_folder_may_have_any_name_and_be_given_with_a_slash(folder: Folder, name: str) -> None:
    root = folder({"cat": 3, "[red] dog": 3}, name)
    data = load(f"{root}/", Path(), prepare, 0, memory=10**9)
    assert (data.name, data.labels) == (name, ("[red] dog", "cat"))


def test_the_folder_we_stand_in_has_a_name(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder({"cat": 3, "dog": 3}))
    assert load(".", Path(), prepare, 0, memory=10**9).name == "pets"


def changed(data: Data, part: str, change: Callable[[PictureSet], object]) -> Data:
    """Copy `data` and change its copy."""
    parts = {
        name: PictureSet(old.images.clone(), old.labels.clone())
        for name, old in (("train", data.train), ("test", data.test))
    }
    change(parts[part])
    return with_fingerprint(replace(data, train=parts["train"], test=parts["test"]))


def with_fingerprint(data: Data) -> Data:
    digest = Digest(data.labels)
    for part in (data.train, data.test):
        digest.add(part.images)
        digest.add(part.labels)
    return replace(data, fingerprint=digest.text())


def test_equal_data_have_equal_fingerprints_wherever_they_lie(folder: Folder) -> None:
    counts = {"train/cat": 2, "train/dog": 2, "test/dog": 1}
    here, there = (load_pictures(folder(counts, name)) for name in ("here", "there"))
    assert here.fingerprint == there.fingerprint
    assert here.fingerprint.startswith("sha256:")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_changed_pixel_or_label_or_class_changes_the_fingerprint(data: Data, part: str) -> None:
    same = changed(data, part, lambda _: None)
    pixel = changed(data, part, lambda pictures: pictures.images[3, 2, 31, 31].bitwise_xor_(1))
    label = changed(data, part, lambda pictures: pictures.labels[3].fill_(2))
    renamed = with_fingerprint(replace(data, labels=("a", "b", "c")))
    assert same.fingerprint == data.fingerprint
    prints = {each.fingerprint for each in (data, pixel, label, renamed)}
    assert len(prints) == 4


def test_links_and_pipes_are_no_traps(folder: Folder) -> None:
    root = folder({"cat": 5, "dog": 5})
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "round").symlink_to(root / "cat")
    elsewhere = root.parent / "more"
    elsewhere.mkdir()
    Image.new("RGB", (8, 8)).save(elsewhere / "one.png")
    (root / "cat" / "more").symlink_to(elsewhere)
    os.mkfifo(root / "dog" / "pipe.png")
    (root / "dog" / "gone.png").symlink_to("nowhere.png")
    data = load_pictures(root)
    assert len(data.train) + len(data.test) == 5 + 5 + 1
    assert sorted(data.skipped) == [
        f"{Path('dog/gone.png')}: not a file",
        f"{Path('dog/pipe.png')}: not a file",
    ]


def test_ctrl_c_while_reading_does_not_wait_for_the_rest(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder({"cat": 100, "dog": 100})
    begun: list[str] = []

    def slow(path: Path) -> object:
        begun.append(path.name)
        time.sleep(0.05)
        return read_picture(path)

    def press_ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "read_picture", slow)
    monkeypatch.setattr("training.data.Digest.add", press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        load_pictures(root)
    assert len(begun) < 100
