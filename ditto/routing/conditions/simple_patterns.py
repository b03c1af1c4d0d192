"""Patterns that Python's `re` finds exactly as RE2 does, and in linear time too; RE2 itself takes six times as long.

A simple pattern is a sequence of characters and classes, each perhaps repeated. From `^` on, a part that is repeated
any number of times must share no character with all that may follow: then a text can be read in one way only, and `re`
has nothing to try again. Without `^` the number of steps at each place is fixed, and small. Every other pattern is
left to RE2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

_ASCII: Final = frozenset(map(chr, range(128)))
_META: Final = frozenset(r"\.+*?()|[]{}^$")
_PUNCTUATION: Final = frozenset(each for each in _ASCII if each.isprintable() and not each.isalnum() and each != " ")
_DIGITS: Final = frozenset("0123456789")
_CLASSES: Final = {
    "d": _DIGITS,
    "w": _DIGITS | frozenset(each for each in _ASCII if each.isalpha()) | {"_"},
    "s": frozenset("\t\n\f\r "),  # Python's has the vertical tab too
}
_ITEM: Final = r"""[A-Za-z0-9]-[A-Za-z0-9]|\\.|[A-Za-z0-9 _,:;=@#%<>!/'"]"""
_ITEMS: Final = re.compile(_ITEM)
_PART: Final = re.compile(
    rf"(?:\[(?P<negated>\^?)(?P<items>(?:{_ITEM})+)(?P<dash>-?)\]|\\(?P<escaped>.)|(?P<plain>.))"
    r"(?:(?P<sign>[*+?])|\{(?P<least>[0-9]{1,3})(?:(?P<comma>,)(?P<most>[0-9]{0,3}))?\})?",
    re.DOTALL,
)
_TOKEN: Final = re.compile(r"\\.|\[\^?(?:\\.|[^\[\]\\])+\]|\((?:\?:)?|.", re.DOTALL)
"""An escaped character, a class, the beginning of a group, or one character."""
_SIGNS: Final = tuple("*+?{")
_MOST_STEPS: Final = 64
_MOST_ALTERNATIVES: Final = 16
_DEEPEST: Final = 10


class Part(NamedTuple):
    """A set of characters, `least` to `most` times; `most` None: any number of times."""

    characters: frozenset[str]
    """Those of ASCII."""
    has_others: bool
    """Whether all others are in the set, or none."""
    least: int
    most: int | None

    def meets(self, other: Part) -> bool:
        """Whether a character is in both sets."""
        return bool(self.characters & other.characters) or (self.has_others and other.has_others)

    def written(self) -> str:
        """The part for `re`."""
        chosen = _ASCII - self.characters if self.has_others else self.characters
        escapes = "".join(f"\\x{ord(each):02x}" for each in sorted(chosen))
        most = "" if self.most is None else self.most
        return f"[{'^' if self.has_others else ''}{escapes}]{{{self.least},{most}}}"


class SimplePattern(NamedTuple):
    """One that Python's `re` finds as RE2 does."""

    parts: tuple[Part, ...]
    is_from_start: bool
    is_to_end: bool


class _NotSimple(Exception):
    pass


def compile_simple(pattern: str) -> Callable[[str], object] | None:
    """A function that gives None for a text in which the pattern, which RE2 accepts, is not found.

    None for a pattern that is not simple.
    """
    simple = simple_pattern(pattern)
    if simple is None:
        return None
    compiled = re.compile("".join(part.written() for part in simple.parts) + (r"\Z" if simple.is_to_end else ""))
    return compiled.match if simple.is_from_start else compiled.search


def simple_pattern(pattern: str) -> SimplePattern | None:
    """The parts of a pattern, which RE2 accepts; None where it is not simple."""
    is_from_start, is_to_end = pattern.startswith("^"), pattern.endswith("$")
    try:
        parts = list(_parts(pattern[is_from_start : len(pattern) - is_to_end]))
    except _NotSimple:
        return None
    if parts and not is_to_end:  # the least of the last part is enough to be found
        parts[-1] = parts[-1]._replace(most=parts[-1].least)
    if not (_has_one_reading(parts) if is_from_start else _has_few_steps(parts)):
        return None
    return SimplePattern(tuple(parts), is_from_start, is_to_end)


def simple_patterns(pattern: str) -> tuple[SimplePattern, ...]:
    """One for each alternative of a pattern: it is found where one of them is. None at all where one is not simple."""
    try:
        alternatives = _alternatives(_TOKEN.findall(pattern))
    except _NotSimple:
        return ()
    found = [simple for each in alternatives if (simple := simple_pattern(each)) is not None]
    return tuple(found) if len(found) == len(alternatives) else ()


def _alternatives(tokens: list[str], depth: int = 0) -> list[str]:
    """What is between `|`, written out where a group has it; takes the tokens up to the group's end."""
    if depth > _DEEPEST:
        raise _NotSimple
    done, open_ones = list[str](), [""]
    while tokens:
        found = tokens.pop(0)
        if found == ")" and depth:
            return done + open_ones
        if found == "|":
            done, open_ones = done + open_ones, [""]
            continue
        inner = [found]
        if found[0] == "(":
            inner = _alternatives(tokens, depth + 1)
            if (tokens and tokens[0] in _SIGNS) or any(each.startswith(_SIGNS) for each in inner):
                raise _NotSimple
        open_ones = [before + each for before in open_ones for each in inner]
        if len(done) + len(open_ones) > _MOST_ALTERNATIVES:
            raise _NotSimple
    return done + open_ones


def _has_one_reading(parts: Sequence[Part]) -> bool:
    for index, part in enumerate(parts):
        if part.least == part.most:
            continue
        for after in parts[index + 1 :]:
            if part.meets(after):
                return False
            if after.least:
                break
    return True


def _has_few_steps(parts: Sequence[Part]) -> bool:
    return all(part.least == part.most for part in parts) and sum(part.least for part in parts) <= _MOST_STEPS


def _parts(pattern: str) -> Iterator[Part]:
    for found in _PART.finditer(pattern):
        yield Part(*_set(found), *_repeated(found))


def _repeated(found: re.Match[str]) -> tuple[int, int | None]:
    least, most = found["least"], found["most"]
    if least is not None:
        return int(least), int(most) if most else None if found["comma"] else int(least)
    return {None: (1, 1), "*": (0, None), "+": (1, None), "?": (0, 1)}[found["sign"]]


def _set(found: re.Match[str]) -> tuple[frozenset[str], bool]:
    if found["plain"] == ".":
        return _ASCII - {"\n"}, True
    if found["plain"] is not None:
        if found["plain"] in _META or found["plain"] not in _ASCII:
            raise _NotSimple
        return frozenset(found["plain"]), False
    if found["escaped"] is not None:
        return _escaped(found["escaped"]), False
    characters = frozenset(found["dash"])
    for item in _ITEMS.findall(found["items"]):
        if item[0] == "\\":
            characters |= _escaped(item[1])
        else:
            characters |= {each for each in _ASCII if item[0] <= each <= item[-1]}
    return (_ASCII - characters, True) if found["negated"] else (characters, False)


def _escaped(character: str) -> frozenset[str]:
    if character in _PUNCTUATION:
        return frozenset(character)
    if character not in _CLASSES:
        raise _NotSimple
    return _CLASSES[character]
