"""Run as a program: a Ray cluster of several machines, each a raylet with its processes, on this one.

Commands come as JSON lines on standard input, answers go to standard output; all else goes to standard error.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.scripts import cli

WORKERS, CORES = 2, 2  # beside the head, which has as many
APPLICATION = "stride"


def main(dashboard_port: int) -> None:
    """Start the machines, do what is asked until there is no more, end them."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Ray prints
    given = {"num_cpus": CORES, "include_dashboard": False, "dashboard_port": dashboard_port}
    cluster = Cluster(initialize_head=True, head_node_args=given)
    for _ in range(WORKERS):
        cluster.add_node(num_cpus=CORES)
    ray.init(cluster.address, namespace="serve", log_to_driver=False)
    print(json.dumps({"machines": alive()}), file=answers, flush=True)
    commands = {"deploy": deploy, "replicas": replicas, "kill": lambda: kill(cluster), "delete": delete}
    commands |= {"machines": alive}
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(commands[name](*arguments)), file=answers, flush=True)
    serve.shutdown()
    ray.shutdown()
    cluster.shutdown()


def alive() -> int:
    return sum(node["Alive"] for node in ray.nodes())


def deploy(config: str) -> None:
    """Do what `serve run CONFIG` does, and come back."""
    cli(["run", "--non-blocking", config], standalone_mode=False)


def replicas() -> dict[str, Any]:
    """Count the replicas by their state: `{"application": "RUNNING", "RUNNING": 3}`."""
    status = serve.status().applications.get(APPLICATION)
    if status is None:
        return {"application": None}
    states = status.deployments[APPLICATION].replica_states if status.deployments else {}
    counted = {str(getattr(state, "value", state)): count for state, count in states.items() if count}
    return {"application": status.status.value, "message": status.message} | counted


def delete() -> None:
    serve.delete(APPLICATION, _blocking=True)


def kill(cluster: Cluster) -> dict[str, Any]:
    """Kill a machine that has replicas, all of its processes in one moment; say when, and how many it had.

    The moment ends when the last one is gone: until then it may take a request that it will not answer.
    """
    for node in cluster.worker_nodes:
        family = descendants(raylet := node.all_processes["raylet"][0].process.pid)
        lost = sum(command(process).startswith("ray::ServeReplica") for process in family)
        if lost:
            break
    else:
        raise LookupError("no machine but the head has a replica")
    began = time.monotonic()
    for process in (raylet, *family):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    while any(runs(process) for process in (raylet, *family)):
        time.sleep(0.002)
    return {"began": began, "ended": time.monotonic(), "replicas": lost}


def descendants(root: int) -> list[int]:
    """List a process's children and theirs."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for process in found:  # grows meanwhile
        found += [child for child, parent in parents.items() if parent == process]
    return found[1:]


def runs(process: int) -> bool:
    """Say whether a process has not ended; one that nobody has asked for its status has."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def command(process: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    return ""


if __name__ == "__main__":
    main(int(sys.argv[1]))
