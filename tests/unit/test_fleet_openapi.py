"""The OpenAPI document of a fleet's API says what the API does: requests of every kind that it allows, and others."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import schemathesis
from fleet_openapi import expectations, headers
from hypothesis import HealthCheck, settings

from unit.fleet_fakes import DOCUMENT, ROLES, TOKENS, FakeNode, client_of


def schema_of(role: str) -> Any:
    """Of a node with two pipelines, asked with the token of this role."""
    node = FakeNode()
    node.fill("shop", "orders")
    given = headers(TOKENS[role])
    schema = schemathesis.openapi.from_asgi("/schema/openapi.json", node.app, config=expectations(), headers=given)
    schema.config.update(headers=given)
    return schema


read, operate, admin = map(schema_of, ROLES)
few = settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@read.parametrize()  # type: ignore[untyped-decorator]  # schemathesis
@few
@pytest.mark.long
def test_the_api_is_as_documented_for_the_role_read(case: Any) -> None:
    call(case)


@operate.parametrize()  # type: ignore[untyped-decorator]  # schemathesis
@few
@pytest.mark.long
def test_the_api_is_as_documented_for_the_role_operate(case: Any) -> None:
    call(case)


# A document has so many forms that making some takes seconds.
@admin.exclude(path_regex="validate").exclude(method="PUT").parametrize()  # type: ignore[untyped-decorator]  # schemathesis
@few
def test_the_api_is_as_documented_for_the_role_admin(case: Any) -> None:
    call(case)


@admin.include(path_regex="validate").include(method="PUT").parametrize()  # type: ignore[untyped-decorator]  # schemathesis
@few
@pytest.mark.long
def test_routes_that_take_documents_are_as_documented(case: Any) -> None:
    call(case)


def call(case: Any) -> None:
    if len(case.path_parameters.get("name", "")) % 2:
        case.path_parameters["name"] = "shop"
    case.call_and_validate()


async def test_every_route_says_how_it_can_fail_and_which_role_it_needs() -> None:
    async with client_of(FakeNode(), "read") as client:
        document = (await client.get("/schema/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    for path, item in document["paths"].items():
        for method, operation in item.items():
            place = f"{method} {path}"
            is_probe = path in {"/healthz", "/readyz"}
            assert operation["summary"], place
            assert operation["description"], place
            assert ("x-role" in operation) == (not is_probe), place
            assert operation["security"] == ([] if is_probe else [{"token": []}]), place
            for each in operation.get("parameters", ()):
                if (each["in"], each["name"]) == ("path", "name"):
                    assert re.search(each["schema"]["pattern"], "shop.eu-1"), place
                    assert not re.search(each["schema"]["pattern"], "-x"), place
            failures = {code: each for code, each in operation["responses"].items() if code >= "400"}
            assert is_probe or {"400", "401", "403", "405", "421", "500"} <= failures.keys(), place
            for code, each in failures.items():
                assert each["description"], (place, code)
                is_state = is_probe and code == "503"
                assert list(each["content"]) == ["application/json" if is_state else "application/problem+json"], place


async def test_the_document_has_the_schema_of_a_configuration() -> None:
    async with client_of(FakeNode(), "read") as client:
        document = (await client.get("/schema/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert "slot" in schemas["DocumentPostgres"]["properties"]
    body = document["paths"]["/v1/pipelines/{name}"]["put"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/Document"}
    text = json.dumps(document)
    assert "$defs" not in text
    assert all(name in schemas for name in set(_references(document))), "every reference leads somewhere"
    assert DOCUMENT.keys() <= schemas["Document"]["properties"].keys()


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for each in node for found in _references(each)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"].rpartition("/")[2]] if isinstance(node.get("$ref"), str) else []
    return own + [found for each in node.values() for found in _references(each)]
