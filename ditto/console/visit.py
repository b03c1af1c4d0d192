"""One person on one page: who that is, what may be done, and how a failure is shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from nicegui import ui
from nicegui.client import Client

from ditto.api.fleet.auth import Identity, Role
from ditto.console.gate import SESSION
from ditto.console.in_process import Caller
from ditto.console.sign_in import PATH
from ditto.errors import DittoError
from ditto.log import mask_secrets

if TYPE_CHECKING:
    from starlette.requests import Request

    from ditto.console.courses import Courses
    from ditto.console.fleet import Fleet
    from ditto.console.sessions import Session, Sessions

T = TypeVar("T")
THEME: Final = "ditto_theme"
"""The cookie that keeps `dark` or `light`; without it, as the system has it."""
FRESH_S: Final = 2.0
"""How often what is on a page is looked at again."""


class Visit:
    """What a page needs of its surroundings."""

    def __init__(self, request: Request, fleet: Fleet, courses: Courses, sessions: Sessions) -> None:
        self.fleet = fleet
        self.courses = courses
        self._sessions = sessions
        self._session: Session = request.scope[SESSION]
        self.is_dark = {"dark": True, "light": False}.get(request.cookies.get(THEME, ""))
        self.client: Client = ui.context.client
        self._address = request.client.host if request.client else ""

    @property
    def who(self) -> Identity:
        """The person."""
        return self._session.identity

    @property
    def caller(self) -> Caller:
        """The person, for the API."""
        return Caller(self._session.identity, self._address)

    def may(self, needed: Role) -> bool:
        """Whether the person has that role."""
        return self.who.may(needed)

    @property
    def is_signed_in(self) -> bool:
        """Whether the session has not ended."""
        return self._sessions.find(self._session.key) is not None

    def often(self, look: Callable[[], object], every_s: float = FRESH_S) -> ui.timer:
        """Call `look` now, and again and again while the page is open and the person signed in."""
        shown = ""

        async def tick() -> None:
            nonlocal shown
            if not self.is_signed_in:
                timer.cancel()
                ui.navigate.to(PATH)
                return
            try:
                found = look()
                if isinstance(found, Awaitable):
                    await found
                shown = ""
            except DittoError as error:
                if error.message != shown:  # once, however often it fails the same way
                    shown = error.message
                    failed(error)

        timer = ui.timer(every_s, tick)
        return timer

    async def attempt(self, action: Callable[[], Awaitable[T]], *, done: str = "") -> T | None:
        """Do what was asked for, and show how that went; None where it failed."""
        if not self.is_signed_in:
            ui.navigate.to(PATH)
            return None
        try:
            result = await action()
        except DittoError as error:
            failed(error)
            return None
        if done:
            ui.notify(done, type="positive", position="bottom")
        return result


def failed(error: DittoError) -> None:
    """Show an error with its hint, until it is closed."""
    text = mask_secrets(error.message) + (f"\n{mask_secrets(error.hint)}" if error.hint else "")
    ui.notify(
        text,
        type="negative",
        position="bottom",
        multi_line=True,
        timeout=0,
        close_button="Close",
        classes="problem-notification",
    )
