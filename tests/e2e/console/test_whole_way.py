"""From signing in to rolling back, in a real browser, on a real node with PostgreSQL and NATS."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ditto.api.fleet.auth import digest
from ditto.console import yaml_text
from ditto.testing.process import free_port
from e2e.console.browser import Visitor, chromium, visitor
from e2e.fleet.fleet import document

if TYPE_CHECKING:
    from ditto.testing.servers import NatsServer
    from e2e.fleet.fleet import Fleet
    from e2e.world import World

TOKENS = {"anna": "admin", "olga": "operate", "rita": "read"}
HOSTILE = "<img src=/x onerror=x()>"
"""A name that would be a script, were it not shown as text."""


def settings() -> dict[str, str]:
    tokens = [{"name": name, "role": role, "sha256": digest(f"token-of-{name}")} for name, role in TOKENS.items()]
    return {"DITTO_AUTH_TOKENS": json.dumps(tokens), "DITTO_AUTH_ALLOW_LOOPBACK": "false"}


@pytest.mark.timeout(180)
@pytest.mark.long
async def test_the_whole_way(fleet: Fleet, control_plane: NatsServer, world: World) -> None:
    world.sql(
        "CREATE TABLE orders (id int PRIMARY KEY, note text)",
        "INSERT INTO orders VALUES (1, 'there before')",
        f'CREATE TABLE "{HOSTILE}" ("{HOSTILE}" int PRIMARY KEY)',
    )
    address = f"127.0.0.1:{free_port()}"
    url = f"http://{address}"
    fleet.start("n1", environment={"DITTO_HTTP_LISTEN": address, **settings()})
    async with fleet.watching(), chromium() as browser:
        await fleet.live("n1")
        async with visitor(browser, url) as anna, visitor(browser, url, width=390, height=844, is_dark=True) as rita:
            await anna.sign_in("token-of-anna")
            await rita.sign_in("token-of-rita")
            await create(anna, world)
            await watch_events(anna, rita, world)
            await take_a_snapshot(anna)
            await pause_and_resume(anna)
            await break_and_roll_back(anna, rita, world)
            await lose_the_control_plane(anna, control_plane)
            await sign_out(anna)
            for each in (anna, rita):
                assert each.hosts == {address}
                assert each.complaints == []


async def create(anna: Visitor, world: World) -> None:
    """From a template, with what it has to be changed for these servers."""
    page = anna.page
    await page.get_by_role("button", name="New pipeline").first.click()
    await page.get_by_label("Name", exact=True).fill("shop")
    await page.locator(".cm-content", has_text="slot: shop").wait_for()
    await anna.write(yaml_text.written(document(world)))
    await page.get_by_role("button", name="Review and create").click()
    await anna.sees("The configuration is good.")
    await page.get_by_role("dialog").get_by_role("button", name="Save").click()
    await page.get_by_role("heading", name="shop").wait_for()
    await anna.is_in("streaming")


async def watch_events(anna: Visitor, rita: Visitor, world: World) -> None:
    """One role sees values, the other one does not."""
    for each in (anna, rita):
        await each.go("/pipelines/shop?tab=events")
        await each.sees("Live: events appear as they are stored")
    world.sql(f"INSERT INTO orders VALUES (2, 'a note of two {HOSTILE}')", f'INSERT INTO "{HOSTILE}" VALUES (1)')
    event = anna.page.locator(".event", has_text="public.orders")
    await event.locator(".a-INSERT").wait_for()
    await event.locator("summary").click()
    await event.locator("pre", has_text=f"a note of two {HOSTILE}").wait_for()
    for each in (anna, rita):
        await each.page.locator(".event summary", has_text=HOSTILE).first.wait_for()
    hidden = rita.page.locator(".event", has_text="public.orders")
    await hidden.locator("summary", has_text="id, note").wait_for()
    assert "a note of two" not in await rita.page.content()
    assert await rita.page.get_by_role("button", name="Pause").count() == 0
    assert await rita.overflow() <= 0
    world.sql("INSERT INTO orders SELECT n, 'many' FROM generate_series(3, 3000) n")
    await anna.sees("this is a sample")


async def take_a_snapshot(anna: Visitor) -> None:
    await anna.go("/pipelines/shop?tab=snapshots")
    await anna.page.get_by_label("Tables").fill("public.orders")
    await anna.page.get_by_role("button", name="Start snapshot").click()
    run = anna.page.get_by_role("region", name="Snapshot ")
    await run.get_by_text("100 %").wait_for()
    await run.get_by_text("3,000 rows").wait_for()


async def pause_and_resume(anna: Visitor) -> None:
    await anna.page.get_by_role("button", name="Pause").click()
    await anna.is_in("paused")
    await anna.page.get_by_role("button", name="Resume").click()
    await anna.is_in("streaming")


async def break_and_roll_back(anna: Visitor, rita: Visitor, world: World) -> None:
    """A change that PostgreSQL cannot follow, and the way back."""
    page = anna.page
    await anna.go("/pipelines/shop?tab=configuration")
    broken = document(world, postgres={"publication": "there_is_none", "create": False})
    await anna.write("postgres: [")
    await anna.sees("this is not YAML")
    await anna.write(yaml_text.written(broken))
    await page.get_by_role("button", name="Review and save").click()
    dialog = page.get_by_role("dialog")
    await dialog.locator("ins", has_text="publication: there_is_none").wait_for()
    await dialog.get_by_text("postgres.publication").first.wait_for()
    await dialog.get_by_role("button", name="Save").click()
    await anna.is_in("failed")
    await anna.page.locator(".banner.bad .hint").first.wait_for()
    await rita.go("/")
    await rita.page.locator(".card", has_text="failed").get_by_text("there_is_none").wait_for()
    assert await rita.overflow() <= 0
    await anna.go("/pipelines/shop?tab=history")
    await page.locator(".revision", has_text="resume").get_by_role("button", name="Roll back").click()
    await dialog.locator("del", has_text="there_is_none").wait_for()
    await dialog.get_by_role("button", name="Roll back").click()
    await anna.is_in("streaming")
    await page.locator(".revision", has_text="rollback").wait_for()


async def lose_the_control_plane(anna: Visitor, control_plane: NatsServer) -> None:
    """The page says so, and goes on showing what is known."""
    control_plane.stop()
    await anna.sees("This node is cut off from the control plane.")
    await anna.page.get_by_role("button", name="Pause").click()
    await anna.page.locator(".q-notification").first.wait_for()
    await anna.is_in("streaming")
    control_plane.start()
    await anna.page.get_by_text("This node is cut off from the control plane.").wait_for(state="hidden")


async def sign_out(anna: Visitor) -> None:
    await anna.page.get_by_role("button", name="Signed in as anna").click()
    await anna.page.get_by_role("button", name="Sign out").click()
    await anna.page.get_by_label("Token").wait_for()
    await anna.go("/pipelines/shop")
    await anna.page.get_by_label("Token").wait_for()
