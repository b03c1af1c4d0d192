"""Messages taken before nats-py reads them: none is lost, and none overtakes another one."""

from __future__ import annotations

import asyncio

import pytest

from ditto.sinks.jetstream.direct_read import DirectRead

MESSAGE = b"MSG inbox.a 7 5\r\nhello\r\n"
PING = b"PING\r\n"


class Behind(asyncio.Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.is_idle = True

    def data_received(self, data: bytes) -> None:
        self.received += data


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def taken() -> list[tuple[str, bytes, bool]]:
    return []


@pytest.fixture
def shortcut(behind: Behind, taken: list[tuple[str, bytes, bool]]) -> DirectRead:
    def listener(subject: str, data: bytes, has_no_responders: bool) -> None:
        taken.append((subject, data, has_no_responders))

    return DirectRead(behind, listeners={7: listener}, is_idle=lambda: behind.is_idle)


def test_complete_messages_of_a_listener_are_taken(
    shortcut: DirectRead, behind: Behind, taken: list[tuple[str, bytes, bool]]
) -> None:
    shortcut.data_received(MESSAGE + b"MSG inbox.b 7 0\r\n\r\n")
    assert taken == [("inbox.a", b"hello", False), ("inbox.b", b"", False)]
    assert not behind.received


@pytest.mark.parametrize(
    "other",
    [
        PING,
        b"MSG reply.1 1 2\r\nok\r\n",
        b"MSG inbox.a 7 reply 2\r\nok\r\n",
        b"HMSG inbox.a 7 16 16\r\nNATS/1.0 503\r\n\r\n\r\n",
        b"MSG inbox.a x y\r\n",
        b"MSG inbox.a 7 -5\r\n",
    ],
)
def test_everything_else_and_what_follows_it_goes_on(
    shortcut: DirectRead, behind: Behind, taken: list[tuple[str, bytes, bool]], other: bytes
) -> None:
    shortcut.data_received(MESSAGE + other + MESSAGE)
    assert len(taken) == 1
    assert behind.received == other + MESSAGE


@pytest.mark.parametrize("size", range(1, len(MESSAGE)))
def test_the_beginning_of_a_message_goes_on(
    shortcut: DirectRead, behind: Behind, taken: list[tuple[str, bytes, bool]], size: int
) -> None:
    shortcut.data_received(MESSAGE + MESSAGE[:size])
    assert len(taken) == 1
    assert behind.received == MESSAGE[:size]


def test_nothing_is_taken_while_something_before_it_waits(
    shortcut: DirectRead, behind: Behind, taken: list[tuple[str, bytes, bool]]
) -> None:
    behind.is_idle = False
    shortcut.data_received(MESSAGE)
    assert (taken, behind.received) == ([], MESSAGE)
    behind.is_idle = True
    shortcut.data_received(MESSAGE)
    assert len(taken) == 1


def test_an_expected_message_does_not_go_to_the_listener(
    shortcut: DirectRead, behind: Behind, taken: list[tuple[str, bytes, bool]]
) -> None:
    found: list[bool] = []
    shortcut.expect(MESSAGE, lambda: found.append(True))
    shortcut.data_received(MESSAGE)
    assert (found, taken, behind.received) == ([True], [], b"")
    shortcut.data_received(MESSAGE)
    assert (found, len(taken)) == ([True], 1), "expected once"


@pytest.mark.parametrize("data", [MESSAGE + PING, PING + MESSAGE, MESSAGE[:-1], MESSAGE.replace(b"hello", b"world")])
def test_other_bytes_end_the_expectation(
    shortcut: DirectRead, behind: Behind, taken: list[tuple[str, bytes, bool]], data: bytes
) -> None:
    found: list[bool] = []
    shortcut.expect(MESSAGE, lambda: found.append(True))
    shortcut.data_received(data)
    shortcut.data_received(MESSAGE)
    assert not found
    assert taken or behind.received


def test_nothing_is_expected_while_something_before_it_waits(
    shortcut: DirectRead, behind: Behind, taken: list[tuple[str, bytes, bool]]
) -> None:
    behind.is_idle = False
    shortcut.expect(MESSAGE, lambda: taken.append(("", b"", True)))
    shortcut.data_received(MESSAGE)
    assert (taken, behind.received) == ([], MESSAGE)
