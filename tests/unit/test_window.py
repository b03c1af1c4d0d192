"""The window of what was sent and is not yet acknowledged: bounded in messages and in bytes."""

from __future__ import annotations

import asyncio

import pytest

from ditto.pipeline.window import Window
from unit.fakes import fake_time, now, settle


class Scene:
    """A window of 10 messages or 1000 bytes, over a sink that counts how often it is flushed."""

    def __init__(self, *, ack_interval: int = 1, answers_flush: bool = False) -> None:
        self.flushed = 0
        self._answers_flush = answers_flush
        self.window = Window(
            max_count=10, max_bytes=1000, ack_interval=lambda: ack_interval, flush=self._flush, clock=now
        )

    async def _flush(self) -> None:
        self.flushed += 1
        if self._answers_flush:
            self.window.acknowledge(self.window.sent)


@fake_time
async def test_deliveries_are_numbered_from_one() -> None:
    window = Scene().window
    sent = []
    for count, size in [(3, 30), (1, 0), (2, 20)]:
        window.add(count, size)
        sent.append(window.sent)
    assert sent == [3, 4, 6]
    assert (window.sent, window.outstanding_count, window.outstanding_bytes) == (6, 6, 50)


@fake_time
async def test_bytes_are_given_back_when_a_whole_batch_is_acknowledged() -> None:
    window = Scene().window
    window.add(3, 30)
    window.add(2, 20)
    window.acknowledge(2)
    assert (window.outstanding_count, window.outstanding_bytes) == (3, 50)
    window.acknowledge(4)
    assert (window.outstanding_count, window.outstanding_bytes) == (1, 20)
    window.acknowledge(5)
    assert (window.outstanding_count, window.outstanding_bytes) == (0, 0)


@fake_time
@pytest.mark.parametrize(("count", "size"), [(8, 10), (1, 901)])
async def test_a_batch_that_does_not_fit_waits_for_acknowledgements(count: int, size: int) -> None:
    window = Scene().window
    window.add(1, 50)
    window.add(2, 50)
    waiting = asyncio.create_task(window.wait_for_room(count, size))
    await asyncio.sleep(2)
    assert not waiting.done()
    window.acknowledge(1)
    await settle()
    assert waiting.done()
    assert window.waited_s == 2


@fake_time
async def test_a_batch_that_fits_does_not_wait() -> None:
    scene = Scene()
    scene.window.add(3, 100)
    await scene.window.wait_for_room(7, 900)
    assert (scene.flushed, scene.window.waited_s) == (0, 0)


@fake_time
async def test_a_batch_of_any_size_fits_into_an_empty_window() -> None:
    window = Scene().window
    await window.wait_for_room(1000, 10**9)
    window.add(1000, 10**9)
    waiting = asyncio.create_task(window.wait_for_room(1, 1))
    await settle()
    assert not waiting.done()
    window.acknowledge(1000)
    await waiting


@fake_time
async def test_the_sink_is_flushed_where_it_may_keep_the_acknowledgement_back() -> None:
    """With fewer messages than `ack_interval` under way no acknowledgement would ever come."""
    scene = Scene(ack_interval=5, answers_flush=True)
    scene.window.add(4, 950)
    await scene.window.wait_for_room(1, 100)
    assert scene.flushed == 1
    assert scene.window.outstanding_count == 0
    scene = Scene(ack_interval=5)
    scene.window.add(5, 950)
    waiting = asyncio.create_task(scene.window.wait_for_room(1, 100))
    await settle()
    assert scene.flushed == 0
    waiting.cancel()


@fake_time
async def test_settling_flushes_and_waits_for_everything() -> None:
    scene = Scene(ack_interval=5)
    scene.window.add(8, 10)
    settling = asyncio.create_task(scene.window.settle())
    for number in (3, 7):
        await settle()
        scene.window.acknowledge(number)
    await settle()
    assert not settling.done()
    assert scene.flushed == 3
    scene.window.acknowledge(8)
    await settling
    await scene.window.settle()  # nothing is under way
    assert scene.flushed == 3


@fake_time
async def test_rows_of_a_snapshot_wait_until_few_messages_are_under_way() -> None:
    scene = Scene()
    scene.window.add(6, 60)
    waiting = asyncio.create_task(scene.window.wait_for_few(4, 1000))
    await settle()
    assert not waiting.done()
    scene.window.acknowledge(1)
    await settle()
    assert not waiting.done()
    scene.window.acknowledge(2)
    await waiting
    assert scene.flushed == 0


@fake_time
async def test_rows_of_a_snapshot_wait_until_few_bytes_are_under_way() -> None:
    scene = Scene()
    scene.window.add(3, 3000)
    scene.window.add(3, 30)
    waiting = asyncio.create_task(scene.window.wait_for_few(100, 1000))
    await settle()
    assert not waiting.done()
    scene.window.acknowledge(3)
    await waiting


@fake_time
async def test_few_messages_are_flushed_where_the_sink_may_keep_the_acknowledgement_back() -> None:
    scene = Scene(ack_interval=5, answers_flush=True)
    scene.window.add(4, 40)
    await scene.window.wait_for_few(3, 1000)
    assert scene.flushed == 1
