"""Bodies that cannot be, in the words of the documents' errors."""

from __future__ import annotations

import pytest

from unit.fleet_fakes import FakeNode, client_of

REVISION = "The revision whose document is to be used again."
TABLES = "Tables, as `schema.table`"
KEYS = "its keys are tables, where, max_rows_per_s"


@pytest.mark.parametrize(
    ("path", "body", "detail", "hint"),
    [
        ("rollback", '{"revision": "x"}', "revision must be an integer, not text", REVISION),
        ("rollback", '{"revision": 0}', "revision must be at least 1", REVISION),
        ("rollback", "{}", "the body needs revision", REVISION),
        ("rollback", "[]", "the body must be a mapping, not a list", "its keys are revision"),
        ("rollback", "", "the request has no body", "its keys are revision"),
        ("snapshots", '{"tables": "x"}', "tables must be a list, not text", TABLES),
        ("snapshots", '{"tables": ["a", 7]}', "tables[1] must be text, not an integer", TABLES),
        ("snapshots", '{"max_rows_per_s": 1.5}', "max_rows_per_s must be an integer, not a number", "The most rows"),
        ("snapshots", '{"tabels": []}', "tabels is not a known key: did you mean tables?", TABLES),
        ("snapshots", '{"x": []}', "x is not a known key", KEYS),
        ("snapshots", "5", "the body must be a mapping, not an integer", KEYS),
        ("validate", "[]", "the body must be a mapping, not a list", "The document to check"),
    ],
)
async def test_a_body_of_another_type_is_refused_with_its_place_and_what_is_expected(
    path: str, body: str, detail: str, hint: str
) -> None:
    headers = {"Content-Type": "application/json", "If-Match": "*"}
    async with client_of(FakeNode()) as client:
        answer = await client.post(f"/v1/pipelines/shop/{path}", content=body, headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["detail"]) == (400, detail)
    assert problem["hint"].startswith(hint)
