"""The section `events` of the configuration: what leaves the database, in which form and where to."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from ditto.config.documented import Bytes
from ditto.config.documented import documented as _doc


class Action(StrEnum):
    """The kind of a change: of a row, or, for truncate, of a table. Written in upper or lower case."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"

    @classmethod
    def _missing_(cls, value: object) -> Action | None:
        return cls.__members__.get(value.upper()) if isinstance(value, str) else None


ACTIONS: Final = tuple(action.value for action in Action)
"""Their names, in the order in which everything lists them."""

READ: Final = "read"
"""The action of the rows of a snapshot."""

EVENT_ACTIONS: Final = (*ACTIONS, READ)
"""Those that events have."""


class Types(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How values become JSON."""

    profile: Annotated[
        Literal["ditto", "wal-listener"],
        _doc(
            "What holds where a key below says nothing. `wal-listener`: as its consumers expect, with numeric, floats, "
            "json (not jsonb), bytea and arrays as PostgreSQL's text, and timestamps with a `Z`."
        ),
    ] = "ditto"
    numeric: Annotated[
        Literal["string", "number"] | None,
        _doc(
            "`numeric` as text, or as a JSON number with all its digits, which many parsers round. By default `string`."
        ),
    ] = None
    int8: Annotated[
        Literal["number", "string"] | None,
        _doc("`int8` as a number, or as text for parsers that read numbers as doubles. By default `number`."),
    ] = None
    bytea: Annotated[
        Literal["base64", "hex"] | None,
        _doc("`bytea` in base64, or as PostgreSQL writes it (`\\xdeadbeef`). By default `base64`."),
    ] = None
    interval: Annotated[
        Literal["postgres", "iso8601"] | None,
        _doc("`interval` as `1 day 02:00:00` or as `P1DT2H`. By default `postgres`."),
    ] = None
    json: Annotated[
        Literal["embed", "string"] | None,
        _doc("`json` and `jsonb` as part of the event, or as text that holds JSON. By default `embed`."),
    ] = None
    timestamp: Annotated[
        Literal["plain", "utc"] | None,
        _doc("`timestamp`, which has no time zone, as it is, or with a `Z` behind it. By default `plain`."),
    ] = None


class Traceparent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The header `traceparent` of messages. A logical message sets it without any key here."""

    column: Annotated[
        str | None,
        _doc(
            "Name of the column, in whichever table has it, that holds the W3C traceparent of its row.", "traceparent"
        ),
    ] = None


class Mask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Another value in place of a column's: exactly one of constant, keep_first, keep_last, hash and null."""

    constant: Annotated[str | None, _doc("This text, also for NULL.", "***")] = None
    keep_first: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        _doc(
            "The first so many characters; each of the others is `*`. A text that has no others is `*` altogether.", 4
        ),
    ] = None
    keep_last: Annotated[Annotated[int, Meta(ge=1)] | None, _doc("The same with the last so many characters.", 4)] = (
        None
    )
    hash: Annotated[
        Literal["sha256", "hmac-sha256"] | None,
        _doc(
            "The hash of PostgreSQL's text, in hexadecimal digits. What is behind `sha256` can be found by trying all "
            "values, where there are few; `hmac-sha256` needs `key`.",
            "hmac-sha256",
        ),
    ] = None
    key: Annotated[str | None, _doc("The secret key of hmac-sha256.", "${MASK_KEY}", mask="whole")] = None
    null: Annotated[bool, _doc("`true`: NULL.", True)] = False


