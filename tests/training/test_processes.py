"""Several processes: they fit the network that one would, start anew after a failure, and only one writes."""

import copy
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import yaml
from PIL import Image
from torch import Tensor, nn

from training.__main__ import main
from training.batches import Batches
from training.errors import DataError
from training.options import parser
from training.processes import Processes, meet, share_norms
from training.recipes import Recipe
from training.sets import PictureSet

ROOT = Path(__file__).parents[2]
SECONDS = 240
SMALL_STEPS = ("--batch-size", "9", "--learning-rate", "0.01")


def torchrun(*arguments: str, cwd: Path, restarts: int = 0) -> subprocess.Popen[str]:
    """Start `torchrun -m training fit …` in a folder, one thread a process."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.Popen(
        [*command, f"--max-restarts={restarts}", "-m", "training", "fit", "--device", "cpu", *arguments],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    try:
        out, _ = process.communicate(timeout=SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, out
    return out


def run_here(
    asked: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Run the same command in this process alone, and give what it printed."""
    monkeypatch.chdir(folder)
    assert main(["fit", "--device", "cpu", *asked]) == 0
    return capsys.readouterr().out


def weights(folder: Path) -> dict[str, Tensor]:
    saved: dict[str, Tensor] = torch.load(folder / "runs/shapes/checkpoint.pt", weights_only=True)["network"]
    return saved


@pytest.fixture
def speckled(pictures: Path, tmp_path: Path) -> Path:
    """Give the pictures without flat areas: of equal values, rounding alone decides which is the largest."""
    chance = np.random.default_rng(0)
    for path in pictures.glob("*/*/*"):
        with Image.open(path) as picture:
            values = np.asarray(picture.convert("RGB")) // 2
        noise = chance.integers(0, 128, values.shape, dtype=np.uint8)
        target = tmp_path / "speckled" / path.relative_to(pictures).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values + noise).save(target)
    return tmp_path / "speckled"


