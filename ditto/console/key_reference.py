"""The keys of a configuration beside its editor, from the JSON Schema: what each is for, its values, its default."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

import msgspec
from nicegui import ui

from ditto.config.schema import schema

_SKIPPED: Final = frozenset({"http", "log"})
"""Sections that the node decides."""
_DEEPEST: Final = 4
_CLICKED: Final = "(event) => { if (event.target.dataset.key) emit(event.target.dataset.key); }"


class Key(msgspec.Struct, frozen=True):
    """One key."""

    path: str
    about: str
    values: str
    default: str | None
    example: Any
    """A value to begin with."""


@cache
def keys() -> tuple[Key, ...]:
    """All keys of a pipeline's document, in the order of the reference."""
    document = schema()
    top = document["$defs"]["Config"] if "Config" in document.get("$defs", {}) else document
    return tuple(_keys(top, "", document.get("$defs", {}), 0))


def _keys(node: dict[str, Any], path: str, definitions: dict[str, Any], depth: int) -> Iterator[Key]:
    for name, each in node.get("properties", {}).items():
        if not path and name in _SKIPPED:
            continue
        here = f"{path}.{name}" if path else name
        about = str(each.get("description", ""))
        if about.startswith("The former name of"):
            continue
        section = _section(each, definitions)
        if section is not None and depth < _DEEPEST:
            yield from _keys(section, here, definitions, depth + 1)
        else:
            default = each.get("default")
            shown = None if default is None else msgspec.json.encode(default).decode()
            examples = each.get("examples") or [default]
            yield Key(here, about, _values(each, definitions), shown, examples[0])


def _section(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    """The definition that a node refers to, where that is a section with keys of its own."""
    for each in (node, *node.get("anyOf", [])):
        reference = str(each.get("$ref", "")).rpartition("/")[2]
        found = definitions.get(reference)
        if found is not None and "properties" in found:
            return dict(found)
    return None


def _values(node: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Which values the schema takes, in a few words."""
    found: list[str] = []
    for each in (node, *node.get("anyOf", [])):
        resolved = definitions.get(str(each.get("$ref", "")).rpartition("/")[2], each)
        if "enum" in resolved:
            found += [str(word) for word in resolved["enum"]]
        elif "type" in resolved and resolved["type"] != "null" and not resolved.get("pattern"):
            found.append(str(resolved["type"]))
    return ", ".join(dict.fromkeys(found))


def key_reference(add: Callable[[Key], None] | None) -> None:
    """Build the list, with a field that searches it. `add` puts a key into the text; None where nobody may."""
    with ui.element("aside").classes("panel").props('aria-label="Keys"'):
        ui.html("<h2 class='title'>Keys</h2>", sanitize=False)
        search = (
            ui.input(placeholder="Search keys")
            .props('outlined dense clearable debounce=150 aria-label="Search keys"')
            .classes("w-full")
        )
        found = ui.html(_listed("", can_add=add is not None), sanitize=False).classes("keys")
        search.on_value_change(lambda: found.set_content(_listed(search.value or "", can_add=add is not None)))
        if add is not None:
            by_path = {each.path: each for each in keys()}
            found.on("click", lambda event: add(by_path[event.args]), js_handler=_CLICKED)


def _listed(text: str, *, can_add: bool) -> str:
    words = text.lower().split()
    shown = [each for each in keys() if all(word in f"{each.path} {each.about}".lower() for word in words)]
    if not shown:
        return '<p class="muted">No key is like that.</p>'
    return "".join(_entry(each, can_add=can_add) for each in shown)


def _entry(key: Key, *, can_add: bool) -> str:
    facts = []
    if key.values:
        facts.append(f"values: <code>{html.escape(key.values)}</code>")
    if key.default is not None:
        facts.append(f"default: <code>{html.escape(key.default)}</code>")
    path = html.escape(key.path, quote=True)
    button = (
        f'<button type="button" class="add" data-key="{path}" aria-label="Add {path}">Add</button>' if can_add else ""
    )
    return (
        f'<details><summary class="mono">{path}</summary><div>{html.escape(key.about)}</div>'
        f'<div class="muted">{"; ".join(facts)}</div>{button}</details>'
    )
