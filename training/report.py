"""Show a training run as one HTML page that needs nothing else: no network, no script, no other file."""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training import figures
from training.errors import TrainingError
from training.evaluate import Metrics, measure
from training.history import Row

FIT_FIRST = "run `python -m training fit` first, or name its folder: runs/NAME"
MOST_BARS = 30  # best classes, and worst ones, where there are more than twice as many
MOST_CONFUSIONS = 12
FEW = 12  # classes, whose matrix fits a telephone
MOST_MISTAKES = 48


class ReportError(TrainingError):
    """A run cannot be shown: its files are missing or damaged."""


@dataclass(frozen=True)
class Result:
    """What a finished run came to, as `result.pt` has it."""

    card: dict[str, Any]  # model.json
    logits: Tensor  # float32 N×classes
    truth: Tensor  # int64 N
    images: Tensor  # uint8 M×C×S×S, 0..255: the most confident mistakes
    mistakes: list[tuple[int, int, float]]  # M of: true class, predicted class, confidence in 0..1
    filters: Tensor | None  # float32 K×C×F×F: the first layer's
    metrics: Metrics
    labels: list[str]

    @property
    def confusion(self) -> Tensor:
        """int64 classes×classes, rows: the true class."""
        return torch.tensor(self.metrics.confusion_matrix)


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into a run's folder, all or nothing, from its history and its result.

    A run without result, which is going on or was interrupted, shows its curves. Raises ReportError.
    """
    rows, result = read_history(run_dir / "history.jsonl"), read_result(run_dir / "result.pt")
    if not rows and not result:
        begun = (run_dir / "history.jsonl").is_file()
        missing = "no epoch is over yet" if begun else "neither history.jsonl nor result.pt is there"
        raise ReportError(f"{run_dir}: {missing}; {FIT_FIRST}")
    path = run_dir / "report.html"
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(compose(run_dir.resolve().name, rows, result).encode(errors="replace"))
    os.replace(beside, path)  # noqa: PTH105  (atomic)
    return path


def read_history(path: Path) -> list[Row]:
    """Read the rows of the finished epochs; none where there is no file. Raises ReportError.

    A last line that a crash has cut is left out.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows.append(row | {"epoch": int(row["epoch"])})
        except (ValueError, KeyError, TypeError, OverflowError):
            if number < len(lines):
                raise ReportError(
                    f"{path} is damaged in line {number}, which is not an epoch's; {FIT_FIRST}"
                ) from None
    return rows


def read_result(path: Path) -> Result | None:
    """Read what a finished run came to; None where there is no file. Raises ReportError."""
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        card, logits, truth = json.loads(content["card"]), content["logits"].float(), content["truth"]
        labels, mistakes = [str(label) for label in card["labels"]], content["mistakes"]
        keys = ("truth", "predicted", "confidence")
        listed = list(zip(*(mistakes[key].tolist() for key in keys), strict=True))
        images = mistakes["images"]
        named = all(0 <= each < len(labels) for pair in listed for each in pair[:2])
        if len(images) != len(listed) or images.dtype != torch.uint8 or not named:
            raise ValueError("mistakes")
        if logits.shape != (len(truth), len(labels)) or not 0 <= int(truth.min()) <= int(truth.max()):
            raise ValueError("logits")
        numbered = [f"{index} {label}" for index, label in enumerate(labels)]  # a label may occur twice
        metrics = measure(logits, truth, numbered)
        return Result(card, logits, truth, images, listed, content["filters"], metrics, labels)
    except Exception as error:  # what unpickling raises has no common base
        raise ReportError(
            f"{path} is damaged, or not one of this version ({type(error).__name__}); {FIT_FIRST}"
        ) from error


def compose(run: str, rows: list[Row], result: Result | None) -> str:
    """Put the page together."""
    sections = [headline(run, rows, result), curves(rows)]
    if result:
        sections += [
            classes(result),
            f'<div class="pairs">{calibration(result)}\n{filters(result)}</div>',
            mistakes(result),
            *model_card(result.card),
        ]
    name = result.card.get("name", run) if result else run
    return PAGE.format(title=escape(f"{name}: a training run"), style=STYLE, body="\n".join(sections))


