"""What differs between two documents, as lines of YAML."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

import yaml

_CONTEXT = 1


def as_yaml(document: dict[str, Any]) -> str:
    """A document as a file that can be applied again."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)


def differences(before: dict[str, Any] | None, after: dict[str, Any] | None) -> Iterator[str]:
    """Lines that begin with `-`, `+` or a blank; `…` between places that are apart. The order of keys says nothing."""
    old, new = ([] if each is None else _lines(each) for each in (before, after))
    has_begun = False
    for line in difflib.unified_diff(old, new, n=_CONTEXT, lineterm=""):
        if line.startswith(("---", "+++")) and not has_begun:
            continue
        if line.startswith("@@"):
            if has_begun:
                yield "  …"
            has_begun = True
            continue
        yield f"{line[:1]} {line[1:]}"


def _lines(document: dict[str, Any]) -> list[str]:
    return yaml.safe_dump(document, sort_keys=True, allow_unicode=True, width=1000).splitlines()
