"""Limits of connections, as for `ditto run`; but an answer may take longer, and a stream of events does not end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ditto.api.connection_limits import LimitedProtocol

if TYPE_CHECKING:
    import h11

ANSWER_TIMEOUT_S: Final = 90.0
"""From the head of a request to the end of its answer: checks look at servers that may not answer."""
EVENTS: Final = "/events"
"""How the path ends whose answer does not end by itself."""


class FleetProtocol(LimitedProtocol):
    """One connection."""

    def handle_events(self) -> None:
        """Read what has arrived."""
        before = self.cycle
        super().handle_events()
        if self.cycle is before or self.transport.is_closing() or self.cycle.response_complete:
            return
        if self.scope["method"] == "GET" and self.scope["path"].endswith(EVENTS):
            self.wait_without_limit()
        else:
            self.wait(ANSWER_TIMEOUT_S)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over: a page keeps it open."""
        self.wait_without_limit()
        super().handle_websocket_upgrade(event)
