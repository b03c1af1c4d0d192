"""What a node answers when another one asks it, or itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from ditto.fleet.requests import Answer, Ask, Fault, answer
from ditto.fleet.view import View
from ditto.fleet.workers import Workers


class Answers:
    """Of one node."""

    def __init__(self, node: str, view: View, workers: Workers, *, drain: Callable[[], None]) -> None:
        self._node = node
        self._view = view
        self._workers = workers
        self._drain = drain
        self._responding: set[asyncio.Task[None]] = set()

    async def on_request(self, message: Any) -> None:
        """The callback of the subscription."""
        try:
            ask = msgspec.json.decode(message.data, type=Ask)
        except msgspec.MsgspecError:
            fault = Fault("ControlPlaneUnsuitable", f"node {self._node} cannot read the request", None, 5)
            await message.respond(msgspec.json.encode(Answer(fault=fault)))
            return
        # A subscription's callback holds the next request up.
        task = asyncio.create_task(self._respond(message, ask))
        self._responding.add(task)
        task.add_done_callback(self._responding.discard)

    async def to(self, ask: Ask) -> bytes:
        """An `Answer`, as JSON."""
        if ask.op == "drain":
            self._drain()
            return answer(True)
        if ask.op == "hello":
            return answer(True)
        if ask.op == "deleted":
            return answer(self._view.deleted_since(ask.revisions))
        return await self._workers.answer(ask)

    async def _respond(self, message: Any, ask: Ask) -> None:
        await message.respond(await self.to(ask))
