"""Wrong types and impossible values: each is one sentence that names the key."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from ditto.config import load
from ditto.config.load import load_server
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def load_json(tmp_path: Path, path: str, value: Any) -> Any:
    document: Any = value
    for name in reversed(path.split(".")):
        document = {name: document}
    file = tmp_path / "c.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    return load(file, {}, {})


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("postgres.slot", 5, "must be text, not an integer"),
        ("postgres.create", "yes", "must be true or false, not text"),
        ("nats.replicas", "3", "must be an integer, not text"),
        ("nats.replicas", True, "must be an integer, not true or false"),
        ("nats.replicas", 0, "must be at least 1"),
        ("nats.replicas", 6, "must be at most 5"),
        ("delivery.max_in_flight", 0, "must be at least 1"),
        ("nats.url", 4222, "must be text or a list"),
        ("nats.url", [], "at least one server"),
        ("nats.url", "http://localhost", "must be a NATS address"),
        ("nats.url", "nats://h:99999", "must be a NATS address"),
        ("nats.url", "nats://h:port", "must be a NATS address"),
        ("nats.url", "nats://", "must be a NATS address"),
        ("nats.ack_timeout", "soon", "must be a number of seconds"),
        ("nats.ack_timeout", "10 apples", "must be a number of seconds"),
        ("nats.ack_timeout", True, "must be a number of seconds"),
        ("nats.ack_timeout", 0, "longer than 0"),
        ("nats.ack_timeout", -1, "longer than 0"),
        ("nats.object_store.ttl", -1, "must be 0 (for ever) or at least 100ms"),
        ("nats.object_store.ttl", "99ms", "must be 0 (for ever) or at least 100ms"),
        ("delivery.lease_ttl", -1, "must be 0 (no lease) or at least one second"),
        ("delivery.lease_ttl", "500ms", "must be 0 (no lease) or at least one second"),
        ("delivery.on_gap", "ignore", "must be one of stop, continue"),
        ("log.level", "loud", "must be one of debug, info, warning, error"),
        ("log.level", 3, "must be text"),
        ("postgres.slot", "", "lower-case letters"),
        ("postgres.slot", "My-Slot", "lower-case letters"),
        ("postgres.slot", "s\nt", "lower-case letters"),
        ("name", "-x", "the first a letter or a digit"),
        ("name", "a b", "letters, digits, and the signs"),
        ("postgres.slot", "s" * 64, "lower-case letters"),
        ("postgres.publication", "", "1 to 63 bytes"),
        ("postgres.publication", "ü" * 32, "1 to 63 bytes"),
        ("postgres.dsn", "nonsense", "not a connection string"),
        ("postgres.dsn", "mysql://h/d", "not a connection string"),
        ("postgres.dsn", "host=h colour=red", "not a connection string"),
        ("postgres.dsn", "postgres://h/d?pgbouncer=true", "pgbouncer"),
        ("nats.stream", "", "1 to 255"),
        ("nats.stream", "a.b", "1 to 255"),
        ("nats.stream", "a b", "1 to 255"),
        ("nats.stream", "a>", "1 to 255"),
        ("nats.stream", "*", "1 to 255"),
        ("nats.stream", "a/b", "1 to 255"),
        ("nats.stream", "a\\b", "1 to 255"),
        ("events.prefix", "", "beginning of a NATS subject"),
        ("events.prefix", "a..b", "beginning of a NATS subject"),
        ("events.prefix", "a.", "beginning of a NATS subject"),
        ("events.prefix", "a.>", "beginning of a NATS subject"),
        ("events.prefix", "a b", "beginning of a NATS subject"),
        ("events.prefix", "a\x00", "beginning of a NATS subject"),
        ("events.subject", "{prefix}_{schema}", "must contain {table}"),
        ("events.subject", "{table}.{colour}", "unknown placeholder {colour}"),
        ("events.subject", "{table}.{}", "unknown placeholder {}"),
        ("events.subject", "{table.name}", "unknown placeholder {table.name}"),
        ("events.subject", "{table!r}", "with a format"),
        ("events.subject", "{table:>10}", "with a format"),
        ("events.subject", "{table", "not a template"),
        ("events.subject", "{table} x", "must give a NATS subject"),
        ("events.subject", "{table}.>", "must give a NATS subject"),
        ("events.subject", ".{table}", "must give a NATS subject"),
        ("events.tables", {}, "nothing would pass"),
        ("events.tables", {"": ["insert"]}, "empty table name"),
        ("events.tables", ["trades"], "must be a mapping, not a list"),
        ("webhook.url", "ftp://h/x", "must be an address such as https://"),
        ("webhook.url", "https://", "must be an address such as https://"),
        ("webhook.url", "https://h:0/", "must be an address such as https://"),
        ("webhook.url", "https://h/a b", "must be an address such as https://"),
        ("webhook.url", "https://münchen.example/", "must be an address such as https://"),
        ("webhook.url", "https://u:p@h/", "has a user in it"),
        ("webhook.url", "https://h/#x", "has a fragment"),
        ("events.topics", {"": "x"}, "empty table name"),
    ],
)
def test_refused(path: str, value: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_json(tmp_path, path, value)
    assert caught.value.message.startswith(f"{path} in {tmp_path / 'c.json'} ")
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({}, "has no url"),
        ({"secret": "abc"}, "must be whsec_ followed by the base64 of 24 to 64 bytes"),
        ({"secret": "whsec_c2hvcnQ="}, "must be whsec_"),
        ({"secret": []}, "must be whsec_"),
        ({"secret": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%"]}, "must be whsec_"),
        ({"token": "a\nb"}, "printable ASCII"),
        ({"user": "a:b", "password": "c"}, "without a colon"),
        ({"password": "c"}, "without webhook.user"),
        ({"user": "u", "password": "p", "token": "t"}, "exclude each other"),
        ({"headers": {"a b": "c"}}, "is not the name of a header"),
        ({"headers": {"Content-Type": "c"}}, "is a header that Ditto writes itself"),
        ({"headers": {"webhook-id": "c"}}, "is a header that Ditto writes itself"),
        ({"headers": {"x": "a\r\nb: c"}}, "must be printable ASCII"),
        ({"max_bytes": 10}, "at least 1"),
        ({"max_events": 0}, "at least 1"),
        ({"timeout": 0}, "longer than 0"),
        ({"tls": {"cert": "a"}}, "one without the other"),
        ({"url": "http://h/", "tls": {"ca": "a"}}, "without TLS"),
    ],
)
def test_a_webhook_that_is_refused(section: dict[str, Any], said: str, tmp_path: Path) -> None:
    whole = {"url": "https://hooks.example.com/", **section} if section else section
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_json(tmp_path, "webhook", whole)


@pytest.mark.parametrize("events", [{"group": {}}, {"oversize": "object_store"}], ids=str)
def test_what_a_webhook_has_no_place_for(events: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"webhook": {"url": "https://h/"}, "events": events}))
    with pytest.raises(ConfigError, match="webhook"):
        load(file, {}, {})


@pytest.mark.parametrize(
    ("url", "is_exposed"),
    [
        ("http://localhost:1/", False),
        ("http://127.0.0.1/", False),
        ("http://[::1]:8080/", False),
        ("https://h/", False),
        ("http://h/", True),
        ("http://10.0.0.1/", True),
    ],
)
def test_plain_text_is_for_this_machine_alone(url: str, is_exposed: bool, tmp_path: Path) -> None:
    assert load_json(tmp_path, "webhook.url", url).webhook.is_exposed is is_exposed


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("events.tables", {"trades": []}, "events.tables.trades"),
        ("events.tables", {"trades": "insert"}, "events.tables.trades"),
        ("events.tables", {"trades": ["insert", "upsert"]}, "events.tables.trades[1]"),
        ("events.tables", {"trades": [1]}, "events.tables.trades[0]"),
        ("events.topics", {"trades": "a.*"}, "events.topics.trades"),
        ("events.topics", {"re:(": "a"}, "events.topics.re:("),
        ("events.tables", {"re:(": ["insert"]}, "events.tables.re:("),
        ("events.tables", {"re:(?P<table>x)": ["insert"]}, "events.tables.re:(?P<table>x)"),
        ("events.tables", {"t": {"actions": []}}, "events.tables.t"),
        ("events.tables", {"t": {"on_error": "ignore"}}, "events.tables.t.on_error"),
        ("events.tables", {"t": {"colums": {}}}, "events.tables.t.colums"),
        ("events.tables", {"t": {"columns": {"include": ["a"], "exclude": ["b"]}}}, "events.tables.t.columns"),
        ("events.tables", {"t": {"columns": {"exclude": []}}}, "events.tables.t.columns.exclude"),
        ("events.tables", {"t": {"columns": {"exclude": None}}}, "events.tables.t.columns.exclude"),
        ("events.tables", {"t": {"columns": None}}, "events.tables.t.columns"),
        ("events.tables", {"t": {"when": None}}, "events.tables.t.when"),
        ("events.tables", {"t": {"columns": {"include": ["a", "a"]}}}, "events.tables.t.columns.include"),
        ("events.tables", {"t": {"columns": {"mask": {"a": {}}}}}, "events.tables.t.columns.mask.a"),
        (
            "events.tables",
            {"t": {"columns": {"mask": {"a": {"keep_last": 0}}}}},
            "events.tables.t.columns.mask.a.keep_last",
        ),
        (
            "events.tables",
            {"t": {"columns": {"mask": {"a": {"hash": "hmac-sha256"}}}}},
            "events.tables.t.columns.mask.a",
        ),
        (
            "events.tables",
            {"t": {"columns": {"mask": {"a": {"null": True, "constant": "x"}}}}},
            "events.tables.t.columns.mask.a",
        ),
        (
            "events.tables",
            {"t": {"columns": {"exclude": ["a"], "mask": {"a": {"null": True}}}}},
            "events.tables.t.columns.mask.a",
        ),
        ("events.tables", {"t": {"subject": "{data.a}"}}, "events.tables.t.subject"),
        ("events.tables", {"t": {"subject": "a.{t}"}}, "events.tables.t.subject"),
        ("events.tables", {"t": {"headers": {"Nats-Rollup": "all"}}}, "events.tables.t.headers.Nats-Rollup"),
        ("events.tables", {"t": {"headers": {"status": "{data.status}"}}}, "events.tables.t.headers.status"),
        ("events.tables", {"t": {"headers": {"ditto-key": "x"}}}, "events.tables.t.headers.ditto-key"),
        ("events.tables", {"t": {"headers": {"a b": "x"}}}, "events.tables.t.headers.a b"),
        ("events.tables", {"t": {"headers": {"a": "x", "A": "y"}}}, "events.tables.t.headers.A"),
        ("events.tables", {"t": {"headers": {"a": "x\r\ny"}}}, "events.tables.t.headers.a"),
        ("events.tables", {"t": {"headers": {"traceparent": "x"}}}, "events.tables.t.headers.traceparent"),
        ("events.tables", {"t": {"headers": {"a": "{data.a}{data.b}"}}}, "events.tables.t.headers.a"),
        ("events.tables", {"t": {"headers": {"Content-Type": "x"}}}, "events.tables.t.headers.Content-Type"),
        ("events.tables", {"t": {"headers": {"ce-id": "x"}}}, "events.tables.t.headers.ce-id"),
        ("events.tables", {"t": {"subject": "a.{data.a}{table}"}}, "events.tables.t.subject"),
        ("events.tables", {"t": {"subject": "a.{schema}-{data.a}"}}, "events.tables.t.subject"),
        ("events.tables", {"re:(?P<g>.*)": {"subject": "a.{g}_{data.a}"}}, "events.tables.re:(?P<g>.*).subject"),
        ("events.tables", {"t": {"columns": {"former": {"a": []}}}}, "events.tables.t.columns.former.a"),
        ("events.tables", {"t": {"columns": {"former": {"a": ["b"], "c": ["b"]}}}}, "events.tables.t.columns.former"),
        ("events.tables", {"t": {"columns": {"former": {"a": ["b"], "b": ["c"]}}}}, "events.tables.t.columns.former"),
        ("events.topics", {"t": "x" * 4000}, "events.topics.t"),
        ("events.prefix", "x" * 1025, "events.prefix"),
        ("events.group", {"subject": "x" * 1025}, "events.group.subject"),
        ("snapshot.tables", ["re:x"], "snapshot.tables"),
        ("events.tables", {"t": {"key": []}}, "events.tables.t.key"),
        ("events.topics", {"trades": ["a"]}, "events.topics.trades"),
        ("nats.url", ["nats://a", 5], "nats.url[1]"),
    ],
)
def test_the_sentence_names_the_entry(path: str, value: Any, place: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_json(tmp_path, path, value)
    assert caught.value.message.startswith(f"{place} in ")


@pytest.mark.parametrize(
    ("environ", "origin"),
    [
        ({"SLOT_NAME": "No"}, "postgres.slot from SLOT_NAME must"),
        ({"DITTO_POSTGRES_SLOT": "No"}, "postgres.slot from DITTO_POSTGRES_SLOT must"),
        ({"DITTO_NATS_REPLICAS": "many"}, "nats.replicas from DITTO_NATS_REPLICAS must be an integer"),
        ({"DITTO_NATS_REPLICAS": "9"}, "nats.replicas from DITTO_NATS_REPLICAS must be at most 5"),
        ({"TABLE_FILTER": "{trades}"}, "events.tables from TABLE_FILTER must be JSON"),
        ({"TABLE_FILTER": "{trades:[insert]}"}, "events.tables from TABLE_FILTER must be JSON"),
        ({"TABLE_FILTER": '["a"]'}, "events.tables from TABLE_FILTER must be a mapping"),
        ({"TABLE_FILTER": '{"t":["upsert"]}'}, "events.tables.t[0] from TABLE_FILTER must be one of insert, update"),
    ],
)
def test_the_sentence_names_the_variable(environ: dict[str, str], origin: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {}, environ)
    assert caught.value.message.startswith(origin)


def test_a_mapping_that_is_no_json_gets_an_example() -> None:
    with pytest.raises(ConfigError) as caught:
        load_server(None, {"DITTO_LABELS": "zone=mars"})
    assert caught.value.message.startswith("labels from DITTO_LABELS must be JSON")
    example = str(caught.value.hint).partition("DITTO_LABELS='")[2].removesuffix("'")
    assert load_server(None, {"DITTO_LABELS": example}).labels == {"zone": "a"}


@pytest.mark.parametrize(
    ("text", "is_a_shells_work"),
    [("{trades:[insert,update]}", True), ("{ trades: [insert] }", True), ('{"t":[}', False), ("", False)],
)
def test_quotes_that_a_shell_has_taken_away(text: str, is_a_shells_work: bool) -> None:
    """`. ./.env`, and not `env_file:` of a container engine."""
    with pytest.raises(ConfigError) as caught:
        load(None, {}, {"TABLE_FILTER": text or "["})
    assert ("single quotes" in (caught.value.hint or "")) == is_a_shells_work


def test_the_sentence_names_the_flag() -> None:
    with pytest.raises(ConfigError, match=r"^postgres\.slot from --slot must"):
        load(None, {"postgres.slot": "No"}, {})


def test_a_wrong_value_in_the_file_is_found_also_where_it_is_overridden(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("nats: {replicas: 9}", encoding="utf-8")
    with pytest.raises(ConfigError, match="at most 5"):
        load(file, {}, {"DITTO_NATS_REPLICAS": "3"})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10.0), ("2m", 120.0), ("1h", 3600.0), ("1.5s", 1.5), ("7", 7.0), (3, 3.0), (0.25, 0.25)],
)
def test_durations(text: Any, seconds: float, tmp_path: Path) -> None:
    assert load_json(tmp_path, "nats.ack_timeout", text).nats.ack_timeout_s == seconds


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("postgres://h", "postgres://h"),
        ("", ""),
        ("host=h dbname=d replication=database", "dbname=d host=h"),
        ("postgres://u:p@h/d?replication=database", "postgres://u:p@h/d"),
        ("postgres://h/d?replication=true&sslmode=require", "postgres://h/d?sslmode=require"),
        ("postgres://h/d?sslmode=require&replication=1", "postgres://h/d?sslmode=require"),
        ("postgresql://h1:1,h2:2/d", "postgresql://h1:1,h2:2/d"),
    ],
)
def test_dsn_notations(given: str, kept: str, tmp_path: Path) -> None:
    assert load_json(tmp_path, "postgres.dsn", given).postgres.dsn == kept


@pytest.mark.parametrize(
    ("nats", "said"),
    [
        ({"user": "u", "token": "t"}, "nats.user and nats.token"),
        ({"creds": "/c", "nkey_seed": "S"}, "nats.creds and nats.nkey_seed"),
        ({"user": "u", "token": "t", "creds": "c"}, "nats.user and nats.token and nats.creds"),
        ({"password": "p"}, "nats.password is given without nats.user"),
        ({"tls": {"cert": "/c"}}, "nats.tls.cert and nats.tls.key"),
    ],
)
def test_keys_that_contradict_each_other(nats: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        load_json(tmp_path, "nats", nats)


@pytest.mark.parametrize(
    ("names", "digests", "said"),
    [
        (("a", "a"), ("0" * 64, "1" * 64), "two entries with the name a"),
        (("a", "b"), ("a" * 64, "A" * 64), "one token for two entries, a and b"),
        (("a", "b"), ("0" * 64, "secret"), r"an entry \(\[1\]\) whose sha256"),
    ],
)
def test_a_token_has_one_name_and_one_role(names: tuple[str, str], digests: tuple[str, str], said: str) -> None:
    tokens = [
        {"name": name, "role": role, "sha256": digest}
        for name, role, digest in zip(names, ("read", "admin"), digests, strict=True)
    ]
    with pytest.raises(ConfigError, match=said):
        load_server(None, {"DITTO_AUTH_TOKENS": json.dumps(tokens)})
