"""The sink that appends to a file, and standard output."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import sys
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from ditto.config import Config, File
from ditto.decoding.event_id import event_id, event_key, position_of
from ditto.errors import ChainBroken, FileUnusable, NotNow, SinkError, SinkLost, StreamOwned
from ditto.formats.checkpoint import encode_checkpoint
from ditto.formats.payloads import Payloads
from ditto.formats.snapshot_events import Control, ControlEvent
from ditto.lsn import Checkpoint, Position, Transaction
from ditto.sinks.choose import choose_sink
from ditto.sinks.file import append_only_file, standard_output
from ditto.sinks.file.append_only_file import AppendedFile
from ditto.sinks.file.last_line import find_tail
from ditto.sinks.file.records import plain_lines
from sinks.contract import LSN, SinkContract, Store, acknowledges, connected, opened
from sinks.messages import PIPELINE, TIME, batch, event, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ditto.sinks.base import Sink
    from ditto.sinks.file.last_line import Tail

KEY = event_key(PIPELINE.system_identifier, PIPELINE.slot)
OTHER = msgspec.structs.replace(PIPELINE, slot="other")
OTHER_KEY = event_key(OTHER.system_identifier, OTHER.slot)


class FileStore(Store):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = Config(file=File(path=str(path)))

    def make(self) -> Sink:
        return choose_sink(self.config)(self.config, clock=time.monotonic)

    async def messages(self) -> list[bytes]:
        return self.content().splitlines()

    async def snapshot(self) -> object:
        return sorted(self.path.parent.iterdir()), self.content()

    def content(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""

    async def break_down(self) -> bool:
        self.path.rename(self.path.with_suffix(".old"))
        return True


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "events.jsonl")


class TestFileSink(SinkContract):
    pass


async def test_a_relative_path_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = FileStore(tmp_path / "events.jsonl")
    store.config = Config(file=File(path="events.jsonl"))
    async with opened(store) as sink:
        assert sink.capabilities.label == str(store.path)
    store.path.write_bytes(b"a note\n")
    with pytest.raises(FileUnusable, match=f"{store.path}"):
        async with opened(store):
            pass


async def test_a_parent_of_a_linked_directory(tmp_path: Path) -> None:
    """The file that the operating system finds there, which is not the one that the path's text suggests."""
    (tmp_path / "elsewhere" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "inner")
    store = FileStore(tmp_path / "elsewhere" / "events.jsonl")
    store.config = Config(file=File(path=f"{tmp_path}/link/../events.jsonl"))
    async with opened(store):
        assert store.path.exists()


def test_a_relative_path_in_a_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    store = FileStore(tmp_path / "events.jsonl")
    store.config = Config(file=File(path="events.jsonl"))
    with pytest.raises(FileUnusable, match=r"cannot find the current directory for file events\.jsonl"):
        store.make()


# ------------------------------------------------------------------------------------ standard output


