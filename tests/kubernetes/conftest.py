"""Every way to deploy, as objects, and the pods that come of them."""

import pytest

from tests.kubernetes.rendering import COMPONENTS, KUBERNETES, Manifest, build, combine, pod_of
from tests.kubernetes.validation import kserve_pod


@pytest.fixture(params=["base", "production", "gpu", "everything"], scope="session")
def manifests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """All objects of a way to deploy."""
    if request.param in {"base", "production"}:
        return build(KUBERNETES / {"base": "base", "production": "overlays/production"}[request.param])
    components = COMPONENTS if request.param == "everything" else ["monitoring", "queue-autoscaling", "gpu"]
    return build(combine(tmp_path_factory.mktemp(request.param), *components))


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    return build(combine(tmp_path_factory.mktemp("everything"), *COMPONENTS))


@pytest.fixture(scope="session")
def kserve() -> dict[str, Manifest]:
    return {one["kind"]: one for one in build(KUBERNETES / "kserve")}


@pytest.fixture
def pods(manifests: list[Manifest], kserve: dict[str, Manifest]) -> list[Manifest]:
    """The pods of a Deployment, and those of KServe: the same has to hold of both."""
    return [pod_of(manifests), kserve_pod(kserve["ServingRuntime"], kserve["InferenceService"])]
