"""Requests over one connection to NATS, and their answers.

nats-py's own request() waits until its time is over for one that the server has refused, and may swallow a
cancellation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from ditto.errors import AckTimeout, AnswerUnreadable, RequestTooLarge, SinkError, SinkLost
from ditto.sinks.jetstream.permissions import OF_PIPELINES, Refusal

_HEADER_ROOM: Final = 128
"""Bytes that the headers of a request have at most."""


class _Request:
    """One that waits for its answer."""

    def __init__(self, subject: str, doing: str, is_answer: Callable[[bytes], bool]) -> None:
        self.subject = subject
        self.doing = doing
        self.is_answer = is_answer
        self.has_foreign_answer = False
        self.answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

    def fail(self, error: SinkError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # it may come when nobody waits any more


class Requests:
    """Sends requests and waits for their answers, which all come to one inbox. One for each connection."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.permissions = OF_PIPELINES
        """The section of docs/operations.md that lists what the user needs."""
        self.user = "the user"
        """As whom the connection was made, for messages."""
        self._inbox = ""
        self._count = 0
        self._waiting: dict[str, _Request] = {}
        """By the subject of the answer."""
        self._asked: set[str] = set()
        """The subjects of all requests so far."""
        self._inbox_refusal: Refusal | None = None
        """The server's words where it does not let the inbox be subscribed to: no answer can come."""

    async def ask(
        self,
        subject: str,
        body: bytes = b"",
        *,
        doing: str,
        timeout_s: float,
        is_answer: Callable[[bytes], bool],
        headers: Mapping[str, str] | None = None,
    ) -> Msg | None:
        """Send one request and wait for its answer; None where the server says at once that nobody takes it.

        `is_answer` tells JetStream's answer, by its body, from those of others who listen on the subject too.
        Raises AckTimeout, AnswerUnreadable, SinkDenied, SinkLost and RequestTooLarge.
        """
        size = len(body) + (_HEADER_ROOM if headers else 0)
        if size > self._client.max_payload:
            raise RequestTooLarge(
                f"cannot {doing}: the request has {size} bytes, and nats-server takes {self._client.max_payload} "
                "(max_payload)",
                hint="raise max_payload in nats-server's configuration; a long list of subjects becomes one wildcard "
                "with events.subject: '{prefix}.{schema}.{table}'",
            )
        request = _Request(subject, doing, is_answer)
        self._asked.add(subject)
        self._count += 1
        number = self._count
        try:
            await self._subscribe()
            reply = f"{self._inbox}.{number}"
            self._waiting[reply] = request
            if self._inbox_refusal is not None:
                raise self._denied(request, self._inbox_refusal)
            await self._client.publish(subject, body, reply=reply, headers=None if headers is None else dict(headers))
            await asyncio.wait([request.answer], timeout=timeout_s)
        except (nats.errors.Error, OSError) as error:
            words = str(error).removeprefix("nats: ") or type(error).__name__
            raise SinkLost(f"cannot {doing}: {words}", hint="the connection to NATS ended") from error
        finally:
            self._waiting.pop(f"{self._inbox}.{number}", None)
        if not request.answer.done() and request.has_foreign_answer:
            raise AnswerUnreadable(
                f"cannot {doing}: no answer to {subject} within {timeout_s:g} s was JetStream's",
                hint="who else answers on that subject? A subscriber must not reply to JetStream's requests",
            )
        if not request.answer.done():
            raise AckTimeout(
                f"cannot {doing}: JetStream did not answer within {timeout_s:g} s",
                hint="is JetStream overloaded, or a server away that keeps what was asked for?",
            )
        message = request.answer.result()
        return None if is_unanswered(message) else message

    async def _subscribe(self) -> None:
        if not self._inbox:
            self._inbox = self._client.new_inbox()
            # nats-py drops what is over its limits: there are never more answers under way than requests.
            await self._client.subscribe(f"{self._inbox}.*", cb=self._on_answer, pending_bytes_limit=0)

    async def _on_answer(self, message: Msg) -> None:
        request = self._waiting.get(message.subject)  # a late one is not waited for any more
        if request is None or request.answer.done():
            return
        if is_unanswered(message) or request.is_answer(message.data):
            request.answer.set_result(message)
        else:
            request.has_foreign_answer = True

    def refused(self, refusal: Refusal) -> bool:
        """Fail the requests that the server does not let through; returns whether that is about a request."""
        is_inbox = refusal.verb == "subscribe"
        if is_inbox:
            if refusal.subject != f"{self._inbox}.*":
                return False
            self._inbox_refusal = refusal
        for request in list(self._waiting.values()):
            if is_inbox or request.subject == refusal.subject:
                request.fail(self._denied(request, refusal))
        return is_inbox or refusal.subject in self._asked

    def _denied(self, request: _Request, refusal: Refusal) -> SinkError:
        return refusal.denied(f"cannot {request.doing}", self.permissions, self.user)

    def lost(self, error: SinkError) -> None:
        """The connection has ended: no answer comes any more."""
        for request in list(self._waiting.values()):
            request.fail(SinkLost(f"cannot {request.doing}: {error.message}", hint=error.hint))


def is_unanswered(message: Msg) -> bool:
    """Whether this is the server's word that nobody takes a message: no body, and the status 503.

    https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-4.md
    """
    return not message.data and (message.headers or {}).get("Status") == "503"
