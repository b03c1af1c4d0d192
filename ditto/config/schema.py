"""The JSON Schema of the configuration file, for editors and checks."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ditto.config.conversion import DURATION, SIZE
from ditto.config.events import Action
from ditto.config.keys import PIPELINE, Model, members
from ditto.config.validation import TEXTS

_REFERENCE = {"type": "string", "pattern": r"\$\{.+\}", "description": "filled in from the environment"}
_LIMITS: dict[str, dict[str, Any]] = {
    **{path: {"pattern": rf"^{text}[\r\n]*$|{_REFERENCE['pattern']}"} for path, text in TEXTS.items()},
    "file.path": {"minLength": 1},
}
"""By key: what its text is limited to."""


def schema(model: Model = PIPELINE) -> dict[str, Any]:
    """JSON Schema 2020-12 of what the loader reads from a file, except for the checks that no schema can express."""
    document = msgspec.json.schema(model.struct)
    definitions, root = document["$defs"], model.struct.__name__
    for path, key in model.keys.items():
        *sections, name = path.split(".")
        node = _section(definitions, root, sections)
        if str not in members(key.annotation):
            node["properties"][name] = _or_text(
                node["properties"][name], DURATION if key.is_duration else SIZE if key.is_size else None
            )
        elif path in _LIMITS:
            _text(node["properties"][name]).update(_LIMITS[path])
    both_sinks = _both_sinks(definitions) if model is PIPELINE else {}
    for former, current in model.former.items():
        *sections, name = former.split(".")
        properties = _section(definitions, root, sections)["properties"]
        *sections, now = current.split(".")
        properties[name] = {
            **_section(definitions, root, sections)["properties"][now],
            "description": f"The former name of {current}.",
        }
    for name, each in definitions[root]["properties"].items():
        if name in model.keys:
            continue
        # A section whose keys are all commented out is null in YAML.
        nothing = [] if name in model.required else [{"type": "null"}]
        definitions[root]["properties"][name] = {
            "description": each.get("description", ""),
            "anyOf": [{"$ref": f"#/$defs/{_definition(each)}"}, *nothing],
        }
    if model is PIPELINE:
        definitions[root]["not"] = both_sinks
        definitions[Action.__name__]["description"] = str(Action.__doc__)
    title = "Ditto" if model is PIPELINE else "Ditto, a node of a fleet"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **_in_any_case(document)}


def _in_any_case(node: Any) -> Any:
    """The same schema, in which words of a fixed list may be written in upper case too."""
    if isinstance(node, list):
        return [_in_any_case(each) for each in node]
    if not isinstance(node, dict):
        return node
    if not (words := node.get("enum")):
        return {name: _in_any_case(each) for name, each in node.items()}
    rest = {name: each for name, each in node.items() if name not in {"enum", "type"}}
    pattern = "|".join(map(_any_case, words))
    return {**rest, "anyOf": [{"enum": words}, {"type": "string", "pattern": f"^({pattern})$"}]}


def _both_sinks(definitions: dict[str, Any]) -> dict[str, Any]:
    """What no file may be: one with `file` and with keys of `nats` that have not moved to another section."""
    keys = definitions["Nats"]["properties"]
    given = [{"maxProperties": 0}, *({"required": [name]} for name in keys)]
    return {"required": ["nats", "file"], "properties": {"nats": {"type": "object", "anyOf": given}}}


def _text(node: dict[str, Any]) -> dict[str, Any]:
    """The part of a key's schema that is about text."""
    found: dict[str, Any] = next(each for each in (node, *node.get("anyOf", [])) if each.get("type") == "string")
    return found


def _section(definitions: dict[str, Any], root: str, names: list[str]) -> dict[str, Any]:
    """The definition of the section with this path."""
    node: dict[str, Any] = definitions[root]
    for name in names:
        node = definitions[_definition(node["properties"][name])]
    return node


def _definition(node: dict[str, Any]) -> str:
    """The name of the section that `node` refers to, optional or not."""
    reference = node.get("$ref") or next(each["$ref"] for each in node["anyOf"] if "$ref" in each)
    return str(reference).rpartition("/")[2]


def _or_text(node: dict[str, Any], pattern: str | None) -> dict[str, Any]:
    """Let the value be written as a reference to the environment as well, and a duration or a size as text."""
    about: dict[str, Any] = {name: node.pop(name) for name in ("description", "default", "examples") if name in node}
    texts = [{"type": "string", "pattern": pattern}, _REFERENCE] if pattern else [_REFERENCE]
    return {**about, "anyOf": [*(node.pop("anyOf", None) or [node]), *texts]}


def _any_case(word: str) -> str:
    return "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else re.escape(letter) for letter in word)
