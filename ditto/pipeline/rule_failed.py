"""The error for a change, or a logical message, for which a rule of the configuration cannot be worked out."""

from __future__ import annotations

from typing import Final

from ditto.decoding.messages import MESSAGE_ACTION, RuleFailed
from ditto.errors import RuleError
from ditto.lsn import Position
from ditto.printable_text import printable

_HINT: Final = (
    "change the rule, or let on_error of the table be keep or drop; a value that was not sent comes with REPLICA "
    "IDENTITY FULL. PostgreSQL keeps the change"
)
_MESSAGE_HINT: Final = "change the rule, or leave messages with this prefix out; PostgreSQL keeps the message"


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
    return RuleError(
        f"{error.rule} cannot be worked out for {what}, because {error.reason}",
        hint=_MESSAGE_HINT if error.action == MESSAGE_ACTION else _HINT,
        rule=error.rule,
        relation=name,
        action=error.action,
        position=str(position),
    )
