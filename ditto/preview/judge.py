"""Puts changes through the rules of a configuration, with the planner, the decoder and the format of a pipeline.

Each change is decoded twice: as the pipeline does it, and without rules that decide. The second decoder knows what the
first one has dropped, masked in the same way; why it was dropped is seen by watching the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from ditto.config import Events
from ditto.config.events import TableRules
from ditto.config.message_rules import OWN
from ditto.decoding.change import Change, MessageEvent
from ditto.decoding.choose import Decoder
from ditto.decoding.messages import Block, Relation, RuleFailed
from ditto.decoding.snapshot_rows import Rows
from ditto.formats.base import Format
from ditto.formats.choose import BlockFormat
from ditto.formats.own_headers import pairs
from ditto.formats.payloads import Payloads
from ditto.lsn import Position
from ditto.pipeline.planning import make_extras, make_format, make_planner
from ditto.preview.fitting import PreviewFitting
from ditto.preview.verdict import Verdict
from ditto.routing.message_rule import make_message_rule
from ditto.routing.router import Router
from ditto.routing.table_plans import MessageRule, Routed, Routes, Rule, TablePlan, Texts
from ditto.sinks.base import Capabilities
from ditto.source.sql import Control

_XLOG_DATA: Final = b"w" + bytes(24)
"""The head of a CopyData message, which decoders step over."""
_TAG: Final = len(_XLOG_DATA)
_ANY: Final = Routes(b"x", b"x", b"x", b"x", b"x")
_ROUTES: Final = {"INSERT": 0, "UPDATE": 1, "DELETE": 2, "TRUNCATE": 3, "READ": 4}


class _Look(NamedTuple):
    """What a rule has said of a change."""

    routed: Routed | None
    failure: RuleFailed | None
    stops: bool


class _Passed(NamedTuple):
    change: Any
    route: bytes
    headers: bytes
    key: bytes | None
    payload: bytes


class _Planned(NamedTuple):
    plan: TablePlan
    bare: TablePlan
    entry: tuple[str, TableRules] | None


class Judge:
    """Of one configuration; feed it pgoutput's messages in their order."""

    def __init__(
        self,
        events: Events,
        control: Control,
        *,
        database: str,
        system_identifier: str,
        id_key: bytes,
        sink: Capabilities,
        max_bytes: int = 0,
        bucket: str = "",
    ) -> None:
        """`max_bytes` is what a message may have, 0 for no limit; `bucket` is the object store's."""
        strict = {key: replace(rules, on_error="stop") for key, rules in events.rules.items()}
        self._planner, self._strict_planner = (
            make_planner(each, control, database=database, system_identifier=system_identifier, sink=sink)
            for each in (events, events if events.tables is None else replace(events, tables=strict))
        )
        self._router = Router(events, database=database)
        self._outbox = None if events.outbox is None else events.outbox.name
        self._is_selective = events.tables is not None
        strict_messages = {key: replace(entry, on_error="stop") for key, entry in events.message_rules.items()}
        rule = make_message_rule(replace(events, messages=strict_messages), database=database, limit=sink.route_limit)
        self._real = Decoder(
            id_key=id_key,
            extras=make_extras(events),
            message_rule=None if rule is None else _sendable_messages(rule),
        )
        self._bare = Decoder(
            id_key=id_key,
            extras=make_extras(replace(events, transactions=False)),
            message_rule=self._unsent_messages(rule),
        )
        self._format: Format = make_format(events)
        self._plain_format: Format = BlockFormat()
        self._fitting = PreviewFitting(events, self._planner, self._format, max_bytes=max_bytes, bucket=bucket)
        self._planned: dict[tuple[str, str], _Planned] = {}
        self._failed: dict[bytes, RuleFailed | None] = {}
        """Why logical messages are not sent, by the route that each has in its block; None: nothing selects them."""
        self._message_rules = events.message_rules
        self._defined: Relation | None = None
        self._looks: dict[tuple[str, str], _Look] = {}
        self._changes: dict[int, tuple[Change, bytes, _Look | None]] = {}
        """Of the transaction that is open, by ordinal."""
        self._unsent: dict[int, tuple[MessageEvent, RuleFailed | None]] = {}
        self._passed: dict[int, _Passed] = {}
        self._commit_lsn = 0

    # ------------------------------------------------------------------------------------ changes

    async def take(self, message: bytes) -> list[Verdict]:
        """One of pgoutput's messages; at the end of a transaction what becomes of each of its changes.

        Raises RuleUnfit and SubjectCollision, as a pipeline would.
        """
        frame = _XLOG_DATA + message
        self._looks.clear()
        self._bare.feed(frame)
        self._real.feed(frame)
        await self._define()
        block = self._bare.take()
        for change, route, lsn, ordinal in zip(
            block.changes, block.routes, block.commit_lsns, block.ordinals, strict=True
        ):
            if isinstance(change, MessageEvent):
                self._commit_lsn = lsn
                self._unsent[ordinal] = change, self._failed.pop(route)
        for change, payload, lsn, ordinal in self._placed(block):
            self._commit_lsn = lsn
            self._changes[ordinal] = (change, payload, self._looks.get((change.schema, change.table)))
        await self._keep_passed(self._real.take())
        return list(self.rest()) if message[:1] == b"C" or not self._is_open(message) else []

    def rest(self) -> Iterator[Verdict]:
        """What becomes of those of a transaction whose end has not come."""
        for ordinal in sorted({*self._changes, *self._passed, *self._unsent}):
            position = str(Position(self._commit_lsn, ordinal))
            if ordinal in self._unsent:
                yield self._of_unsent(*self._unsent[ordinal], position)
            elif (passed := self._passed.get(ordinal)) is not None:
                look = self._changes[ordinal][2] if ordinal in self._changes else None
                yield self._of_passed(passed, look, position, ordinal)
            else:
                yield self._of_dropped(*self._changes[ordinal], position)
        self._changes.clear()
        self._passed.clear()
        self._unsent.clear()
        self._fitting.end()

    @staticmethod
    def _is_open(message: bytes) -> bool:
        """Whether more of the transaction may come: all but a logical message beside transactions."""
        return message[:1] != b"M" or bool(message[1] & 1)

    def _placed(self, block: Block) -> Iterator[tuple[Change, bytes, int, int]]:
        """The changes of a block with their events, commit LSNs and ordinals."""
        payloads = _encoded(block, self._plain_format)
        for change, payload, lsn, ordinal in zip(
            block.changes, payloads, block.commit_lsns, block.ordinals, strict=True
        ):
            if isinstance(change, Change):
                yield change, payload, lsn, ordinal

    async def _keep_passed(self, block: Block) -> None:
        payloads = self._format.encode(block) if block.changes else Payloads(b"", [], 0)
        block, payloads = await self._fitting.fit(block, payloads)
        bodies = [bytes(each) for each in payloads.each()]
        for index, (change, payload) in enumerate(zip(block.changes, bodies, strict=True)):
            if not isinstance(change, Change | MessageEvent):
                continue  # a description of a table
            self._commit_lsn = block.commit_lsns[index]
            headers = block.headers[index] if block.headers is not None else b""
            key = block.keys[index] if block.keys is not None else None
            self._passed[block.ordinals[index]] = _Passed(change, block.routes[index], headers, key, payload)

    async def _define(self) -> None:
        relation, of_real = self._bare.relation, self._real.relation
        if relation is None or of_real is None or relation is self._defined:
            return
        self._defined = relation
        planned = await self._plan(relation)
        self._bare.define(relation.oid, planned.bare)
        self._real.define(relation.oid, replace(planned.plan, relation=of_real))

    # ------------------------------------------------------------------------------------ rows

    async def take_rows(self, relation: Relation, rows: Rows, *, commit_time: str) -> list[Verdict]:
        """Rows of a table, as a snapshot would store them. Raises RuleUnfit and SubjectCollision."""
        planned = await self._plan(relation)
        found = []
        for index in range(rows.count):
            self._looks.clear()
            ((change, payload, _, _),) = self._placed(self._row(self._bare, planned.bare, rows, index, commit_time))
            if planned.plan.routes.read is not None:
                await self._keep_passed(self._row(self._real, planned.plan, rows, index, commit_time))
            look = self._looks.get((relation.namespace, relation.name))
            passed = self._passed.pop(1, None)
            found.append(
                self._of_dropped(change, payload, look, None) if passed is None else self._of_passed(passed, look, None)
            )
        return found

    @staticmethod
    def _row(decoder: Decoder, plan: TablePlan, rows: Rows, index: int, commit_time: str) -> Block:
        return decoder.read_block_of(
            plan, rows, index, index + 1, key=(), run="preview", commit_lsn=1, commit_time=commit_time, xid=0,
            first_ordinal=1, moved_cursor=None,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------ plans

    async def _plan(self, relation: Relation) -> _Planned:
        table = (relation.namespace, relation.name)
        plan, strict = await self._planner.plan(relation), await self._strict_planner.plan(relation)
        bare = replace(plan, routes=_ANY, rule=None, description=None)
        if plan.rule is not None:
            apply = self._watched(table, plan.rule, strict.rule or plan.rule)
            plan = replace(plan, rule=replace(plan.rule, apply=apply, row_rule=None))
        self._planned[table] = planned = _Planned(plan, bare, self._router.rules(*table))
        return planned

    def _watched(self, table: tuple[str, str], rule: Rule, strict: Rule) -> Callable[..., Routed | None]:
        """The rule, noting what it says; where it would stop the pipeline, the change is left out here."""

        def apply(action: str, new: Texts | None, old: Texts | None) -> Routed | None:
            failure: RuleFailed | None = None
            try:
                strict.apply(action, new, old)
            except RuleFailed as error:
                failure = error
            try:
                routed = rule.apply(action, new, old)
            except RuleFailed as error:
                self._looks[table] = _Look(None, error, True)
                return None
            self._looks[table] = _Look(routed, failure, False)
            return routed

        return apply

    def _unsent_messages(self, rule: MessageRule | None) -> MessageRule:
        """Lets those logical messages pass that are not sent: to a route by which the reason is found."""

        def apply(prefix: str, content: bytes, is_transactional: bool) -> Routed | None:
            if prefix.startswith(OWN):
                return None
            failure: RuleFailed | None = None
            try:
                if rule is not None and rule(prefix, content, is_transactional) is not None:
                    return None
            except RuleFailed as error:
                failure = error
            route = b"%d" % len(self._failed)
            self._failed[route] = failure
            return Routed(route)

        return apply

    # ------------------------------------------------------------------------------------ verdicts

    def _of_passed(self, passed: _Passed, look: _Look | None, position: str | None, ordinal: int = 0) -> Verdict:
        change = passed.change
        is_message = isinstance(change, MessageEvent)
        verdict = Verdict(
            outcome="passed",
            table=change.prefix if is_message else f"{change.schema}.{change.table}",
            action="MESSAGE" if is_message else change.action,
            position=position,
            commit_time=change.commit_time or None,
            subject=passed.route.decode(),
            headers=pairs(passed.headers),
            key=None if passed.key is None else passed.key.decode(errors="replace"),
            group=self._fitting.group_of(ordinal, passed.route),
            size=len(passed.payload) + len(passed.headers),
        )
        if look is not None and look.failure is not None:
            verdict.rule, verdict.reason = look.failure.rule, f"{look.failure.reason}; on_error: keep"
        if (sized := self._fitting.verdict(change, verdict.size or 0)) is not None:
            verdict.rule, verdict.reason, stops = sized
            verdict.outcome = "stops" if stops else "passed"
        if _is_json(passed.payload):
            verdict.payload = msgspec.Raw(passed.payload)
        else:
            verdict.payload_base64 = passed.payload
        return verdict

    def _of_unsent(self, change: MessageEvent, failure: RuleFailed | None, position: str) -> Verdict:
        verdict = Verdict(
            outcome="dropped",
            table=change.prefix,
            action="MESSAGE",
            position=position,
            commit_time=change.commit_time or None,
            rule="events.messages",
            reason="no key selects the prefix",
        )
        if failure is not None:
            on_error = self._message_rules[failure.rule.removeprefix("events.messages.")].on_error
            verdict.outcome = "stops" if on_error == "stop" else "dropped"
            verdict.rule, verdict.reason = failure.rule, f"{failure.reason}; on_error: {on_error}"
        return verdict

    def _of_dropped(self, change: Change, payload: bytes, look: _Look | None, position: str | None) -> Verdict:
        planned = self._planned[change.schema, change.table]
        key = "events.tables" if planned.entry is None else f"events.tables.{planned.entry[0]}"
        if (change.schema, change.table) == self._outbox:
            key = "events.outbox"
        verdict = Verdict(
            outcome="dropped",
            table=f"{change.schema}.{change.table}",
            action=change.action,
            position=position,
            commit_time=change.commit_time,
        )
        is_selected = any(route is not None for route in planned.plan.routes)
        if planned.plan.routes[_ROUTES[change.action]] is None:
            verdict.rule = f"{key}.actions" if is_selected else key
            verdict.reason = f"{change.action} is not selected" if is_selected else "the table is not selected"
        elif look is not None and look.failure is not None:
            verdict.outcome = "stops" if look.stops else "dropped"
            verdict.rule = look.failure.rule
            verdict.reason = f"{look.failure.reason}; on_error: {'stop' if look.stops else 'drop'}"
        elif look is not None and look.routed is None:
            verdict.rule, verdict.reason = f"{key}.when", "the condition is false"
        else:
            verdict.rule, verdict.reason = f"{key}.skip_unchanged", "no column of the event has changed"
        if is_selected and _is_json(payload):  # of a table that is not selected nobody has said what is to be masked
            verdict.event = msgspec.Raw(payload)
        return verdict


def _sendable_messages(rule: MessageRule) -> MessageRule:
    """Lets the others pass; also where the pipeline would stop the message is left out here."""

    def apply(prefix: str, content: bytes, is_transactional: bool) -> Routed | None:
        try:
            return rule(prefix, content, is_transactional)
        except RuleFailed:
            return None

    return apply


def _encoded(block: Block, form: Format) -> list[bytes]:
    """No format is asked about a block without changes."""
    return [bytes(each) for each in form.encode(block).each()] if block.changes else []


def _is_json(payload: bytes) -> bool:
    try:
        msgspec.json.decode(payload, type=msgspec.Raw)
    except msgspec.MsgspecError:
        return False
    return True
