"""How far a pipeline has got, in its stream: checkpoints among the messages, and its place in the metadata."""

from __future__ import annotations

from ditto.decoding.event_id import event_key
from ditto.formats.checkpoint import encode_checkpoint
from ditto.lsn import Checkpoint
from ditto.sinks.base import PipelineId
from ditto.sinks.jetstream.publisher import Publisher
from ditto.sinks.jetstream.stream import Stream
from ditto.sinks.jetstream.stream_risks import may_lose_tail


class Checkpoints:
    """A `CheckpointStore` (see `sinks.base`): the stream's tail is the checkpoint."""

    def __init__(self, stream: Stream, publisher: Publisher, *, pipeline: PipelineId, subject: str) -> None:
        self._stream = stream
        self._publisher = publisher
        self._pipeline = pipeline
        self._subject = subject

    async def save(self, checkpoint: Checkpoint, *, number: int) -> None:
        """Send it as the next message; only the newest one is kept, where the stream allows that."""
        headers = b"Ditto-Position: %b\r\n" % str(checkpoint.position).encode()
        if self._stream.config.allow_rollup_hdrs:
            headers += b"Nats-Rollup: sub\r\n"
        key = event_key(self._pipeline.system_identifier, self._pipeline.slot)
        await self._publisher.send_last(self._subject, headers, encode_checkpoint(checkpoint, key), number=number)

    @property
    def may_lose_tail(self) -> bool:
        """Whether the server, or consumers, may delete the last message."""
        return may_lose_tail(self._stream.config)

    async def save_beside(self, checkpoint: Checkpoint) -> None:
        """Write it into the stream's metadata, with the sequence up to which everything is stored."""
        place = checkpoint._replace(sequence=self._publisher.stored_sequence)
        await self._stream.keep_place(place, self._pipeline)

    async def save_snapshots(self, control: bytes) -> None:
        """Write it into the stream's metadata."""
        await self._stream.keep_snapshots(control)

    async def save_source(self, pipeline: PipelineId) -> None:
        """Write timeline and publication into the stream's metadata."""
        await self._stream.set_source(pipeline)

    async def restore(self) -> None:
        """Put back what is Ditto's in the stream's metadata, where somebody has replaced it."""
        await self._stream.keep_metadata()
