"""What /openapi.json promises, held to by schemathesis: every endpoint is sent what fits and what does not.

`FUZZ_EXAMPLES` tries so many of each; with `CI` set the examples are the same each time.
"""

import os

import httpx
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis import Case, SerializationContext

from service.app import create_app
from service.settings import Settings
from tests.conftest import MODELS
from tests.fuzz.hostile_matrices import array

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "25"))

api = schemathesis.openapi.from_dict(create_app(Settings(models_dir=MODELS)).openapi())
# A description cannot say all: which label a model has, which sizes fit. What breaks such a rule is refused.
not_ours = [schemathesis.checks.positive_data_acceptance]

arrays = st.tuples(st.sampled_from(["u1", "f8", "?"]), st.tuples(st.integers(1, 9), st.integers(1, 9)))
schemathesis.openapi.media_type("application/x-npy", arrays.map(lambda made: array(*made)))


@schemathesis.serializer("application/x-npy")
def write_npy(context: SerializationContext, value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@api.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="CI" in os.environ,
    suppress_health_check=list(HealthCheck),
)
def test_an_endpoint_keeps_its_description(case: Case, client: httpx.Client) -> None:
    case.call_and_validate(base_url=str(client.base_url), excluded_checks=not_ours, timeout=30)


def test_every_endpoint_of_the_description_was_tried() -> None:
    tried = {operation.ok().label for operation in api.get_all_operations()}
    assert {"POST /predict", "POST /convolve", "POST /layers/{layer}", "GET /models/{name}"} <= tried
    assert len(tried) > 15
