"""A configuration file of wal-listener as one of Ditto.

wal-listener reads its file without regard to case, and puts the names of tables and topics into lower case. Its own
example writes some keys with underscores, which are taken for the same key. Its first versions for JetStream had a
section `nats` in place of `publisher`.
https://github.com/ihippik/wal-listener
"""

from __future__ import annotations

import glob
import re
from typing import TYPE_CHECKING, Any, Final

from ditto.config.dsn import make_dsn
from ditto.config.events import Action
from ditto.config.files import SyntaxFault, parse_yaml
from ditto.config.importers.draft import REFERENCE, Draft, Imported
from ditto.config.keys import SECTIONS
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_PUBLICATION: Final = "wal-listener"
"""Fixed there."""
_LEVELS: Final = {"debug": "debug", "info": "info", "warn": "warning", "warning": "warning", "error": "error"}
_FORMATS: Final = {"json": "json", "text": "pretty"}

_NO_COUNTERPART: Final = {
    "listener.acktimeout": "leave it out: nats.ack_timeout is another thing, how long JetStream may take",
    "listener.refreshconnection": "leave it out: a lost connection is made again by itself",
    "listener.heartbeatinterval": "leave it out: status messages go out every 10 s, or sooner",
    "listener.transformations": "no scripts run in Ditto: change events where they are consumed",
    "listener.dropforeignorigin": "Ditto stores the changes of every origin: events.metadata: [origin] names it, for "
    "consumers that leave them out",
    "listener.skiptransactionbuffering": "leave it out: Ditto never collects a transaction",
    "listener.maxtransactionsize": "leave it out: a transaction may have any size, and Ditto never cuts one off",
    "database.debug": "log.level: debug logs more",
    "publisher.messagekeyfrom": "for Kafka only; NATS has no message keys",
    "publisher.enabletls": "wal-listener used it for Kafka only; for NATS give nats.tls or a tls:// address",
    "publisher.clientcert": "wal-listener used it for Kafka only; for NATS it is nats.tls.cert",
    "publisher.clientkey": "wal-listener used it for Kafka only; for NATS it is nats.tls.key",
    "publisher.cacert": "wal-listener used it for Kafka only; for NATS it is nats.tls.ca",
    "publisher.pubsubprojectid": "for Google Pub/Sub only",
    "publisher.exchangekind": "for RabbitMQ only: in NATS consumers choose their subjects, wildcards included",
    "monitoring.sentrydsn": "no Sentry: collect the log, errors are JSON lines on standard error",
}
_SECTIONS: Final = {"listener", "database", "publisher", "nats", "logger", "monitoring"}
_RENAMED: Final = {
    "nats.address": "publisher.address",
    "nats.streamname": "publisher.topic",
    "nats.topicprefix": "publisher.topicprefix",
    "logger.format": "logger.fmt",
    "watchlist": "listener.filter.tables",
    "listener.watchlist": "listener.filter.tables",
    "listener.filter.watchlist": "listener.filter.tables",
    "database.watchlist": "listener.filter.tables",
}
"""Other names of the same keys, in other versions."""
_OPEN: Final = {
    *(path for path, now in _RENAMED.items() if now == "listener.filter.tables"),
    "listener.filter.tables",
    "listener.topicsmap",
    "listener.transformations",
}
"""Mappings whose keys are names of the user's own."""


def read_wal_listener(file: Path) -> Imported:
    """Translate a file. Raises ConfigError for one that cannot be read."""
    try:
        root = parse_yaml(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or type(error).__name__}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8 text") from None
    except SyntaxFault as error:
        raise ConfigError(f"{file}{error.place} is not valid YAML: {error}", hint=error.hint) from None
    return _Translation(file, _flatten(root)).run()


