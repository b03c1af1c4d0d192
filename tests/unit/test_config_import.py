"""`ditto config import`: wal-listener's file becomes one that Ditto loads, with the same subjects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from ditto.cli import main
from ditto.config import KEYS, load
from ditto.events.route import Router

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
    assert Router(load(file, {}, {}).events, database="d").targets(schema, table)[action] == subject


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
    assert Router(config.events, database="d").targets("public", "t")[0] == b"T.x_public_t"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({**FULL, "publisher": {"type": "kafka"}}, "kafka"),
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


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["config", "import", str(tmp_path / "none.yml")])
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_without_a_filter_it_says_what_differs(tmp_path: Path) -> None:
    result = imported(tmp_path, {"publisher": {"type": "nats", "topic": "T"}, "database": {"host": "h"}})
    assert "publishes everything" in result.stderr
