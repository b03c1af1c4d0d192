"""What differs between two documents, as lines of YAML."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import yaml


def as_yaml(document: dict[str, Any]) -> str:
    """A document as a file that can be applied again."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)


def differences(before: dict[str, Any] | None, after: dict[str, Any] | None) -> Iterator[str]:
    """Lines that begin with `-` or `+`, and with a blank those of the keys that they are below. The order of keys says
    nothing.
    """
    old, new = ([] if each is None else _lines(each) for each in (before, after))
    shown: list[str] = []
    for tag, old_from, old_to, new_from, new_to in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        for sign, lines, start, end in (("-", old, old_from, old_to), ("+", new, new_from, new_to)):
            if start == end:
                continue
            above = _above(lines, start)
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(above, shown, strict=False)))
            yield from (f"  {line}" for line in above[same:])
            yield from (f"{sign} {line}" for line in lines[start:end])
            shown = above


def _above(lines: list[str], index: int) -> list[str]:
    """The keys that a line is below, the outermost first."""
    found: list[str] = []
    depth = _depth(lines[index])
    for line in reversed(lines[:index]):
        if _depth(line) < depth:
            found.insert(0, line)
            depth = _depth(line)
    return found


def _depth(line: str) -> float:
    """How far it is indented. Items of a list are written as far to the left as their key, and are below it."""
    text = line.lstrip()
    return len(line) - len(text) + (0.5 if text.startswith("- ") else 0)


def _lines(document: dict[str, Any]) -> list[str]:
    return yaml.safe_dump(document, sort_keys=True, allow_unicode=True, width=1000).splitlines()
