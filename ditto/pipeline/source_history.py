"""Whether the slot sends the history that the sink was filled from: a position is not an identity. Pure.

The last transaction comes again at every start, as long as the slot has not passed it. A server whose storage was put
back to an earlier copy writes other transactions at the same LSNs, on the same timeline, and they would be taken for
stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from ditto.errors import SourceRewound
from ditto.hints import RELOAD
from ditto.lsn import Position, Transaction, format_lsn
from ditto.sinks.base import Capabilities


class History:
    """Compares what the slot sends first with what the stream says of its end.

    `tail` is where the stream ends, `last` the last transaction at or before it, of which the slot sends nothing again
    when `confirmed_lsn` has passed it. Between the two there is no transaction. With another publication (not
    `is_same_publication`) that is not certain, and neither is that the last one comes again: a transaction of which
    nothing is published is not sent. PostgreSQL decides that by the catalogue of the transaction's own time, so that
    a later ALTER PUBLICATION changes nothing; but one that was open meanwhile may come the first time, and not again
    (`commit_record`): then the server's WAL decides, see `is_last_absent`.

    With a `doubt` there is another reason to believe that the history is not the stream's: it is what is raised then.
    """

    def __init__(
        self,
        *,
        tail: Position,
        last: Transaction | None,
        confirmed_lsn: int,
        is_same_publication: bool,
        sink: Capabilities,
        doubt: SourceRewound | None = None,
    ) -> None:
        self._tail = tail
        self._doubt = doubt
        self.is_last_absent = False
        """The last transaction was to come again, and has not."""
        self._last = last
        self._is_due = last is not None and confirmed_lsn <= last.commit_lsn
        self._is_strict = is_same_publication or doubt is not None
        self._sink = sink
        self.is_certain = last is None or confirmed_lsn >= max(tail.commit_lsn, last.commit_lsn + 1)
        """Nothing more is to be found out: it is the same one, or nothing that the slot sends could tell."""

    @property
    def watch_lsn(self) -> int:
        """Transactions before this LSN tell nothing."""
        return 0 if self._last is None else self._last.commit_lsn

    def judge(self, sent: Sequence[Transaction], idle_lsn: int) -> None:
        """Find out as much as can be; raises SourceRewound.

        `sent` are the first `WATCHED` transactions from `watch_lsn` on, the last of which may still be coming; every
        transaction that begins to commit before `idle_lsn` has been sent.
        """
        last = self._last
        if self.is_certain or last is None:
            return
        has_come, reached_lsn = False, idle_lsn
        for transaction in sent:
            reached_lsn = max(reached_lsn, transaction.commit_lsn)
            if transaction.commit_lsn == last.commit_lsn:
                has_come = True
                self._compare(transaction, last)
            elif transaction.commit_lsn < self._tail.commit_lsn and self._is_strict:
                raise self._rewound(last, f"sends one at {format_lsn(transaction.commit_lsn)} that the stream has not")
        is_past = reached_lsn > last.commit_lsn
        if is_past and self._is_due and self._is_strict and not has_come:
            self.is_last_absent = True
            raise self._rewound(last, "does not send it again")
        is_at_end = reached_lsn >= self._tail.commit_lsn and is_past
        ends_here = has_come and last.commit_lsn >= self._tail.commit_lsn
        self.is_certain = is_at_end or ends_here or (is_past and not self._is_strict)

    def know_last(self) -> None:
        """The last transaction is part of the server's history, although the slot does not send it again."""
        self._is_due = self.is_last_absent = False

    def _compare(self, found: Transaction, last: Transaction) -> None:
        if found.commit_time != last.commit_time:
            raise self._rewound(last, f"sends one of {found.commit_time} in its place")
        if None not in {found.xid, last.xid} and found.xid != last.xid:
            raise self._rewound(last, f"sends transaction {found.xid} in its place")

    def _rewound(self, last: Transaction, what: str) -> SourceRewound:
        if self._doubt is not None:
            return self._doubt
        xid = "" if last.xid is None else f" {last.xid}"
        end = format_lsn(self._tail.commit_lsn)
        return SourceRewound(
            f"{self._sink.name} holds transaction{xid} of {last.commit_time}, which commits at "
            f"{format_lsn(last.commit_lsn)}, and the slot {what}: the server's history is not the {self._sink.kind}'s",
            hint="was the server's storage put back to an earlier copy? What it committed after that copy, up to "
            f"{end}, is not in the {self._sink.kind}, and cannot be stored there any more: {RELOAD}",
            **self._sink.context,
            missing_to=end,
        )
