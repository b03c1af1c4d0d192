"""The rows of a table of which only some changes have events: the last event of a key says what the row is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ditto.verify.inverse import members
from ditto.verify.tables import NOTHING, Fault, KeyedCopy, new_row, pack

if TYPE_CHECKING:
    from ditto.formats.stored_events import StoredEvent


class LatestRows(KeyedCopy):
    """A copy of a table with a condition (`when`).

    A row may have been changed, deleted and inserted again meanwhile, so that no event contradicts an earlier one, and
    a row that is left over may be gone. A column that an UPDATE has not sent is unknown: the event that told its value
    may not be there.
    """

    def apply(self, event: StoredEvent, lsn: int, where: str) -> None:
        match event.action:
            case "INSERT" | "READ":
                self._rows[self._read_key(event.data)] = pack(lsn, lsn, new_row(event), is_read=event.action == "READ")
            case "UPDATE":
                if bytes(event.data_old) != NOTHING:
                    self._rows.pop(self._read_key(event.data_old), None)
                row = new_row(event)
                if event.unchanged:
                    told = members(row)
                    row = msgspec.json.encode({name: told[name] for name in told if name not in event.unchanged})
                self._rows[self._read_key(event.data)] = pack(lsn, lsn, row)
            case "DELETE":
                self._rows.pop(self._read_key(event.data_old), None)
            case "TRUNCATE":
                self._rows.clear()
            case action:
                self.faults.append(Fault(f"unknown action {action}", where, lsn))
