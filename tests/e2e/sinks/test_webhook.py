"""`ditto run` that posts to a receiver."""

from __future__ import annotations

import json
import random
import signal
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from standardwebhooks.webhooks import Webhook as Reference

from ditto.testing.process import free_port
from ditto.testing.webhook_receiver import Answer, Receiver
from e2e.certificates import Authority
from e2e.faults.test_answered_events import counted
from e2e.kills import killed_at_random
from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually
from e2e.proxy import Proxy
from e2e.sinks.webhook_world import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.process import DittoProcess
    from e2e.sinks.webhook_world import ReceiverProcess, WebhookWorld

ROWS = 20_000


async def test_the_requests_against_the_tables(webhook_world: WebhookWorld) -> None:
    world = webhook_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text, doc json)")
    ditto = await world.streaming()
    world.sql(
        "INSERT INTO t SELECT n, 'row ' || n, json_build_object('n', n) FROM generate_series(1, 2000) AS n",
        "UPDATE t SET name = E'two\\nlines' WHERE id % 2 = 0",
        "DELETE FROM t WHERE id % 5 = 0",
    )
    await world.fence()
    await world.matches_tables(event_count=2000 + 1000 + 400)
    world.sql('INSERT INTO t VALUES (9001, NULL, E\'{\\n  "a": [1,\\r\\n 2],\\r "b": "c"}\')')
    await world.fence()
    docs = [message.event["data"].get("doc") for message in await world.messages() if message.change[2] == 9001]
    assert docs == [{"a": [1, 2], "b": "c"}]
    taken = world.taken()
    assert world.rewinds() == 0
    assert max(len(json.loads(each.body)) for each in taken) <= 500
    assert len({each.headers["webhook-id"] for each in taken}) == len(taken)
    for each in taken:
        Reference(SECRET).verify(each.body, each.headers)
    assert await ditto.stop() == 0
    assert SECRET not in ditto.output
    assert "/events" not in ditto.output


async def test_after_a_stop_the_last_transaction_comes_again(webhook_world: WebhookWorld) -> None:
    """At most that, where the session before had confirmed all that was taken."""
    world = webhook_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    for first in (1, 101, 201):
        ditto = await world.streaming()
        for row in range(first, first + 20):
            world.sql(f"INSERT INTO t VALUES ({row})")
        await world.fence()
        assert await ditto.stop() == 0
    raw = world.raw()
    twice = {line for line in raw if raw.count(line) > 1}
    assert all(b'"table":"fence"' in line for line in twice), "the last one of each session"
    await world.matches_tables()


