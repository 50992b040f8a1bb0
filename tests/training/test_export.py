"""The artefact: what the contract says is in the file, and a file that is none is refused."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from training import export
from training.card import describe_data, describe_model, write_card
from training.data import Data
from training.devices import Machine
from training.errors import ArtefactError
from training.evaluate import evaluate
from training.export import load_artefact, save_artefact
from training.networks import Classifier, build
from training.recipes import Recipe


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.manual_seed(0)
    return build("lenet", 3).eval()


@pytest.fixture(scope="module")
def card(classifier: Classifier, data: Data, recipe: Recipe) -> dict[str, Any]:
    metrics = evaluate(classifier, data.test, data.labels)
    return describe_model(
        "shapes-lenet",
        "1.2.3",
        "lenet",
        recipe,
        7,
        [{"seconds": 12.34, "pictures_per_second": 1000.0, "peak_memory_bytes": 2**30}],
        Machine(),
        classifier,
        0,
        describe_data(data, "Drawn | by code."),
        metrics,
        "python -m training fit --data FOLDER_OR_NAME --network lenet",
    )


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, classifier: Classifier, card: dict[str, Any], data: Data
) -> Path:
    path = tmp_path_factory.mktemp("models") / "shapes-lenet.pt"
    save_artefact(path, classifier, card, data.test.images)
    return path


@pytest.fixture
def artefact(exported: Path, tmp_path: Path) -> Path:
    """Give a copy of an exported file, alone in its folder."""
    assert folder_of(exported) == ["SHA256SUMS", "shapes-lenet.pt"]
    return Path(shutil.copy(exported, tmp_path))


def folder_of(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


def test_torch_alone_can_read_the_file_and_its_model_json(artefact: Path, card: dict[str, Any]) -> None:
    extra = {"model.json": ""}
    torch.jit.load(str(artefact), _extra_files=extra)
    assert json.loads(extra["model.json"]) == card


def test_model_json_has_what_the_contract_says(card: dict[str, Any], data: Data, recipe: Recipe) -> None:
    assert {
        key: card[key] for key in ("schema", "name", "version", "labels", "input", "parameters", "macs")
    } == {
        "schema": 1,
        "name": "shapes-lenet",
        "version": "1.2.3",
        "labels": ["bar", "checkers", "disc"],
        "input": {"height": 32, "width": 32, "channels": 3},
        "parameters": 62_006 - 7 * 85,
        "macs": 651_720 - 7 * 84,
    }
    described = {
        "name": "shapes",
        "note": "Drawn | by code.",
        "pictures_a_class": [20, 20],
        "training_pictures": 60,
        "test_pictures": 24,
        "split": "test",
        "fingerprint": data.fingerprint,
        "skipped": 0,
    }
    metrics, training = card["metrics"], card["training"]
    assert metrics["data"] == training["data"] == described
    assert set(metrics) == {
        *("accuracy", "loss", "expected_calibration_error", "per_class_accuracy", "confusion_matrix"),
        *("pictures", "data"),
    }
    assert (training["network"], training["seed"], training["epochs"]) == ("lenet", 7, 3)
    assert training["recipe"]["name"] == recipe.name
    assert training["recipe"]["shift"] == recipe.shift
    assert training["seconds"] == 12.3
    assert training["torch"] == torch.__version__
    assert training["device"].startswith("cpu (")
    assert len(training["date"].split("-")) == 3
    assert set(card) == {
        *("schema", "name", "version", "labels", "input", "metrics", "training", "parameters", "macs"),
        "speed",
    }
    assert card["speed"].keys() == {"milliseconds", "batch", "threads", "processor"}
    assert 0 < card["speed"]["milliseconds"] < 1000


def test_the_file_answers_as_the_network_does(artefact: Path, classifier: Classifier, data: Data) -> None:
    module, _ = load_artefact(artefact)
    with torch.inference_mode():
        logits = module(data.test.images)
        assert torch.equal(logits, classifier(data.test.images))
        assert torch.allclose(module(data.test.images[:1]), logits[:1], atol=1e-5)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize(("height", "width"), [(32, 32), (97, 61), (1, 1000), (1, 1), (20, 31)])
def test_the_file_prepares_as_the_network_does(
    artefact: Path, classifier: Classifier, height: int, width: int
) -> None:
    module, _ = load_artefact(artefact)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    prepared = module.prepare(image)
    assert torch.equal(prepared, classifier.prepare(image))
    assert (prepared.dtype, prepared.shape) == (torch.uint8, (3, 32, 32))


def test_the_file_holds_float32_on_the_cpu_ready_to_be_asked(artefact: Path) -> None:
    module, _ = load_artefact(artefact)
    weights = list(module.parameters())
    assert sum(weight.numel() for weight in weights) == 62_006 - 7 * 85
    assert {(weight.dtype, weight.device.type) for weight in weights} == {(torch.float32, "cpu")}
    assert not module.training


def test_the_temperature_travels_in_the_file(tmp_path: Path, classifier: Classifier, data: Data) -> None:
    warm = Classifier(classifier.network, 32, temperature=1.7).eval()
    save_artefact(tmp_path / "warm.pt", warm, {}, data.test.images)
    module, _ = load_artefact(tmp_path / "warm.pt")
    assert torch.allclose(module(data.test.images), classifier(data.test.images) / 1.7, atol=1e-5)


@pytest.mark.parametrize("name", ["with space.pt", "süß 🐈.pt", "a.b.pt"])
def test_the_file_may_lie_anywhere(tmp_path: Path, classifier: Classifier, data: Data, name: str) -> None:
    path = tmp_path / "neue Modelle" / name
    save_artefact(path, classifier, {"labels": ["ä"]}, data.test.images)
    assert load_artefact(path)[1] == {"labels": ["ä"]}
    assert folder_of(path) == sorted(["SHA256SUMS", name])


def drifted_forward(self: Classifier, images: Tensor) -> Tensor:
    logits: Tensor = self.network(images.to(torch.float32) / 127.5 - 1.0)
    return logits + (0.0 if torch.jit.is_scripting() else 1e-3)


@torch.jit.export
def drifted_prepare(self: Classifier, image: Tensor) -> Tensor:
    return image[:, :32, :32] if torch.jit.is_scripting() else image[:, -32:, -32:]


def lost_forward(self: Classifier, images: Tensor) -> Tensor:
    logits: Tensor = self.network(images.to(torch.float32) / 127.5 - 1.0)
    return logits * float("nan")


@pytest.mark.parametrize(
    ("method", "drifted", "says"),
    [
        ("forward", drifted_forward, r"logits differ by 0\.001, over 0\.0001"),
        ("forward", lost_forward, "logits differ by nan"),
        ("prepare", drifted_prepare, "the exported prepare differs on a 97×61 picture"),
    ],
)
def test_a_file_that_differs_from_the_network_never_takes_its_place(
    artefact: Path, card: dict[str, Any], data: Data, method: str, drifted: object, says: str
) -> None:
    kind = type("Drifted", (Classifier,), {method: drifted})
    before = artefact.read_bytes()
    with pytest.raises(ArtefactError, match=says):
        save_artefact(artefact, kind(build("lenet", 3).network, 32).eval(), card, data.test.images)
    assert artefact.read_bytes() == before
    assert folder_of(artefact) == ["shapes-lenet.pt"]


def test_the_manifest_says_what_each_file_has_to_be(
    tmp_path: Path, classifier: Classifier, card: dict[str, Any], data: Data
) -> None:
    for name in ("one", "two", "one"):
        save_artefact(tmp_path / f"{name}.pt", classifier, card, data.test.images)
    done = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "two.pt: OK\none.pt: OK\n")


def test_no_manifest_is_begun_beside_files_that_nobody_vouched_for(
    artefact: Path, classifier: Classifier, card: dict[str, Any], data: Data
) -> None:
    save_artefact(artefact.with_name("new.pt"), classifier, card, data.test.images)
    assert folder_of(artefact) == ["new.pt", "shapes-lenet.pt"]


def test_an_interrupted_export_leaves_what_was_there(
    artefact: Path, classifier: Classifier, card: dict[str, Any], data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "check_parity", interrupted)
    before = artefact.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        save_artefact(artefact, classifier, card | {"version": "2"}, data.test.images)
    assert artefact.read_bytes() == before
    assert folder_of(artefact) == ["shapes-lenet.pt"]


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_figures_that_are_no_numbers_are_refused(
    tmp_path: Path, classifier: Classifier, card: dict[str, Any], data: Data, figure: float
) -> None:
    """NaN is not JSON: other readers would refuse the file, or read it as something else."""
    diverged = card | {"metrics": card["metrics"] | {"loss": figure}}
    with pytest.raises(ArtefactError, match="not finite: training diverged"):
        save_artefact(tmp_path / "model.pt", classifier, diverged, data.test.images)
    assert list(tmp_path.iterdir()) == []


class NoPrepare(torch.nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images


def write(path: Path, module: torch.nn.Module, **extra: str) -> None:
    torch.jit.save(
        torch.jit.script(module), str(path), _extra_files={"model.json": "", **extra} if extra else {}
    )


def test_a_file_that_is_no_artefact_is_refused_with_what_is_wrong(
    tmp_path: Path, classifier: Classifier
) -> None:
    torch.save(classifier.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "text.pt").write_text("no model")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "folder.pt").mkdir()
    write(tmp_path / "foreign.pt", classifier)
    write(tmp_path / "no prepare.pt", NoPrepare(), **{"model.json": "{}"})
    write(tmp_path / "no json.pt", classifier, **{"model.json": "{"})
    for name, says in {
        "weights": "is not a TorchScript file, or is damaged",
        "text": "is not a TorchScript file, or is damaged",
        "empty": "is not a TorchScript file, or is damaged",
        "folder": "is not there",
        "missing": "is not there",
        "foreign": "has no model.json inside: it was not exported by this tool",
        "no prepare": "has no method `prepare`",
        "no json": "the model.json inside is not JSON",
    }.items():
        path = tmp_path / f"{name}.pt"
        with pytest.raises(ArtefactError, match=says) as refused:
            load_artefact(path)
        assert str(path) in str(refused.value)


def test_a_file_cut_short_is_refused(artefact: Path) -> None:
    whole = artefact.read_bytes()
    artefact.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtefactError, match="is not a TorchScript file, or is damaged"):
        load_artefact(artefact)


def test_the_card_beside_holds_the_figures(tmp_path: Path, card: dict[str, Any]) -> None:
    metrics = card["metrics"] | {
        "accuracy": 0.8125,
        "loss": 0.54321,
        "expected_calibration_error": 0.0375,
        "per_class_accuracy": {"bar": 0.75, "che|ckers": None, "disc": 1.0},
        "pictures": 1234,
    }
    write_card(tmp_path / "card.md", card | {"metrics": metrics})
    text = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert text.startswith("# shapes-lenet 1.2.3\n")
    assert "| 81.25% | 0.5432 | 3.75% |" in text
    assert "on the 1,234 test pictures" in text
    assert "| bar | 75.0% |\n| che\\|ckers | – |\n| disc | 100.0% |" in text
    assert "\nDrawn | by code.\n" in text
    assert "61,411 parameters, 651,132 multiply-adds" in text
    assert "`shapes`: 60 pictures to train on, 24 to test on (its own test split)" in text
    assert card["training"]["data"]["fingerprint"] in text
    assert "\npython -m training fit --data FOLDER_OR_NAME --network lenet\n" in text
    assert "ms a picture on one CPU core" in text
    assert "(1,000 pictures a second, at most 1,024 MiB)" in text
    assert "| learning rate | 0.05 |" in text
