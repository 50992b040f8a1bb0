"""The checked-in configuration: what Ray and Kubernetes take, and that its parts agree with each other."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from service.settings import PREFIX, Settings
from tests.cluster.conftest import CONFIG, ROOT

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed: pip install '.[cluster]'"
)
SCHEMA = yaml.safe_load((Path(__file__).parent / "rayservice.schema.yaml").read_text())
CLAIM, SERVICE = yaml.safe_load_all((ROOT / "deploy" / "ray" / "rayservice.yaml").read_text())
SERVE = yaml.safe_load(CONFIG.read_text())
DEPLOYMENT = SERVE["applications"][0]["deployments"][0]
POLICY = yaml.safe_load((ROOT / "deploy" / "ray" / "network-policy.yaml").read_text())
CLUSTER = SERVICE["spec"]["rayClusterConfig"]
HEAD, (WORKERS,) = CLUSTER["headGroupSpec"], CLUSTER["workerGroupSpecs"]
TEMPLATES = [HEAD["template"], WORKERS["template"]]
DEFAULTS = Settings()


def ask_ray(code: str, given: Any) -> Any:
    """Run code in a process of its own; Ray is not loaded into the tests."""
    command = [sys.executable, "-c", f"import json, sys; given = json.loads(sys.argv[1])\n{code}"]
    done = subprocess.run([*command, json.dumps(given)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@needs_ray
def test_ray_takes_the_configuration_and_has_no_word_for_anything_else() -> None:
    code = (
        "from ray.serve.schema import ServeDeploySchema as Schema;"
        "print(Schema.model_validate(given).model_dump_json(exclude_unset=True))"
    )
    read = ask_ray(code, SERVE)
    assert read["applications"][0]["deployments"][0]["autoscaling_config"] == DEPLOYMENT["autoscaling_config"]
    assert {name: read["http_options"][name] for name in SERVE["http_options"]} == SERVE["http_options"]
    with pytest.raises(AssertionError, match="max_ongoing"):
        ask_ray(code, SERVE | {"applications": [{"import_path": "a:b", "deployments": [{"max_ongoing": 1}]}]})


@needs_ray
def test_the_configuration_has_the_numbers_of_the_code_and_two_replicas() -> None:
    code = "import service.cluster; print(json.dumps(service.cluster.SHAPE))"
    shape = ask_ray(code, None)
    assert shape["autoscaling_config"].pop("min_replicas") == 1
    given = {name: value for name, value in DEPLOYMENT.items() if name != "name"}
    scaling = dict(given["autoscaling_config"])
    assert scaling.pop("min_replicas") == 2
    assert given | {"autoscaling_config": scaling} == shape


@needs_ray
def test_a_misspelt_setting_stops_the_deployment_before_any_replica() -> None:
    code = "from service.cluster import application; application(given)"
    with pytest.raises(AssertionError, match="SettingsError: STRIDE_MODEL_DIR"):
        ask_ray(code, {"model_dir": "models"})


@needs_ray
def test_ray_is_told_of_a_replica_that_is_not_ready() -> None:
    code = """
import asyncio
from types import SimpleNamespace
from service.app import create_app
from service.cluster import Replica, Unhealthy
replica = Replica({"threads": 1})
replica.application = create_app(replica.settings)
replica.application.state.models = SimpleNamespace(by_name={})
told = []
for replica.application.state.parts.phase.draining in (False, True):
    try:
        asyncio.run(replica.check_health())
    except Unhealthy as error:
        told.append(str(error))
