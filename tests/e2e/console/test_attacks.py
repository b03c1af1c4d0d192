"""Pages under attack: from another origin, with another one's page or cookie, and by texts that are scripts."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import httpx
import pytest
from unit.fleet_fakes import TOKENS

from e2e.console.browser import Visitor, chromium, visitor
from e2e.console.staging import stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Response

ATTACKS: Final = """async url => {
  const told = {};
  const post = { method: "POST", mode: "no-cors", credentials: "include" };
  const form = (path, token) => {
    document.body.insertAdjacentHTML("beforeend", `<iframe name="answer${path}"></iframe>
      <form method="post" action="${url}${path}" target="answer${path}"><input name="token" value="${token}"></form>`);
    document.body.lastElementChild.submit();
  };
  const ignored = () => null;
  await fetch(url + "/sign-out", post).catch(ignored);
  await fetch(url + "/v1/pipelines/orders-eu/pause", { ...post, body: "{}" }).catch(ignored);
  form("/sign-out", "");
  form("/sign-in", "TOKEN");
  told.read = await fetch(url + "/", { credentials: "include" }).then(() => "read", () => "refused");
  told.socket = await new Promise(resolve => {
    const socket = new WebSocket(url.replace("http", "ws") + "/_nicegui_ws/socket.io/?EIO=4&transport=websocket");
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("refused");
  });
  const frame = document.createElement("iframe");
  frame.name = "framed";
  frame.src = url + "/";
  document.body.append(frame);
  await new Promise(resolve => { frame.onload = resolve; });
  return told;
}"""
"""All that a page of another origin can try with the browser of somebody who is signed in."""


@asynccontextmanager
async def page_of_elsewhere() -> AsyncIterator[str]:
    """Its address, at another port of the same host: browsers send the cookie there, which is the same site."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        page = b"<!doctype html><title>elsewhere</title><body></body>"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n" + page)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_a_page_of_elsewhere_reads_and_changes_nothing(url: str) -> None:
    async with chromium() as browser, visitor(browser, url) as anna, page_of_elsewhere() as elsewhere:
        await anna.sign_in(TOKENS["admin"])
        await attack(anna, url, elsewhere)
        await anna.go("/")
        await anna.page.get_by_role("button", name="Signed in as admin").wait_for()
        await use_a_stolen_cookie(anna, url)


async def attack(anna: Visitor, url: str, elsewhere: str) -> None:
    other = await anna.page.context.new_page()
    answers: list[Response] = []
    other.on("response", lambda answer: answers.append(answer) if answer.url.startswith(url) else None)
    await other.goto(elsewhere)
    told = await other.evaluate(ATTACKS.replace("TOKEN", TOKENS["read"]), url)
    assert told == {"read": "refused", "socket": "refused"}
    expected = {("/sign-in", 403), ("/sign-out", 403), ("/v1/pipelines/orders-eu/pause", 401)}
    async with asyncio.timeout(30):
        while len(posted(answers, url)) < len(expected):  # noqa: ASYNC110  the browser tells of them
            await asyncio.sleep(0.05)
    assert posted(answers, url) == expected
    signed_out = next(each for each in answers if each.url == f"{url}/sign-out")
    assert "ditto_session_" in (await signed_out.request.all_headers())["cookie"], "refused although it was sent"
    framed = other.frame("framed")
    assert framed is not None
    assert framed.url.startswith("chrome-error://"), "no page in a frame"
    await other.close()


def posted(answers: list[Response], url: str) -> set[tuple[str, int]]:
    return {(each.url.removeprefix(url), each.status) for each in answers if each.request.method == "POST"}


async def use_a_stolen_cookie(anna: Visitor, url: str) -> None:
    """Good for as long as its owner is signed in, and not for the API."""
    [cookie] = await anna.page.context.cookies()
    assert "name" in cookie
    assert "value" in cookie
    async with httpx.AsyncClient(base_url=url, cookies={cookie["name"]: cookie["value"]}, trust_env=False) as thief:
        assert (await thief.get("/nodes")).status_code == 200
        assert (await thief.get("/v1/nodes")).status_code == 401
        await anna.page.get_by_role("button", name="Signed in as admin").click()
        await anna.page.get_by_role("button", name="Sign out").click()
        await anna.page.get_by_label("Token").wait_for()
        refused = await thief.get("/nodes")
        assert (refused.status_code, refused.headers["location"]) == (303, "/sign-in?next=%2Fnodes")


EMIT: Final = "([name, message]) => new Promise(done => { window.socket.emit(name, message); setTimeout(done, 0); })"


@pytest.mark.long
async def test_another_ones_page_cannot_be_used(url: str) -> None:
    """Not even with its number, which is in the addresses that a proxy writes into its log."""
    said: list[str] = []
    async with chromium() as browser, visitor(browser, url) as anna, visitor(browser, url) as rita:
        anna.page.on("websocket", lambda socket: socket.on("framesent", lambda frame: said.append(str(frame))))
        await anna.sign_in(TOKENS["admin"])
        await rita.sign_in(TOKENS["read"])
        await rows(anna, 50)
        await rows(rita, 50)
        await anna.page.get_by_label("Search").fill("orders")
        await rows(anna, 3)
        [searched] = [json.loads(each[2:])[1] for each in said if each.startswith('42["event"') and "orders" in each]
        await anna.page.get_by_label("Search").fill("")
        await rows(anna, 50)
        own = await rita.page.evaluate("window.clientId")
        for page in (searched["client_id"], own):
            await rita.page.evaluate(EMIT, ["event", {**searched, "client_id": page}])
        await rita.page.evaluate(EMIT, ["handshake", {"client_id": searched["client_id"], "tab_id": "x"}])
        await rita.page.evaluate(EMIT, ["event", searched])
        await rita.page.get_by_label("Search").fill("billing")
        await rows(rita, 3)  # the node has heard all that came before
        await rows(anna, 50)
        await anna.page.evaluate(EMIT, ["event", searched])
        await rows(anna, 3)


async def rows(each: Visitor, count: int) -> None:
    await each.page.wait_for_function(f"document.querySelectorAll('.fleet tbody tr').length == {count}")


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_texts_of_others_are_shown_as_texts(tmp_path: Path) -> None:
    paths = ("/", "/nodes", "/new", *(f"/pipelines/shop?tab={tab}" for tab in ("", *TABS)))
    with stage(tmp_path, name="hostile_stage") as port:
        async with chromium() as browser:
            for width in (1440, 390):
                async with visitor(browser, f"http://127.0.0.1:{port}", width=width) as anna:
                    await anna.sign_in(TOKENS["admin"])
                    for path in paths:
                        await anna.go(path)
                        await anna.page.wait_for_function("window.socket?.connected")
                        if path != "/new":
                            await anna.sees("<img src=/stolen onerror=window.attacked=1>")
                        await look_into_dialogs(anna, path)
                        assert await anna.page.evaluate("window.attacked") is None, path
                        assert await anna.page.locator("img[src='/stolen'], a[href^=javascript]").count() == 0, path
                        assert [each for each in anna.complaints if "404" not in each] == [], path


TABS: Final = ("snapshots", "configuration", "history")


async def look_into_dialogs(anna: Visitor, path: str) -> None:
    names = {"/nodes": "Drain node plain", "/pipelines/shop?tab=history": "Difference"}
    if (name := names.get(path)) is not None:
        await anna.page.get_by_role("button", name=name).first.click()
        await anna.page.get_by_role("dialog").get_by_text("<img src=/stolen").first.wait_for()
