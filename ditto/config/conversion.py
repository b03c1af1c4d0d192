"""One value: from what someone wrote to what the model holds, or a sentence that says why it cannot be."""

from __future__ import annotations

import json
import math
import re
from difflib import get_close_matches
from enum import Enum
from functools import cache
from typing import Any, Literal, get_args, get_origin

import msgspec

from ditto.config.impossible import Impossible
from ditto.config.keys import Key, members, section
from ditto.config.validation import CHECKS
from ditto.errors import ConfigError

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = r"^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?$"
"""A duration as text. Without a unit it is seconds."""

_SIZES = {"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}
SIZE = r"^([0-9]+) *([kKmMgG]?[bB])?$"
"""A number of bytes as text."""

# msgspec's words are for programmers; these are for the author of the file.
_EXPECTED = re.compile(r"Expected `(?P<wanted>[^`]+)`(?: (?P<bound>[<>]=) (?P<limit>\S+))?(?:, got `(?P<got>[^`]+)`)?")
_PLACE = re.compile(r" - at `\$(?P<place>[^`]*)`$")
_WORDS = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_BOUNDS = {">=": "at least", "<=": "at most"}


class Setting(msgspec.Struct, frozen=True):
    """A value and where it came from (`in ditto.yaml`, `from DB_DSN`), before it is checked.

    `is_text`: it was written where there is nothing but text (environment, command line), so numbers, lists and
    mappings are in it as text too. `path` is the former path of the key, where the value was given under that.
    """

    value: Any
    origin: str
    is_text: bool = False
    path: str = ""


def convert(key: Key, setting: Setting) -> Any:
    """The value of `key` as the model holds it. Raises ConfigError, which never quotes a secret."""
    value, written = _without_line_ends(setting.value), setting.path or key.path
    try:
        if key.is_size:
            value = read_bytes(value)
        elif setting.is_text:
            value = _read_text(key, value)
        value = read_seconds(value) if key.is_duration else _convert(written, value, key.annotation)
        check = CHECKS.get(key.path)
        return check(value) if check else value
    except Impossible as error:
        path = error.place or written
        raise ConfigError(f"{path} {setting.origin} {error}", hint=error.hint, key=key.path) from None


def _without_line_ends(value: Any) -> Any:
    """Line ends that editors, `echo` and secret stores put behind a value, also a password, are no part of it."""
    return value.rstrip("\r\n") if isinstance(value, str) else value


def _read_text(key: Key, text: str) -> Any:
    """The value that `text` means, where only text can be written. The type of the key decides."""
    kinds = {get_origin(member) or member for member in members(key.annotation)}
    if dict in kinds or (list in kinds and text.lstrip().startswith("[")):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}"
            raise Impossible(f"must be JSON, and is not ({where}: {error.msg})", hint=_json_hint(key, text)) from None
    if list in kinds and str not in kinds:
        return [part.strip() for part in text.split(",") if part.strip()]
    if str in kinds or key.is_duration:
        return text
    if Literal in kinds:
        return text.strip()
    if kinds == {bool} and (word := text.strip().lower()) in _BOOLEANS:
        return _BOOLEANS[word]
    try:
        return msgspec.convert(text.strip(), key.annotation, strict=False)
    except msgspec.ValidationError as error:
        raise Impossible(explain(str(error))) from None


def _json_hint(key: Key, text: str) -> str | None:
    """A shell that reads a .env file takes the double quotes away, unless they are in single ones."""
    if not text.lstrip().startswith(("{", "[")):
        example = msgspec.json.encode(key.examples[0]).decode() if key.examples else "{}"
        return f"in a shell put single quotes around the JSON: {key.variable}='{example}'"
    if '"' in text or not re.search(r"[{\[]\s*\w", text):
        return None
    example = """NAME='{"table":["insert"]}'"""
    return f"its double quotes are gone: in a file that a shell reads, put single quotes around the value: {example}"


