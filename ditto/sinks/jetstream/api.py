"""JetStream's JSON API: every request that Ditto makes of it, one method each.

https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeVar

import msgspec

from ditto.errors import NotNow
from ditto.sinks.jetstream.api_answers import (
    Account,
    ConsumerInfo,
    Deleted,
    StoredAnswer,
    StoredMessage,
    StreamInfo,
    StreamNames,
    is_answer,
    read_answer,
)
from ditto.sinks.jetstream.api_errors import NAME_IN_USE, NO_MESSAGE, NO_STREAM, Fault, refusal
from ditto.sinks.jetstream.requests import Requests

API_TIMEOUT_S: Final = 5.0

T = TypeVar("T")


def api_prefix(domain: str | None) -> str:
    """The beginning of the subjects of a JetStream domain's API, or of the server's own."""
    return "$JS.API" if domain is None else f"$JS.{domain}.API"


def change_subject(action: Literal["CREATE", "UPDATE"], stream: str, *, domain: str | None) -> str:
    """The subject of a request that creates or changes a stream."""
    return f"{api_prefix(domain)}.STREAM.{action}.{stream}"


class Api:
    """The API through one connection. `doing` completes "cannot …" in the errors.

    Every call may raise AckTimeout, AnswerUnreadable, NotNow, SinkDenied, SinkLost, RequestTooLarge, and the errors of
    `refusal`.
    """

    def __init__(self, requests: Requests, *, domain: str | None) -> None:
        self._requests = requests
        self._domain = domain

    # ------------------------------------------------------------------------------------ the account

    async def account(self, doing: str) -> Account:
        """What the account uses; raises NoJetStream where JetStream is off."""
        return _checked(await self._call("INFO", None, doing, to=Account), doing)

    # ------------------------------------------------------------------------------------ streams

    async def stream_info(self, stream: str, doing: str, *, timeout_s: float = API_TIMEOUT_S) -> StreamInfo | None:
        """Configuration and state of a stream; None where it does not exist."""
        found = await self._call(f"STREAM.INFO.{stream}", None, doing, to=StreamInfo, timeout_s=timeout_s)
        return None if _is(found, NO_STREAM) else _checked(found, doing)

    async def subjects(self, stream: str, pattern: str, doing: str) -> list[str]:
        """Every subject that matches and has messages, page by page."""
        subjects: list[str] = []
        while True:
            body = {"subjects_filter": pattern, "offset": len(subjects)}
            info = _checked(await self._call(f"STREAM.INFO.{stream}", body, doing, to=StreamInfo), doing)
            page = info.state.subjects or {}
            subjects += page
            if not page or len(subjects) >= info.total:
                return subjects

    async def streams_with(self, subject: str, doing: str) -> list[str]:
        """The names of the streams that take a subject."""
        found = await self._call("STREAM.NAMES", {"subject": subject}, doing, to=StreamNames)
        return _checked(found, doing).streams or []

    async def create_stream(
        self, settings: dict[str, Any], doing: str, *, timeout_s: float = API_TIMEOUT_S
    ) -> StreamInfo | None:
        """Create a stream; None where another client has created it a moment before."""
        found = await self._change("CREATE", settings, doing, timeout_s)
        return None if _is(found, NAME_IN_USE) else _checked(found, doing)

    async def update_stream(self, settings: dict[str, Any], doing: str, *, timeout_s: float) -> StreamInfo:
        """Give a stream these settings, which are all of them: the others return to their defaults."""
        return _checked(await self._change("UPDATE", settings, doing, timeout_s), doing)

    async def _change(
        self, action: Literal["CREATE", "UPDATE"], settings: dict[str, Any], doing: str, timeout_s: float
    ) -> StreamInfo | Fault:
        request = f"STREAM.{action}.{settings['name']}"
        return await self._call(request, settings, doing, to=StreamInfo, timeout_s=timeout_s)

    async def try_change(self, action: Literal["CREATE", "UPDATE"], stream: str, doing: str) -> None:
        """Raises SinkDenied where the user has no right to it. Nothing is changed: JetStream refuses the request, whose
        subject and body name two streams.
        """
        await self._call(f"STREAM.{action}.{stream}", {"name": f"{stream}-"}, doing, to=StreamInfo)

    async def try_purge(self, stream: str, doing: str) -> None:
        """The same of a purge, with a body that is none."""
        await self._call(f"STREAM.PURGE.{stream}", {"filter": 0}, doing, to=Deleted)

    async def try_publish(self, subject: str, doing: str) -> None:
        """The same of a message, which is for a stream that no stream is."""
        headers = {"Nats-Expected-Stream": "no stream"}
        await self._requests.ask(
            self.reached(subject), doing=doing, timeout_s=API_TIMEOUT_S, headers=headers, is_answer=_is_any
        )

    # ------------------------------------------------------------------------------------ messages

    async def message(self, stream: str, sequence: int, doing: str) -> StoredMessage | None:
        """The message of that sequence; None where there is none. Raises StreamNotFound."""
        return await self._message(stream, {"seq": sequence}, doing, API_TIMEOUT_S)

    async def last_message(
        self, stream: str, subject: str, doing: str, *, timeout_s: float = API_TIMEOUT_S
    ) -> StoredMessage | None:
        """The last message on a subject; None where there is none. Raises StreamNotFound."""
        return await self._message(stream, {"last_by_subj": subject}, doing, timeout_s)

    async def _message(self, stream: str, which: dict[str, Any], doing: str, timeout_s: float) -> StoredMessage | None:
        found = await self._call(f"STREAM.MSG.GET.{stream}", which, doing, to=StoredAnswer, timeout_s=timeout_s)
        return None if _is(found, NO_MESSAGE) else _checked(found, doing).message

    async def purge(self, stream: str, subject: str, doing: str) -> None:
        """Remove the messages on a subject."""
        found = await self._call(f"STREAM.PURGE.{stream}", {"filter": subject}, doing, to=Deleted)
        _checked(found, doing)

    def reached(self, subject: str) -> str:
        """Where to publish to a stream's subject: in another domain it is reached as its API is."""
        return subject if self._domain is None else f"{api_prefix(self._domain)}.{subject}"

    # ------------------------------------------------------------------------------------ consumers

    async def create_consumer(self, stream: str, settings: dict[str, Any], doing: str) -> ConsumerInfo:
        """Create a consumer, which the server names."""
        body = {"stream_name": stream, "config": settings}
        return _checked(await self._call(f"CONSUMER.CREATE.{stream}", body, doing, to=ConsumerInfo), doing)

    async def delete_consumer(self, stream: str, consumer: str, doing: str) -> None:
        """Remove a consumer."""
        _checked(await self._call(f"CONSUMER.DELETE.{stream}.{consumer}", None, doing, to=Deleted), doing)

    def next_subject(self, stream: str, consumer: str) -> str:
        """The subject of requests for a consumer's next messages, which come as answers."""
        return f"{api_prefix(self._domain)}.CONSUMER.MSG.NEXT.{stream}.{consumer}"

    # ------------------------------------------------------------------------------------

    async def _call(
        self, request: str, body: dict[str, Any] | None, doing: str, *, to: type[T], timeout_s: float = API_TIMEOUT_S
    ) -> T | Fault:
        """Send a request such as `STREAM.INFO.ORDERS`; its answer, or JetStream's error."""
        subject = f"{api_prefix(self._domain)}.{request}"
        content = b"" if body is None else msgspec.json.encode(body)
        message = await self._requests.ask(subject, content, doing=doing, timeout_s=timeout_s, is_answer=is_answer)
        if message is None:
            raise NotNow(
                f"cannot {doing}: nothing answers for JetStream",
                hint="it is starting or stopping, or the account has no JetStream",
            )
        return read_answer(message.data, to, doing=doing, request=subject)


def _is_any(data: bytes) -> bool:
    return bool(data)


def _is(answer: object, code: int) -> bool:
    return isinstance(answer, Fault) and answer.err_code == code


def _checked(answer: T | Fault, doing: str) -> T:
    if isinstance(answer, Fault):
        raise refusal(answer, doing)
    return answer
