"""The JetStream stream: set-up, its checks, who owns it, and its tail.

Speaks the JSON API itself where nats-py's structs would drop settings that they do not know: an update
has to send back everything that it got. https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Final

import structlog

from ditto.config import Nats
from ditto.decoding.event_id import event_key
from ditto.errors import (
    AnswerUnreadable,
    PublishRejected,
    StreamNotFound,
    StreamOwned,
    StreamUnusable,
    TailForged,
)
from ditto.hints import delete_message, nats_command
from ditto.lsn import Checkpoint, format_lsn
from ditto.sinks.base import PipelineId, SinkState
from ditto.sinks.jetstream import stream_metadata
from ditto.sinks.jetstream.api import API_TIMEOUT_S, Api
from ditto.sinks.jetstream.api_answers import Cluster, StreamConfig, StreamInfo, StreamState, read_config
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.jetstream.last_message import Kind, classify
from ditto.sinks.jetstream.message_reader import Reader
from ditto.sinks.jetstream.stream_risks import check_usable, risks
from ditto.sinks.jetstream.subjects import folded, is_pattern, subject_matches

log = structlog.get_logger()

_NOTHING: Final = StreamState(messages=0, bytes=0, first_seq=0, last_seq=0)


class Stream:
    """One stream, through the API. Every call may raise the errors of `Api`.

    `accepts_gap`: it may belong to the cluster that pg_upgrade made the slot's cluster of (`delivery.on_gap`).
    """

    def __init__(self, connection: Connection, config: Nats, *, accepts_gap: bool = False) -> None:
        self.connection = connection
        self.api = Api(connection.requests, domain=config.domain)
        self.reader = Reader(self.api, config)
        self._config = config
        self._accepts_gap = accepts_gap
        self.name = config.stream
        self.exists = False
        """Whether there was such a stream when it was last looked at."""
        self.config = StreamConfig()
        """What Ditto reads of its configuration."""
        self._claimed_metadata: dict[str, str] = {}
        """The metadata when it was claimed."""
        self._known_risks: set[str] = set()
        """The risks that are in the log."""
        self._changing = asyncio.Lock()
        self.settings: dict[str, Any] = {}
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
        info = await self.api.stream_info(self.name, doing)
        if info is None:
            self.exists, self.config, self.settings, self.state = False, StreamConfig(), {}, _NOTHING
            return False
        self.exists = True
        self._take_config(info, doing)
        self.state, self.cluster, self.asked_at = info.state, info.cluster, info.ts
        return True

    def _take_config(self, info: StreamInfo, doing: str) -> None:
        self.config, self.settings = read_config(info, doing=doing)

    @property
    def is_created_here(self) -> bool:
        """Whether Ditto created it: only then does it get new subjects."""
        return stream_metadata.is_created_here(stream_metadata.restored(self._metadata, self._claimed_metadata))

    @property
    def _metadata(self) -> dict[str, str]:
        return self.config.metadata or {}

    @property
    def replicas(self) -> int:
        """How many copies there are, or will be."""
        return self.config.num_replicas if self.exists else self._config.replicas

    async def create(self, subjects: Collection[str]) -> None:
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
            "metadata": stream_metadata.created(),
        }
        doing = f"create stream {self.name}"
        try:
            info = await self.api.create_stream(wanted, doing, timeout_s=change_timeout_s(len(subjects)))
        except PublishRejected as error:
            raise StreamUnusable(error.message, hint="see the server's words above") from error
        if info is not None:
            log.info("stream.created", stream=self.name, replicas=self._config.replicas)

    async def _update(self, changes: dict[str, Any], doing: str) -> None:
        """Change some settings and leave the others as they are."""
        wanted = {**self.settings, **changes}
        timeout_s = change_timeout_s(len(wanted.get("subjects") or ()))
        try:
            info = await self.api.update_stream(wanted, doing, timeout_s=timeout_s)
        except PublishRejected as error:
            raise StreamUnusable(error.message, hint="see the server's words above") from error
        self._take_config(info, doing)

    # ------------------------------------------------------------------------------------ ownership

    @property
    def owner(self) -> PipelineId | None:
        """Whom the metadata names. Raises AnswerUnreadable."""
        try:
            return stream_metadata.read_owner(self._metadata)
        except ValueError as error:
            raise AnswerUnreadable(
                f"cannot look up stream {self.name}: an LSN in its metadata is none",
                hint="somebody has changed it; what it says now: "
                f"{nats_command(self._config, 'stream', 'info', self.name)}",
                stream=self.name,
            ) from error

    def check_owner(self, claimant: PipelineId) -> None:
        """Raise StreamOwned when the stream belongs to another slot or another database cluster."""
        owner = self.owner
        if owner is None or (owner.system_identifier, owner.slot) == (claimant.system_identifier, claimant.slot):
            return
        if owner.slot == claimant.slot and self._accepts_gap:
            return  # `decide_start` sees whether its positions go on
        raise StreamOwned(
            f"stream {self.name} belongs to slot {owner.slot} of the database cluster {owner.system_identifier}, "
            f"not to slot {claimant.slot} of {claimant.system_identifier}",
            hint="give each slot a stream and subjects of its own: another nats.stream and events.prefix for this one"
            if owner.slot != claimant.slot
            else "after pg_upgrade, which keeps the slot, start once with delivery.on_gap: continue; otherwise give "
            "each cluster a stream and subjects of its own: another nats.stream and events.prefix for this one",
        )

    async def claim(self, claimant: PipelineId) -> None:
        """Write the owner into the metadata, where it is not there yet; and let batches in."""
        changes: dict[str, Any] = {}
        wanted = stream_metadata.claim(self._metadata, claimant, last_sequence=self.last_sequence)
        if wanted != self._metadata:
            changes["metadata"] = wanted
        if not self.config.allow_batched:
            changes["allow_batched"] = True
        if changes:
            await self._update(changes, f"claim stream {self.name}")
        if not self.config.allow_batched:
            raise StreamUnusable(
                f"stream {self.name} does not take batches (allow_batched)",
                hint="is the server that leads it older than 2.14?",
            )
        self._claimed_metadata = dict(self._metadata)

    async def set_source(self, owner: PipelineId) -> None:
        """Write into the metadata what the stream is filled from now."""
        async with self._changing:
            await self.look()
            await self._update(
                {"metadata": {**self._whole_metadata(), **stream_metadata.describe_source(owner)}},
                f"note where stream {self.name} is filled from",
            )

    async def keep_place(self, place: Checkpoint, owner: PipelineId) -> None:
        """Write into the metadata how far the stream is filled; not over what says more."""
        async with self._changing:
            await self.look()
            before = stream_metadata.read_place(self._metadata)
            if before is None or before.lsn < place.lsn:
                await self._update(
                    {"metadata": {**self._whole_metadata(), **stream_metadata.write_place(place, owner)}},
                    f"note the place in stream {self.name}",
                )

    async def keep_snapshots(self, control: bytes) -> None:
        """Write the newest control event of snapshots into the metadata; an empty one removes it."""
        async with self._changing:
            await self.look()
            before = self._metadata.get(stream_metadata.SNAPSHOTS, "")
            if before == control.decode():
                return
            metadata = {**self._whole_metadata(), stream_metadata.SNAPSHOTS: control.decode()}
            if not control:
                del metadata[stream_metadata.SNAPSHOTS]
            self._claimed_metadata.pop(stream_metadata.SNAPSHOTS, None)
            await self._update({"metadata": metadata}, f"note how far snapshots are in stream {self.name}")

    def _whole_metadata(self) -> dict[str, str]:
        """The metadata, with what is Ditto's where somebody has replaced all of it since it was claimed."""
        whole = stream_metadata.restored(self._metadata, self._claimed_metadata)
        if lost := sorted(whole.keys() - self._metadata.keys()):
            log.warning(
                "stream.metadata_restored",
                stream=self.name,
                keys=lost,
                reason="somebody has replaced the stream's metadata: nats stream edit --metadata drops what it does "
                "not name",
            )
        return whole

    async def keep_metadata(self) -> None:
        """Put back what is Ditto's in the metadata, where somebody has replaced all of it; and say new risks."""
        async with self._changing:
            if not await self.look():
                return
            self._warn_of_risks()
            if (whole := self._whole_metadata()) != self._metadata:
                await self._update({"metadata": whole}, f"put the metadata of stream {self.name} back")

    # ------------------------------------------------------------------------------------ subjects

    def missing_subjects(self, subjects: Iterable[str]) -> set[str]:
        """Those that the stream does not take."""
        taken = self.config.subjects or []
        literal = set(taken)
        wildcards = [pattern for pattern in taken if is_pattern(pattern)]
        return {
            subject
            for subject in subjects
            if subject not in literal and not any(subject_matches(pattern, subject) for pattern in wildcards)
        }

    async def cover(self, subjects: Iterable[str], wildcard: str | None) -> None:
        """Add the subjects that are missing, in one request; raises StreamUnusable where Ditto may not.

        `wildcard` is added in place of those that it covers.
        """
        async with self._changing:
            await self.look()  # an update sends everything back: not what the stream was like when the session began
            self._warn_of_risks()
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
            added = folded(missing, wildcard)
            # nats-server refuses subjects that overlap.
            patterns = [subject for subject in added if is_pattern(subject)]
            kept = [
                subject
                for subject in self.config.subjects or []
                if not any(subject_matches(pattern, subject) for pattern in patterns)
            ]
            changes: dict[str, Any] = {"subjects": [*kept, *sorted(added)]}
            if (whole := self._whole_metadata()) != self._metadata:
                changes["metadata"] = whole
            await self._update(changes, f"add the subjects {named} to stream {self.name}")
        log.info("stream.subjects_added", stream=self.name, subjects=sorted(added)[:20], count=len(added))

    # ------------------------------------------------------------------------------------ tail

    async def find_tail(self, claimant: PipelineId | None = None) -> SinkState:
        """What the stream holds, as its leader has it; `claimant` is asked where the metadata names no owner.

        Raises TailForged.
        """
        owner = self.owner
        of = owner or claimant
        systems = () if of is None else (of.system_identifier, *of.former_systems)
        keys = None if of is None else [event_key(system, of.slot) for system in systems]
        found = await self.reader.find_tail(self.state, keys=keys)
        snapshots = self._metadata.get(stream_metadata.SNAPSHOTS, "").encode()
        place = stream_metadata.read_place(self._metadata)
        if place is not None and (place.sequence or 0) > self.last_sequence:
            place = None  # the stream's end was lost, and with it what the place speaks of
        if place is not None and (found is None or place.position > found.position):
            if self.last_sequence > (place.sequence or 0):
                log.warning(
                    "stream.place_used",
                    stream=self.name,
                    place=format_lsn(place.lsn),
                    reason="the stream's last messages have been deleted since their place was noted: events after it "
                    "may be stored twice, with the same ids",
                )
            return SinkState(owner, place.position, place.last, snapshots=snapshots)
        if found is None:
            return SinkState(owner, None, snapshots=snapshots)
        since = stream_metadata.identified_after(self._metadata)
        is_proven = found.is_proven or since is None or found.sequence <= since
        removal = delete_message(self._config, found.sequence)
        return SinkState(owner, found.position, found.last, is_proven, removal, found.mark, snapshots, found.group)

    async def is_foreign(self, sequence: int) -> bool:
        """Whether there is a message of that sequence which is neither Ditto's nor the server's own."""
        message = await self.reader.message(sequence)
        if message is None:
            return False
        try:
            return classify(message, keys=None, config=self._config).kind is Kind.FOREIGN
        except TailForged:
            return True

    async def inspect(self, claimant: PipelineId) -> SinkState:
        """Who owns the stream and where its tail is, without changing anything. Raises StreamOwned."""
        if not await self.look():
            if not self._config.create:
                raise StreamNotFound(
                    f"stream {self.name} does not exist, and nats.create is false",
                    hint="ditto check prints the command that creates it, with its subjects; or let Ditto create it",
                    stream=self.name,
                )
            return SinkState(None, None)
        self.check_owner(claimant)
        return await self.find_tail(claimant)

    # ------------------------------------------------------------------------------------ checks

    def check(self) -> None:
        """Raise StreamUnusable for settings that cannot work; warn about those that can lose events."""
        check_usable(self.name, self.config)
        self._warn_of_risks()

    def _warn_of_risks(self) -> None:
        """Warn of settings that can lose events, once each."""
        reasons = {f"{risk.what}: {risk.why}" for risk in risks(self.config)}
        for reason in sorted(reasons - self._known_risks):
            log.warning("stream.risk", stream=self.name, reason=reason)
        self._known_risks = reasons


def change_timeout_s(subject_count: int) -> float:
    """How long creating or changing a stream of so many subjects may take.

    nats-server compares each with each: 4 to 10 s for 10,000 on an idle machine of two cores. It stores meanwhile.
    """
    return API_TIMEOUT_S + 0.6 * (subject_count / 1000) ** 2
