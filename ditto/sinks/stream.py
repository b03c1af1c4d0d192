"""The JetStream stream: set-up, its checks, who owns it, and its tail.

Speaks the JSON API itself where nats-py's structs would drop settings that they do not know: an update
has to send back everything that it got. https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

from ditto.config import Nats
from ditto.errors import (
    AckTimeout,
    NoJetStream,
    NotNow,
    PublishRejected,
    SinkError,
    SinkLost,
    StreamNotFound,
    StreamOwned,
    StreamUnusable,
)
from ditto.lsn import Position, format_lsn, parse_lsn
from ditto.sinks.base import Holding, Owner
from ditto.sinks.risks import check_usable, risks

log = structlog.get_logger()

POSITION_HEADER: Final = "Ditto-Position"
API_TIMEOUT_S: Final = 5.0
_AT_ONCE: Final = 64
"""Requests that are under way at the same time."""

_NOT_FOUND: Final = 10059
_NO_MESSAGE: Final = 10037
_NAME_IN_USE: Final = 10058
_OVERLAP: Final = 10065
_NOT_NOW: Final = {10002, 10005, 10008, 10009, 10023, 10047, 10077, 10167, 10210, 10211}
_STORAGE: Final = {10023, 10047}

_OWNER_KEYS: Final = {
    "system_identifier": "ditto.system-identifier",
    "slot": "ditto.slot",
    "prefix": "ditto.prefix",
    "start_lsn": "ditto.start-lsn",
}
_TIMELINE_KEY: Final = "ditto.timeline"
_CREATED_KEY: Final = "ditto.created"
"""Only a stream that Ditto created gets new subjects from it."""


class ApiError(SinkError):
    """An error of the JetStream API that the caller may know better what to do about."""

    def __init__(self, error: dict[str, Any], doing: str) -> None:
        self.code: int = error.get("err_code", 0)
        self.status: int = error.get("code", 0)
        self.description: str = error.get("description", "unknown error")
        super().__init__(f"cannot {doing}: {self.description}", err_code=self.code)


def refusal(error: ApiError, doing: str) -> SinkError:
    """An error code of JetStream as Ditto's error: https://github.com/nats-io/nats-server/blob/main/server/errors.json."""
    code, description = error.code, error.description
    if code in {10039, 10076}:
        return NoJetStream(f"cannot {doing}: {description}", hint="enable JetStream for the server and the account")
    if code == 10077:
        return NotNow(
            f"cannot {doing}: the stream is full, or its storage failed ({description})",
            hint="nothing is lost: PostgreSQL keeps the changes; make room (purge, raise the limits, or free the disk)",
        )
    if code in _NOT_NOW or error.status in {429, 503}:
        hint = (
            "its storage is full; after a full disk nats-server may need a restart"
            if code in _STORAGE
            else "JetStream has no leader or is out of resources"
        )
        return NotNow(f"cannot {doing}: {description}", hint=hint, code=code)
    return PublishRejected(f"cannot {doing}: {description}", hint=f"JetStream error {code}", code=code)


