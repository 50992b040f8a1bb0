"""The command line as a user meets it: whole runs, interruptions, and sentences for what cannot be."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tests.artefacts import write_artefact
from training import devices, folders, residual
from training import run as runs
from training.__main__ import main
from training.errors import Diverged
from training.export import load_artefact
from training.processes import Processes
from training.recipes import RECIPES

ROOT = Path(__file__).parents[2]


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start `python -m training …` in a folder, with as many threads as here: sums depend on them."""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore:`torch.jit:FutureWarning",
            "-m",
            "training",
            *arguments,
        ],
        cwd=cwd,
        env=os.environ | threads | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, out, err


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = (dict(load_artefact(path)[0].named_parameters()) for path in (one, other))
    assert len(first) == 10
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def assert_a_sentence(err: str) -> str:
    """Check that an error is one line for a person, and give it."""
    (line,) = err.strip().splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in line
    return line


Run = Callable[..., tuple[int, str, str]]
LENET = ("--network", "lenet")  # quick


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call `main` in an empty folder: exit status, standard output and standard error."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "60")  # of a narrow terminal

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as argparse:
            status = int(argparse.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return call


def test_a_run_is_interrupted_resumed_and_measured_again(pictures: Path, run: Run, tmp_path: Path) -> None:
    """One story rather than four tests: each process takes seconds to import torch."""
    asked = ("fit", *LENET, "--epochs", "12", "--name", "shapes", "--device", "cpu", "--data", str(pictures))
    assert run(*asked)[0] == 0
    whole, broken, elsewhere = Path.cwd() / "models/shapes.pt", tmp_path / "broken", tmp_path / "elsewhere"
    broken.mkdir()
    elsewhere.mkdir()

    process = start(*asked, cwd=broken)
    assert process.stdout
    while not process.stdout.readline().startswith("epoch 2/12"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    status, out, err = finish(process)
    assert status == 130
    assert "epoch 12/12" not in out
    assert re.fullmatch(
        r"interrupted: stopped (in epoch \d+ after \d+ batches|after epoch \d+); "
        r"saved in runs/shapes/checkpoint\.pt, go on with --resume\n",
        err,
    )
    assert not list(broken.glob("models/*"))

    status, out, err = finish(start(*asked, "--resume", cwd=broken))
    assert (status, err) == (0, "")
    assert "shapes: 60 pictures to train on, 24 to test on (test), 3 classes of 20 to 20\n" in out
    assert "epoch 1/12" not in out
    assert "epoch 12/12  loss" in out
    assert "wrote models/shapes.pt and models/shapes.md\n" in out
    assert {path.name for path in (broken / "models").iterdir()} == {
        "shapes.pt",
        "shapes.md",
        "SHA256SUMS",
    }
    assert_same_weights(whole, broken / "models/shapes.pt")
    accuracy = f"{load_artefact(whole)[1]['metrics']['accuracy']:.2%}"
    assert accuracy in (broken / "models/shapes.md").read_text(encoding="utf-8")

    # From the file alone: nothing else lies in this folder.
    (broken / "models/shapes.pt").rename(elsewhere / "renamed.pt")
    status, out, err = finish(start("evaluate", "renamed.pt", "--data", f"{pictures}/", cwd=elsewhere))
    assert (status, err) == (0, "")
    measured, recorded = (
        re.search(rf"^{word}: (.*)$", out, re.MULTILINE) for word in ("measured", "recorded")
    )
    assert measured
    assert recorded
    assert measured[1] == recorded[1]
    assert measured[1].startswith(f"accuracy {accuracy} · loss ")
    assert measured[1].endswith("% · 24 pictures")
    assert "the data are those the model was measured on" in out


def test_a_run_killed_again_and_again_comes_to_the_same_weights(
    pictures: Path, run: Run, tmp_path: Path
) -> None:
    """SIGKILL at whatever moment: while a batch is computed, a checkpoint or the history is written."""
    asked = ("fit", *LENET, "--epochs", "40", "--name", "shapes", "--device", "cpu", "--data", str(pictures))
    assert run(*asked)[0] == 0
    whole, broken = Path.cwd(), tmp_path / "broken"
    broken.mkdir()
    checkpoint = broken / "runs/shapes/checkpoint.pt"
    for lines, wait in ((3, 0.0), (5, 0.013), (4, 0.031)):
        resume = ["--resume"] if checkpoint.exists() else []
        process = start(*asked, *resume, cwd=broken)
        assert process.stdout
        for _ in range(lines):
            while "epoch" not in process.stdout.readline():
                assert process.poll() is None
        time.sleep(wait)
        process.kill()
        process.communicate()
    begun = torch.load(checkpoint, weights_only=True)["state"]["epoch"]
    status, out, err = finish(start(*asked, "--resume", cwd=broken))
    assert (status, err) == (0, "")
    assert begun >= 9
    assert out.count("test accuracy") == 40 - begun, "nothing is trained twice but what was not saved"
    assert_same_weights(whole / "models/shapes.pt", broken / "models/shapes.pt")
    first, second = (
        [json.loads(line) for line in (folder / "runs/shapes/history.jsonl").read_text().splitlines()]
        for folder in (whole, broken)
    )
    measured = ("seconds", "time", "pictures_per_second", "peak_memory_bytes")
    for row in first + second:
        for name in measured:
            row.pop(name)
    assert first == second
    assert [row["epoch"] for row in first] == list(range(1, 41))


def test_a_new_run_keeps_the_checkpoint_of_the_one_before(run: Run, pictures: Path) -> None:
    asked = ("fit", *LENET, "--epochs", "1", "--run-dir", "run", "--data", pictures)
    _, out, _ = run(*asked)
    assert "checkpoint.old.pt" not in out
    first = Path("run/checkpoint.pt").read_bytes()
    status, out, err = run(*asked, "--seed", "1")
    assert (status, err) == (0, "")
    assert "a new run: the checkpoint that was there is now run/checkpoint.old.pt\n" in out
    assert Path("run/checkpoint.old.pt").read_bytes() == first
    assert Path("run/checkpoint.pt").read_bytes() != first
    _, out, _ = run(*asked, "--seed", "1", "--resume")
    assert "checkpoint.old.pt" not in out
    assert Path("run/checkpoint.old.pt").read_bytes() == first


def test_ctrl_c_while_pictures_are_read_ends_soon_and_without_a_traceback(
    run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Path] = []

    def read(path: Path) -> torch.Tensor:
        begun.append(path)
        if len(begun) == 1:
            signal.raise_signal(signal.SIGINT)
        time.sleep(0.2)
        return torch.zeros(3, 32, 32, dtype=torch.uint8)

    monkeypatch.setattr(folders, "read_picture", read)
    monkeypatch.setattr(folders, "ThreadPoolExecutor", lambda: ThreadPoolExecutor(2))
    status, _, err = run("fit", "--data", pictures)
    assert status == 130
    assert err == "interrupted; --resume goes on from the last checkpoint, if there is one\n"
    assert len(begun) < 30, "pictures not yet begun are not waited for"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("--data", "cifar11"),
            "--data cifar11: neither a data set's name (cifar10, cifar100, ",
        ),
        (("--data", ""), "--data : neither a data set's name"),
        (("--data", "[red]:cat:"), "--data [red]:cat:: neither"),
        (("--data", "\udcff"), "--data ?: neither"),
        (("--name", "a/b"), "--name 'a/b': ASCII letters, digits"),
        (("--name", "../a"), "--name '../a': ASCII letters, digits"),
        (("--name", ".a"), "--name '.a': ASCII letters, digits"),
        (("--name", "süß"), "--name 'süß': ASCII letters, digits"),
        (("--name", "a b"), "--name 'a b': ASCII letters, digits"),
        (("--name", ""), "--name '': ASCII letters, digits"),
        (("--version", "1\n2"), r"--version '1\n2': ASCII letters, digits"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(run: Run, arguments: tuple[str, ...], says: str) -> None:
    status, out, err = run("fit", *arguments)
    assert status == 2
    assert out == ""
    assert says in assert_a_sentence(err)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--epochs", "0"), "--epochs: 0 is not in 1..1,000,000,000"),
        (("--epochs", "-3"), "--epochs: -3 is not in 1..1,000,000,000"),
        (("--epochs", "many"), "--epochs: invalid positive value: 'many'"),
        (("--seed", "-1"), "--seed: -1 is not in 0..4294967295"),
        (("--seed", str(2**32)), "--seed: 4294967296 is not in 0..4294967295"),
        (("--seed", "1.5"), "--seed: invalid seed value: '1.5'"),
        (("--recipe", "none"), "--recipe: invalid choice: 'none'"),
        (("--network", "none"), "--network: invalid choice: 'none'"),
        (("--device", "tpu"), "--device: invalid choice: 'tpu'"),
    ],
)
def test_a_number_or_name_out_of_range_is_refused(run: Run, arguments: tuple[str, ...], says: str) -> None:
    status, _, err = run("fit", *arguments)
    assert status == 2
    assert says in err
    assert not list(Path().iterdir())


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(
    run: Run, pictures: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    status, _, err = run("fit", "--data", pictures, "--device", device)
    assert status == 2
    assert f"--device {device}: torch {torch.__version__} finds none on this machine" in assert_a_sentence(
        err
    )


def test_auto_takes_the_best_device_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, best in ((True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert devices.choose_device("auto", Processes()).type == best


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("pets", "pets-lenet"),
        ("Meine Haustiere (süß)", "meine-haustiere-s-lenet"),
        ("🐈", "lenet"),
        ("[red] :cat:", "red-cat-lenet"),
    ],
)
def test_a_folder_of_any_name_gives_a_model_with_a_name_the_service_takes(
    run: Run, folder: Callable[..., Path], name: str, model: str
) -> None:
    root = folder({"train/[red] :cat:": 6, "train/Hündin": 6, "test/Hündin": 2}, name)
    (root / "train/Hündin/[b]notes.txt").write_text("no picture")
    status, out, err = run("fit", *LENET, "--data", f"{root}/", "--epochs", "1", "--device", "cpu")
    assert (status, err) == (0, "")
    assert f"{name}: 12 pictures to train on" in out
    assert f"skipped {Path('train/Hündin/[b]notes.txt')}: not a picture" in out
    assert "[red] :cat:" in out.partition("accuracy 0")[2] + out.partition("most often")[2]
    assert load_artefact(Path(f"models/{model}.pt"))[1]["labels"] == ["Hündin", "[red] :cat:"]
    assert Path(f"models/{model}.md").is_file()
    assert Path(f"runs/{model}/checkpoint.pt").is_file()


def test_a_run_among_the_class_folders_is_refused(run: Run, folder: Callable[..., Path]) -> None:
    os.chdir(folder({"cat": 10, "dog": 10}))
    status, _, err = run("fit", *LENET, "--data", ".")
    assert status == 2
    assert "lies among the class folders of ." in assert_a_sentence(err)
    assert not Path("runs").exists()


def test_compiling_without_a_compiler_is_refused(
    run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    status, _, err = run("fit", *LENET, "--data", pictures, "--device", "cpu", "--compile")
    assert status == 2
    assert "--compile needs a C++ compiler" in assert_a_sentence(err)


def test_every_option_reaches_the_model(run: Run, folder: Callable[..., Path]) -> None:
    root = folder({"cat": 10, "dog": 10})
    options = (
        "--name",
        "Pets_2.0",
        "--version",
        "2.0.0",
        "--note",
        "My own photos\udcff.",
        "--seed",
        "4294967295",
    )
    places = ("--models-dir", "a b/c", "--run-dir", "d/e")
    status, _, err = run(
        "fit",
        *LENET,
        "--data",
        root,
        "--recipe",
        "tutorial",
        "--epochs",
        "1",
        *options,
        *places,
        "--device",
        "cpu",
    )
    assert (status, err) == (0, "")
    assert Path("d/e/checkpoint.pt").is_file()
    card = load_artefact(Path("a b/c/Pets_2.0.pt"))[1]
    assert (card["name"], card["version"]) == ("Pets_2.0", "2.0.0")
    training = card["training"]
    assert (training["seed"], training["epochs"], training["recipe"]["name"]) == (2**32 - 1, 1, "tutorial")
    assert training["data"]["note"] == "My own photos?."
    assert training["data"]["split"] == "held-out"
    assert "\nMy own photos?.\n" in Path("a b/c/Pets_2.0.md").read_text(encoding="utf-8")
    # the held-out part is found again by the seed in the file
    status, out, _ = run("evaluate", "a b/c/Pets_2.0.pt", "--data", root)
    assert status == 0
    assert "the data are those the model was measured on" in out


def test_the_same_command_gives_the_same_weights_and_another_seed_others(
    run: Run, folder: Callable[..., Path]
) -> None:
    root = folder({"train/cat": 9, "train/dog": 9, "test/dog": 1})
    for name, seed in (("one", "5"), ("same", "5"), ("other", "6")):
        asked = (*LENET, "--data", root, "--epochs", "1", "--seed", seed, "--name", name, "--device", "cpu")
        assert run("fit", *asked)[0] == 0
    assert_same_weights(Path("models/one.pt"), Path("models/same.pt"))
    with pytest.raises(AssertionError):
        assert_same_weights(Path("models/one.pt"), Path("models/other.pt"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (("--seed", "1"), "(seed 0, here seed 1)"),
        (("--epochs", "2"), "(epochs 1, here epochs 2)"),
        (("--recipe", "tutorial"), "(name standard, here name tutorial; "),
        (("--data", "other"), "(data sha256:"),
    ],
)
def test_a_resume_with_another_seed_recipe_or_data_is_refused(
    run: Run, folder: Callable[..., Path], changes: tuple[str, ...], says: str
) -> None:
    counts = {"train/cat": 3, "train/dog": 3, "test/dog": 1}
    root, other = folder(counts), folder(counts | {"test/dog": 2}, "other")
    asked = ("fit", *LENET, "--name", "pets", "--device", "cpu", "--data", root, "--epochs", "1")
    assert run(*asked)[0] == 0
    before = Path("runs/pets/checkpoint.pt").read_bytes()
    changed = tuple(str(other) if word == "other" else word for word in changes)
    status, _, err = run(*asked, *changed, "--resume")
    assert status == 2
    line = assert_a_sentence(err)
    assert f"runs/pets/checkpoint.pt is of another run {says}" in line
    assert "start without --resume, or choose another --run-dir" in line
    assert Path("runs/pets/checkpoint.pt").read_bytes() == before
    assert run(*asked, "--resume")[0] == 0


def test_a_resume_with_nothing_to_resume_is_refused(run: Run, pictures: Path) -> None:
    status, _, err = run("fit", *LENET, "--data", pictures, "--resume", "--device", "cpu")
    assert status == 2
    assert "nothing to resume: runs/shapes-lenet/checkpoint.pt is not there" in assert_a_sentence(err)


def test_resume_auto_begins_goes_on_and_finds_a_run_finished(run: Run, pictures: Path) -> None:
    asked = ("fit", *LENET, "--data", pictures, "--device", "cpu", "--epochs", "2", "--resume", "auto")
    status, first, _ = run(*asked)
    assert status == 0
    assert "epoch 2/2" in first
    status, second, _ = run(*asked)
    assert status == 0
    assert "epoch 1/2" not in second
    assert "wrote models/shapes-lenet.pt" in second
    assert not Path("runs/shapes-lenet/checkpoint.old.pt").exists()


@pytest.mark.parametrize("room", [20_000, 100_000])
def test_a_disk_that_is_full_in_the_end_is_a_sentence(run: Run, pictures: Path, room: int) -> None:
    """The system refuses larger files: the model takes 290 kB, the report's result 80."""
    asked = ("fit", *LENET, "--data", pictures, "--device", "cpu", "--epochs", "1")
    assert run(*asked)[0] == 0
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = Path("models/shapes-lenet.pt").read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        status, _, err = run(*asked, "--resume")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 2
    assert "cannot write models/shapes-lenet.pt: File too large; make room, then --resume" in (
        assert_a_sentence(err)
    )
    assert Path("models/shapes-lenet.pt").read_bytes() == kept
    assert [each.name for each in Path("models").iterdir() if each.name.startswith(".")] == []
    assert run(*asked, "--resume")[0] == 0


def test_a_damaged_checkpoint_is_refused_in_a_sentence(run: Run, pictures: Path) -> None:
    Path("runs/shapes-lenet").mkdir(parents=True)
    Path("runs/shapes-lenet/checkpoint.pt").write_bytes(b"PK\x03\x04 half of it")
    status, _, err = run("fit", *LENET, "--data", pictures, "--resume", "--device", "cpu")
    assert status == 2
    assert "checkpoint.pt is damaged or no checkpoint of this version" in assert_a_sentence(err)


@pytest.mark.parametrize("option", ["--models-dir", "--run-dir"])
def test_a_folder_that_cannot_be_written_to_is_found_out_before_training(
    run: Run, pictures: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise AssertionError("hours of training")

    monkeypatch.setattr(runs, "fit", fit)
    Path("file").touch()
    status, _, err = run("fit", "--data", pictures, option, "file/models")
    assert status == 2
    assert "cannot write to file/models: Not a directory" in assert_a_sentence(err)
    Path("locked").mkdir(mode=0o500)
    if os.access("locked", os.W_OK):
        return  # an administrator can write anywhere
    status, _, err = run("fit", "--data", pictures, option, "locked")
    assert status == 2
    assert "cannot write to locked: Permission denied" in assert_a_sentence(err)


def test_a_name_too_long_for_a_file_is_refused_before_training(run: Run, pictures: Path) -> None:
    status, _, err = run("fit", "--data", pictures, "--name", "a" * 101)
    assert status == 2
    assert "100 at most" in assert_a_sentence(err)


def test_what_the_system_refuses_is_said_in_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "pets/locked")

    monkeypatch.setattr(runs, "load", load)
    Path("pets").mkdir()
    status, _, err = run("fit", "--data", "pets")
    assert status == 2
    assert "Permission denied: 'pets/locked'" in assert_a_sentence(err)


def test_a_run_that_diverged_is_not_exported(
    run: Run, folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES["tutorial"]
    hot = type(recipe)(**(vars(recipe) | {"learning_rate": 1e30}))
    monkeypatch.setitem(RECIPES, "tutorial", hot)
    status, _, err = run(
        "fit", *LENET, "--data", folder({"cat": 9, "dog": 9}), "--recipe", "tutorial", "--device", "cpu"
    )
    assert status == 2
    line = assert_a_sentence(err)
    assert re.search(r"the loss is \S+ in epoch 1.*: the training diverged; lower the learning rate", line)
    assert not list(Path().glob("models/*"))


def test_evaluating_on_other_data_says_so(run: Run, folder: Callable[..., Path]) -> None:
    root, other = folder({"cat": 9, "dog": 9}), folder({"cat": 12, "dog": 9}, "other")
    assert run("fit", *LENET, "--data", root, "--epochs", "1", "--name", "pets", "--device", "cpu")[0] == 0
    status, out, _ = run("evaluate", "models/pets.pt", "--data", other)
    assert status == 0
    assert "the data are not those the model was measured on" in out


def test_evaluating_on_other_classes_is_refused(run: Run, folder: Callable[..., Path]) -> None:
    root, other = folder({"cat": 3, "dog": 3}), folder({"ant": 3, "bee": 3}, "other")
    assert run("fit", *LENET, "--data", root, "--epochs", "1", "--name", "pets", "--device", "cpu")[0] == 0
    status, _, err = run("evaluate", "models/pets.pt", "--data", other)
    assert status == 2
    assert "the data's classes (ant, bee) are not the model's (cat, dog)" in assert_a_sentence(err)


def test_evaluating_what_is_no_artefact_is_refused(run: Run, pictures: Path) -> None:
    Path("text.pt").write_text("no model")
    write_artefact(Path("foreign.pt"))
    for name, says in {
        "missing.pt": "missing.pt is not there",
        "text.pt": "text.pt is not a TorchScript file, or is damaged",
        "foreign.pt": "foreign.pt: its model.json is not one of this tool: 'loss'",
    }.items():
        status, _, err = run("evaluate", name, "--data", pictures)
        assert status == 2
        assert says in assert_a_sentence(err)


def test_the_network_one_would_deploy_is_fitted_calibrated_and_written_in_half_precision(
    run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 pictures are too few to hold any out for the temperature; a repeated folder gives enough."""
    monkeypatch.setattr(residual, "WIDTHS", (16, 32, 32))  # quick
    many = Path("many")
    for part in ("train", "test"):
        for kind in sorted(path.name for path in (pictures / part).iterdir()):
            (many / part / kind).mkdir(parents=True)
            for copy in range(42 if part == "train" else 1):
                for file in sorted((pictures / part / kind).iterdir()):
                    (many / part / kind / f"{copy}-{file.name}").symlink_to(file)
    asked = ("--data", many, "--name", "shapes", "--device", "cpu", "--epochs", "1", "--batch-size", "100")
    status, out, err = run("fit", *asked, "--class-weights", "balanced", "--no-mirror")
    assert (status, err) == (0, "")
    assert "resnet, recipe modern, on cpu" in out
    temperature = re.search(r"temperature (\S+), from 100 held-out training pictures\n", out)
    assert temperature
    assert Path("models/shapes.pt").stat().st_size < 200_000
    module, card = load_artefact(Path("models/shapes.pt"))
    assert module.temperature == pytest.approx(float(temperature[1]), abs=0.001)
    training = card["training"]
    assert training["temperature"] == pytest.approx(module.temperature, abs=1e-4)
    assert training["data"]["training_pictures"] == 2520
    assert (training["recipe"]["mirror"], training["recipe"]["class_weights"]) == (False, "balanced")
    assert card["metrics"]["accuracy"] > 0.5
    text = Path("models/shapes.md").read_text(encoding="utf-8")
    assert "fitted on 100 of the training pictures, held out for that" in text
    assert "| class weights | balanced |" in text
    assert "--class-weights balanced --no-mirror\n" in text
    assert "peak memory " in out
    status, out, _ = run("evaluate", "models/shapes.pt", "--data", many)
    assert status == 0
    measured, recorded = (
        re.search(rf"^{word}: (.*)$", out, re.MULTILINE) for word in ("measured", "recorded")
    )
    assert measured
    assert recorded
    assert measured[1] == recorded[1]


def test_pictures_may_be_large_and_stay_in_their_files(run: Run, pictures: Path) -> None:
    asked = (
        "--data",
        pictures,
        "--name",
        "shapes",
        "--device",
        "cpu",
        "--size",
        "64",
        *LENET,
        "--epochs",
        "2",
    )
    weights = []
    for memory in ("1", "0.0001"):
        status, _, err = run("fit", *asked, "--memory", memory)
        assert (status, err) == (0, "")
        module, card = load_artefact(Path("models/shapes.pt"))
        assert card["input"] == {"height": 64, "width": 64, "channels": 3}
        weights.append([weight.clone() for weight in module.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
    status, out, _ = run("evaluate", "models/shapes.pt", "--data", pictures, "--memory", "0.0001")
    assert status == 0
    assert "the data are those the model was measured on" in out


def test_a_small_set_is_said_to_be_small(run: Run, folder: Callable[..., Path]) -> None:
    root = folder({"train/cat": 4, "train/dog": 4, "test/dog": 1})
    recipe = RECIPES["modern"]
    quick = type(recipe)(**(vars(recipe) | {"epochs": 1, "least_batches": 2}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "modern", quick)
        status, out, err = run("fit", "--data", root, "--device", "cpu")
    assert (status, err) == (0, "")
    assert "8 pictures are few: 2 epochs, batches of 16\n" in out


def test_recipes_for_other_networks_are_refused(run: Run, pictures: Path) -> None:
    status, _, err = run("fit", *LENET, "--recipe", "modern", "--data", pictures)
    assert status == 2
    assert "--recipe modern needs a network with batch normalisation: --network resnet" in assert_a_sentence(
        err
    )


def test_a_benchmark_says_how_long_a_target_takes(
    run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    asked = ("--data", pictures, *LENET, "--epochs", "2", "--device", "cpu")
    status, out, err = run("benchmark", "--runs", "2", "--target", "100", *asked)
    assert (status, err) == (0, "")
    assert re.search(r"accuracy +\d+\.\d\d ± \d+\.\d\d % \(n = 2\)", out)
    assert "reached 100.0%      0 of 2 runs" in out
    assert re.search(r"process +\d+\.\d\d ± \d+\.\d\d s \(n = 2\)", out)
    assert not list(Path().iterdir()), "models and runs of a benchmark are thrown away"
    status, _, err = run("benchmark", "--epochs", "many")
    assert status == 2
    assert "--epochs: invalid positive value: 'many'" in err
    status, _, err = run("benchmark", "--runs", "1", "--data", "nowhere")
    assert status == 2
    assert "run 1 failed: error: --data nowhere: neither" in assert_a_sentence(err)


def test_two_runs_do_not_share_a_folder(run: Run, pictures: Path) -> None:
    Path("runs/shapes-lenet").mkdir(parents=True)
    asked = ("fit", *LENET, "--data", pictures, "--device", "cpu", "--epochs", "1")
    command = [sys.executable, "-c", HOLD_THE_LOCK, "runs/shapes-lenet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        holder.stdout.readline()
        status, _, err = run(*asked)
        holder.kill()
    assert status == 2
    assert "another run is going on in runs/shapes-lenet: wait for it, or choose another --run-dir" in (
        assert_a_sentence(err)
    )
    assert run(*asked)[0] == 0, "who is gone holds nothing"


HOLD_THE_LOCK = """
import fcntl, sys, time
file = open(sys.argv[1] + "/.lock", "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


def test_a_new_run_does_not_show_the_result_of_the_one_before(
    run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise Diverged("the loss is nan")

    asked = ("fit", *LENET, "--data", pictures, "--device", "cpu", "--epochs", "1")
    assert run(*asked)[0] == 0
    before = Path("runs/shapes-lenet/result.pt").read_bytes()
    monkeypatch.setattr(runs, "fit", fit)
    assert run(*asked)[0] == 2
    assert not Path("runs/shapes-lenet/result.pt").exists()
    assert Path("runs/shapes-lenet/result.old.pt").read_bytes() == before


def test_a_killed_worker_ends_in_a_sentence(
    run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")  # as torch has it

    monkeypatch.setattr(runs, "fit", fit)
    status, _, err = run("fit", *LENET, "--data", pictures, "--device", "cpu", "--epochs", "1")
    assert status == 2
    assert "reading pictures failed: DataLoader worker (pid 7) is killed" in assert_a_sentence(err)


def test_processes_that_find_different_pictures_do_not_train(
    run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def share(_: Processes, value: object) -> object:
        return "sha256:another" if isinstance(value, str) else value

    monkeypatch.setattr(Processes, "share", share)
    status, _, err = run("fit", *LENET, "--data", pictures, "--device", "cpu", "--epochs", "1")
    assert status == 2
    assert "holds other pictures here than where the first process reads" in assert_a_sentence(err)


def test_classes_without_test_pictures_and_without_a_temperature_are_said(
    run: Run, folder: Callable[..., Path]
) -> None:
    root = folder({"train/cat": 3, "train/dog": 5, "test/dog": 1})
    status, out, _ = run("fit", "--data", root, "--device", "cpu", "--epochs", "1", "--batch-size", "8")
    assert status == 0
    assert "no test pictures of cat" in out
    assert "too few pictures to hold any out for a temperature: it stays 1" in out
    text = Path("models/pets-resnet.md").read_text(encoding="utf-8")
    assert "Logits" not in text
    assert "not equally frequent: 3 to 5 training pictures, not weighted" in text


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--resume",), "no --resume"),
        (("--seed", "3"), "no --seed"),
        (("--run-dir", "here"), "no --run-dir"),
        (("--name", "me"), "no --name"),
        (("--models-dir", "keep"), "no --models-dir"),
    ],
)
def test_a_benchmark_refuses_what_it_chooses_itself(run: Run, given: tuple[str, ...], says: str) -> None:
    status, _, err = run("benchmark", "--runs", "2", *given)
    assert status == 2
    assert says in assert_a_sentence(err)


@pytest.mark.parametrize("option", [("--learning-rate", "1e300"), ("--batch-size", "9" * 20)])
def test_a_number_beyond_reason_is_refused(
    pictures: Path, option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--data", str(pictures), *option])
    assert "1,000,000,000" in capsys.readouterr().err


def test_ctrl_c_during_the_imports_is_no_traceback(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "training", "fit"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    while "torch." not in (line := process.stderr.readline()):
        assert line, "it ended before"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert process.returncode == 130
