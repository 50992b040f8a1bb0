"""The report: one page that stands alone, whatever the labels, whatever the run left behind."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from training.__main__ import main
from training.data import Data
from training.evaluate import evaluate
from training.networks import build
from training.report import ReportError, write_report
from training.result import save_result

ODD = [
    "<script>alert('x')</script>",
    "$x_1$ & co",
    "漢字の分類ラベルの長い名前",
    "صورة قطة",
    'say "hi"',
    "a" * 90,
]
WITHOUT_END = {"meta", "img", "br", "link", "hr", "image", "use", "path", "rect"}


class Page(HTMLParser):
    """What a browser takes from a page: its texts, its elements, and whether they are closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(self.source)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in WITHOUT_END:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in WITHOUT_END:
            assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, text: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.texts.append(text)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def drawing(self, start: str) -> str:
        """Give the one drawing's description that starts so."""
        (label,) = [
            label for each in self.all("svg") if (label := each["aria-label"] or "").startswith(start)
        ]
        return label


def history(folder: Path, epochs: int, **changed: object) -> None:
    keys = ("loss", "accuracy", "test_loss", "test_accuracy", "learning_rate", "pictures_per_second")
    rows = [
        {"epoch": epoch, "seconds": 61.0 * epoch} | dict.fromkeys(keys, epoch / (epochs + 1)) | changed
        for epoch in range(1, epochs + 1)
    ]
    (folder / "history.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def card(labels: list[str]) -> dict[str, Any]:
    return {
        "name": "shapes",
        "version": "1.2.3",
        "labels": labels,
        "input": {"height": 32, "width": 32, "channels": 3},
        "parameters": 62006,
        "macs": 651720,
        "speed": {"milliseconds": 1.5, "threads": 1, "batch": 1, "processor": "x86_64"},
        "training": {
            "network": "lenet",
            "epochs": 3,
            "recipe": {"name": "standard", "batch_size": 16},
            "data": {
                "name": "shapes",
                "note": "",
                "training_pictures": 60,
                "test_pictures": 24,
                "split": "test",
            },
            "command": "python -m training fit --data shapes",
        },
    }


def result(folder: Path, labels: list[str], truth: list[int], predicted: list[int]) -> None:
    """Leave what a run leaves: it takes `truth` for `predicted`, each a little surer than the one before."""
    true, taken = torch.tensor(truth), torch.tensor(predicted)
    logits = torch.nn.functional.one_hot(taken, len(labels)) * torch.linspace(2, 6, len(truth))[:, None]
    wrong = (true != taken).nonzero().flatten().flip(0)[:48]
    mistakes = {
        "images": torch.randint(0, 256, (len(wrong), 3, 32, 32), dtype=torch.uint8),
        "truth": true[wrong],
        "predicted": taken[wrong],
        "confidence": logits.softmax(1).amax(1)[wrong],
    }
    content = {"card": json.dumps(card(labels)), "logits": logits, "truth": true, "mistakes": mistakes}
    torch.save(content | {"filters": torch.randn(6, 3, 5, 5)}, folder / "result.pt")


def test_the_page_shows_what_the_run_came_to(tmp_path: Path) -> None:
    history(tmp_path, 3)
    result(tmp_path, ["bar", "disc"], [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 0, 0])
    page = Page(write_report(tmp_path))
    assert not page.open, "every element is closed"
    assert page.drawing("Confusion matrix") == (
        "Confusion matrix of 2 classes: 5 of 8 pictures lie on its diagonal"
    )
    assert "Accuracy 62.50%" in page.text
    assert "disc taken for bar : 2 of 4" in page.text
    assert "bar taken for disc : 1 of 4" in page.text
    assert "bar 75.0% of 4" in page.text
    assert "disc 50.0% of 4" in page.text
    assert "training 25.0% in epoch 1, 75.0% in epoch 3" in page.drawing("training 25.0%")
    assert "6 filters of 5×5" in page.text
    assert "62,006" in page.text
    assert "python -m training fit --data shapes" in page.text
    pictures = [each["alt"] for each in page.all("img")]
    assert pictures == [""] * 6 + ["a picture of disc", "a picture of disc", "a picture of bar"]


def test_reliability_says_how_often_the_model_is_right_in_each_bin(tmp_path: Path) -> None:
    content = [0, 0, 1, 1]
    result(tmp_path, ["bar", "disc"], content, [0, 0, 1, 0])
    bins = Page(write_report(tmp_path)).drawing("Accuracy by confidence")
    # 2, 3.33, 4.67 and 6 nats ahead: 88, 96.6, 99.1 and 99.8 % sure; the last is wrong.
    assert "confidence 87% to 93%: accuracy 100%" in bins
    assert "confidence 93% to 100%: accuracy 67%" in bins


def test_the_page_needs_no_network_and_runs_nothing(tmp_path: Path) -> None:
    history(tmp_path, 3)
    result(tmp_path, ODD, [0, 1, 2, 3, 4, 5], [1, 1, 2, 3, 5, 5])
    page = Page(write_report(tmp_path))
    (policy,) = [each["content"] for each in page.all("meta") if "http-equiv" in each]
    assert policy is not None
    assert "default-src 'none'" in policy
    named = [
        value for _, each in page.elements for key, value in each.items() if key.endswith(("src", "href"))
    ]
    assert named
    assert all((value or "").startswith(("data:", "#")) for value in named)
    assert not page.all("script")
    assert "url(http" not in page.source
    assert "@import" not in page.source
    assert not [key for _, each in page.elements for key in each if key.startswith("on")]


def test_labels_of_any_kind_are_shown_as_they_are(tmp_path: Path) -> None:
    result(tmp_path, ODD, [0, 1, 2, 3, 4, 5], [1, 1, 2, 3, 5, 5])
    page = Page(write_report(tmp_path))
    assert not page.open
    for label in ODD:
        assert label in page.text, "in the list of classes, whole"
    assert "漢字の分類ラ…" in page.text, "beside the matrix, cut to the room there is"
    assert f"{'a' * 13}…" in page.text
    assert not re.findall(r"@\d+@", page.source), "no stand-in is left"


@pytest.mark.parametrize("classes", [2, 40, 70, 300, 1000])
def test_any_number_of_classes_fits(tmp_path: Path, classes: int) -> None:
    truth = list(range(classes)) * 2
    result(tmp_path, [f"class {each}" for each in range(classes)], truth, [*truth[1:], 0])
    page = Page(write_report(tmp_path))
    assert not page.open
    assert f"Confusion matrix of {classes} classes: 0 of {2 * classes:,} pictures" in page.source
    bars = sum((each["style"] or "").startswith("background-size") for each in page.all("i"))
    assert bars == (classes if classes <= 60 else 60)
    assert len(page.source) < 3_000_000


def test_a_run_without_a_mistake_says_so(tmp_path: Path) -> None:
    result(tmp_path, ["bar", "disc"], [0, 1], [0, 1])
    page = Page(write_report(tmp_path))
    assert "every test picture was recognised" in page.text
    assert "Accuracy 100.00%" in page.text
    assert "The run's history.jsonl is not there." in page.text


def test_a_class_without_test_pictures_is_left_out_of_the_bars(tmp_path: Path) -> None:
    result(tmp_path, ["bar", "disc", "none"], [0, 1], [0, 0])
    page = Page(write_report(tmp_path))
    assert "Classes left out, for want of a test picture: 1." in page.text
    assert "none 0.0%" not in page.text


def test_a_run_that_is_going_on_shows_its_curves(tmp_path: Path) -> None:
    history(tmp_path, 2)
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"epoch": 3, "lo')  # the crash that ended it
    page = Page(write_report(tmp_path))
    assert "going on or was interrupted" in page.text
    assert "training 33.3% in epoch 1, 66.7% in epoch 2" in page.drawing("training 33.3%")
    assert not [each for each in page.all("svg") if "Confusion" in (each["aria-label"] or "")]


def test_a_value_that_is_no_number_leaves_its_point_out(tmp_path: Path) -> None:
    history(tmp_path, 2, test_accuracy=None, loss=float("nan"))
    page = Page(write_report(tmp_path))
    assert not page.open
    assert "test 33.3%" not in page.source
    assert "training 33.3% in epoch 1" in page.source


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "neither history.jsonl nor result.pt is there"),
        ({"history.jsonl": b""}, "no epoch is over yet"),
        ({"history.jsonl": b'{"epoch": 1}\nrubbish\n{"epoch": 2}\n'}, "is damaged in line 2"),
        ({"history.jsonl": b'{"epoch": 1}\n[]\n{"epoch": 2}\n'}, "is damaged in line 2"),
        ({"result.pt": b""}, "is damaged, or not one of this version"),
        ({"result.pt": b"PK\x03\x04 rubbish"}, "is damaged, or not one of this version"),
    ],
)
def test_what_cannot_be_shown_is_said_and_leaves_no_page(
    tmp_path: Path, files: dict[str, bytes], says: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ReportError, match=re.escape(says)) as told:
        write_report(tmp_path)
    assert "python -m training fit" in str(told.value)
    assert {each.name for each in tmp_path.iterdir()} == set(files)


