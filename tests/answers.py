"""What every error of the service looks like."""

from typing import Any

import httpx


def assert_problem(answer: httpx.Response, status: int, says: str = "") -> dict[str, Any]:
    """Check that an answer is a problem of this status that says so, and give it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "X-Request-ID" in answer.headers
    problem = answer.json()
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert problem["status"] == status
    assert says in problem["detail"]
    assert "Traceback" not in answer.text
    return problem
