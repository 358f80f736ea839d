"""The OpenAPI document is true: whatever requests are made from it, the server answers as it says.

`OPENAPI_EXAMPLES=500 pytest tests/serve/test_openapi.py` looks for hours, and at other requests each time.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from serve.budget import RequestError, ThinkingBudget, with_members
from serve.dialects import FIELDS, normalise_request
from serve.launch import RunningServer
from serve.openapi import OPERATIONS, document
from serve.schemas import THINKING, request_fields

EXAMPLES = os.environ.get("OPENAPI_EXAMPLES")
GENERATING = [path for (_, path), operation in OPERATIONS.items() if operation.asks]

NOT_CHECKED = [
    # vLLM's models take what can be converted: "1" for 1, and True.
    "negative_data_rejection",
    # JSON Schema cannot say which model is served, or that a stop text is one the tokenizer can write.
    "positive_data_acceptance",
]


@pytest.mark.slow
@pytest.mark.timeout(0 if EXAMPLES else 600)
def test_the_server_answers_as_the_document_says(server: RunningServer, tmp_path: Path) -> None:
    """Status codes, content types, headers and bodies; and no request makes it fail."""
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]
    command += [f"{server.base_url}/openapi.json", "--warnings", "off", "--continue-on-failure"]
    command += ["--exclude-checks", ",".join(NOT_CHECKED), "--request-timeout", "60"]
    if EXAMPLES is None:
        command += ["--phases", "fuzzing", "--max-examples", "10", "--generation-deterministic"]
    else:
        command += ["--phases", "coverage,fuzzing", "--max-examples", EXAMPLES]
    # It keeps what it finds in the directory it runs in.
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.serve.openapi_hooks", "PYTHONPATH": root}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:]
    assert httpx.get(f"{server.base_url}/health").status_code == 200


@pytest.fixture(scope="module")
def served(server: RunningServer) -> dict[str, Any]:
    return httpx.get(f"{server.base_url}/openapi.json").raise_for_status().json()


def request_schema(served: dict[str, Any], path: str) -> dict[str, Any]:
    reference = served["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    return served["components"]["schemas"][reference.rsplit("/", 1)[1]]


def test_it_holds_every_route_we_vouch_for(served: dict[str, Any]) -> None:
    found = {(method, path) for path, methods in served["paths"].items() for method in methods}
    assert found == set(OPERATIONS)
    assert "security" not in served
    assert "HTTPValidationError" not in served["components"]["schemas"]


@pytest.mark.parametrize("path", GENERATING)
def test_it_holds_every_field_of_every_dialect(served: dict[str, Any], path: str) -> None:
    properties = request_schema(served, path)["properties"]
    # chat_template_kwargs is open; sampling_params belongs to a route of vLLM's that is not vouched for.
    fields = [f for f in FIELDS if not f.startswith(("chat_template_kwargs.", "sampling_params."))]
    for field in fields:
        name, _, member = field.partition(".")
        assert name in properties
        if member:
            assert member in properties[name]["anyOf"][0]["properties"]


@pytest.mark.parametrize("path", GENERATING)
def test_it_holds_every_member_of_thinking(served: dict[str, Any], path: str) -> None:
    members = request_schema(served, path)["properties"]["thinking"]["anyOf"][0]["properties"]
    with pytest.raises(RequestError) as error:
        with_members(ThinkingBudget(), {"?": 1})
    known = str(error.value).split("has the members ")[1].split(", ")
    assert set(known) == set(members) - {"type", "budget_tokens", "display"}
    assert set(known) == set(THINKING["properties"])


@pytest.mark.parametrize(
    "members",
    [
        {"budget": -1},
        {"budget": -2},
        {"budget": 1.5},
        {"effort": "low"},
        {"effort": "lots"},
        {"deadline": 0.5},
        {"deadline": 0},
        {"deadline": False},
        {"deadline": True},
        {"soft": -1},
        {"min_tokens": 0},
        {"loop": True},
        {"loop": {"repeats": 2, "tokens": 2}},
        {"loop": {"repeats": 1}},
        {"loop": {"x": 1}},
        {"loop": 1},
        {"confident": {"threshold": 1}},
        {"confident": {"threshold": 0}},
        {"confident": {"every": 0}},
        {"confident": {"induce": "So"}},
        {"target_accuracy": 1},
        {"target_accuracy": 0},
        {"target_accuracy": False},
        {"target_accuracy": True},
        {"max_cost": 0.5},
        {"max_cost": -1},
        {"max_cost": False},
        {"family": "chain"},
        {"family": False},
        {"family": 1},
        {"stop_text": 5},
        {"wait_text": None},
        {"nothing": 1},
        {"type": "enabled"},
        {"type": "sometimes"},
        {"budget_tokens": -3},
    ],
)
def test_the_schema_of_thinking_agrees_with_the_server(members: dict[str, Any]) -> None:
    fields = request_fields("/v1/chat/completions")
    valid = jsonschema.Draft202012Validator(fields["thinking"]).is_valid(members)
    try:
        normalise_request({"thinking": members}, "chat")
    except RequestError:
        assert not valid
    else:
        assert valid


def test_keys_are_in_it() -> None:
    """With keys, every operation but /health says so, and how they are given."""
    source = {
        "openapi": "3.1.0",
        "components": {"schemas": {}},
        "paths": {
            "/health": {"get": {}},
            "/v1/models": {"get": {}},
            "/v1/thinking/{thinking_id}/stop": {"post": {}},
        },
    }
    made = document(source, keys=True)
    assert made["security"] == [{"bearer": []}, {"header": []}]
    assert set(made["components"]["securitySchemes"]) == {"bearer", "header"}
    assert made["paths"]["/health"]["get"]["security"] == []
    assert set(made["paths"]["/health"]["get"]["responses"]) == {"200", "503"}
    assert "401" in made["paths"]["/v1/models"]["get"]["responses"]
    stop = made["paths"]["/v1/thinking/{thinking_id}/stop"]["post"]["responses"]
    assert {"200", "401", "404", "413"} <= set(stop)
