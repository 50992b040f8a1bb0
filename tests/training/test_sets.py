"""Pictures in memory and pictures in files: the same pictures, the same training, behind one interface."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from training import sets
from training.data import Data, load
from training.errors import DataError
from training.networks import build
from training.sets import FileSet, PictureSet

Folder = Callable[..., Path]
prepare = build("lenet", 2).prepare
ORDER = [torch.tensor([3, 0, 2]), torch.tensor([1]), torch.tensor([5, 4, 3])]


@pytest.fixture(scope="module")
def streamed(pictures: Path) -> Data:
    """Give the pictures of `data` again, too many for a memory of 100 kB."""
    return load(str(pictures), Path(), prepare, 0, memory=100_000)


def test_a_folder_larger_than_the_memory_stays_in_its_files(data: Data, streamed: Data) -> None:
    assert isinstance(data.train, PictureSet)
    assert isinstance(streamed.train, FileSet)
    assert isinstance(streamed.test, PictureSet), "each part by itself: 24 pictures of 3 kB fit"
    assert streamed.fingerprint == data.fingerprint
    assert streamed.labels == data.labels
    assert torch.equal(streamed.train.labels, data.train.labels)


def test_both_give_the_same_batches(data: Data, streamed: Data) -> None:
    for one, other in zip(data.train.batches(ORDER), streamed.train.batches(ORDER), strict=True):
        assert one.dtype == other.dtype == torch.uint8
        assert torch.equal(one, other)


def test_both_give_the_same_parts(data: Data, streamed: Data) -> None:
    chosen = torch.tensor([7, 33, 2, 59])
    one, other = data.train.part(chosen), streamed.train.part(chosen)
    assert torch.equal(one.labels, other.labels)
    assert len(one) == len(other) == 4
    assert torch.equal(*(next(part.batches([torch.tensor([3, 1])])) for part in (one, other)))


def test_no_batch_is_read_for_no_indices(streamed: Data) -> None:
    assert list(streamed.train.batches([])) == []


def test_reading_files_draws_nothing_from_the_global_generator(streamed: Data) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(streamed.train.batches(ORDER))
    assert torch.equal(torch.get_rng_state(), before)


def test_files_that_are_no_pictures_are_skipped_in_both(folder: Folder) -> None:
    root = folder({"train/cat": 3, "train/dog": 3, "test/dog": 1})
    (root / "train/cat/1.txt").write_text("no picture")  # between the pictures
    one, other = (load(str(root), Path(), prepare, 0, memory=memory) for memory in (10**9, 1))
    assert one.skipped == other.skipped == (f"{Path('train/cat/1.txt')}: not a picture",)
    everything = [torch.arange(6)]
    assert torch.equal(next(one.train.batches(everything)), next(other.train.batches(everything)))


def test_a_picture_that_goes_missing_while_training_is_named(folder: Folder) -> None:
    root = folder({"train/cat": 3, "train/dog": 3, "test/dog": 1})
    data = load(str(root), Path(), prepare, 0, memory=1)
    (root / "train/dog/1.png").unlink()
    with pytest.raises(DataError, match=r"train/dog/1\.png: .*and now cannot"):
        list(data.train.batches([torch.arange(6)]))


def test_what_workers_read_ahead_fits_what_processes_may_share(monkeypatch: pytest.MonkeyPatch) -> None:
    def two_workers_take_it_all(_: str) -> SimpleNamespace:
        return SimpleNamespace(free=8_000)

    monkeypatch.setattr(sets.shutil, "disk_usage", two_workers_take_it_all)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    assert sets.workers(1_000) == 2
    assert sets.workers(10_000) == 0, "this process reads by itself"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert sets.workers(1_000) == 1, "the room is the machine's"