class OutputStore(Store):
    """Standard output, as long as a test runs, is a file that can be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = Config(file=File(path="-"))

    def make(self) -> Sink:
        return choose_sink(self.config)(self.config, clock=time.monotonic)

    async def messages(self) -> list[bytes]:
        return self.path.read_bytes().splitlines()

    async def break_down(self) -> bool:
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, standard_output._DESCRIPTOR)
        os.close(writer)
        return True


class TestStandardOutput(SinkContract):
    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
        path = tmp_path / "output"
        with path.open("ab") as output:
            monkeypatch.setattr(standard_output, "_DESCRIPTOR", output.fileno())
            yield OutputStore(path)

    async def test_one_that_was_closed_before(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "__stdout__", None)
        with pytest.raises(FileUnusable, match="closed when Ditto started"):
            await store.make().connect()

    async def test_events_alone_are_written(self, store: Store) -> None:
        async with opened(store) as sink:
            await sink.checkpoints.save(Checkpoint(LSN), number=1)
            await sink.send(batch(transaction(LSN, 2), first=2))
            await sink.checkpoints.save(Checkpoint(LSN + 8), number=4)
            await acknowledges(sink, 4)
        assert await store.messages() == [payload for _, payload in transaction(LSN, 2)]

    async def test_a_closed_pipe_is_said(self, store: Store) -> None:
        async with opened(store) as sink:
            await store.break_down()
            await sink.send(batch(transaction(LSN, 1), first=1))
            with pytest.raises(FileUnusable, match="nobody reads the events any more") as caught:
                await sink.acknowledged()
            assert caught.value.exit_code == 4
            assert not caught.value.is_retryable
            assert "The last transaction comes again" in (caught.value.hint or "")

    async def test_a_reader_that_does_not_read_holds_up_nothing_else(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ditto.sinks.file.line_sink._CLOSE_TIMEOUT_S", 0.2)
        reader, writer = os.pipe()
        os.dup2(writer, standard_output._DESCRIPTOR)
        os.close(writer)
        sent = transaction(LSN, 5000)
        async with asyncio.timeout(10):
            async with opened(store) as sink:
                await sink.send(batch(sent, first=1))  # more than a pipe holds
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(sink.acknowledged(), 0.1)
            with pytest.raises(NotNow, match="still takes what the session before wrote"):
                async with opened(store):
                    pass
        wanted = b"".join(payload + b"\n" for _, payload in sent)
        found = b""
        while len(found) < len(wanted):
            found += await asyncio.to_thread(os.read, reader, 1 << 16)
        assert found == wanted, "no line is torn"
        async with asyncio.timeout(10):
            while standard_output._in_use.locked():  # noqa: ASYNC110  a lock of threads
                await asyncio.sleep(0.01)
        async with opened(store):
            pass
        os.close(reader)


# ------------------------------------------------------------------------------------ lines


@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1}',
        b'{"a":{\n  "b": [1,\n2]\n}}',
        b'{"a":{\r\n"b":\r1}}',
        b'{"a":"\\n\\r"}',
        b"{\n\n}",
    ],
)
def test_each_payload_is_one_line(payload: bytes, gap: int) -> None:
    messages = [(Position(1, 1), b'{"x":0}'), (Position(1, 2), payload), (Position(1, 3), b'{"y":[]}')]
    lines = bytes(plain_lines(batch(messages, first=1, gap=gap).payloads))
    assert b"\r" not in lines
    split = lines.split(b"\n")
    assert split.pop() == b""
    assert [json.loads(line) for line in split] == [json.loads(each) for _, each in messages]
    assert split[0] == messages[0][1]


def test_what_is_made_of_lines_already_is_not_copied() -> None:
    payloads = batch(transaction(LSN, 10), first=1).payloads
    assert plain_lines(payloads) is payloads.data


def test_line_breaks_inside_do_not_stand_for_those_between() -> None:
    """As many as there are payloads, and none where the payloads end."""
    data = b"[\n1]x[\n2]\n"
    assert plain_lines(Payloads(data, [4, 9], 1)) == b"[ 1]\n[ 2]\n"


# ------------------------------------------------------------------------------------ the tail


def tail_of(content: bytes, *, unsynced_bytes: int = 1 << 20) -> tuple[int, Position | None, Transaction | None]:
    """The end, the position and the last transaction."""
    tail = whole_tail_of(content, unsynced_bytes=unsynced_bytes)
    return tail.end, tail.position, tail.last


def whole_tail_of(content: bytes, *, unsynced_bytes: int = 1 << 20) -> Tail:
    return find_tail(
        lambda size, offset: content[offset : offset + size],
        len(content),
        pipeline=PIPELINE,
        path="events.jsonl",
        unsynced_bytes=unsynced_bytes,
    )


def lines(*payloads: bytes) -> bytes:
    return b"".join(payload + b"\n" for payload in payloads)


CLAIM = encode_checkpoint(Checkpoint(0x1000), KEY)
FIRST, SECOND = (event(Position(LSN, ordinal)) for ordinal in (1, 2))
DESCRIPTION = b'{"schema":"public","table":"t"}'
WHOLE = lines(CLAIM, FIRST, SECOND)
TORN = [
    SECOND,
    CLAIM,
    encode_checkpoint(Checkpoint(LSN + 8, Transaction(LSN, TIME, 700)), KEY),
    DESCRIPTION,
    msgspec.json.encode({"schema": 'a\\"\nö', "table": "t", "version": "x"}),
    msgspec.json.encode(
        ControlEvent(id=event_id(Position(LSN, 2), KEY), snapshot=Control(state="reading", run="r"), commit_time=TIME)
    ),
]


def test_an_id_gives_the_position_back() -> None:
    chance = random.Random(1)
    for _ in range(1000):
        position = Position(chance.getrandbits(chance.randint(1, 56)), chance.getrandbits(chance.randint(1, 40)))
        identifier = event_id(position, KEY).encode()
        assert position_of(identifier, KEY) == position
        assert position_of(identifier, OTHER_KEY) is None
    for nonsense in (b"", b"x" * 36, b"-" * 36, b"0" * 36, event_id(Position(1, 1), KEY).upper().encode()):
        assert position_of(nonsense, KEY) is None


def test_the_last_line_is_the_tail() -> None:
    assert tail_of(b"") == (0, None, None)
    assert tail_of(lines(CLAIM)) == (len(CLAIM) + 1, Position(0x1000, 0), None)
    assert tail_of(WHOLE) == (len(WHOLE), Position(LSN, 2), Transaction(LSN, TIME))
    last = Transaction(LSN, TIME, 700)
    more = WHOLE + lines(encode_checkpoint(Checkpoint(LSN + 8, last), KEY))
    assert tail_of(more) == (len(more), Position(LSN + 8, 0), last)


def test_descriptions_are_passed_over() -> None:
    content = WHOLE + lines(DESCRIPTION, DESCRIPTION)
    assert tail_of(content) == (len(content), Position(LSN, 2), Transaction(LSN, TIME))


@pytest.mark.parametrize(
    "torn", TORN, ids=["event", "checkpoint", "with a transaction", "description", "quoted", "control"]
)
def test_a_torn_line_is_not_counted_wherever_it_ends(torn: bytes) -> None:
    for size in range(len(torn) + 1):  # without its line break it is torn, too
        before = lines(CLAIM, FIRST)
        assert tail_of(before + torn[:size]) == (len(before), Position(LSN, 1), Transaction(LSN, TIME))


@pytest.mark.parametrize("zeros", [0, 1, len(CLAIM)])
def test_a_torn_claim(zeros: int) -> None:
    for size in (0, *range(len('{"lsn":"'), len(CLAIM) + 1)):
        content = CLAIM[:size] + b"\0" * min(zeros, len(CLAIM) + 1 - size)
        assert tail_of(content) == (0, None, None), content


OTHER_CLAIM = encode_checkpoint(Checkpoint(0x1000), OTHER_KEY)


@pytest.mark.parametrize(
    "content",
    [
        b'{"schema": {}, "title": 1}',
        b'{"schema":"public","table":"t"}',
        b'{"lsn": "mine"}',
        b'{"lsn":"mine"}',
        b'{"lsn":"0/10"}',
        b'{"lsn":"0/10","id":"7"}',
        b'{"id":"7","x":1}',
        b"{",
        b'{"lsn":',
        OTHER_CLAIM,
        OTHER_CLAIM[: len('{"lsn":"0/1000","id":"7')],
        CLAIM + b" ",
        CLAIM[:20] + b"\0\0hello",
        CLAIM[:20] + b"\0" * 5000,
        FIRST[:60],
        b"\0" * 5000,
        b"\0hello",
    ],
)
def test_a_file_without_a_line_that_is_no_claim(content: bytes) -> None:
    with pytest.raises(FileUnusable, match="which Ditto did not write") as caught:
        tail_of(content)
    assert "file.path" in (caught.value.hint or "")


@pytest.mark.parametrize("content", [lines(DESCRIPTION), lines(DESCRIPTION, DESCRIPTION) + DESCRIPTION[:12]])
def test_descriptions_alone_are_no_new_file(content: bytes) -> None:
    with pytest.raises(FileUnusable, match="does not say where to go on"):
        tail_of(content)


ID = event_id(Position(LSN, 3), KEY).encode()
OTHER_ID = event_id(Position(LSN, 3), OTHER_KEY).encode()


@pytest.mark.parametrize(
    "torn",
    [
        b'{"x',
        b'{"id":7',
        b'{"id":"mine',
        b'{"id":"' + OTHER_ID[:2],
        b'{"id":"' + OTHER_ID,
        b'{"id":"' + ID + b'","x":1',
        b'{"id":"' + event_id(Position(LSN, 0), KEY).encode() + b'"',
        b'{"id":"' + event_id(Position(1 << 60, 1), KEY).encode()[:8],
        b'{"lsn": ',
        b'{"lsn":"x',
        OTHER_CLAIM,
        OTHER_CLAIM[: len('{"lsn":"0/1000","id":"7')],
        CLAIM + b"x",
        CLAIM[:-1] + b',"x":1',
        b'{"schema": {}',
        b'{"schema":{}',
        b'{"schema":"a","title":1',
        b'{"schema":"a"}',
    ],
)
def test_a_torn_line_that_is_not_dittos(torn: bytes) -> None:
    with pytest.raises(FileUnusable, match="ends in the middle of a line"):
        tail_of(lines(CLAIM, FIRST) + torn)


def test_what_a_machine_left_that_failed() -> None:
    """Zeros where something had not reached the disk, in front of something that had."""
    good = lines(CLAIM, FIRST)
    expected = (len(good), Position(LSN, 1), Transaction(LSN, TIME))
    assert tail_of(good + b"\0" * 5000) == expected
    hidden = lines(SECOND, event(Position(LSN, 3)), event(Position(LSN, 4)))
    for begin in range(0, len(SECOND) + 2, 5):
        content = good + hidden[:begin] + b"\0" * 40 + hidden[begin + 40 :]
        found = whole_tail_of(content)
        if begin <= len(SECOND):
            assert found[:3] == expected
        else:
            assert found.position == Position(LSN, 2)


def test_a_hole_in_a_line_that_is_larger_than_what_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line before it may have waited with it."""
    monkeypatch.setattr("ditto.sinks.file.last_line._CHUNK", 64)
    large = event(Position(LSN, 3), text="x" * 5000)
    for torn in (b"", b"\n"):
        for begin in (60, 100, 2500, 4900):
            content = WHOLE + large[:begin] + b"\0" * 40 + large[begin + 40 :] + torn
            assert tail_of(content, unsynced_bytes=100) == (len(WHOLE), Position(LSN, 2), Transaction(LSN, TIME))
        holed = WHOLE[:-60] + b"\0" * 20 + WHOLE[-40:]
        found = tail_of(holed + large + torn, unsynced_bytes=100)
        assert found == (len(lines(CLAIM, FIRST)), Position(LSN, 1), Transaction(LSN, TIME))