class Columns(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which columns of a table events have, and which of them are masked. Names as the catalogue has them."""

    include: Annotated[list[str] | None, _doc("Events have these columns alone.", ["id", "status"])] = None
    exclude: Annotated[list[str] | None, _doc("Events have all columns but these.", ["internal_note"])] = None
    mask: Annotated[
        dict[str, Mask],
        _doc("By column, another value in place of the column's.", {"iban": {"keep_last": 4}, "notes": {"null": True}}),
    ] = {}
    former: Annotated[
        dict[str, list[str]],
        _doc("By column, the names that it had before: rules have its new one.", {"note": ["memo"]}),
    ] = {}


Format = Literal["ditto", "cloudevents", "cloudevents-binary", "debezium", "debezium-schema", "msgpack", "wal-listener"]
"""The formats of events."""


class TableRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The long form of an entry of `events.tables`."""

    actions: Annotated[list[Action] | None, _doc("Which actions pass. Absent: all.", ["insert", "update"])] = None
    when: Annotated[
        str | None,
        _doc(
            "A condition in CEL: changes for which it is false are no events.",
            "action != 'UPDATE' || changed('status')",
        ),
    ] = None
    on_error: Annotated[
        Literal["stop", "keep", "drop"],
        _doc(
            "Where `when`, `subject`, `headers` or `key` cannot be worked out for a change, because a value was not "
            "sent, is too long, or is none that the condition can use: stop with an error, keep the change (with a "
            "substitute for the value), or drop it."
        ),
    ] = "stop"
    columns: Annotated[Columns | None, _doc("Which columns events have, and which of them are masked.")] = None
    skip_unchanged: Annotated[
        bool,
        _doc("An UPDATE that changes none of the columns of its event is no event. Needs REPLICA IDENTITY FULL."),
    ] = False
    subject: Annotated[
        str | None,
        _doc(
            "Template of the subjects, in place of `events.subject` and `events.topics`. Besides their placeholders it "
            "may have `{data.COLUMN}`, and the named groups of a key that is a regular expression.",
            "{prefix}.{schema}.{table}.{data.customer_id}",
        ),
    ] = None
    headers: Annotated[
        dict[str, str],
        _doc("Headers of the messages, by name: templates as for `subject`.", {"tenant": "{data.tenant}"}),
    ] = {}
    key: Annotated[
        list[str] | None,
        _doc("The columns that are the key of messages, in the header `Ditto-Key`.", ["customer_id"]),
    ] = None

    format: Annotated[
        Format | None, _doc("The format of this table's events. Absent: `events.format`.", "debezium")
    ] = None

    @property
    def shapes(self) -> bool:
        """Whether they say more than which actions pass."""
        return self != TableRules(actions=self.actions)


class Group(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Several events of a transaction in one message."""

    by: Annotated[Literal["transaction"], _doc("What belongs together: the events of a transaction.")] = "transaction"
    max_events: Annotated[
        int,
        Meta(ge=1, le=100_000),
        _doc("The most events of a message. A transaction that has more of them is several messages."),
    ] = 500
    max_bytes: Annotated[
        Bytes,
        Meta(ge=1024),
        _doc(
            "The most bytes of a message, unless a single event is larger; never more than the server accepts.",
            "256kB",
        ),
    ] = 262_144
    subject: Annotated[
        str,
        _doc(
            "Template of the one subject, with the placeholders {prefix} and {database}.",
            "{prefix}.{database}.transactions",
            "{prefix}.transactions",
        ),
    ] = "{prefix}.transactions"
    layout: Annotated[
        Literal["array", "lines"], _doc("`array`: an array of events; `lines`: one event a line (NDJSON).")
    ] = "array"


class MessageRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The long form of an entry of `events.messages`."""

    subject: Annotated[
        str,
        _doc(
            "Template of the subject, with the placeholders {prefix} (`events.prefix`), {database} and "
            "{message.prefix}, whose dots stay dots.",
            "{message.prefix}",
        ),
    ]
    on_error: Annotated[
        Literal["stop", "drop"],
        _doc("A message that cannot be sent, because its envelope is wrong or its subject too long: stop, or drop it."),
    ] = "stop"


class Outbox(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table whose inserted rows become messages: the body is a column of the row."""

    table: Annotated[str, _doc("The table: schema.table.", "public.outbox")]
    subject: Annotated[
        str,
        _doc(
            "Template of the subject, with the placeholders {prefix}, {database} and {data.COLUMN}. Where the template "
            "ends with a column, the dots of its value stay dots.",
            "{data.topic}",
            "{prefix}.{data.aggregate_type}.{data.event_type}",
        ),
    ]
    payload: Annotated[
        str, _doc("The column that is the body: json, jsonb, text, varchar or bytea. NULL is an empty body.", "payload")
    ] = "payload"
    id: Annotated[
        str | None,
        _doc(
            "The column whose value is the header `Ditto-Id`. Absent: the id that Ditto computes from the position.",
            "id",
        ),
    ] = None
    key: Annotated[
        str | None, _doc("The column whose value is the message's key, in the header `Ditto-Key`.", "aggregate_id")
    ] = None
    headers: Annotated[
        str | None,
        _doc("The column of the message's headers: a JSON object of texts, numbers and booleans.", "headers"),
    ] = None
    on_error: Annotated[
        Literal["stop", "drop"],
        _doc("A row that cannot be sent, because its headers or its subject are impossible: stop, or drop it."),
    ] = "stop"
    former: Annotated[
        dict[str, list[str]],
        _doc("By column, the names that it had before: the keys above have its new one.", {"payload": ["body"]}),
    ] = {}

    @property
    def name(self) -> tuple[str, str]:
        """Schema and name of the table."""
        schema, _, name = self.table.partition(".")
        return schema, name


class Events(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which changes become events, and on which subjects."""

    prefix: Annotated[str, _doc("What every subject begins with. May contain dots.", "ditto", "shop.cdc")] = "ditto"
    subject: Annotated[
        str,
        _doc(
            "Template of the subjects, with the placeholders {prefix}, {schema}, {table}, {action} and {database}; "
            "{table} has to be in it.",
            "{prefix}_{schema}_{table}",
            "{prefix}.{schema}.{table}",
        ),
    ] = "{prefix}_{schema}_{table}"
    tables: Annotated[
        dict[str, list[Action] | TableRules] | None,
        _doc(
            "Which tables, and which actions of each: insert, update, delete, truncate. A key is a table (in any "
            "schema), schema.table, a glob of either, or `re:` and a regular expression for the whole of schema.table; "
            "the most specific one wins. Absent: all tables, all actions. In place of a list of actions an entry may "
            "be a mapping with the keys below.",
            {"trades": ["insert", "update"], "audit.*": ["insert"]},
        ),
    ] = None
    topics: Annotated[
        dict[str, str],
        _doc(
            "Tables whose events get a subject of their own: the whole subject, nothing is put before it. Keys as in "
            "`tables`.",
            {"trades": "transactions"},
        ),
    ] = {}
    types: Annotated[Types, _doc("How values become JSON.")] = Types()
    format: Annotated[
        Format,
        _doc(
            "The format of events: `ditto`, `cloudevents` (JSON) or `cloudevents-binary` (attributes in headers), "
            "`debezium` or `debezium-schema` (with Kafka Connect's schema), `msgpack`, or `wal-listener` (`ditto` with "
            "`types.profile: wal-listener`)."
        ),
    ] = "ditto"
    metadata: Annotated[
        list[Literal["lsn", "xid", "ordinal", "primary_key", "origin", "schema_version"]],
        _doc(
            "What each event says in `meta`: lsn, xid, ordinal, primary_key, origin, schema_version. Without any, "
            "events have no `meta`.",
            ["lsn", "ordinal", "primary_key"],
        ),
    ] = []
    schemas: Annotated[
        bool,
        _doc(
            "Store a message on `<prefix>._schema.<schema>.<table>` before the first event of a table, and before the "
            "first one after its columns, types, keys or replica identity have changed."
        ),
    ] = False
    transactions: Annotated[
        bool, _doc('Mark the last event of each transaction: `"meta":{"last":true}`, also without `metadata`.')
    ] = False
    traceparent: Annotated[
        Traceparent, _doc("The header `traceparent` of messages. A logical message sets it without any key here.")
    ] = Traceparent()
    oversize: Annotated[
        Literal["stop", "strip", "object_store"],
        _doc(
            "The reaction to an event that the server does not take because of its size: stop with an error; strip: "
            "leave out the largest columns, never the primary key, and name them in the event; object_store: put the "
            "whole event into an object store (`nats.object_store`), and a reference into the stream."
        ),
    ] = "stop"
    group: Annotated[
        Group | None,
        _doc(
            "Pack the events of a transaction into one message, on one subject, whatever the tables' own subjects. "
            "Absent: one message an event."
        ),
    ] = None

    messages: Annotated[
        dict[str, str | MessageRules],
        _doc(
            "Logical messages (`pg_logical_emit_message`) that become messages: by prefix, or a glob of it, the "
            "template of the subject, or an entry with `subject` and `on_error`. The most specific key wins.",
            {"orders.*": "{message.prefix}"},
        ),
    ] = {}
    outbox: Annotated[
        Outbox | None, _doc("A table whose inserted rows become messages: the body is a column of the row.")
    ] = None

    @property
    def message_rules(self) -> dict[str, MessageRules]:
        """The entries of `messages` in the long form."""
        return {
            key: entry if isinstance(entry, MessageRules) else MessageRules(subject=entry)
            for key, entry in self.messages.items()
        }

    def actions_of(self, key: str) -> list[Action]:
        """The actions that an entry of `tables` selects."""
        entry = (self.tables or {})[key]
        if not isinstance(entry, TableRules):
            return entry
        return list(Action) if entry.actions is None else entry.actions

    @property
    def selection(self) -> dict[str, list[Action]] | None:
        """`tables` as if every entry had the short form."""
        return None if self.tables is None else {key: self.actions_of(key) for key in self.tables}

    @property
    def rules(self) -> dict[str, TableRules]:
        """The entries of `tables` in the long form; one in the short form has no rule but its actions."""
        return {
            key: entry if isinstance(entry, TableRules) else TableRules(actions=entry)
            for key, entry in (self.tables or {}).items()
        }
