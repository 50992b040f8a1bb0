"""Run a document's shell commands as written, but for the port."""

import subprocess
from pathlib import Path

import httpx


def shell(script: str, client: httpx.Client, folder: Path) -> str:
    """Run a block in a folder and give what it prints; any status above 399 fails."""
    strict = 'curl() { command curl -sS --fail-with-body "$@"; echo; }\n'
    script = script.replace("http://127.0.0.1:8000", str(client.base_url).rstrip("/"))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", strict + script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
