"""A condition that is ready to judge changes of one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from ditto.decoding.choose import IMPL
from ditto.routing.conditions.checked import Changed, Column, Sent, parts_of
from ditto.routing.conditions.checker import Checker
from ditto.routing.conditions.columns import TypedColumn
from ditto.routing.conditions.errors import ConditionError
from ditto.routing.conditions.parser import parse
from ditto.routing.conditions.python_code import TooDeep, compiled
from ditto.routing.table_plans import Texts

if TYPE_CHECKING:
    from ditto.decoding._row_tests import RowTest

if TYPE_CHECKING or IMPL == "c":
    from ditto.routing.conditions.row_tests import row_test
else:

    def row_test(_part: object, _type_names: Sequence[str]) -> None:
        """Nothing is compiled."""


class Condition(Struct, frozen=True):
    """Which changes of a table become events."""

    text: str
    columns: tuple[int, ...]
    """Indexes of the columns that are read: `test` gets their texts, in this order."""
    test: Callable[[str, Texts | None, Texts | None], bool]
    """Action, new and old row (None where there is none, UNSET for what was not sent) in; whether the change passes
    out. Raises RuleFailed where CEL has an error."""
    source: str
    """The Python function, for reading."""
    is_of_rows: bool = False
    """Action and row alone decide: neither the old row, nor which columns an UPDATE changed or the server sent."""
    row_test: RowTest | None = None
    """The same for rows that are as usual, compiled, where there is anything that it would know."""


def compile_condition(
    text: str,
    columns: Sequence[TypedColumn],
    *,
    schema: str,
    table: str,
    identity: str,
    rule: str = "when",
) -> Condition:
    """The condition for a table with these columns and this replica identity (`d`, `n`, `f` or `i`).

    `rule` is the key of the configuration, for RuleFailed. Raises ConditionError.
    """
    part = Checker(text, columns, schema=schema, table=table, identity=identity).check_condition(parse(text))
    try:
        read, test, source = compiled(part, tuple(columns), rule)
    except TooDeep:
        raise ConditionError("nested too deeply", text=text, offset=0) from None
    is_of_rows = not any(
        isinstance(below, Sent | Changed) or (isinstance(below, Column) and below.row == "dataOld")
        for below in parts_of(part)
    )
    return Condition(text, read, test, source, is_of_rows, row_test(part, [column.type_name for column in columns]))
