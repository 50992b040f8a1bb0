"""A report's frame: the figures at its head, the curves, the model card at its end."""

from html import escape
from typing import Any

from training.history import Row
from training.report.figures import draw_curves
from training.report.numbers import duration, interval, number, part, percent, short
from training.report.page import figure, section, table, tiles
from training.report.runs import Result


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
    title = f"{escape(str(card.get('name', run)))} <small>{escape(str(card.get('version', '')))}</small>"
    return f"<header><h1>{title}</h1>\n{tiles(shown)}</header>"


def curves(rows: list[Row]) -> str:
    """Show what changed from epoch to epoch."""
    if not rows:
        return section("Curves", "<p>The run's history.jsonl is not there.</p>")
    both = {"training": "loss", "test": "test_loss"}
    drawn = [
        ("Loss", "in nats", draw_curves("loss", rows, both)),
        (
            "Accuracy",
            "part of the pictures that are recognised",
            draw_curves("accuracy", rows, {"training": "accuracy", "test": "test_accuracy"}, percent=True),
        ),
        (
            "Learning rate",
            "at the end of the epoch",
            draw_curves("rate", rows, {"rate": "learning_rate"}, from_zero=True),
        ),
        (
            "Speed",
            "pictures a second, in training",
            draw_curves("speed", rows, {"speed": "pictures_per_second"}, from_zero=True),
        ),
    ]
    told = (
        "Training figures are taken on augmented pictures while the weights change; test figures after "
        "the epoch."
    )
    shown = "\n".join(figure(f"<b>{title}</b>, {unit}", image) for title, unit, image in drawn if image)
    return section("Curves", f'<p>{told}</p>\n<div class="pairs">{shown}</div>')


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
