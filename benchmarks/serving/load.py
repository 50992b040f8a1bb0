"""Drive load with wrk and read what it measured. Load goes to 127.0.0.1 only and ends by the clock."""

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.payloads import Body

HINT = "wrk is not installed (Debian, Ubuntu: apt install wrk; macOS: brew install wrk)"
ADDRESS = "http://127.0.0.1"
TIMEOUT_S = 30
SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = %s
local file = io.open(%s, "rb")
wrk.body = file:read("*a")
file:close()
%s
done = function(summary, latency, requests)
  local e = summary.errors
  local statuses = %s
  local at = function(part) return latency:percentile(part) / 1e3 end
  io.write(string.format('{"seconds": %%.6f, "requests": %%d, "not_2xx": %%d, "socket_errors": %%d, '
    .. '"timeouts": %%d, "p50_ms": %%.3f, "p90_ms": %%.3f, "p99_ms": %%.3f, "max_ms": %%.3f, '
    .. '"statuses": %%s}\\n',
    summary.duration / 1e6, summary.requests, e.status, e.connect + e.read + e.write, e.timeout,
    at(50), at(90), at(99), latency.max / 1e3, statuses))
end
"""
# Only where statuses are asked for: a Lua call an answer costs the generator a few microseconds.
COUNTING = """
local threads = {}
setup = function(thread) table.insert(threads, thread) end
counts = {}
response = function(status) counts[status] = (counts[status] or 0) + 1 end
local function total()
  local sums, parts = {}, {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("counts")) do sums[status] = (sums[status] or 0) + count end
  end
  for status, count in pairs(sums) do table.insert(parts, string.format('"%d": %d', status, count)) end
  return "{" .. table.concat(parts, ", ") .. "}"
end
"""


@dataclass(frozen=True)
class Load:
    """What one run of wrk found; times in milliseconds."""

    connections: int
    seconds: float
    requests: int
    not_2xx: int
    socket_errors: int
    timeouts: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    statuses: dict[str, int]

    @property
    def per_second(self) -> float:
        """Requests a second that were answered as they should be."""
        return (self.requests - self.not_2xx) / self.seconds

    @property
    def errors(self) -> int:
        return self.not_2xx + self.socket_errors + self.timeouts


def installed() -> bool:
    """Say whether there is a wrk to drive load with."""
    return shutil.which("wrk") is not None


def version() -> str:
    """Give wrk's version, `wrk 4.1.0`."""
    words = subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split()
    return " ".join(words[:2]).replace("debian/", "")


def drive(
    port: int, path: str, body: Body, connections: int, seconds: int, *, count_statuses: bool = False
) -> Load:
    """Post one body over and over on so many connections, each waiting for its answer: a closed loop."""
    with tempfile.TemporaryDirectory() as folder:
        payload, script = Path(folder, "body"), Path(folder, "load.lua")
        payload.write_bytes(body.data)
        script.write_text(lua(body.content_type, payload, count_statuses=count_statuses))
        command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
        command += ["--timeout", f"{TIMEOUT_S}s", "--script", str(script), f"{ADDRESS}:{port}{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 2 * TIMEOUT_S)
    return read_report(done.stdout, connections)


def lua(content_type: str, payload: Path, *, count_statuses: bool) -> str:
    """Write the script that gives wrk its request and prints the report as JSON."""
    counting, statuses = (COUNTING, "total()") if count_statuses else ("", '"{}"')
    return SCRIPT % (json.dumps(content_type), json.dumps(str(payload)), counting, statuses)


def read_report(output: str, connections: int) -> Load:
    """Read the script's last line. Raises RuntimeError where wrk printed none."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"wrk gave no report: {output.strip()[-200:]}")
    report: dict[str, Any] = json.loads(lines[-1])
    return Load(connections, **report)