@pytest.mark.parametrize("part", ["card", "logits", "truth", "mistakes"])
def test_a_result_with_a_part_missing_is_said_to_be_damaged(tmp_path: Path, part: str) -> None:
    result(tmp_path, ["bar", "disc"], [0, 1], [0, 0])
    content = torch.load(tmp_path / "result.pt", weights_only=True)
    torch.save({key: value for key, value in content.items() if key != part}, tmp_path / "result.pt")
    with pytest.raises(ReportError, match="damaged"):
        write_report(tmp_path)


def test_what_a_fit_leaves_is_what_the_report_reads(
    tmp_path: Path, data: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = build("lenet", len(data.labels)).eval()
    logits = torch.linspace(-1, 1, len(data.test) * 3).view(-1, 3)
    labels = list(data.labels)
    save_result(tmp_path / "result.pt", card(labels), logits, data.test, classifier)
    assert main(["report", str(tmp_path)]) == 0
    assert "report.html" in capsys.readouterr().out
    page = Page(tmp_path / "report.html")
    right = (logits.argmax(1) == data.test.labels).sum().item()
    assert f"{right} of {len(data.test)} pictures lie on its diagonal" in page.source
    assert len([each for each in page.all("img") if each["alt"]]) == len(data.test) - right
    assert evaluate(classifier, data.test, data.labels).pictures == len(data.test)


def test_a_folder_that_is_no_run_is_said_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "neither history.jsonl nor result.pt is there" in capsys.readouterr().err
