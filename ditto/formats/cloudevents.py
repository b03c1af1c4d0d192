"""CloudEvents 1.0: the envelope of https://cloudevents.io around Ditto's event, as JSON or as headers.

JSON (structured mode): https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
Headers (binary mode): https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/nats-protocol-binding.md
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

import msgspec

from ditto.decoding.change import Change
from ditto.decoding.messages import Relation
from ditto.formats.base import NONE, Layout, Rows
from ditto.formats.ditto import encode_lines
from ditto.formats.payloads import Payloads
from ditto.lsn import format_lsn

CONTENT_TYPE: Final = "application/cloudevents+json"
"""Of a message whose payload is a whole CloudEvent."""
PREFIX: Final = "ce-"
"""Of the headers of a CloudEvent in binary mode."""
TYPES: Final = MappingProxyType(
    {
        "INSERT": "io.ditto.row.inserted",
        "UPDATE": "io.ditto.row.updated",
        "DELETE": "io.ditto.row.deleted",
        "TRUNCATE": "io.ditto.table.truncated",
        "READ": "io.ditto.row.read",
    }
)
"""The attribute `type`, by action."""

_JSON: Final = "application/json"
_CONTENT_TYPE_LINE: Final = f"Content-Type: {CONTENT_TYPE}\r\n".encode()
_NOT_PLAIN: Final = re.compile(r"[^\x21\x23\x24\x26-\x7e]")
"""What the binding percent-encodes in a header: all but printable ASCII, and of that the space, `"` and `%`."""


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A CloudEvent in structured mode; `id` comes first, as in Ditto's own events: by it the sink knows them."""

    id: str
    source: str
    specversion: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    dittoposition: str
    data: Change


class _TableLayout(Layout, frozen=True, eq=False):
    subject: str
    headers: Mapping[str, str]
    """By action, those of the binary mode up to the id."""


def source_of(system_identifier: str, database: str) -> str:
    """The attribute `source`: a URI that stays the same as long as the database cluster does."""
    return f"urn:postgresql:{system_identifier}:{quote(database, safe='')}"


class _CloudEvents(ABC):
    """What both modes have in common."""

    needs_types = False

    def __init__(self, source: str) -> None:
        self._source = source

    def layout(
        self,
        relation: Relation,
        usual: bytes,
        *,
        skipped: Set[int] = NONE,
        masked: Set[int] = NONE,
        labels: Mapping[int, Sequence[str]] = {},
    ) -> Layout:
        """See `base.TableFormat`."""
        del skipped, masked, labels
        subject = f"{relation.namespace}.{relation.name}"
        shared = {
            "specversion": "1.0",
            "source": self._source,
            "subject": subject,
            "datacontenttype": _JSON,
        }
        lines = "".join(f"{PREFIX}{name}: {_header_value(value)}\r\n" for name, value in shared.items())
        headers = {action: f"{lines}{PREFIX}type: {name}\r\n{PREFIX}id: " for action, name in TYPES.items()}
        return _TableLayout(self, usual, (), subject, headers)

    @abstractmethod
    def encode(self, rows: Rows) -> tuple[Payloads, list[bytes] | None]:
        """See `base.TableFormat`."""


class StructuredCloudEvents(_CloudEvents):
    """A format (see `base.TableFormat`): one JSON object has it all."""

    def encode(self, rows: Rows) -> tuple[Payloads, list[bytes] | None]:
        """See `base.TableFormat`."""
        source = self._source
        envelopes = [
            Envelope(
                change.id,
                source,
                "1.0",
                TYPES[change.action],
                layout.subject,
                change.commit_time,
                _JSON,
                position,
                change,
            )
            for change, layout, position in zip(rows.changes, rows.layouts, positions(rows), strict=True)
        ]
        return encode_lines(envelopes), [_CONTENT_TYPE_LINE] * len(envelopes)


class BinaryCloudEvents(_CloudEvents):
    """A format (see `base.TableFormat`): the attributes are headers, and the payload is Ditto's own event."""

    def encode(self, rows: Rows) -> tuple[Payloads, list[bytes] | None]:
        """See `base.TableFormat`."""
        headers = [
            f"{layout.headers[change.action]}{change.id}\r\nce-time: {change.commit_time}\r\n"
            f"ce-dittoposition: {position}\r\n".encode()
            for change, layout, position in zip(rows.changes, rows.layouts, positions(rows), strict=True)
        ]
        return encode_lines(rows.changes), headers


def positions(rows: Rows) -> Iterator[str]:
    """The position of each change, as text."""
    known, text = -1, ""
    for lsn, ordinal in zip(rows.commit_lsns, rows.ordinals, strict=True):
        if lsn != known:
            known, text = lsn, f"{format_lsn(lsn)}:"
        yield f"{text}{ordinal}"


def _header_value(text: str) -> str:
    return _NOT_PLAIN.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)
