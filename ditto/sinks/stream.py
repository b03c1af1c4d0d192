"""The JetStream stream: set-up, its checks, who owns it, and its tail.

Speaks the JSON API itself where nats-py's structs would drop settings that they do not know: an update
has to send back everything that it got. https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from ditto.config import Nats
from ditto.errors import AnswerUnreadable, PublishRejected, SinkError, StreamNotFound, StreamOwned, StreamUnusable
from ditto.lsn import Position, format_lsn, parse_lsn
from ditto.sinks.api import (
    NAME_IN_USE,
    NO_MESSAGE,
    NO_STREAM,
    OVERLAP,
    Api,
    ApiError,
    Cluster,
    MessageAnswer,
    StoredMessage,
    StreamConfig,
    StreamInfo,
    StreamState,
    read_config,
    refusal,
)
from ditto.sinks.base import Holding, Owner
from ditto.sinks.connection import Connection
from ditto.sinks.risks import check_usable, risks

log = structlog.get_logger()

POSITION_HEADER: Final = "Ditto-Position"
_AT_ONCE: Final = 64
"""Requests that are under way at the same time."""

_OWNER_KEYS: Final = {
    "system_identifier": "ditto.system-identifier",
    "slot": "ditto.slot",
    "prefix": "ditto.prefix",
    "start_lsn": "ditto.start-lsn",
}
_TIMELINE_KEY: Final = "ditto.timeline"
_CREATED_KEY: Final = "ditto.created"
"""Only a stream that Ditto created gets new subjects from it."""

_NOTHING: Final = StreamState(messages=0, bytes=0, first_seq=0, last_seq=0)


class Stream:
    """One stream, through the API. Every call may raise what `Api.call` does, and NoJetStream."""

    def __init__(self, connection: Connection, config: Nats) -> None:
        self.api = Api(connection, config)
        self._config = config
        self.name = config.stream
        self.exists = False
        """Whether there was such a stream when it was last looked at."""
        self.config = StreamConfig()
        """What Ditto reads of its configuration."""
        self._settings: dict[str, Any] = {}
        """All of its configuration, as the server gave it: what an update sends back."""
        self.state = _NOTHING
        """How much it holds."""
        self.cluster: Cluster | None = None
        self.asked_at: datetime | None = None
        """The server's clock when it told all this; None where it did not say."""

    @property
    def last_sequence(self) -> int:
        """Of the last message that was stored, whether it is there still or not."""
        return self.state.last_seq

    @property
    def is_clustered(self) -> bool:
        """Whether its server is one of a cluster."""
        return self.cluster is not None and bool(self.cluster.name)

    async def look(self) -> bool:
        """Read the stream's state; False where it does not exist."""
        doing = f"look up stream {self.name}"
        try:
            info = await self.api.call(f"STREAM.INFO.{self.name}", None, doing, to=StreamInfo)
        except ApiError as error:
            if error.code == NO_STREAM:
                self.exists, self.config, self._settings, self.state = False, StreamConfig(), {}, _NOTHING
                return False
            raise refusal(error, doing) from error
        self.exists = True
        self._take_config(info, doing)
        self.state, self.cluster, self.asked_at = info.state, info.cluster, info.ts
        return True

    def _take_config(self, info: StreamInfo, doing: str) -> None:
        self.config, self._settings = read_config(info, doing=doing)

    @property
    def is_created_here(self) -> bool:
        """Whether Ditto created it: only then does it get new subjects."""
        return self._metadata.get(_CREATED_KEY) == "true"

    @property
    def _metadata(self) -> dict[str, str]:
        return self.config.metadata or {}

    @property
    def replicas(self) -> int:
        """How many copies there are, or will be."""
        return self.config.num_replicas if self.exists else self._config.replicas

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
            await self.api.call(f"STREAM.CREATE.{self.name}", wanted, doing, to=StreamInfo)
        except ApiError as error:
            if error.code == NAME_IN_USE:  # somebody was quicker
                return
            raise self._set_up_error(error, doing) from error
        log.info("stream.created", stream=self.name, replicas=self._config.replicas)

    async def update(self, changes: dict[str, Any], doing: str) -> None:
        """Change some settings and leave the others as they are."""
        wanted = {**self._settings, **changes}
        try:
            info = await self.api.call(f"STREAM.UPDATE.{self.name}", wanted, doing, to=StreamInfo)
        except ApiError as error:
            raise self._set_up_error(error, doing) from error
        self._take_config(info, doing)

    def _set_up_error(self, error: ApiError, doing: str) -> SinkError:
        if error.code == OVERLAP:
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
        """Whom the metadata names. Raises AnswerUnreadable."""
        metadata = self._metadata
        if not metadata.keys() >= set(_OWNER_KEYS.values()):
            return None
        values = {field: metadata[key] for field, key in _OWNER_KEYS.items()}
        timeline = metadata.get(_TIMELINE_KEY, "")
        try:
            start_lsn = parse_lsn(values["start_lsn"])
        except ValueError as error:
            key = _OWNER_KEYS["start_lsn"]
            raise AnswerUnreadable(
                f"cannot look up stream {self.name}: {key} in its metadata is not an LSN",
                hint=f"somebody has changed it; it was written as {key}=0/0 or later, see nats stream info {self.name}",
                stream=self.name,
            ) from error
        return Owner(
            values["system_identifier"],
            values["slot"],
            values["prefix"],
            start_lsn,
            int(timeline) if timeline.isascii() and timeline.isdecimal() else 0,
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
            metadata = dict(self._metadata)
            values = {**msgspec.structs.asdict(claimant), "start_lsn": format_lsn(start_lsn)}
            metadata.update({key: values[field] for field, key in _OWNER_KEYS.items()})
            if owner is None:
                metadata[_TIMELINE_KEY] = str(claimant.timeline)
            changes["metadata"] = metadata
        if not self.config.allow_batched:
            changes["allow_batched"] = True
        if changes:
            await self.update(changes, f"claim stream {self.name}")
        if not self.config.allow_batched:
            raise StreamUnusable(
                f"stream {self.name} does not take batches (allow_batched)",
                hint="is the server that leads it older than 2.14?",
            )

    async def set_timeline(self, timeline: int) -> None:
        """Write the server's new timeline into the metadata."""
        await self.look()
        metadata = {**self._metadata, _TIMELINE_KEY: str(timeline)}
        await self.update({"metadata": metadata}, f"note the timeline in stream {self.name}")

    # ------------------------------------------------------------------------------------ subjects

    def missing_subjects(self, subjects: Iterable[str]) -> set[str]:
        """Those that the stream does not take."""
        taken = self.config.subjects or []
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
        wanted = [*(self.config.subjects or []), *sorted(missing)]
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
            message = await self._message({"last_by_subj": subject}, doing)
            if message is not None:
                found[subject] = message.data

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
                body = {"subjects_filter": pattern, "offset": len(subjects)}
                info = await self.api.call(f"STREAM.INFO.{self.name}", body, doing, to=StreamInfo)
            except ApiError as error:
                raise refusal(error, doing) from error
            page = info.state.subjects or {}
            subjects += page
            if not page or len(subjects) >= info.total:
                return subjects

    async def position(self, sequence: int) -> tuple[bool, Position | None]:
        """Whether there is a message of that sequence, and its position if it is one of Ditto's."""
        return await self._position({"seq": sequence})

    async def _position(self, which: dict[str, Any]) -> tuple[bool, Position | None]:
        """Whether there is such a message, and its position if it is one of Ditto's."""
        message = await self._message(which, f"read the tail of stream {self.name}")
        return (False, None) if message is None else (True, position_of(message))

    async def message(self, sequence: int) -> StoredMessage | None:
        """The message of that sequence; None where there is none."""
        return await self._message({"seq": sequence}, f"read message {sequence} of stream {self.name}")

    async def _message(self, which: dict[str, Any], doing: str) -> StoredMessage | None:
        try:
            answer = await self.api.call(f"STREAM.MSG.GET.{self.name}", which, doing, to=MessageAnswer)
        except ApiError as error:
            if error.code == NO_MESSAGE:
                return None
            raise refusal(error, doing) from error
        return answer.message

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
        check_usable(self.name, self.config)
        for risk in risks(self.config):
            log.warning("stream.risk", stream=self.name, reason=f"{risk.what}: {risk.why}")


def position_of(message: StoredMessage) -> Position | None:
    """The position of a message of Ditto's; None for somebody else's."""
    try:
        return Position.parse(message.header(POSITION_HEADER) or "")
    except ValueError:
        return None


def subject_matches(pattern: str, subject: str) -> bool:
    """Whether a subject falls under a pattern, as https://docs.nats.io/nats-concepts/subjects tells."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":  # noqa: S105  a token of a subject
            return len(given) > index
        if index >= len(given) or token not in {"*", given[index]}:
            return False
    return len(wanted) == len(given)
