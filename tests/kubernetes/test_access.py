"""Who may call, and whom: Prometheus, callers with keys, nobody else; and what a pod may read."""

from pathlib import Path

import yaml

from tests.kubernetes.rendering import KUBERNETES, Manifest, all_of, environment, only, pod_of

ROOT = Path(__file__).parents[2]
README = (KUBERNETES / "README.md").read_text()


def test_prometheus_may_scrape_what_the_monitor_names(everything: list[Manifest]) -> None:
    service, monitor = only(everything, "Service"), only(everything, "ServiceMonitor")
    labels = service["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels[monitor["spec"]["jobLabel"]] == "stride"  # what the rules ask for
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"
    scrape = yaml.safe_load((ROOT / "deploy/observability/prometheus.yml").read_text())["scrape_configs"][0]
    assert monitor["spec"]["sampleLimit"] == scrape["sample_limit"]
    assert monitor["spec"]["bodySizeLimit"] == scrape["body_size_limit"]
    [source] = [
        source
        for policy in all_of(everything, "NetworkPolicy")
        for rule in policy["spec"]["ingress"]
        for source in rule["from"]
        if source.get("podSelector", {}).get("matchLabels") == {"app.kubernetes.io/name": "prometheus"}
    ]
    asked = only(everything, "ScaledObject")["spec"]["triggers"][0]["metadata"]["serverAddress"]
    assert f".{source['namespaceSelector']['matchLabels']['kubernetes.io/metadata.name']}.svc" in asked


def test_the_service_calls_nobody_and_strangers_cannot_call_it(manifests: list[Manifest]) -> None:
    policy = next(one for one in all_of(manifests, "NetworkPolicy") if one["metadata"]["name"] == "stride")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["egress"] == []
    for source in (source for rule in policy["spec"]["ingress"] for source in rule["from"]):
        assert source in (
            {"podSelector": {}},
            {"namespaceSelector": {"matchLabels": {"stride-client": "true"}}},
        )


def test_keys_come_from_the_secret_and_prometheus_has_its_own(everything: list[Manifest]) -> None:
    pod = pod_of(everything)
    file = Path(environment(pod)["STRIDE_API_KEYS_FILE"])
    [mount] = [
        mount for mount in pod["containers"][0]["volumeMounts"] if Path(mount["mountPath"]) == file.parent
    ]
    assert "subPath" not in mount  # such a file would never change
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
    assert volume["secret"]["items"] == [{"key": "keys", "path": file.name}]
    assert not volume["secret"].get("optional")
    credentials = only(everything, "ServiceMonitor")["spec"]["endpoints"][0]["authorization"]["credentials"]
    assert credentials == {"name": volume["secret"]["secretName"], "key": "prometheus"}
    assert f"secret generic {credentials['name']}" in README


def test_models_are_read_from_the_volume_and_watched(everything: list[Manifest]) -> None:
    given = environment(pod_of(everything))
    [mount] = [one for one in pod_of(everything)["containers"][0]["volumeMounts"] if one["name"] == "models"]
    assert given["STRIDE_MODELS_DIR"] == mount["mountPath"]
    assert mount["readOnly"] is True
    assert float(given["STRIDE_WATCH_S"]) > 0
