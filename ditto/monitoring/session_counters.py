"""Counts what one attempt does into the counters: once a block, never once a row."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from ditto.decoding.messages import Block, Encoded
from ditto.monitoring.counters import Counters, DecoderCounts
from ditto.monitoring.latency import LatencySampler
from ditto.sinks.base import Sink
from ditto.source.replication import Replication

log = structlog.get_logger()


class SessionCounters:
    """`clock` gives monotonic seconds."""

    def __init__(self, counters: Counters, source: Replication, *, clock: Callable[[], float]) -> None:
        self._counters = counters
        self._source = source
        self._sink: Sink | None = None
        self._clock = clock
        self._counts = DecoderCounts(counters)
        self._stored_sequence = 0
        self.probe = LatencySampler(counters, clock=clock)

    def attach(self, sink: Sink) -> None:
        """From now on the counters knows where to ask for what stands elsewhere; until Counters.detach()."""
        self._sink = sink
        self._counters.refresh = self._refresh

    def begin(self, sequence: int) -> None:
        """The stream ends there; what comes after it is this attempt's."""
        self._stored_sequence = sequence

    async def publish(self, sink: Sink, block: Block, encoded: Encoded, *, began_at: float) -> None:
        """Publish a block that began to be encoded at that time, and take the time of both."""
        counters, encoded_at, waited_s = self._counters, self._clock(), sink.waited_s
        await sink.publish(block, encoded)
        waited_s = sink.waited_s - waited_s
        counters.stage_s["encode"] += encoded_at - began_at
        counters.stage_s["room"] += waited_s
        counters.stage_s["publish"] += self._clock() - encoded_at - waited_s
        counters.events += len(block.events)
        counters.sent_bytes += len(encoded.data)
        # The description of a table, which may stand last, has no commit time.
        if sink.outstanding_count and (commit_time := getattr(block.events[-1], "commit_time", None)):
            self.probe.sent(sink.sent_sequence, commit_time)

    def stored(self, sequence: int) -> None:
        """Everything up to this stream sequence is acknowledged."""
        self._counters.stored += sequence - self._stored_sequence
        self._stored_sequence = sequence
        self.probe.stored(sequence)

    def foreign_answer(self) -> None:
        """Somebody who subscribes to the events' subjects has answered one."""
        self._counters.foreign_answers += 1
        if self._counters.foreign_answers == 1:
            log.warning(
                "events.answered",
                reason="an answer to an event did not come from JetStream; Ditto ignores such answers",
                hint="somebody subscribes to the events' subjects and replies to what comes: let it read the stream "
                "through a consumer, or not reply; nats.inbox_prefix and permissions keep others from answering",
            )

    def _refresh(self) -> None:
        counters, sink = self._counters, self._sink
        if (decoder := self._source.decoder) is not None:
            self._counts.take(
                decoder.passed_counts(), filtered_count=decoder.filtered_count, skipped_count=decoder.skipped_count
            )
        counters.stage_s["read"] += self._source.take_read_s()
        counters.lag_s = self.probe.lag_s()
        if sink is not None:
            counters.outstanding, counters.outstanding_bytes = sink.outstanding_count, sink.outstanding_bytes