class Stream:
    """One stream, through the API. Every call may raise NotNow, SinkLost and NoJetStream."""

    def __init__(self, client: Client, config: Nats) -> None:
        self._client = client
        self._config = config
        self.name = config.stream
        self.settings: dict[str, Any] = {}
        """The stream's configuration as the server has it; empty where there is no stream."""
        self.last_sequence = 0
        self.state: dict[str, Any] = {}
        """How much it holds, as STREAM.INFO tells."""
        self.is_clustered = False
        self.asked_at = ""
        """The server's clock when it told all this, RFC 3339; empty where it does not say."""

    async def call(self, subject: str, body: dict[str, Any] | None, doing: str) -> dict[str, Any]:
        """One request to the API; raises ApiError with the server's code."""
        try:
            reply = await self._client.request(
                f"$JS.API.{subject}", b"" if body is None else msgspec.json.encode(body), timeout=API_TIMEOUT_S
            )
        except NoRespondersError as error:
            raise NotNow(
                f"cannot {doing}: nothing answers for JetStream",
                hint="it is starting or stopping, or has no leader",
            ) from error
        except (NatsTimeoutError, TimeoutError) as error:
            raise AckTimeout(
                f"cannot {doing}: JetStream did not answer within {API_TIMEOUT_S:g} s",
                hint="the stream may have no leader; or the user may not publish to $JS.API.>",
            ) from error
        except Exception as error:
            raise SinkLost(f"cannot {doing}: {error}", hint="the connection to NATS ended") from error
        answer: dict[str, Any] = msgspec.json.decode(reply.data)
        if failure := answer.get("error"):
            raise ApiError(failure, doing)
        return answer

    async def look(self) -> bool:
        """Read the stream's state; False where it does not exist."""
        try:
            info = await self.call(f"STREAM.INFO.{self.name}", None, f"look up stream {self.name}")
        except ApiError as error:
            if error.code == _NOT_FOUND:
                self.settings = {}
                self.last_sequence = 0
                return False
            raise refusal(error, f"look up stream {self.name}") from error
        self.settings = info["config"]
        self.state = info["state"]
        self.last_sequence = self.state["last_seq"]
        self.is_clustered = bool((info.get("cluster") or {}).get("name"))
        self.asked_at = info.get("ts", "")
        return True

    @property
    def is_created_here(self) -> bool:
        """Whether Ditto created it: only then does it get new subjects."""
        return (self.settings.get("metadata") or {}).get(_CREATED_KEY) == "true"

    @property
    def replicas(self) -> int:
        """How many copies there are, or will be."""
        return int(self.settings.get("num_replicas", self._config.replicas))

    async def check_account(self) -> None:
        """Raise NoJetStream when the account has none."""
        try:
            await self.call("INFO", None, "use JetStream")
        except ApiError as error:
            raise refusal(error, "use JetStream") from error

    async def create(self, subjects: Iterable[str]) -> None:
        """Create it, for one writer: file storage, no limits, no deduplication work."""
        wanted = {
            "name": self.name,
            "subjects": sorted(subjects),
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "num_replicas": self._config.replicas,
            "allow_rollup_hdrs": True,
            "allow_batched": True,
            "metadata": {_CREATED_KEY: "true"},
        }
        doing = f"create stream {self.name}"
        try:
            await self.call(f"STREAM.CREATE.{self.name}", wanted, doing)
        except ApiError as error:
            if error.code == _NAME_IN_USE:  # somebody was quicker
                return
            raise self._set_up_error(error, doing) from error
        log.info("stream.created", stream=self.name, replicas=self._config.replicas)

    async def update(self, changes: dict[str, Any], doing: str) -> None:
        """Change some settings and leave the others as they are."""
        wanted = {**self.settings, **changes}
        try:
            answer = await self.call(f"STREAM.UPDATE.{self.name}", wanted, doing)
        except ApiError as error:
            raise self._set_up_error(error, doing) from error
        self.settings = answer["config"]

    def _set_up_error(self, error: ApiError, doing: str) -> SinkError:
        if error.code == _OVERLAP:
            return StreamUnusable(
                f"cannot {doing}: another stream takes some of its subjects already ({error.description})",
                hint="choose another events.prefix, or remove those subjects from the other stream",
            )
        translated = refusal(error, doing)
        if isinstance(translated, PublishRejected):
            return StreamUnusable(translated.message, hint="see the server's words above")
        return translated

    # ------------------------------------------------------------------------------------ ownership

    @property
    def owner(self) -> Owner | None:
        """Whom the metadata names."""
        metadata: dict[str, str] = self.settings.get("metadata") or {}
        if not metadata.keys() >= set(_OWNER_KEYS.values()):
            return None
        values = {field: metadata[key] for field, key in _OWNER_KEYS.items()}
        timeline = metadata.get(_TIMELINE_KEY, "")
        return Owner(
            values["system_identifier"],
            values["slot"],
            values["prefix"],
            parse_lsn(values["start_lsn"]),
            int(timeline) if timeline.isdecimal() else 0,
        )

    def check_owner(self, claimant: Owner) -> None:
        """Raise StreamOwned when the stream belongs to another slot or another database cluster."""
        owner = self.owner
        if owner is None:
            return
        if (owner.system_identifier, owner.slot) != (claimant.system_identifier, claimant.slot):
            raise StreamOwned(
                f"stream {self.name} belongs to slot {owner.slot} of the database cluster {owner.system_identifier}, "
                f"not to slot {claimant.slot} of {claimant.system_identifier}",
                hint="give each slot a stream of its own (nats.stream); positions of two clusters cannot be compared",
            )

    async def claim(self, claimant: Owner) -> None:
        """Write the owner into the metadata, where it is not there yet; and let batches in."""
        changes: dict[str, Any] = {}
        owner = self.owner
        if owner is None or owner.prefix != claimant.prefix:
            start_lsn = claimant.start_lsn if owner is None else owner.start_lsn
            metadata = dict(self.settings.get("metadata") or {})
            values = {**msgspec.structs.asdict(claimant), "start_lsn": format_lsn(start_lsn)}
            metadata.update({key: values[field] for field, key in _OWNER_KEYS.items()})
            if owner is None:
                metadata[_TIMELINE_KEY] = str(claimant.timeline)
            changes["metadata"] = metadata
        if not self.settings.get("allow_batched"):
            changes["allow_batched"] = True
        if changes:
            await self.update(changes, f"claim stream {self.name}")
        if not self.settings.get("allow_batched"):
            raise StreamUnusable(
                f"stream {self.name} does not take batches (allow_batched)",
                hint="is the server that leads it older than 2.14?",
            )

    async def set_timeline(self, timeline: int) -> None:
        """Write the server's new timeline into the metadata."""
        await self.look()
        metadata = {**(self.settings.get("metadata") or {}), _TIMELINE_KEY: str(timeline)}
        await self.update({"metadata": metadata}, f"note the timeline in stream {self.name}")

    # ------------------------------------------------------------------------------------ subjects

    def missing_subjects(self, subjects: Iterable[str]) -> set[str]:
        """Those that the stream does not take."""
        taken = self.settings.get("subjects") or []
        literal = set(taken)
        wildcards = [pattern for pattern in taken if "*" in pattern or ">" in pattern]
        return {
            subject
            for subject in subjects
            if subject not in literal and not any(subject_matches(pattern, subject) for pattern in wildcards)
        }

    async def cover(self, subjects: Iterable[str]) -> None:
        """Add the subjects that are missing; raises StreamUnusable where Ditto may not."""
        await self.look()  # an update sends everything back: not what the stream was like when the attempt began
        missing = self.missing_subjects(subjects)
        if not missing:
            return
        named = ", ".join(sorted(missing)[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        if not self._config.create or not self.is_created_here:
            why = "nats.create is false" if not self._config.create else "Ditto did not create it"
            raise StreamUnusable(
                f"stream {self.name} does not take the subjects {named}, and Ditto may not add them: {why}",
                hint="add them to the stream; or give it {prefix}.> and use the template {prefix}.{schema}.{table}",
            )
        wanted = [*(self.settings.get("subjects") or []), *sorted(missing)]
        await self.update({"subjects": wanted}, f"add the subjects {named} to stream {self.name}")
        log.info("stream.subjects_added", stream=self.name, subjects=sorted(missing)[:20], count=len(missing))

    # ------------------------------------------------------------------------------------ tail

    async def find_tail(self) -> Position | None:
        """The position of the last message that Ditto wrote, as the stream's leader has it."""
        if not self.last_sequence:
            return None
        exists, tail = await self._position({"seq": self.last_sequence})
        if tail is not None:
            return tail
        if exists:
            log.warning(
                "stream.foreign_message",
                stream=self.name,
                sequence=self.last_sequence,
                reason="another writer stores into this stream; Ditto goes on, but must be its only writer",
            )
        # The last message was deleted, or is not Ditto's: the last one on each subject that there is.
        found = [(await self._position({"last_by_subj": subject}))[1] for subject in await self._subjects(">")]
        return max((position for position in found if position is not None), default=None)

    async def last_payloads(self, pattern: str) -> dict[str, bytes]:
        """The last message on each subject that matches, as the stream's leader has it."""
        doing = f"read the last messages on {pattern} in stream {self.name}"
        found: dict[str, bytes] = {}

        async def read(subject: str) -> None:
            try:
                answer = await self.call(f"STREAM.MSG.GET.{self.name}", {"last_by_subj": subject}, doing)
            except ApiError as error:
                if error.code != _NO_MESSAGE:
                    raise refusal(error, doing) from error
            else:
                found[subject] = base64.b64decode(answer["message"].get("data") or "")

        subjects = await self._subjects(pattern)
        for start in range(0, len(subjects), _AT_ONCE):
            await asyncio.gather(*map(read, subjects[start : start + _AT_ONCE]))
        return found

    async def _subjects(self, pattern: str) -> list[str]:
        """Every subject that matches and has messages, page by page."""
        doing = f"list the subjects of stream {self.name}"
        subjects: list[str] = []
        while True:
            try:
                info = await self.call(
                    f"STREAM.INFO.{self.name}", {"subjects_filter": pattern, "offset": len(subjects)}, doing
                )
            except ApiError as error:
                raise refusal(error, doing) from error
            page = info["state"].get("subjects") or {}
            subjects += page
            if not page or len(subjects) >= info.get("total", 0):
                return subjects

    async def position(self, sequence: int) -> tuple[bool, Position | None]:
        """Whether there is a message of that sequence, and its position if it is one of Ditto's."""
        return await self._position({"seq": sequence})

    async def _position(self, which: dict[str, Any]) -> tuple[bool, Position | None]:
        """Whether there is such a message, and its position if it is one of Ditto's."""
        doing = f"read the tail of stream {self.name}"
        try:
            answer = await self.call(f"STREAM.MSG.GET.{self.name}", which, doing)
        except ApiError as error:
            if error.code == _NO_MESSAGE:
                return False, None
            raise refusal(error, doing) from error
        headers = base64.b64decode(answer["message"].get("hdrs") or "").decode("utf-8", "replace")
        for line in headers.split("\r\n"):
            name, _, value = line.partition(":")
            if name == POSITION_HEADER:
                try:
                    return True, Position.parse(value.strip())
                except ValueError:
                    break
        return True, None

    async def inspect(self, claimant: Owner) -> Holding:
        """Who owns the stream and where its tail is, without changing anything. Raises StreamOwned."""
        if not await self.look():
            if not self._config.create:
                raise StreamNotFound(
                    f"stream {self.name} does not exist", hint="create it, or set nats.create: true", stream=self.name
                )
            return Holding(None, None)
        self.check_owner(claimant)
        return Holding(self.owner, await self.find_tail())

    # ------------------------------------------------------------------------------------ checks

    def check(self) -> None:
        """Raise StreamUnusable for settings that cannot work; warn about those that can lose events."""
        check_usable(self.name, self.settings)
        for risk in risks(self.settings):
            log.warning("stream.risk", stream=self.name, reason=f"{risk.what}: {risk.why}")


def subject_matches(pattern: str, subject: str) -> bool:
    """Whether a subject falls under a pattern, as https://docs.nats.io/nats-concepts/subjects tells."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":  # noqa: S105  a token of a subject
            return len(given) > index
        if index >= len(given) or token not in {"*", given[index]}:
            return False
    return len(wanted) == len(given)
