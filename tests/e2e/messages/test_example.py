"""The program of the guide "The outbox pattern" acts once on each message, whatever ends in between."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.world import World

EXAMPLES = Path(__file__).parents[3] / "examples/outbox"
OUTBOX: dict[str, object] = {
    "events_outbox_table": "public.outbox",
    "events_outbox_subject": "{prefix}.{data.topic}",
    "events_outbox_id": "id",
}


class Shipping:
    """The program, with a database of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.dsn = world.dsn_by(world.postgres.port, dbname=f"{world.name}_shipping")
        world.sql(f"CREATE DATABASE {world.name}_shipping")
        world.sql((EXAMPLES / "received.sql").read_text(), dsn=self.dsn)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        env = {
            "PATH": os.environ["PATH"],
            "NATS_URL": self._world.nats_server.url,
            "STREAM": self._world.stream,
            "SUBJECT": f"{self._world.name}.orders.>",
            "SHIPPING": self.dsn,
            "ACK_WAIT_S": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "shipping.py")], env=env, stdout=subprocess.DEVNULL
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def shipped(self) -> list[int]:
        """In the order in which that happened."""
        with psycopg.connect(self.dsn) as connection:
            return [row[0] for row in connection.execute("SELECT order_id FROM shipments ORDER BY number")]


@pytest.mark.parametrize("rounds", [5, pytest.param(30, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_each_order_is_shipped_once_and_in_order(world: World, rounds: int) -> None:
    world.sql(
        "CREATE TABLE orders (id int PRIMARY KEY)",
        "CREATE TABLE outbox (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), topic text, payload jsonb)",
    )
    chance = random.Random(rounds)
    ditto = await world.streaming(**OUTBOX)
    shipping = Shipping(world)
    committed: list[int] = []
    number = 0
    try:
        for _ in range(rounds):
            shipping.start()
            reached = len(committed) + 10
            for _ in range(chance.randint(20, 60)):
                number += 1
                with world.connect() as connection:
                    connection.execute("INSERT INTO orders VALUES (%s)", [number])
                    connection.execute(
                        "INSERT INTO outbox (topic, payload) VALUES ('orders.paid', jsonb_build_object('id', %s::int))",
                        [number],
                    )
                    connection.execute("DELETE FROM outbox")
                    if chance.random() < 0.2:
                        connection.rollback()
                    else:
                        committed.append(number)
            await eventually(lambda: len(shipping.shipped()) >= reached, "it goes on")  # noqa: B023  asked at once
            if chance.random() < 0.5:
                ditto.kill()
                ditto = await world.streaming(**OUTBOX)
            await asyncio.sleep(chance.uniform(0, 0.3))
            shipping.kill()
        shipping.start()
        await eventually(lambda: len(shipping.shipped()) >= len(committed), "everything is shipped", timeout_s=60)
        assert shipping.shipped() == committed
    finally:
        shipping.kill()
