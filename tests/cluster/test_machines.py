"""Several machines keep the contract; what happens to requests while they die, and models change.

One file, for the cluster lives as long: it would take processor and memory from the tests of other folders.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.artefacts import write_artefact
from tests.cluster.conftest import HAPROXY, REPLICAS, ROOT, RunningCluster, fixed
from tests.cluster.crowd import asking

LEAST = 250  # tests of the contract that are asked; fewer, and they have not been found
CROWD = 12
# What a client is told; HAProxy has no words for it, and asks Ray's proxy where it knows no replica.
LOST = {"cut", "no JSON"} if HAPROXY else {"urn:stride:problem:replica-lost"}
GONE = {"urn:stride:problem:not-served"} | ({"no JSON"} if HAPROXY else set())
SLOW = "/explain?method=occlusion&format=json"  # so that a machine has some in hand, whenever it dies


def test_a_cluster_keeps_the_contract_by_its_tests_unchanged(cluster: RunningCluster) -> None:
    cluster.wait(cluster.has(REPLICAS))
    command = [sys.executable, "-m", "pytest", "-p", "tests.cluster.contract", "tests/service", "--tb=short"]
    environment = os.environ | {"TEST_URL": cluster.address, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= LEAST


def test_a_machine_that_dies_takes_only_what_it_had_in_hand(cluster: RunningCluster, cat: bytes) -> None:
    cluster.wait(cluster.has(REPLICAS))
    with asking(cluster.port, cat, CROWD, SLOW) as crowd:
        cluster.wait(lambda: len(crowd.notes) > 3 * CROWD)
        killed = cluster.ask("kill")
        cluster.wait(lambda: cluster.ask("machines") == 2)
        cluster.wait(cluster.has(REPLICAS))  # elsewhere
        whole_again = max(note.ended for note in crowd.notes)
        cluster.wait(lambda: crowd.answered_since(whole_again) > 3 * CROWD)
    began, ended = killed["began"], killed["ended"]
    in_flight = [note for note in crowd.notes if note.began < ended and note.ended > began]
    failed = crowd.failed()
    sys.stdout.write(
        f"\n{len(crowd.notes)} requests, {killed['replicas']} of {REPLICAS} replicas killed"
        f" with {len(in_flight)} requests in flight in all, {len(failed)} of which failed\n"
    )
    assert killed["replicas"]
    assert len(in_flight) > CROWD / 2  # all, but for who was between two requests
    assert set(failed) < set(in_flight)  # other machines answer what they have
    assert {note.word for note in failed} <= LOST


def test_a_new_version_comes_without_a_request_lost(
    cluster: RunningCluster, cat: bytes, tmp_path: Path
) -> None:
    path = write_artefact(tmp_path / "cifar10-resnet.pt", version="2.0.0")
    with asking(cluster.port, cat, CROWD) as crowd:
        cluster.wait(lambda: len(crowd.notes) > CROWD)
        # Another folder: other replicas, one after another.
        cluster.deploy({"models_dir": str(tmp_path), "watch_s": 0.1}, **fixed(REPLICAS))
        cluster.wait(lambda: "2.0.0" in crowd.words())
        cluster.wait(cluster.has(REPLICAS))
        rolled = max(note.ended for note in crowd.notes)
        cluster.wait(lambda: crowd.answered_since(rolled) > 20 * CROWD)
        # Another file in its place: the same replicas, each by itself.
        write_artefact(path.with_suffix(".new"), name=path.stem, version="3.0.0").replace(path)
        cluster.wait(lambda: {note.word for note in crowd.notes[-20 * REPLICAS :]} == {"3.0.0"})
    assert not crowd.failed()
    assert crowd.words() == {"1.0.0", "2.0.0", "3.0.0"}
    assert {note.word for note in crowd.notes if note.began > rolled} == {"2.0.0", "3.0.0"}


def test_replicas_come_with_the_load_and_go_with_it(cluster: RunningCluster, cat: bytes) -> None:
    scaling = {"min_replicas": 1, "max_replicas": REPLICAS, "target_ongoing_requests": 2}
    scaling |= {"upscale_delay_s": 1, "downscale_delay_s": 1, "look_back_period_s": 11}
    with asking(cluster.port, cat, 1) as patient:
        cluster.deploy(autoscaling_config=scaling)
        cluster.wait(cluster.has(1))
        with asking(cluster.port, cat, CROWD) as crowd:
            cluster.wait(cluster.has(REPLICAS))
        cluster.wait(cluster.has(1))
    assert not crowd.failed()
    assert not patient.failed()


def test_what_was_accepted_is_answered_when_all_is_taken_down(cluster: RunningCluster, cat: bytes) -> None:
    cluster.deploy(**fixed(1))
    cluster.wait(cluster.has(1))
    with asking(cluster.port, cat, CROWD) as crowd:
        cluster.wait(lambda: len(crowd.notes) > 5 * CROWD)
        asked = time.monotonic()
        cluster.ask("delete")
        cluster.wait(lambda: bool(GONE & crowd.words()))
    assert crowd.failed()
    assert {note.word for note in crowd.failed()} <= GONE
    assert all(note.status == 200 for note in crowd.notes if note.began < asked)
