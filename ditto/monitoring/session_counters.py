"""Counts what one attempt does into the tally: once a block, never once a row."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from ditto.decoding.messages import Block, Encoded
from ditto.monitoring.counters import DecoderCounts, Tally
from ditto.monitoring.latency import Probe
from ditto.sinks.base import Sink
from ditto.source.replication import Replication

log = structlog.get_logger()


class Meter:
    """`clock` gives monotonic seconds."""

    def __init__(self, tally: Tally, source: Replication, *, clock: Callable[[], float]) -> None:
        self._tally = tally
        self._source = source
        self._sink: Sink | None = None
        self._clock = clock
        self._counts = DecoderCounts(tally)
        self._stored_sequence = 0
        self.probe = Probe(tally, clock=clock)

    def attach(self, sink: Sink) -> None:
        """From now on the tally knows where to ask for what stands elsewhere; until Tally.detach()."""
        self._sink = sink
        self._tally.refresh = self._refresh

    def begin(self, sequence: int) -> None:
        """The stream ends there; what comes after it is this attempt's."""
        self._stored_sequence = sequence

    async def publish(self, sink: Sink, block: Block, encoded: Encoded, *, began_at: float) -> None:
        """Publish a block that began to be encoded at that time, and take the time of both."""
        tally, encoded_at, waited_s = self._tally, self._clock(), sink.waited_s
        await sink.publish(block, encoded)
        waited_s = sink.waited_s - waited_s
        tally.stage_s["encode"] += encoded_at - began_at
        tally.stage_s["room"] += waited_s
        tally.stage_s["publish"] += self._clock() - encoded_at - waited_s
        tally.events += len(block.events)
        tally.sent_bytes += len(encoded.data)
        # The description of a table, which may stand last, has no commit time.
        if sink.outstanding_count and (commit_time := getattr(block.events[-1], "commit_time", None)):
            self.probe.sent(sink.sent_sequence, commit_time)

    def stored(self, sequence: int) -> None:
        """Everything up to this stream sequence is acknowledged."""
        self._tally.stored += sequence - self._stored_sequence
        self._stored_sequence = sequence
        self.probe.stored(sequence)

    def foreign_answer(self) -> None:
        """Somebody who subscribes to the events' subjects has answered one."""
        self._tally.foreign_answers += 1
        if self._tally.foreign_answers == 1:
            log.warning(
                "events.answered",
                reason="an answer to an event did not come from JetStream; Ditto ignores such answers",
                hint="somebody subscribes to the events' subjects and replies to what comes: let it read the stream "
                "through a consumer, or not reply; nats.inbox_prefix and permissions keep others from answering",
            )

    def _refresh(self) -> None:
        tally, sink = self._tally, self._sink
        if (decoder := self._source.decoder) is not None:
            self._counts.take(
                decoder.passed_counts(), filtered_count=decoder.filtered_count, skipped_count=decoder.skipped_count
            )
        tally.stage_s["read"] += self._source.take_read_s()
        tally.lag_s = self.probe.lag_s()
        if sink is not None:
            tally.outstanding, tally.outstanding_bytes = sink.outstanding_count, sink.outstanding_bytes
