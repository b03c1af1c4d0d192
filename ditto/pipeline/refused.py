"""The error for a change, or a logical message, that the decoder refuses."""

from __future__ import annotations

from typing import Final

from ditto.config import Events
from ditto.decoding.messages import MESSAGE_ACTION, ChangeRefused, ChangeTooLarge, RuleFailed
from ditto.errors import DittoError, NotNow, RuleError
from ditto.lsn import Position
from ditto.pipeline.too_large import event_too_large
from ditto.printable_text import printable
from ditto.routing.unfit_plans import Unfit
from ditto.sinks.base import Capabilities

_HINT: Final = (
    "change the rule, or let on_error of the table be keep or drop; a value that was not sent comes with REPLICA "
    "IDENTITY FULL. PostgreSQL keeps the change"
)
_EMPTY_HINT: Final = (
    "data has no columns in a DELETE, where row is the old row, and no row has any in a TRUNCATE: begin the condition "
    "with action == '{action}' ||, leave the action out of actions, or let on_error be keep or drop. PostgreSQL keeps "
    "the change"
)
_MESSAGE_HINT: Final = (
    "correct what writes such messages; on_error: drop in the entry leaves them out. PostgreSQL keeps the message"
)
_OUTBOX_HINT: Final = (
    "correct what writes such rows; events.outbox.on_error: drop leaves them out. PostgreSQL keeps the row"
)


def refusal(error: ChangeRefused, sink: Capabilities, events: Events) -> DittoError:
    """What the session raises once everything before the change is durable."""
    if isinstance(error, Unfit):
        return error.error
    if isinstance(error, RuleFailed):
        return rule_error(error)
    if not isinstance(error, ChangeTooLarge):
        raise error
    if error.size <= sink.max_bytes:
        return NotNow(f"the server accepts larger messages than when it was connected: {sink.max_bytes} bytes")
    return event_too_large(
        error.action,
        error.relation,
        Position(error.commit_lsn, error.ordinal),
        size=f"at least {error.size}",
        limit=sink.max_bytes,
        column=error.column,
        sink=sink,
        events=events,
    )


def rule_error(error: RuleFailed) -> RuleError:
    """The error that names rule, table and position; a row that a snapshot reads has none of its own."""
    position = Position(error.commit_lsn, error.ordinal)
    name = printable(error.relation)
    if error.action == MESSAGE_ACTION:
        what = f"the logical message {name} at {position}"
    elif error.action == "READ":
        what = f"a row of table {name}"
    else:
        what = f"the {error.action} at {position} on table {name}"
    is_empty = error.action in {"DELETE", "TRUNCATE"} and " is empty in " in error.reason
    return RuleError(
        f"{error.rule} cannot be worked out for {what}, because {error.reason}",
        hint=_MESSAGE_HINT
        if error.action == MESSAGE_ACTION
        else _OUTBOX_HINT
        if error.rule.startswith("events.outbox")
        else _EMPTY_HINT.format(action=error.action)
        if is_empty
        else _HINT,
        rule=error.rule,
        relation=name,
        action=error.action,
        position=str(position),
    )
