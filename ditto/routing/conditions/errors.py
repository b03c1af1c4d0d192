"""A condition that cannot be used, with the place in its text, and a value that cannot be worked out."""

from __future__ import annotations


class ConditionError(Exception):
    """A condition that is not accepted: what is wrong, where, and what to write.

    `str()` gives all of it in lines: the sentence, the line of the text with a caret below, and the hint.
    """

    def __init__(self, message: str, *, text: str, offset: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        before = text[:offset]
        self.line = before.count("\n") + 1
        """From 1."""
        self.column = offset - (before.rfind("\n") + 1) + 1
        """From 1, in characters."""
        shown = text.split("\n")[self.line - 1].replace("\t", " ").rstrip("\r")
        self.picture = f"{shown}\n{' ' * (self.column - 1)}^"
        """The line of the text, and below it a caret at the place."""

    def __str__(self) -> str:
        picture = "\n".join(f"    {line}" for line in self.picture.split("\n"))
        said = f"line {self.line}, column {self.column}: {self.message}\n{picture}"
        return said if self.hint is None else f"{said}\n{self.hint}"


class Failure(Exception):
    """An error in the sense of CEL: a part has no value for this change. The text names no value of the row."""
