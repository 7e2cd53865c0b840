"""The generated OpenAPI document against what is really served: schemathesis, all checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.commands.processes import running
from tests.ports import reserved_port

if TYPE_CHECKING:
    from collections.abc import Iterator


OPERATIONS = [
    "user_dashboard", "overview", "user_activity", "city_weather", "fastest_weather",
    "batch_batch_post", "healthz_healthz_get", "readyz_readyz_get",
]  # fmt: skip


@pytest.fixture(scope="module")
def contract() -> Iterator[object]:
    # A process of its own: CPython 3.11 cannot parse in two threads at once, which both sides do.
    # Some failures of an optional section, so that partial answers are fuzzed too. What is too long
    # for the server never reaches the application, whose contract this is.
    port = reserved_port()
    url = f"http://127.0.0.1:{port}"
    limits = {"GATEWAY_MAX_REQUEST_LINE": "1MiB", "GATEWAY_MAX_REQUEST_HEAD": "2MiB"}
    demo = ["demo", "--port", str(port), "--fail", "posts=0.2"]
    with running(f"{url}/healthz", *demo, **limits):
        import schemathesis  # takes a second: only where it is used

        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


# schemathesis itself uses `random` where hypothesis would rather have a strategy.
@pytest.mark.no_cover
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_every_answer_is_as_documented(contract: Any, operation_id: str, mode: str) -> None:
    import requests
    from schemathesis import GenerationMode
    from schemathesis.specs.openapi.checks import response_schema_conformance as conformance

    operation = contract.find_operation_by_id(operation_id)
    has_parameters = any(operation.iter_parameters())
    if mode == "negative" and not has_parameters:
        return  # nothing to get wrong

    @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        answer = case.call(session=session)
        if answer.status_code == 200 and "sections" in (case.query or {}):
            # The schema is that of the whole document; a part has what it asks for, and no more.
            case.validate_response(answer, excluded_checks=[conformance])
            document = answer.json()
            shown = list(document["data"])
            assert shown == list(document["meta"]["sections"])
            assert set(shown) == asked_for(answer.request.url)
        else:
            case.validate_response(answer)

    with requests.Session() as session:  # or each request makes one, and a connection
        session.trust_env = False
        ask()


def asked_for(url: str) -> set[str]:
    """Return the names that the parameter `sections` has in a URL."""
    texts = parse_qs(urlsplit(url).query)["sections"]
    return {name for text in texts for name in text.split(",")}


def test_every_operation_is_fuzzed(contract: Any) -> None:
    found = {operation.ok().definition.raw["operationId"] for operation in
             contract.get_all_operations()}  # fmt: skip
    assert found == set(OPERATIONS)
