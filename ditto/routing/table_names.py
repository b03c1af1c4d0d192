"""What templates know of a table before any row of it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from ditto.routing.templates import encode_header


class TableNames(Struct, frozen=True, kw_only=True):
    """The placeholders of one table that have the same value for every row, but for the action."""

    subject: Mapping[str, str]
    """Encoded for subjects."""
    plain: Mapping[str, str]
    """As they are."""

    def of_subject(self, action: str) -> dict[str, str]:
        """For the subjects of an action."""
        return {**self.subject, "action": action.lower()}

    def of_header(self, action: str) -> dict[str, str]:
        """For the headers of an action."""
        return {name: encode_header(text).decode() for name, text in {**self.plain, "action": action.lower()}.items()}
