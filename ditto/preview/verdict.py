"""What becomes of one change."""

from __future__ import annotations

from typing import Literal

import msgspec


class GroupOf(msgspec.Struct, kw_only=True, rename="camel"):
    """The message that an event shares with others of its transaction (`events.group`)."""

    number: int
    """In its transaction, from 1."""
    events: int
    bytes: int
    is_last: bool
    """Of its transaction."""


class Verdict(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A line of `ditto preview --json`."""

    outcome: Literal["passed", "dropped", "stops"]
    """`stops`: Ditto would end with an error here."""
    table: str
    """`schema.table`; of a logical message its prefix."""
    action: str
    position: str | None = None
    """Absent for a row of a table, which has none."""
    commit_time: str | None = None
    rule: str | None = None
    """The key of the configuration that decided, where the change does not simply pass."""
    reason: str | None = None
    """In words; without values of the row."""
    subject: str | None = None
    headers: dict[str, str] = {}
    key: str | None = None
    group: GroupOf | None = None
    """Absent where the event is a message of its own, and where the preview ended before its group."""
    size: int | None = None
    """Bytes of the event, with its own headers."""
    payload: msgspec.Raw | None = None
    """The message's body, where it is JSON."""
    payload_base64: bytes | None = None
    """The body, where it is not."""
    event: msgspec.Raw | None = None
    """Of a change that does not pass, the event that it would be: masked in the same way."""

    def dump(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)
