"""Templates: text with placeholders in braces, as `{prefix}.{table}.{data.customer_id}`."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NamedTuple, TypeAlias

PLACEHOLDERS: Final = ("prefix", "schema", "table", "action", "database")
"""The names that may be in braces in every template of a subject."""

_PART: Final = re.compile(
    r"""(?P<text>[^{}]+) | (?P<brace>\{\{|\}\})
      | \{ (?P<name>[^\W\d]\w*(?:\.prefix)?) \}
      | \{ (?P<of>\w+) \. (?: "(?P<quoted>(?:[^"]|"")+)" | (?P<plain>[^\s{}".!:]+) ) \}""",
    re.VERBOSE,
)
_SHOWN: Final = re.compile(r"\{[^{}]*\}?")


class Name(NamedTuple):
    """A placeholder for something that is known before any row: `{table}`, or a group of a regular expression."""

    name: str


class Value(NamedTuple):
    """A placeholder for the value of a column of the row: `{data.customer_id}`."""

    column: str


Template: TypeAlias = tuple[str | Name | Value, ...]


class TemplateError(ValueError):
    """The end of a sentence that begins with the key: "has the unknown placeholder {colour}"."""

    def __init__(self, problem: str, *, hint: str | None = None) -> None:
        super().__init__(problem)
        self.hint = hint


def parse_template(text: str, names: Collection[str], *, has_data: bool) -> Template:
    """The parts of a template in which `names` may be in braces, and with `has_data` `data.COLUMN`.

    A column with odd characters is written in double quotes, `{data."odd name"}`; a brace is written twice.
    """
    parts: list[str | Name | Value] = []
    at = 0
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            raise _broken(text, at)
        at = found.end()
        if (literal := found["text"] or found["brace"]) is not None:
            parts.append(literal[:1] if found["brace"] else literal)
        elif found["name"] is not None and found["name"] in names:
            parts.append(Name(found["name"]))
        elif found["of"] == "data" and has_data:
            quoted = found["quoted"]
            parts.append(Value(found["plain"] if quoted is None else quoted.replace('""', '"')))
        else:
            known = ", ".join(f"{{{each}}}" for each in names) + (", {data.COLUMN}" if has_data else "")
            raise TemplateError(f"has the unknown placeholder {found[0]}", hint=f"the placeholders are {known}")
    return tuple(parts)


def _broken(text: str, at: int) -> TemplateError:
    found = _SHOWN.match(text, at)
    if found is None:
        return TemplateError(f"has a }} without its {{, at character {at + 1}", hint="a brace is written twice: }}")
    if not found[0].endswith("}"):
        return TemplateError(f"has a {{ without its }}, at character {at + 1}", hint="a brace is written twice: {{")
    hint = 'a column with odd characters is written in double quotes: {data."odd name"}'
    return TemplateError(f"has a placeholder that cannot be read, {found[0]}", hint=hint)


def columns_of(template: Template) -> list[str]:
    """The columns whose values it has."""
    return [part.column for part in template if isinstance(part, Value)]


def is_subject(text: str) -> bool:
    """Whether `text` is a literal NATS subject: tokens that are not empty, no wildcards, no white space."""
    return text.isprintable() and not re.search(r"[\s*>]", text) and all(text.split("."))
