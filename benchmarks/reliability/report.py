"""The faults' rows for docs/reliability.md, out of results.json."""

from typing import Any

WORDS = {
    "process-killed": (
        "one of two processes killed under load",
        "only what was in flight on it is lost; it is replaced",
    ),
    "process-stopped": (
        "one of two processes stopped, and continued",
        "its requests are late, none is lost; the other goes on",
    ),
    "log-full": ("the log's disk is full", "it serves, replaces a dead process, ends cleanly"),
    "log-closed": ("standard error is closed", "the same"),
    "metrics-folder-gone": (
        "the metrics' folder is deleted, a process killed",
        "predictions go on; `/metrics` says that it cannot",
    ),
    "models-folder-gone": (
        "the watched models folder vanishes, and comes back",
        "what was loaded is served on, and metrics say so",
    ),
    "clock-jumps": (
        "the clock jumps a day forwards and back (libfaketime)",
        "quotas and time-outs stay as they are",
    ),
    "model-fails": (
        "a model raises for one picture in eight, then for all",
        "the others of the batch are answered; 500; then well again",
    ),
    "model-hangs": (
        "a model takes longer than the time-out",
        "503 in time; `/health/live` 503; then well again",
    ),
    "model-hangs-for-ever": ("a model never comes back", "`/health/live` 503; SIGTERM ends the process"),
    "slow-bodies": (
        "500 clients send a byte of a body a second",
        "others are served; each gets 408 at the limit",
    ),
    "slow-readers": ("40 clients read a byte a second of 2 MB", "they are cut off, their memory let go of"),
    "idle": (
        "10,000 idle connections (limit raised to 11,000)",
        "health within 50 ms, predictions go on; memory comes back",
    ),
    "idle-beyond-limit": ("10,000 idle connections, default limits", "the oldest give way; the same"),
    "resets": ("500 clients reset in the head, the body, the wait", "nothing is left of them, no traceback"),
    "half-closed": ("a client closes its half and waits", "taken for gone; the service goes on"),
    "pipelined": ("200 predictions in one piece", "all answered, in order"),
    "storm": ("1,000 new connections a second, for 10 s", "none is lost"),
    "stop-with-open-connections": (
        "SIGTERM with 200 connections idle, in the head, in the body",
        "it ends in time",
    ),
    "no-more-files": ("64 open files allowed, 128 connections", "no busy loop; well again"),
}
SKIPPED = {"survived", "seconds", "log", "n"}


def rows(found: dict[str, Any]) -> str:
    """Write a row a fault."""
    lines = []
    for name, figures in found.items():
        fault, promise = WORDS[name]
        seen = "; ".join(words(key, value) for key, value in figures.items() if key not in SKIPPED)
        lines.append(f"| {fault} (`{name}`) | {promise} | {seen or 'as promised'} |")
    return "\n".join(lines)


def words(key: str, value: Any) -> str:
    """Put one figure into words."""
    if isinstance(value, dict):
        value = ", ".join(words(one, each) for one, each in value.items())
    elif isinstance(value, float):
        value = f"{value:,.4g}"
    elif isinstance(value, int):
        value = f"{value:,}"
    return f"{key.replace('_', ' ')} {value}"
