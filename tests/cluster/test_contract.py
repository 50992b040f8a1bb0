"""The contract's tests, unchanged, against the application on several machines."""

import os
import re
import subprocess
import sys

from tests.cluster.conftest import ROOT, RunningCluster

LEAST = 250  # tests that are asked; fewer, and they have not been found


def test_a_cluster_keeps_the_contract(cluster: RunningCluster) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "tests.cluster.contract", "tests/service", "--tb=short"]
    environment = os.environ | {"TEST_URL": cluster.address, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= LEAST