def headline(run: str, rows: list[Row], result: Result | None) -> str:
    """Say what the run is, how far it is, and its figures."""
    last = rows[-1] if rows else {}
    if result is None:
        shown = [
            ("Test accuracy", percent(last.get("test_accuracy")), ""),
            ("Test loss", number(last.get("test_loss"), ".4f"), "nats"),
            ("Epochs", f"{last['epoch']:,}", "finished so far"),
            ("Time", duration(last.get("seconds")), ""),
        ]
        said = "This run is going on or was interrupted: there are curves, but no result yet."
        return f'<header><h1>{escape(run)}</h1>\n<p class="state">{said}</p>\n{tiles(shown)}</header>'
    card, metrics = result.card, result.metrics
    training, speed = part(card, "training"), part(card, "speed")
    low, high = interval(metrics.accuracy, metrics.pictures)
    processor = f"one picture, {number(speed.get('threads'))} thread, {speed.get('processor', 'CPU')}"
    shown = [
        ("Accuracy", percent(metrics.accuracy), f"95% interval: {low:.2%} to {high:.2%}"),
        ("Loss", f"{metrics.loss:.4f}", f"nats, on {metrics.pictures:,} test pictures"),
        ("Calibration error", percent(metrics.expected_calibration_error), "expected, 15 bins"),
        ("Parameters", short(card.get("parameters")), number(card.get("parameters"), ",")),
        ("Multiply-adds", short(card.get("macs")), "for one picture"),
        ("Time a picture", f"{number(speed.get('milliseconds'), 'g')} ms", processor),
        ("Training time", duration(training.get("seconds")), str(training.get("device", ""))),
        ("Training speed", number(training.get("pictures_per_second"), ",.0f"), "pictures a second"),
    ]
    shown = [each for each in shown if not each[1].startswith("–")]
    epochs, state = training.get("epochs"), ""
    if rows and isinstance(epochs, int) and last["epoch"] < epochs:
        state = (
            f'<p class="state">A newer run in this folder has come to epoch {last["epoch"]}: the curves '
            "are of that one, everything else is of the one before.</p>\n"
        )
    title = f"{escape(str(card.get('name', run)))} <small>{escape(str(card.get('version', '')))}</small>"
    return f"<header><h1>{title}</h1>\n{state}{tiles(shown)}</header>"


def curves(rows: list[Row]) -> str:
    """Show what changed from epoch to epoch."""
    if not rows:
        return section("Curves", "<p>The run's history.jsonl is not there.</p>")
    both = {"training": "loss", "test": "test_loss"}
    drawn = [
        ("Loss", "in nats", figures.draw_curves("loss", rows, both)),
        (
            "Accuracy",
            "part of the pictures that are recognised",
            figures.draw_curves(
                "accuracy", rows, {"training": "accuracy", "test": "test_accuracy"}, percent=True
            ),
        ),
        (
            "Learning rate",
            "at the end of the epoch",
            figures.draw_curves("rate", rows, {"rate": "learning_rate"}, from_zero=True),
        ),
        (
            "Speed",
            "pictures a second, in training",
            figures.draw_curves("speed", rows, {"speed": "pictures_per_second"}, from_zero=True),
        ),
    ]
    told = (
        "Training figures are taken on augmented pictures while the weights change; test figures after "
        "the epoch."
    )
    shown = "\n".join(figure(f"<b>{title}</b>, {unit}", image) for title, unit, image in drawn if image)
    return section("Curves", f'<p>{told}</p>\n<div class="pairs">{shown}</div>')


