"""An `application.properties` of Debezium Server as a configuration of Ditto.

The source has to be PostgreSQL. `debezium_sinks` has the sinks.
https://debezium.io/documentation/reference/stable/operations/debezium-server.html
https://debezium.io/documentation/reference/stable/connectors/postgresql.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ditto.config.dsn import make_dsn
from ditto.config.events import ACTIONS
from ditto.config.importers.debezium_sinks import SINKS, no_sink
from ditto.config.importers.draft import REFERENCE, Draft, Imported
from ditto.config.importers.java_properties import parse_properties, with_references
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_SOURCE: Final = "debezium.source."
_CLASS: Final = "io.debezium.connector.postgresql.PostgresConnector"
_SLOT: Final = "debezium"
_PUBLICATION: Final = "dbz_publication"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_]+(?:\\?\.[A-Za-z0-9_]+)*")
"""A regular expression that matches nothing but a name: a dot stands for any sign, and a name has none else there."""
_SKIPPED: Final = {"c": "insert", "u": "update", "d": "delete", "t": "truncate"}
_DSN: Final = {
    "database.hostname": "host",
    "database.port": "port",
    "database.dbname": "dbname",
    "database.user": "user",
    "database.password": "password",
    "database.sslmode": "sslmode",
    "database.sslcert": "sslcert",
    "database.sslkey": "sslkey",
    "database.sslrootcert": "sslrootcert",
    "database.sslpassword": "sslpassword",
}
_DEFAULTS: Final = {
    "decimal.handling.mode": "precise",
    "time.precision.mode": "adaptive",
    "binary.handling.mode": "bytes",
    "hstore.handling.mode": "json",
    "interval.handling.mode": "numeric",
    "money.fraction.digits": "2",
    "schema.name.adjustment.mode": "none",
    "field.name.adjustment.mode": "none",
    "unavailable.value.placeholder": "__debezium_unavailable_value",
    "include.unknown.datatypes": "false",
    "include.schema.comments": "false",
}
"""Of the connector: Ditto's format `debezium` has these, and no other ones."""
_NOTES: Final = (
    (r"offset\..*", "leave it out: Ditto keeps no state, its place is in the slot and in what it has stored"),
    (r"schema\.history\..*", "leave it out: Ditto keeps no history of schemas"),
    (r"heartbeat\..*|status\.update\.interval\.ms", "leave it out: checkpoints and status messages are sent anyway"),
    (r"(max\.batch|max\.queue|incremental\.snapshot\.chunk|snapshot\.fetch)\.size.*|poll\.interval\.ms|tasks\.max",
     "leave it out: delivery.max_in_flight and snapshot.chunk_rows are limits of the same kind"),
    (r"(errors|retriable|slot)\..*(retries|retry|restart).*", "leave it out: Ditto tries for as long as it takes"),
    (r"signal\..*|incremental\.snapshot\..*", "snapshots are asked for with ditto snapshot start, or over HTTP"),
    (r"snapshot\..*", "a snapshot of Ditto's goes on while changes come: snapshot.mode, snapshot.tables, and "
     "`where` of ditto snapshot start"),
    (r"column\.(mask|truncate)\..*", "write it as columns.mask of the table in events.tables"),
    (r"message\.key\.columns", "write it as `key` of the table in events.tables"),
    (r"message\.prefix\..*", "logical messages are messages of their own where events.messages selects them"),
    (r"tombstones\.on\.delete", "there are no tombstones: a DELETE is one message"),
    (r"provide\.transaction\.metadata|transaction\..*", "no events of transactions; with events.format: ditto, "
     "events.transactions marks the last event of each"),
    (r"datatype\.propagate\..*|column\.propagate\..*", "events.schemas describes the columns of each table"),
    (r"topic\.(naming|delimiter|transaction|heartbeat).*", "events.subject is the template of the names"),
    (r"slot\.drop\.on\.stop", "Ditto never drops the slot: ditto slot drop does"),
    (r"slot\.(stream\.params|max\..*)|xmin\.fetch\.interval\.ms|flush\.lsn\.source|lsn\.flush\.mode", "leave it out"),
    (r"publication\.autocreate\.mode", "Ditto creates the publication where it is missing, for events.tables or for "
     "all tables; with postgres.create: false neither that nor the slot"),
    (r"database\.(tcpkeepalive|initial\.statements|sslfactory|query\.timeout\.ms)", "leave it out"),
    (r"(schema|table)\..*", "write it as events.tables"),
)  # fmt: skip
_TRANSFORMS: Final = {
    "io.debezium.transforms.outbox.EventRouter": "events.outbox does this: table, subject, payload, id, key, headers",
    "io.debezium.transforms.ExtractNewRecordState": "choose events.format: ditto, whose `data` is the new row alone",
    "io.debezium.transforms.ByLogicalTableRouter": "events.topics, or `subject` of a table in events.tables, routes",
    "io.debezium.transforms.Filter": "write its condition as `when` of the table in events.tables",
    "io.debezium.transforms.ContentBasedRouter": "`subject` of a table in events.tables may have values of columns",
    "org.apache.kafka.connect.transforms.RegexRouter": "events.subject and events.topics name the subjects",
    "org.apache.kafka.connect.transforms.ReplaceField$Value": "columns.include or columns.exclude of the table",
    "org.apache.kafka.connect.transforms.MaskField$Value": "columns.mask of the table",
}


