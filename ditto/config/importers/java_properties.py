"""Files of Java's properties: `key=value`, as java.util.Properties reads them."""

from __future__ import annotations

import re
from typing import Final

_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPED: Final = re.compile(r"\\(u[0-9A-Fa-f]{4}|.?)", re.DOTALL)
_KEY: Final = re.compile(r"((?:\\.|[^\\=:\s])*)[ \t\f]*[=:]?[ \t\f]*", re.DOTALL)
_EXPRESSION: Final = re.compile(r"\$\{([A-Za-z_][\w.]*)(?::([^{}]*))?\}")


def parse_properties(text: str) -> dict[str, str]:
    """By key; the last one of a name counts."""
    found: dict[str, str] = {}
    for line in _logical_lines(text):
        match = _KEY.match(line)
        if match is not None and match[1]:
            found[_unescaped(match[1])] = _unescaped(line[match.end() :])
    return found


def _logical_lines(text: str) -> list[str]:
    lines: list[str] = []
    continued = False
    for raw in re.split(r"\r\n|[\r\n]", text):
        line = raw.lstrip(" \t\f")
        if not continued and (not line or line[0] in "#!"):
            continue
        goes_on = (len(line) - len(line.rstrip("\\"))) % 2 == 1
        part = line[:-1] if goes_on else line
        if continued:
            lines[-1] += part
        else:
            lines.append(part)
        continued = goes_on
    return lines


def _unescaped(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        sign = match[1]
        return chr(int(sign[1:], 16)) if len(sign) == 5 else _ESCAPES.get(sign, sign)

    return _ESCAPED.sub(replace, text)


def with_references(value: str) -> str:
    """`${NAME:default}` of MicroProfile as a reference of Ditto's; `${some.property}` is then a variable's name."""

    def replace(match: re.Match[str]) -> str:
        name = re.sub(r"\W", "_", match[1])
        name = name if "." not in match[1] else name.upper()
        return f"${{{name}}}" if match[2] is None else f"${{{name}:-{match[2]}}}"

    return _EXPRESSION.sub(replace, value)
