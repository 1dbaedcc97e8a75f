"""Requests made from the description of the service, and answers that must be as it says."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from service_process import Service

REQUESTS = 2000


def _ask_as_described(service: Service, requests: int) -> int:
    """How many requests, valid and not, were answered as `/openapi.json` describes."""
    from schemathesis import checks, openapi
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi import checks as described

    schema = openapi.from_url(f"{service.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    with_body = sum(operation.method == "post" for operation in operations)
    asked = 0
    for operation in operations:

        @settings(
            max_examples=-(-requests // with_body),
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(*(operation.as_strategy(mode) for mode in GenerationMode)))
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            answer = case.call(timeout=60)
            checked = [
                described.status_code_conformance,
                described.content_type_conformance,
                described.response_schema_conformance,
            ]
            if answer.status_code == 200:
                checked.append(described.negative_data_rejection)
            elif answer.status_code != 503:
                checked.append(checks.not_a_server_error)
            case.validate_response(answer, checks=checked)

        ask()
    return asked


@pytest.mark.slow
def test_the_service_keeps_to_its_description(every_model: tuple[Service, list[str]]) -> None:
    service, _ = every_model
    assert _ask_as_described(service, REQUESTS) >= REQUESTS
    assert "Traceback" not in "".join(service.log)