def read_debezium_server(file: Path) -> Imported:
    """Translate a file. Raises ConfigError for one that cannot be read."""
    try:
        leaves = parse_properties(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or type(error).__name__}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8 text") from None
    if not any(name.startswith("debezium.") for name in leaves):
        raise ConfigError(
            f"{file} is not a configuration of Debezium Server",
            hint="it has keys that begin with debezium.source and debezium.sink",
        )
    found = leaves.get(f"{_SOURCE}connector.class", _CLASS)
    if found != _CLASS:
        raise ConfigError(
            f"{file} reads another database than PostgreSQL: {found}", hint=f"Ditto follows {_CLASS} only"
        )
    draft = Draft(file, {name: with_references(value.strip()) for name, value in leaves.items()})
    draft.take(f"{_SOURCE}connector.class")
    return _translated(draft)


def _translated(draft: Draft) -> Imported:
    _postgres(draft)
    _tables(draft)
    _sink(draft)
    _format(draft)
    _transforms(draft)
    _rest(draft)
    draft.check()
    draft.notes.append(
        "variables such as DEBEZIUM_SOURCE_DATABASE_PASSWORD are not read: Ditto's begin with DITTO_, see "
        "ditto config show --help"
    )
    draft.notes.append(
        "the slot has been read by Debezium, and Ditto goes on from there: stop Debezium, and start Ditto"
        if "webhook" in draft.settings or str(draft.settings.get("rabbitmq", {}).get("url")).startswith("amqp")
        else "the slot has been read by Debezium, and what it has published is not where Ditto will store: stop "
        "Debezium, and start Ditto once with DITTO_DELIVERY_ON_GAP=continue"
    )
    return draft.done()


def _take(draft: Draft, name: str) -> str | None:
    value = draft.take(_SOURCE + name)
    return None if value is None or value == "" else str(value)


def _postgres(draft: Draft) -> None:
    parts = {ours: value for theirs, ours in _DSN.items() if (value := _take(draft, theirs)) is not None}
    draft.put("postgres.dsn", " ".join(f"{name}={_quoted(value)}" for name, value in parts.items()))
    if "password" in parts and REFERENCE not in parts["password"]:
        draft.note(
            f"{_SOURCE}database.password",
            "is written out in postgres.dsn: better write ${NAME} there, or set PGPASSWORD",
        )
    if parts.get("sslkey", "").endswith((".der", ".pk8")):
        draft.note(f"{_SOURCE}database.sslkey", "libpq reads PEM: openssl pkey -inform DER -in KEY -out KEY.pem")
    plugin = _take(draft, "plugin.name")
    slot = _take(draft, "slot.name") or _SLOT
    draft.put("postgres.slot", slot)
    if plugin != "pgoutput":
        draft.note(
            f"{_SOURCE}plugin.name",
            f"slot {slot} is of {plugin or 'decoderbufs, where nothing is given'}, and Ditto reads pgoutput: give "
            "postgres.slot another name, and start Ditto before Debezium is stopped",
        )
    draft.put("postgres.publication", _take(draft, "publication.name") or _PUBLICATION)
    if _take(draft, "slot.failover") == "true":
        draft.put("postgres.failover", True)
    prefix = _take(draft, "topic.prefix") or _take(draft, "database.server.name")
    if prefix is not None and (REFERENCE in prefix or draft.is_possible("events.prefix", prefix)):
        draft.put("events.prefix", prefix)
    elif prefix is not None:
        draft.note(f"{_SOURCE}topic.prefix", f"{prefix!r} cannot begin a subject: set events.prefix")
    draft.put("events.subject", "{prefix}.{schema}.{table}")
    mode = _take(draft, "snapshot.mode") or "initial"
    if mode in {"initial", "always", "when_needed", "initial_only"}:
        draft.note(
            f"{_SOURCE}snapshot.mode",
            f"is {mode}: Debezium has read the tables already. snapshot.mode: initial reads them again, into a new "
            "stream",
        )


def _names(draft: Draft, name: str) -> list[str]:
    value = _take(draft, name)
    return [] if value is None else [each.strip() for each in re.split(r"(?<!\\),", value) if each.strip()]


