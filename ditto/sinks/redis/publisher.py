"""Sends batches, each in a script that says which one it follows, and counts what the server has stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ditto.errors import SinkError
from ditto.lsn import Position
from ditto.sinks.base import Batch, MessageTooLarge
from ditto.sinks.progress import Progress
from ditto.sinks.redis.frames import Buffer, command, packed, spans
from ditto.sinks.redis.stored_state import Keys, tail_of_event
from ditto.sinks.redis.wire import Wire

TABLE, CONTROL, DESCRIPTION = 0, 1, 2
"""Kinds of streams, as the script PUBLISH knows them."""
_MOST_KNOWN = 10_000
_FIRST_PLACE = 4
"""Of a stream among KEYS: Ditto's own come before."""


class Publisher:
    """The batches of one session. `progress` has the first error: those behind it say that the chain is broken."""

    def __init__(self, keys: Keys, *, key_prefix: str, descriptions: str, controls: str, max_length: int) -> None:
        self._own_keys = tuple(key.encode() for key in keys)
        self._key_prefix = key_prefix.encode()
        self._descriptions = descriptions.encode()
        self._controls = controls.encode()
        self._max_length = b"%d" % max_length
        self._wire: Wire | None = None
        self._script = b""
        self._known: set[bytes] = set()
        self._epoch = 0
        self._count = 0
        self._max_bytes = 0
        self.progress = Progress()

    def begin(self, wire: Wire, *, script: bytes, epoch: int, max_bytes: int) -> None:
        """From now on batches can be sent."""
        self._wire, self._script, self._epoch, self._max_bytes = wire, script, epoch, max_bytes

    @property
    def fence(self) -> str:
        """How the writer in the state begins while this session is the one that writes."""
        return f"{self._epoch}-"

    def send(self, batch: Batch) -> None:
        """Take all of them."""
        self._check_sizes(batch)
        for first, end in spans(batch.payloads.ends, batch.payloads.gap):
            routes = batch.routes[first:end]
            names = list(dict.fromkeys(routes))
            if len(names) == 1:
                places = [_FIRST_PLACE] * len(routes)
            else:
                place_of = {name: place for place, name in enumerate(names, _FIRST_PLACE)}
                places = [place_of[route] for route in routes]
            kinds = [TABLE] * (_FIRST_PLACE - 1) + [self._kind(name) for name in names]
            meta, data, headers = packed(batch, first, end, places=places, kinds=kinds)
            last = end - 1
            while last >= first and kinds[places[last - first] - 1] == DESCRIPTION:
                last -= 1
            tail = b"" if last < first else _tail(batch, last)
            self._post(
                names, (meta, data, b"%d" % batch.payloads.gap, headers), tail=tail, number=batch.first + end - 1
            )

    def checkpoint(self, tail: bytes, *, number: int) -> None:
        """Take a batch of nothing but the tail."""
        self._post((), (_NOTHING, b"", b"0", b""), tail=tail, number=number)

    def _kind(self, route: bytes) -> int:
        if route.startswith(self._descriptions):
            return DESCRIPTION
        return CONTROL if route.startswith(self._controls) else TABLE

    def _post(
        self, names: Sequence[bytes], messages: tuple[bytes, Buffer, bytes, bytes], *, tail: bytes, number: int
    ) -> None:
        self.progress.check()
        if self._wire is None:
            raise RuntimeError("open() comes first")
        before = b"%d-%d" % (self._epoch, self._count)
        after = b"%d-%d" % (self._epoch, self._count + 1)
        has_new = b"0" if self._known.issuperset(names) else b"1"
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()  # where rows say the subject there may be any number
        self._known.update(names)
        keys = (*self._own_keys, *[self._key_prefix + name for name in names])
        parts = command(
            *(b"EVALSHA", self._script, b"%d" % len(keys), *keys),
            *(before, after, *messages, self._max_length, tail, has_new),
        )

        def on_answer(answer: Any, error: SinkError | None) -> None:
            del answer
            if error is not None:
                self.progress.fail(error)
            elif self.progress.failure is None:
                self.progress.move(number)

        self._wire.post(parts, "store events", on_answer, keys=keys)
        self._count += 1

    def _check_sizes(self, batch: Batch) -> None:
        payloads, limit = batch.payloads, self._max_bytes
        if len(payloads.data) <= limit and batch.headers is None and batch.keys is None:
            return
        for index, payload in enumerate(payloads.each()):
            size = len(payload)
            if batch.headers is not None:
                size += len(batch.headers[index])
            if batch.keys is not None:
                size += len(batch.keys[index] or b"")
            if size > limit:
                raise MessageTooLarge(index, size, limit)


_NOTHING = b"\x99\x90\x90\x90\x90\x90\x90\xc2\xc2\xc2"
"""Nine fields of no message, as `packed` makes them."""


def _tail(batch: Batch, index: int) -> bytes:
    payloads = batch.payloads
    start = payloads.ends[index - 1] + payloads.gap if index else 0
    payload = memoryview(payloads.data)[start : payloads.ends[index]]
    headers = b"" if batch.headers is None else batch.headers[index]
    return tail_of_event(Position(batch.commit_lsns[index], batch.ordinals[index]), payload, headers)
