"""Whether what follows a file's last complete line is a line that Ditto began to write, and so may be cut off."""

from __future__ import annotations

import re
from typing import Final

from ditto.decoding.event_id import event_id, position_of
from ditto.formats.payload_prefixes import CHECKPOINT, CONTROL, DESCRIPTION, EVENT, ID_LENGTH, RECORD
from ditto.lsn import Position, parse_lsn

JUDGED_BYTES: Final = 4096
"""Of a torn line; more of it tells nothing."""

_LONGEST_CLAIM: Final = len('{"lsn":"FFFFFFFF/FFFFFFFF","id":""}\n') + ID_LENGTH
_SHORTEST_CLAIM: Final = len(CHECKPOINT) + 1
"""What is shorter may be the beginning of any JSON, and a write of a few bytes is not torn."""

_AFTER_EVENT_ID: Final = b'","schema":"'
_AFTER_CHECKPOINT_ID: Final = b',"last":{"lsn":"'
_AFTER_RECORD_ID: Final = (b',"commitTime":"', b',"snapshot":{"run":"', b',"subject":"')
_AFTER_SCHEMA: Final = b'","table":"'

_LSN: Final = re.compile(rb'"([0-9A-F]{1,8}/[0-9A-F]{1,8})"')
_TORN_LSN: Final = re.compile(rb'("([0-9A-F]{1,8}(/[0-9A-F]{0,8})?)?)?')
_POSITION: Final = re.compile(rb'([0-9A-F]{1,8}/[0-9A-F]{1,8}:[0-9]{1,18})"')
_TORN_POSITION: Final = re.compile(rb"([0-9A-F]{1,8}(/([0-9A-F]{1,8}(:[0-9]{0,18})?)?)?)?")
_TEXT: Final = re.compile(rb'"((?:[^"\\\x00-\x1f]|\\.)*)\\?')


def is_claim_begun(content: bytes, size: int, key: bytes) -> bool:
    """Whether a file of `size` bytes without a line is one that Ditto began to claim.

    The checkpoint that claims a file is its first line, and is on the disk before anything else is written. A machine
    that failed may leave zeros in its place.
    """
    written = content.rstrip(b"\0")
    if not written or size > _LONGEST_CLAIM:
        return size <= _LONGEST_CLAIM
    is_long_enough = len(written) >= _SHORTEST_CLAIM and written.startswith(CHECKPOINT)
    return is_long_enough and _is_checkpoint(written[len(CHECKPOINT) :], key, is_claim=True)


def is_line_begun(fragment: bytes, key: bytes) -> bool:
    """Whether this, which follows a complete line, is nothing, or what Ditto began to write."""
    written = fragment.partition(b"\0")[0]
    if written.startswith(EVENT):
        return _is_event(written[len(EVENT) :], key)
    if written.startswith(RECORD):
        return _is_record(written[len(RECORD) :], key)
    if written.startswith(CHECKPOINT):
        return _is_checkpoint(written[len(CHECKPOINT) :], key, is_claim=False)
    if written.startswith(DESCRIPTION):
        return _is_description(written[len(DESCRIPTION) :])
    return any(start.startswith(written) for start in (EVENT, RECORD, CHECKPOINT, DESCRIPTION))


def _is_event(rest: bytes, key: bytes) -> bool:
    identifier, after = rest[:ID_LENGTH], rest[ID_LENGTH:]
    # The digits that are missing become those of a position's zeros.
    position = position_of(identifier + event_id(Position(0, 0), key).encode()[len(identifier) :], key)
    if position is None or (len(identifier) == ID_LENGTH and not position.ordinal):
        return False
    return _agree(after, _AFTER_EVENT_ID) or _agree(after, CONTROL)


def _is_record(rest: bytes, key: bytes) -> bool:
    position = _POSITION.match(rest)
    if position is None:
        return _TORN_POSITION.fullmatch(rest) is not None
    identifier = event_id(Position.parse(position[1].decode()), key)
    wanted = f',"id":"{identifier}"'.encode()
    rest = rest[position.end() :]
    if not rest.startswith(wanted):
        return wanted.startswith(rest)
    return any(_agree(rest[len(wanted) :], after) for after in _AFTER_RECORD_ID)


def _is_checkpoint(rest: bytes, key: bytes, *, is_claim: bool) -> bool:
    lsn = _LSN.match(rest)
    if lsn is None:
        return _TORN_LSN.fullmatch(rest) is not None
    identifier = event_id(Position(parse_lsn(lsn[1].decode()), 0), key)
    wanted = f',"id":"{identifier}"'.encode()
    rest = rest[lsn.end() :]
    if not rest.startswith(wanted):
        return wanted.startswith(rest)
    after = rest[len(wanted) :]
    return b"}".startswith(after) or (not is_claim and _agree(after, _AFTER_CHECKPOINT_ID))


def _is_description(rest: bytes) -> bool:
    schema = _TEXT.match(rest)
    if schema is None:
        return not rest
    return _agree(rest[schema.end() :], _AFTER_SCHEMA)


def _agree(found: bytes, wanted: bytes) -> bool:
    """Whether they are equal as far as both go."""
    return found.startswith(wanted) or wanted.startswith(found)
