"""The comparison of servers: its table and chart on stored figures, and one short run where there is wrk."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.serving import answers, chart, payloads, table

REPOSITORY = Path(__file__).parents[1]


def load(payload, connections, per_second):
    return {
        "payload": payload,
        "connections": connections,
        "per_second": per_second,
        "slowest_per_second": per_second - 10,
        "fastest_per_second": per_second + 10,
        "p50_ms": 1.25,
        "p99_ms": 12.5,
        "not_2xx": 1,
        "socket_errors": 0,
        "timeouts": 2,
    }


def server(name, label, speed):
    loads = [load(payload, count, speed) for payload in ("small", "photo") for count in (1, 16, 64)]
    figures = {"start_s": 1.5, "memory_mib": 400.0, "settings": "2 workers", "version": "1.2"}
    return {"name": name, "label": label, "loads": loads, **figures}


@pytest.fixture
def result():
    machine = {"processor": "A & B", "cores": 2, "system": "Linux 6", "python": "3.11", "date": "2026-01-01"}
    machine |= {"generator": "wrk 4.1", "versions": {"torch": "2.13"}}
    rows = [server("ours", "Stride, 2 workers", 4000), server("peer", "Peer", 1000)]
    rows.append(server("ours-again", "Stride, again at the end", 3900))
    gone = [{"name": "gone", "label": "Gone", "why": "it needs Java"}]
    method = {"rounds": 3, "seconds": 5, "payloads": ["small: PNG"]}
    return {"machine": machine, "method": method, "servers": rows, "left_out": gone}


def test_the_table_states_ratio_spread_errors_and_who_was_left_out(result):
    text = table.render(result)
    peer = next(line for line in text.splitlines() if "Peer" in line)
    assert "| 1,000 ± 10 | 4.00× | 12.5 | 1.25 |" in peer
    assert "| 18 | 400 | 1.5 |" in peer
    assert "Left out: Gone: it needs Java." in text
    assert "Medians of 3 rounds of 5 s" in text


def test_the_chart_is_an_svg_with_a_title_and_a_bar_a_server_and_payload(result):
    root = ElementTree.fromstring(chart.draw(result))
    space = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{space}title") is not None
    bars = [bar.get("class") for bar in root.iter(f"{space}rect")]
    assert sorted(bars) == ["bar", "bar", "ground", "ours", "ours"]


def test_the_pictures_are_the_same_every_time_and_as_large_as_stated():
    small, photo = payloads.small_png(), payloads.photo()
    assert 2200 < len(small.data) < 2600
    assert 115_000 < len(photo.data) < 127_000
    assert payloads.small_png.__wrapped__() == small


def test_an_answer_is_found_in_whatever_it_is_wrapped_in():
    inner = {"predictions": [{"label": "cat", "index": 3, "probability": 0.9}]}
    wrapped = {"outputs": [{"data": [json.dumps(inner)]}]}
    assert answers.likeliest(json.dumps(wrapped).encode()) == ("cat", 0.9)


def test_a_wrong_answer_is_refused():
    text = json.dumps({"predictions": [{"label": "cat", "probability": 0.9}]}).encode()
    answers.check(text, ("cat", 0.89))
    with pytest.raises(ValueError, match=r"answered cat 0\.9000; the artefact says cat 0\.5000"):
        answers.check(text, ("cat", 0.5))


@pytest.mark.skipif(shutil.which("wrk") is None, reason="no wrk to drive load with")
def test_a_short_run_measures_our_service_without_an_error(tmp_path):
    command = [sys.executable, "-m", "benchmarks.serving", "--only", "ours-1"]
    command += ["--json", str(tmp_path / "r.json"), "--chart", str(tmp_path / "r.svg")]
    command += ["--rounds", "1", "--seconds", "1"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    stored = json.loads((tmp_path / "r.json").read_text())
    assert [row["name"] for row in stored["servers"]] == ["ours-1"]
    for row in stored["servers"]:
        assert sum(cell["not_2xx"] + cell["socket_errors"] + cell["timeouts"] for cell in row["loads"]) == 0
        assert all(cell["per_second"] > 0 for cell in row["loads"])
    assert "Stride, 1 worker" in done.stdout
    assert str(REPOSITORY) not in (tmp_path / "r.json").read_text()