def _convert(path: str, value: Any, annotation: Any) -> Any:
    """Convert item by item, so that the sentence about a mapping names the entry."""
    for member in members(annotation):
        if get_origin(member) is dict and isinstance(value, dict):
            _, item = get_args(member)
            return {_text_key(path, name): _convert(f"{path}.{name}", each, item) for name, each in value.items()}
        if get_origin(member) is list and isinstance(value, list):
            (item,) = get_args(member)
            return [_convert(f"{path}[{index}]", each, item) for index, each in enumerate(value)]
        if (struct := section(member)) is not None and isinstance(value, dict):
            return _convert_section(path, value, struct)
        choices = _choices(member)
        if choices and isinstance(value, str) and value.lower() not in choices:
            raise Impossible(f"must be one of {', '.join(choices)}", place=path)
        if choices and isinstance(value, str):
            value = value.lower()
    try:
        return msgspec.convert(value, annotation)
    except msgspec.ValidationError as error:
        raise Impossible(explain(str(error)), place=path) from None


def _convert_section(path: str, value: dict[Any, Any], struct: type[msgspec.Struct]) -> Any:
    """An entry that is a section of its own: `events.tables.orders`."""
    fields = _fields_of(struct)
    given = {}
    for key, each in value.items():
        name = "null" if key is None and "null" in fields else _text_key(path, key)  # in YAML null is no text
        field = fields.get(name)
        if field is None:
            near = get_close_matches(name, fields, n=1)
            said = f"is not a known key: did you mean {path}.{near[0]}?" if near else "is not a known key"
            known = None if near else f"known are {', '.join(f'{path}.{each}' for each in fields)}"
            raise Impossible(said, place=f"{path}.{name}", hint=known)
        if each is None:  # what its lines said is commented out: no column would be left out, no condition hold
            raise Impossible("has nothing behind it", place=f"{path}.{name}", hint="give a value, or leave the key out")
        given[field.name] = _convert(f"{path}.{name}", each, field.type)
    missing = [field.encode_name for field in fields.values() if field.required and field.name not in given]
    if missing:
        raise Impossible(f"needs {' and '.join(missing)}", place=path)
    return struct(**given)


@cache
def _fields_of(struct: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """By name as written. Asked for once: to find them takes a millisecond, and there may be thousands of entries."""
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def _text_key(path: str, name: object) -> str:
    if not isinstance(name, str):
        raise Impossible("has a name that is not text: put it in quotes", place=path)
    return name


def _choices(member: Any) -> tuple[str, ...]:
    if get_origin(member) is Literal:
        return get_args(member)
    if isinstance(member, type) and issubclass(member, Enum):
        return tuple(str(choice.value) for choice in member)
    return ()


def explain(message: str) -> str:
    """The message of msgspec, in the words of the file. It never quotes a value, only types and bounds."""
    found = _EXPECTED.match(_PLACE.sub("", message))
    if found is None:
        return "has an impossible value"
    if found["bound"]:
        return f"must be {_BOUNDS[found['bound']]} {found['limit']}"
    wanted = " or ".join(_WORDS.get(name, name) for name in found["wanted"].split(" | ") if name != "null")
    return f"must be {wanted}, not {_WORDS.get(found['got'], found['got'])}"


def read_bytes(value: Any) -> int:
    """A number of bytes, written as a number or as text. Raises Impossible."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (found := re.match(SIZE, value.strip())):
        return int(found[1]) * _SIZES[(found[2] or "").lower()]
    raise Impossible("must be a number of bytes, or a text such as 256kB or 1MB")


def read_seconds(value: Any) -> float:
    """A duration, written as a number or as text. Raises Impossible."""
    seconds = math.nan
    if isinstance(value, str) and (found := re.match(DURATION, value.strip())):
        seconds = float(found[1]) * _UNITS[found[2] or ""]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    if not math.isfinite(seconds):
        raise Impossible("must be a number of seconds, or a text such as 500ms, 10s or 2m")
    return seconds
