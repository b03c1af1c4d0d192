"""What every sink does, whatever it stores events in: see `ditto.sinks.base`.

A sink's tests are a subclass of `SinkContract` with a fixture `store`: a place where its messages are kept, which can
be read from outside.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest

from ditto.errors import SinkError, StreamOwned
from ditto.lsn import Checkpoint, Position, Transaction
from ditto.sinks.base import MessageTooLarge
from sinks.messages import PIPELINE, ROUTES, TIME, batch, event, transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from ditto.sinks.base import PipelineId, Sink

TIMEOUT_S = 10.0
LSN = 0x2000


class Store(ABC):
    """Where the messages of one sink after the other go."""

    keeps_messages = True
    """They can be read from outside, at all."""

    @abstractmethod
    def make(self) -> Sink:
        """A sink, as a session makes one."""

    @abstractmethod
    async def messages(self) -> list[bytes]:
        """What anybody else finds there now, checkpoints included, in order."""

    async def snapshot(self) -> object:
        """Everything that is there: equal to another one where nothing has changed."""
        return await self.messages()

    async def break_down(self) -> bool:
        """From now on nothing can be stored; False where that cannot be brought about."""
        return False


@asynccontextmanager
async def connected(store: Store) -> AsyncIterator[Sink]:
    """A sink that can be inspected."""
    sink = store.make()
    try:
        await sink.connect()
        yield sink
    finally:
        await sink.close()


@asynccontextmanager
async def opened(store: Store) -> AsyncIterator[Sink]:
    """A sink to which messages can be sent, opened as a session does it."""
    async with connected(store) as sink:
        if (await sink.inspect(PIPELINE)).is_empty:
            await sink.prepare(PIPELINE, ROUTES)
        await sink.claim(PIPELINE, ROUTES)
        await sink.open(PIPELINE)
        yield sink


async def acknowledges(sink: Sink, number: int) -> list[int]:
    """Wait until everything up to that delivery is acknowledged; the numbers on the way."""
    found: list[int] = []
    async with asyncio.timeout(TIMEOUT_S):
        while not found or found[-1] < number:
            found.append(await sink.acknowledged())
    assert found == sorted(set(found)), "each says more than the one before"
    assert found[0] > 0
    assert found[-1] == number, "no more than was sent"
    return found


def payloads(messages: Iterable[tuple[Position, bytes]]) -> list[bytes]:
    return [payload for _, payload in messages]


def events(stored: Iterable[bytes]) -> list[bytes]:
    """Without checkpoints."""
    return [payload for payload in stored if payload.startswith(b'{"id":')]


class SinkContract:
    """Subclass it, with a fixture `store`."""

    async def test_deliveries_are_numbered_from_1_in_order(self, store: Store) -> None:
        sent = transaction(LSN, 7)
        async with opened(store) as sink:
            await sink.send(batch(sent[:3], first=1, more_follows=True))
            await sink.send(batch(sent[3:4], first=4, more_follows=True))
            await sink.send(batch(sent[4:], first=5))
            await sink.flush()
            await acknowledges(sink, 7)
            if store.keeps_messages:
                assert events(await store.messages()) == payloads(sent)

    async def test_numbers_begin_anew_with_each_session(self, store: Store) -> None:
        sent = transaction(LSN, 4)
        for half in (sent[:2], sent[2:]):
            async with opened(store) as sink:
                await sink.send(batch(half, first=1))
                await sink.flush()
                await acknowledges(sink, 2)
        if store.keeps_messages:
            assert events(await store.messages()) == payloads(sent)

    async def test_what_is_acknowledged_is_there(self, store: Store) -> None:
        count, size = 40, 25
        sent = transaction(LSN, count * size)

        async def send(sink: Sink) -> None:
            for first in range(0, count * size, size):
                await sink.send(batch(sent[first : first + size], first=first + 1, more_follows=True))
                await asyncio.sleep(0)
            await sink.flush()

        async with opened(store) as sink, asyncio.timeout(TIMEOUT_S):
            sending = asyncio.ensure_future(send(sink))
            number = 0
            while number < count * size:
                before, number = number, await sink.acknowledged()
                assert number > before
                if store.keeps_messages:
                    assert len(events(await store.messages())) >= number
            await sending
            assert number == count * size

    async def test_flush_leaves_nothing_without_an_acknowledgement(self, store: Store) -> None:
        async with opened(store) as sink:
            for number in range(1, 4):
                await sink.send(batch(transaction(LSN + number, 1), first=number, more_follows=True))
                await sink.flush()
                await acknowledges(sink, number)
            await sink.flush()  # with nothing under way

    async def test_waiting_can_be_given_up_and_begun_again(self, store: Store) -> None:
        async with connected(store) as sink:
            for _ in range(2):  # from `connect` on
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(sink.acknowledged(), 0.02)
        async with opened(store) as sink:
            waiting = asyncio.ensure_future(sink.acknowledged())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await sink.send(batch(transaction(LSN, 3), first=1))
            await sink.flush()
            await acknowledges(sink, 3)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sink.acknowledged(), 0.05)
            await sink.send(batch(transaction(LSN + 8, 1), first=4))
            await sink.flush()
            await acknowledges(sink, 4)

    async def test_a_checkpoint_is_a_delivery(self, store: Store) -> None:
        async with opened(store) as sink:
            await sink.checkpoints.save(Checkpoint(LSN), number=1)
            await sink.flush()
            await acknowledges(sink, 1)
            await sink.send(batch(transaction(LSN, 2), first=2, more_follows=True))
            await sink.checkpoints.save(Checkpoint(LSN + 8, Transaction(LSN, TIME, 700)), number=4)
            await sink.flush()
            await acknowledges(sink, 4)
        async with connected(store) as sink:
            state = await sink.inspect(PIPELINE)
            if sink.capabilities.keeps_tail:
                assert state.tail == Position(LSN + 8, 0)
                assert state.last == Transaction(LSN, TIME, 700)
                assert state.is_proven

    async def test_the_tail_is_found_again(self, store: Store) -> None:
        async with opened(store) as sink:
            if not sink.capabilities.keeps_tail:
                assert (await sink.inspect(PIPELINE)).is_empty
                return
            await sink.send(batch(transaction(LSN, 3), first=1))
            await sink.flush()
            await acknowledges(sink, 3)
        async with connected(store) as sink:
            looked = await sink.inspect(PIPELINE)
            found = await sink.open(PIPELINE)
            for state in (looked, found):
                assert (state.tail, state.last) == (Position(LSN, 3), Transaction(LSN, TIME))
                assert state.is_proven
                assert not state.is_empty

    async def test_a_description_is_no_tail(self, store: Store) -> None:
        position = Position(LSN, 1)
        description = msgspec.json.encode({"schema": "public", "table": "t", "version": "1"})
        async with opened(store) as sink:
            await sink.send(batch([(position, event(position)), (position, description)], first=1))
            await sink.flush()
            await acknowledges(sink, 2)
        async with connected(store) as sink:
            if sink.capabilities.keeps_tail:
                assert (await sink.open(PIPELINE)).tail == position

    async def test_a_session_that_ends_anywhere_leaves_no_hole(self, store: Store) -> None:
        sent = transaction(LSN, 3000)
        for size, wanted in ((7, 1), (500, 1), (100, 1500)):
            number = done = 0
            async with opened(store) as sink:
                if not sink.capabilities.keeps_tail:
                    return
                tail = (await sink.inspect(PIPELINE)).tail or Position(0, 0)
                todo = [message for message in sent if message[0] > tail][:2000]
                for first in range(0, len(todo), size):
                    await sink.send(batch(todo[first : first + size], first=first + 1, more_follows=True))
                    done = first + len(todo[first : first + size])
                await sink.flush()
                async with asyncio.timeout(TIMEOUT_S):
                    while number < min(wanted, done):
                        number = await sink.acknowledged()
            async with asyncio.timeout(TIMEOUT_S):
                while True:  # a server may still store what the session before has sent
                    async with connected(store) as sink:
                        tail_after = (await sink.open(PIPELINE)).tail
                    assert tail_after is not None
                    assert tail_after.ordinal >= tail.ordinal + number, "what was acknowledged is there"
                    stored = events(await store.messages())
                    assert stored == payloads(sent)[: len(stored)], "a prefix of what was sent, each once"
                    if tail_after == Position(LSN, len(stored)):
                        break

    async def test_looking_changes_nothing(self, store: Store) -> None:
        async with connected(store) as sink:
            before = await store.snapshot()
            assert (await sink.inspect(PIPELINE)).is_empty
            assert await store.snapshot() == before
        async with opened(store) as sink:
            await sink.send(batch(transaction(LSN, 3), first=1))
            await sink.flush()
            await acknowledges(sink, 3)
            before = await store.snapshot()
            async with connected(store) as other:
                state = await other.inspect(PIPELINE)
                assert state == await other.inspect(PIPELINE)
                assert await store.snapshot() == before

    async def test_a_claim_is_not_taken_for_new(self, store: Store) -> None:
        async with connected(store) as sink:
            await sink.prepare(PIPELINE, ROUTES)
            assert (await sink.inspect(PIPELINE)).is_empty, "prepared is not claimed"
            await sink.claim(PIPELINE, ROUTES)
        async with connected(store) as sink:
            state = await sink.inspect(PIPELINE)
            if not sink.capabilities.keeps_tail:
                return
            assert not state.is_empty
            begins = state.tail.commit_lsn if state.tail is not None else state.owner.start_lsn if state.owner else 0
            assert begins == PIPELINE.start_lsn, "nothing before it was ever due"
            before = await store.snapshot()
            await sink.claim(msgspec.structs.replace(PIPELINE, start_lsn=0x1800), ROUTES)
            assert await store.snapshot() == before, "claimed once is enough"

    @pytest.mark.parametrize("has_events", [False, True], ids=["claimed", "filled"])
    @pytest.mark.parametrize("other", [{"slot": "other"}, {"system_identifier": "7312345678901234568"}], ids=str)
    async def test_another_pipeline_is_refused(self, store: Store, other: dict[str, str], *, has_events: bool) -> None:
        async with opened(store) as sink:
            if not sink.capabilities.keeps_tail:
                return
            if has_events:
                await sink.send(batch(transaction(LSN, 3), first=1))
                await sink.flush()
                await acknowledges(sink, 3)
        stranger = msgspec.structs.replace(PIPELINE, **other)
        before = await store.snapshot()
        async with connected(store) as sink:
            await self.refuses(sink, stranger)
        assert await store.snapshot() == before

    async def refuses(self, sink: Sink, stranger: PipelineId) -> None:
        with pytest.raises(StreamOwned) as caught:
            await sink.inspect(stranger)
        assert caught.value.hint
        assert not caught.value.is_retryable

    async def test_a_message_that_is_too_large_is_named(self, store: Store) -> None:
        async with opened(store) as sink:
            limit = sink.capabilities.max_bytes
            if not limit:
                return
            large = event(Position(LSN, 3), text="x" * limit)
            sent = [*transaction(LSN, 2), (Position(LSN, 3), large), *transaction(LSN, 4, first=4)]
            with pytest.raises(MessageTooLarge) as caught:
                await sink.send(batch(sent, first=1))
            assert caught.value.index == 2
            assert caught.value.size > caught.value.limit == limit

    async def test_it_can_be_closed_at_any_time(self, store: Store) -> None:
        await store.make().close()
        async with connected(store) as sink:
            await sink.close()
        async with opened(store) as sink:
            waiting = asyncio.ensure_future(sink.acknowledged())
            await sink.send(batch(transaction(LSN, 500), first=1, more_follows=True))
            await sink.close()
            waiting.cancel()
            await asyncio.wait({waiting})
            assert waiting.cancelled() or waiting.exception() is None or isinstance(waiting.exception(), SinkError)
        async with opened(store):
            pass  # nothing of the one before is in the way

    @pytest.mark.parametrize("is_waiting", [False, True], ids=["before", "meanwhile"])
    async def test_acknowledged_raises_what_goes_wrong(self, store: Store, *, is_waiting: bool) -> None:
        async with opened(store) as sink:
            await sink.send(batch(transaction(LSN, 1), first=1))
            await sink.flush()
            await acknowledges(sink, 1)
            waiting = asyncio.ensure_future(sink.acknowledged()) if is_waiting else None
            await asyncio.sleep(0)
            if not await store.break_down():
                if waiting is not None:
                    waiting.cancel()
                return
            try:
                await sink.send(batch(transaction(LSN + 8, 1), first=2))
                await sink.flush()
            except SinkError:
                pass  # met earlier, and raised by the next one all the same
            with pytest.raises(SinkError):
                await asyncio.wait_for(waiting or sink.acknowledged(), TIMEOUT_S)
            with pytest.raises(SinkError):
                await asyncio.wait_for(sink.acknowledged(), TIMEOUT_S)

    async def test_a_second_writer_is_refused(self, store: Store) -> None:
        async with opened(store) as sink:
            if not sink.capabilities.is_fenced:
                return
            await sink.send(batch(transaction(LSN, 1), first=1))
            await sink.flush()
            await acknowledges(sink, 1)
            with pytest.raises(SinkError):  # noqa: PT012  when it opens, or when one of them sends
                async with opened(store) as other:
                    await other.send(batch(transaction(LSN + 8, 1), first=1))
                    await other.flush()
                    await acknowledges(other, 1)
                    await sink.send(batch(transaction(LSN + 8, 2), first=2))
                    await sink.flush()
                    await acknowledges(sink, 3)
        stored = events(await store.messages())
        assert len(stored) == len(set(stored)), "nothing twice"
