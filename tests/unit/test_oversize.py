"""Events that are too large: which columns are left out of them, what refers to the whole one, and that order stays."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.decoding.change import Change, DetailedChange, Meta, ReadRow, SnapshotMark, StoredObject
from ditto.decoding.messages import Block
from ditto.formats.ditto import DittoFormat
from ditto.formats.snapshot_events import read_mark
from ditto.monitoring.counters import Counters
from ditto.pipeline.oversize import _HEADER_ROOM, Oversize, column_sizes

if TYPE_CHECKING:
    from ditto.formats.payloads import Payloads

LIMIT = 400


class Store:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def put(self, name: str, data: memoryview) -> StoredObject:
        self.objects[name] = bytes(data)
        return StoredObject("b", name, len(data), "SHA-256=x")


def change(number: int, data: dict[str, Any], old: dict[str, Any] | None = None, **more: Any) -> Change:
    kind = ReadRow if "snapshot" in more else DetailedChange if more else Change
    return kind(
        id=f"id-{number}",
        schema="s",
        table="t",
        action="UPDATE",
        data=data,
        data_old=old or {},
        commit_time="T",
        **more,
    )


async def fitted(*changes: Change, store: Store | None = None, limit: int = LIMIT) -> list[dict[str, Any]]:
    block = Block(list(changes), [b"r"] * len(changes), [1] * len(changes), list(range(1, len(changes) + 1)))
    counters = Counters()
    oversize = Oversize(
        DittoFormat(), max_bytes=limit + _HEADER_ROOM, keys={("s", "t"): ("id",)}, store=store, counters=counters
    )
    found, payloads = await oversize.fit(block, DittoFormat().encode(block))
    events = read(payloads)
    assert [msgspec_id(each) for each in found.changes] == [each["id"] for each in events]
    assert counters.oversize == sum("stripped" in each or "object" in each for each in events)
    return events


def read(payloads: Payloads) -> list[dict[str, Any]]:
    return [json.loads(bytes(each)) for each in payloads.each()]


def msgspec_id(given: Change) -> str:
    return given.id


async def test_what_fits_stays_as_it_is() -> None:
    block = Block([change(1, {"id": 1})], [b"r"], [1], [1])
    payloads = DittoFormat().encode(block)
    oversize = Oversize(DittoFormat(), max_bytes=5000, keys={}, store=None, counters=Counters())
    assert await oversize.fit(block, payloads) == (block, payloads)


async def test_as_few_columns_as_have_to_be_are_left_out() -> None:
    row = {"id": 1, "a": "x" * 50, "b": "y" * 300, "c": "z" * 200}
    (event,) = await fitted(change(1, row))
    assert event["stripped"] == ["b"]
    assert event["data"] == {"id": 1, "a": "x" * 50, "c": "z" * 200}
    (event,) = await fitted(change(1, row, {"id": 1, "c": "z" * 200}))
    assert event["stripped"] == ["c", "b"], "the old value counts, too"
    assert (event["data"], event["dataOld"]) == ({"id": 1, "a": "x" * 50}, {"id": 1})


def test_an_array_of_messagepack_is_as_large_as_its_bytes() -> None:
    """The compiled decoder has made them by then, its twin has a list."""
    array = ["x" * 40] * 3
    made = msgspec.Raw(msgspec.msgpack.encode(array))
    compiled, plain = (column_sizes(change(1, {"a": each}), (), msgspec.msgpack.encode) for each in (made, array))
    assert compiled == plain


async def test_a_key_is_never_left_out() -> None:
    (event,) = await fitted(change(1, {"id": "k" * 500, "a": 1}))
    assert event["data"] == {"id": "k" * 500, "a": 1}, "the sink refuses it"


async def test_the_others_stay_where_they_are() -> None:
    events = await fitted(
        change(1, {"id": 1}), change(2, {"id": 2, "a": "x" * 900}), change(3, {"id": 3, "b": None}), store=Store()
    )
    assert [each["data"] for each in events] == [{"id": 1}, {"id": 2}, {"id": 3, "b": None}]
    assert [list(each)[-1] for each in events] == ["commitTime", "object", "commitTime"]


async def test_the_object_is_the_whole_event() -> None:
    store = Store()
    whole = change(1, {"id": 1, "a": "x" * 900}, {"id": 0}, meta=Meta(ordinal=3))
    (event,) = await fitted(whole, store=store)
    assert event["object"] == {"bucket": "b", "name": "id-1", "size": len(store.objects["id-1"]), "digest": "SHA-256=x"}
    assert json.loads(store.objects["id-1"]) == {
        **{name: value for name, value in event.items() if name != "object"},
        "data": {"id": 1, "a": "x" * 900},
    }
    assert event["meta"] == {"ordinal": 3}


async def test_what_is_said_about_a_column_goes_with_it() -> None:
    (event,) = await fitted(
        change(1, {"id": 1, "j": None, "k": None, "a": "x" * 900, "b": "y" * 300}, json_null=["j"], unchanged=["u"])
    )
    assert (event["jsonNull"], event["unchanged"]) == (["j"], ["u"])


async def test_the_mark_of_a_snapshot_stays_the_last_field() -> None:
    mark = SnapshotMark("r", ["7"])
    row = change(1, {"id": 1, "a": "x" * 900}, snapshot=mark)
    block = Block([row], [b"r"], [1], [1])
    oversize = Oversize(
        DittoFormat(), max_bytes=LIMIT + _HEADER_ROOM, keys={("s", "t"): ("id",)}, store=None, counters=Counters()
    )
    _, payloads = await oversize.fit(block, DittoFormat().encode(block))
    assert read_mark(next(bytes(each) for each in payloads.each())) == mark


@pytest.mark.parametrize("with_store", [True, False])
@given(sizes=st.lists(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 500), max_size=6), max_size=8))
def test_each_fits_and_says_what_is_missing(sizes: list[dict[str, int]], *, with_store: bool) -> None:
    changes = [
        change(number, {"id": number, **{name: "v" * size for name, size in each.items()}})
        for number, each in enumerate(sizes)
    ]
    store = Store() if with_store else None
    events = asyncio.run(fitted(*changes, store=store))
    for given_change, event in zip(changes, events, strict=True):
        assert len(json.dumps(event, separators=(",", ":"))) <= LIMIT
        missing = given_change.data.keys() - event["data"].keys()
        assert set(event.get("stripped", missing if with_store else ())) == missing
        if store is not None and "object" in event:
            assert json.loads(store.objects[event["id"]])["data"] == given_change.data


@pytest.mark.parametrize(("headers", "key"), [(2000, 0), (0, 700), (900, 300)])
@pytest.mark.parametrize("spare", [0, 1])
async def test_headers_and_keys_need_room_too(headers: int, key: int, spare: int) -> None:
    row = change(1, {"id": 1, "large": "x" * 3000})
    payloads = DittoFormat().encode(Block([row], [b"r"], [1], [1]))
    block = Block([row], [b"r"], [1], [1], headers=[b"x" * headers], keys=[b"%" * key or None])
    needed = payloads.ends[-1] + _HEADER_ROOM + headers + 3 * key
    oversize = Oversize(
        DittoFormat(), max_bytes=needed - 1 + spare, keys={("s", "t"): ("id",)}, store=None, counters=Counters()
    )
    _, found = await oversize.fit(block, payloads)
    assert ("stripped" in read(found)[0]) is (not spare)
