"""SECURITY.md claims what is there: each test, file and setting that it names exists."""

import re
from pathlib import Path

import pytest

from service.settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "SECURITY.md").read_text()
# ASVS 5.0.0 has these in its chapter on files.
REQUIREMENTS = ["5.1.1", *(f"5.2.{n}" for n in range(1, 7)), *(f"5.3.{n}" for n in (1, 2, 3))]
REQUIREMENTS += [f"5.4.{n}" for n in (1, 2, 3)]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", TEXT))))
def test_a_test_that_is_named_exists(name: str) -> None:
    defined = re.compile(rf"^(?:async )?def {name}\(", re.MULTILINE)
    assert any(defined.search(file.read_text()) for file in (ROOT / "tests").rglob("test_*.py"))


def test_files_that_are_named_exist() -> None:
    named = set(re.findall(r"`((?:service|tests|deploy)/[\w./]*)`", TEXT))
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]


def test_settings_that_are_named_exist() -> None:
    named = set(re.findall(rf"{PREFIX}[A-Z_]+", TEXT))
    assert named <= {PREFIX + name.upper() for name in Settings.model_fields}


def test_every_requirement_of_the_chapter_on_files_is_answered() -> None:
    assert re.findall(r"^\| v5\.0\.0-(\S+) ", TEXT, re.MULTILINE) == REQUIREMENTS


def test_what_is_said_never_to_be_used_is_not() -> None:
    source = "\n".join(file.read_text() for file in (ROOT / "service").rglob("*.py"))
    assert not re.search(r"ImageMath|ImageFont|ImageShow|Image\.open\(|\bpickle\.loads?\(", source)
    assert re.findall(r"allow_pickle=(\w+)", source) in ([], ["False"])
