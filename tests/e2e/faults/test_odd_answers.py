"""Answers of NATS that are not as they should be: an error that is tried again, and that names the request."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import nats
import pytest

from e2e.proxy import Proxy
from e2e.setup.test_permissions import command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.msg import Msg

    from ditto.testing.servers import NatsServer
    from e2e.world import World

DOMAIN = "odd"
"""Of which JetStream knows nothing: the test answers for it."""


@asynccontextmanager
async def forwarding(
    server: NatsServer, odd: dict[str, Any], *, updates: list[dict[str, Any]] | None = None
) -> AsyncIterator[None]:
    """Hand on every request for the domain to JetStream, and its answers, but for those that `odd` names by a part of
    their subject. It gives the answer: bytes, the fields that replace those of the right one, or a function of it.
    `updates` gets what STREAM.UPDATE is asked for; nats-server does not see the field `future` in it.
    """
    client = await nats.connect(server.url, allow_reconnect=False)

    async def answer(message: Msg) -> None:
        rest = message.subject.removeprefix(f"$JS.{DOMAIN}.API.")
        subject = rest if rest.startswith("$KV.") else f"$JS.API.{rest}"
        body = message.data
        if "STREAM.UPDATE" in subject and updates is not None:
            updates.append(json.loads(body))
            body = json.dumps({name: each for name, each in updates[-1].items() if name != "future"}).encode()
        if "CONSUMER.MSG.NEXT" in subject:  # it has many answers, which go to whoever asks
            await client.publish(subject, body, reply=message.reply)
            return
        right = await client.request(subject, body, timeout=5, headers=message.headers)
        wrong = next((each for part, each in odd.items() if part in message.subject), right.data)
        if callable(wrong):
            wrong = json.dumps(wrong(json.loads(right.data))).encode()
        elif isinstance(wrong, dict):
            wrong = json.dumps({**json.loads(right.data), **wrong}).encode()
        await message.respond(wrong)

    await client.subscribe(f"$JS.{DOMAIN}.API.>", cb=answer)
    await client.flush()
    try:
        yield
    finally:
        await client.close()


METADATA = "ditto.start-lsn"


def bad_lsn(answer: dict[str, Any]) -> dict[str, Any]:
    answer["config"]["metadata"][METADATA] = "nonsense"
    return answer


@pytest.mark.parametrize(
    ("part", "answer", "named"),
    [
        pytest.param("API.INFO", b"nonsense", "API.INFO", id="account info not in JSON", marks=pytest.mark.long),
        pytest.param("API.INFO", {"storage": "much"}, "API.INFO", id="account info of another form"),
        pytest.param("STREAM.INFO", {"state": None}, "API.STREAM.INFO", id="no state"),
        pytest.param(
            "STREAM.INFO",
            {"config": {"subjects": 5}},
            "configuration",
            id="subjects that are no list",
            marks=pytest.mark.long,
        ),
        pytest.param("STREAM.INFO", {"error": "no"}, "API.STREAM.INFO", id="an error of another form"),
        pytest.param(
            "STREAM.INFO",
            {"state": {"last_seq": 1}},
            "API.STREAM.INFO",
            id="a part of the state",
            marks=pytest.mark.long,
        ),
        pytest.param("STREAM.MSG.GET", {"message": {"hdrs": "!"}}, "API.STREAM.MSG.GET", id="headers not in base64"),
        pytest.param("STREAM.INFO", bad_lsn, "metadata", id="metadata"),
    ],
)
async def test_an_odd_answer_is_tried_again(world: World, part: str, answer: object, named: str) -> None:
    odd: dict[str, Any] = {}
    settings = {"nats_domain": DOMAIN}
    async with forwarding(world.nats_server, odd):
        before = await world.streaming(**settings)
        world.sql("INSERT INTO fence DEFAULT VALUES")
        await world.holds(1)
        before.kill()
        await world.slot_is_free()
        odd[part] = answer
        ditto = world.ditto(**settings)
        failure = await ditto.logged("session.failed", timeout_s=30)
        assert failure["kind"] == "AnswerUnreadable"
        assert named in failure["error"]
        assert failure["hint"]
        for name in ("check", "status"):
            ended = await command(world, name, **settings)  # which fails where it says "unexpected"
            assert named in ended.output or (name, named) == ("status", "metadata")
        odd.clear()
        await ditto.streaming(timeout_s=30)
        assert len(await world.events()) == 0


@pytest.mark.parametrize("answer", [{"name": 5}, {"config": 5}, {"num_pending": "many"}])
async def test_an_odd_answer_about_a_consumer(world: World, answer: object) -> None:
    odd: dict[str, Any] = {"CONSUMER.CREATE": answer}
    async with forwarding(world.nats_server, odd):
        await world.streaming(nats_domain=DOMAIN)
        world.sql("INSERT INTO fence DEFAULT VALUES")
        await world.holds(1)
        for arguments in (("tail", "--no-follow", "--last", "5"), ("verify",)):
            ended = await command(world, *arguments, nats_domain=DOMAIN)  # which fails where it says "unexpected"
            assert ended.code in {0, 4}, ended.output


async def test_an_odd_answer_about_the_lease(world: World) -> None:
    """Ditto goes on without the lease, and writes it once it can."""
    odd: dict[str, Any] = {"KV_ditto_leases": b"[]", "$KV": b"+OK"}
    async with forwarding(world.nats_server, odd):
        ditto = await world.streaming(nats_domain=DOMAIN, delivery_lease_ttl="1500ms")
        lacking = await ditto.logged("lease.unavailable")
        assert "$KV" in lacking["reason"] or "KV_ditto_leases" in lacking["reason"]
        ended = await command(world, "status", nats_domain=DOMAIN)
        assert "not seen" in ended.output
        odd.clear()
        assert len(await world.events()) == 0
        assert not ditto.logs("session.failed")


@pytest.mark.parametrize(
    ("before", "after", "is_usable"),
    [
        (b'"version":"2.', b'"version":"v2.', True),
        (b'"version":"2.15.1"', b'"version":"2.15"', True),
        (b'"version":"2.15.1"', b'"version":"latest"', False),
        (b'"max_payload":1048576', b'"max_payload":"lots"', False),
        (b'"server_id":', b"server_id:", False),
    ],
)
async def test_what_a_server_says_of_itself(world: World, before: bytes, after: bytes, is_usable: bool) -> None:
    async with Proxy(world.nats_server.port) as proxy:
        proxy.replaced = (before, after)
        ditto = world.ditto(nats_url=f"nats://127.0.0.1:{proxy.port}")
        if is_usable:
            await ditto.streaming()
        else:
            failure = await ditto.logged("session.failed")
            assert "INFO" in failure["error"] or "info message" in failure["error"]
            assert failure["kind"] in {"AnswerUnreadable", "SinkLost"}


async def test_settings_that_ditto_does_not_know_survive_its_updates(world: World) -> None:
    """Those that this nats-server has, and one of a later one."""
    theirs = {
        "description": "theirs",
        "compression": "s2",
        "max_msg_size": 1_000_000,
        "duplicate_window": 60_000_000_000,
        "consumer_limits": {"max_ack_pending": 7},
        "republish": {"src": ">", "dest": f"{world.name}_again.>"},
        "metadata": {"theirs": "kept"},
    }
    subjects = [world.fence_subject, f"{world.name}.>"]
    future = {"of": {"a": ["later", 1]}}
    async with world.jetstream() as jetstream:
        request = {"name": world.stream, "subjects": subjects, "storage": "file", "discard": "new", **theirs}
        await jetstream._api_request(f"$JS.API.STREAM.CREATE.{world.stream}", json.dumps(request).encode())

    def with_future(answer: dict[str, Any]) -> dict[str, Any]:
        answer["config"]["future"] = future
        return answer

    updates: list[dict[str, Any]] = []
    async with forwarding(world.nats_server, {"STREAM.INFO": with_future}, updates=updates):
        ditto = await world.streaming(nats_domain=DOMAIN)
        world.sql("INSERT INTO fence DEFAULT VALUES")
        await world.holds(1)
        assert await ditto.stop() == 0
    assert updates
    assert all(update["future"] == future for update in updates)
    async with world.jetstream() as jetstream:
        after = (await jetstream._api_request(f"$JS.API.STREAM.INFO.{world.stream}", b""))["config"]
    for name, setting in theirs.items():
        assert after[name].items() >= setting.items() if isinstance(setting, dict) else after[name] == setting
