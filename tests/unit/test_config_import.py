"""`ditto config import`: wal-listener's file becomes one that Ditto loads, with the same subjects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from ditto.cli import main
from ditto.config import KEYS, Kafka, load
from ditto.config.importers import wal_listener
from ditto.routing.router import Router

SECRET = "pa ss'w\\ord"
FULL: dict[str, Any] = {
    "listener": {
        "slotName": "myslot_1",
        "serverPort": 80,
        "refreshConnection": "30s",
        "heartbeatInterval": "10s",
        "ackTimeout": "5s",
        "filter": {"tables": {"Users": ["insert", "UPDATE"], "order_items": ["delete"], "none": []}},
        "topicsMap": {"public_users": "notifier", "my_shop_order_items": "items", "public_gone": "x"},
        "transformations": {"users": {"type": "js", "script": "1"}},
    },
    "logger": {"level": "warn", "fmt": "json", "caller": True},
    "database": {
        "host": "db", "port": 5433, "name": "my db", "user": "u", "password": SECRET, "enableTLS": True, "debug": True,
    },
    "publisher": {"type": "nats", "address": "n1:4222, nats://n2:4222", "topic": "STREAM", "topicPrefix": "pre_"},
    "monitoring": {"sentryDSN": "https://x", "promAddr": ":2112"},
    "surplus": {"key": 1},
}  # fmt: skip


def imported(tmp_path: Path, content: Any) -> Result:
    file = tmp_path / "config.yml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return CliRunner().invoke(main, ["config", "import", str(file)], prog_name="ditto")


def shown(tmp_path: Path, text: str, **environ: str) -> tuple[Result, Path]:
    file = tmp_path / "ditto.yaml"
    file.write_text(text)
    return CliRunner().invoke(main, ["config", "show", "--config", str(file)], env=environ), file


def test_every_key_is_taken_over_or_named(tmp_path: Path) -> None:
    result = imported(tmp_path, FULL)
    assert result.exit_code == 0, result.output
    show, file = shown(tmp_path, result.stdout)
    assert show.exit_code == 0, show.output
    config = load(file, {}, {})
    assert (config.postgres.slot, config.postgres.publication) == ("myslot_1", "wal-listener")
    from psycopg import conninfo  # noqa: PLC0415

    assert conninfo.conninfo_to_dict(config.postgres.dsn) == {
        "host": "db", "port": "5433", "dbname": "my db", "user": "u", "password": SECRET, "sslmode": "require",
    }  # fmt: skip
    assert config.nats.servers == ["nats://n1:4222", "nats://n2:4222"]
    assert config.nats.stream == "STREAM"
    assert config.events.tables == {"users": ["insert", "update"], "order_items": ["delete"]}
    assert (config.log.level, config.log.format) == ("warning", "json")
    for key in (
        "Users", "none", "public_gone", "refreshconnection", "heartbeatinterval", "acktimeout", "transformations",
        "serverPort", "promAddr", "sentrydsn", "database.debug", "logger.caller", "surplus.key", "password",
        "ON_GAP", "WAL_",
    ):  # fmt: skip
        assert key in result.stderr, key
    assert SECRET not in result.stderr
    if "events.types.profile" in KEYS:
        assert yaml.safe_load(result.stdout)["events"]["types"] == {"profile": "wal-listener"}


@pytest.mark.parametrize(
    ("schema", "table", "action", "subject"),
    [
        ("public", "users", 0, b"STREAM.pre_notifier"),
        ("other", "users", 1, b"STREAM.pre_other_users"),
        ("my_shop", "order_items", 2, b"STREAM.pre_items"),
        ("public", "order_items", 2, b"STREAM.pre_public_order_items"),
        ("public", "users", 2, None),
        ("public", "else", 0, None),
    ],
)
def test_subjects_stay_the_same(tmp_path: Path, schema: str, table: str, action: int, subject: bytes | None) -> None:
    _, file = shown(tmp_path, imported(tmp_path, FULL).stdout)
    assert Router(load(file, {}, {}).events, database="d").routes(schema, table)[action] == subject


def test_references_are_passed_on(tmp_path: Path) -> None:
    content = {
        "listener": {"slotName": "${SLOT}", "filter": {"tables": {"t": ["insert"]}}},
        "database": {"host": "${HOST:-db}", "password": "${PASSWORD}"},
        "publisher": {"type": "nats", "address": "${NATS}", "topic": "${TOPIC}", "topicPrefix": "${TP}"},
    }
    environ = {"SLOT": "s", "PASSWORD": "a b", "NATS": "nats://n:1", "TOPIC": "T", "TP": "x_"}
    result = imported(tmp_path, content)
    show, file = shown(tmp_path, result.stdout, **environ)
    assert show.exit_code == 0, show.output
    config = load(file, {}, environ)
    assert "password='a b'" in config.postgres.dsn
    assert "host='db'" in config.postgres.dsn
    assert Router(config.events, database="d").routes("public", "t")[0] == b"T.x_public_t"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"postgres": {"dsn": "x"}}, "not a configuration of wal-listener"),
        ("a: [", "not valid YAML"),
        ("", "not a configuration of wal-listener"),
        ({**FULL, "listener": {"slotName": "My-Slot"}}, "postgres.slot"),
    ],
)
def test_what_cannot_be_imported(tmp_path: Path, content: Any, words: str) -> None:
    result = imported(tmp_path, content)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("kind", ["google_pubsub"])
def test_of_another_broker_the_rest_is_taken_over(tmp_path: Path, kind: str) -> None:
    publisher = {
        "type": kind, "address": "broker:9092", "topic": "wal listener", "topicPrefix": "p_", "exchangeKind": "topic",
        "messageKeyFrom": "id", "pubSubProjectID": "x", "enable_tls": True, "ca_cert": "ca.pem",
    }  # fmt: skip
    result = imported(tmp_path, {**FULL, "publisher": publisher})
    assert result.exit_code == 0, result.output
    show, file = shown(tmp_path, result.stdout, DITTO_NATS_URL="nats://n:4222")
    assert show.exit_code == 0, show.output
    config = load(file, {}, {"DITTO_NATS_URL": "nats://n:4222"})
    assert config.postgres.slot == "myslot_1"
    assert config.events.tables == {"users": ["insert", "update"], "order_items": ["delete"]}
    assert Router(config.events, database="d").routes("public", "users")[0] == b"p_notifier"
    assert "broker" not in result.stdout
    for words in (kind, "set nats.url", "set nats.stream", "exchangekind", "messagekeyfrom", "enabletls", "cacert"):
        assert words in result.stderr, words
    assert result.stderr.count("does not know") == 1, "that of surplus.key"


def test_rabbitmq(tmp_path: Path) -> None:
    publisher = {
        "type": "rabbitmq", "address": "amqp://guest:guest@localhost:5672/", "topic": "wal", "topicPrefix": "p_",
        "exchangeKind": "direct", "enableTLS": True, "caCert": "ca.pem", "messageKeyFrom": "id",
    }  # fmt: skip
    result = imported(tmp_path, {**FULL, "publisher": publisher})
    assert result.exit_code == 0, result.output
    show, file = shown(tmp_path, result.stdout)
    assert show.exit_code == 0, show.output
    rabbitmq = load(file, {}, {}).rabbitmq
    assert rabbitmq is not None
    assert (rabbitmq.servers, rabbitmq.exchange.name) == (["amqp://guest:guest@localhost:5672/"], "wal")
    assert Router(load(file, {}, {}).events, database="d").routes("public", "users")[0] == b"wal.p_notifier"
    assert "nats" not in yaml.safe_load(result.stdout)
    assert "publisher.exchangeKind: is direct" in result.stderr
    assert "amqps://, and rabbitmq.tls.ca for the files" in result.stderr
    assert "publisher.messageKeyFrom: for Kafka only" in result.stderr
    assert "nats.tls" not in result.stderr
    assert "NATS has no" not in result.stderr


def test_kafka_where_there_is_a_sink_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_listener, "SECTIONS", ("kafka",))
    publisher = {
        "type": "kafka", "address": "k1:9092, k2:9092", "topic": "wal", "topicPrefix": "p_", "messageKeyFrom": "id",
        "enable_tls": True, "ca_cert": "ca.pem", "client_cert": "c.pem", "client_key": "k.pem",
    }  # fmt: skip
    result = imported(tmp_path, {**FULL, "publisher": publisher})
    settings = yaml.safe_load(result.stdout)
    assert settings["kafka"] == {
        "brokers": ["k1:9092", "k2:9092"],
        "tls": {"ca": "ca.pem", "cert": "c.pem", "key": "k.pem"},
    }
    assert "nats" not in settings
    assert settings["events"]["tables"]["users"] == {"actions": ["insert", "update"], "key": ["id"]}
    assert settings["events"]["prefix"] == "wal"
    assert "kafka" not in result.stderr.lower()


def test_the_first_versions_for_jetstream_had_a_section_of_their_own(tmp_path: Path) -> None:
    content = {
        "listener": {"slotName": "s", "filter": {"tables": {"users": ["insert"]}}, "topicsMap": {"public_users": "n"}},
        "database": {"host": "h"},
        "nats": {"address": "nats:4222", "streamName": "OLD", "topicPrefix": "p_"},
        "logger": {"level": "info", "format": "json"},
    }
    result = imported(tmp_path, content)
    assert result.exit_code == 0, result.output
    _, file = shown(tmp_path, result.stdout)
    config = load(file, {}, {})
    assert (config.nats.servers, config.nats.stream, config.log.format) == (["nats://nats:4222"], "OLD", "json")
    assert Router(config.events, database="d").routes("public", "users")[0] == b"OLD.p_n"
    assert "leave it out" not in result.stderr


@pytest.mark.parametrize("place", ["top", "listener", "filter", "database"])
@pytest.mark.parametrize("tables", [["users", "orders"], {"users": ["insert"], "orders": ["delete"]}])
def test_a_watch_list_is_the_filter(tmp_path: Path, place: str, tables: Any) -> None:
    listener: dict[str, Any] = {"slotName": "s", "filter": {}}
    content: dict[str, Any] = {
        "listener": listener, "database": {"host": "h"}, "publisher": {"address": "n", "topic": "T"},
    }  # fmt: skip
    nodes = {"top": content, "listener": listener, "filter": listener["filter"], "database": content["database"]}
    nodes[place]["watch_list"] = tables
    result = imported(tmp_path, content)
    assert result.exit_code == 0, result.output
    _, file = shown(tmp_path, result.stdout)
    found = load(file, {}, {}).events.tables
    everything = ["insert", "update", "delete", "truncate"]
    assert found == (dict.fromkeys(tables, everything) if isinstance(tables, list) else tables)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["config", "import", str(tmp_path / "none.yml")])
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_without_a_filter_it_says_what_differs(tmp_path: Path) -> None:
    result = imported(tmp_path, {"publisher": {"type": "nats", "topic": "T"}, "database": {"host": "h"}})
    assert "publishes everything" in result.stderr


def test_dittos_own_messages_are_named(tmp_path: Path) -> None:
    """A consumer of every subject gets them, too."""
    assert "Ditto stores messages of its own on STREAM._checkpoint" in imported(tmp_path, FULL).stderr


def test_a_filter_that_selects_nothing_lets_everything_through_and_that_is_said(tmp_path: Path) -> None:
    result = imported(tmp_path, {**FULL, "listener": {"slotName": "s", "filter": {"tables": {"t": ["inserted"]}}}})
    assert "tables" not in yaml.safe_load(result.stdout)["events"]
    assert "Ditto then publishes everything" in result.stderr


def test_the_topic_of_kafka_stays_the_prefix(tmp_path: Path) -> None:
    publisher = {"type": "kafka", "address": "broker:9092", "topic": "wal.topic", "topicPrefix": "p_"}
    result = imported(tmp_path, {**FULL, "publisher": publisher})
    _, file = shown(tmp_path, result.stdout)
    config = load(file, {}, {})
    assert config.events.prefix == "wal.topic"
    assert Router(config.events, database="d").routes("public", "users")[0] == b"wal.topic.p_notifier"
    assert Router(config.events, database="d").routes("other", "users")[0] == b"wal.topic.p_other_users"
    assert config.sink == "kafka"
    assert config.kafka == Kafka(brokers="broker:9092")
    assert "nats.url" not in result.stderr


def test_each_thing_is_said_once(tmp_path: Path) -> None:
    notes = imported(tmp_path, FULL).stderr
    assert notes.count("STREAM.*") == 1
    assert notes.count("keep its stream") == 1


def test_options_for_transactions_and_origins_are_known(tmp_path: Path) -> None:
    listener = {"slotName": "s", "dropForeignOrigin": True, "skipTransactionBuffering": True, "maxTransactionSize": 9}
    notes = imported(tmp_path, {**FULL, "listener": listener, "surplus": None}).stderr
    assert "events.metadata: [origin]" in notes
    for key in ("skiptransactionbuffering", "maxtransactionsize"):
        assert key in notes
    assert notes.count("does not know") == 1, "that of surplus"
