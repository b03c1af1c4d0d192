"""What may be asked of snapshots: the JSON of a logical message `ditto.snapshot`."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

import msgspec

from ditto.formats.snapshot_events import Kind

_RUN: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_MAX_BYTES: Final = 64 << 10
_MAX_WHERE: Final = 10_000
_MAX_NAME: Final = 255
"""Bytes; PostgreSQL's names have 63 each, and become part of a subject."""


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Begin a run."""

    start: tuple[str, ...]
    """Tables: a name in any schema, schema.table, or a glob of either; none for all that are selected."""
    run: str | None = None
    where: str = ""
    max_rows_per_s: int = 0
    kind: Kind = "request"
    slot: str = ""
    """Whose Ditto is asked; "" for each that reads the database."""


class Pause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Stop reading after the chunk; "" for every run."""

    pause: str
    slot: str = ""


class Resume(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Go on."""

    resume: str
    slot: str = ""


class Cancel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """End a run; what is stored stays."""

    cancel: str
    slot: str = ""


Request: TypeAlias = Start | Pause | Resume | Cancel

_SHAPES: Final[dict[str, type[Start | Pause | Resume | Cancel]]] = {
    "start": Start,
    "pause": Pause,
    "resume": Resume,
    "cancel": Cancel,
}


def parse_request(content: bytes) -> Request:
    """Raises ValueError, whose text is a sentence without its beginning ("it …")."""
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it has {len(content)} bytes, more than {_MAX_BYTES}")
    try:
        given = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError('it is not a JSON object such as {"start": ["public.trades"]}') from None
    shapes = [shape for name, shape in _SHAPES.items() if name in given]
    if len(shapes) != 1:
        raise ValueError("it needs exactly one of start, pause, resume and cancel")
    try:
        request = msgspec.json.decode(content, type=shapes[0])
    except msgspec.MsgspecError as error:
        raise ValueError(f"it cannot be read: {error}") from None
    except (UnicodeDecodeError, RecursionError):
        raise ValueError("it is nested too deep, or not UTF-8") from None
    if isinstance(request, Start):
        _check_start(request)
    elif (name := next(iter(msgspec.structs.astuple(request)))) and not _RUN.fullmatch(name):
        raise ValueError("it names no run: they have 1 to 40 letters, digits, and the signs _ -")
    return request


def _check_start(request: Start) -> None:
    if request.run is not None and not _RUN.fullmatch(request.run):
        raise ValueError("its run must be 1 to 40 letters, digits, and the signs _ -")
    if request.max_rows_per_s < 0:
        raise ValueError("its max_rows_per_s must not be negative")
    for each in request.start:
        _check_name(each)
    if request.where and len(request.start) != 1:
        raise ValueError("its where needs exactly one table")
    if len(request.where) > _MAX_WHERE:
        raise ValueError(f"its where has more than {_MAX_WHERE:,} characters")


def _check_name(name: str) -> None:
    """No table has a name that does not pass; and one that there is not has a control event with its subject, too."""
    schema, dot, table = name.rpartition(".")
    if not table.strip() or (dot and not schema.strip()):
        raise ValueError("it has an empty table name")
    if len(name.encode()) > _MAX_NAME:
        raise ValueError(f"it has a table name of more than {_MAX_NAME} bytes")
    if "\0" in name:
        raise ValueError("it has a table name with a NUL")
