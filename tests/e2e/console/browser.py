"""Chromium, driven by Playwright, and what its pages have asked for and complained of."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page, async_playwright

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS: Final = 30_000
"""For what a page is to show."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The system's, without a window and with a profile of its own."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found is not None, f"none of {NAMES} is installed"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=list(_FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


class Visitor:
    """One person in a browser of their own: cookies are not shared."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.hosts: set[str] = set()
        """All that pages have asked, or tried to."""
        self.complaints: list[str] = []
        """Errors of scripts, and what the content security policy has refused."""
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.extend([said.text] if said.type == "error" else []))

    async def sign_in(self, token: str) -> None:
        """With a token, on the page that asks for one."""
        await self.go("/")
        await self.page.get_by_label("Token").fill(token)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("heading", name="Pipelines").wait_for()

    async def go(self, path: str) -> None:
        """To a page."""
        await self.page.goto(f"{self.url}{path}")

    async def sees(self, text: str) -> None:
        """Wait until a text is on the page."""
        await self.page.get_by_text(text).first.wait_for()

    async def is_in(self, state: str) -> None:
        """Wait until the pipeline of the page is in that state."""
        await self.page.locator(f".state.s-{state}").first.wait_for()

    async def write(self, text: str) -> None:
        """Replace what is in the editor."""
        editor = self.page.locator(".cm-content")
        await editor.click()
        await self.page.keyboard.press("Control+a")
        await self.page.keyboard.insert_text(text)

    async def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        found: int = await self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return found


@asynccontextmanager
async def visitor(
    browser: Browser, url: str, *, width: int = 1440, height: int = 900, is_dark: bool = False
) -> AsyncIterator[Visitor]:
    """A person with a window of that size."""
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if is_dark else "light",
        ignore_https_errors=True,
    )
    try:
        yield Visitor(await context.new_page(), url)
    finally:
        await context.close()