@pytest.mark.parametrize(
    ("arguments", "tolerance"),
    [
        (("--network", "lenet", "--epochs", "2", "--batch-size", "7", "--class-weights", "balanced"), 1e-6),
        # With normalisation over the whole batch; 60 pictures are odd for two processes and a batch of 9.
        # Rounding grows as the steps do: which of four values is the largest is decided again and again.
        (("--network", "resnet", "--recipe", "standard", "--epochs", "1", *SMALL_STEPS), 1e-3),
    ],
)
def test_two_processes_fit_the_network_that_one_would(
    speckled: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    tolerance: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # In bfloat16, the default where a processor multiplies it, sums in another order differ by too much.
    asked = ("--data", str(speckled), "--name", "shapes", "--precision", "float32", *arguments)
    for folder in ("1", "2"):
        (tmp_path / folder).mkdir()
    outputs = [
        run_here(asked, tmp_path / "1", monkeypatch, capsys),
        finish(torchrun(*asked, cwd=tmp_path / "2")),
    ]
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.allclose(value.double(), two[name].double(), rtol=tolerance, atol=tolerance), name
    lines = [[line for line in out.splitlines() if line.startswith("epoch ")] for out in outputs]
    said = [[line.rpartition("  ")[0] for line in each] for each in lines]
    assert said[0] == said[1] != [], "what is said and measured is of all processes, and said once"
    assert "on 2 × cpu" in outputs[1]
    card = next((tmp_path / "2/models").glob("*.md")).read_text(encoding="utf-8")
    assert "2 × cpu" in card


def test_a_killed_process_is_started_anew_and_the_run_goes_on(pictures: Path, tmp_path: Path) -> None:
    asked = (
        "--data",
        str(pictures),
        "--name",
        "shapes",
        "--network",
        "lenet",
        "--epochs",
        "30",
        "--batch-size",
        "8",
        "--learning-rate",
        "0.01",  # as small batches need it
    )
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    finish(torchrun(*asked, cwd=whole))
    process = torchrun(*asked, cwd=broken, restarts=1)
    assert process.stdout
    while not (line := process.stdout.readline()).startswith("epoch 5/30"):
        assert line, "it ended before"
    (victim, *_) = [
        int(status.parent.name)
        for status in Path("/proc").glob("[0-9]*/cmdline")
        if is_worker(status, process.pid)
    ]
    os.kill(victim, signal.SIGKILL)
    out = finish(process)
    assert "epoch 30/30" in out
    assert "epoch 1/30" not in out, "it went on, it did not begin again"
    rows = [json.loads(line) for line in (broken / "runs/shapes/history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    one, two = weights(whole), weights(broken)
    assert all(torch.equal(one[name], two[name]) for name in one), "as if nothing had been"


def is_worker(cmdline: Path, agent: int) -> bool:
    """Say whether a process is one of those that an agent of torchrun started."""
    try:
        parent = int((cmdline.parent / "stat").read_text().rpartition(")")[2].split()[1])
        return parent == agent and b"training" in cmdline.read_bytes()
    except OSError:  # it has ended meanwhile
        return False


def test_the_parts_of_the_processes_make_the_batch(recipe: Recipe) -> None:
    chance = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (37, 3, 32, 32), dtype=torch.uint8, generator=chance)
    pictures = PictureSet(images, torch.arange(37))
    weight = torch.rand(37, generator=chance)
    whole = list(Batches(pictures, recipe, 0, weights=weight).epoch(0))
    parts = [list(Batches(pictures, recipe, 0, Processes(rank, 3), weight).epoch(0)) for rank in range(3)]
    for batch, *own in zip(whole, *parts, strict=True):
        for rank, part in enumerate(own):
            assert torch.equal(part.images, batch.images[rank::3])
            assert torch.equal(part.labels, batch.labels[rank::3])
        losses = torch.rand(37, generator=chance)

        def mean(labels: Tensor, losses: Tensor = losses) -> Tensor:
            return (losses[labels] * weight[labels]).sum() / weight[labels].sum()

        shared = sum(part.share * mean(part.labels) for part in own) / 3
        assert shared == pytest.approx(mean(batch.labels).item())


def test_more_processes_than_pictures_in_a_batch_are_refused(recipe: Recipe) -> None:
    pictures = PictureSet(torch.zeros(10, 3, 32, 32, dtype=torch.uint8), torch.arange(10))
    recipe = replace(recipe, batch_size=9)  # two batches of 5
    Batches(pictures, recipe, 0, Processes(0, 5))
    with pytest.raises(DataError, match="10 pictures in 2 batches leave some of 6 processes without any"):
        Batches(pictures, recipe, 0, Processes(0, 6))


def meet_all(store: dist.Store, count: int) -> list[tuple[str, bool]]:
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda rank: meet(store, rank, count), reversed(range(count))))


def test_processes_agree_on_a_name_that_no_start_before_them_had(tmp_path: Path) -> None:
    store = dist.FileStore(str(tmp_path / "store"))
    names = set()
    for start in range(3):
        found = meet_all(store, 3)
        (name,) = {name for name, _ in found}
        names.add(name)
        assert found[-1] == (name, start > 0), "the first process is told that there was a start before"
        store.set("name", f"of one that died {start}" if start else name)  # what others may read meanwhile
    assert len(names) == 3


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_normalisation_over_processes_is_the_one_of_one(kind: torch.dtype, tmp_path: Path) -> None:
    values = (torch.randn(6, 4, 5, 5) * 3 + 2).to(kind)
    shared = nn.BatchNorm2d(4, momentum=0.2)
    alone = copy.deepcopy(shared)
    share_norms(shared)
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store")), rank=0, world_size=1)
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
            found = shared(values)
    finally:
        dist.destroy_process_group()
    expected = alone(values.float())
    assert found.dtype == kind
    assert torch.allclose(found.float(), expected, atol=1e-5 if kind == torch.float32 else 0.05)
    assert torch.allclose(shared.running_var, alone.running_var, rtol=1e-4)
    assert torch.allclose(shared.running_mean, alone.running_mean, rtol=1e-4)


def test_the_cluster_files_call_the_command_line_as_it_is() -> None:
    runtime, job = yaml.safe_load_all((ROOT / "deploy/train-kubeflow.yaml").read_text(encoding="utf-8"))
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    arguments = job["spec"]["trainer"]["args"]
    assert arguments[:2] == ["-m", "training"]
    parser().parse_args(arguments[2:])
    script = (ROOT / "deploy/train.slurm").read_text(encoding="utf-8")
    assert '-m training fit "$@"' in script
    subprocess.run(["bash", "-n", ROOT / "deploy/train.slurm"], check=True)
