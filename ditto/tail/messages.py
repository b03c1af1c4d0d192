"""Messages whose body is the application's, as people read them: logical messages, and rows of an outbox."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import msgspec

from ditto.formats import own_headers
from ditto.formats.message_content import JSON, type_of
from ditto.sinks.base import ReadMessage

MESSAGE: Final = "MESSAGE"
"""What stands for the action of both."""

_POSITION: Final = "Ditto-Position"
_OWN: Final = ("ditto-", "nats-")
"""Headers with these names are not the application's: rows may not set them, in any sink."""
_SERVERS: Final = "Nats-"


class ShownMessage(msgspec.Struct, frozen=True):
    """What is shown of a message."""

    source: str
    """The prefix of a logical message, or the table of an outbox."""
    table: tuple[str, str] | None
    """The same of an outbox, schema and name."""
    subject: str
    body: bytes
    headers: Mapping[str, str]
    """All of them."""
    position: str = ""
    key: str | None = None

    @property
    def commit_time(self) -> str:
        """Empty where it is not known."""
        return self.headers.get(own_headers.COMMIT_TIME, "")

    @property
    def own_headers(self) -> dict[str, str]:
        """Those that the application has given, and the content type."""
        return {name: value for name, value in self.headers.items() if not name.lower().startswith(_OWN)}

    @property
    def about(self) -> dict[str, str]:
        """Id and key, where the application has given them."""
        found = {}
        if own_headers.EVENT_ID in self.headers:
            found["id"] = self.headers.get(own_headers.ID, "")
        if self.key is not None:
            found["key"] = self.key
        return found

    def as_json(self) -> bytes:
        """As one object, in the shape that a file has it."""
        is_json = type_of(self.body) == JSON
        headers = {
            name: value for name, value in self.headers.items() if name != _POSITION and not name.startswith(_SERVERS)
        }
        body = {"payload": msgspec.Raw(self.body)} if is_json else {"payloadBase64": b64encode(self.body).decode()}
        return msgspec.json.encode({"position": self.position, "subject": self.subject, "headers": headers, **body})


def read_message(message: ReadMessage) -> ShownMessage | None:
    """None for every other message."""
    headers, table = message.headers, None
    if (given := headers.get(own_headers.MESSAGE)) is not None:
        source = unquote(given)
    elif (given := headers.get(own_headers.OUTBOX)) is not None:
        source = unquote(given)
        schema, _, name = source.partition(".")
        table = (schema, name)
    else:
        return None
    position = "" if message.position is None else str(message.position)
    return ShownMessage(source, table, message.route, message.payload, headers, position, message.key)
