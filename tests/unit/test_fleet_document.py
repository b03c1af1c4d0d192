"""Documents of pipelines: no secret is kept, references are resolved, and a change says what it does."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ditto.config.keys import KEYS
from ditto.errors import ConfigError, PipelineRefused
from ditto.fleet import document as document_module
from ditto.fleet.document import check, check_name, difference, resolve, secrets_in, shown

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2hunter2"
LITERAL: dict[str, Any] = {
    "postgres.dsn": f"postgres://ditto:{SECRET}@db/shop",
    "nats.url": ["nats://n1:4222", f"nats://ditto:{SECRET}@n2:4222"],
    "nats.password": SECRET,
    "nats.token": SECRET,
    "nats.nkey_seed": SECRET,
    "kafka.password": SECRET,
    "rabbitmq.url": f"rabbitmq-stream://ditto:{SECRET}@b1:5552/%2f",
    "rabbitmq.password": SECRET,
    "redis.url": f"redis://:{SECRET}@r1/0",
    "redis.password": SECRET,
    "webhook.url": f"https://hooks.example.com/x?key={SECRET}",
    "webhook.secret": ["${FIRST}", SECRET],
    "webhook.token": SECRET,
    "webhook.password": SECRET,
    "webhook.headers": {"X-Key": SECRET},
    "http.token": SECRET,
}


def nested(path: str, value: object) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def test_every_key_with_a_secret_is_among_the_cases() -> None:
    assert set(LITERAL) == {path for path, key in KEYS.items() if key.mask}


@pytest.mark.parametrize("path", LITERAL)
def test_a_secret_that_is_written_out_is_refused(path: str) -> None:
    with pytest.raises(PipelineRefused) as caught:
        check("shop", nested(path, LITERAL[path]))
    assert path in caught.value.message
    assert SECRET not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.parametrize(
    "dsn",
    [
        f"host=db password={SECRET}",
        f"postgres://db/shop?password={SECRET}",
        f"postgres://ditto:${{PW:-{SECRET}}}@db/shop",
        f"postgres://ditto:x${{PW}}{SECRET}@db/shop",
        "this is no connection string",
    ],
)
def test_notations_of_a_dsn_that_has_one(dsn: str) -> None:
    assert secrets_in({"postgres": {"dsn": dsn}}) == ["postgres.dsn"]


@pytest.mark.parametrize(
    "dsn", ["${DSN}", "file:/run/dsn", "postgres://ditto:${PW}@db/shop", "host=${HOST} password=${PW}", "host=db"]
)
def test_references_are_no_secrets(dsn: str) -> None:
    assert secrets_in({"postgres": {"dsn": dsn}, "nats": {"url": "nats://u:${PW}@h:1", "password": "${A}${B}"}}) == []


@pytest.mark.parametrize("path", LITERAL)
def test_a_document_that_is_shown_has_no_secret(path: str) -> None:
    document = nested(path, LITERAL[path])
    found = shown(document)
    assert SECRET not in repr(found)
    assert "***" in repr(found)
    assert SECRET in repr(document), "the document itself stays"


def test_what_is_shown_of_a_document() -> None:
    columns = {"mask": {"mail": {"hmac-sha256": None, "key": SECRET}, "name": {"null": True}}}
    document: dict[str, Any] = {
        "postgres": {"dsn": "postgres://ditto:${PW}@db/shop", "slot": "shop"},
        "webhook": {"url": f"https://hooks.example.com/services/{SECRET}", "secret": ["${FIRST}", "file:/run/x"]},
        "events": {"tables": {"users": {"columns": columns}, "orders": ["insert"]}},
    }
    found = shown(document)
    assert found["postgres"] == document["postgres"]
    assert found["webhook"] == {"url": "https://hooks.example.com/***", "secret": ["${FIRST}", "file:/run/x"]}
    assert found["events"]["tables"]["users"]["columns"]["mask"]["mail"] == {"hmac-sha256": None, "key": "***"}
    assert found["events"]["tables"]["orders"] == ["insert"]
    assert shown({"webhook": {"url": "${HOOK}"}}) == {"webhook": {"url": "${HOOK}"}}
    assert shown({"webhook": {"url": "https://[x/y"}, "nats": "x"}) == {"webhook": {"url": "***"}, "nats": "x"}


def test_no_text_of_the_source_stands_for_a_reference() -> None:
    for text in set(re.findall(r"[\w-]+", Path(document_module.__file__).read_text())):
        assert secrets_in({"nats": {"password": text}}) == ["nats.password"], text
        assert secrets_in({"nats": {"url": f"nats://u:{text}@h:1"}}) == ["nats.url"], text


def test_the_key_of_a_mask() -> None:
    columns = {"mask": {"mail": {"hmac-sha256": None, "key": SECRET}}}
    document = {"events": {"tables": {"users": {"columns": columns}}}}
    assert secrets_in(document) == ["events.tables.users.columns.mask.mail.key"]


def test_resolving(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p${w\n")
    document = {
        "postgres": {"dsn": "postgres://ditto:${PW}@db/shop", "slot": "shop"},
        "nats": {"user": "ditto", "password": f"file:{tmp_path}/password"},
        "http": {"listen": ":8080"},
        "log": {"level": "debug"},
    }
    config = resolve("orders", document, {"PW": SECRET})
    assert config.name == "orders"
    assert config.postgres.dsn == f"postgres://ditto:{SECRET}@db/shop"
    assert config.nats.password == "p${w"
    assert (config.http.listen, config.log.level) == (None, "info")


def test_what_cannot_be_resolved_names_the_key_and_the_pipeline() -> None:
    with pytest.raises(
        ConfigError, match=r"postgres.dsn of pipeline orders needs the environment variable PW"
    ) as found:
        resolve("orders", {"postgres": {"dsn": "postgres://x:${PW}@db/shop"}}, {})
    assert found.value.hint is not None
    assert "set PW for every node" in found.value.hint
    assert ":-" not in found.value.hint  # a default in place of a secret is refused
    with pytest.raises(ConfigError, match=r"nats.creds refers to the file /nowhere, which cannot be read"):
        resolve("orders", {"nats": {"creds": "file:/nowhere"}}, {})
    with pytest.raises(ConfigError, match=r"postgres.slt of pipeline orders is not a known key"):
        resolve("orders", {"postgres": {"slt": "x"}}, {})


@pytest.mark.parametrize("name", ["", "a b", ".a", "a.", "a..b", "a*", "a>", "ä", "x" * 64, "-x", "_x"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(PipelineRefused):
        check_name(name)


def test_the_document_may_not_have_another_name() -> None:
    assert check("shop", {"name": "shop"})
    with pytest.raises(PipelineRefused, match="own name is not shop"):
        check("shop", {"name": "other"})
    with pytest.raises(PipelineRefused, match="must be a mapping"):
        check("shop", [])


BASE: dict[str, Any] = {"postgres": {"dsn": "postgres://u:${PW}@db/shop", "slot": "shop"}}


@pytest.mark.parametrize(
    ("path", "value", "effect"),
    [
        ("postgres.slot", "shop", "nothing"),
        ("http.listen", ":8080", "nothing"),
        ("log.level", "debug", "nothing"),
        ("name", "x", "nothing"),
        ("events.tables", {"orders": ["insert"]}, "reload"),
        ("delivery.max_in_flight", 100, "restart"),
        ("placement.isolated", True, "restart"),
        ("postgres.dsn", "postgres://v:${PW}@db/shop", "restart"),
        ("postgres.dsn", "postgres://u:${PW}@db/other", "new slot"),
        ("postgres.slot", "other", "new slot"),
        ("nats.stream", "OTHER", "new slot"),
        ("events.prefix", "other", "new slot"),
        ("file.path", "/var/lib/events.jsonl", "new slot"),
    ],
)
def test_what_a_change_does(path: str, value: object, effect: str) -> None:
    section = path.partition(".")[0]
    change = nested(path, value)
    after = {**BASE, **change} if section != "postgres" else {"postgres": {**BASE["postgres"], **change["postgres"]}}
    assert difference(BASE, after, {"PW": "x"}).effect == effect


def test_a_change_where_the_secrets_are_elsewhere() -> None:
    after = {**BASE, "events": {"tables": {"orders": ["insert"]}}}
    assert difference(BASE, after, {}) == difference(BASE, after, {"PW": "x"})


@pytest.mark.parametrize(
    "document",
    [
        {"nats.password": SECRET},
        {"postgres.dsn": f"host=db password={SECRET}"},
        {"events.tables": {"users": {"columns": {"mask": {"mail": {"hash": "hmac-sha256", "key": SECRET}}}}}},
        {"nats": {"tls.key": "/key"}},
    ],
)
def test_a_key_with_its_section_in_its_name_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(PipelineRefused, match="with a dot in its name") as caught:
        check("shop", document)
    assert SECRET not in f"{caught.value.message}{caught.value.hint}"


def test_names_of_tables_have_dots() -> None:
    document = {"events": {"tables": {"public.orders": ["insert"]}}, "webhook": {"headers": {"X.A": "${A}"}}}
    assert check("shop", document) == document


@pytest.mark.parametrize("wrap", [lambda inner: {"a": inner}, lambda inner: [inner]])
def test_a_document_that_is_nested_too_deep_is_refused(wrap: Callable[[Any], Any]) -> None:
    inner: Any = "x"
    for _ in range(900):
        inner = wrap(inner)
    with pytest.raises(PipelineRefused, match="nested more than 32 levels"):
        check("shop", {"events": inner})


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (os.mkfifo, "there is no regular file"),
        (lambda path: path.mkdir(), "there is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "there is no regular file"),
        (lambda path: path.write_bytes(bytes((1 << 20) + 1)), "more than 1048576 bytes"),
        (lambda path: path.write_bytes(b"\xff"), "is not UTF-8 text"),
    ],
)
def test_a_reference_to_what_is_no_small_text_file(tmp_path: Path, made: Callable[[Path], Any], reason: str) -> None:
    made(tmp_path / "password")
    with pytest.raises(ConfigError, match=reason):
        resolve("shop", {"nats": {"user": "x", "password": f"file:{tmp_path}/password"}}, {})


def test_thousands_of_tables_do_not_hold_a_node_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    fields = msgspec.structs.fields

    def counted(struct: Any) -> Any:
        asked.append(struct)
        return fields(struct)

    monkeypatch.setattr(msgspec.structs, "fields", counted)
    tables = {f"table_{number}": {"columns": {"exclude": ["a"]}} for number in range(500)}
    resolve("shop", {"events": {"tables": tables}}, {})
    assert len(asked) < 50  # each takes a millisecond
