"""Syntax tree to checked tree: looks up names and functions, and gives each part its type.

The rules are those of CEL's own checker, with the columns' types; a part whose value is known already is worked out.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final, get_args

from ditto.hints import full_identity
from ditto.routing.conditions import checked, syntax
from ditto.routing.conditions.calls import MACROS, apply, as_numeric, mismatch_hint
from ditto.routing.conditions.checked import Part
from ditto.routing.conditions.columns import TypedColumn, kind_of
from ditto.routing.conditions.errors import ConditionError
from ditto.routing.conditions.value_types import (
    BOOL,
    BYTES,
    DOUBLE,
    DYN,
    FREE,
    INT,
    KEY_TYPES,
    NULL,
    NUMERIC,
    STRING,
    Type,
    join,
    list_of,
    map_of,
)

ACTIONS: Final = ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "READ")
ROWS: Final = get_args(checked.Row)
NAMES: Final = (*ROWS, "action", "schema", "table")
_RESERVED: Final = frozenset(
    {"as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package"}
    | {"namespace", "return", "var", "void", "while"}
)


class Checker:
    """Checks one condition of one table."""

    def __init__(self, text: str, columns: Sequence[TypedColumn], *, schema: str, table: str, identity: str) -> None:
        self._text = text
        self._columns = columns
        self._by_name = {column.name: index for index, column in enumerate(columns)}
        self._names = {"schema": schema, "table": table}
        self._identity = identity
        self._variables: dict[str, checked.Variable] = {}
        self._variable_count = 0

    def check_condition(self, node: syntax.Node) -> Part:
        """The whole condition: true or false."""
        part = self.check(node)
        if part.type.name not in {"bool", "dyn"}:
            raise self._error(node, f"the condition is of type {part.type}, and not true or false")
        return part

    def check(self, node: syntax.Node) -> Part:
        """A part. Raises ConditionError."""
        match node:
            case syntax.Literal():
                return self._literal(node)
            case syntax.Name():
                return self._name(node)
            case syntax.Select(operand=syntax.Name(name=name), field=field) if self._is_row(name):
                return self._column(node, name, field)
            case syntax.Select(operand=operand, field=field):
                return self._at(node, self.check(operand), checked.Constant(STRING, field))
            case syntax.Items(items=items):
                parts = tuple(map(self.check, items))
                return checked.ListOf(list_of(_joined(parts)), parts)
            case syntax.Entries(entries=entries):
                return self._map(entries)
            case syntax.Call():
                return self._call(node)

    def _error(self, node: syntax.Node, message: str, hint: str | None = None) -> ConditionError:
        return ConditionError(message, text=self._text, offset=node.offset, hint=hint)

    def _unsent(self, node: syntax.Node, name: str) -> ConditionError:
        return ConditionError(
            f"the server does not send the old value of {name}",
            text=self._text,
            offset=node.offset,
            hint=f"it is sent with {full_identity(self._names['schema'], self._names['table'])}",
            needs_old_rows=True,
        )

    def _literal(self, node: syntax.Literal) -> Part:
        value = node.value
        if isinstance(value, bool):
            return checked.Constant(BOOL, value)
        if isinstance(value, int):
            if not -(1 << 63) <= value < 1 << 63:
                raise self._error(
                    node, "the number does not fit into 64 bits", "numeric columns take it with a .0 behind it"
                )
            return checked.Constant(INT, value, node.source)
        if isinstance(value, float):
            return checked.Constant(DOUBLE, value, node.source)
        if value is None:
            return checked.Constant(NULL, None)
        return checked.Constant(STRING if isinstance(value, str) else BYTES, value)

    def _is_row(self, name: str) -> bool:
        return name in ROWS and name not in self._variables

    def _name(self, node: syntax.Name) -> Part:
        name = node.name
        if name in self._variables:
            return self._variables[name]
        if name == "action":
            return checked.ActionName()
        if name in self._names:
            return checked.Constant(STRING, self._names[name])
        if name in ROWS:
            raise self._error(
                node,
                f"{name} is the whole row, and a condition reads columns",
                f"write {name}.COLUMN, or {name}['a name with spaces']",
            )
        if name in self._by_name:
            raise self._error(
                node, f"there is no name {name}", f"the column is data.{name}, its old value dataOld.{name}"
            )
        if name in _RESERVED:
            raise self._error(node, f"{name} is a reserved word of CEL")
        nearest = difflib.get_close_matches(name, NAMES, 1)
        raise self._error(
            node,
            f"there is no name {name}",
            f"is {nearest[0]} meant?" if nearest else f"there are {', '.join(NAMES)}; a text is written in quotes",
        )

    def _column_index(self, node: syntax.Node, name: str) -> int:
        if name in self._by_name:
            return self._by_name[name]
        nearest = difflib.get_close_matches(name, self._by_name, 1, 0.5)
        raise self._error(
            node,
            f"the table has no column {name}",
            f"is {nearest[0]} meant?" if nearest else f"its columns are {', '.join(self._by_name)}",
        )

    def _old_is_known(self, index: int) -> bool:
        """Whether the server sends the old value of a column, at least where the key changed."""
        return self._identity == "f" or (self._identity in "di" and self._columns[index].is_key)

    def _column(self, node: syntax.Node, row: str, name: str) -> checked.Column:
        index = self._column_index(node, name)
        found: checked.Row = "data" if row == "data" else "dataOld" if row == "dataOld" else "row"
        if found == "dataOld" and not self._old_is_known(index):
            raise self._unsent(node, name)
        return checked.Column(kind_of(self._columns[index].type_name).type.nullable(), found, index, name)

    def _call(self, node: syntax.Call) -> Part:
        match node:
            case syntax.Call(function="_[_]", arguments=(syntax.Name(name=name) as row, index)) if self._is_row(name):
                if not isinstance(index, syntax.Literal) or not isinstance(index.value, str):
                    raise self._error(index, f"{row.name}[…] takes the name of a column in quotes")
                return self._column(index, name, index.value)
            case syntax.Call(function="has", target=None):
                return self._has(node)
            case syntax.Call(function="changed", target=None):
                return self._changed(node)
            case syntax.Call(function=function, target=target) if target is not None and function in MACROS:
                return self._macro(node, target)
            case syntax.Call(function="_&&_" | "_||_", arguments=(left, right)):
                return self._logic(node, left, right)
            case syntax.Call(function="_?_:_", arguments=(condition, yes, no)):
                return self._choice(node, condition, yes, no)
        parts = tuple(map(self.check, node.arguments))
        match node.function:
            case "_==_" | "_!=_":
                return self._equal(node, *parts)
            case "_in_":
                return self._in(node, *parts)
            case "_[_]":
                return self._at(node, *parts)
        return apply(self._text, node, parts if node.target is None else (self.check(node.target), *parts))

    def _has(self, node: syntax.Call) -> Part:
        match node.arguments:
            case (syntax.Select(operand=syntax.Name(name=name), field=field) as column,) if self._is_row(name):
                found = self._column(column, name, field)
                return checked.Sent(found.row, found.index)
            case (syntax.Call(function="_[_]", arguments=(syntax.Name(name=name), _)) as column,) if self._is_row(name):
                read = self._call(column)
                if isinstance(read, checked.Column):
                    return checked.Sent(read.row, read.index)
            case (syntax.Select(operand=operand, field=field),):
                part = self.check(operand)
                if part.type.name not in {"map", "dyn"}:
                    raise self._error(node, f"has() of a {part.type}, which has no fields")
                return checked.Apply(BOOL, "has", (part,), "has_key({0}, {1})", field)
        raise self._error(node, "has() takes one field", "as in has(data.document.name)")

    def _changed(self, node: syntax.Call) -> Part:
        match node.arguments:
            case (syntax.Literal(value=str() as name) as literal,):
                index = self._column_index(literal, name)
                if not self._old_is_known(index):
                    raise self._unsent(literal, name)
                return checked.Changed(index, name, self._identity != "f")
        raise self._error(node, "changed() takes the name of a column in quotes", "as in changed('status')")

    def _logic(self, node: syntax.Call, left: syntax.Node, right: syntax.Node) -> Part:
        is_and = node.function == "_&&_"
        operands: list[Part] = []
        for side in (left, right):
            part = self.check(side)
            self._need_bool(side, part)
            if isinstance(part, checked.Logic) and part.is_and == is_and:
                operands.extend(part.operands)
            else:
                operands.append(part)
        return checked.Logic(is_and, tuple(operands))

    def _need_bool(self, node: syntax.Node, part: Part) -> None:
        if part.type.name not in {"bool", "dyn"}:
            hint = (
                "a column that is NULL is equal to null: data.x != null" if isinstance(part, checked.Column) else None
            )
            raise self._error(node, f"this is of type {part.type}, and has to be true or false", hint)

    def _choice(self, node: syntax.Call, condition: syntax.Node, yes: syntax.Node, no: syntax.Node) -> Part:
        parts = [self.check(side) for side in (condition, yes, no)]
        self._need_bool(condition, parts[0])
        type_ = join(parts[1].type, parts[2].type)
        if type_ is None:
            raise self._error(node, f"both sides of : have one type, and not {parts[1].type} and {parts[2].type}")
        return checked.Choice(type_, *parts)

    def _equal(self, node: syntax.Call, left: Part, right: Part) -> Part:
        left, right = as_numeric(left, right), as_numeric(right, left)
        numbers = {left.type.name, right.type.name}
        if join(left.type, right.type) is None and not (NUMERIC.name in numbers <= {"numeric", "int", "double"}):
            raise self._error(node, f"{left.type} and {right.type} are never equal", mismatch_hint(left, right))
        self._check_action(node, left, right)
        return checked.Equal(left, right, node.function == "_!=_")

    def _check_action(self, node: syntax.Node, left: Part, right: Part) -> None:
        for one, other in ((left, right), (right, left)):
            if not isinstance(one, checked.ActionName) or not isinstance(other, checked.Constant):
                continue
            if other.value not in ACTIONS:
                raise self._error(node, f"action is never {other.value!r}", f"actions are {', '.join(ACTIONS)}")

    def _in(self, node: syntax.Call, value: Part, items: Part) -> Part:
        if isinstance(items, checked.ListOf):
            converted = tuple(as_numeric(item, value) for item in items.items)
            for item in converted:
                self._check_action(node, value, item)
            items = checked.ListOf(list_of(_joined(converted)), converted)
        name = items.type.name
        if name not in {"list", "map", "dyn"}:
            hint = "is contains() meant?" if name == "string" else None
            raise self._error(node, f"in takes a list or a map, and not a {items.type}", hint)
        if name == "list":
            value = as_numeric(value, checked.Variable(items.type.parameter(0), 0))
        if name != "dyn" and join(value.type, items.type.parameter(0)) is None:
            inside = checked.Variable(items.type.parameter(0), 0)
            raise self._error(node, f"a {value.type} is never in a {items.type}", mismatch_hint(value, inside))
        return checked.In(value, items)

    def _at(self, node: syntax.Node, items: Part, index: Part) -> Part:
        if FREE in items.type.parameters:
            raise self._error(node, f"there is nothing in this {items.type.name}")
        match items.type:
            case Type(name="dyn"):
                return checked.At(DYN, items, index)
            case Type(name="map") if join(index.type, items.type.parameter(0)) is not None:
                return checked.At(items.type.parameter(1), items, index)
            case Type(name="list") if index.type.name in {"int", "dyn"}:
                return checked.At(items.type.parameter(0), items, index)
        if isinstance(node, syntax.Select):
            raise self._error(node, f"a {items.type} has no fields")
        raise self._error(node, f"a {items.type} has no [{index.type}]")

    def _map(self, entries: tuple[tuple[syntax.Node, syntax.Node], ...]) -> Part:
        keys = tuple(self.check(key) for key, _ in entries)
        for (node, _), key in zip(entries, keys, strict=True):
            if key.type.name not in {*KEY_TYPES, "dyn"}:
                raise self._error(node, f"a key of a map is a string, an int or a bool, and not a {key.type}")
        values = tuple(self.check(value) for _, value in entries)
        type_ = _joined(keys)
        if len(entries) > 1 and type_ is DYN:  # 1 and true of JSON would be one key of Python's
            is_open = any(key.type.name == "dyn" for key in keys)
            hint = "write int(…) or string(…) around each that is dyn" if is_open else None
            raise self._error(entries[0][0], "the keys of a map have one type", hint)
        names = [value.type.name for value in values]
        if "dyn" in names and names[0] != "dyn":  # CEL takes the type of the first one for that of all
            raise self._error(
                entries[0][1], f"the values of this map are {names[0]} and dyn", "write dyn(…) around this"
            )
        return checked.MapOf(map_of(type_, _joined(values)), keys, values)

    def _macro(self, node: syntax.Call, target: syntax.Node) -> Part:
        macro: checked.Macro = next(name for name in MACROS if name == node.function)
        items = self.check(target)
        if items.type.name not in {"list", "map", "dyn"}:
            raise self._error(node, f"{macro}() goes through a list or a map, and not through a {items.type}")
        if FREE in items.type.parameters:
            raise self._error(node, f"there is nothing in this {items.type.name}")
        match node.arguments:
            case (syntax.Name(name=name), *rest) if len(rest) == 1 or (len(rest) == 2 and macro == "map"):
                pass
            case _:
                raise self._error(
                    node, f"{macro}() takes a name and a condition", f"as in data.tags.{macro}(tag, tag == 'a')"
                )
        self._variable_count += 1
        variable = checked.Variable(items.type.parameter(0), self._variable_count)
        hidden = self._variables.get(name)
        self._variables[name] = variable
        parts = [self.check(argument) for argument in rest]
        del self._variables[name]
        if hidden is not None:
            self._variables[name] = hidden
        true = checked.Constant(BOOL, True)
        condition, result = (
            (parts[0], variable) if macro != "map" else (parts[0] if len(parts) == 2 else true, parts[-1])
        )
        if condition is not true:
            self._need_bool(rest[0], condition)
        type_ = list_of(result.type) if macro in {"map", "filter"} else BOOL
        return checked.Loop(type_, macro, items, variable, condition, result)


def _joined(parts: Sequence[Part]) -> Type:
    """The type of all of them together."""
    type_ = FREE
    for part in parts:
        type_ = join(type_, part.type) or DYN
    return type_
