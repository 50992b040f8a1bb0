"""A plugin for pytest: of the service's tests keep those that may ask any service, wherever it runs."""

import pytest

# Tests that look into the process that serves, or start one of their own.
INSIDE = {"caplog", "monkeypatch", "serve"}
# What Ray's proxy, which is uvicorn as it comes, does otherwise.
LEFT_OUT = {
    "test_every_answer_tells_browsers_what_they_may_not_do": "the proxy names its server",
    "test_what_is_no_http_is_refused_in_the_form_of_all_errors": "the proxy's own words",
    "test_a_damaged_chunk_is_answered": "the proxy's own words",
    "test_a_coding_that_is_not_read_is_answered": "the proxy's own words",
    "test_a_wish_for_another_protocol_is_overread_with_its_body_kept": "the proxy loses the body",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept = [item for item in items if is_asked(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def is_asked(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    return "client" in fixtures and not fixtures & INSIDE and item.name.split("[")[0] not in LEFT_OUT