def _flatten(node: Any, path: str = "") -> dict[str, Any]:
    """Every leaf by its path in lower case, without underscores."""
    if not isinstance(node, dict) or path in _OPEN:
        return {_RENAMED.get(path, path): node} if path else {}
    leaves: dict[str, Any] = {}
    for name, value in node.items():
        leaves.update(_flatten(value, f"{path}.{name}".lower().replace("_", "").removeprefix(".")))
    return leaves


class _Translation(Draft):
    def __init__(self, file: Path, leaves: dict[str, Any]) -> None:
        super().__init__(file, leaves)
        self._key: Any = None
        self._sink = "nats"
        """The section of Ditto's that takes the events."""

    def run(self) -> Imported:
        if not any(path.partition(".")[0] in _SECTIONS for path in self.leaves):
            raise ConfigError(
                f"{self.file} is not a configuration of wal-listener",
                hint="it has the sections listener, database, publisher, logger and monitoring",
            )
        self._postgres()
        topic = self._broker(str(self.take("publisher.topic") or ""))
        self._nats(topic)
        tables = self._tables()
        self._subjects(topic, tables)
        self._log()
        self._http()
        self._rest()
        self.check()
        self._closing_notes()
        return self.done()

    def _postgres(self) -> None:
        names = {"host": "host", "port": "port", "name": "dbname", "user": "user", "password": "password"}
        parts = {ours: str(value) for theirs, ours in names.items() if (value := self.take(f"database.{theirs}"))}
        is_tls, mode = self.take("database.enabletls"), self.take("database.sslmode")
        if is_tls:
            parts["sslmode"] = str(mode or "require")
            if parts["sslmode"].startswith("verify"):
                self.note(
                    "database.sslMode", "libpq reads the authorities from sslrootcert, not from the system: add it"
                )
        elif mode:
            self.note(
                "database.sslMode", "not used without enableTLS, nor here: add sslmode to postgres.dsn if you want it"
            )
        self.put("postgres.dsn", " ".join(f"{name}={_quoted(value)}" for name, value in parts.items()))
        if "password" in parts and REFERENCE not in parts["password"]:
            self.note(
                "database.password", "is written out in postgres.dsn: better write ${NAME} there, or set PGPASSWORD"
            )
        slot = self.take("listener.slotname")
        if slot is not None:
            self.put("postgres.slot", slot)
        self.put("postgres.publication", _PUBLICATION)

    def _broker(self, topic: str) -> str:
        """The topic, where it can begin subjects; of another broker, nothing else stays."""
        kind = self.take("publisher.type")
        if kind is None or str(kind).lower() == "nats":
            return topic
        if str(kind).lower() == "kafka" and "kafka" in SECTIONS:
            self._sink = "kafka"
            self._kafka()
            return topic
        if str(kind).lower() == "rabbitmq" and "rabbitmq" in SECTIONS:
            self._sink = "rabbitmq"
            self._rabbitmq(topic)
            return topic
        self._sink = ""
        self.note(
            "publisher.type",
            f"is {kind}, which Ditto has no sink for: consumers have to read from NATS JetStream, or a bridge to the "
            "other broker does. The rest is taken over",
        )
        if self.take("publisher.address"):
            self.note("publisher.address", f"is that of {kind}: set nats.url")
        if not self.is_possible("events.prefix", topic):
            self.note("publisher.topic", f"{topic!r} cannot be the name of a stream: set nats.stream and events.prefix")
            return ""
        return topic

    def _kafka(self) -> None:
        """What is a subject in NATS is a topic there."""
        brokers = [each.strip() for each in str(self.take("publisher.address") or "").split(",") if each.strip()]
        if brokers:
            self.put("kafka.brokers", brokers if len(brokers) > 1 else brokers[0])
        files = {"cacert": "ca", "clientcert": "cert", "clientkey": "key"}
        given = {ours: value for theirs, ours in files.items() if (value := self.take(f"publisher.{theirs}"))}
        if self.take("publisher.enabletls"):
            self.put("kafka.tls", given)
        elif given:
            self.note("publisher.enableTLS", "is not given, so that the certificates are not used: give kafka.tls")
        self._key = self.take("publisher.messagekeyfrom")

    def _rabbitmq(self, topic: str) -> None:
        """Its topic is the name of an exchange, and the beginning of routing keys."""
        if address := self.take("publisher.address"):
            self.put("rabbitmq.url", address)
        if topic:
            self.put("rabbitmq.exchange.name", topic)
        files = {"cacert": "ca", "clientcert": "cert", "clientkey": "key"}
        given = [f"rabbitmq.tls.{ours}" for theirs, ours in files.items() if self.take(f"publisher.{theirs}")]
        if self.take("publisher.enabletls") or given:
            keys = f", and {', '.join(given)} for the files" if given else ""
            self.note("publisher.enableTLS", f"wal-listener used it for Kafka only: give an address amqps://{keys}")
        if self.take("publisher.messagekeyfrom"):
            self.note("publisher.messageKeyFrom", "for Kafka only; `key` of a table sets the header Ditto-Key")
        kind = self.take("publisher.exchangekind")
        if kind not in (None, "topic"):
            self.note(
                "publisher.exchangeKind", f"is {kind}: an exchange that is there stays; Ditto makes one of type topic"
            )

    def _nats(self, topic: str) -> None:
        if self._sink in {"kafka", "rabbitmq"}:
            return
        address = str(self.take("publisher.address") or "")
        if address:
            servers = [each.strip() for each in address.split(",")]
            with_scheme = [each if "://" in each or each.startswith("$") else f"nats://{each}" for each in servers]
            self.put("nats.url", with_scheme if len(with_scheme) > 1 else with_scheme[0])
        if topic and self._sink != "nats" and not self.is_possible("nats.stream", topic):
            self.note(
                "publisher.topic", f"{topic!r} is the prefix, but cannot be the name of a stream: set nats.stream"
            )
        elif topic:
            self.put("nats.stream", topic)

    def _tables(self) -> list[str]:
        given = self.take("listener.filter.tables")
        if isinstance(given, list):  # names alone
            given = {str(name): list(Action) for name in given}
        if not isinstance(given, dict) or not given:
            self._note_everything()
            return []
        tables: dict[str, list[str]] = {}
        for name, actions in given.items():
            lower = str(name).lower()
            if lower != str(name):
                self.note(
                    f"listener.filter.tables.{name}",
                    f"wal-listener reads it as {lower}; if the table has capitals, write {name} in events.tables",
                )
            known = [str(each).lower() for each in actions or () if str(each).lower() in list(Action)]
            unknown = [str(each) for each in actions or () if str(each).lower() not in list(Action)]
            if unknown:
                self.note(f"listener.filter.tables.{name}", f"there is no action {', '.join(unknown)}: left out")
            if known:
                tables[glob.escape(lower)] = known
            else:
                self.note(f"listener.filter.tables.{name}", "selects no action, and so nothing: left out")
        if tables and self._key:
            # wal-listener takes the column's value, and Ditto too, where the table has it.
            self.put("events.tables", {name: {"actions": found, "key": [self._key]} for name, found in tables.items()})
        elif tables:
            self.put("events.tables", tables)
        else:
            self._note_everything()
        return [str(name).lower() for name in given]

    def _note_everything(self) -> None:
        self.note(
            "listener.filter.tables", "wal-listener publishes nothing without it; Ditto then publishes everything"
        )

    def _subjects(self, topic: str, tables: list[str]) -> None:
        prefix = str(self.take("publisher.topicprefix") or "")
        if topic:
            self.put("events.prefix", topic)
        self.put("events.subject", f"{{prefix}}.{_escaped(prefix)}{{schema}}_{{table}}")
        topics = {}
        for key, mapped in (self.take("listener.topicsmap") or {}).items():
            names = _split(str(key).lower(), tables)
            if not names:
                self.note(f"listener.topicsMap.{key}", "belongs to no table of the filter: left out")
            for name in names:
                topics[name] = f"{topic}.{prefix}{mapped}".removeprefix(".")
        if topics:
            self.put("events.topics", topics)
        strange = [name for name in tables if re.search(r"[\s.*>%]", name)]
        if strange:
            self.note(
                "listener.filter.tables", f"the subjects of {', '.join(strange)} change: Ditto writes such signs as %XX"
            )
        self.put("events.types.profile", "wal-listener")

    def _log(self) -> None:
        for theirs, ours, words in (("logger.level", "log.level", _LEVELS), ("logger.fmt", "log.format", _FORMATS)):
            value = self.take(theirs)
            if value is None:
                continue
            if REFERENCE in str(value):
                self.put(ours, value)
            elif str(value).lower() in words:
                self.put(ours, words[str(value).lower()])
            else:
                self.note(theirs, f"there is no {value} in Ditto: {ours} keeps its default")

    def _http(self) -> None:
        port, address = self.take("listener.serverport"), self.take("monitoring.promaddr")
        wanted = f"0.0.0.0:{port}" if port else re.sub(r"^:", "0.0.0.0:", str(address)) if address else None
        if wanted is None:
            return
        self.put("http.listen", wanted)
        paths = "/healthz, /readyz (there: /ready) and /metrics share one port"
        self.note("listener.serverPort, monitoring.promAddr", f"{paths}: http.listen is {wanted}")

    def _rest(self) -> None:
        for path, value in self.leaves.items():
            if path in _NO_COUNTERPART:
                if value not in (None, "", False):
                    self.note(path, _NO_COUNTERPART[path])
            elif path.startswith("logger."):
                self.note(path, "no counterpart: leave it out")
            else:
                self.note(path, "wal-listener does not know it either: leave it out")

    def _closing_notes(self) -> None:
        self.notes.append(
            "WAL_… environment variables are not read: Ditto's begin with DITTO_, see ditto config show --help"
        )
        if "exchange" in self.settings.get("rabbitmq", {}):
            self.notes.append("the slot has been read by wal-listener, and Ditto goes on from there: stop wal-listener")
            return
        prefix = self.settings.get("events", {}).get("prefix", "ditto")
        self.notes.append(
            f"Ditto stores messages of its own in the topics ditto.checkpoints and {prefix}._ditto: consumers of a "
            "pattern of topics leave these two out. They read with isolation.level=read_committed, as Ditto writes in "
            "transactions"
            if "kafka" in self.settings
            else f"Ditto stores messages of its own on {prefix}._checkpoint: consumers of {prefix}.* get them, too, "
            "and have to pass over messages that have no action"
        )
        published = (
            "and the stream has none of Ditto's messages yet: stop wal-listener, keep its stream,"
            if self._sink == "nats"
            else "and what it has published is not where Ditto will store: stop wal-listener"
        )
        self.notes.append(
            f"the slot has been read by wal-listener {published} and start Ditto once with "
            "DITTO_DELIVERY_ON_GAP=continue"
        )


def _quoted(value: str) -> str:
    """A value of a connection string. What a reference brings is put between the quotes."""
    if REFERENCE in value:
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return make_dsn(password=value).removeprefix("password=")


def _escaped(text: str) -> str:
    """As part of a template: braces doubled, but for those of references."""
    parts = re.split(r"(\$\{[^}]*\})", text)
    return "".join(part if part.startswith(REFERENCE) else part.replace("{", "{{").replace("}", "}}") for part in parts)


def _split(key: str, tables: list[str]) -> list[str]:
    """The `schema.table` that a key `schema_table` means: where both have underscores there may be several."""
    places = [index for index, sign in enumerate(key) if sign == "_"]
    return [f"{key[:at]}.{key[at + 1 :]}" for at in places if at and (not tables or key[at + 1 :] in tables)]
