"""Layers, names, and the sentences for what cannot be read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import pytest

from ditto.config import FLAGS, KEYS, Config, File, Key, Tls, load
from ditto.config.events import Group
from ditto.config.kafka import Kafka, KafkaTls
from ditto.config.keys import members
from ditto.config.load import load_server
from ditto.config.rabbitmq import RabbitMQ
from ditto.config.redis import Redis
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SAMPLES: dict[str, tuple[str, Any]] = {
    "postgres.dsn": ("postgres://db.example.com/shop", "postgres://db.example.com/shop"),
    "nats.url": ("nats://n1:4222,nats://n2:4222", ["nats://n1:4222", "nats://n2:4222"]),
    "nats.ack_timeout": ("2m", 120.0),
    "kafka.brokers": ("k1:9092,k2:9092", "k1:9092,k2:9092"),
    "kafka.ack_timeout": ("2m", 120.0),
    "kafka.own_topic": ("{prefix}.own", "{prefix}.own"),
    "kafka.options": ('{"compression.type": "lz4"}', {"compression.type": "lz4"}),
    "kafka.topics.config": ('{"retention.ms": 1000}', {"retention.ms": 1000}),
    "kafka.topics.partitions": ("6", 6),
    "kafka.topics.replication_factor": ("3", 3),
    "rabbitmq.url": ("amqp://r1,amqp://r2:7", ["amqp://r1", "amqp://r2:7"]),
    "rabbitmq.exchange.max_bytes": ("2048", 2048),
    "rabbitmq.ack_timeout": ("2m", 120.0),
    "rabbitmq.stream.max_age": ("2h", 7200.0),
    "rabbitmq.stream.replicas": ("3", 3),
    "redis.url": ("rediss://redis.example.com:6380/2", "rediss://redis.example.com:6380/2"),
    "redis.ack_timeout": ("2m", 120.0),
    "webhook.url": ("https://hooks.example.com/x?y=z", "https://hooks.example.com/x?y=z"),
    "webhook.secret": ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    "webhook.headers": ('{"X-Key": "a"}', {"X-Key": "a"}),
    "webhook.max_bytes": ("6MB", 6 << 20),
    "webhook.linger": ("200ms", 0.2),
    "webhook.timeout": ("20s", 20.0),
    "webhook.retry_for": ("20s", 20.0),
    "delivery.confirm_delay": ("3m", 180.0),
    "delivery.lease_ttl": ("20s", 20.0),
    "nats.object_store.ttl": ("2m", 120.0),
    "nats.replicas": ("3", 3),
    "nats.tls.cert": ("/c.pem", "/c.pem"),
    "nats.tls.key": ("/k.pem", "/k.pem"),
    "events.subject": ("{prefix}.{table}", "{prefix}.{table}"),
    "events.tables": ('{"trades": ["INSERT", "update"]}', {"trades": ["insert", "update"]}),
    "events.group.max_bytes": ("8kB", 8192),
    "events.group.subject": ("{prefix}.all", "{prefix}.all"),
    "events.messages": ('{"orders.*": "{message.prefix}"}', {"orders.*": "{message.prefix}"}),
    "events.outbox.table": ("public.outbox", "public.outbox"),
    "events.outbox.subject": ("{prefix}.{data.topic}", "{prefix}.{data.topic}"),
    "events.outbox.former": ('{"payload": ["body"]}', {"payload": ["body"]}),
    "events.metadata": ("lsn, xid", ["lsn", "xid"]),
    "placement.labels": ('{"zone": "a"}', {"zone": "a"}),
    "snapshot.tables": ("trades, audit.*", ["trades", "audit.*"]),
    "events.topics": ('{"trades": "transactions"}', {"trades": "transactions"}),
    "http.listen": (":8080", ":8080"),
    "http.hosts": ("a.example.com, b.example.com", ["a.example.com", "b.example.com"]),
}
# What a key cannot stand without.
COMPANIONS = {
    "nats.password": ("nats.user",),
    "nats.tls.cert": ("nats.tls.key",),
    "kafka.user": ("kafka.password",),
    "kafka.password": ("kafka.user",),
    "kafka.tls.cert": ("kafka.tls.key",),
    "kafka.tls.key": ("kafka.tls.cert",),
    "rabbitmq.user": ("rabbitmq.password",),
    "rabbitmq.password": ("rabbitmq.user",),
    "rabbitmq.tls.cert": ("rabbitmq.tls.key",),
    "rabbitmq.tls.key": ("rabbitmq.tls.cert",),
    "redis.user": ("redis.password",),
    "redis.tls.cert": ("redis.tls.key",),
    "redis.tls.key": ("redis.tls.cert",),
    "nats.tls.key": ("nats.tls.cert",),
} | {path: ("events.outbox.table", "events.outbox.subject") for path in KEYS if path.startswith("events.outbox.")}
COMPANIONS |= {path: ("rabbitmq.url",) for path in KEYS if path.startswith("rabbitmq.exchange.")}
COMPANIONS |= {path: ("webhook.url",) for path in KEYS if path.startswith("webhook.") and path != "webhook.url"}
COMPANIONS |= {
    "webhook.password": ("webhook.url", "webhook.user"),
    "webhook.tls.cert": ("webhook.url", "webhook.tls.key"),
    "webhook.tls.key": ("webhook.url", "webhook.tls.cert"),
}


def sample(key: Key) -> tuple[str, Any]:
    """A text for the environment, and the value it stands for: never the default, where there is another."""
    if key.path in SAMPLES:
        return SAMPLES[key.path]
    kind = members(key.annotation)[0]
    if kind is bool:
        return ("false", False) if key.default else ("true", True)
    if kind is int:
        return "77", 77
    if get_origin(kind) is Literal:
        choice = next((each for each in get_args(kind) if each != key.default), key.default)
        return choice, choice
    assert kind is str, f"give a sample for {key.path}"
    return "sample", "sample"


def value_of(config: Config, path: str) -> Any:
    node: Any = config
    for name in path.split("."):
        node = getattr(node, name, None) if hasattr(node, name) else getattr(node, name + "_s")
    return node


def write(folder: Path, text: str, name: str = "ditto.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def refusal(file: Path | None, environ: dict[str, str] | None = None, flags: dict[str, object] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, flags or {}, environ or {})
    assert "\n" not in caught.value.message
    return caught.value.message


def test_nothing_at_all_is_the_default() -> None:
    assert load(None, {}, {}) == Config()


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_every_key_has_a_variable(key: Key) -> None:
    text, expected = sample(key)
    assert expected != key.default or key.choices == (expected,)
    environ = {key.variable: text}
    if key.path in COMPANIONS:
        environ = {KEYS[each].variable: sample(KEYS[each])[0] for each in COMPANIONS[key.path]} | environ
    config = load(None, {}, environ)
    assert value_of(config, key.path) == expected


def document_of(path: str, value: Any) -> dict[str, Any]:
    """A file with this key, and what it cannot stand without."""
    document: dict[str, Any] = {}
    for each, given in {**{each: sample(KEYS[each])[1] for each in COMPANIONS.get(path, ())}, path: value}.items():
        *sections, name = each.split(".")
        node = document
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = given
    return document


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_every_key_can_stand_in_a_file(key: Key, tmp_path: Path) -> None:
    _, expected = sample(key)
    config = load(write(tmp_path, json.dumps(document_of(key.path, expected)), "ditto.json"), {}, {})
    assert value_of(config, key.path) == expected


@pytest.mark.parametrize(
    ("variable", "text", "path", "expected"),
    [
        ("DB_DSN", "postgres://h/d?replication=database", "postgres.dsn", "postgres://h/d"),
        ("PUBLICATION_NAME", "p1", "postgres.publication", "p1"),
        ("SLOT_NAME", "s1", "postgres.slot", "s1"),
        ("NATS_PUB_URI", "nats://n:4222", "nats.url", "nats://n:4222"),
        ("TABLE_FILTER", '{"trades":["insert","Update"]}', "events.tables", {"trades": ["insert", "update"]}),
        ("TOPIC_MAPPING", '{"trades":"transactions"}', "events.topics", {"trades": "transactions"}),
    ],
)
def test_the_originals_variables(variable: str, text: str, path: str, expected: Any) -> None:
    assert value_of(load(None, {}, {variable: text, "OUTPUT_PLUGIN": "pgoutput"}), path) == expected


def test_another_output_plugin_is_refused() -> None:
    assert "OUTPUT_PLUGIN must be pgoutput" in refusal(None, {"OUTPUT_PLUGIN": "wal2json"})
    assert "--output-plugin must be pgoutput" in refusal(None, {}, {"output_plugin": "wal2json"})
    load(None, {"output_plugin": "pgoutput"}, {"OUTPUT_PLUGIN": "wal2json"})


@pytest.mark.parametrize("path", [path for path in FLAGS if path in KEYS])
def test_later_layers_win(path: str, tmp_path: Path) -> None:
    # Values that are possible for every key that has a flag.
    in_file, original, variable, flag = {
        "nats.url": ("nats://a", "nats://b", "nats://c", "nats://d"),
        "postgres.dsn": ("host=a", "host=b", "host=c", "host=d"),
        "log.level": ("debug", "debug", "warning", "error"),
        "log.format": ("auto", "auto", "pretty", "json"),
    }.get(path, ("a", "b", "c", "d"))
    section, name = path.split(".")
    file = write(tmp_path, f"{section}: {{{name}: '{in_file}'}}")
    own = {KEYS[path].variable: variable}
    originals = dict.fromkeys(KEYS[path].variables[1:], original)

    assert value_of(load(file, {path: None}, {}), path) == in_file
    assert value_of(load(file, {}, originals), path) == (original if originals else in_file)
    assert value_of(load(file, {}, {**own, **originals}), path) == variable
    assert value_of(load(file, {path: flag}, {**own, **originals}), path) == flag


def test_layers_do_not_erase_each_others_other_keys(tmp_path: Path) -> None:
    file = write(tmp_path, "nats: {stream: A, replicas: 3, tls: {ca: /ca}}")
    config = load(file, {"events.prefix": "p"}, {"DITTO_NATS_STREAM": "B"})
    assert (config.nats.stream, config.nats.replicas, config.events.prefix) == ("B", 3, "p")
    assert config.nats.tls == Tls(ca="/ca")


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load(None, {}, {"DITTO_POSTGRES_SLOT": "", "SLOT_NAME": "", "DITTO_NATS_USER": ""}) == Config()


def test_text_that_looks_like_something_else_stays_text() -> None:
    config = load(None, {}, {"DITTO_NATS_USER": "null", "DITTO_NATS_PASSWORD": "12345", "DITTO_NATS_STREAM": "true"})
    assert (config.nats.user, config.nats.password, config.nats.stream) == ("null", "12345", "true")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "nats:\n  url: [nats://a, nats://b]\n  ack_timeout: 500ms\n"),
        ("c.YML", "nats:\n  url:\n  - nats://a\n  - nats://b\n  ack_timeout: 0.5\n"),
        ("c.toml", '[nats]\nurl = ["nats://a", "nats://b"]\nack_timeout = "500ms"\n'),
        ("c.json", '{"nats": {"url": ["nats://a", "nats://b"], "ack_timeout": 0.5}}'),
    ],
)
def test_the_languages(name: str, text: str, tmp_path: Path) -> None:
    nats = load(write(tmp_path, text, name), {}, {}).nats
    assert (nats.url, nats.servers, nats.ack_timeout_s) == (["nats://a", "nats://b"], ["nats://a", "nats://b"], 0.5)


@pytest.mark.parametrize(("name", "text"), [("c.yaml", ""), ("c.yaml", "# only\n"), ("c.toml", ""), ("c.json", " \n")])
def test_an_empty_file_is_all_defaults(name: str, text: str, tmp_path: Path) -> None:
    assert load(write(tmp_path, text, name), {}, {}) == Config()


def test_a_section_without_content_is_all_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path, "postgres:\nnats:\n"), {}, {}) == Config()
    assert load(write(tmp_path, "nats: {tls: null}\nkafka: ~\nevents: {group: null}"), {}, {}) == Config()
    assert load(write(tmp_path, "nats: {tls: {}}"), {}, {}).nats.tls == Tls()


def test_an_optional_section_is_there_as_soon_as_its_name_is(tmp_path: Path) -> None:
    assert load(write(tmp_path, "nats:\n  tls:\n    # ca: ca.pem\n"), {}, {}).nats.tls == Tls()
    assert load(write(tmp_path, "kafka:\n  tls:\n"), {}, {}).kafka == Kafka(tls=KafkaTls())
    assert load(write(tmp_path, "redis:\n"), {}, {}).redis == Redis()
    assert load(write(tmp_path, "rabbitmq:\n  # url: amqp://h\n"), {}, {}).rabbitmq == RabbitMQ()
    assert load(write(tmp_path, "events:\n  group:\n"), {}, {}).events.group == Group()
    with pytest.raises(ConfigError, match=r"nats and kafka exclude each other"):
        load(write(tmp_path, "kafka:\nnats:\n  url: nats://h\n"), {}, {})
    with pytest.raises(ConfigError, match=r"events\.outbox .* has no"):
        load(write(tmp_path, "events:\n  outbox:\n"), {}, {})


def test_a_section_is_no_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"kafka in .* must be a mapping") as caught:
        load(write(tmp_path, "kafka: localhost:9092"), {}, {})
    assert caught.value.hint == 'it is a section with keys of its own: kafka: {brokers: "localhost:9092"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${PW}", "geheim"),
        ("a-${PW}-${PW}", "a-geheim-geheim"),
        ("${NOPE:-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY}", ""),
        ("${NOPE:-}", ""),
        ("$${PW}", "${PW}"),
        ("$PW", "$PW"),
        ("a$b", "a$b"),
    ],
)
def test_references(text: str, expected: str, tmp_path: Path) -> None:
    file = write(tmp_path, f"nats: {{user: u, password: '{text}'}}")
    assert load(file, {}, {"PW": "geheim", "EMPTY": ""}).nats.password == expected


def test_references_in_lists_mappings_and_numbers(tmp_path: Path) -> None:
    text = "nats: {url: ['nats://${H}'], replicas: '${N}', create: '${B}'}\nevents: {topics: {trades: '${T:-x}.y'}}"
    config = load(write(tmp_path, text), {}, {"H": "h1", "N": "3", "B": "false"})
    assert (config.nats.url, config.nats.replicas, config.nats.create) == (["nats://h1"], 3, False)
    assert config.events.topics == {"trades": "x.y"}


def test_references_that_lead_nowhere(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "nats: {user: u, password: '${NATS_PW}'}"))
    assert "nats.password" in message
    assert "NATS_PW" in message
    assert "ditto.yaml" in message
    assert "events.topics.t" in refusal(write(tmp_path, "events: {topics: {t: '${NOPE}'}}"))
    assert "nats.url[0]" in refusal(write(tmp_path, "nats: {url: ['${not a name}']}"))


@pytest.mark.parametrize(
    ("text", "wrong", "nearest"),
    [
        ("nats: {urll: x}", "nats.urll", "nats.url"),
        ("postgress: {slot: x}", "postgress", "postgres"),
        ("postgres: {slotname: x}", "postgres.slotname", "postgres.slot"),
        ("slot: x", "slot", "postgres.slot"),
        ("nats: {dsn: x}", "nats.dsn", "postgres.dsn"),
        ("nats: {tls: {certt: x}}", "nats.tls.certt", "nats.tls.cert"),
        ("events: {table: {}}", "events.table", "events.tables"),
        ("events: {tables: {t: {wen: x}}}", "events.tables.t.wen", "events.tables.t.when"),
        (
            "events: {tables: {t: {columns: {maks: {}}}}}",
            "events.tables.t.columns.maks",
            "events.tables.t.columns.mask",
        ),
        ("events: {messages: {a: {subjet: x}}}", "events.messages.a.subjet", "events.messages.a.subject"),
        ("nats: {ack_timeout_s: 3}", "nats.ack_timeout_s", "nats.ack_timeout"),
        ("kafka: {lease_ttl: 3s}", "kafka.lease_ttl", "delivery.lease_ttl"),
    ],
)
def test_unknown_keys_name_the_nearest(text: str, wrong: str, nearest: str, tmp_path: Path) -> None:
    file = write(tmp_path, text)
    assert refusal(file) == f"{wrong} in {file} is not a known key: did you mean {nearest}?"


@pytest.mark.parametrize(
    ("reader", "text", "said", "hint"),
    [
        (load, "auth: {tokens: []}", "auth in {} is no key of a pipeline, but one of a node", "ditto serve --config"),
        (load, "workers: 2", "workers in {} is no key of a pipeline, but one of a node", "ditto serve --config"),
        (load, "replicas: 3", "replicas in {} is not a known key", "known are"),
        (
            load_server,
            "postgres: {}",
            "postgres in {} is no key of a node, but one of a pipeline",
            "pipelines apply -f",
        ),
        (load_server, "nats: {stream: X}", "nats.stream in {} is no key of a node, but one of a pipeline", "apply -f"),
        (load_server, "nats: {replicas: 3}", "nats.replicas in {} is not a known key: did you mean replicas?", "None"),
    ],
)
def test_the_file_of_a_node_is_not_that_of_a_pipeline(
    reader: Callable[..., Any], text: str, said: str, hint: str, tmp_path: Path
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        reader(file, *([{}] if reader is load_server else [{}, {}]))
    assert caught.value.message.startswith(said.format(file))
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("path", "address"),
    [
        *((f"postgres.{name}", "postgres.dsn") for name in ("password", "user", "host", "sslmode", "dbname", "url")),
        ("nats.host", "nats.url"),
        ("redis.database", "redis.url"),
        ("rabbitmq.hostname", "rabbitmq.url"),
        ("kafka.servers", "kafka.brokers"),
    ],
)
def test_a_part_of_an_address_leads_to_the_address_of_its_own_section(path: str, address: str, tmp_path: Path) -> None:
    section, name = path.split(".")
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, f"{section}: {{{name}: hunter2}}"), {}, {})
    assert caught.value.message.endswith(f" is not a known key: did you mean {address}?")
    assert str(caught.value.hint).startswith(f"{address} has it")
    variable, of_address = (f"DITTO_{each.replace('.', '_').upper()}" for each in (path, address))
    with pytest.raises(ConfigError) as caught:
        load(None, {}, {variable: "hunter2"})
    assert caught.value.message.endswith(f"did you mean {of_address}?")


@pytest.mark.parametrize("path", ["kafka.stream", "redis.replicas", "kafka.domain", "postgres.ca"])
def test_nobody_means_a_key_of_another_sink(path: str, tmp_path: Path) -> None:
    section, name = path.split(".")
    with pytest.raises(ConfigError, match="is not a known key") as caught:
        load(write(tmp_path, f"{section}: {{{name}: x}}"), {}, {})
    other = {"kafka", "redis", "rabbitmq", "nats", "webhook"} - {section}
    assert not any(f"did you mean {each}" in caught.value.message for each in other)


def test_an_unknown_key_that_resembles_nothing_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"xyzzy in .* is not a known key$") as caught:
        load(write(tmp_path, "xyzzy: 1"), {}, {})
    assert "postgres" in str(caught.value.hint)


def test_unknown_variables_name_the_nearest() -> None:
    message = refusal(None, {"DITTO_NATS_STREEM": "x"})
    assert "DITTO_NATS_STREEM" in message
    assert message.endswith("did you mean DITTO_NATS_STREAM?")


@pytest.mark.parametrize(
    "variable",
    [
        "DITTO_NATS_SERVICE_HOST",
        "DITTO_NATS_SERVICE_PORT",
        "DITTO_NATS_SERVICE_PORT_CLIENT",
        "DITTO_NATS_PORT",
        "DITTO_NATS_PORT_4222_TCP",
        "DITTO_NATS_PORT_4222_TCP_ADDR",
        "DITTO_POSTGRES_HEADLESS_SERVICE_HOST",
        "DITTO_IMPL",
        "DITTO_CONFIG",
    ],
)
def test_variables_that_are_not_meant_for_the_configuration(variable: str) -> None:
    assert load(None, {}, {variable: "x"}) == Config()


def test_a_reference_within_braces_needs_quotes(tmp_path: Path) -> None:
    for text, is_reference in (("nats: {url: a, user: ${U}}", True), ("nats: {url: a, user: {U}", False)):
        with pytest.raises(ConfigError) as caught:
            load(write(tmp_path, text, "c.yaml"), {}, {})
        assert ('{user: "${NAME}"}' in str(caught.value.hint)) == is_reference


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.yaml", "a: [1", "c.yaml:1:6 is not valid YAML: expected"),
        ("c.yaml", "a: [1", "expected ',' or ']', but got '"),
        ("c.yaml", "a: 1\nb\nc: 2", "could not find expected ':'"),
        ("c.yaml", "password: *hidden", "found undefined alias '…'"),
        ("c.yaml", "nats:\n  url: a\n  url: b\n", "duplicate key url"),
        ("c.yaml", "- a\n", "must be a mapping"),
        ("c.yaml", "just text", "must be a mapping"),
        ("c.yaml", "nats: nats://localhost", "nats in"),
        ("c.yaml", "nats: []", "nats in"),
        ("c.yaml", "events: {topics: {1: x}}", "not text"),
        ("c.yaml", "a: 1\nb: \x07", "c.yaml:2:4 is not valid YAML"),
        ("c.yaml", "nats:\n\turl: a", "c.yaml:2:1 is not valid YAML: there is a tab"),
        ("c.json", "{", "c.json:1:2 is not valid JSON"),
        ("c.json", '{"nats": {}, "nats": {}}', "duplicate key nats"),
        ("c.toml", "a = 1\nnats = ", "c.toml:2:8 is not valid TOML"),
        ("c.toml", "a = 1\n[nats\nb = 1", "c.toml:2:6 is not valid TOML"),
        ("c.ini", "", "extensions .yaml, .yml, .toml, .json"),
    ],
)
def test_files_that_cannot_be_understood(name: str, text: str, said: str, tmp_path: Path) -> None:
    file = write(tmp_path, text, name)
    message = refusal(file)
    assert str(file) in message
    assert said in message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "absent.yaml")
    (tmp_path / "folder.yaml").mkdir()
    assert "directory" in refusal(tmp_path / "folder.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"nats: {user: \xe9}")
    assert "UTF-8" in refusal(tmp_path / "latin.yaml")


@pytest.mark.parametrize("path", [path for path, key in KEYS.items() if key.choices])
def test_words_of_a_fixed_list_are_read_in_any_case(path: str, tmp_path: Path) -> None:
    key = KEYS[path]
    for choice in key.choices:
        for word in (choice.upper(), choice.title()):
            file = write(tmp_path, json.dumps(document_of(path, word)), "c.json")
            assert value_of(load(file, {}, {}), path) == choice
            environ = {KEYS[each].variable: sample(KEYS[each])[0] for each in COMPANIONS.get(path, ())}
            assert value_of(load(None, {}, {**environ, key.variable: f"{word}\r\n"}), path) == choice
            if path in FLAGS:
                assert value_of(load(None, {path: word}, {}), path) == choice


def test_words_in_lists_are_read_in_any_case(tmp_path: Path) -> None:
    file = write(tmp_path, "events: {metadata: [LSN, Primary_Key], tables: {t: [INSERT, Update]}}")
    events = load(file, {}, {}).events
    assert (events.metadata, events.tables) == (["lsn", "primary_key"], {"t": ["insert", "update"]})


@pytest.mark.parametrize("name", ["c.yaml", "c.toml", "c.json"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_byte_order_marks_and_line_ends_of_other_systems(name: str, line_end: str, mark: bytes, tmp_path: Path) -> None:
    texts = {
        "c.yaml": ["nats:", "  stream: S", "log: {level: debug}", ""],
        "c.toml": ["[nats]", 'stream = "S"', "[log]", 'level = "debug"', ""],
        "c.json": ["{", '"nats": {"stream": "S"},', '"log": {"level": "debug"}', "}", ""],
    }
    file = tmp_path / name
    file.write_bytes(mark + line_end.join(texts[name]).encode())
    config = load(file, {}, {})
    assert (config.nats.stream, config.log.level) == ("S", "debug")


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_the_line_end_behind_a_secret_is_no_part_of_it(line_end: str, tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "nats: {user: u, password: '${PW}', url: 'nats://u:${PW}@h'}\n"
        "postgres: {dsn: 'host=h password=${PW} dbname=${DB:-x}'}",
    )
    config = load(file, {}, {"PW": f"secret{line_end}", "DB": f"shop{line_end}"})
    assert (config.nats.password, config.nats.url) == ("secret", "nats://u:secret@h")
    assert config.postgres.dsn == "host=h password=secret dbname=shop"
    config = load(None, {}, {"DITTO_NATS_USER": "u", "DITTO_NATS_PASSWORD": f" s{line_end}"})
    assert config.nats.password == " s", "a space may belong to a password"
    block = write(tmp_path, "nats:\n  user: u\n  password: |\n    secret\n")
    assert load(block, {}, {}).nats.password == "secret"


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("ON", True), ("True", True), ("no", False), ("0", False)])
def test_true_and_false_as_environments_write_them(word: str, value: bool) -> None:
    assert load(None, {}, {"DITTO_NATS_CREATE": word}).nats.create is value


@pytest.mark.parametrize(
    ("text", "environ", "flags"),
    [
        ("nats:\n  stream: S\nfile:\n  path: /x\n", {}, {}),
        ("file:\n  path: /x\n", {"DITTO_NATS_STREAM": "S"}, {}),
        ("file:\n  path: /x\n", {"NATS_PUB_URI": "nats://h"}, {}),
        ("nats: {}\nfile: {}\n", {}, {}),
        ("nats:\n  url: nats://h\n", {"DITTO_FILE_PATH": "-"}, {}),
        ("", {"DITTO_FILE_PATH": "-"}, {"nats.url": "nats://h"}),
        ("nats: {tls: {}}\nfile: {path: /x}\n", {}, {}),
        ("nats: {max_in_flight: 4, stream: S}\nfile: {path: /x}\n", {}, {}),
        ("nats: {stream: S}\nfile:\n", {}, {}),
    ],
)
def test_a_pipeline_has_one_sink(tmp_path: Path, text: str, environ: dict[str, str], flags: dict[str, object]) -> None:
    path = tmp_path / "ditto.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="nats and file exclude each other") as caught:
        load(path, flags, environ)
    assert caught.value.hint


def test_a_file_in_place_of_nats(tmp_path: Path) -> None:
    path = tmp_path / "ditto.yaml"
    path.write_text("file:\n  path: /var/lib/ditto/events.jsonl\ndelivery:\n  on_gap: continue\n")
    config = load(path, {}, {})
    assert config.file == File(path="/var/lib/ditto/events.jsonl")
    path.write_text("nats:\nfile: {path: /x}\n")  # a section without a key says nothing
    assert load(path, {}, {}).file == File(path="/x")
    assert load(None, {}, {}).file is None
    path.write_text("file: {path: '-'}\n")
    # The former names of delivery's keys say nothing of NATS.
    assert load(path, {}, {"DITTO_NATS_ON_GAP": "continue"}).delivery.on_gap == "continue"
    path.write_text("file:\n  path: ''\n")
    with pytest.raises(ConfigError, match=r"file\.path"):
        load(path, {}, {})


def test_two_sinks_are_named_with_their_places(tmp_path: Path) -> None:
    file = write(tmp_path, "nats: {on_gap: stop, stream: S}")
    assert refusal(file, {"DITTO_FILE_PATH": "/x"}) == (
        f"nats and file exclude each other: nats.stream is given in {file}, file.path is given from DITTO_FILE_PATH"
    )


@pytest.mark.parametrize("text", ["file:\n", "file: {}\n", "file:\n  # path: /x\nlog: {level: debug}\n"])
def test_a_file_needs_a_path(tmp_path: Path, text: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(file, {}, {})
    assert caught.value.message == f"file in {file} has no path"
    assert caught.value.hint == 'give file.path, such as "/var/lib/ditto/events.jsonl" or "-"'
    assert load(file, {}, {"DITTO_FILE_PATH": "/x"}).file == File(path="/x")


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("DITTO_FILE", "DITTO_FILE_PATH"),
        ("DITTO_DELIVERY", "DITTO_DELIVERY_ON_GAP"),
        ("DITTO_LOG", "DITTO_LOG_LEVEL"),
        ("DITTO_EVENTS_TYPES", "DITTO_EVENTS_TYPES_JSON"),
    ],
)
def test_a_section_is_no_variable(variable: str, nearest: str) -> None:
    assert refusal(None, {variable: "x"}) == (
        f"the environment variable {variable} belongs to no key: did you mean {nearest}?"
    )
