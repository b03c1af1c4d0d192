"""The rule of one table: what the decoder calls for each of its changes, where more than the action decides.

Everything that an entry of `events.tables` says is worked out once, for a relation; what is left for a change is one
function, whose source is put together here: of the names in it none is the configuration's or the table's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from ditto.config.events import TableRules
from ditto.config.table_rules import header_template, subject_template
from ditto.config.template_syntax import Name, Template, Value, columns_of
from ditto.decoding.choose import IMPL
from ditto.decoding.column_kinds import CHAR_OIDS
from ditto.decoding.messages import Relation, RuleFailed
from ditto.errors import RuleUnfit
from ditto.hints import full_identity
from ditto.routing.former_names import with_new_names
from ditto.routing.masks import MaskFunction
from ditto.routing.message_keys import MAX_KEY, key_function
from ditto.routing.route_limit import ROOM, RouteLimit
from ditto.routing.table_columns import TableColumns, find_unknown, former_key, former_names
from ditto.routing.table_names import TableNames
from ditto.routing.table_plans import Routed, Routes, Rule
from ditto.routing.templates import HEADER, SAME, SUBJECT, Bound, Place, Slot, bind

if TYPE_CHECKING:
    from ditto.decoding._row_rules import RowRule
    from ditto.decoding.column_kinds import Kinds
    from ditto.routing.conditions import Condition, ConditionError

_PLAIN_TYPES: Final = frozenset({20, 21, 23, 26, 2950})
"""int8, int2, int4, oid, uuid: digits, letters and minus signs."""
ROW_ACTIONS: Final = ("INSERT", "UPDATE", "DELETE", "READ")
_TRUNCATE: Final = "TRUNCATE"


class RuleMaker:
    """Makes the rule of one relation. `place` is the key of the entry: `events.tables.orders`.

    `default_key` are the columns of the key of messages where the entry names none; none for no key.
    """

    def __init__(
        self,
        rules: TableRules,
        *,
        key: str,
        relation: Relation,
        columns: TableColumns,
        kinds: bytes,
        routes: Routes,
        names: TableNames,
        type_names: Kinds,
        default_key: tuple[str, ...] = (),
        route_limit: RouteLimit | None = None,
    ) -> None:
        self._rules = rules
        self._limit = route_limit
        self._place = f"events.tables.{key}"
        self._relation = named = with_new_names(relation, former_names(rules))
        new = {column.name: as_named.name for column, as_named in zip(relation.columns, named.columns, strict=True)}
        self._masks = {new[name]: mask for name, mask in columns.masks.items() if name in new}
        self._key = tuple(new[name] for name in default_key) if rules.key is None else tuple(rules.key)
        self._routes = routes
        self._names = names
        self._type_names = type_names
        self._subject = None if rules.subject is None else subject_template(key, rules.subject)
        self._headers = {name: header_template(key, text) for name, text in rules.headers.items()}
        self._indexes = {column.name: index for index, column in enumerate(named.columns)}
        # What a mask makes is text.
        self._kinds = {name: 0 if name in self._masks else kinds[at] for name, at in self._indexes.items()}
        self._plain = {
            column.name
            for column in named.columns
            if column.type_oid in _PLAIN_TYPES and column.name not in self._masks
        }

    @property
    def is_needed(self) -> bool:
        """Whether anything but the action decides."""
        has_subject = self._subject is not None and any(isinstance(part, Value) for part in self._subject)
        rules = self._rules
        return has_subject or bool(self._headers) or rules.when is not None or bool(self._key) or rules.skip_unchanged

    def make(self) -> Rule:
        """The rule. Raises RuleUnfit where a column is not there, or cannot be there for an action that passes."""
        for mistake in self.find_mistakes():
            raise mistake
        condition = self._condition if self._rules.when is not None else None
        used = dict.fromkeys(
            [
                *(columns_of(self._subject) if self._subject else ()),
                *(column for template in self._headers.values() for column in columns_of(template)),
                *self._key,
            ]
        )
        # The condition finds its columns first; it reads them as they are, also where they are masked.
        first = () if condition is None else condition.columns
        columns = (*first, *(self._indexes[name] for name in used))
        bound = self._bound_templates()
        return Rule(
            columns=columns,
            apply=self._function(condition, len(first), list(used), *bound),
            skips_unchanged=self._rules.skip_unchanged,
            row_rule=self._row_rule(condition, columns, *bound),
        )

    # ------------------------------------------------------------------------------------ checks

    def find_mistakes(self) -> Iterator[RuleUnfit]:
        """Everything that does not fit."""
        templates: list[tuple[str, Template]] = [
            *([("subject", self._subject)] if self._subject is not None else []),
            *((f"headers.{name}", template) for name, template in self._headers.items()),
        ]
        for key, template in templates:
            yield from self._find_unsent(f"{self._place}.{key}", columns_of(template))
            if columns_of(template) and self._routes.truncate is not None:
                yield RuleUnfit(
                    f"{self._place}.{key} has the value of a column, and a TRUNCATE has no row",
                    hint=f"leave truncate out of {self._place}.actions: [insert, update, delete]",
                    key=f"{self._place}.{key}",
                )
        yield from self._find_unsent(f"{self._place}.key", self._rules.key or ())
        yield from self._find_too_long()
        if self._rules.when is not None:
            try:
                _ = self._condition
            except RuleUnfit as error:
                yield error

    def _find_too_long(self) -> Iterator[RuleUnfit]:
        """Subjects that leave no room for values in what the sink takes."""
        if self._limit is None or self._subject is None or not columns_of(self._subject):
            return
        room = min(self._subject_place(self._names.of_subject(action)).limit for action in ROW_ACTIONS)
        if room < ROOM:
            relation, limit = self._relation, self._limit
            yield RuleUnfit(
                f"{self._place}.subject leaves {max(room, 0)} of the {limit.longest} {limit.what} for the value of a "
                f"column in table {relation.namespace}.{relation.name}",
                hint=f"shorten it, or events.prefix: each value needs {ROOM}",
                key=f"{self._place}.subject",
                relation=f"{relation.namespace}.{relation.name}",
            )

    def _find_unsent(self, key: str, columns: Sequence[str]) -> Iterator[RuleUnfit]:
        """Columns that are not there, or not for every action that passes."""
        relation = self._relation
        yield from find_unknown(columns, key, relation, former=former_key(self._place))
        if self._routes.delete is None or relation.replica_identity == "n":  # PostgreSQL refuses its DELETEs
            return
        unsent = [
            name for name in columns if name in self._indexes and not relation.columns[self._indexes[name]].is_key
        ]
        if unsent:
            table, statement = f"{relation.namespace}.{relation.name}", full_identity(relation.namespace, relation.name)
            yield RuleUnfit(
                f"{key} has the column {unsent[0]}, which PostgreSQL does not send for a DELETE in table {table}: it "
                "is no column of the replica identity",
                hint=f"{statement}; or leave delete out of {self._place}.actions",
                statement=f"{statement};",
                key=key,
                relation=table,
            )

    @cached_property
    def _condition(self) -> Condition:
        """That of `when`. Raises RuleUnfit."""
        from ditto.routing.conditions import (  # noqa: PLC0415  brings a parser
            ConditionError,
            columns_of,
            compile_condition,
        )

        relation, key, text = self._relation, f"{self._place}.when", self._rules.when or ""
        try:
            return compile_condition(
                text,
                columns_of(relation, self._type_names),
                schema=relation.namespace,
                table=relation.name,
                identity=relation.replica_identity,
                rule=key,
            )
        except ConditionError as error:
            table = f"{relation.namespace}.{relation.name}"
            raise RuleUnfit(
                f"{key} does not fit table {table}: {error.message}, at line {error.line}, column {error.column}",
                hint=_with_picture(error, text),
                statement=f"{full_identity(relation.namespace, relation.name)};" if error.needs_old_rows else None,
                key=key,
                relation=table,
            ) from None

    # ------------------------------------------------------------------------------------ the function

    def _bound_templates(self) -> tuple[dict[str, Bound], dict[str, Bound]]:
        """Subjects and headers by action."""
        substitutes = self._rules.on_error == "keep"
        actions = {action: route for action, route in self._action_routes().items() if route is not None}
        subjects = {action: self._bound_subject(action, route, substitutes) for action, route in actions.items()}
        return subjects, {action: self._bound_headers(action, substitutes) for action in actions}

    def _row_rule(
        self,
        condition: Condition | None,
        columns: Sequence[int],
        subjects: Mapping[str, Bound],
        headers: Mapping[str, Bound],
    ) -> RowRule | None:
        """The same as the function, for rows that are as usual."""
        test = None if condition is None else condition.row_test
        has_chars = any(self._relation.columns[index].type_oid in CHAR_OIDS for index in columns)  # not UTF-8
        if IMPL != "c" or has_chars or (condition is not None and test is None):
            return None
        from ditto.routing.row_rules import row_rule  # noqa: PLC0415  compiled

        indexes = {name: index for name, index in self._indexes.items() if name not in self._masks}
        has_text_key = len(self._key) == 1 and self._kinds[self._key[0]] in SAME and self._key[0] in indexes
        key = (indexes[self._key[0]], MAX_KEY // 4) if has_text_key else None
        routes = None if self._key and key is None else subjects
        return row_rule(test, columns, routes=routes, headers=headers, key=key, indexes=indexes)

    def _function(
        self,
        condition: Condition | None,
        skipped: int,
        columns: Sequence[str],
        subjects: Mapping[str, Bound],
        headers: Mapping[str, Bound],
    ) -> Callable[..., Routed | None]:
        """Of the texts that it gets, those of `columns` come after `skipped` others."""
        source = _Source(columns, self._masks, skipped=skipped)
        substitutes = self._rules.on_error == "keep"
        key = "None"
        if self._key:
            # A default must not stop what runs without it: a row whose key is too long has none.
            may_miss = substitutes or self._rules.key is None
            key_of = key_function(self._key, self._kinds, rule=f"{self._place}.key", substitutes=may_miss)
            is_text = len(self._key) == 1 and self._kinds[self._key[0]] in SAME
            key = source.key(self._key, key_of, is_text=is_text)
        truncated = self._truncated(headers)
        rows = {action: (subjects[action], headers[action]) for action in ROW_ACTIONS if action in subjects}
        routed: dict[str, Bound] = {action: subject for action, (subject, _) in rows.items()}
        route = source.text(routed, needs_ascii=self._limit is not None)
        lines = source.text({action: header for action, (_, header) in rows.items()}, needs_ascii=True)
        test = None if condition is None else condition.test
        return source.compile(route, lines, key, truncated=truncated, test=test, on_error=self._rules.on_error)

    def _action_routes(self) -> dict[str, bytes | None]:
        routes = self._routes
        return dict(zip(("INSERT", "UPDATE", "DELETE", _TRUNCATE, "READ"), routes, strict=True))

    def _bound_subject(self, action: str, route: bytes, substitutes: bool) -> Bound:
        if self._subject is None or not columns_of(self._subject):
            return Bound((route,), ())
        names = self._names.of_subject(action)
        place = f"{self._place}.subject"
        return self._bind(self._subject, names, self._subject_place(names), place, substitutes=substitutes)

    def _subject_place(self, names: Mapping[str, str]) -> Place:
        """With what the sink leaves for each value."""
        limit, template = self._limit, self._subject or ()
        if limit is None:
            return SUBJECT
        others = [
            names[part.name] if isinstance(part, Name) else part for part in template if not isinstance(part, Value)
        ]
        count = len(template) - len(others)
        forbidden = SUBJECT.forbidden + (limit.like_dot if count > 1 else "")
        room = (limit.longest - sum(map(limit.measure, others))) // count
        return SUBJECT._replace(forbidden=forbidden, limit=min(SUBJECT.limit, room), sink=limit)

    def _bind(
        self, template: Template, names: Mapping[str, str], place: Place, rule: str, *, substitutes: bool
    ) -> Bound:
        return bind(template, names, self._kinds, plain=self._plain, place=place, rule=rule, substitutes=substitutes)

    def _bound_headers(self, action: str, substitutes: bool) -> Bound:
        """All lines of headers together."""
        literals, slots = [b""], list[Slot]()
        names = self._names.of_header(action)
        for name, template in self._headers.items():
            place = f"{self._place}.headers.{name}"
            bound = self._bind(template, names, HEADER, place, substitutes=substitutes)
            literals[-1] += name.encode() + b": " + bound.literals[0]
            literals += bound.literals[1:]
            literals[-1] += b"\r\n"
            slots += bound.slots
        return Bound(tuple(literals), tuple(slots))

    def _truncated(self, headers: Mapping[str, Bound]) -> Routed | None:
        """No row: nothing in it is a value."""
        if self._routes.truncate is None:
            return None
        return Routed(self._routes.truncate, headers[_TRUNCATE].literals[0])


class _Source:
    """Puts the function's source together. What it uses are the globals of a namespace of its own."""

    def __init__(self, columns: Sequence[str], masks: Mapping[str, MaskFunction], *, skipped: int) -> None:
        self._skipped = skipped
        self._cells = {column: f"c{index}" for index, column in enumerate(columns)}
        self._masks = masks
        self._constants: dict[str, Any] = {"UNSET": UNSET}

    def constant(self, value: Any) -> str:
        """The name of a value."""
        name = f"k{len(self._constants)}"
        self._constants[name] = value
        return name

    def text(self, bound: Mapping[str, Bound], *, needs_ascii: bool) -> str:
        """An expression for the bytes of a template, by action where that makes a difference."""
        templates = list(bound.values())
        first = templates[0] if templates else Bound((b"",), ())
        parts = []
        for index in range(len(first.literals)):
            by_action = {action: each.literals[index] for action, each in bound.items()}
            if index:
                parts.append(self._slot(first, index - 1, needs_ascii=needs_ascii))
            if len(set(by_action.values())) > 1:
                parts.append(f"{self.constant(by_action)}[action]")
            elif first.literals[index] or len(first.literals) == 1:
                parts.append(self.constant(first.literals[index]))
        return " + ".join(parts)

    def key(self, columns: Sequence[str], key_of: Callable[..., bytes | None], *, is_text: bool) -> str:
        """An expression for the key; `is_text`: of one column, whose text it is."""
        cells = [self._cells[column] for column in columns]
        call = f"{self.constant(key_of)}({', '.join(cells)})"
        is_quick = f"{cells[0]}.__class__ is str and len({cells[0]}) <= {MAX_KEY // 4}"
        return f"({cells[0]}.encode() if {is_quick} else {call})" if is_text else call

    def _slot(self, bound: Bound, index: int, *, needs_ascii: bool) -> str:
        slot = bound.slots[index]
        cell, encode = self._cells[slot.column], self.constant(slot.encode)
        if slot.is_plain:
            return f"({encode}({cell}) if {cell} is None or {cell} is UNSET else {cell}.encode())"
        if not slot.is_quick:
            return f"{encode}({cell})"
        is_ascii = f" and {cell}.isascii()" if needs_ascii else ""
        is_quick = f"{cell}.__class__ is str and {cell}.isalnum() and len({cell}) <= {slot.longest_quick}{is_ascii}"
        return f"({cell}.encode() if {is_quick} else {encode}({cell}))"

    def _made(self, route: str, headers: str, key: str) -> str:
        """An expression for the result; where nothing in it depends on the row it is made once."""
        if route in self._constants and headers in self._constants and key == "None":
            return self.constant(Routed(self._constants[route], self._constants[headers]))
        return f"({route}, {headers}, {key})"

    def compile(
        self,
        route: str,
        headers: str,
        key: str,
        *,
        truncated: Routed | None,
        test: Callable[..., bool] | None,
        on_error: str,
    ) -> Callable[..., Routed | None]:
        """The function."""
        failed = self.constant(RuleFailed)
        body = []
        if test is not None and on_error == "keep":
            body += ["try:", f"    passes = {self.constant(test)}(action, new, old)", f"except {failed}:"]
            body += ["    passes = True", "if not passes:", "    return None"]
        elif test is not None:
            body += [f"if not {self.constant(test)}(action, new, old):", "    return None"]
        body += ["row = new", "if row is None:", "    row = old", "    if row is None:"]
        body.append(f"        return {self.constant(truncated)}")
        for index, (column, cell) in enumerate(self._cells.items(), start=self._skipped):
            body.append(f"{cell} = row[{index}]")
            if (mask := self._masks.get(column)) is not None:
                body += [f"if {cell} is not UNSET:", f"    {cell} = {self.constant(mask)}({cell})"]
        body.append(f"return {self._made(route, headers, key)}")
        if on_error == "drop":
            body = ["try:", *(f"    {line}" for line in body), f"except {failed}:", "    return None"]
        lines = ["def apply(action, new, old):", *(f"    {line}" for line in body)]
        found = dict(self._constants)
        exec("\n".join(lines), found)  # noqa: S102  see the module's docstring
        function: Callable[..., Routed | None] = found["apply"]
        return function


def _with_picture(error: ConditionError, text: str) -> str:
    hint = error.hint or "the place is marked"
    if not text.strip():
        return hint
    return f"{hint}{'' if hint.endswith('?') else ':'}\n{error.picture}"
