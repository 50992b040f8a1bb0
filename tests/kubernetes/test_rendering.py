"""The checks of the manifests can be trusted: they read as kubectl does, and refuse what a cluster would."""

import copy
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.rendering import COMPONENTS, KUBERNETES, Manifest, Unreadable, build, combine, identity
from tests.kubernetes.validation import Invalid, validate

FOLDERS = ["base", "overlays/production", "kserve"]
WRONG = [  # in words of the manifests: where, and what a hand may have done there
    ("Deployment", "spec.template.spec.containers.0.livenessProbe", "httpget", {"path": "/", "port": 1}),
    ("Deployment", "spec.template.spec", "enableServiceLink", False),
    ("Deployment", "spec.strategy.rollingUpdate", "maxUnavailble", 0),
    ("Service", "spec.ports.0", "target", "http"),
    ("HorizontalPodAutoscaler", "spec.behavior.scaleUp", "stabilizationWindow", 0),
    ("PodDisruptionBudget", "spec", "maxUnvailable", 1),
    ("NetworkPolicy", "spec.ingress.0", "form", []),
    ("ServiceMonitor", "spec.endpoints.0", "intervall", "15s"),
    ("ServiceMonitor", "spec.endpoints.0", "interval", 15),
    ("ScaledObject", "spec", "minReplicas", 2),
    ("ScaledObject", "spec.triggers.0.metadata", "threshold", 64),
    ("ScaledObject", "spec.triggers.0.metadata", "metricName", "queue"),
    ("ScaledObject", "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp", "window", 0),
    ("ServingRuntime", "spec", "protocolVersion", "v2"),
    ("ServingRuntime", "spec.containers.0", "port", 8000),
    ("InferenceService", "spec.predictor", "minReplica", 2),
    ("InferenceService", "spec.predictor.model", "storageURI", "pvc://models"),
    ("InferenceService", "spec.predictor.deploymentStrategy", "maxSurge", 1),
    ("PersistentVolumeClaim", "spec", "accessMode", "ReadWriteMany"),
]


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    everything = build(combine(tmp_path_factory.mktemp("all"), *COMPONENTS))
    return [*build(KUBERNETES / "base"), *everything, *build(KUBERNETES / "kserve")]


def folders(tmp_path: Path) -> Iterator[Path]:
    yield from (KUBERNETES / name for name in FOLDERS)
    for number, components in enumerate([*([name] for name in COMPONENTS), COMPONENTS, COMPONENTS[::-1]]):
        folder = tmp_path / str(number)
        folder.mkdir()
        yield combine(folder, *components)


def plain(value: Any) -> Any:
    """Without an order of lists: where it matters, it is not ours to say."""
    if isinstance(value, dict):
        return {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return sorted((plain(item) for item in value), key=repr)
    return value


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_manifests_are_read_as_kubectl_reads_them(tmp_path: Path) -> None:
    for folder in folders(tmp_path):
        output = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60)
        assert output.returncode == 0, output.stderr
        theirs = {identity(one): plain(one) for one in yaml.safe_load_all(output.stdout)}
        assert {identity(one): plain(one) for one in build(folder)} == theirs, folder


def test_the_reader_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    path = combine(tmp_path) / "kustomization.yaml"
    written = path.read_text()
    for line in (
        "namePrefix: my-",
        "patches: [{patch: '[]', target: {kind: Service, name: stride, labelSelector: a=b}}]",
        "patches: [{patch: '{apiVersion: v1, kind: Service, metadata: {name: strde}}'}]",
        "patches: [{patch: '{apiVersion: v1, kind: Service, metadata: {name: stride}, spec: null}'}]",
    ):
        path.write_text(f"{written}{line}\n")
        with pytest.raises(Unreadable):
            build(tmp_path)


def test_two_objects_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="one name"):
        build(combine(tmp_path, "monitoring", "monitoring"))


def test_every_component_is_checked_and_described() -> None:
    assert set(COMPONENTS) == {path.name for path in (KUBERNETES / "components").iterdir()}
    described = re.findall(r"^\| \[(\S+)\]\(\1\)", (KUBERNETES / "README.md").read_text(), re.M)
    assert set(described) == {*FOLDERS, *(f"components/{name}" for name in COMPONENTS)}


def test_every_object_is_valid(objects: list[Manifest]) -> None:
    assert {one["kind"] for one in objects} >= {kind for kind, *_ in WRONG}
    for one in [*objects, *build(KUBERNETES / "overlays" / "production")]:
        validate(one)


@pytest.mark.parametrize(("kind", "place", "field", "value"), WRONG)
def test_a_misspelt_field_is_refused(
    kind: str, place: str, field: str, value: Any, objects: list[Manifest]
) -> None:
    one = copy.deepcopy(next(one for one in objects if one["kind"] == kind))
    part = one
    for step in place.split("."):
        part = part[int(step) if isinstance(part, list) else step]
    part[field] = value
    with pytest.raises(Invalid):
        validate(one)