def test_large_lines_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for chunk in (1, 7, 64, 1000):
        monkeypatch.setattr("ditto.sinks.file.last_line._CHUNK", chunk)
        large = event(Position(LSN, 3), text='"commitTime":"1999"' * 50)
        content = WHOLE + lines(large)
        assert tail_of(content, unsynced_bytes=0) == (len(content), Position(LSN, 3), Transaction(LSN, TIME))
        content += large[:-1]
        assert whole_tail_of(content, unsynced_bytes=0).position == Position(LSN, 3)


@pytest.mark.parametrize(
    "content",
    [
        b"root:x:0:0:root:/root:/bin/sh\n",
        b"hello",
        b"\n",
        b"{}\n",
        b"\x7fELF\0\0\0\n",
        WHOLE + b"hello\n",
        WHOLE + b"hello",
        WHOLE + b"\n",
        WHOLE + b'{"lsn":5}\n',
        WHOLE + b'{"lsn":"nonsense"}\n',
        WHOLE + FIRST[:60] + b"\n",
        b'{"id":1,"name":"somebody else\'s"}\n',
    ],
)
def test_what_ditto_did_not_write(content: bytes) -> None:
    with pytest.raises((FileUnusable, StreamOwned), match=r"events\.jsonl") as caught:
        tail_of(content)
    assert "file.path" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "content",
    [
        lines(encode_checkpoint(Checkpoint(0x1000), OTHER_KEY)),
        lines(event(Position(LSN, 1), of=OTHER)),
        lines(encode_checkpoint(Checkpoint(0x1000), OTHER_KEY), FIRST),
        WHOLE + lines(event(Position(LSN, 3), of=OTHER)),
        WHOLE + lines(b'{"lsn":"0/3000"}'),
    ],
)
def test_what_belongs_to_another_pipeline(content: bytes) -> None:
    with pytest.raises(StreamOwned, match="another slot or another database cluster"):
        tail_of(content)


