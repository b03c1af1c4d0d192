"""Every button that changes something, on real nodes: what it does, and for which role it is there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

from ditto.testing.process import free_port
from e2e.console.browser import PATIENCE_MS, Visitor, chromium, visitor
from e2e.console.test_whole_way import settings
from e2e.fleet.fleet import document

if TYPE_CHECKING:
    from e2e.fleet.fleet import Fleet
    from e2e.world import World

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
ROWS = 3000
CHANGING = ("Pause", "Resume", "Restart", "Delete", "Start snapshot", "Cancel", "Drain", "New pipeline", "Roll back")


def start(fleet: Fleet, name: str, port: int, **more: str) -> str:
    address = f"127.0.0.1:{port}"
    fleet.start(name, environment={"DITTO_HTTP_LISTEN": address, **settings(), **more})
    return f"http://{address}"


async def test_snapshots_draining_and_deleting(fleet: Fleet, world: World) -> None:
    world.sql("CREATE TABLE orders (id int PRIMARY KEY)", f"INSERT INTO orders SELECT generate_series(1, {ROWS})")
    urls = {name: start(fleet, name, free_port()) for name in ("n1", "n2")}
    async with fleet.watching(), chromium() as browser:
        await fleet.live("n1", "n2")
        await fleet.apply("shop", document(world))
        await fleet.streams("shop")
        first = str(fleet.pipeline("shop").node)
        other = "n2" if first == "n1" else "n1"
        url = urls[other]
        async with (
            visitor(browser, url) as anna,
            visitor(browser, url) as olga,
            visitor(browser, url, width=390, height=844) as rita,
        ):
            for each, name in ((anna, "anna"), (olga, "olga"), (rita, "rita")):
                await each.sign_in(f"token-of-{name}")
            await snapshots(olga, rita)
            await drain(fleet, olga, rita, first, other)
            await read_alone(rita, url)
            await delete(fleet, anna, olga, world)
            for each in (anna, olga, rita):
                # What a role may not do is refused, and there is no page of a pipeline that has been deleted.
                assert [said for said in each.complaints if not re.search("40[134]", said)] == []


async def snapshots(olga: Visitor, rita: Visitor) -> None:
    """A slow one is paused, goes on, and is cancelled; the next one ends by itself."""
    for each in (olga, rita):
        await each.go("/pipelines/shop?tab=snapshots")
    await olga.page.get_by_label("Tables").fill("public.orders")
    await olga.page.get_by_label("Most rows/s").fill("20")
    await olga.page.get_by_role("button", name="Start snapshot").click()
    pausing = olga.page.get_by_role("button", name="Pause")
    await expect(pausing).to_have_count(2, timeout=PATIENCE_MS)
    assert len({await each.get_attribute("aria-label") for each in await pausing.all()}) == 2
    run, seen = (each.page.get_by_role("region", name="Snapshot ") for each in (olga, rita))
    for button, state in (("Pause", "paused"), ("Resume", "reading"), ("Cancel", "cancelled")):
        await run.get_by_role("button", name=button).click()
        for region in (run, seen):
            await expect(region.locator(".state").first).to_have_text(state, timeout=PATIENCE_MS)
    for button in ("Pause", "Resume", "Cancel"):
        await run.get_by_role("button", name=button).wait_for(state="hidden")
    await olga.page.get_by_label("Most rows/s").fill("")
    await olga.page.get_by_role("button", name="Start snapshot").click()
    await run.first.get_by_text("100 %").wait_for()
    await run.first.get_by_text(f"{ROWS:,} rows").wait_for()


async def drain(fleet: Fleet, olga: Visitor, rita: Visitor, first: str, other: str) -> None:
    """The node hands its pipeline over, and takes none until it is started again."""
    for each in (olga, rita):
        await each.go("/nodes")
    card = olga.page.get_by_role("region", name=f"Node {first}")
    await card.get_by_role("button", name="Drain").click()
    await olga.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert fleet.pipeline("shop").node == first
    await card.get_by_role("button", name="Drain").click()
    await olga.page.get_by_role("dialog").get_by_role("button", name="Drain").click()
    await card.locator(".state.s-draining").wait_for()
    await card.get_by_role("button", name="Drain").wait_for(state="hidden")
    await fleet.streams("shop", on=other)
    seen = rita.page.get_by_role("region", name=f"Node {first}")
    await seen.locator(".state.s-draining").wait_for()
    await olga.page.get_by_role("button", name=f"Drain node {other}").click()
    dialog = olga.page.get_by_role("dialog")
    await dialog.get_by_text("No other node can take 1 pipeline").wait_for()
    await dialog.get_by_role("listitem").get_by_text("shop").wait_for()
    await dialog.get_by_role("button", name="Cancel").click()
    assert fleet.node(other).state == "live"


async def read_alone(rita: Visitor, url: str) -> None:
    """No button that changes something, on no page; and the API refuses what a page sends without one."""
    for path in ("/", "/nodes", "/new", *(f"/pipelines/shop?tab={tab}" for tab in TABS)):
        await rita.go(path)
        await rita.page.wait_for_function("window.did_handshake")
        await rita.page.get_by_role("heading").first.wait_for()
        shown = [name.strip() for name in await rita.page.get_by_role("button").all_inner_texts()]
        assert "person" in shown
        assert not [name for name in shown for word in CHANGING if word in name], path
    for path in ("pipelines/shop/pause", "nodes/n1/drain", "pipelines/shop/snapshots"):
        for token, status in ((None, 401), ("token-of-rita", 403)):
            headers = {"Content-Type": "application/json"}
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
            asked = [f"{url}/v1/{path}", {"method": "POST", "headers": headers, "body": "{}"}]
            assert await rita.page.evaluate(FETCH, asked) == status, path


TABS = ("", "events", "snapshots", "configuration", "history")
FETCH = "async ([url, options]) => (await fetch(url, { ...options, credentials: 'include' })).status"


async def delete(fleet: Fleet, anna: Visitor, olga: Visitor, world: World) -> None:
    """Asks for the name, says what stays, and drops the slot where that is wanted."""
    for each in (anna, olga):
        await each.go("/pipelines/shop")
        await each.page.get_by_role("button", name="Restart").wait_for()
    assert await olga.page.get_by_role("button", name="Delete").count() == 0
    await anna.page.get_by_role("button", name="Delete").click()
    dialog = anna.page.get_by_role("dialog")
    really = dialog.get_by_role("button", name="Delete")
    await dialog.get_by_label("Enter shop to delete it").fill("shoq")
    assert await really.is_disabled()
    await dialog.get_by_label("Enter shop to delete it").fill("shop")
    await dialog.get_by_text("Drop the replication slot, too").click()
    await really.click()
    await anna.sees("The pipeline is deleted")
    await anna.sees(world.stream)
    await anna.page.get_by_role("button", name="Pipelines").click()
    await anna.sees("There is no pipeline yet.")
    assert not world.sql(f"SELECT FROM pg_replication_slots WHERE slot_name = '{world.name}'")
    assert "shop" not in fleet.view.records.values


async def test_a_token_that_is_taken_out_of_the_configuration(fleet: Fleet) -> None:
    """Its session ends with the restart that takes the configuration; another one's cookie is no help."""
    port = free_port()
    url = start(fleet, "n1", port)
    async with fleet.watching(), chromium() as browser, visitor(browser, url) as anna:
        await fleet.live("n1")
        await anna.sign_in("token-of-anna")
        assert await fleet.nodes["n1"].stop() == 0
        left: list[dict[str, Any]] = [
            each for each in json.loads(settings()["DITTO_AUTH_TOKENS"]) if each["name"] != "anna"
        ]
        start(fleet, "n1", port, DITTO_AUTH_TOKENS=json.dumps(left))
        await fleet.live("n1")
        await anna.go("/")
        await anna.page.get_by_label("Token").fill("token-of-anna")
        await anna.page.get_by_role("button", name="Sign in").click()
        await anna.sees("The node does not know this token.")
