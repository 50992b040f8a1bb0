"""The runtime and the InferenceService are made for each other, and speak the Open Inference Protocol."""

from service.routes import open_inference
from tests.kubernetes.rendering import KUBERNETES, Manifest, build
from tests.kubernetes.validation import kserve_pod


def test_the_service_asks_for_what_the_runtime_offers(kserve: dict[str, Manifest]) -> None:
    runtime, model = kserve["ServingRuntime"], kserve["InferenceService"]["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"] == ["v2"]
    [offered] = runtime["spec"]["supportedModelFormats"]
    assert model["modelFormat"].items() <= offered.items()


def test_kserve_finds_the_container_its_port_and_its_health(kserve: dict[str, Manifest]) -> None:
    [container] = kserve_pod(kserve["ServingRuntime"], kserve["InferenceService"])["containers"]
    assert container["name"] == "kserve-container"
    [port] = container["ports"]
    assert (port["name"], port["containerPort"]) == ("http1", 8000)
    served = {route.path for route in open_inference.router.routes}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in served
        assert container[probe]["httpGet"]["port"] == port["containerPort"]


def test_pods_are_as_without_kserve(kserve: dict[str, Manifest]) -> None:
    theirs = kserve_pod(kserve["ServingRuntime"], kserve["InferenceService"])
    deployment = next(one for one in build(KUBERNETES / "base") if one["kind"] == "Deployment")
    ours = deployment["spec"]["template"]["spec"]
    for field in ("env", "resources", "volumeMounts", "imagePullPolicy"):
        assert theirs["containers"][0][field] == ours["containers"][0][field]
    for field in (
        "enableServiceLinks",
        "terminationGracePeriodSeconds",
        "automountServiceAccountToken",
        "volumes",
    ):
        assert theirs[field] == ours[field]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        of_theirs, of_ours = ({**pod["containers"][0][probe]} for pod in (theirs, ours))
        assert of_theirs.pop("httpGet")["path"] == f"/v2{of_ours.pop('httpGet')['path']}"
        assert of_theirs == of_ours


def test_no_service_without_kserve_takes_its_pods_for_its_own(kserve: dict[str, Manifest]) -> None:
    [selector] = [one["spec"]["selector"] for one in build(KUBERNETES / "base") if one["kind"] == "Service"]
    handed_on = kserve["InferenceService"]["metadata"].get("labels", {})
    assert not selector.items() & handed_on.items()


def test_it_scales_and_updates_as_without_kserve(kserve: dict[str, Manifest]) -> None:
    base = {one["kind"]: one.get("spec", {}) for one in build(KUBERNETES / "base")}
    predictor = kserve["InferenceService"]["spec"]["predictor"]
    scaler = base["HorizontalPodAutoscaler"]
    for bound in ("minReplicas", "maxReplicas"):
        assert predictor[bound] == scaler[bound]
    [metric] = scaler["metrics"]
    assert predictor["scaleMetric"] == metric["resource"]["name"]
    assert predictor["scaleTarget"] == metric["resource"]["target"]["averageUtilization"]
    changed = base["Deployment"]["strategy"]["rollingUpdate"]
    assert predictor["deploymentStrategy"] == {"type": "RollingUpdate", "rollingUpdate": changed}
    # The label that KServe gives its pods.
    made = {"serving.kserve.io/inferenceservice": kserve["InferenceService"]["metadata"]["name"]}
    assert kserve["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == made
    for spread in predictor["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"] == made
