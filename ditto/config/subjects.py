"""What is impossible for subjects, and for templates of them."""

from __future__ import annotations

import string
from typing import Final

from ditto.config.impossible import Impossible
from ditto.config.table_rules import check_key
from ditto.config.template_syntax import PLACEHOLDERS, is_subject

_MAX_PREFIX: Final = 1024
_MAX_SUBJECT: Final = 3900


def check_prefix(value: str) -> str:
    """Raises Impossible."""
    if len(value.encode()) > _MAX_PREFIX:
        raise Impossible(f"must be at most {_MAX_PREFIX:,} bytes long: nats-server takes no long subjects")
    if not is_subject(value):
        raise Impossible(
            "must be the beginning of a NATS subject: no white space, no * or >, no empty part between dots"
        )
    return value


def check_subject(value: str) -> str:
    """Raises Impossible."""
    try:
        parts = list(string.Formatter().parse(value))
    except ValueError as error:
        raise Impossible(f"is not a template: {error}") from None
    names = [name for _, name, _, _ in parts if name is not None]
    for name in names:
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
            raise Impossible(f"has the unknown placeholder {{{name}}}", hint=f"the placeholders are {known}")
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise Impossible("has a placeholder with a format, which is not supported")
    if "table" not in names:
        raise Impossible("must contain {table}")
    if not is_subject(value.format_map(dict.fromkeys(PLACEHOLDERS, "x"))):
        raise Impossible("must give a NATS subject: no white space, no * or >, no empty part between dots")
    return value


def check_group_subject(value: str) -> str:
    """Raises Impossible."""
    try:
        parts = list(string.Formatter().parse(value))
    except ValueError as error:
        raise Impossible(f"is not a template: {error}") from None
    names = {name for _, name, _, _ in parts if name is not None}
    if unknown := sorted(names - {"prefix", "database"}):
        raise Impossible(
            f"has the placeholder {{{unknown[0]}}}",
            hint="a group has events of several tables: the placeholders are {prefix} and {database}",
        )
    if any(spec or conversion for _, _, spec, conversion in parts):
        raise Impossible("has a placeholder with a format, which is not supported")
    if len(value.encode()) > _MAX_PREFIX:
        raise Impossible(f"must be at most {_MAX_PREFIX:,} bytes long: nats-server takes no long subjects")
    if not is_subject(value.format_map({"prefix": "x", "database": "x"})):
        raise Impossible("must give a NATS subject: no white space, no * or >, no empty part between dots")
    return value


def check_topics(value: dict[str, str]) -> dict[str, str]:
    """Raises Impossible."""
    for table, subject in value.items():
        check_key("events.topics", table)
        if len(subject.encode()) > _MAX_SUBJECT:
            raise Impossible(
                f"must be at most {_MAX_SUBJECT:,} bytes long: nats-server takes no longer subject",
                place=f"events.topics.{table}",
            )
        if not is_subject(subject):
            raise Impossible(
                "must be a whole NATS subject: no white space, no * or >, no empty part between dots",
                place=f"events.topics.{table}",
            )
    return value
