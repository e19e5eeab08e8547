"""Whatever OpenAPI allows is answered as it says, and what it does not allow is refused.

Looked at only where slow tests run (``tests/conftest.py``): to find its requests alone takes seconds.
"""

from typing import Any

import hypothesis
import pytest
import schemathesis
import schemathesis.checks

from tests.contract.server import start_server
from tests.project.checkout import ROOT

described = schemathesis.openapi.from_path(ROOT / "docs" / "openapi.json")

CHECKS: Any = [
    schemathesis.checks.not_a_server_error,
    *(
        schemathesis.checks.CHECKS.get_one(name)
        for name in (
            "status_code_conformance",
            "content_type_conformance",
            "response_schema_conformance",
            "negative_data_rejection",
        )
    ),
]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with start_server(tmp_path_factory.mktemp("fuzzed") / "state", DURABILITY="process") as server:
        yield server.port


@pytest.mark.slow
@described.exclude(path_regex="^/(simulations|evaluations)").parametrize()  # each that is started would be played
@hypothesis.settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(hypothesis.HealthCheck), database=None
)
def test_no_request_that_can_be_made_up_is_answered_otherwise(case: Any, port: int) -> None:
    case.call_and_validate(base_url=f"http://127.0.0.1:{port}", checks=CHECKS)
