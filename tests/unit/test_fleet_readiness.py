"""What a node says it can run, where a look and a start do not find the same."""

from __future__ import annotations

import msgspec

from ditto.fleet.buckets import Entry
from ditto.fleet.membership import Membership
from ditto.fleet.readiness import Judge
from ditto.fleet.records import Record
from ditto.fleet.requests import Fault
from ditto.fleet.view import View

MISSING = Fault("MissingHere", "there is no such file", None, 2, is_local=True)


class Scene:
    """A pipeline, in which nothing is missing by the look."""

    def __init__(self) -> None:
        self.view = View(Membership("n1"))
        self.judge = Judge(self.view, node="n1", instance="i", has_news=lambda: None)
        self.store(5)

    def store(self, revision: int) -> None:
        record = Record(
            document={"postgres": {"dsn": "postgres://h/shop", "slot": "shop"}, "nats": {"url": "nats://h"}}
        )
        self.view.take(self.view.records, Entry("shop", msgspec.json.encode(record), revision))
        self.view.take(self.view.records, None)

    def refuse(self) -> None:
        self.judge.refuse(self.view.stored("shop"), MISSING)

    async def accepts(self, *, is_again: bool) -> bool:
        await self.judge._look(is_again=is_again)
        return self.judge.accepts("shop")


async def test_what_was_missing_only_at_the_start_is_tried_again_some_times() -> None:
    scene = Scene()
    assert await scene.accepts(is_again=False)
    for _ in range(2):
        scene.refuse()
        assert not await scene.accepts(is_again=False), "not at once: the look may not see what is missing"
        assert await scene.accepts(is_again=True), "the file may be there again"
    scene.refuse()
    assert not await scene.accepts(is_again=True)
    assert not await scene.accepts(is_again=True), "it is tried again after a change"
    scene.store(6)
    assert await scene.accepts(is_again=False)
    scene.refuse()
    assert await scene.accepts(is_again=True)
