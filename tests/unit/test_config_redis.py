"""The section `redis`: values that are refused, a library that is missing, addresses, what libraries come with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ditto.config import Config, Redis, load
from ditto.config.mask import secrets
from ditto.errors import ConfigError
from ditto.hints import redis_command
from ditto.sinks.choose import choose_reader, choose_sink
from ditto.sinks.redis.connecting import has_hash_tag
from ditto.sinks.redis.server import address_of

if TYPE_CHECKING:
    from pathlib import Path

URLS = {
    "redis://localhost": "Redis at localhost:6379",
    "redis://[::1]:7000/3": "Redis at [::1]:7000",
    "rediss://u:p%40ss@redis.test:7000": "Redis at redis.test:7000",
    "unix:///run/redis/redis%20one.sock": "Redis at /run/redis/redis one.sock",
}


def refused(**section: Any) -> ConfigError:
    given = {f"DITTO_REDIS_{name.upper()}": str(value) for name, value in section.items()}
    with pytest.raises(ConfigError) as caught:
        load(None, {}, given)
    return caught.value


@pytest.mark.parametrize(
    "url", ["http://localhost", "redis://", "redis://h:99999", "redis://h/x", "redis://h?db=1", "unix://", "localhost"]
)
def test_an_address_that_is_none(url: str) -> None:
    error = refused(url=url)
    assert "must be an address such as redis://localhost:6379" in error.message
    assert error.context["key"] == "redis.url"


@pytest.mark.parametrize(("url", "name"), URLS.items())
def test_an_address(url: str, name: str) -> None:
    config = load(None, {}, {"DITTO_REDIS_URL": url}).redis
    assert config is not None
    assert str(address_of(config)) == name


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"user": "u"}, "redis.user is given without redis.password"),
        ({"url": "redis://u:p@h", "password": "p"}, "redis.url has a user or a password too"),
        ({"tls_cert": "/c"}, "redis.tls.cert and redis.tls.key are given one without the other"),
        ({"url": "unix:///s", "tls_ca": "/c"}, "redis.tls is given for a Unix socket"),
        ({"key_prefix": "a\nb"}, "printable characters"),
        ({"max_length": -1}, "must be at least 0"),
        ({"ack_timeout": "0s"}, "redis.ack_timeout"),
    ],
)
def test_values_that_are_refused(section: dict[str, Any], said: str) -> None:
    assert said in refused(**section).message


def test_what_it_cannot_be_together_with() -> None:
    with pytest.raises(ConfigError, match="nats"):
        load(None, {}, {"DITTO_REDIS_URL": "redis://h", "DITTO_NATS_URL": "nats://h"})
    with pytest.raises(ConfigError, match="which has no object store"):
        load(None, {}, {"DITTO_REDIS_URL": "redis://h", "DITTO_EVENTS_OVERSIZE": "object_store"})


def test_the_extra_is_named_where_the_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ditto.sinks.redis.library.find_spec", lambda _: None)
    for choose in (choose_sink, choose_reader):
        with pytest.raises(ConfigError) as caught:
            choose(Config(redis=Redis()))
        assert "pip install 'ditto-cdc[redis]'" in str(caught.value.hint)


def test_secrets_are_known() -> None:
    assert secrets(Config(redis=Redis(url="redis://u:hushhush@h"))) >= {"hushhush"}
    assert secrets(Config(redis=Redis(user="u", password="other"))) >= {"other"}


def test_a_command_has_no_password() -> None:
    config = Redis(url="rediss://u:hushhush@h:7000")
    assert redis_command(config, "CONFIG", "SET", "a", "b c") == "redis-cli -u rediss://h:7000 CONFIG SET a 'b c'"
    assert redis_command(Redis(url="unix:///s"), "PING") == "redis-cli -s /s PING"


@pytest.mark.parametrize(
    ("key_prefix", "has"),
    [("{shop}:", True), ("a{shop}", True), ("", False), ("{}", False), ("{}{shop}", False), ("{shop", False)],
)
def test_a_hash_tag(key_prefix: str, has: bool) -> None:
    assert has_hash_tag(Redis(key_prefix=key_prefix)) is has


def test_the_library_comes_only_with_the_section(tmp_path: Path) -> None:
    from unit.test_imports import imported  # noqa: PLC0415

    choose = "import ditto.config as k, ditto.sinks.choose as c; c.choose_sink(k.Config(redis=k.Redis()))"
    found = imported(choose, tmp_path)
    assert "redis" in found
    assert "nats" not in found
    assert "redis" not in imported(choose.replace("redis=k.Redis()", "file=k.File(path='/f')"), tmp_path)
