"""The JSON Schema says what the loader does."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ditto.config import KEYS, schema


def resolve(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    found: dict[str, Any] = document["$defs"][node["$ref"].rpartition("/")[2]]
    return found


def accepts(document: dict[str, Any], node: dict[str, Any], value: Any) -> bool:
    """The part of JSON Schema that this schema is made of."""
    node = resolve(document, node)
    kinds = {"string": str, "integer": int, "number": int | float, "boolean": bool, "array": list, "object": dict}
    if "anyOf" in node:
        return any(accepts(document, each, value) for each in node["anyOf"])
    if "enum" in node:
        return value in node["enum"]
    if node["type"] == "null" or value is None:
        return node["type"] == "null" and value is None
    if not isinstance(value, kinds[node["type"]]) or (isinstance(value, bool) and node["type"] != "boolean"):
        return False
    if isinstance(value, str):
        return re.search(node.get("pattern", ""), value) is not None
    if isinstance(value, list):
        return all(accepts(document, node["items"], each) for each in value)
    if isinstance(value, dict):
        known, others = node.get("properties", {}), node.get("additionalProperties", False)
        return all(
            accepts(document, known[name], each) if name in known else others and accepts(document, others, each)
            for name, each in value.items()
        )
    return bool(node.get("minimum", value) <= value <= node.get("maximum", value))


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"postgres": None, "nats": {"tls": {}}, "log": {"level": "debug"}},
        {"nats": {"url": ["nats://a"], "ack_timeout": 3, "replicas": 5}},
        {"nats": {"url": "nats://a", "ack_timeout": "500ms", "replicas": "${N:-1}", "create": "${C}"}},
        {"nats": {"ack_timeout": "${T}"}},
        {"events": {"tables": {"trades": ["insert", "UPDATE", "Delete"]}, "topics": {"a": "b"}}},
        {"events": {"tables": None, "metadata": ["LSN", "primary_key"]}},
        {"log": {"level": "INFO", "format": "Json"}, "events": {"types": {"profile": "WAL-listener"}}},
    ],
)
def test_accepted(value: Any) -> None:
    assert accepts(schema(), schema(), value)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"postgress": {}},
        {"nats": {"ack_timeout": "soon"}},
        {"nats": {"ack_timeout": True}},
        {"nats": {"replicas": 6}},
        {"nats": {"replicas": "3"}},
        {"nats": {"tls": {"certt": "x"}}},
        {"events": {"tables": {"trades": ["upsert"]}}},
        {"log": {"level": "loud"}},
    ],
)
def test_refused(value: Any) -> None:
    assert not accepts(schema(), schema(), value)


@pytest.mark.parametrize("path", KEYS)
def test_every_key_is_there_with_its_documentation(path: str) -> None:
    document = schema()
    node = resolve(document, document)
    for name in path.split("."):
        node = node["properties"][name]
        if path == name or path.endswith(f".{name}"):
            break
        candidates = [node, *node.get("anyOf", [])]
        node = resolve(document, next(each for each in candidates if "$ref" in each))
    assert node["description"] == KEYS[path].description