def _tables(draft: Draft) -> None:
    """Lists of regular expressions, of which each has to match the whole name, whatever its case."""
    skipped = {each.strip() for each in (_take(draft, "skipped.operations") or "t").split(",")}
    actions = [action for action in ACTIONS if action not in {_SKIPPED.get(each) for each in skipped}]
    tables, excluded = _names(draft, "table.include.list"), _names(draft, "table.exclude.list")
    schemas, no_schemas = _names(draft, "schema.include.list"), _names(draft, "schema.exclude.list")
    keys = [each.replace("\\.", ".") if _PLAIN.fullmatch(each) else f"re:(?i:{each})" for each in tables]
    if tables and (schemas or no_schemas):
        draft.note(f"{_SOURCE}schema.include.list", "is given beside a list of tables, which decides here: left out")
    elif schemas:
        keys = [f"{each}.*" if _PLAIN.fullmatch(each) else rf"re:(?i:{each})\..*" for each in schemas]
    left_out = [*excluded, *(rf"{each}\..*" for each in no_schemas if not tables and not schemas)]
    if left_out:
        if keys:
            draft.note(f"{_SOURCE}table.exclude.list", "is given beside a list of what is included: left out")
        else:
            keys = [f"re:(?i:(?!(?:{'|'.join(left_out)})$).*)"]
    if not keys and len(actions) == len(ACTIONS):
        return
    entries: dict[str, Any] = {key: list(actions) for key in keys or ["*"]}
    _columns(draft, entries)
    if wrong := next((key for key in entries if not draft.is_possible("events.tables", {key: entries[key]})), None):
        draft.note(f"{_SOURCE}table.include.list", f"{wrong!r} is no regular expression of Python's: write it anew")
        del entries[wrong]
    if entries:
        draft.put("events.tables", entries)


def _columns(draft: Draft, entries: dict[str, Any]) -> None:
    for word in ("include", "exclude"):
        for column in _names(draft, f"column.{word}.list"):
            table, _, name = column.replace("\\.", ".").rpartition(".")
            if table not in entries or not _PLAIN.fullmatch(column):
                draft.note(
                    f"{_SOURCE}column.{word}.list",
                    f"{column} is of no table that is named in full: write it as columns.{word} in events.tables",
                )
                continue
            if isinstance(entries[table], list):
                entries[table] = {"actions": entries[table]}
            entries[table].setdefault("columns", {}).setdefault(word, []).append(name)
    for entry in entries.values():
        if isinstance(entry, dict) and len(entry["columns"]) > 1:
            del entry["columns"]["exclude"]
            draft.note(f"{_SOURCE}column.exclude.list", "is given beside column.include.list: left out")


def _sink(draft: Draft) -> None:
    kind = draft.take("debezium.sink.type")
    translate = SINKS.get(str(kind))
    if translate is None or not translate(draft):
        no_sink(draft, "debezium.sink.type", str(kind))
    for path in [path for path in draft.leaves if path.startswith("debezium.sink.")]:
        draft.take(path)
        draft.note(path, "no counterpart: leave it out")


def _format(draft: Draft) -> None:
    kind = str(draft.take("debezium.format.value") or "json").lower()
    flag = draft.take("debezium.format.value.schemas.enable") or draft.take("debezium.format.schemas.enable") or "true"
    for path in ("debezium.format.key", "debezium.format.key.schemas.enable", "debezium.format.header"):
        draft.take(path)
    if kind == "cloudevents":
        draft.put("events.format", "cloudevents")
        draft.note("debezium.format.value", "the attributes of Ditto's are others, and data is Ditto's event")
    elif kind in {"json", "jsonbytearray", "simplestring"}:
        draft.put("events.format", "debezium" if str(flag).lower() == "false" else "debezium-schema")
    else:
        draft.put("events.format", "debezium")
        draft.note("debezium.format.value", f"is {kind}, and Ditto writes JSON, CloudEvents and MessagePack")


def _transforms(draft: Draft) -> None:
    for name in str(draft.take("debezium.transforms") or "").split(","):
        if not name.strip():
            continue
        path = f"debezium.transforms.{name.strip()}"
        kind = str(draft.take(f"{path}.type") or "")
        draft.note(path, f"{kind}: {_TRANSFORMS.get(kind, 'no counterpart: change events where they are consumed')}")
        for each in [each for each in draft.leaves if each.startswith(f"{path}.")]:
            draft.take(each)


def _rest(draft: Draft) -> None:
    for path in list(draft.leaves):
        value = draft.take(path)
        name = path.removeprefix(_SOURCE)
        if path.startswith("quarkus.log.level"):
            level = str(value).lower()
            draft.put("log.level", {"warn": "warning", "trace": "debug", "fine": "debug"}.get(level, level))
        elif path == "quarkus.log.console.json":
            draft.put("log.format", "json" if str(value).lower() == "true" else "pretty")
        elif path == "quarkus.http.port":
            draft.put("http.listen", f"0.0.0.0:{value}")
            draft.note(path, "/healthz, /readyz (there: /q/health) and /metrics are on that port")
        elif not path.startswith("debezium."):
            draft.note(path, "no counterpart: leave it out")
        elif name in _DEFAULTS:
            if str(value) != _DEFAULTS[name]:
                draft.note(path, f"Ditto's events in Debezium's format have {_DEFAULTS[name]}, and no other")
        else:
            words = next((words for pattern, words in _NOTES if re.fullmatch(pattern, name)), None)
            draft.note(path, words or "no counterpart: leave it out")


def _quoted(value: str) -> str:
    """A value of a connection string. What a reference brings is put between the quotes."""
    if REFERENCE in value:
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return make_dsn(password=value).removeprefix("password=")
