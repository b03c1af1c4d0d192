"""By which bytes a stored payload is known: those of the default format, whose JSON has no white space of its own.

Nothing is parsed: an event may be large, and nested deeply.
"""

from __future__ import annotations

from typing import Final

EVENT: Final = b'{"id":"'
"""How an event begins; its id follows."""
ID_LENGTH: Final = 36
CONTROL: Final = b'","snapshot":{"state":"'
"""What follows the id in a control event of snapshots."""
CONTROL_OFFSET: Final = len(EVENT) + ID_LENGTH
"""Where that begins."""
CHECKPOINT: Final = b'{"lsn":'
DESCRIPTION: Final = b'{"schema":'
"""Of a table; it has no position of its own."""
RECORD: Final = b'{"position":"'
"""Of a file's line that is not an event by itself (`sinks.file.records`)."""
COMMIT_TIME: Final = b'"commitTime":"'
"""The last one of a payload is the event's: no key after it is the user's, and in a text its quotation marks would be
escaped."""
