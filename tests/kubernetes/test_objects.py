"""The objects fit together: names, labels, ports, volumes, images."""

import re
from pathlib import Path

from tests.kubernetes.rendering import Manifest, all_of, identity, only, pod_of

DOCKERFILE = (Path(__file__).parents[2] / "Dockerfile").read_text()


def test_no_two_objects_have_one_name(manifests: list[Manifest]) -> None:
    names = [identity(one) for one in manifests]
    assert len(set(names)) == len(names)


def test_every_selector_selects_the_pods(manifests: list[Manifest]) -> None:
    deployment = only(manifests, "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"].items()
    selectors = [deployment["selector"]["matchLabels"], only(manifests, "Service")["spec"]["selector"]]
    selectors += [only(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]]
    selectors += [one["spec"]["podSelector"]["matchLabels"] for one in all_of(manifests, "NetworkPolicy")]
    spreads = deployment["template"]["spec"]["topologySpreadConstraints"]
    selectors += [one["labelSelector"]["matchLabels"] for one in spreads]
    assert len(selectors) >= 6
    for selector in selectors:
        assert selector
        assert selector.items() <= labels


def test_every_port_is_the_one_the_image_listens_on(manifests: list[Manifest]) -> None:
    [listened] = re.findall(r'^CMD .*"--port", "([0-9]+)"', DOCKERFILE, re.M)
    [container] = pod_of(manifests)["containers"]
    assert "command" not in container
    assert "args" not in container
    assert [port["containerPort"] for port in container["ports"]] == [int(listened)]
    name = container["ports"][0]["name"]
    assert [port["targetPort"] for port in only(manifests, "Service")["spec"]["ports"]] == [name]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == name
    for policy in all_of(manifests, "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            assert [port["port"] for port in rule["ports"]] == [int(listened)]


def test_every_mount_has_its_volume_and_every_claim_is_made(manifests: list[Manifest]) -> None:
    pod = pod_of(manifests)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == set(volumes)
    claimed = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes.values()
        if "persistentVolumeClaim" in volume
    }
    assert claimed == {one["metadata"]["name"] for one in all_of(manifests, "PersistentVolumeClaim")}


def test_the_images_are_named_and_the_one_of_production_has_a_version(manifests: list[Manifest]) -> None:
    image = pod_of(manifests)["containers"][0]["image"]
    if any(one["kind"] == "Namespace" for one in manifests):
        assert re.fullmatch(r"registry\.example\.org/stride:\d+\.\d+\.\d+", image)
    else:
        assert image in {"stride", "stride-cuda"}
