"""A pod fits the service: settings, time to start and stop, resources, what it may do."""

import re
from pathlib import Path

import pytest

from service.__main__ import DRAIN_MARGIN_S
from service.server import CLOSING_S
from service.settings import PREFIX, Settings, load_settings
from tests.kubernetes.rendering import Manifest, environment

DOCKERFILE = (Path(__file__).parents[2] / "Dockerfile").read_text()
DEFAULTS = Settings.model_construct()
SCALES = {"m": 1e-3, "Mi": 2**20, "Gi": 2**30, "": 1}


def amount(quantity: str | int) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(quantity)).groups()
    return float(number) * SCALES[unit]


def test_every_variable_is_a_setting_with_a_value_it_takes(
    pods: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    for pod in pods:
        with monkeypatch.context() as patch:
            for name, value in environment(pod).items():
                assert name.startswith(PREFIX)
                patch.setenv(name, value)
            load_settings()  # refuses an unknown name


def test_kubernetes_adds_no_variables_that_the_service_refuses(pods: list[Manifest]) -> None:
    for pod in pods:
        assert pod["enableServiceLinks"] is False


def test_there_is_time_to_stop(pods: list[Manifest]) -> None:
    for pod in pods:
        given = environment(pod)
        drain_s = float(given.get("STRIDE_DRAIN_S", DEFAULTS.drain_s))
        timeout_s = float(given.get("STRIDE_TIMEOUT_S", DEFAULTS.timeout_s))
        needed_s = drain_s + timeout_s + DRAIN_MARGIN_S + CLOSING_S
        assert pod["terminationGracePeriodSeconds"] > needed_s
        # Pods get connections until every node has heard that they leave: more than a second or two.
        assert drain_s >= 5


def test_requests_are_limits_in_whole_cores_and_threads_follow(pods: list[Manifest]) -> None:
    for pod in pods:
        resources = pod["containers"][0]["resources"]
        for name, requested in resources["requests"].items():
            assert amount(requested) == amount(resources["limits"][name])
        cores = amount(resources["limits"]["cpu"])
        assert cores == int(cores)
        assert environment(pod)["STRIDE_THREADS"] == str(int(cores))
        buffers = 2 * DEFAULTS.max_buffered_bytes + 5 * 8 * DEFAULTS.max_cells
        assert amount(resources["limits"]["memory"]) > 0.5 * 2**30 + buffers


def test_pods_meet_the_restricted_standard_and_cannot_write(pods: list[Manifest]) -> None:
    [user] = set(re.findall(r"^USER (\d+):\d+", DOCKERFILE, re.M))
    for pod in pods:
        [container] = pod["containers"]
        security = {**pod["securityContext"], **container["securityContext"]}
        assert security["runAsUser"] == security["runAsGroup"] == int(user)
        assert security["runAsNonRoot"] is security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "secret", "persistentVolumeClaim"}
        written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert written == {"/tmp"}


def test_a_start_has_its_time_and_a_hang_is_found(pods: list[Manifest]) -> None:
    for pod in pods:
        [container] = pod["containers"]
        start, live = container["startupProbe"], container["livenessProbe"]
        assert start["periodSeconds"] == 1
        assert start["failureThreshold"] >= 60
        assert live["failureThreshold"] * live["periodSeconds"] <= 30
        assert live["timeoutSeconds"] >= 3  # 2.4 s was the longest in a flood
