"""Pages with many pipelines in every state: search, filter, order, keys, dark and light, on a desk and on a phone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import httpx
import pytest
import trustme
from unit.fleet_fakes import TOKENS

from e2e.console.browser import chromium, visitor
from e2e.console.staging import stage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from playwright.async_api import Browser

PAGES: Final = (
    "/",
    "/nodes",
    "/new",
    "/pipelines/orders-eu",
    "/pipelines/inventory-eu",
    "/pipelines/orders-eu?tab=snapshots",
    "/pipelines/orders-eu?tab=configuration",
    "/pipelines/orders-eu?tab=history",
)


async def test_many_pipelines_are_searched_filtered_and_ordered(url: str) -> None:
    async with chromium() as browser, visitor(browser, url) as anna:
        await anna.sign_in(TOKENS["admin"])
        rows, page = anna.page.locator(".fleet tbody tr"), anna.page
        await page.wait_for_function("document.querySelectorAll('.fleet tbody tr').length == 50")
        assert "failed" in await rows.first.inner_text()
        assert await page.locator(".spark polyline[points]").count() == 50
        await page.get_by_role("button", name="failed 2").click()
        await page.wait_for_function("document.querySelectorAll('.fleet tbody tr').length == 2")
        await page.get_by_role("button", name="all 50").click()
        await page.keyboard.press("Escape")
        await page.locator("body").press("/")
        await page.keyboard.type("orders")
        await page.wait_for_function("document.querySelectorAll('.fleet tbody tr').length == 3")
        await page.get_by_label("Search").fill("")
        await page.wait_for_function("document.querySelectorAll('.fleet tbody tr').length == 50")
        await page.get_by_role("columnheader", name="Lag").click()
        await page.get_by_role("columnheader", name="Lag").click()
        await page.wait_for_function("document.querySelector('.fleet tbody tr').innerText.includes('5 min')")
        # What is clicked on stays where it is while the figures change.
        kept = [await each.element_handle() for each in (rows.first, page.get_by_role("button", name="failed 2"))]
        seen = await rows.first.inner_text()
        await page.wait_for_function("([row, seen]) => !row.isConnected || row.innerText != seen", arg=[kept[0], seen])
        assert [await each.evaluate("element => element.isConnected") for each in kept if each] == [True, True]
        await page.get_by_role("link", name="audit-eu", exact=True).focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="audit-eu").wait_for()
        await page.locator("body").press("o")
        await page.get_by_role("heading", name="Nodes").wait_for()
        await page.locator("body").press("n")
        await page.get_by_role("heading", name="New pipeline").wait_for()
        assert anna.complaints == []
        for path, heading in (("/pipelines/<b>x", "There is no pipeline <b>x"), ("/nowhere", "There is no such page")):
            answer = await page.goto(f"{url}{path}")
            assert answer is not None
            assert answer.status == 404
            await page.get_by_role("heading", name=heading).wait_for()
            await page.get_by_role("link", name="All pipelines").click()
            await page.get_by_role("heading", name="Pipelines").wait_for()


@pytest.mark.long
async def test_each_page_fits_its_window_on_a_desk_and_on_a_phone(url: str) -> None:
    async def look(browser: Browser, width: int, pages: Sequence[str], *, is_dark: bool) -> None:
        async with visitor(browser, url, width=width, is_dark=is_dark) as anna:
            await anna.sign_in(TOKENS["admin"])
            for path in pages:
                await anna.go(path)
                await anna.page.wait_for_function("window.socket?.connected")
                assert await anna.overflow() <= 0, path
                ground: str = await anna.page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (sum(map(int, ground[4:-1].split(", "))) < 200) == is_dark
            assert anna.hosts == {url.removeprefix("http://")}
            assert anna.complaints == []

    async with httpx.AsyncClient(base_url=url) as client:
        for path in ("/sign-in", "/console/style.css"):
            assert "default-src 'none'" in (await client.get(path)).headers["content-security-policy"]
    async with chromium() as browser:
        await asyncio.gather(look(browser, 1440, PAGES[:4], is_dark=True), look(browser, 390, PAGES, is_dark=False))


@pytest.mark.long
async def test_the_editor_takes_keys_of_the_schema_and_says_what_is_wrong(url: str) -> None:
    async with chromium() as browser, visitor(browser, url) as anna:
        await anna.sign_in(TOKENS["admin"])
        await anna.go("/new")
        await anna.page.get_by_label("Name", exact=True).fill("shop")
        await anna.page.get_by_label("Template", exact=True).click()
        await anna.page.get_by_role("option", name="Tables to Kafka").click()
        await anna.page.locator(".cm-content", has_text="brokers").wait_for()
        await anna.sees("The configuration is good.")
        await anna.page.get_by_label("Search keys").fill("max_in_flight")
        await anna.page.wait_for_function("document.querySelectorAll('.keys details').length < 5")
        await anna.page.locator(".keys summary").first.click()
        await anna.page.locator(".keys .add").first.click()
        await anna.page.locator(".cm-content", has_text="max_in_flight").wait_for()
        await anna.page.locator(".cm-content").press("n")
        await anna.write("postgres:\n  dsn: postgres://ditto:written-out@db/shop\n")
        await anna.sees("postgres.dsn has a secret written out")
        assert "written-out" not in await anna.page.locator(".banner").first.inner_text()


@pytest.mark.long
async def test_pages_over_tls_have_a_cookie_for_tls_alone(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.cert_chain_pems[0].write_to_path(cert)
    certificate.private_key_pem.write_to_path(key)
    with stage(tmp_path, "3", str(cert), str(key)) as port:
        async with chromium() as browser, visitor(browser, f"https://127.0.0.1:{port}") as anna:
            await anna.sign_in(TOKENS["read"])
            await anna.page.wait_for_function("window.socket?.connected")
            [cookie] = await anna.page.context.cookies()
            assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
            assert await anna.page.get_by_role("button", name="New pipeline").count() == 0
            assert anna.complaints == []
