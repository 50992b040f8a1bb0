"""The README is run: every curl, the Python in it, its answers, its settings and its tree."""

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from service.settings import PREFIX, Settings
from tests.shell import shell

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Give the README's code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like the repository to a curl, and takes what curl writes."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (tmp_path / "README.md").symlink_to(ROOT / "README.md")
    return tmp_path


@pytest.mark.parametrize("script", blocks("bash"))
def test_every_curl_works_as_written(script: str, client: httpx.Client, folder: Path) -> None:
    assert "curl" in script
    assert shell(script, client, folder).strip()


def test_every_endpoint_is_shown(client: httpx.Client) -> None:
    for path in client.get("/openapi.json").json()["paths"]:
        shown = path.replace("{name}", "cifar10-resnet").replace("{layer}", "conv1")
        assert re.search(rf":8000{shown}(?![/\w])", README), f"no curl for {path}"


def test_the_answers_shown_are_the_answers_given(client: httpx.Client, folder: Path) -> None:
    shown = re.findall(r"```bash\n((?:(?!```).)*)```(?:(?!```).)*?```json\n(.*?)```", README, re.DOTALL)
    assert len(shown) == 2
    for script, answer in shown:
        given, expected = json.loads(shell(script, client, folder)), json.loads(answer)
        assert flat(given) == pytest.approx(flat(expected), abs=1e-3)


def flat(value: object, name: str = "") -> dict[str, object]:
    """Give a JSON value's leaves by their path, for a comparison that allows floats their last digits."""
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in flat(inner, f"{name}.{key}").items()}
    if isinstance(value, list):
        return {k: v for i, inner in enumerate(value) for k, v in flat(inner, f"{name}[{i}]").items()}
    return {name: value}


def test_the_python_example_works(client: httpx.Client) -> None:
    (code,) = blocks("python")
    code = code.replace("http://127.0.0.1:8000", str(client.base_url).rstrip("/"))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "(1000, 1000)\n", done.stderr


def test_the_triton_client_example_works(client: httpx.Client) -> None:
    (code,) = blocks("py")
    code = code.replace("127.0.0.1:8000", f"{client.base_url.host}:{client.base_url.port}")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert ":3:cat'" in done.stdout, done.stderr


def test_every_setting_is_in_the_table_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(STRIDE_\w+)` \| (.*?) \|", README, re.MULTILINE))
    assert set(rows) == {PREFIX + name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        shown = rows[PREFIX + name.upper()].replace("`", "").replace(",", "")
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        expected = (
            ""
            if default in {None, (), ""}
            else f"{default:g}"
            if isinstance(default, float)
            else str(default)
        )
        assert shown == expected, name


def test_the_tree_names_every_module_and_nothing_else() -> None:
    tree = README.split("## What is where")[1].split("```")[1]
    shown = set()
    folder = ""
    for line in tree.splitlines():
        if not line.strip():
            continue
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        folder = "" if indent == 0 else folder
        if name.endswith("/") and indent == 0:
            folder = name
            shown.add(name.rstrip("/"))
        else:
            shown.add(folder + name.rstrip("/"))
    for path in shown:
        assert (ROOT / path).exists(), f"{path} is in the tree only"
    for package in ("service", "training"):
        for module in (ROOT / package).rglob("*.py"):
            if module.name != "__init__.py":
                path = module.relative_to(ROOT).as_posix()
                assert path in shown, f"{path} is not in the tree"


def test_every_make_target_named_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake ([a-z-]+)", README)) - {"sure"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
