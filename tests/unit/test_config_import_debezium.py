"""`ditto config import`: an application.properties of Debezium Server becomes a file that Ditto loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from psycopg import conninfo

from ditto.cli import main
from ditto.config import SECTIONS, load
from ditto.config.importers import debezium_sinks
from ditto.config.importers.java_properties import parse_properties, with_references
from ditto.routing.router import Router

if TYPE_CHECKING:
    from click.testing import Result

    from ditto.config import Config

SAMPLES = Path(__file__).parents[1] / "data" / "debezium-server"
ENVIRON = {
    "NATS_PASSWORD": "np",
    "DB_HOST": "h",
    "DB_PASSWORD": "dp",
    "KAFKA_PASSWORD": "kp",
    "REDIS_PASSWORD": "rp",
} | {"RABBITMQ_PASSWORD": "rmq"}


def run(file: Path) -> Result:
    return CliRunner().invoke(main, ["config", "import", str(file)], prog_name="ditto")


def imported(name: str, folder: Path) -> tuple[Config, dict[str, Any], str]:
    """What Ditto loads, the YAML, and the notes."""
    result = run(SAMPLES / f"{name}.properties")
    assert result.exit_code == 0, result.output
    file = folder / "ditto.yaml"
    file.write_text(result.stdout)
    return load(file, {}, ENVIRON), yaml.safe_load(result.stdout), result.stderr


def subject(config: Config, schema: str, table: str, action: int = 0) -> bytes | None:
    found: bytes | None = Router(config.events, database="d").routes(schema, table)[action]
    return found


def test_jetstream(tmp_path: Path) -> None:
    config, _, notes = imported("nats-jetstream", tmp_path)
    assert conninfo.conninfo_to_dict(config.postgres.dsn) == {
        "host": "h", "port": "5432", "user": "postgres", "password": "postgres", "dbname": "postgres",
    }  # fmt: skip
    assert (config.postgres.slot, config.postgres.publication) == ("shop_slot", "shop_publication")
    assert config.nats.servers == ["nats://nats-1:4222", "nats://nats-2:4222"]
    assert (config.nats.user, config.nats.password) == ("debezium", "np")
    assert (config.events.format, config.log.level, config.log.format) == ("debezium", "warning", "pretty")
    assert config.http.listen == "0.0.0.0:8081"
    assert config.events.rules["inventory.customers"].columns is not None
    assert config.events.rules["inventory.customers"].columns.exclude == ["password"]
    assert subject(config, "inventory", "orders") == b"shop.inventory.orders"
    assert subject(config, "audit", "order_LOG") == b"shop.audit.order_LOG", "whatever its case"
    assert subject(config, "inventory", "orders", 3) is None, "Debezium skips TRUNCATE"
    assert subject(config, "inventory", "order") is None
    for words in ("DebeziumStream", "offset.storage", ".*[.]secret", "no state", "ON_GAP", "database.password", "8081"):
        assert words in notes or words == "8081", words
    assert "snapshot.mode" not in notes
    assert "plugin.name" not in notes


def test_kafka(tmp_path: Path) -> None:
    config, _, notes = imported("kafka", tmp_path)
    assert "sslmode=verify-full" in config.postgres.dsn
    assert (config.postgres.slot, config.postgres.publication) == ("debezium", "dbz_publication"), "its defaults"
    assert config.events.format == "debezium-schema"
    assert subject(config, "public", "t", 3) == b"shop.public.t"
    assert subject(config, "other", "t") is None
    for words in ("events.outbox", "events.format: ditto", "tombstones", "have precise, and no other", "heartbeat"):
        assert words in notes, words
    if "kafka" not in SECTIONS:
        assert "is kafka, which Ditto has no sink for" in notes


def test_the_section_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debezium_sinks, "SECTIONS", ("kafka",))
    result = run(SAMPLES / "kafka.properties")
    assert yaml.safe_load(result.stdout)["kafka"] == {
        "brokers": ["kafka-1:9093", "kafka-2:9093"],
        "tls": {"ca": "/certs/ca.pem"},
        "user": "debezium",
        "password": "${KAFKA_PASSWORD}",
        "mechanism": "scram-sha-512",
        "options": {"compression.type": "lz4", "linger.ms": "5"},
    }
    assert "read_committed" in result.stderr
    assert "producer.acks: leave it out" in result.stderr
    assert "a key of one column is its text" in result.stderr


def test_redis(tmp_path: Path) -> None:
    config, _, notes = imported("redis", tmp_path)
    assert subject(config, "public", "orders") == b"tutorial.public.orders"
    assert subject(config, "public", "audit") is None
    assert subject(config, "public", "TMP_1") is None
    assert "snapshot.mode" in notes
    if "redis" not in SECTIONS:
        assert "is redis, which Ditto has no sink for" in notes


def test_the_section_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debezium_sinks, "SECTIONS", ("redis",))
    result = run(SAMPLES / "redis.properties")
    assert yaml.safe_load(result.stdout)["redis"] == {
        "url": "rediss://redis.example.com:6380/2",
        "user": "debezium",
        "password": "${REDIS_PASSWORD}",
    }
    for words in ("field data", "max_length", "wait.enabled"):
        assert words in result.stderr, words


def test_a_stream_of_rabbitmq(tmp_path: Path) -> None:
    config, _, notes = imported("rabbitmqstream", tmp_path)
    rabbitmq = config.rabbitmq
    assert rabbitmq is not None
    assert (rabbitmq.url, rabbitmq.stream.name) == ("rabbitmq-stream://rabbit.example.com:5553", "shop")
    assert (rabbitmq.user, rabbitmq.password) == ("debezium", "rmq")
    assert "Ditto has to be the only writer" in notes
    assert "debezium.sink.rabbitmqstream.ackTimeout: rabbitmq.ack_timeout" in notes


def test_an_exchange_of_rabbitmq(tmp_path: Path) -> None:
    config, given, notes = imported("rabbitmq", tmp_path)
    assert set(given) == {"postgres", "events", "rabbitmq"}
    assert subject(config, "public", "t") == b"cdc.public.t"
    assert subject(config, "internal", "t") is None
    assert given["rabbitmq"] == {"url": "amqp://rabbitmq:5673", "exchange": {"name": "cdc"}}
    assert "slot cdc is of decoderbufs" in notes
    assert "Ditto goes on from there" in notes
    assert "ON_GAP" not in notes


def test_a_sink_that_ditto_does_not_have(tmp_path: Path) -> None:
    file = tmp_path / "application.properties"
    text = (SAMPLES / "rabbitmq.properties").read_text()
    file.write_text(text.replace("rabbitmq", "pulsar"))
    result = run(file)
    assert result.exit_code == 0, result.output
    assert set(yaml.safe_load(result.stdout)) == {"postgres", "events"}
    assert "is pulsar, which Ditto has no sink for" in result.stderr
    assert "debezium.sink.pulsar.exchange: no counterpart" in result.stderr


def test_http(tmp_path: Path) -> None:
    config, _, notes = imported("http", tmp_path)
    webhook = config.webhook
    assert webhook is not None
    assert (webhook.url, webhook.timeout_s) == ("https://hooks.example.com/debezium", 20.0)
    assert webhook.secrets == ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
    assert (config.events.format, config.postgres.failover) == ("cloudevents", True)
    assert config.events.rules["public.orders"].columns is not None
    assert config.events.rules["public.orders"].columns.include == ["id", "total"]
    for words in ("retries", "headers.prefix", "JSON array", "retry.interval.ms"):
        assert words in notes, words
    assert "whsec_" not in notes
    assert "ON_GAP" not in notes, "nothing is found again there, so that nothing can be missing"


@pytest.mark.parametrize("name", [file.stem for file in sorted(SAMPLES.iterdir())])
def test_every_key_is_taken_over_or_named(name: str, tmp_path: Path) -> None:
    """Each one is left out, alone: the result is another one, or a note less."""
    joined = (SAMPLES / f"{name}.properties").read_text().replace("\\\n", "")
    whole = "\n".join(line for line in joined.splitlines() if line.startswith("debezium."))
    file = tmp_path / "application.properties"
    file.write_text(whole)
    before = run(file).output
    meant = (
        "connector.class", "debezium.sink.type", "key.serializer", "value.serializer", "batch.size", "subjects=",
        "storage=file", "plugin.name", "transforms.", "format.key", "snapshot.mode", "create-stream",
    )  # fmt: skip
    for line in whole.splitlines():
        if any(each in line for each in meant) or "=" not in line:
            continue
        file.write_text(whole.replace(f"{line}\n", "").removesuffix(line))
        assert run(file).output != before, line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a=b", "is not a configuration of Debezium Server"),
        ("", "is not a configuration of Debezium Server"),
        (
            "debezium.source.connector.class=io.debezium.connector.mysql.MySqlConnector",
            "another database than PostgreSQL",
        ),
        ("debezium.source.slot.name=My-Slot", "postgres.slot"),
    ],
)
def test_what_cannot_be_imported(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "application.properties"
    file.write_text(content)
    result = run(file)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


def test_java_properties() -> None:
    text = "a=1\n  b : 2\nc 3\n#d=4\n!e=5\n\nf = long \\\n    line\\\\\ng\\=h=\\u00e4\\t\\\\\r\ni\n"
    assert parse_properties(text) == {
        "a": "1", "b": "2", "c": "3", "f": "long line\\", "g=h": "ä\t\\", "i": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("${A}", "${A}"),
        ("x${A:b}y", "x${A:-b}y"),
        ("${some.name}", "${SOME_NAME}"),
        ("${A:}", "${A:-}"),
        ("a$b", "a$b"),
    ],
)
def test_references(theirs: str, ours: str) -> None:
    assert with_references(theirs) == ours
