"""All faults, one after the other; what each found, or why the service did not survive it."""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.reliability import crowds, failures

FAULTS: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
    "process-killed": failures.process_killed,
    "process-stopped": failures.process_stopped,
    "log-full": failures.log_full,
    "log-closed": partial(failures.log_full, "exec 2>&-"),
    "metrics-folder-gone": failures.metrics_folder_gone,
    "models-folder-gone": failures.models_folder_gone,
    "clock-jumps": failures.clock_jumps,
    "model-fails": failures.model_fails,
    "model-hangs": failures.model_hangs,
    "model-hangs-for-ever": failures.model_hangs_for_ever,
    "slow-bodies": crowds.slow_bodies,
    "slow-readers": crowds.slow_readers,
    "idle": crowds.idle,
    "idle-beyond-limit": crowds.idle_beyond_limit,
    "resets": crowds.resets,
    "half-closed": crowds.half_closed,
    "pipelined": crowds.pipelined,
    "storm": crowds.storm,
    "stop-with-open-connections": crowds.stop_with_open_connections,
    "no-more-files": crowds.no_more_files,
}


def run(names: Sequence[str] = ()) -> dict[str, Any]:
    """Commit the faults named, or all."""
    found = {}
    for name in names or FAULTS:
        began = time.monotonic()
        try:
            figures = asyncio.run(commit(name))
        except Exception as error:  # whatever it is, the others are tried as well
            figures = {"survived": False, "why": f"{type(error).__name__}: {error}"[:500]}
            traceback.print_exc()
        else:
            figures = {"survived": True} | figures
        found[name] = figures | {"seconds": round(time.monotonic() - began, 1)}
        print(name, found[name], flush=True)
    return found


async def commit(name: str) -> dict[str, Any]:
    return await FAULTS[name]()