def classes(result: Result) -> str:
    """Show which classes are taken for which, and how often each is recognised."""
    matrix, labels = result.confusion, result.labels
    caption = (
        "<b>Confusion matrix</b>: a row is a true class, a column what it was taken for. Blue is right, "
        "orange is wrong; the stronger, the larger its part of the row."
    )
    drawn = figure(caption, figures.draw_confusion(matrix, labels), "wide" if len(labels) > FEW else "matrix")
    wrong = matrix - matrix.diag().diag()
    counts, places = wrong.flatten().sort(descending=True, stable=True)
    pairs = [
        f"<li>{bdi(labels[place // len(labels)])} taken for {bdi(labels[place % len(labels)])}: "
        f"<b>{count:,}</b> of {int(matrix[place // len(labels)].sum()):,}</li>"
        for count, place in zip(counts[:MOST_CONFUSIONS].tolist(), places.tolist(), strict=False)
        if count
    ]
    most = f'<div><h3>Most frequent confusions</h3>\n<ol class="columns">{"".join(pairs)}</ol></div>'
    beside = f'<div class="beside">{drawn}\n{most if pairs else ""}</div>'
    totals, hits = matrix.sum(1).tolist(), matrix.diag().tolist()
    known = [(hits[i] / totals[i], label, totals[i]) for i, label in enumerate(labels) if totals[i]]
    known.sort(key=lambda each: (-each[0], each[1]))
    empty = len(labels) - len(known)
    without = f"<p>Classes left out, for want of a test picture: {empty:,}.</p>" if empty else ""
    if len(known) <= 2 * MOST_BARS:
        bars = f"<h3>Accuracy by class</h3>\n{without}{bar_list(known)}"
    else:
        bars = (
            f"<h3>Accuracy by class: the best {MOST_BARS} of {len(known):,}</h3>\n{without}"
            f"{bar_list(known[:MOST_BARS])}\n"
            f"<h3>The worst {MOST_BARS} of {len(known):,}</h3>\n{bar_list(known[-MOST_BARS:])}"
        )
    return section("Classes", f"{beside}\n{bars}")


def bar_list(known: Iterable[tuple[float, str, int]]) -> str:
    """List (accuracy in 0..1, label, test pictures) with a bar each."""
    items = "\n".join(
        f"<li><span>{bdi(label)}</span><span>{accuracy:.1%} <small>of {total:,}</small></span>"
        f'<i style="background-size:{accuracy:.1%} 100%"></i></li>'
        for accuracy, label, total in known
    )
    return f'<ol class="bars columns">{items}</ol>'


def calibration(result: Result) -> str:
    """Show whether the model is right as often as it is sure."""
    confidence, predicted = result.logits.double().softmax(1).max(1)
    drawn = figures.draw_reliability(confidence, predicted == result.truth)
    caption = (
        "<b>Reliability</b>: of the pictures that the model is so sure of, how many are recognised; below, "
        f"how many there are. On average the two differ by {result.metrics.expected_calibration_error:.2%}, "
        "the expected calibration error."
    )
    return section("Calibration", figure(caption, drawn, "narrow"))


def filters(result: Result) -> str:
    """Show the first layer's weights as pictures, if it has such."""
    images = figures.draw_filters(result.filters)
    if not images:
        return ""
    assert result.filters is not None
    count, _, height, width = result.filters.shape
    first = "" if len(images) == count else f", the first {len(images)} of {count:,}"
    caption = (
        f"<b>{len(images)} filters of {height}×{width}</b>{first}: each from its least weight to its largest."
    )
    return section("First layer", figure(caption, f'<div class="filters">{"".join(images)}</div>'))


def mistakes(result: Result) -> str:
    """Show the pictures that the model was surest of, and wrong about."""
    if not result.mistakes:
        return section("Surest mistakes", "<p>None: every test picture was recognised.</p>")
    items = []
    listed = zip(result.images, result.mistakes, strict=True)
    for image, (truth, predicted, confidence) in list(listed)[:MOST_MISTAKES]:
        true, taken = result.labels[truth], result.labels[predicted]
        picture = figures.draw_picture(image, f"a picture of {true}")
        items.append(
            f"<li>{picture}<span>{bdi(true)}</span><span>taken for <b>{bdi(taken)}</b> "
            f"<small>{confidence:.1%} sure</small></span></li>"
        )
    told = "<p>Some are the model's fault, some are wrong labels: look before you judge.</p>"
    return section("Surest mistakes", f'{told}\n<ol class="pictures">{"".join(items)}</ol>')


