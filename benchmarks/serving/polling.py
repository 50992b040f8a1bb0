"""Ask /health/live every 20 ms as an orchestrator would: on a new connection, and on one that is kept.

A process of its own, standard library only: `python -m benchmarks.serving.polling PORT SECONDS` prints JSON.
"""

import http.client
import json
import sys
import threading
import time

EVERY_S, TIMEOUT_S = 0.02, 10


def poll(port: int, seconds: float, times: list[float], failed: list[int], *, keep: bool) -> None:
    """Append how long each answer took, in milliseconds."""
    ends = time.perf_counter() + seconds
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    while (began := time.perf_counter()) < ends:
        try:
            connection.request("GET", "/health/live")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                failed.append(answer.status)
            times.append((time.perf_counter() - began) * 1000)
        except (OSError, http.client.HTTPException):
            failed.append(0)
            connection.close()
        if not keep:
            connection.close()
        time.sleep(max(0.0, began + EVERY_S - time.perf_counter()))
    connection.close()


def main(port: int, seconds: float) -> None:
    """Poll both ways at once and print what came of it."""
    found: dict[str, tuple[list[float], list[int]]] = {
        "new connections": ([], []),
        "kept connection": ([], []),
    }
    threads = [
        threading.Thread(target=poll, args=(port, seconds, *lists), kwargs={"keep": kind.startswith("kept")})
        for kind, lists in found.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({kind: summarise(*lists) for kind, lists in found.items()}))


def summarise(times: list[float], failed: list[int]) -> dict[str, float]:
    """Take percentiles."""
    ordered = sorted(times) or [float("nan")]
    at = {f"p{part}_ms": ordered[min(len(ordered) - 1, len(ordered) * part // 100)] for part in (50, 99)}
    return {**at, "max_ms": ordered[-1], "n": len(times), "failed": len(failed)}


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
