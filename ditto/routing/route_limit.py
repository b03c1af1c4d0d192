"""How long the routes may be that rows and messages make: longer ones are for `on_error`, and no error of the sink."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

ROOM: Final = 40
"""The least that the value of a column needs: a UUID has room, and what stands for a value that is too long."""


class RouteLimit(NamedTuple):
    """Of a sink."""

    longest: int
    measure: Callable[[str], int]
    """The length of a route, or of a part of it, as the sink counts: never less than that of the whole's part."""
    what: str
    """For sentences: `bytes of a routing key`."""
    like_dot: str = ""
    """What the sink takes for a dot: between two values it would not tell where the first one ends."""

    def fits(self, route: str) -> bool:
        """Whether a message may have this route."""
        return self.measure(route) <= self.longest
