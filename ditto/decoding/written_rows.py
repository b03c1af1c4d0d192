"""Rows that are written as events already, in place of a list of changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload


class WrittenRows(Sequence[Any]):
    """READ changes of a block, of which the compiled decoder has made Ditto's own events without making the changes.

    Making a change and encoding it takes four times as long. Whoever asks for one gets it made: who looks for an id,
    say, or makes a smaller event of one that is too large.
    """

    def __init__(self, data: bytearray, ends: list[int], make: Callable[[int], Any]) -> None:
        """`data` and `ends` are those of `Payloads`, with a gap of 1; `make` makes the change of an index."""
        self.data = data
        self.ends = ends
        self._make = make

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        found = range(len(self.ends))[index]
        return [self._make(each) for each in found] if isinstance(found, range) else self._make(found)
