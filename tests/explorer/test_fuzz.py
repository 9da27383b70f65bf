"""Random valid and invalid requests, generated from the API's OpenAPI description."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.explorer.conftest import RunningExplorer

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    positive_data_acceptance,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_conforms_to_openapi(served: RunningExplorer, mode: GenerationMode) -> None:
    described = schemathesis.openapi.from_url(str(served.client.base_url.join("/api/openapi.json")))
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) == len(served.app.openapi()["paths"])
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not [*operation.iter_parameters(), *operation.body]:
            continue  # it takes nothing that could be wrong
        n_requests = 0

        @settings(max_examples=40, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            nonlocal n_requests
            n_requests += 1
            answer = case.call()
            case.validate_response(answer, checks=CHECKS)
            if answer.status_code >= 400:
                assert set(answer.json()) == {"type", "title", "status", "code", "detail"}

        ask()
        assert n_requests
