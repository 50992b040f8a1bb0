"""Dashboard and alerts ask for what is exported; each alert fires when it should, and says what to do."""

import itertools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.errors import ServiceError
from service.metrics import Metrics

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy" / "observability"
GROUPS = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "stride.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
PLOTTED = [target["expr"] for panel in PANELS for target in panel["targets"]]
PLOTTED += [one["expr"] for one in DASHBOARD["annotations"]["list"]]
VARIABLES = [one["definition"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
EXPRESSIONS = [*(rule["expr"] for rule in RULES), *PLOTTED, *VARIABLES]
SCRAPED = {"job", "instance"}  # what Prometheus adds itself
SUFFIXES = {"counter": {"_total": set()}, "gauge": {"": set()}}
SUFFIXES["histogram"] = {"_bucket": {"le"}, "_sum": set(), "_count": set()}


def exported() -> dict[str, set[str]]:
    """The name of every series the service exports, with its labels."""
    series = {}
    for metric in Metrics().registry._names_to_collectors.values():
        for suffix, labels in SUFFIXES[metric._type].items():
            series[f"{metric._name}{suffix}"] = {*metric._labelnames, *labels}
    return series


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_for_series_and_labels_that_are_exported(expression: str) -> None:
    series = exported()
    names = re.findall(r"\bstride_[a-z_]+", expression)
    assert set(names) <= set(series)
    for name, matchers in re.findall(r"\b(stride_[a-z_]+)\s*\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= series[name] | SCRAPED
    grouped = {
        word.strip()
        for listed in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression)
        for word in listed.split(",")
    }
    if names:
        assert grouped <= set.union(SCRAPED, *(series[name] for name in names))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_for_ratios_that_are_recorded(expression: str) -> None:
    assert set(re.findall(r"\bstride:\w+:\w+", expression)) <= RECORDED


def test_reasons_that_are_asked_for_are_reasons_the_service_gives() -> None:
    kinds = {error.kind for error in every_subclass(ServiceError)}
    asked = [
        found for one in EXPRESSIONS for found in re.findall(r'refusals_total\{[^}]*reason=~"([^"]+)"', one)
    ]
    assert asked
    assert {reason for one in asked for reason in one.split("|")} <= kinds


def every_subclass(cls: type[ServiceError]) -> set[type[ServiceError]]:
    """All classes below one, however deep."""
    return {cls}.union(*(every_subclass(below) for below in cls.__subclasses__()))


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_an_alert_says_how_bad_it_is_what_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+[smh]", alert["for"])
    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert alert["annotations"]["summary"].endswith(".")
    assert alert["annotations"]["description"].endswith(".")
    file, anchor = alert["annotations"]["runbook"].split("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / file).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_every_alert_is_shown_firing_and_silent() -> None:
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    steps = [step for test in tests for step in test.get("promql_expr_test", [])]
    for fires in (True, False):
        shown = {
            re.findall(r'alertname="(\w+)"', step["expr"])[0]
            for step in steps
            if bool(step["exp_samples"]) is fires
        }
        assert shown == set(ALERTS)


@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")],
    ids=["what is scraped", "alerts"],
)
def test_prometheus_itself_agrees(arguments: tuple[str, ...]) -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    done = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_panel_says_what_it_shows_in_which_unit() -> None:
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_panels_have_their_own_number_and_place() -> None:
    everything = DASHBOARD["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    places = [cells(panel["gridPos"]) for panel in everything]
    assert all(0 <= column < 24 for place in places for column, _ in place)
    assert not any(one & other for one, other in itertools.combinations(places, 2))


def cells(place: dict[str, int]) -> set[tuple[int, int]]:
    """The cells of the dashboard's grid, 24 wide, that a panel covers."""
    columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
    return set(itertools.product(columns, rows))


def test_grafana_is_told_where_its_data_and_dashboards_are() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounted = dict(volume.split(":")[:2] for volume in compose["grafana"]["volumes"])
    assert all((ROOT / source).is_dir() for source in mounted if source.startswith("./"))
    provisioning = FOLDER / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((provisioning / "dashboards" / "stride.yml").read_text())["providers"][0]
    assert provider["options"]["path"] == mounted["./deploy/observability/grafana/dashboards"]
    home = compose["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/stride.json"


@pytest.mark.parametrize(("password", "created"), [("", "no"), ("correct horse", "yes")])
def test_grafana_has_no_administrator_with_a_known_password(password: str, created: str) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    *shell, script = compose["grafana"]["entrypoint"]
    said = 'echo "${GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION:-false}"'
    script = script.replace("$$", "$").replace("exec /run.sh", said)
    known = {"PATH": os.environ["PATH"], "GF_SECURITY_ADMIN_PASSWORD": password}
    done = subprocess.run([*shell, script], env=known, capture_output=True, text=True)
    assert done.stdout.strip() == {"no": "true", "yes": "false"}[created]
    assert compose["grafana"]["environment"]["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_the_watchers_are_limited_pinned_and_reached_from_this_machine_alone(name: str) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    one = compose["services"][name]
    assert one["profiles"] == ["observability"]
    assert re.search(r":v?\d+\.\d+\.\d+$", one["image"])
    assert all(port.startswith("127.0.0.1:") for port in one["ports"])
    assert set(one["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    own = [volume.split(":") for volume in one["volumes"]]
    assert all(options == ["ro"] for source, _, *options in own if source.startswith("./"))
    assert {source for source, *_ in own if not source.startswith("./")} <= set(compose["volumes"])
