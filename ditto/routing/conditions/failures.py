"""Which parts of a condition may have no value for a change, and the sentences for those that have none."""

from __future__ import annotations

from ditto.routing.conditions import checked
from ditto.routing.conditions.checked import Part
from ditto.routing.conditions.errors import Failure


def not_sent(row: str, name: str, action: str) -> Failure:
    """A column is read that is not there."""
    if (
        action == "TRUNCATE"
        or (row == "data" and action == "DELETE")
        or (row == "dataOld" and action in {"INSERT", "READ"})
    ):
        return Failure(f"{row} is empty in {'an' if action == 'INSERT' else 'a'} {action}, and {name} is read of it")
    if row == "data" or (row == "row" and action != "DELETE"):
        return Failure(f"{name} did not change and is stored out of line (TOAST), so that the server did not send it")
    if action == "UPDATE":
        return Failure(f"the server sends the old value of {name} only where the key changed")
    return Failure(f"the server did not send the old value of {name}")


def null_value(name: str) -> Failure:
    """A value is needed, and there is null."""
    return Failure(f"{name} is null" if name else "a part of it is null")


def can_fail(part: Part) -> bool:
    """Whether there may be no value; what is not obvious may fail."""
    match part:
        case checked.Constant() | checked.ActionName() | checked.Sent() | checked.Variable():
            return False
        case checked.Changed(is_key=is_key):
            return not is_key
        case checked.Equal(left=left, right=right):
            return can_fail(left) or can_fail(right)
        case checked.Logic(operands=operands):
            return any(operand.type.is_nullable or can_fail(operand) for operand in operands)
        case checked.Apply(function="!_", arguments=(operand,)):
            return operand.type.is_nullable or can_fail(operand)
        case _:
            return True


def weight(part: Part) -> int:
    """How late a side of `&&` and `||` comes: 0 cannot fail, 1 is cheap."""
    if not can_fail(part) and not part.type.is_nullable:
        return 0
    match part:
        case checked.Equal(left=checked.Column(), right=checked.Constant()):
            return 1
        case checked.Equal(left=checked.Constant(), right=checked.Column()) | checked.In(value=checked.Column()):
            return 1
    return 2
