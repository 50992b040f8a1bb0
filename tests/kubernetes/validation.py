"""Check objects by schema: Kubernetes' own strictly, those of operators by the restated ones in schemas/."""

import copy
from pathlib import Path

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator, ValidationError

from tests.kubernetes.rendering import Manifest, merge

SCHEMAS = {
    path.stem: yaml.safe_load(path.read_text()) for path in (Path(__file__).parent / "schemas").glob("*.yaml")
}
VERSIONS = (
    "1.27",
    kubernetes_validate.latest_version(),
)  # the oldest that has all that we use, and the newest
Invalid = (ValidationError, kubernetes_validate.ValidationError)


def validate(one: Manifest) -> None:
    """Raise one of Invalid where a field is unknown, misplaced, missing or of a wrong type."""
    if one["kind"] not in SCHEMAS:
        check(one)
        return
    Draft202012Validator(SCHEMAS[one["kind"]]).validate(one)
    check_metadata(one)
    for part in embedded(one):
        check(part)


def check(one: Manifest) -> None:
    for version in VERSIONS:
        kubernetes_validate.validate(one, version, strict=True)


def check_metadata(one: Manifest) -> None:
    check({"apiVersion": "v1", "kind": "ConfigMap", "metadata": one["metadata"]})


def embedded(one: Manifest) -> list[Manifest]:
    """The parts of an operator's object that Kubernetes' own schemas know, as objects of Kubernetes."""
    spec = one["spec"]
    if one["kind"] == "ServingRuntime":
        return [pod({"containers": spec["containers"], "volumes": spec.get("volumes", [])})]
    if one["kind"] == "InferenceService":
        model = spec["predictor"]["model"]
        container = beyond(model, model_fields()) | {"name": "kserve-container"}
        specification = beyond(spec["predictor"], predictor_fields())
        strategy = spec["predictor"].get("deploymentStrategy", {})
        return [pod(specification | {"containers": [container]}), deployment(strategy)]
    if one["kind"] == "ScaledObject":
        behavior = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior", {})
        target = spec["scaleTargetRef"]
        return [
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "made-by-keda"},
                "spec": {
                    "scaleTargetRef": {"kind": "Deployment", "name": target["name"]},
                    "maxReplicas": spec["maxReplicaCount"],
                    "behavior": behavior,
                },
            }
        ]
    return []


def pod(specification: Manifest) -> Manifest:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": specification}


def deployment(strategy: Manifest) -> Manifest:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "any"}]}}
    specification = {"selector": {"matchLabels": {"a": "b"}}, "template": template, "strategy": strategy}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "any"},
        "spec": specification,
    }


def predictor_fields() -> set[str]:
    return set(SCHEMAS["InferenceService"]["properties"]["spec"]["properties"]["predictor"]["properties"])


def model_fields() -> set[str]:
    predictor = SCHEMAS["InferenceService"]["properties"]["spec"]["properties"]["predictor"]
    return set(predictor["properties"]["model"]["properties"])


def beyond(given: Manifest, named: set[str]) -> Manifest:
    return {key: value for key, value in given.items() if key not in named}


def kserve_pod(runtime: Manifest, service: Manifest) -> Manifest:
    """What KServe makes its pods of: the runtime's fields, then the predictor's, then the model's."""
    base = {key: copy.deepcopy(runtime["spec"][key]) for key in ("containers", "volumes")}
    predictor = service["spec"]["predictor"]
    container = beyond(predictor["model"], model_fields()) | {"name": "kserve-container"}
    return merge(merge(base, beyond(predictor, predictor_fields())), {"containers": [container]})
