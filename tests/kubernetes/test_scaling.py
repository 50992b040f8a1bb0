"""Many pods: how many, how they are replaced, and that enough of them stay."""

import re

from service.metrics import Metrics
from service.settings import Settings
from tests.kubernetes.rendering import KUBERNETES, Manifest, all_of, build, environment, only, pod_of

DEFAULTS = Settings.model_construct()


def test_one_autoscaler_scales_the_deployment_from_two_pods_on(manifests: list[Manifest]) -> None:
    deployment = only(manifests, "Deployment")
    assert "replicas" not in deployment["spec"]
    [scaler] = all_of(manifests, "HorizontalPodAutoscaler", "ScaledObject")
    assert scaler["spec"]["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        "name": deployment["metadata"]["name"],
    }
    assert 2 <= least(scaler) < most(scaler)
    assert "cpu" in pod_of(manifests)["containers"][0]["resources"]["requests"]


def least(scaler: Manifest) -> int:
    return scaler["spec"].get("minReplicas") or scaler["spec"]["minReplicaCount"]


def most(scaler: Manifest) -> int:
    return scaler["spec"].get("maxReplicas") or scaler["spec"]["maxReplicaCount"]


def test_both_autoscalers_scale_alike_but_for_the_queue(everything: list[Manifest]) -> None:
    plain = only(build(KUBERNETES / "base"), "HorizontalPodAutoscaler")
    keda = only(everything, "ScaledObject")
    behavior = keda["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior == plain["spec"]["behavior"]
    assert (least(keda), most(keda)) == (least(plain), most(plain))
    [cpu] = [one for one in keda["spec"]["triggers"] if one["type"] == "cpu"]
    [metric] = plain["spec"]["metrics"]
    assert int(cpu["metadata"]["value"]) == metric["resource"]["target"]["averageUtilization"]
    assert least(keda) <= keda["spec"]["fallback"]["replicas"] <= most(keda)


def test_the_queue_is_asked_for_by_its_name_and_scales_before_it_is_full(everything: list[Manifest]) -> None:
    [queue] = [one for one in only(everything, "ScaledObject")["spec"]["triggers"] if one["type"] != "cpu"]
    [asked] = re.findall(r"\bstride_[a-z_]+", queue["metadata"]["query"])
    assert asked in {metric._name for metric in Metrics().registry._names_to_collectors.values()}
    job = only(everything, "Service")["metadata"]["labels"][
        only(everything, "ServiceMonitor")["spec"]["jobLabel"]
    ]
    assert f'job="{job}"' in queue["metadata"]["query"]
    assert int(queue["metadata"]["threshold"]) == 2 * DEFAULTS.batch_size < DEFAULTS.queue_length / 2


def test_a_node_can_be_drained_and_somebody_stays(
    manifests: list[Manifest], kserve: dict[str, Manifest]
) -> None:
    [scaler] = all_of(manifests, "HorizontalPodAutoscaler", "ScaledObject")
    predictor = kserve["InferenceService"]["spec"]["predictor"]
    for budget, replicas in (
        (only(manifests, "PodDisruptionBudget"), least(scaler)),
        (kserve["PodDisruptionBudget"], predictor["minReplicas"]),
    ):
        evicted = budget["spec"]["maxUnavailable"]
        assert 1 <= evicted < replicas


def test_an_update_keeps_all_pods_or_on_gpus_all_but_one(manifests: list[Manifest]) -> None:
    changed = only(manifests, "Deployment")["spec"]["strategy"]["rollingUpdate"]
    limits = pod_of(manifests)["containers"][0]["resources"]["limits"]
    on_gpu = "nvidia.com/gpu" in limits
    assert changed == {"maxSurge": 0 if on_gpu else 1, "maxUnavailable": 1 if on_gpu else 0}
    assert environment(pod_of(manifests)).get("STRIDE_DEVICE", "cpu") == ("cuda" if on_gpu else "cpu")
