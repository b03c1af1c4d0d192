"""What the checks of single values raise."""

from __future__ import annotations


class Impossible(ValueError):
    """The end of a sentence that begins with the key: "must not be empty". Never quotes a secret.

    `place` is the entry inside the key, if it is not the key as a whole.
    """

    def __init__(self, problem: str, *, place: str | None = None, hint: str | None = None) -> None:
        super().__init__(problem)
        self.place = place
        self.hint = hint
