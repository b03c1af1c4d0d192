"""Actions for which a condition never has a value: `data` of a DELETE and every row of a TRUNCATE are empty."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from ditto.routing.conditions import checked
from ditto.routing.conditions.checked import Part, parts_of
from ditto.routing.conditions.checker import Checker
from ditto.routing.conditions.columns import TypedColumn
from ditto.routing.conditions.parser import parse

_ANY: Final[frozenset[bool | None]] = frozenset({True, False, None})
_ERROR: Final[frozenset[bool | None]] = frozenset({None})


def actions_without_value(text: str, columns: Sequence[TypedColumn], *, identity: str) -> list[str]:
    """DELETE and TRUNCATE, where the condition has an error for each. Raises ConditionError."""
    part = Checker(text, columns, schema="", table="", identity=identity).check_condition(parse(text))
    return [action for action in ("DELETE", "TRUNCATE") if _outcomes(part, action) == _ERROR]


def _outcomes(part: Part, action: str) -> frozenset[bool | None]:
    """True, False and, for an error, None: what may come out."""
    match part:
        case checked.Constant(value=bool() as value):
            return frozenset({value})
        case checked.Sent(row=row):
            return frozenset({False}) if _is_empty(row, action) else _ANY
        case checked.Changed():
            return frozenset({True})
        case checked.Logic(is_and=is_and, operands=operands):
            every = itertools.product(*(_outcomes(each, action) for each in operands))
            return frozenset(_joined(found, is_and) for found in every)
        case checked.Apply(function="!_", arguments=(below,)):
            return frozenset(None if each is None else not each for each in _outcomes(below, action))
        case checked.Choice(condition=condition, yes=yes, no=no):
            sides = {True: _outcomes(yes, action), False: _outcomes(no, action), None: _ERROR}
            return frozenset().union(*(sides[each] for each in _outcomes(condition, action)))
        case checked.Equal(left=checked.ActionName(), right=checked.Constant(value=value), is_negated=is_negated) | (
            checked.Equal(left=checked.Constant(value=value), right=checked.ActionName(), is_negated=is_negated)
        ):
            return frozenset({(value == action) != is_negated})
        case checked.In(value=checked.ActionName(), items=checked.ListOf(items=items)) if all(
            isinstance(each, checked.Constant) for each in items
        ):
            return frozenset({any(isinstance(each, checked.Constant) and each.value == action for each in items)})
        case checked.Column() | checked.Apply() | checked.Equal() | checked.In() | checked.At():
            return _ERROR if _is_needed_and_empty(part, action) else _ANY
    return _ANY


def _is_needed_and_empty(part: Part, action: str) -> bool:
    """Whether a column of an empty row is read in any case."""
    below = list(parts_of(part))
    if any(isinstance(each, checked.Logic | checked.Choice | checked.Loop) for each in below):
        return False  # not all that is below them is read
    return any(isinstance(each, checked.Column) and _is_empty(each.row, action) for each in below)


def _is_empty(row: checked.Row, action: str) -> bool:
    return action == "TRUNCATE" or row == "data"


def _joined(found: Sequence[bool | None], is_and: bool) -> bool | None:
    """What && or || makes of these."""
    if (not is_and) in found:
        return not is_and
    return None if None in found else is_and