@pytest.mark.parametrize("kill_count", [2, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_killed_at_random_moments(process_world: WebhookWorld, kill_count: int) -> None:
    world, chance = process_world, random.Random(kill_count)
    ditto = await world.streaming()
    with Ledger(world, seed=kill_count) as ledger:
        ditto = await killed_at_random(
            world, ditto, lambda _: ledger.goes_on(chance.randint(5, 40)), count=kill_count, chance=chance
        )
    await matches_ledger(world)
    assert world.rewinds() <= kill_count, "events come again after a kill, and at no other time"
    assert await ditto.stop() == 0


async def test_killed_in_the_middle_of_a_big_transaction(process_world: WebhookWorld) -> None:
    world = process_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    ditto = await world.streaming()
    world.sql(f"INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, {ROWS}) AS n")
    await eventually(lambda: len(world.taken()) >= 3, "some of it is taken")
    ditto.kill()
    assert len(world.lines()) < ROWS, "the kill came too late to test anything"
    await world.streaming()
    await world.fence(timeout_s=60)
    assert [event.change[2] for event in await world.events()] == list(range(1, ROWS + 1))
    assert world.rewinds() == 1, "it came again from its beginning"


@pytest.mark.parametrize("kill_count", [1, pytest.param(5, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def test_the_receiver_is_killed(
    process_world: WebhookWorld, receiver_process: ReceiverProcess, kill_count: int
) -> None:
    world = process_world
    ditto = await world.streaming(webhook_retry_for="1s")

    def noticed() -> int:
        return len(ditto.logs("webhook.retrying")) + len(ditto.logs("session.failed"))

    with Ledger(world, seed=kill_count) as ledger:
        for _ in range(kill_count):
            await ledger.goes_on(20)
            before = noticed()
            receiver_process.process.end(signal.SIGKILL)
            await eventually(lambda: noticed() > before, "Ditto has noticed")  # noqa: B023
            receiver_process.start(last_signal=signal.SIGKILL)
            await world.fence(timeout_s=60)
    await matches_ledger(world)
    assert ditto.is_running


async def test_the_receiver_is_frozen(process_world: WebhookWorld, receiver_process: ReceiverProcess) -> None:
    world = process_world
    ditto = await world.streaming(webhook_timeout="500ms", webhook_retry_for="1s")
    with Ledger(world) as ledger:
        await ledger.goes_on(10)
        receiver_process.process.suspend()
        failure = await ditto.logged("session.failed")
        receiver_process.process.send(signal.SIGCONT)
        await ledger.goes_on(10)
    assert failure["kind"] == "AckTimeout"
    await matches_ledger(world)


async def test_a_receiver_that_fails_in_every_way(webhook_world: WebhookWorld, receiver: Receiver) -> None:
    world, chance = webhook_world, random.Random(1)
    kinds = [
        Answer(429, {"Retry-After": "0"}),
        Answer(500),
        Answer(503, is_taken=True),
        Answer(is_cut=True),
        Answer(is_cut=True, is_taken=False),
        Answer(read_bytes=10),
        Answer(wait_s=1.0),
        Answer(wait_s=0.05),
    ]
    port = free_port()
    settings = {"webhook_timeout": "500ms", "webhook_retry_for": "5s", "webhook_max_events": "20"}
    ditto = await world.streaming(http_listen=f"127.0.0.1:{port}", **settings)
    with Ledger(world) as ledger:
        for _ in range(12):
            receiver.script += [chance.choice(kinds), Answer()]
            await ledger.goes_on(3)
            await eventually(lambda: not receiver.script, "all have been used")
    await matches_ledger(world)
    assert len(ditto.logs("webhook.retrying")) > 0
    assert counted(port, "ditto_sink_retries_total") == len(ditto.logs("webhook.retrying"))


async def test_a_receiver_that_is_down_is_waited_for(webhook_world: WebhookWorld, receiver: Receiver) -> None:
    """The state says why, memory stays as it is, and the slot keeps the events."""
    world = webhook_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    ditto = await world.streaming(webhook_retry_for="200ms")
    await world.fence()
    receiver.usual = Answer(503)
    rss_bytes = ditto.rss_bytes
    world.sql("INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 20000) AS n")
    failure = await ditto.logged("session.failed", count=3, timeout_s=60)
    assert failure["kind"] == "NotNow"
    assert "answered 503 Service Unavailable" in failure["error"]
    assert failure["retained_bytes"] > 0
    assert ditto.rss_bytes < rss_bytes + (120 << 20)
    receiver.usual = Answer()
    await world.fence(timeout_s=60)
    await world.matches_tables(event_count=20_000)


async def test_a_long_retry_after_is_waited_for_between_sessions(
    webhook_world: WebhookWorld, receiver: Receiver
) -> None:
    world = webhook_world
    ditto = await world.streaming()
    receiver.script.append(Answer(429, {"Retry-After": "4"}))
    world.sql("INSERT INTO fence DEFAULT VALUES")
    failure = await ditto.logged("session.failed")
    assert 3 < failure["retry_in_s"] <= 4
    came = len(receiver.requests)
    await world.fence()
    asked, after = (float(headers[":at"]) for headers in receiver.requests[came - 1 : came + 1])
    assert after - asked >= 3.9


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(400), "answered 400 Bad Request\n  hint: see the receiver's log: it does not take the body"),
        (Answer(410), "answered 410 Gone\n  hint: the receiver wants no more events"),
        (Answer(301, {"Location": "/x"}), "answered 301 Moved Permanently\n  hint: redirects are not followed"),
    ],
    ids=["400", "410", "301"],
)
async def test_a_refusal_stops_it(webhook_world: WebhookWorld, receiver: Receiver, answer: Answer, words: str) -> None:
    world = webhook_world
    ditto = await world.streaming()
    receiver.usual = answer
    world.sql("INSERT INTO fence DEFAULT VALUES")
    assert await ditto.ended() == 4
    assert words in ditto.sentence()
    assert len({headers["webhook-id"] for headers in receiver.requests}) == len(receiver.requests)
    receiver.usual = Answer()
    await world.streaming()
    await world.fence()
    await world.matches_tables()


async def test_an_event_that_no_request_can_hold(webhook_world: WebhookWorld) -> None:
    world = webhook_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    ditto = await world.streaming(webhook_max_bytes="8kB")
    world.sql("INSERT INTO t VALUES (1, 'x')", "INSERT INTO t VALUES (2, repeat('x', 9000))")
    assert await ditto.ended() == 4
    assert "hint: raise webhook.max_bytes, and with it the receiver's limit" in ditto.sentence()
    await world.streaming(webhook_max_bytes="8kB", events_oversize="strip")
    (first, second) = await world.events()
    assert (first.event["data"], second.event["data"]) == ({"id": 1, "name": "x"}, {"id": 2})
    assert second.event["stripped"] == ["name"]


async def test_the_second_takes_over(process_world: WebhookWorld) -> None:
    world = process_world
    first = await world.streaming()
    second = world.ditto()
    await second.logged("slot.standby")
    with Ledger(world) as ledger:
        await ledger.goes_on(20)
        first.kill()
        await second.streaming(timeout_s=30)
        await ledger.goes_on(20)
    await matches_ledger(world)
    assert world.rewinds() <= 1


@pytest.mark.long
async def test_a_frozen_one_posts_nothing_when_it_thaws(webhook_world: WebhookWorld, receiver: Receiver) -> None:
    """It stood still for longer than a takeover takes: what waits in it has been posted by another one."""
    world = webhook_world
    first = await world.streaming()
    second = world.ditto()
    await second.logged("slot.standby")
    with Ledger(world) as ledger:
        await ledger.goes_on(10)
        receiver.usual = Answer(wait_s=0.3)  # so that something waits
        await ledger.goes_on(20)
        first.send(signal.SIGSTOP)
        frozen_at = time.monotonic()
        await world.ends_walsender()
        await second.streaming(timeout_s=30)
        receiver.usual = Answer()
        await eventually(lambda: time.monotonic() > frozen_at + 11, "it was frozen for long")
        await ledger.goes_on(10)
        first.send(signal.SIGCONT)
        await first.logged("session.failed")
        await ledger.goes_on(10)
    await matches_ledger(world)
    assert world.rewinds() <= 1, "at the takeover alone"


# ------------------------------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def _tls(authority: Authority, *names: str, wants_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    pair = authority.issue(*names, for_server=False)
    context.load_cert_chain(pair.cert, pair.key)
    if wants_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.file)
    return context


@pytest.fixture
def secure(tmp_path: Path, authority: Authority) -> Iterator[Receiver]:
    tls = _tls(authority, "127.0.0.1", wants_certificate=True)
    with Receiver(tmp_path / "taken", tls=tls) as found:
        yield found


async def test_a_certificate_at_either_end(webhook_world: WebhookWorld, secure: Receiver, authority: Authority) -> None:
    world = webhook_world
    pair = authority.issue(user="ditto", for_server=False)
    settings = {
        "webhook_url": secure.url,
        "webhook_tls_ca": str(authority.file),
        "webhook_tls_cert": str(pair.cert),
        "webhook_tls_key": str(pair.key),
        "webhook_token": "t0ken-of-a-test",
        "webhook_headers": {"X-Tenant": "acme-and-sons"},
    }
    ditto = await world.streaming(**settings)
    await world.fence()
    (taken, *_) = world.taken()
    assert taken.headers["authorization"] == "Bearer t0ken-of-a-test"
    assert taken.headers["x-tenant"] == "acme-and-sons"
    assert await ditto.stop() == 0
    for secret in ("t0ken-of-a-test", "acme-and-sons", SECRET):
        assert secret not in ditto.output


@pytest.fixture
def plain() -> Iterator[int]:
    """The port of a server that answers in plain text, whatever comes."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_a_proxy_that_speaks_otherwise_for_a_while(
    webhook_world: WebhookWorld, receiver: Receiver, secure: Receiver, plain: int, authority: Authority, scheme: str
) -> None:
    """Not for good, though the session is a new one that has posted nothing yet."""
    world = webhook_world
    pair = authority.issue(user="ditto", for_server=False)
    tls = {
        "webhook_tls_ca": str(authority.file),
        "webhook_tls_cert": str(pair.cert),
        "webhook_tls_key": str(pair.key),
    }
    usual, other, settings = (secure, plain, tls) if scheme == "https" else (receiver, secure.port, {})
    world.taken_file = usual.file
    async with Proxy(usual.port) as proxy:
        ditto = await world.streaming(webhook_url=f"{scheme}://127.0.0.1:{proxy.port}/events", **settings)
        await world.fence()
        await world.ends_walsender()
        await ditto.streaming(count=2)
        proxy.target_port = other
        proxy.cut()  # the last transaction may have been posted again by now
        world.sql("INSERT INTO fence DEFAULT VALUES")
        await ditto.logged("webhook.retrying")
        proxy.target_port = usual.port
        await world.fence()
    assert await ditto.stop() == 0


async def _stops(ditto: DittoProcess) -> str:
    assert await ditto.ended() == 4
    return ditto.sentence()


async def test_certificates_that_are_refused(
    webhook_world: WebhookWorld, secure: Receiver, plain: int, authority: Authority
) -> None:
    world = webhook_world
    said = await _stops(world.ditto(webhook_url=secure.url))
    assert "the server's certificate is refused: " in said
    assert "webhook.tls.ca" in said
    url = secure.url.replace("127.0.0.1", "localhost")
    said = await _stops(world.ditto(webhook_url=url, webhook_tls_ca=str(authority.file)))
    assert "the server's certificate is refused: Hostname mismatch" in said
    said = await _stops(world.ditto(webhook_url=secure.url, webhook_tls_ca=str(authority.file)))
    assert "the receiver wants a certificate from the client" in said
    said = await _stops(world.ditto(webhook_url=f"https://127.0.0.1:{plain}"))
    assert "does no TLS" in said
    assert "webhook.url begin with http://" in said
    ditto = await world.streaming(webhook_url=secure.url.replace("https:", "http:"))
    world.sql("INSERT INTO fence DEFAULT VALUES")
    said = await _stops(ditto)
    assert "does TLS, and Ditto came without" in said
    assert "webhook.url begin with https://" in said
    assert secure.requests == []
