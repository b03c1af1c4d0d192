"""Lines that are not events by themselves: messages with headers, a key or another body."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.config import Config, File
from ditto.decoding.change import SnapshotMark
from ditto.decoding.event_id import event_id, event_key
from ditto.errors import FileUnusable, StreamOwned
from ditto.formats.checkpoint import encode_checkpoint
from ditto.formats.own_headers import own_lines, pairs, read_own
from ditto.lsn import Checkpoint, Position, Transaction
from ditto.sinks.choose import choose_sink
from ditto.sinks.file.last_line import Tail, find_tail
from ditto.sinks.file.records import as_lines
from sinks.contract import LSN
from sinks.messages import PIPELINE, TIME, batch, event

if TYPE_CHECKING:
    from pathlib import Path

KEY = event_key(PIPELINE.system_identifier, PIPELINE.slot)
CLAIM = encode_checkpoint(Checkpoint(0x1000), KEY) + b"\n"
FIRST = event(Position(LSN, 1)) + b"\n"
PLACE = Position(LSN, 2)
ID = event_id(PLACE, KEY)
OWN = own_lines(ID, TIME)
JSON_BODY = b"Content-Type: application/json\r\n"


def record(
    payload: bytes, headers: bytes = OWN + JSON_BODY, *, key: bytes | None = None, position: Position = PLACE
) -> bytes:
    made = as_lines(batch([(position, payload)], first=1, headers=[headers], keys=None if key is None else [key]), KEY)
    return bytes(made)


def tail_of(content: bytes) -> Tail:
    return find_tail(
        lambda size, offset: content[offset : offset + size],
        len(content),
        pipeline=PIPELINE,
        path="events.jsonl",
        unsynced_bytes=1 << 20,
    )


def test_a_body_of_json() -> None:
    assert json.loads(record(b'{"order": 1}', OWN + JSON_BODY + b"tenant: a%20b\r\n", key=b"k1")) == {
        "position": str(PLACE),
        "id": ID,
        "commitTime": TIME,
        "subject": "shop_public_t",
        "headers": {"Ditto-Id": ID, "Content-Type": "application/json", "tenant": "a%20b"},
        "key": "k1",
        "payload": {"order": 1},
    }


@pytest.mark.parametrize("body", [b"", b"\0\n\xff", b"text", b'{"n":1}'])
def test_another_body(body: bytes) -> None:
    line = record(body, OWN + b"Content-Type: application/octet-stream\r\n")
    assert line.count(b"\n") == 1
    read = json.loads(line)
    assert base64.b64decode(read["payloadBase64"]) == body
    assert "payload" not in read


def test_an_event_with_a_header_of_its_own() -> None:
    """Its id and commit time are its own."""
    read = json.loads(record(event(PLACE), b"tenant: acme\r\n"))
    assert read["payload"] == json.loads(event(PLACE))
    assert (read["id"], read["commitTime"]) == (ID, TIME)
    assert read["headers"] == {"tenant": "acme"}


def test_an_event_with_a_key() -> None:
    assert json.loads(record(event(PLACE), b"", key=b"7"))["key"] == "7"


def test_an_event_alone_stays_a_line_by_itself() -> None:
    messages = [(Position(LSN, 1), event(Position(LSN, 1))), (PLACE, b"[1,\n2]")]
    lines = bytes(as_lines(batch(messages, first=1, headers=[b"", OWN]), KEY))
    assert lines.startswith(FIRST)
    assert json.loads(lines.splitlines()[1])["payload"] == [1, 2]


def test_a_record_is_the_tail() -> None:
    content = CLAIM + FIRST + record(b'{"order":1}')
    assert tail_of(content) == Tail(len(content), PLACE, Transaction(LSN, TIME))


def test_a_message_of_no_transaction_tells_of_none() -> None:
    assert tail_of(CLAIM + record(b"{}", own_lines(ID, "") + JSON_BODY))[1:3] == (PLACE, None)


@pytest.mark.parametrize("cursor", [["7", '"commitTime":"1999"', "é"], None, ["x" * 5000]])
def test_the_mark_of_a_row_of_a_snapshot(cursor: list[str] | None) -> None:
    mark = SnapshotMark("run", cursor)
    content = CLAIM + record(b"{}", own_lines(ID, TIME, mark=mark) + JSON_BODY)
    assert tail_of(content).mark == mark


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":"7","snapshot":{"run":"forged"}}',
        b'{"lsn":"0/1","commitTime":"1999"}',
        b'{"schema":"public","table":"t"}',
        b'{"position":"0/1:1","id":"x"}',
        b'{"id":"' + event_id(Position(LSN + 8, 1), KEY).encode() + b'","snapshot":{"state":"x"}}',
    ],
)
def test_a_body_is_never_taken_for_what_ditto_says(body: bytes) -> None:
    content = CLAIM + record(body)
    assert tail_of(content) == Tail(len(content), PLACE, Transaction(LSN, TIME))


@pytest.mark.parametrize(
    "headers",
    [OWN + JSON_BODY, own_lines(ID, "") + JSON_BODY, own_lines(ID, "", mark=SnapshotMark("run")) + JSON_BODY],
    ids=["event", "no transaction", "no time but a mark"],
)
def test_a_torn_record_is_not_counted_wherever_it_ends(headers: bytes) -> None:
    torn = record(b'{"order":1}', headers)[:-1]
    for size in range(len(torn) + 1):
        content = CLAIM + FIRST + torn[:size]
        assert tail_of(content)[:3] == (len(CLAIM + FIRST), Position(LSN, 1), Transaction(LSN, TIME)), torn[:size]


@pytest.mark.parametrize(
    "torn",
    [
        b'{"position":7',
        b'{"position":"middle',
        b'{"position":"0/1:1","id":"x',
        f'{{"position":"{PLACE}","id":"{ID}","title":1'.encode(),
        f'{{"position":"{PLACE}","id":"{event_id(Position(LSN, 3), KEY)}"'.encode(),
    ],
)
def test_a_torn_line_that_is_not_dittos(torn: bytes) -> None:
    with pytest.raises(FileUnusable, match="ends in the middle of a line"):
        tail_of(CLAIM + FIRST + torn)


def test_a_record_of_another_slot() -> None:
    line = record(b"{}").replace(ID.encode(), event_id(PLACE, event_key("1", "other")).encode())
    with pytest.raises(StreamOwned):
        tail_of(CLAIM + line)


async def test_the_file_goes_on_after_a_record(tmp_path: Path) -> None:
    config = Config(file=File(path=str(tmp_path / "events.jsonl")))
    for ordinal, body in ((1, b'{"n":1}'), (2, b"\0\xff")):
        sink = choose_sink(config)(config, clock=lambda: 0.0)
        await sink.connect()
        await sink.inspect(PIPELINE)
        await sink.claim(PIPELINE, [])
        state = await sink.open(PIPELINE)
        assert state.tail == (Position(PIPELINE.start_lsn, 0) if ordinal == 1 else Position(LSN, 1))
        place = Position(LSN, ordinal)
        headers = own_lines(event_id(place, KEY), TIME) + b"Content-Type: application/octet-stream\r\n"
        await sink.send(batch([(place, body)], first=1, headers=[headers]))
        assert await sink.acknowledged() == 1
        await sink.close()


@given(st.text(), st.lists(st.text(max_size=20), max_size=3))
def test_header_lines_give_back_what_they_say(run: str, cursor: list[str]) -> None:
    lines = own_lines(ID, TIME, own_id="mine", mark=SnapshotMark(run, cursor))
    assert lines.isascii()
    assert lines.count(b"\n") == lines.count(b"\r\n") == len(lines.splitlines())
    own = read_own(pairs(lines).get)
    assert own is not None
    assert (own.id, own.commit_time, own.mark) == (ID, TIME, SnapshotMark(run, cursor))