print(json.dumps(told))"""
    assert ask_ray(code, None) == ["/health/ready answers 503"]


def test_kubernetes_takes_the_objects() -> None:
    Draft202012Validator(SCHEMA).validate(SERVICE)
    newest = kubernetes_validate.latest_version()
    kubernetes_validate.validate(CLAIM, newest, strict=True)
    kubernetes_validate.validate(POLICY, newest, strict=True)
    for template in TEMPLATES:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"} | template["metadata"]}
        kubernetes_validate.validate(pod | {"spec": template["spec"]}, newest, strict=True)


def test_kubernetes_has_the_same_configuration_and_its_own_folder_of_models() -> None:
    inside = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])
    folder = inside["applications"][0]["args"].pop("models_dir")
    outside = yaml.safe_load(CONFIG.read_text())
    del outside["applications"][0]["args"]["models_dir"]
    assert inside == outside
    for template in TEMPLATES:
        mounts = template["spec"]["containers"][0]["volumeMounts"]
        assert [mount["name"] for mount in mounts if mount["mountPath"] == folder] == ["models"]


def test_kubernetes_is_told_the_ray_of_the_image() -> None:
    pins = (ROOT / "deploy" / "requirements" / "cluster.txt").read_text()
    assert re.findall(r"^ray==(\S+)", pins, re.MULTILINE) == [CLUSTER["rayVersion"]]


def test_whoever_gives_ray_code_to_run_needs_a_token() -> None:
    assert CLUSTER["authOptions"] == {"mode": "token"}


def test_no_pod_is_taken_for_one_of_the_deployment() -> None:
    deployment = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "base" / "deployment.yaml").read_text())
    selected = deployment["spec"]["selector"]["matchLabels"].items()
    assert not any(selected <= template["metadata"]["labels"].items() for template in TEMPLATES)


def test_the_ports_that_run_code_are_for_ray_and_its_operator() -> None:
    chosen = POLICY["spec"]["podSelector"]
    assert all(
        chosen["matchLabels"].items() <= template["metadata"]["labels"].items() for template in TEMPLATES
    )
    among, operator, *others = POLICY["spec"]["ingress"]
    assert among == {"from": [{"podSelector": chosen}]}
    assert operator["from"] == [{"namespaceSelector": {"matchLabels": {"stride-operator": "true"}}}]
    assert {port["port"] for rule in others for port in rule["ports"]} == {8000, 8080}


def test_nothing_ends_before_what_it_waits_for() -> None:
    graceful = DEPLOYMENT["graceful_shutdown_timeout_s"]
    assert graceful > DEFAULTS.timeout_s + 5
    assert SERVE["http_options"]["request_timeout_s"] > DEFAULTS.timeout_s
    assert all(template["spec"]["terminationGracePeriodSeconds"] > graceful for template in TEMPLATES)


def test_the_machines_hold_all_replicas_and_one_more_may_be_lost() -> None:
    cores = int(WORKERS["rayStartParams"]["num-cpus"]) // DEPLOYMENT["ray_actor_options"]["num_cpus"]
    scaling = DEPLOYMENT["autoscaling_config"]
    assert WORKERS["maxReplicas"] * cores >= scaling["max_replicas"]
    assert (WORKERS["minReplicas"] - 1) * cores >= 1
    assert scaling["min_replicas"] >= 2
    assert HEAD["rayStartParams"]["num-cpus"] == "0"


def test_two_batches_fit_into_a_replica_and_a_target_below_them() -> None:
    assert DEPLOYMENT["max_ongoing_requests"] == 2 * DEFAULTS.batch_size
    assert DEPLOYMENT["autoscaling_config"]["target_ongoing_requests"] == DEFAULTS.batch_size / 2
    assert DEPLOYMENT["max_ongoing_requests"] <= DEFAULTS.queue_length


@pytest.mark.parametrize("template", TEMPLATES)
def test_pods_may_do_nothing_and_say_nothing_that_they_need_not(template: dict[str, Any]) -> None:
    spec = template["spec"]
    (container,) = spec["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert spec["securityContext"]["runAsNonRoot"]
    user = spec["securityContext"]["runAsUser"]
    assert f"USER {user}:{spec['securityContext']['runAsGroup']}" in (ROOT / "Dockerfile").read_text()
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"] == "service.ingress:layers"
    assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert int(environment["RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S"]) > DEFAULTS.timeout_s
    # Links would set STRIDE_SERVE_SVC_PORT, which the service does not know and does not start with.
    assert spec["enableServiceLinks"] is False
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert {name for name in environment if name.startswith(PREFIX)} <= known
    ports = {port["containerPort"] for port in container["ports"]} | {52365}  # Ray's agent
    assert {container[probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe")} <= ports
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}
