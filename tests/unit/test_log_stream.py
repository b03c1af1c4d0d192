"""Standard error that never raises and never blocks."""

from __future__ import annotations

import os
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ditto.log_stream import QUEUE_BYTES, LogStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE = b"x" * 1023 + b"\n"


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for each in (reading, writing):
        os.close(each)


def test_lines_arrive_in_order(pipe: tuple[int, int]) -> None:
    stream = LogStream(pipe[1])
    for number in range(100):
        stream.write(f"{number}\n".encode())
    stream.drain()
    assert os.read(pipe[0], 65536) == b"".join(f"{number}\n".encode() for number in range(100))
    assert stream.lost_lines == 0


def test_the_end_waits_for_a_thread_that_is_late(pipe: tuple[int, int]) -> None:
    class Late(LogStream):
        def _put(self, line: bytes) -> bool:
            time.sleep(0.3)
            return super()._put(line)

    stream = Late(pipe[1])
    stream.write(b"why\n")
    stream.drain(timeout_s=0.05)
    os.set_blocking(pipe[0], False)
    assert os.read(pipe[0], 100) == b"why\n"


def test_an_unread_pipe_does_not_block_and_the_losses_are_said(pipe: tuple[int, int]) -> None:
    stream = LogStream(pipe[1])
    count = 2 * QUEUE_BYTES // len(LINE)
    began = time.monotonic()
    for _ in range(count):
        stream.write(LINE)
    assert time.monotonic() - began < 5
    stream.drain(timeout_s=0.05)  # ends although nobody reads
    lost = stream.lost_lines
    assert 0 < lost < count

    found = bytearray()

    def said() -> int:
        return sum(int(number) for number in re.findall(rb"could not be written: (\d+)\n", found))

    def read() -> None:
        while found.count(LINE) < count - lost or said() < lost:
            found.extend(os.read(pipe[0], 65536))

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(10)
    assert not reader.is_alive(), "the losses are said although no line follows"
    assert found.count(LINE) == count - lost
    assert said() == lost


def test_a_full_disk_loses_lines_and_says_so_afterwards(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("log") / "log"
    full, free = os.open("/dev/full", os.O_WRONLY), os.open(file, os.O_WRONLY | os.O_CREAT)
    descriptor = os.dup(full)
    stream = LogStream(descriptor)
    stream.write(b"one\n")
    stream.write(b"two\nthree\n")
    eventually(lambda: stream.lost_lines == 3)
    os.dup2(free, descriptor)
    stream.write(b"four\n")
    stream.drain()
    assert file.read_bytes() == b"ditto: log lines that could not be written: 3\nfour\n"
    for each in (full, free, descriptor):
        os.close(each)


def test_a_pipe_that_is_closed_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = LogStream(writing)
    stream.write(b"one\n")
    eventually(lambda: stream.lost_lines == 1)
    os.close(writing)


def test_after_half_a_line_the_next_one_begins_a_line(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)  # takes a part of a line, then refuses
    stream = LogStream(pipe[1])
    stream.write(b"y" * (QUEUE_BYTES - 1) + b"\n")
    eventually(lambda: stream.lost_lines == 1)
    torn = os.read(pipe[0], QUEUE_BYTES)
    assert set(torn) == {ord("y")}
    stream.write(b"next\n")
    stream.drain()
    assert os.read(pipe[0], 65536) == b"\nditto: log lines that could not be written: 1\nnext\n"
