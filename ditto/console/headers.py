"""The headers that limit what a page may do, and the number used once by which a browser knows the page's own scripts.

NiceGUI's pages begin with scripts in the page itself: each gets the nonce. Vue compiles its templates in the browser,
hence `unsafe-eval`, and Quasar sets styles on elements, hence `unsafe-inline` for styles alone.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SCRIPT: Final = re.compile(rb"<script(?=[\s>])")
_COMMON: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)


def policy(nonce: str) -> str:
    """The content security policy: nothing from elsewhere, no frame around it, no script but the page's own."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'nonce-{nonce}' 'unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


class SafePages:
    """An ASGI application around another one, whose answers it gives these headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        await self._app(scope, receive, answer.send)


class _Answer:
    """One answer on its way: a page waits until it is whole, everything else goes on as it comes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._nonce = secrets.token_urlsafe(16)
        self._start: Message | None = None
        self._page: list[bytes] = []

    async def send(self, message: Message) -> None:
        """A message of the application."""
        if message["type"] == "http.response.start":
            headers = [(name, value) for name, value in message["headers"] if name.lower() != b"server"]
            is_page = any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in headers)
            headers += [*_COMMON, (b"content-security-policy", policy(self._nonce).encode())]
            started = {**message, "headers": headers}
            if is_page:
                self._start = started
            else:
                await self._send(started)
        elif self._start is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._page.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._send_page(self._start)

    async def _send_page(self, start: Any) -> None:
        page = _SCRIPT.sub(f'<script nonce="{self._nonce}"'.encode(), b"".join(self._page))
        kept = [
            (name, value)
            for name, value in start["headers"]
            if name.lower() not in {b"content-length", b"cache-control"}
        ]
        start["headers"] = [*kept, (b"content-length", str(len(page)).encode()), (b"cache-control", b"no-store")]
        await self._send(start)
        await self._send({"type": "http.response.body", "body": page, "more_body": False})
