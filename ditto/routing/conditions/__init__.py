"""Conditions of tables (`when`) in CEL, the Common Expression Language: https://cel.dev.

`parser` makes a syntax tree of the text, `checker` looks names and types up in the table's columns, `python_code` makes
a Python function of the result, `row_filter` the publication's row filter that does the same, where there is one, and
`no_value` says for which actions there never is a result.
Imported only where there is a condition: the parser's library is.
"""

from __future__ import annotations

from ditto.routing.conditions.columns import TypedColumn, columns_of
from ditto.routing.conditions.condition import Condition, compile_condition
from ditto.routing.conditions.errors import ConditionError
from ditto.routing.conditions.no_value import actions_without_value
from ditto.routing.conditions.row_filter import as_row_filter

__all__ = [
    "Condition",
    "ConditionError",
    "TypedColumn",
    "actions_without_value",
    "as_row_filter",
    "columns_of",
    "compile_condition",
]
