"""Secrets: masked where the configuration is shown, absent from every error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import conninfo

from ditto.config import SINKS, load, mask_dsn, mask_url, masked
from ditto.config.mask import secrets
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgres://u:hunter2@h:5432/d", "postgres://u:***@h:5432/d"),
        ("postgresql://u:hunter2@h1,h2/d?sslmode=require", "postgresql://u:***@h1,h2/d?sslmode=require"),
        ("postgres://:hunter2@h/d", "postgres://:***@h/d"),
        ("postgres://u:hunter2?x=1@h/d", "postgres://u:***@h/d"),
        ("postgres://u@h/d?password=hunter2&sslmode=require", "postgres://u@h/d?password=***&sslmode=require"),
        ("postgres://u@h/d?sslkey=/k&sslpassword=hunter2", "postgres://u@h/d?sslkey=/k&sslpassword=***"),
        ("postgres://u:hunter2@h/d?sslpassword=hunter2", "postgres://u:***@h/d?sslpassword=***"),
        ("postgres://u@h:5432/d?application_name=a@b", "postgres://u@h:5432/d?application_name=a@b"),
        ("host=h user=u", "host=h user=u"),
        ("hunter2 is not a connection string", "***"),
    ],
)
def test_dsn(dsn: str, shown: str) -> None:
    assert mask_dsn(dsn) == shown


@pytest.mark.parametrize(
    "dsn",
    [
        "host=h user=u password=hunter2",
        "host=h password='hunter2' sslpassword=hunter2",
        "host=h password = 'a \\' hunter2'",
        "postgres://u@h/d?pass%77ord=hunter2",
        "postgres://u:hunter2@h?application_name=x@y",
    ],
)
def test_dsn_whose_notation_changes(dsn: str) -> None:
    shown = mask_dsn(dsn)
    assert SECRET not in shown
    before, after = conninfo.conninfo_to_dict(dsn), conninfo.conninfo_to_dict(shown)
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} <= {"password", "sslpassword"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://u:hunter2@h:4222", "nats://u:***@h:4222"),
        ("tls://u:hunter2@h", "tls://u:***@h"),
        ("nats://hunter2@h", "nats://***@h"),
        ("u:hunter2@h:4222", "u:***@h:4222"),
        ("nats://h:4222", "nats://h:4222"),
        ("h:4222", "h:4222"),
    ],
)
def test_url(url: str, shown: str) -> None:
    assert mask_url(url) == shown


@pytest.mark.parametrize(
    "environ",
    [
        {"DB_DSN": f"postgres://u:{SECRET}@h/d"},
        {"DB_DSN": f"host=h password={SECRET}"},
        {"NATS_PUB_URI": f"nats://u:{SECRET}@h,nats://{SECRET}@h2"},
        {"DITTO_NATS_USER": "u", "DITTO_NATS_PASSWORD": SECRET},
        {"DITTO_NATS_TOKEN": SECRET},
        {"DITTO_NATS_NKEY_SEED": SECRET},
    ],
)
def test_masked_hides_what_is_loaded(environ: dict[str, str]) -> None:
    config = load(None, {}, environ)
    assert SECRET in repr(config)
    shown = json.dumps(masked(config))
    assert SECRET not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    ("environ", "sink"),
    [
        ({}, "nats"),
        ({"DITTO_NATS_STREAM": "S", "DITTO_NATS_TLS_CA": "/ca.pem"}, "nats"),
        ({"DITTO_FILE_PATH": "/x", "DITTO_NATS_ON_GAP": "continue", "DITTO_NAME": "shop"}, "file"),
        ({"DITTO_FILE_PATH": "-"}, "file"),
    ],
)
def test_masked_is_a_file_again(environ: dict[str, str], sink: str, tmp_path: Path) -> None:
    config = load(None, {}, environ)
    shown = masked(config)
    assert [name for name in SINKS if name in shown] == [sink] == [config.sink]
    file = tmp_path / "shown.json"
    file.write_text(json.dumps(shown), encoding="utf-8")
    assert load(file, {}, {}) == config
    assert masked(load(file, {}, {})) == shown


@pytest.mark.parametrize(
    "text",
    [
        f"postgres: {{dsn: '{SECRET}'}}",
        f"postgres: {{dsn: 'postgres://u:%zz{SECRET}@h'}}",
        f"postgres: {{dsn: 'postgres://u:pa/{SECRET}@h/d'}}",
        f"postgres: {{dsn: 'postgres://u:{SECRET}/x@h/d'}}",
        f"postgres: {{dsn: 'postgres://u:x@{SECRET}@h/d'}}",
        f"postgres: {{dsn: 'postgres://u@h/d?passwort={SECRET}'}}",
        f"postgres: {{dsn: ['{SECRET}']}}",
        f"postgres: 'postgres://u:{SECRET}@h/d'",
        f"nats: {{url: 'nats://u:pa,{SECRET}@h:x'}}",
        f"nats: {{url: 'nats://u:{SECRET}@h:port'}}",
        f"nats: {{url: 'nats://u:{SECRET}/@h'}}",
        f"nats: {{user: u, password: {{{SECRET}: 1}}}}",
        f"nats: {{user: u, password: ['{SECRET}']}}",
        f"nats: {{password: '{SECRET}'}}",
        f"nats: {{user: u, password: '{SECRET}${{'}}",
        f"nats: {{token: '{SECRET}', user: u}}",
        f"nats: {{password: *{SECRET}}}",
        f"nats: {{password: !{SECRET} }}",
        f'nats: {{password: "\\q{SECRET}"}}',
        f"nats: {{password: @{SECRET}}}",
    ],
)
def test_errors_do_not_quote_secrets(text: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file, {}, {})
    shown: list[Any] = [caught.value.message, caught.value.hint, caught.value.context]
    assert SECRET not in repr(shown)
    # `--debug` prints the chain: what it suppresses stays away.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_key_of_a_mask_is_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    mask = {"a": {"hash": "hmac-sha256", "key": SECRET}, "b": {"null": True}}
    file.write_text(json.dumps({"events": {"tables": {"t": {"columns": {"mask": mask}}, "u": ["insert"]}}}))
    config = load(file, {}, {})
    shown = masked(config)["events"]["tables"]
    assert shown == {
        "t": {"columns": {"mask": {"a": {"hash": "hmac-sha256", "key": "***"}, "b": {"null": True}}}},
        "u": ["insert"],
    }
    assert SECRET in secrets(config)


@pytest.mark.parametrize(
    "mask", [{"hash": "sha256", "key": SECRET}, {"hash": SECRET}, {"key": SECRET}, {"constant": 5, "key": SECRET}]
)
def test_no_error_about_a_mask_quotes_its_key(mask: Any, tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"events": {"tables": {"t": {"columns": {"mask": {"a": mask}}}}}}))
    with pytest.raises(ConfigError) as caught:
        load(file, {}, {})
    assert caught.value.message.startswith("events.tables.t.columns.mask.a")
    assert SECRET not in f"{caught.value.message} {caught.value.hint}"


def test_a_webhook(tmp_path: Path) -> None:
    secret, old = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2Vjb25kLXNlY3JldC1vZi0zMi1ieXRlcyEhIQ=="
    webhook = {
        "url": "https://hooks.example.com/services/T0/hunter2?key=hunter3",
        "secret": [secret, old],
        "user": "u",
        "password": "hunter4",
        "headers": {"X-Api-Key": "hunter5"},
    }
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"webhook": webhook}))
    config = load(file, {}, {})
    shown = masked(config)["webhook"]
    assert shown["url"] == "https://hooks.example.com/***"
    assert (shown["secret"], shown["password"], shown["headers"]) == ("***", "***", {"X-Api-Key": "***"})
    assert not any(each in json.dumps(shown) for each in ("hunter", secret, old))
    assert {secret, old, "key=hunter3", "hunter4", "hunter5"} <= secrets(config)
