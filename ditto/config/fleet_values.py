"""What the values of a fleet's keys have to be like, where no type says so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ditto.config.impossible import Impossible

_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*"
"""Of pipelines and nodes: none looks like an option of a command."""
LONGEST_NAME: Final = 63
NAME_RULE: Final = "letters, digits, _ and -, with single dots between them, the first a letter or a digit, at most 63"
_NAME: Final = re.compile(NAME)


def is_name(text: str) -> bool:
    """Whether a pipeline or a node of a fleet can be called so: also a key of a bucket."""
    return len(text) <= LONGEST_NAME and _NAME.fullmatch(text) is not None


def _node(value: str | None) -> str | None:
    if value is not None and not is_name(value):
        raise Impossible(
            f"must be {NAME_RULE}", hint="give another one, such as n1; by default a node has the name of its host"
        )
    return value


def _labels(value: dict[str, str]) -> dict[str, str]:
    for name, each in value.items():
        if not _LABEL.fullmatch(name) or not _LABEL.fullmatch(each):
            raise Impossible(
                "has a label that cannot be: names and values are letters, digits, and . _ / - between them, at most 63"
            )
    return value


def _tokens(value: list[Any]) -> list[Any]:
    for index, token in enumerate(value):
        if not _SHA256.fullmatch(token.sha256):
            raise Impossible(
                f"has an entry ([{index}]) whose sha256 is no SHA-256 in hexadecimal",
                hint="printf %s TOKEN | sha256sum prints that of a token",
            )
    doubles = [name for name, count in Counter(token.name for token in value).items() if count > 1]
    if doubles:
        raise Impossible(f"has two entries with the name {doubles[0]}")
    owners: dict[str, str] = {}
    for token in value:
        if (other := owners.setdefault(token.sha256.lower(), token.name)) != token.name:
            raise Impossible(
                f"has one token for two entries, {other} and {token.name}: it has one name and one role",
                hint="remove one of them, or make it a token of its own: ditto token",
            )
    return value


CHECKS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"node": _node, "labels": _labels, "placement.labels": _labels, "auth.tokens": _tokens}
)
"""By key: returns the value, or raises Impossible."""