# ------------------------------------------------------------------------------------ the file


async def test_lines_that_come_while_others_are_written_share_the_next_synchronisation(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on, calls = threading.Event(), 0
    real = append_only_file._sync

    def slow(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        assert may_go_on.wait(10)
        real(descriptor)

    async with opened(store) as sink:
        monkeypatch.setattr(append_only_file, "_sync", slow)
        sent = transaction(LSN, 50)
        for number, message in enumerate(sent, 1):
            await sink.send(batch([message], first=number))  # the loop is not held up
        waiting = asyncio.ensure_future(sink.acknowledged())
        await asyncio.sleep(0.1)
        assert not waiting.done(), "nothing is acknowledged that is not synchronised"
        may_go_on.set()
        assert await waiting < 50
        await acknowledges(sink, 50)
        assert calls == 2


@pytest.mark.parametrize("failing", ["write", "synchronise"])
async def test_a_full_disk_leaves_what_was_acknowledged(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    real = os.write

    def half(descriptor: int, data: memoryview) -> int:
        return real(descriptor, data[:1000]) if len(data) > 5000 else full()

    async with opened(store) as sink:
        await sink.send(batch(transaction(LSN, 1), first=1))
        await acknowledges(sink, 1)
        before = store.content()
        if failing == "write":
            monkeypatch.setattr(os, "write", half)
        else:
            monkeypatch.setattr(append_only_file, "_sync", full)
        await sink.send(batch(transaction(LSN, 100, first=2), first=2))
        with pytest.raises(NotNow, match="No space left on device") as caught:
            await sink.acknowledged()
        assert caught.value.is_retryable
        assert "make room" in (caught.value.hint or "")
        assert store.content() == before
    monkeypatch.undo()
    async with opened(store) as sink:
        await sink.send(batch(transaction(LSN, 100, first=2), first=1))
        await acknowledges(sink, 99)
    assert [line for line in await store.messages() if line.startswith(b'{"id"')] == [
        payload for _, payload in transaction(LSN, 100)
    ]


async def test_somebody_else_writes_to_it(store: FileStore) -> None:
    async with opened(store) as sink:
        with store.path.open("ab") as file:
            file.write(b"hello\n")
        await sink.send(batch(transaction(LSN, 1), first=1))
        with pytest.raises(ChainBroken, match="changed by somebody else"):
            await sink.acknowledged()
    assert store.content().endswith(b"hello\n"), "theirs is left alone, and nothing is written after it"


async def test_it_is_locked(store: FileStore) -> None:
    async with opened(store) as sink:
        assert sink.capabilities.is_fenced
        async with connected(store) as other:
            assert not other.capabilities.is_fenced
            with pytest.raises(NotNow, match="locked: another process writes to it") as caught:
                await other.open(PIPELINE)
            assert caught.value.is_retryable
    async with opened(store):
        pass


async def test_a_file_system_without_locks(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unknown)
    async with opened(store) as sink:
        assert not sink.capabilities.is_fenced
        await sink.send(batch(transaction(LSN, 1), first=1))
        await acknowledges(sink, 1)


async def test_a_file_that_is_removed_while_a_standby_waits_is_no_new_one(store: FileStore) -> None:
    async with opened(store):
        pass
    async with connected(store) as sink:
        await sink.inspect(PIPELINE)
        store.path.unlink()
        await sink.claim(PIPELINE, [])
        with pytest.raises(SinkLost, match="removed or replaced"):
            await sink.open(PIPELINE)


async def test_through_a_symbolic_link(store: FileStore, tmp_path: Path) -> None:
    target = tmp_path / "disk" / "events.jsonl"
    target.parent.mkdir()
    store.path.symlink_to(target)
    async with opened(store) as sink:
        await sink.send(batch(transaction(LSN, 2), first=1))
        await acknowledges(sink, 2)
    assert len(target.read_bytes().splitlines()) == 3


@pytest.mark.parametrize("kind", ["directory", "fifo", "missing directory", "device"])
async def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    path = {"device": tmp_path / "/dev/null", "missing directory": tmp_path / "a" / "b"}.get(kind, tmp_path / "x")
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    store = FileStore(path)
    async with connected(store) as sink:
        with pytest.raises(FileUnusable) as caught:  # noqa: PT012  whichever finds it first
            await sink.inspect(PIPELINE)
            await sink.prepare(PIPELINE, [])
        assert caught.value.hint


async def test_a_directory_that_cannot_be_read(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in it would have a name that a failing machine forgets: none is created."""
    real = os.open

    def denied(path: str, flags: int, mode: int = 0o777) -> int:
        if path == str(store.path.parent):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", denied)
    async with connected(store) as sink:
        await sink.inspect(PIPELINE)
        with pytest.raises(FileUnusable, match="cannot open the directory of file") as caught:
            await sink.prepare(PIPELINE, [])
        assert "readable" in (caught.value.hint or "")
    assert not store.path.exists()


async def test_a_small_file_of_another_program_is_left_alone(store: FileStore) -> None:
    for content in (b'{"schema": {}, "title": 1}', b'{"id":"7","x":1}', b'{"schema":"x"}\n', b"{"):
        store.path.write_bytes(content)
        async with connected(store) as sink:
            for attempt in (sink.inspect(PIPELINE), sink.prepare(PIPELINE, []), sink.claim(PIPELINE, [])):
                with pytest.raises(FileUnusable):
                    await attempt
            with pytest.raises(FileUnusable):
                await sink.open(PIPELINE)
        assert store.content() == content


async def test_a_disk_that_hangs_does_not_hold_up_the_end(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ditto.sinks.file.line_sink._CLOSE_TIMEOUT_S", 0.1)
    may_go_on = threading.Event()
    async with opened(store) as sink:
        monkeypatch.setattr(append_only_file, "_sync", lambda _: may_go_on.wait(10))
        await sink.send(batch(transaction(LSN, 1), first=1))
    with pytest.raises(NotNow, match="locked"):
        AppendedFile.open(str(store.path))
    may_go_on.set()
    async with asyncio.timeout(10):
        while True:
            try:
                AppendedFile.open(str(store.path)).close()
            except NotNow:
                await asyncio.sleep(0.01)
            else:
                break


async def test_a_fault_of_the_program_is_raised_as_it_is(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with opened(store) as sink:
        monkeypatch.setattr(AppendedFile, "append", broken)
        await sink.send(batch(transaction(LSN, 1), first=1))
        with pytest.raises(ZeroDivisionError):
            await sink.acknowledged()
        with pytest.raises(ZeroDivisionError):
            await sink.flush()


def test_each_error_has_a_hint() -> None:
    for number in (13, 28, 30, 5, 122):
        error = append_only_file.refused(OSError(number, "x"), "/x", "open")
        assert isinstance(error, SinkError)
        assert error.hint
        assert error.is_retryable == (number in {28, 122})
