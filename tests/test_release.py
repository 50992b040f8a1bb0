"""What a release is made by: one version, its changelog, the workflows and the steps written down."""

import os
import re
import subprocess
import sys
import tomllib
from datetime import date
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSION = str(PROJECT["version"])
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
WRITTEN = {".cfg", ".js", ".json", ".md", ".py", ".sh", ".toml", ".yaml", ".yml", ""}
# Which servers and packages were measured, and what images are pinned to: other versions, or records.
NO_COPIES = {"CHANGELOG.md", "pyproject.toml", "docs/performance.md", "benchmarks/serving/results.json"}
NOT_OURS = ("deploy/requirements/", "models/", "service/web/swagger-ui/")


def name(path: Path) -> str:
    return path.name


def workflow(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((GITHUB / "workflows" / name).read_text(encoding="utf-8"))
    return loaded


def step(job: str, name: str) -> str:
    """Give the commands of a step of the release."""
    steps = workflow("release.yml")["jobs"][job]["steps"]
    (commands,) = (one["run"] for one in steps if one.get("name") == name)
    return str(commands)


def test_the_version_is_the_changelogs_newest() -> None:
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", heading) for heading in headings[1:]]
    assert all(released), headings
    versions = [tuple(map(int, one[1].split("."))) for one in released if one]
    days = [date.fromisoformat(one[2]) for one in released if one]
    assert ".".join(map(str, versions[0])) == VERSION
    assert versions == sorted(set(versions), reverse=True)
    assert days == sorted(days, reverse=True)


def test_the_kinds_of_changes_are_those_of_keep_a_changelog() -> None:
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Known limits"}
    assert set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)) <= kinds


def test_the_service_says_the_version_it_was_installed_as(client: httpx.Client) -> None:
    assert installed_version("stride") == VERSION, "`make setup` installs the new version"
    assert client.get("/openapi.json").json()["info"]["version"] == VERSION
    assert client.get("/v2").json()["version"] == VERSION


def test_the_version_is_written_in_one_place() -> None:
    """A cluster's image tag is the exception: which image it is has to stand there."""
    exact = re.compile(rf"(?<![\w.]){re.escape(VERSION)}(?![\w]|\.\d)")
    copies = []
    for path in tracked():
        if path in NO_COPIES or path.startswith(NOT_OURS) or Path(path).suffix not in WRITTEN:
            continue
        text = (ROOT / path).read_text(encoding="utf-8", errors="replace")
        copies += [f"{path}: {line.strip()}" for line in text.splitlines() if exact.search(line)]
    assert [one for one in copies if not re.fullmatch(r"deploy/kubernetes/\S+: newTag: \S+", one)] == []


def test_a_cluster_runs_the_image_of_this_version() -> None:
    tags = [
        line.split()[1].strip("\"'")
        for path in (ROOT / "deploy").rglob("kustomization.yaml")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith("newTag:")
    ]
    assert set(tags) == {VERSION}


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [path for path in done.stdout.split("\0") if path and (ROOT / path).is_file()]


@pytest.mark.parametrize(
    ("schema", "paths"),
    [("vendor.github-workflows", WORKFLOWS), ("vendor.dependabot", [GITHUB / "dependabot.yml"])],
)
def test_github_understands_its_files(schema: str, paths: list[Path]) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", [*WORKFLOWS, GITHUB / "dependabot.yml", ROOT / "CONTRIBUTING.md"], ids=name)
def test_every_make_target_named_is_there(path: Path) -> None:
    targets = set(re.findall(r"\bmake ([a-z][a-z-]*)", path.read_text(encoding="utf-8")))
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), f"make {target}"


def test_a_change_passes_the_same_targets_as_here() -> None:
    here = re.findall(
        r"^for target in (.*);", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(here) == 1
    steps = [one for job in workflow("ci.yml")["jobs"].values() for one in job["steps"]]
    there = {target for one in steps for target in re.findall(r"\bmake ([a-z-]+)", one.get("run", ""))}
    assert set(here[0].split()) <= there


def test_a_change_is_tested_on_every_python_that_is_supported() -> None:
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()  # type: ignore[union-attr]
    tried = workflow("ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert tried == [f"3.{minor}" for minor in range(int(low), int(high))]


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_a_workflow_may_do_little_and_runs_only_what_is_pinned(path: Path) -> None:
    text, loaded = path.read_text(encoding="utf-8"), workflow(path.name)
    assert loaded["permissions"] == {"contents": "read"}
    assert "concurrency" in loaded
    for job in loaded["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert set(job.get("permissions", {})) <= {"contents", "packages"}
        checkouts = [one for one in job["steps"] if one.get("uses", "").startswith("actions/checkout")]
        assert [one["with"]["persist-credentials"] for one in checkouts] == [False]
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    for one in uses:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one
    assert "secrets." not in text


def test_a_tag_that_is_not_the_version_releases_nothing() -> None:
    script = step("test", "The tag is the version")
    assert shell(script, ROOT, f"v{VERSION}").returncode == 0
    for tag in ("v99.0.0", VERSION, f"v{VERSION}.post1"):
        refused = shell(script, ROOT, tag)
        assert refused.returncode == 1
        assert f"the tag is {tag}, but pyproject.toml has version {VERSION}" in refused.stdout


def test_a_release_says_what_the_changelog_says(tmp_path: Path) -> None:
    script = step("publish", "The changelog's section")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG + "\n## [0.0.9] - 2026-01-01\n\n- older\n")
    (tmp_path / "build").mkdir()
    done = shell(script, tmp_path, f"v{VERSION}")
    assert done.returncode == 0, done.stderr
    notes = (tmp_path / "build" / "notes.md").read_text()
    section = CHANGELOG.split(f"## [{VERSION}]")[1].split("\n## ")[0]
    assert notes.strip() == section.split("\n", 1)[1].strip()
    assert shell(script, tmp_path, "v99.0.0").returncode == 1


def shell(script: str, folder: Path, tag: str) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does, with the environment's Python first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "GITHUB_REF_NAME": tag}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_the_guide_is_a_page_and_its_links_lead_somewhere() -> None:
    assert len(CONTRIBUTING.splitlines()) <= 75
    for document in (CONTRIBUTING, CHANGELOG):
        for target in re.findall(r"\]\(([^)#:\s]+)\)", document):
            assert (ROOT / target).exists(), target
