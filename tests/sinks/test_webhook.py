"""The sink that posts to a receiver, on a real one."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook as Reference

from ditto.config import Config, Webhook
from ditto.errors import AckTimeout, AnswerUnreadable, NotNow, SinkError, SinkLost, WebhookRefused
from ditto.lsn import Checkpoint, Position
from ditto.sinks.choose import choose_sink
from ditto.sinks.webhook import client
from ditto.sinks.webhook.queue import Request
from ditto.testing.webhook_receiver import Answer, Receiver
from sinks.contract import LSN, TIMEOUT_S, SinkContract, Store, acknowledges, opened
from sinks.messages import PIPELINE, batch, event, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ditto.sinks.base import Sink
    from ditto.testing.webhook_receiver import Taken

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_c2Vjb25kLXNlY3JldC1vZi0zMi1ieXRlcyEhIQ=="


class ReceiverStore(Store):
    def __init__(self, running: Receiver, **options: Any) -> None:
        self.running = running
        self.config = Config(webhook=Webhook(url=running.url, **{"timeout_s": 2.0, "retry_for_s": 0.5, **options}))

    def make(self) -> Sink:
        return choose_sink(self.config)(self.config, clock=time.monotonic)

    def taken(self) -> list[Taken]:
        return self.running.taken()

    async def messages(self) -> list[bytes]:
        found: list[bytes] = []
        for taken in self.taken():
            found += [bytes(each) for each in msgspec.json.decode(taken.body, type=list[msgspec.Raw])]
        return found

    async def break_down(self) -> bool:
        self.running.usual = Answer(503)
        return True


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tmp_path / "taken") as found:
        yield found


@pytest.fixture
def store(running: Receiver) -> Store:
    return ReceiverStore(running)


class TestWebhookSink(SinkContract):
    @pytest.fixture
    def store(self, running: Receiver) -> Store:
        return ReceiverStore(running, secret=SECRET, max_bytes=1 << 16)


def ordinals(taken: Taken) -> list[int]:
    return [each["data"]["id"] for each in json.loads(taken.body)]


async def posted(store: ReceiverStore, count: int, *, size: int = 10) -> None:
    sent = transaction(LSN, count)
    async with opened(store) as sink:
        for first in range(0, count, size):
            await sink.send(batch(sent[first : first + size], first=first + 1, more_follows=True))
        await acknowledges(sink, count)


# ------------------------------------------------------------------------------------- what is posted


async def test_a_request_is_signed_as_the_reference_says(running: Receiver) -> None:
    await posted(ReceiverStore(running, secret=[SECRET, OTHER]), 30)
    for taken in running.taken():
        for secret in (SECRET, OTHER):
            assert Reference(secret).verify(taken.body, taken.headers) == json.loads(taken.body)
        with pytest.raises(Exception, match="No matching signature"):
            Reference("whsec_" + "A" * 32).verify(taken.body, taken.headers)
        assert taken.headers["webhook-signature"].count("v1,") == 2
        assert taken.headers["content-type"] == "application/json"
        assert "." not in taken.headers["webhook-id"]


async def test_without_a_secret_there_is_no_signature(running: Receiver) -> None:
    await posted(ReceiverStore(running), 3)
    (taken,) = running.taken()
    assert "webhook-signature" not in taken.headers
    assert taken.headers["ditto-position"] == str(Position(LSN, 3))


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"token": "t0ken"}, "Bearer t0ken"),
        ({"user": "ditto", "password": "gehe\u00efm:"}, "Basic ZGl0dG86Z2VoZcOvbTo="),
        ({"headers": {"X-Api-Key": "k"}}, None),
    ],
)
async def test_who_sends_it(running: Receiver, options: dict[str, Any], value: str | None) -> None:
    await posted(ReceiverStore(running, **options), 1)
    (taken,) = running.taken()
    assert taken.headers.get("authorization") == value
    assert taken.headers.get("x-api-key") == ("k" if value is None else None)
    assert taken.headers["user-agent"].startswith("ditto/")


async def test_one_request_at_a_time_on_one_connection(running: Receiver) -> None:
    running.usual = Answer(wait_s=0.01)
    await posted(ReceiverStore(running, max_events=7), 200)
    assert running.most_at_once == 1
    assert running.connections == 2, "the look at the start, and the one that is kept"
    assert [each for taken in running.taken() for each in ordinals(taken)] == list(range(1, 201))


@pytest.mark.parametrize("size", [1, 3, 50, 200])
async def test_no_request_is_larger_than_it_may_be(running: Receiver, size: int) -> None:
    running.script.append(Answer(wait_s=0.1))
    await posted(ReceiverStore(running, max_events=20), 200, size=size)
    counts = [len(ordinals(taken)) for taken in running.taken()]
    assert sum(counts) == 200
    assert max(counts[1:-1]) == min(counts[1:-1]) == 20, "what has come meanwhile fills them"


async def test_bytes_are_counted(running: Receiver) -> None:
    running.script.append(Answer(wait_s=0.1))
    await posted(ReceiverStore(running, max_bytes=1024), 100)
    sizes = [len(taken.body) for taken in running.taken()]
    assert max(sizes) <= 1024
    assert max(sizes) > 700


async def test_what_lingers_waits_for_more(running: Receiver) -> None:
    store = ReceiverStore(running, linger_s=30.0, max_events=5)
    async with opened(store) as sink, asyncio.timeout(TIMEOUT_S):
        sent = transaction(LSN, 12)
        for number in range(4):
            await sink.send(batch(sent[number : number + 1], first=number + 1, is_urgent=False))
            await asyncio.sleep(0.01)
        assert running.taken() == []
        await sink.send(batch(sent[4:7], first=5, is_urgent=False))
        assert await sink.acknowledged() == 5
        await sink.flush()
        assert await sink.acknowledged() == 7
        await sink.send(batch(sent[7:8], first=8, is_urgent=True))
        assert await sink.acknowledged() == 8
    assert [len(ordinals(taken)) for taken in running.taken()] == [5, 2, 1]


async def test_a_linger_that_is_over(running: Receiver) -> None:
    async with opened(ReceiverStore(running, linger_s=0.05)) as sink:
        await sink.send(batch(transaction(LSN, 2), first=1, is_urgent=False))
        await acknowledges(sink, 2)


async def test_checkpoints_are_not_posted(running: Receiver) -> None:
    async with opened(ReceiverStore(running)) as sink:
        await sink.checkpoints.save(Checkpoint(LSN), number=1)
        await acknowledges(sink, 1)
        running.script.append(Answer(wait_s=0.1))
        await sink.send(batch(transaction(LSN, 2), first=2))
        await sink.checkpoints.save(Checkpoint(LSN + 8), number=4)
        await acknowledges(sink, 4)
    assert len(running.taken()) == 1


async def test_a_body_is_given_up_once_it_is_taken(running: Receiver) -> None:
    """At once: the collector of garbage runs rarely."""
    gc.collect()
    gc.disable()
    try:
        async with opened(ReceiverStore(running)) as sink:
            await sink.send(batch(transaction(LSN, 500), first=1))
            await acknowledges(sink, 500)
            bodies = [each for each in gc.get_objects() if isinstance(each, Request)]
            assert bodies == []
    finally:
        gc.enable()


async def test_lines(running: Receiver) -> None:
    await posted(ReceiverStore(running, body="ndjson"), 3)
    (taken,) = running.taken()
    assert taken.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["data"]["id"] for line in taken.body.splitlines()] == [1, 2, 3]
    assert taken.body.endswith(b"}\n")


async def test_a_body_of_many_megabytes(running: Receiver) -> None:
    async with opened(ReceiverStore(running, max_bytes=16 << 20)) as sink:
        position = Position(LSN, 1)
        await sink.send(batch([(position, event(position, text="x" * (5 << 20)))], first=1))
        await acknowledges(sink, 1)
    (taken,) = running.taken()
    assert len(json.loads(taken.body)[0]["data"]["text"]) == 5 << 20


# ------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500),
        Answer(503, body=b"x" * 200_000),
        Answer(429),
        Answer(408),
        Answer(is_cut=True, is_taken=False),
        Answer(is_cut=True, is_taken=True),
        Answer(read_bytes=100),
        Answer(raw=b"SSH-2.0-OpenSSH\r\n", is_taken=False),
    ],
    ids=["500", "503", "429", "408", "cut", "taken and cut", "cut in the middle", "no http"],
)
async def test_it_is_tried_again_the_same(running: Receiver, answer: Answer) -> None:
    running.script += [Answer(), answer, answer]
    await posted(ReceiverStore(running, max_events=50, secret=SECRET, retry_for_s=10.0), 200)
    found = running.taken()
    first = {taken.headers["webhook-id"]: taken for taken in reversed(found)}
    assert [each for taken in reversed(first.values()) for each in ordinals(taken)] == list(range(1, 201))
    assert all(taken.body == first[taken.headers["webhook-id"]].body for taken in found)
    ids = [headers["webhook-id"] for headers in running.requests]
    assert ids[1] == ids[2] == ids[3], "a retry has the same id"


async def test_a_receiver_that_hangs(running: Receiver) -> None:
    running.script.append(Answer(wait_s=5))
    await posted(ReceiverStore(running, timeout_s=0.2, retry_for_s=5.0), 5)
    assert len({headers["webhook-id"] for headers in running.requests}) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(500), NotNow),
        (Answer(429), NotNow),
        (Answer(504), AckTimeout),
        (Answer(wait_s=5), AckTimeout),
        (Answer(is_cut=True), SinkLost),
        (Answer(raw=b"SSH-2.0-OpenSSH\r\n"), AnswerUnreadable),
        (Answer(400), WebhookRefused),
        (Answer(401), WebhookRefused),
        (Answer(410), WebhookRefused),
        (Answer(413), WebhookRefused),
        (Answer(302, {"Location": "http://127.0.0.1:1/"}), WebhookRefused),
        (Answer(307, {"Location": "/elsewhere"}), WebhookRefused),
    ],
    ids=str,
)
async def test_what_ends_the_session(running: Receiver, answer: Answer, kind: type[SinkError]) -> None:
    running.usual = answer
    async with opened(ReceiverStore(running, timeout_s=0.3, retry_for_s=0.4)) as sink:
        await sink.send(batch(transaction(LSN, 2), first=1))
        with pytest.raises(kind) as caught:
            await asyncio.wait_for(sink.acknowledged(), TIMEOUT_S)
    assert caught.value.hint
    assert caught.value.is_retryable is (kind is not WebhookRefused)
    assert "/events" not in caught.value.message, "the path may be a secret"
    assert {headers[":path"] for headers in running.requests} == {"/events"}, "no redirect is followed"
    if kind is WebhookRefused:
        assert len(running.requests) == 1


async def test_retry_after_is_honoured(running: Receiver) -> None:
    running.script.append(Answer(429, {"Retry-After": "1"}))
    await posted(ReceiverStore(running, retry_for_s=5.0), 5)
    first, second = (float(headers[":at"]) for headers in running.requests)
    assert second - first >= 1


async def test_a_long_wait_is_left_to_the_loop_of_sessions(running: Receiver) -> None:
    running.usual = Answer(503, {"Retry-After": "120"})
    async with opened(ReceiverStore(running)) as sink:
        await sink.send(batch(transaction(LSN, 2), first=1))
        with pytest.raises(NotNow, match="asks to wait 120 s") as caught:
            await asyncio.wait_for(sink.acknowledged(), TIMEOUT_S)
    assert caught.value.retry_after_s == 120
    assert len(running.requests) == 1


async def test_a_port_that_takes_no_connection(monkeypatch: pytest.MonkeyPatch, running: Receiver) -> None:
    """It waits for a request in plain text, and not for TLS."""
    monkeypatch.setattr(client, "CONNECT_TIMEOUT_S", 0.2)
    store = ReceiverStore(running)
    store.config = Config(webhook=Webhook(url=running.url.replace("http:", "https:")))
    sink = store.make()
    with pytest.raises(SinkLost, match=r"took no connection within 0.2 s") as caught:
        await sink.connect()
    assert "does the port do TLS, as https:// says" in str(caught.value.hint)
    await sink.close()


async def test_nobody_listens(running: Receiver) -> None:
    store = ReceiverStore(running)
    store.config = Config(webhook=Webhook(url="http://127.0.0.1:1/"))
    sink = store.make()
    with pytest.raises(SinkLost, match=r"cannot reach webhook http.*: Connection refused"):
        await sink.connect()
    await sink.close()


async def test_a_process_that_stood_still_posts_nothing_more(running: Receiver) -> None:
    now = [0.0]
    store = ReceiverStore(running)
    sink = choose_sink(store.config)(store.config, clock=lambda: now[0])
    try:
        await sink.connect()
        await sink.open(PIPELINE)
        now[0] = 11.0
        await sink.send(batch(transaction(LSN, 2), first=1))
        with pytest.raises(SinkLost, match="stood still for 11 s"):
            await asyncio.wait_for(sink.acknowledged(), TIMEOUT_S)
    finally:
        await sink.close()
    assert running.requests == []
