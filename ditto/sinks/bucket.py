"""Where the lease stands in NATS: a key of a JetStream key-value bucket, reached through the sink's connection.

A bucket is a stream laid out so that every NATS tool knows it (`nats kv get ditto_leases ORDERS.ditto`):
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any, Final

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from ditto.config import Nats
from ditto.errors import AckTimeout, NotNow, SinkDenied, SinkError, SinkLost, StreamNotFound
from ditto.sinks.base import Entry
from ditto.sinks.stream import API_TIMEOUT_S, ApiError, refusal

log = structlog.get_logger()

BUCKET: Final = "ditto_leases"
_STREAM: Final = f"KV_{BUCKET}"

_NO_STREAM: Final = 10059
_NO_MESSAGE: Final = 10037
_NAME_IN_USE: Final = 10058
_WRONG_LAST_SEQUENCE: Final = {10071, 10164}


def lease_key(stream: str, slot: str) -> str:
    """`stream.slot`; what a key may not hold is written byte by byte, as in a URL but with = for %."""
    safe = (
        each
        if each.isascii() and (each.isalnum() or each in "-_")
        else "".join(f"={byte:02X}" for byte in each.encode())
        for each in stream
    )
    return f"{''.join(safe)}.{slot}"


def is_about_leases(words: str) -> bool:
    """Whether the server's refusal of a permission is about the bucket: the pipeline goes on without a lease."""
    words = words.lower()
    return f'"$kv.{BUCKET}.' in words or f'.{_STREAM.lower()}"' in words


class LeaseBucket:
    """One lease. Every call may raise AckTimeout, NotNow, SinkLost, SinkDenied and what the server refuses with.

    Answers come to an inbox of its own, one after the other: what nats-py offers for that may swallow a cancellation.
    """

    def __init__(self, client: Client, config: Nats, *, slot: str) -> None:
        self._client = client
        self._config = config
        self._subject = f"$KV.{BUCKET}.{lease_key(config.stream, slot)}"
        self._timeout_s = min(config.lease_ttl_s / 3, API_TIMEOUT_S)
        self._inbox = ""
        self._asked_count = 0
        self._answers: dict[str, asyncio.Future[Msg]] = {}

    async def read(self) -> Entry:
        """The entry; revision 0 where there is none."""
        doing = f"read the lease in bucket {BUCKET}"
        answer = await self._call(f"STREAM.MSG.GET.{_STREAM}", {"last_by_subj": self._subject}, doing)
        if error := answer.get("error"):
            if error.get("err_code") in {_NO_STREAM, _NO_MESSAGE}:
                return Entry(0, b"")
            raise refusal(ApiError(error, doing), doing)
        message = answer["message"]
        return Entry(message["seq"], base64.b64decode(message.get("data") or ""))

    async def write(self, value: bytes, *, after: int) -> int | None:
        """Replace the entry of revision `after` (0 for none); the new revision, or None where there is another one.

        Creates the bucket where it is missing, and may be created.
        """
        doing = f"write the lease into bucket {BUCKET}"
        answer = await self._ask(self._subject, value, doing, after=after)
        if answer is None:
            await self._create()
            answer = await self._ask(self._subject, value, doing, after=after)
        if answer is None:
            raise NotNow(f"cannot {doing}: nothing answers for it", hint="its stream has no leader at the moment")
        if error := answer.get("error"):
            if error.get("err_code") in _WRONG_LAST_SEQUENCE:
                return None
            raise refusal(ApiError(error, doing), doing)
        return int(answer["seq"])

    async def remove(self, *, after: int) -> None:
        """Delete the entry if it still has the revision `after`."""
        await self._ask(self._subject, b"", f"remove the lease from bucket {BUCKET}", after=after, operation="DEL")

    async def last_sequence(self) -> int:
        """Of the events' stream: it moves while somebody stores events, whatever becomes of the lease."""
        doing = f"look up stream {self._config.stream}"
        answer = await self._call(f"STREAM.INFO.{self._config.stream}", None, doing)
        if error := answer.get("error"):
            raise refusal(ApiError(error, doing), doing)
        return int(answer["state"]["last_seq"])

    async def _create(self) -> None:
        doing = f"create bucket {BUCKET}"
        if not self._config.create:
            raise StreamNotFound(
                f"bucket {BUCKET} does not exist, and nats.create is false", hint=f"create it: nats kv add {BUCKET}"
            )
        wanted = {
            "name": _STREAM,
            "description": "Which Ditto works for a stream, while several stand ready",
            "subjects": [f"$KV.{BUCKET}.>"],
            "storage": "file",
            "discard": "new",
            "max_msgs_per_subject": 1,
            "num_replicas": self._config.replicas,
            "allow_rollup_hdrs": True,
            "allow_direct": True,
            "deny_delete": True,
        }
        answer = await self._call(f"STREAM.CREATE.{_STREAM}", wanted, doing)
        if error := answer.get("error"):
            if error.get("err_code") == _NAME_IN_USE:  # somebody was quicker
                return
            raise refusal(ApiError(error, doing), doing)
        log.info("lease.bucket_created", bucket=BUCKET, replicas=self._config.replicas)

    async def _call(self, subject: str, body: dict[str, Any] | None, doing: str) -> dict[str, Any]:
        answer = await self._ask(f"$JS.API.{subject}", b"" if body is None else msgspec.json.encode(body), doing)
        if answer is None:
            raise NotNow(f"cannot {doing}: nothing answers for JetStream", hint="it is starting or stopping")
        return answer

    async def _ask(
        self, subject: str, body: bytes, doing: str, *, after: int | None = None, operation: str | None = None
    ) -> dict[str, Any] | None:
        """One request; None where the server says at once that nobody takes it."""
        headers = {}
        if after is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(after)
        if operation is not None:
            headers["KV-Operation"] = operation
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._asked_count += 1
        try:
            if not self._inbox:
                inbox = self._client.new_inbox()
                await self._client.subscribe(f"{inbox}.*", cb=self._on_answer)
                self._inbox = inbox
            reply = f"{self._inbox}.{self._asked_count}"
            self._answers[reply] = answer
            await self._client.publish(subject, body, reply=reply, headers=headers or None)
        except Exception as error:
            raise SinkLost(f"cannot {doing}: {error}", hint="the connection to NATS ended") from error
        try:
            await asyncio.wait([answer], timeout=self._timeout_s)
        finally:
            del self._answers[reply]
        if not answer.done():
            raise self._silence(doing)
        message = answer.result()
        if not message.data and (message.headers or {}).get("Status") == "503":
            return None
        try:
            content: dict[str, Any] = msgspec.json.decode(message.data)
        except msgspec.MsgspecError as error:
            raise SinkError(f"cannot {doing}: an answer that is not one: {error}") from error
        return content

    async def _on_answer(self, message: Msg) -> None:
        answer = self._answers.get(message.subject)  # one that comes too late is not waited for any more
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _silence(self, doing: str) -> SinkError:
        """The server tells of a missing permission on the connection, and leaves the request unanswered."""
        words = str(self._client.last_error).removeprefix("nats: ")
        if "permissions violation" in words.lower() and is_about_leases(words):
            return SinkDenied(
                f"cannot {doing}: {words}", hint=f"let the user publish to $KV.{BUCKET}.> and to $JS.API.>"
            )
        return AckTimeout(f"cannot {doing}: JetStream did not answer within {self._timeout_s:g} s")
