"""A condition that cannot be used, with the place in its text, and a value that cannot be worked out."""

from __future__ import annotations

from typing import Final

_WIDTH: Final = 70
"""Characters of a line that are shown: in a terminal of 80 a longer one would wrap, and its caret with it."""


class ConditionError(Exception):
    """A condition that is not accepted: what is wrong, where, and what to write.

    `str()` gives all of it in lines: the sentence, the line of the text with a caret below, and the hint.
    """

    def __init__(
        self, message: str, *, text: str, offset: int, hint: str | None = None, needs_old_rows: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.needs_old_rows = needs_old_rows
        """The table's REPLICA IDENTITY FULL would do."""
        before = text[:offset]
        self.line = before.count("\n") + 1
        """From 1."""
        self.column = offset - (before.rfind("\n") + 1) + 1
        """From 1, in characters."""
        shown, at = _excerpt(text.split("\n")[self.line - 1].replace("\t", " ").rstrip("\r"), self.column - 1)
        self.picture = f"{shown}\n{' ' * at}^"
        """The line of the text, of a long one the part around the place, and below it a caret at the place."""

    def __str__(self) -> str:
        picture = "\n".join(f"    {line}" for line in self.picture.split("\n"))
        said = f"line {self.line}, column {self.column}: {self.message}\n{picture}"
        return said if self.hint is None else f"{said}\n{self.hint}"


def _excerpt(line: str, at: int) -> tuple[str, int]:
    """The part of a line that is shown, and where the place is in it."""
    if len(line) <= _WIDTH:
        return line, at
    start = max(0, min(at - _WIDTH // 2, len(line) - _WIDTH))
    shown = line[start : start + _WIDTH]
    if start:
        shown = "…" + shown[1:]
    if start + _WIDTH < len(line):
        shown = shown[:-1] + "…"
    return shown, at - start


class Failure(Exception):
    """An error in the sense of CEL: a part has no value for this change. The text names no value of the row."""
