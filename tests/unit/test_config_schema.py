"""The JSON Schema says what the loader does."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from ditto.config import KEYS, load, schema
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

ENVIRON = {"C": "false", "T": "2s", "REGION": "eu", "SLOT": "shop", "HOME": "/home/ditto"}


ABOUT = {"$schema", "$defs", "title", "description", "default", "examples"}
KINDS: dict[str, Any] = {
    "string": str, "integer": int, "number": int | float, "boolean": bool,
    "array": list, "object": dict, "null": type(None),
}  # fmt: skip


def resolve(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    found: dict[str, Any] = document["$defs"][node["$ref"].rpartition("/")[2]]
    return found


def written(value: Any, folder: Path) -> Path:
    file = folder / "ditto.json"
    file.write_text(json.dumps(value), encoding="utf-8")
    return file


def accepts(document: dict[str, Any], node: dict[str, Any], value: Any) -> bool:
    """The part of JSON Schema that this schema is made of. Any other keyword is an error."""
    return all(
        keyword in ABOUT or holds(document, node, keyword, limit, value)
        for keyword, limit in resolve(document, node).items()
    )


def holds(document: dict[str, Any], node: dict[str, Any], keyword: str, limit: Any, value: Any) -> bool:
    """One keyword. Those of one type hold for values of every other type."""
    is_text, is_object = isinstance(value, str), isinstance(value, dict)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match keyword:
        case "type":
            return isinstance(value, KINDS[limit]) and (limit == "boolean" or not isinstance(value, bool))
        case "anyOf":
            return any(accepts(document, each, value) for each in limit)
        case "not":
            return not accepts(document, limit, value)
        case "enum":
            return value in limit
        case "pattern":
            return not is_text or re.search(limit, value) is not None
        case "minLength":
            return not is_text or len(value) >= limit
        case "minimum":
            return not is_number or value >= limit
        case "maximum":
            return not is_number or value <= limit
        case "items":
            return not isinstance(value, list) or all(accepts(document, limit, each) for each in value)
        case "required":
            return not is_object or set(limit) <= value.keys()
        case "maxProperties":
            return not is_object or len(value) <= limit
        case "properties":
            return not is_object or all(accepts(document, limit[name], value[name]) for name in value.keys() & limit)
        case "additionalProperties":
            known = resolve(document, node).get("properties", {})
            others = [each for name, each in value.items() if name not in known] if is_object else []
            return all(limit and accepts(document, limit, each) for each in others)
    raise AssertionError(f"{keyword} is not known here")


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
        {"name": "shop-7.eu", "postgres": {"slot": "shop_7"}, "file": {"path": "-"}},
        {"name": "shop-${REGION}", "postgres": {"slot": "${SLOT}"}, "file": {"path": "${HOME}/events.jsonl"}},
        {"name": None, "nats": None, "file": {"path": "/x"}},
        {"nats": {"max_in_flight": 4, "on_gap": "stop"}, "file": {"path": "/x"}},
    ],
)
def test_accepted(value: Any, tmp_path: Path) -> None:
    assert accepts(schema(), schema(), value)
    load(written(value, tmp_path), {}, ENVIRON)


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
        {"name": "a b"},
        {"name": ""},
        {"name": "a" * 64},
        {"postgres": {"slot": "Shop"}},
        {"file": {"path": ""}},
        {"file": {"path": None}},
        {"file": {}},
        {"file": None},
        {"nats": {"stream": "S"}, "file": {"path": "/x"}},
        {"nats": {"stream": "S", "on_gap": "stop"}, "file": {"path": "/x"}},
        {"nats": {"tls": {}}, "file": {"path": "/x"}},
        {"nats": {}, "file": {"path": "/x"}},
    ],
)
def test_refused(value: Any, tmp_path: Path) -> None:
    assert not accepts(schema(), schema(), value)
    if value != {"nats": {"replicas": "3"}}:
        with pytest.raises(ConfigError):
            load(written(value, tmp_path), {}, ENVIRON)


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
