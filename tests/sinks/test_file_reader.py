"""What reads a file back: where it begins, what is appended meanwhile, files that are rotated or cut."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from e2e.process import eventually
from hypothesis import given
from hypothesis import strategies as st

from ditto.decoding.event_id import event_key
from ditto.errors import FileUnusable, SinkError, SinkLost
from ditto.formats.checkpoint import encode_checkpoint
from ditto.lsn import Checkpoint, Position
from ditto.sinks.base import MessageKind, Start
from ditto.sinks.file import offsets
from ditto.sinks.file.reader import FileReader
from ditto.sinks.file.records import as_lines
from sinks.messages import PIPELINE, TIME, batch, event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from pathlib import Path

    from ditto.sinks.base import ReadMessage

KEY = event_key(PIPELINE.system_identifier, PIPELINE.slot)
BEGIN = datetime.fromisoformat(TIME)
DESCRIPTION = b'{"schema":"public","table":"t","version":"1"}\n'


def at(second: int) -> datetime:
    return BEGIN + timedelta(seconds=second)


def line(lsn: int, *, second: int = 0, text: str = "") -> bytes:
    moment = at(second).isoformat().replace("+00:00", "Z")
    return event(Position(lsn, 1), text=text).replace(TIME.encode(), moment.encode()) + b"\n"


def checkpoint(lsn: int) -> bytes:
    return encode_checkpoint(Checkpoint(lsn), KEY) + b"\n"


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(lines))


def unexpected(error: SinkError) -> None:
    pytest.fail(error.message)


def move(path: Path, to: Path) -> None:
    path.rename(to)


class Following:
    """What `follow` has given up to now."""

    def __init__(self, messages: AsyncGenerator[Sequence[ReadMessage]]) -> None:
        self._messages = messages
        self._waiting: list[ReadMessage] = []

    async def next(self, count: int = 1) -> list[bytes]:
        """The next payloads; fails where they do not come."""
        async with asyncio.timeout(10):
            while len(self._waiting) < count:
                self._waiting += await anext(self._messages)
        found, self._waiting = self._waiting[:count], self._waiting[count:]
        return [message.payload + b"\n" for message in found]


@asynccontextmanager
async def following(path: Path, start: Start | None = None, *, losses: list[str]) -> AsyncIterator[Following]:
    reader = FileReader(str(path))

    def on_lost(error: SinkError) -> None:
        losses.append(error.message)

    try:
        async with aclosing(reader.follow(start or Start(last=1), is_endless=True, on_lost=on_lost)) as messages:
            yield Following(messages)
    finally:
        await reader.close()


async def everything(path: Path, start: Start | None = None) -> list[ReadMessage]:
    reader = FileReader(str(path))
    try:
        async with aclosing(reader.follow(start or Start(), is_endless=False, on_lost=unexpected)) as parts:
            return [message async for part in parts for message in part]
    finally:
        await reader.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


async def test_what_is_appended_comes_and_no_half_line_does(path: Path) -> None:
    losses: list[str] = []
    append(path, checkpoint(1), line(2))
    async with following(path, losses=losses) as found:
        assert await found.next() == [line(2)]
        coming = asyncio.ensure_future(found.next(2))
        append(path, line(3)[:20])
        await asyncio.sleep(0.25)  # twice as long as the file is left alone
        append(path, line(3)[20:], line(4), line(5)[:-1])
        assert await coming == [line(3), line(4)]
        append(path, b"\n")
        assert await found.next() == [line(5)]
    assert losses == []


async def test_endless_without_a_start_begins_at_the_end(path: Path) -> None:
    append(path, checkpoint(1), line(2))
    async with following(path, Start(), losses=[]) as found:
        coming = asyncio.ensure_future(found.next())
        await asyncio.sleep(0.2)
        append(path, line(3))
        assert await coming == [line(3)]


async def test_a_file_that_is_rotated_is_followed_and_its_first_line_does_not_come_twice(path: Path) -> None:
    losses: list[str] = []
    append(path, checkpoint(1), line(2), line(3))
    async with following(path, losses=losses) as found:
        assert await found.next() == [line(3)]
        append(path, line(4))
        move(path, path.with_suffix(".1"))
        assert await found.next() == [line(4)]
        coming = asyncio.ensure_future(found.next())
        await eventually(lambda: bool(losses), "the loss has been told")
        append(path.with_suffix(".new"), line(4), line(5))
        move(path.with_suffix(".new"), path)
        assert await coming == [line(5)]
        append(path, line(6))
        assert await found.next() == [line(6)]
    assert losses == [f"file {path} was removed"]


async def test_another_file_in_its_place_is_read_from_its_first_line(path: Path) -> None:
    append(path, checkpoint(1), line(2))
    async with following(path, losses=[]) as found:
        await found.next()
        append(path.with_suffix(".new"), checkpoint(8), line(9))
        move(path.with_suffix(".new"), path)
        assert await found.next(2) == [checkpoint(8), line(9)]


async def test_lines_that_are_taken_back_and_written_again(path: Path) -> None:
    """As after a disk that was full: see `AppendedFile.append`."""
    append(path, checkpoint(1), line(2))
    async with following(path, losses=[]) as found:
        await found.next()
        append(path, line(3), line(4))
        assert await found.next(2) == [line(3), line(4)]
        coming = asyncio.ensure_future(found.next(2))
        os.truncate(path, len(checkpoint(1) + line(2)))
        await asyncio.sleep(0.25)
        append(path, line(5), line(6))
        assert await coming == [line(5), line(6)]


async def test_a_file_that_is_cut_within_a_line_while_it_is_read(path: Path) -> None:
    append(path, checkpoint(1), line(2, text="x" * 2_000_000))
    reader = FileReader(str(path))
    try:
        async with aclosing(reader.read()) as parts:
            await anext(parts)
            os.truncate(path, len(checkpoint(1)) + 10)
            with pytest.raises(SinkLost, match="became shorter while it was read"):
                await anext(parts)
    finally:
        await reader.close()


@pytest.mark.parametrize(
    ("start", "lsns"),
    [
        (Start(), [1, 2, 3, 4, 5]),
        (Start(last=2), [4, 5]),
        (Start(last=99), [1, 2, 3, 4, 5]),
        (Start(since=at(3)), [3, 4, 5]),
        (Start(since=at(3) + timedelta(microseconds=1)), [4, 5]),
        (Start(since=at(-9)), [2, 3, 4, 5]),  # the checkpoint before has no time
        (Start(since=at(99)), []),
    ],
    ids=str,
)
async def test_where_it_begins(path: Path, start: Start, lsns: list[int]) -> None:
    append(path, checkpoint(1), *(line(lsn, second=lsn) for lsn in range(2, 6)))
    found = await everything(path, start)
    assert [message.position.commit_lsn for message in found if message.position] == lsns
    lines = [checkpoint(1), *(line(lsn, second=lsn) for lsn in range(2, 6))]
    begins = [len(b"".join(lines[:number])) for number in range(5)]
    assert [message.number for message in found] == begins[5 - len(found) :], "the offsets of the lines"


async def test_kinds_and_positions(path: Path) -> None:
    position = Position(4, 1)
    sent = batch([(position, event(position))], first=1, headers=[b"tenant: acme\r\n"], keys=[b"7"])
    append(path, checkpoint(1), line(2), DESCRIPTION, bytes(as_lines(sent, KEY)), b"a note\n")
    begun, plain, described, record, foreign = await everything(path)
    assert (begun.kind, begun.position) == (MessageKind.CHECKPOINT, Position(1, 0))
    assert (plain.kind, plain.position, plain.key, dict(plain.headers)) == (
        MessageKind.EVENT,
        Position(2, 1),
        None,
        {},
    )
    assert (described.kind, described.position) == (MessageKind.DESCRIPTION, Position(2, 1))
    assert (record.kind, record.position, record.key, dict(record.headers)) == (
        MessageKind.EVENT,
        position,
        "7",
        {"tenant": "acme"},
    )
    assert record.payload == event(position)
    assert (foreign.kind, foreign.position, foreign.payload) == (MessageKind.EVENT, None, b"a note")


async def test_positions_where_the_first_line_does_not_tell_the_key(path: Path) -> None:
    """A rotated file begins with an event, whose id alone gives no position; a later checkpoint does."""
    append(path, line(2), line(3), checkpoint(4), line(5))
    found = await everything(path)
    assert [message.position for message in found] == [Position(2, 1), Position(3, 1), Position(4, 0), Position(5, 1)]


@pytest.mark.parametrize("is_endless", [True, False])
async def test_what_cannot_be_followed(tmp_path: Path, is_endless: bool) -> None:
    for path in (tmp_path / "missing", tmp_path):
        reader = FileReader(str(path))
        with pytest.raises(FileUnusable, match=str(path)):
            async with aclosing(reader.follow(Start(), is_endless=is_endless, on_lost=unexpected)) as parts:
                await anext(parts)
        await reader.close()


@given(st.lists(st.integers(0, 12), max_size=40), st.integers(1, 45), st.integers(1, 9))
def test_the_last_lines_as_counted_from_the_front(lengths: list[int], count: int, chunk: int) -> None:
    content = b"".join(b"x" * length + b"\n" for length in lengths)

    def read(size: int, offset: int) -> bytes:
        return content[offset : offset + size]

    wanted = len(b"".join(content.splitlines(keepends=True)[:-count]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offsets, "_CHUNK", chunk)
        assert offsets.offset_of_last(read, len(content), count) == wanted


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 5)), max_size=40),
    st.integers(-1, 200),
    st.integers(0, 400),
)
def test_the_first_line_of_a_time_as_looked_for_from_the_front(steps: list[int | None], since: int, near: int) -> None:
    """None stands for a checkpoint, which has no time."""
    lines, seconds, now = [], [], 0
    for number, step in enumerate(steps, 1):
        now += step or 0
        lines.append(checkpoint(number) if step is None else line(number, second=now))
        seconds.append(None if step is None else now)
    content = b"".join(lines)

    def read(size: int, offset: int) -> bytes:
        return content[offset : offset + size]

    first = next((at for at, second in enumerate(seconds) if second is not None and second >= since), len(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offsets, "_NEAR", near)
        found = offsets.offset_since(read, len(content), at(since).astimezone(UTC))
    assert found == len(b"".join(lines[:first]))
