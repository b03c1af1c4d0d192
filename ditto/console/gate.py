"""An ASGI application in front of the pages: who asks, from which page, and the forms that sign in and out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, quote, urlsplit

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from ditto.api.access import is_known_host, own_hosts
from ditto.api.fleet.auth import LOOPBACK, Authenticator
from ditto.console.sessions import LONGEST_S, Session, Sessions
from ditto.console.sign_in import LEAVE, PATH, START, inside, sign_in_page

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger()

SESSION: Final = "ditto.session"
"""Where the scope of a request has the session of who asks."""
_OPEN: Final = ("/console/",)
"""The style sheet and the icon: the page that signs in shows them."""
BUILT_IN: Final = "/_nicegui"
"""Where the library has its own scripts and styles."""
_SOCKET: Final = "/_nicegui_ws"
_READING: Final = frozenset({"GET", "HEAD"})
_LARGEST_FORM: Final = 8192
_MOST_PAGES: Final = 100
"""Open pages with a websocket each; their connections are not among those that the server limits."""


class ConsoleGate:
    """Lets requests of people who are signed in through to the pages.

    The cookie is sent only with requests that begin on a page of this server (SameSite=Strict). Where no token is
    needed there is no cookie: hence what changes something, and every websocket, has to come from such a page, too.
    A websocket outlives the request that opened it: what it sends after the session has ended reaches no page.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        sessions: Sessions,
        *,
        node: str,
        hosts: Iterable[str],
        is_tls: bool,
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._sessions = sessions
        self._node = node
        self._hosts = own_hosts(hosts)
        self._is_tls = is_tls
        self._local: Session | None = None
        self._pages = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it."""
        request = Request({**scope, "type": "http", "method": scope.get("method", "GET")}, receive)
        if not is_known_host(request.headers.get("host", ""), self._hosts):
            await self._refuse(scope, receive, send, 421, "this name is not one of Ditto's: add it to http.hosts")
            return
        is_change = scope["type"] == "websocket" or request.method not in _READING
        if is_change and not self._is_own_page(request):
            await self._refuse(scope, receive, send, 403, "this request does not come from a page of this server")
            return
        path = scope["path"]
        if scope["type"] == "http" and path.startswith(_SOCKET):
            await self._refuse(scope, receive, send, 426, "only websockets come here")
            return
        if scope["type"] == "http" and path == PATH:
            answer = await self._sign_in(request) if request.method == "POST" else self._ask(request)
            await answer(scope, receive, send)
            return
        session = self._session(request)
        if scope["type"] == "http" and path == LEAVE and request.method == "POST":
            await self._sign_out(session)(scope, receive, send)
            return
        if session is None and not path.startswith(_OPEN):
            if scope["type"] == "http" and request.method in _READING and not path.startswith(BUILT_IN):
                then = path + (f"?{request.url.query}" if request.url.query else "")
                target = PATH if then == START else f"{PATH}?next={quote(then, safe='')}"
                await RedirectResponse(target, status_code=303)(scope, receive, send)
            else:
                await self._refuse(scope, receive, send, 401, "sign in first")
            return
        scope[SESSION] = session
        if scope["type"] == "websocket" and session is not None:
            await self._connect(session, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _connect(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry the messages of a page for as long as the session lasts.

        Later ones are dropped, also the answers to the library's pings, which then closes the connection; meanwhile
        the page learns that it has to sign in.
        """
        if self._pages >= _MOST_PAGES:
            await self._refuse(scope, receive, send, 503, "too many pages are open")
            return

        async def while_signed_in() -> Message:
            while True:
                message = await receive()
                if message["type"] != "websocket.receive" or self._sessions.find(session.key) is not None:
                    return message

        self._pages += 1
        try:
            await self._app(scope, while_signed_in, send)
        finally:
            self._pages -= 1

    def _session(self, request: Request) -> Session | None:
        found = self._sessions.find(request.cookies.get(self._cookie(request)))
        if found is not None:
            return found
        headers = {name: value for name, value in request.headers.items() if name != "authorization"}
        identity = self._authenticator.identify(headers, request.client.host if request.client else None)
        if identity is None:
            return None
        if self._local is None or self._sessions.find(self._local.key) is None:
            self._local = self._sessions.begin(identity)
        return self._local

    def _ask(self, request: Request) -> Response:
        then = inside(request.query_params.get("next", START))
        if self._session(request) is not None:
            return RedirectResponse(then, status_code=303)
        return HTMLResponse(sign_in_page(self._node, then=then))

    async def _sign_in(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LARGEST_FORM:
                return PlainTextResponse("this is no token", status_code=413)
        form = parse_qs(body.decode(errors="replace"))
        then = inside(form.get("next", [START])[0])
        identity = self._authenticator.by_token(form.get("token", [""])[0].strip())
        client = request.client.host if request.client else None
        if identity is None:
            log.warning("console.refused", client=client)
            page = sign_in_page(self._node, then=then, problem="The node does not know this token.")
            return HTMLResponse(page, status_code=401)
        session = self._sessions.begin(identity)
        log.info("console.signed_in", who=identity.name, role=identity.role, client=client)
        answer = RedirectResponse(then, status_code=303)
        answer.set_cookie(
            self._cookie(request),
            session.key,
            max_age=int(LONGEST_S),
            path="/",
            secure=self._is_tls,
            httponly=True,
            samesite="strict",
        )
        return answer

    def _sign_out(self, session: Session | None) -> Response:
        if session is not None and session.identity.name != LOOPBACK:
            self._sessions.end(session.key)
        return RedirectResponse(PATH, status_code=303)

    def _cookie(self, request: Request) -> str:
        """Browsers keep cookies by host, not by port: several nodes may share one."""
        port = urlsplit(f"//{request.headers['host']}").port
        return f"ditto_session_{port or (443 if self._is_tls else 80)}"

    @staticmethod
    def _is_own_page(request: Request) -> bool:
        """Whether a page of this server sends it: browsers say so, and send one of these headers with each change."""
        site = request.headers.get("sec-fetch-site")
        if site is not None and site != "same-origin":
            return False
        origin = request.headers.get("origin")
        return origin is not None and urlsplit(origin).netloc.lower() == request.headers["host"].lower()

    @staticmethod
    async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, detail: str) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": detail})
            return
        await PlainTextResponse(detail + "\n", status_code=status)(scope, receive, send)
