"""What a model recognises, what it takes for what, how sure it is, and how it begins to look."""

from collections.abc import Iterable

from training.report.confusion import draw_confusion
from training.report.figures import draw_reliability
from training.report.page import bdi, figure, section
from training.report.pictures import draw_filters, draw_picture
from training.report.runs import Result

MOST_BARS = 30  # best classes, and worst ones, where there are more than twice as many
MOST_CONFUSIONS = 12
FEW = 12  # classes, whose matrix fits a telephone


def classes(result: Result) -> str:
    """Show which classes are taken for which, and how often each is recognised."""
    matrix, labels = result.confusion, result.labels
    caption = (
        "<b>Confusion matrix</b>: a row is a true class, a column what it was taken for. Blue is right, "
        "orange is wrong; the stronger, the larger its part of the row."
    )
    drawn = figure(caption, draw_confusion(matrix, labels), "wide" if len(labels) > FEW else "matrix")
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
    drawn = draw_reliability(confidence, predicted == result.truth)
    caption = (
        "<b>Reliability</b>: of the pictures that the model is so sure of, how many are recognised; below, "
        f"how many there are. On average the two differ by {result.metrics.expected_calibration_error:.2%}, "
        "the expected calibration error."
    )
    return section("Calibration", figure(caption, drawn, "narrow"))


def filters(result: Result) -> str:
    """Show the first layer's weights as pictures, if it has such."""
    images = draw_filters(result.filters)
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
    for image, (truth, predicted, confidence) in listed:
        true, taken = result.labels[truth], result.labels[predicted]
        picture = draw_picture(image, f"a picture of {true}")
        items.append(
            f"<li>{picture}<span>{bdi(true)}</span><span>taken for <b>{bdi(taken)}</b> "
            f"<small>{confidence:.1%} sure</small></span></li>"
        )
    told = "<p>Some are the model's fault, some are wrong labels: look before you judge.</p>"
    return section("Surest mistakes", f'{told}\n<ol class="pictures">{"".join(items)}</ol>')
