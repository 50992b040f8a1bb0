"""The lesson is run: every curl, its answer, what the links show, and the figures of the prose."""

import ast
import json
import math
import operator
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from tests.shell import shell

ROOT = Path(__file__).parent.parent
LESSON = (ROOT / "docs" / "learn.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS: list[tuple[str, str]] = BLOCK.findall(LESSON)
EXAMPLES = [(script, answer) for (_, script), (_, answer) in zip(BLOCKS[::2], BLOCKS[1::2], strict=True)]
LINKS = dict(re.findall(r"^\[([\w-]+)\]: (\S+)$", LESSON, re.MULTILINE))
SECTIONS = {part.split("\n")[0]: part for part in LESSON.split("\n## ")[1:]}

NUMBERS = ("stride", "dilation", "size", "step")
PARAMETERS = {"image", "filter", "padding", "padding_mode", "flip", "kind", *NUMBERS}
VIEWS = {"convolve": PARAMETERS, "classify": {"model", "sample"}, "inside": {"model", "sample"}}
VIEWS["why"] = VIEWS["inside"] | {"method", "label"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like the repository to a curl."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    return tmp_path


@pytest.mark.parametrize(("script", "answer"), EXAMPLES)
def test_every_command_gives_the_answer_below_it(
    script: str, answer: str, client: httpx.Client, folder: Path
) -> None:
    assert "http://127.0.0.1:8000/" in script
    assert_same(json.loads(shell(script, client, folder)), json.loads(answer))


def assert_same(given: Any, shown: Any, place: str = "$") -> None:
    """Compare two JSON values: floats to the four digits shown, all else exactly, integers' type too."""
    assert type(given) is type(shown), f"{place}: {given!r}, shown is {shown!r}"
    if isinstance(shown, dict):
        assert given.keys() == shown.keys(), place
        for key in shown:
            assert_same(given[key], shown[key], f"{place}.{key}")
    elif isinstance(shown, list):
        assert len(given) == len(shown), place
        for i, (one, other) in enumerate(zip(given, shown, strict=True)):
            assert_same(one, other, f"{place}[{i}]")
    elif isinstance(shown, float):
        assert given == pytest.approx(shown, abs=1e-3), place
    else:
        assert given == shown, place


def test_every_command_is_followed_by_its_answer_and_every_step_but_the_last_has_one() -> None:
    assert [language for language, _ in BLOCKS] == ["bash", "json"] * len(EXAMPLES)
    assert [title.split(".")[0] for title in SECTIONS] == list("123456789")
    for title, section in list(SECTIONS.items())[:-1]:
        assert "```bash" in section, title


def test_every_step_links_to_the_page_and_every_link_is_used() -> None:
    used = set()
    for title, section in SECTIONS.items():
        names = references(section)
        assert names, f"{title} has no link to the page"
        used |= set(names)
    assert used == set(LINKS)


def prose(text: str) -> str:
    """Leave out the code blocks."""
    return BLOCK.sub("", text)


def references(section: str) -> list[str]:
    """Give the names of a section's links to the page, `edge` of `[See it on the page][edge]`."""
    return re.findall(r"\]\[([\w-]+)\]", prose(section))


@pytest.mark.parametrize("name", LINKS)
def test_a_page_link_names_a_view_and_what_the_service_has(name: str, client: httpx.Client) -> None:
    view, fields = read_link(LINKS[name])
    assert fields.keys() <= VIEWS[view]
    if view == "convolve":
        image = read_matrices(fields["image"])
        assert len(image) in {1, 3}
        assert ("kind" in fields) == ("size" in fields) == ("filter" not in fields)
    else:
        served = {one["name"] for one in client.get("/models").json()["models"]}
        assert fields["model"] in served
        assert (ROOT / "service" / "web" / "samples" / f"{fields['sample']}.jpg").exists()


def read_link(link: str) -> tuple[str, dict[str, str]]:
    """Split a link to the page into its view and its parameters, each at most once."""
    match = re.fullmatch(r"http://127\.0\.0\.1:8000/#(\w+)\?(\S+)", link)
    assert match, link
    pairs = parse_qsl(match[2], keep_blank_values=False, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs), link
    return match[1], dict(pairs)


def read_matrices(text: str) -> list[list[list[float]]]:
    """Read `1,2;3,4|…`: channels parted by `|`, rows by `;`, numbers by `,`, all of one size."""
    matrices = [[[float(n) for n in row.split(",")] for row in one.split(";")] for one in text.split("|")]
    assert len({(len(one), len(row)) for one in matrices for row in one}) == 1, text
    return matrices


@pytest.mark.parametrize(
    ("title", "name"),
    [
        pytest.param(title, name, id=name)
        for title, section in SECTIONS.items()
        for name in references(section)
        if "#convolve?" in LINKS[name]
    ],
)
def test_what_a_link_computes_is_written_out_in_its_step(title: str, name: str, client: httpx.Client) -> None:
    output = computed(name, client)
    assert output in shown_outputs(SECTIONS[title]) or all(row in runs(SECTIONS[title]) for row in output)
    step = int(read_link(LINKS[name])[1].get("step", 1))
    assert 1 <= step <= sum(len(row) for row in output)


def computed(name: str, client: httpx.Client) -> list[list[float]]:
    """Have the service compute what a link shows."""
    endpoint, body = as_request(read_link(LINKS[name])[1])
    response = client.post(endpoint, json=body)
    assert response.status_code == 200, response.text
    output: list[list[float]] = response.json()["output"]
    return output


def shown_outputs(section: str) -> list[Any]:
    """Give the outputs of the answers of a step, and each channel of those that have several."""
    answers = [json.loads(text) for language, text in BLOCK.findall(section) if language == "json"]
    outputs = [answer["output"] for answer in answers if "output" in answer]
    return outputs + [channel for output in outputs for channel in output if isinstance(channel[0], list)]


def runs(section: str) -> list[list[float]]:
    """Give the rows of numbers written out in a step's sentences: `0, −30, −30, 0`."""
    sentences = " ".join(prose(section).replace("−", "-").split())
    return [
        [float(number) for number in run.split(", ")]
        for run in re.findall(r"-?\d+(?:\.\d+)?(?:, -?\d+(?:\.\d+)?)+", sentences)
    ]


def as_request(fields: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """Make the request the page makes of a link's parameters."""
    body: dict[str, Any] = {key: int(fields[key]) for key in NUMBERS if key in fields and key != "step"}
    image = read_matrices(fields["image"])
    body |= {"image": image[0] if len(image) == 1 else image, "layout": "CHW"}
    body |= {key: fields[key] for key in ("padding", "padding_mode", "kind") if key in fields}
    if body.get("padding", "").isdecimal():
        body["padding"] = int(body["padding"])
    if "flip" in fields:
        assert fields["flip"] == "true"
        body["flip"] = True
    if fields.get("filter", "").replace("-", "").isalnum() and not fields["filter"][0].isdigit():
        body["filter"] = fields["filter"]
    elif "filter" in fields:
        filter_ = read_matrices(fields["filter"])
        body["filter"] = filter_[0] if len(filter_) == 1 else filter_
    convolves = body.get("kind", "convolution") == "convolution"
    return ("/convolve" if convolves else "/pool"), body


def test_the_sizes_in_the_table_are_the_services(client: httpx.Client) -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", LESSON, re.MULTILINE)
    assert len(rows) == 7
    for n, p, f, s, result in (map(int, row) for row in rows):
        body = {"image": [[0] * n] * n, "filter": [[1] * f] * f, "padding": p, "stride": s}
        assert client.post("/convolve", json=body).json()["shape"] == [result, result], (n, p, f, s)


@pytest.fixture
def layers(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """The layers of the lesson's network by name, as the service shows them."""
    picture = (ROOT / "docs" / "cat.jpg").read_bytes()
    response = client.post("/layers?model=cifar10-lenet", files={"file": picture})
    assert response.status_code == 200, response.text
    return {one["name"]: one for one in response.json()["layers"]}


def test_the_layers_in_the_table_are_the_models(layers: dict[str, dict[str, Any]]) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| ([\d×]+) \| ([\d,]+) \| (.*?) ?\|$", LESSON, re.MULTILINE)
    left_out = {"activation", "scaling", "softmax"}
    assert [row[0] for row in rows] == [name for name, one in layers.items() if one["kind"] not in left_out]
    for name, does, shape, count, calculation in rows:
        assert does == in_words(layers[name])
        assert shape == "×".join(str(side) for side in layers[name]["output_shape"])
        assert count == f"{layers[name]['parameter_count']:,}"
        result = count if count != "0" else shape  # flattening has no parameters, but a length
        assert calculation.endswith(f" = {result}`") or (layers[name]["kind"], calculation) == ("pooling", "")


def in_words(layer: dict[str, Any]) -> str:
    """Say what a layer of this network does, as the table does."""
    has = layer["parameters"]
    if layer["kind"] == "convolution":
        height, width = has["filter"]
        assert has["stride"] == [1, 1]
        assert has["padding"] == [0, 0]
        return f"{has['output_channels']} filters {height}×{width}×{has['input_channels']}"
    if layer["kind"] == "pooling":
        assert has["stride"][0] == has["stride"][1]
        return f"{layer['title'].split()[0]} {has['filter'][0]}×{has['filter'][1]}, stride {has['stride'][0]}"
    if layer["kind"] == "fully-connected":
        return {10: "one unit a class"}.get(has["outputs"], f"{has['outputs']} units")
    return "one row"


def test_sides_and_channels_change_as_the_lesson_says(layers: dict[str, dict[str, Any]]) -> None:
    shapes = [one["output_shape"] for one in layers.values() if len(one["output_shape"]) == 3]
    for axis, word in ((1, "shrink"), (0, "grow")):
        changes = ", ".join(str(side) for side in dict.fromkeys(shape[axis] for shape in shapes))
        assert f"{word}, {changes}" in LESSON


def test_most_parameters_are_where_the_lesson_says(layers: dict[str, dict[str, Any]]) -> None:
    total = sum(one["parameter_count"] for one in layers.values())
    assert "More than three quarters of the parameters are in `fc1`" in " ".join(LESSON.split())
    assert layers["fc1"]["parameter_count"] > 3 / 4 * total


def test_the_total_of_the_table_is_the_models_number_of_parameters(client: httpx.Client) -> None:
    parameters = client.get("/models/cifar10-lenet").json()["parameters"]
    assert re.findall(r"^\| total \|[ |]*\| ([\d,]+) \|", LESSON, re.MULTILINE) == [f"{parameters:,}"]


def test_every_percentage_is_a_figure_of_a_served_model(client: httpx.Client) -> None:
    metrics = [one["metrics"] for one in client.get("/models").json()["models"]]
    known = {f"{100 * one[key]:.1f}" for one in metrics for key in ("accuracy", "expected_calibration_error")}
    shown = re.findall(r"([\d.]+) %", LESSON)
    assert len(shown) == 3
    assert set(shown) <= known


def equations() -> Iterator[tuple[str, str]]:
    """Give both sides of what is written as a calculation, with Python's signs."""
    signs = str.maketrans({"·": "*", "−": "-", ",": ""})
    for left, right in re.findall(r"`([^`\n]+) = ([\d,]+)`", prose(LESSON)):
        yield left.translate(signs), right.replace(",", "")


EQUATIONS = list(equations())


@pytest.mark.parametrize(("left", "right"), EQUATIONS)
def test_every_calculation_comes_out(left: str, right: str) -> None:
    assert compute(ast.parse(left, mode="eval").body) == int(right)


def test_no_calculation_escapes() -> None:
    assert len(EQUATIONS) == len(re.findall(r"`[^`\n]* = [^`\n]*`", prose(LESSON))) == 16


OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def compute(tree: ast.expr) -> float:
    """Compute a sum, difference, product, quotient or floor of numbers."""
    match tree:
        case ast.Constant(value=int(number)):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -compute(operand)
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](compute(left), compute(right))
        case ast.Call(func=ast.Name(id="floor"), args=[argument]):
            return math.floor(compute(argument))
    raise ValueError(ast.dump(tree))


def test_a_negative_figure_of_the_sentences_is_sent_or_computed_in_its_step(client: httpx.Client) -> None:
    found = 0
    for title, section in SECTIONS.items():
        seen = " ".join(text for _, text in BLOCK.findall(section))
        for name in references(section):
            if "#convolve?" in LINKS[name]:
                seen += str(computed(name, client))
        for number in re.findall(r"(?<![\d)n] )−(\d+)", prose(section)):
            found += 1
            assert number == "1" or re.search(rf"-{number}\b", seen), f"{title}: −{number}"
    assert found > 10


def test_every_relative_link_points_at_a_file() -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)\)", LESSON)
    assert len(targets) >= 4
    for target in targets:
        assert (ROOT / "docs" / target).exists(), target


def test_every_filter_named_in_the_lesson_is_in_the_catalogue(client: httpx.Client) -> None:
    catalogue = {one["name"] for one in client.get("/filters").json()["filters"]}
    named = {read_link(link)[1].get("filter", "") for link in LINKS.values()}
    assert {name for name in named if name[:1].isalpha()} <= catalogue


def test_a_filter_has_the_rows_the_lesson_gives_it(client: httpx.Client) -> None:
    matrices = {one["name"]: one["matrix"] for one in client.get("/filters").json()["filters"]}
    assert matrices["vertical-edge"] == [[1, 0, -1]] * 3
    for name, sides in re.findall(r"(Sobel|Scharr) ((?:\d+, )+\d+)", prose(LESSON)):
        column = [row[-1] for row in matrices[f"{name.lower()}-x"]]
        assert column == [int(cell) for cell in sides.split(", ")]
