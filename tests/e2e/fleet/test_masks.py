"""A masked or excluded value is in no answer of a fleet: API, metrics, console, and the live tail of what is stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx

from e2e.fleet.fleet import Fleet, document

if TYPE_CHECKING:
    from e2e.world import World

CLEAR = "Xq7SecretValue"
"""The beginning of every value that has to stay in the database."""
KEY = "sesame-key-of-masks"
RULES: dict[str, Any] = {
    "actions": ["insert", "update", "delete"],
    "columns": {"exclude": ["note"], "mask": {"email": {"hash": "hmac-sha256", "key": "${MASK_KEY}"}}},
    "when": "row.n > 0 || int(row.email) > 0",
    "on_error": "keep",
    "subject": "{prefix}.{table}.{data.email}",
    "headers": {"who": "{data.email}"},
    "key": ["email"],
}
PIPELINE = "/v1/pipelines/shop"
PATHS = (
    *("/v1/pipelines", "/v1/nodes", "/metrics", "/schema/openapi.json", "/", "/pipelines/shop"),
    *(PIPELINE, f"{PIPELINE}/status", f"{PIPELINE}/history", f"{PIPELINE}/snapshots"),
    *(f"/pipelines/shop?tab={tab}" for tab in ("events", "snapshots", "configuration", "history")),
)


async def test_clear_values_are_in_no_answer(fleet: Fleet, world: World) -> None:
    world.sql(
        "CREATE TABLE people (email text PRIMARY KEY, note text, n int)",
        "ALTER TABLE people REPLICA IDENTITY FULL",
        f"INSERT INTO people VALUES ('{CLEAR}-0', '{CLEAR}', 0)",
        f"CREATE PUBLICATION {world.name} FOR TABLE people"
        # PostgreSQL fails at the last row, and says at which value.
        + (" WHERE (n <> 9 OR int4in(textout(email)) > 0)" if world.major >= 15 else ""),
    )
    made = document(world, events={"tables": {"people": RULES}}, snapshot={"mode": "initial"})
    fleet.start("n1", environment={"MASK_KEY": KEY, "DITTO_LOG_LEVEL": "debug"})
    async with fleet.watching():
        await fleet.live("n1")
        async with httpx.AsyncClient(base_url=fleet.node("n1").api_url, trust_env=False, timeout=60) as client:
            written_out = made | {"events": {"tables": {"people": {"columns": {"mask": {"email": {"key": KEY}}}}}}}
            refused = await client.put(PIPELINE, json=written_out, headers={"If-None-Match": "*"})
            created = await client.put(PIPELINE, json=made, headers={"If-None-Match": "*"})
            assert (refused.status_code, created.status_code) == (422, 201), created.text
            await fleet.streams("shop")
            world.sql(
                f"INSERT INTO people VALUES ('{CLEAR}-1', '{CLEAR}', 0)",
                f"UPDATE people SET email = '{CLEAR}-2' WHERE email = '{CLEAR}-1'",
                f"UPDATE people SET note = '{CLEAR}-other'",
                f"DELETE FROM people WHERE email = '{CLEAR}-2'",
            )
            asked = {"tables": ["people"], "where": f"email = '{CLEAR}-0'"}
            tail = await live_tail(client, until=('"DELETE"', '"READ"', '"finished"'))
            told = [refused.text, created.text, tail]
            told.append((await client.post(f"{PIPELINE}/snapshots", json=asked)).text.replace(str(asked["where"]), ""))
            told += await answers(client)
            if world.major >= 15:
                world.sql(f"INSERT INTO people VALUES ('{CLEAR}-3', '{CLEAR}', 9)")
                await fleet.until(lambda: fleet.pipeline("shop").error is not None, "PostgreSQL's error is known")
                told += await answers(client)
    told.append(fleet.nodes["n1"].output)
    for text in told:
        assert CLEAR not in text
        assert KEY not in text
    assert world.major < 15 or "PostgreSQL's error 22P02" in "".join(told)


async def answers(client: httpx.AsyncClient) -> list[str]:
    found = [await client.get(path) for path in PATHS]
    assert [each.status_code for each in found] == [200] * len(PATHS)
    return [f"{each.headers} {each.text}" for each in [*found, await client.post(f"{PIPELINE}/validate")]]


async def live_tail(client: httpx.AsyncClient, *, until: tuple[str, ...]) -> str:
    """What the console follows: from the first message on, until each of these texts was there."""
    found = ""
    async with asyncio.timeout(30), client.stream("GET", f"{PIPELINE}/events?last=1000") as stream:
        async for text in stream.aiter_text():
            found += text
            if all(each in found for each in until):
                return found
    raise AssertionError(f"the tail has ended: {found}")
