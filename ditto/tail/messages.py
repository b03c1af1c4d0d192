"""Messages whose body is the application's, as people read them: logical messages, and rows of an outbox."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import msgspec

from ditto.formats import own_headers
from ditto.formats.message_content import JSON, type_of

MESSAGE: Final = "MESSAGE"
"""What stands for the action of both."""

_POSITION: Final = "Ditto-Position"
_KEY: Final = "Ditto-Key"
_OWN: Final = ("ditto-", "nats-")


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
        if _KEY in self.headers:
            found["key"] = self.headers[_KEY]
        return found

    def as_json(self) -> bytes:
        """As one object, in the shape that a file has it."""
        is_json = type_of(self.body) == JSON
        headers = {
            name: value for name, value in self.headers.items() if name != _POSITION and not name.startswith("Nats-")
        }
        body = {"payload": msgspec.Raw(self.body)} if is_json else {"payloadBase64": b64encode(self.body).decode()}
        position = self.headers.get(_POSITION, "")
        return msgspec.json.encode({"position": position, "subject": self.subject, "headers": headers, **body})


def read_message(subject: str, body: bytes, headers: Mapping[str, str]) -> ShownMessage | None:
    """None for every other message of the stream."""
    if (prefix := headers.get(own_headers.MESSAGE)) is not None:
        return ShownMessage(unquote(prefix), None, subject, body, headers)
    if (name := headers.get(own_headers.OUTBOX)) is not None:
        schema, _, table = unquote(name).partition(".")
        return ShownMessage(unquote(name), (schema, table), subject, body, headers)
    return None