def model_card(card: dict[str, Any]) -> list[str]:
    """Say what the model was made of, and what it cannot do."""
    training, size = part(card, "training"), part(card, "input")
    data, recipe = part(training, "data"), part(training, "recipe")
    split = {"test": "the data's own test part", "held-out": "pictures held out by seed"}
    how = data.get("split")
    about = {
        "data": data.get("name"),
        "note": data.get("note") or None,
        "training pictures": number(data.get("training_pictures"), ","),
        "test pictures": f"{number(data.get('test_pictures'), ',')}: {split.get(str(how), how)}",
        "unreadable files": number(data.get("skipped"), ",") if data.get("skipped") else None,
        "fingerprint": data.get("fingerprint"),
        "classes": number(len(card["labels"]), ","),
        "input": f"{size.get('height')}×{size.get('width')} pixels, {size.get('channels')} channels",
    }
    memory = training.get("peak_memory_bytes")
    made = {
        "network": training.get("network"),
        "seed": training.get("seed"),
        "epochs": training.get("epochs"),
        "temperature": training.get("temperature"),
        "device": training.get("device"),
        "arithmetic": training.get("arithmetic"),
        "pictures a second": number(training.get("pictures_per_second"), ",.0f"),
        "peak memory": f"{memory / 2**20:,.0f} MiB" if isinstance(memory, int | float) else None,
        "time": duration(training.get("seconds")),
        "torch": training.get("torch"),
        "date": training.get("date"),
        "command": training.get("command"),
    }
    limits = (
        f"It knows these {len(card['labels']):,} classes and nothing else: a picture of something else gets "
        "one of these labels all the same.",
        "It sees the central square of a picture at its input's size: what lies outside, or is small, is "
        "lost.",
        "Its mistakes are not spread evenly: see the classes above before relying on one of them.",
    )
    settings = {key.replace("_", " "): value for key, value in recipe.items()}
    return [
        section("Data", table(about)),
        section("Training", f"{table(made)}\n<h3>Recipe</h3>\n{table(settings)}"),
        section("Limits", f"<ul>{''.join(f'<li>{escape(limit)}</li>' for limit in limits)}</ul>"),
    ]


def section(title: str, body: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{body}\n</section>" if body else ""


def figure(caption: str, body: str, kind: str = "") -> str:
    """Set a picture above its caption, HTML both."""
    focus = ' tabindex="0" role="group" aria-label="scrolls sideways"' if kind == "wide" else ""
    named = f' class="{kind}"' if kind else ""
    return f"<figure{named}><div{focus}>{body}</div><figcaption>{caption}</figcaption></figure>"


def table(values: dict[str, Any]) -> str:
    """Lay out what is known of `values`: a row each."""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(key)}</th><td>{bdi(str(value))}</td></tr>'
        for key, value in values.items()
        if value is not None and value != "–"
    )
    return f'<div class="scrolls" tabindex="0"><table>{rows}</table></div>'


def tiles(figures: Iterable[tuple[str, str, str]]) -> str:
    """Lay out (name, figure, remark) as a list of definitions."""
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><dd><small>{escape(remark)}</small></dd></div>"
        for name, value, remark in figures
    )
    return f"<dl>{shown}</dl>"


def bdi(text: str) -> str:
    """Escape a text of any script, right-to-left ones too."""
    return f"<bdi>{escape(text)}</bdi>"


def part(card: dict[str, Any], key: str) -> dict[str, Any]:
    """Take a part of a card; an empty one where older runs have none."""
    found = card.get(key)
    return found if isinstance(found, dict) else {}


def number(value: object, form: str = "") -> str:
    """Write a number; a dash where there is none."""
    return "–" if figures.finite(value) is None else format(value, form)


def percent(value: object) -> str:
    return number(value, ".2%")


def short(value: object) -> str:
    """Write a large number in three digits: 1.85 M."""
    size = figures.finite(value)
    if size is None:
        return "–"
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if size >= unit:
            return f"{size / unit:.3g}{name}"
    return f"{size:g}"


