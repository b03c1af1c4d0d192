"""Text from elsewhere as it can be shown. Names of tables, and what servers say, may hold what steers a terminal, or a
line end that makes the rest look like a line of Ditto's own.
"""

from __future__ import annotations

from typing import Final

_CONTINUED: Final = "\n    "


def printable(text: str) -> str:
    """`text` on one line, with everything escaped by which it could drive a terminal, or hide in it."""
    return text if text.isprintable() else "".join(map(_visible, text))


def printable_lines(text: str) -> str:
    """As `printable`, but line ends stay: for what is meant to be entered as it is."""
    return "\n".join(map(printable, text.split("\n")))


def indented(text: str) -> str:
    """As `printable_lines`, and no line but the first begins at the margin."""
    return printable_lines(text.strip()).replace("\n", _CONTINUED)


def printable_json(document: str) -> str:
    """The same JSON, without what a terminal would obey."""
    return document if document.isprintable() else "".join(map(_escaped, document))


def _visible(sign: str) -> str:
    if sign.isprintable():
        return sign
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escaped(sign: str) -> str:
    if sign.isprintable() or sign == "\n":
        return sign
    if sign in "\t\r":  # between tokens: inside of a text they are escaped already
        return " "
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