def duration(value: object) -> str:
    """Write seconds as a clock would: 75 -> 1 min 15 s."""
    seconds = figures.finite(value)
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def interval(accuracy: float, pictures: int) -> tuple[float, float]:
    """Give the accuracies, 0..1, that so many test pictures cannot tell apart from this one.

    Wilson's 95 % interval: what another draw of test pictures would change, not another seed.
    """
    z = 1.96
    middle = (accuracy + z**2 / (2 * pictures)) / (1 + z**2 / pictures)
    half = z * math.sqrt(accuracy * (1 - accuracy) / pictures + z**2 / (4 * pictures**2))
    half /= 1 + z**2 / pictures
    return max(0.0, middle - half), min(1.0, middle + half)


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark; --page: #f5f6f8; --card: #fff; --ink: #1b2027; --quiet: #59626f;
  --line: #dde1e7;
  --first: #2563eb; --second: #c2410c; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1216; --card: #181c22; --ink: #e7eaee;
  --quiet: #a0a9b6;
  --line: #323943; --first: #6f9fff; --second: #ff9257; } }
@media print { :root { --page: #fff; --card: #fff; --ink: #000; --quiet: #444; --line: #ccc;
  --first: #2563eb;
  --second: #c2410c; } figure, dl > div, li, tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
  main { max-width: none !important; padding: 0 !important; } * { print-color-adjust: exact; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; text-wrap: balance; }
h1 { font-size: 2rem; margin: 0 0 1rem; }
h2 { font-size: 1.375rem; margin: 3rem 0 .5rem; }
h3 { font-size: 1.0625rem; margin: 2rem 0 .5rem; }
p { margin: 0 0 1rem; max-width: 44rem; }
small { font-size: .8125rem; font-weight: 400; color: var(--quiet); }
h1 small { font-size: 1rem; }
.state { padding: .75rem 1rem; border-left: 4px solid var(--second); border-radius: 6px;
  background: var(--card); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(max(9.5rem, 20%), 1fr)); gap: .75rem;
  margin: 0; }
dl > div, figure { min-width: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1rem; }
dt { font-size: .875rem; color: var(--quiet); }
dd { margin: 0; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.3;
  overflow-wrap: anywhere; }
dd:last-child { font-size: 1rem; }
figure { margin: 0 0 1rem; }
figure svg { display: block; width: 100%; height: auto; }
figure svg * { stroke-linejoin: round; }
figcaption { margin-top: .75rem; font-size: .875rem; color: var(--quiet); max-width: 44rem; }
figcaption b { color: var(--ink); }
.pairs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
.pairs figure { margin: 0; }
.narrow { max-width: 36rem; }
.wide, .matrix { max-width: 40rem; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), auto)); gap: 0 2rem;
  align-items: start; }
.beside h3 { margin-top: 0; }
.wide > div, .scrolls { overflow-x: auto; }
.wide svg { min-width: 28rem; }
.columns { columns: 21rem; column-gap: 2.5rem; padding: 0; margin: 0; list-style: none; }
.columns li { break-inside: avoid; padding: .25rem 0; overflow-wrap: anywhere; }
.bars li { display: grid; grid-template-columns: 1fr auto; gap: 0 1rem; padding: .3rem 0; }
.bars span:last-of-type { font-variant-numeric: tabular-nums; white-space: nowrap; }
.bars i { grid-column: 1 / -1; height: 6px; border-radius: 3px;
  background: linear-gradient(var(--first), var(--first)) no-repeat var(--line); }
.filters { display: flex; flex-wrap: wrap; gap: 6px; }
.filters img { width: 48px; height: 48px; border-radius: 3px; }
img { image-rendering: auto; }
img.small { image-rendering: pixelated; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr));
  gap: 1.25rem 1rem; padding: 0;
  margin: 0; list-style: none; }
.pictures li { font-size: .875rem; line-height: 1.35; overflow-wrap: anywhere; }
.pictures img { display: block; width: 96px; height: 96px; border-radius: 6px; margin-bottom: .375rem; }
.pictures span, .pictures small { display: block; }
table { border-collapse: collapse; font-size: .9375rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem 1.25rem .4rem 0;
  border-bottom: 1px solid var(--line); }
th { font-weight: 400; color: var(--quiet); white-space: nowrap; }
td { overflow-wrap: anywhere; min-width: 12rem; }
"""
