"""The section `rabbitmq`: values that are refused, addresses, a library that is missing, and what comes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ditto.config import Config, RabbitMQ, load
from ditto.config.mask import secrets
from ditto.errors import ConfigError
from ditto.sinks.choose import choose_reader, choose_sink
from ditto.sinks.rabbitmq.server import Address, address_of, login_of

if TYPE_CHECKING:
    from pathlib import Path

URLS = {
    "rabbitmq-stream://localhost": Address("localhost", 5552, "/", has_tls=False),
    "rabbitmq-stream://[::1]:7000/": Address("::1", 7000, "/", has_tls=False),
    "rabbitmq-stream+tls://u:p%40ss@r.test/shop": Address("r.test", 5551, "shop", has_tls=True),
    "amqp://h/shop": Address("h", 5672, "shop", has_tls=False),
    "AMQPS://h": Address("h", 5671, "/", has_tls=True),
    "RabbitMQ-Stream://h/a%2Fb": Address("h", 5552, "a/b", has_tls=False),
}


def refused(**section: Any) -> ConfigError:
    given = {f"DITTO_RABBITMQ_{name.upper()}": str(value) for name, value in section.items()}
    with pytest.raises(ConfigError) as caught:
        load(None, {}, given)
    return caught.value


@pytest.mark.parametrize(
    "url", ["http://localhost", "amqp:h", "rabbitmq-stream://", "rabbitmq-stream://h:99999", "rabbitmq-stream://h/a/b",
            "rabbitmq-stream://h?a=1", "localhost:5552"]
)  # fmt: skip
def test_an_address_that_is_none(url: str) -> None:
    error = refused(url=url)
    assert "must be an address such as rabbitmq-stream://localhost:5552" in error.message
    assert error.context["key"] == "rabbitmq.url"


@pytest.mark.parametrize(("url", "address"), URLS.items())
def test_an_address(url: str, address: Address) -> None:
    config = load(None, {}, {"DITTO_RABBITMQ_URL": url}).rabbitmq
    assert config is not None
    assert address_of(config, config.servers[0]) == address


def test_logins() -> None:
    assert login_of(RabbitMQ(), "rabbitmq-stream://h") == ("guest", "guest")
    assert login_of(RabbitMQ(), "rabbitmq-stream://u:p%40ss@h") == ("u", "p@ss")
    assert login_of(RabbitMQ(user="u", password="p"), "rabbitmq-stream://h") == ("u", "p")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"user": "u"}, "rabbitmq.user is given without rabbitmq.password"),
        ({"password": "p"}, "rabbitmq.password is given without rabbitmq.user"),
        (
            {"url": "rabbitmq-stream://u:p@h", "user": "u", "password": "p"},
            "rabbitmq.url has a user or a password too",
        ),
        ({"url": '["rabbitmq-stream://a/x", "rabbitmq-stream://b/y"]'}, "the same virtual host"),
        ({"url": "[]"}, "at least one server"),
        ({"tls_cert": "/c"}, "rabbitmq.tls.cert and rabbitmq.tls.key are given one without the other"),
        ({"url": '["amqp://a", "rabbitmq-stream://b"]'}, "or to an exchange with each"),
        ({"url": "amqp://h", "stream_name": "s"}, "rabbitmq.url leads to an exchange"),
        ({"exchange_name": "s"}, "rabbitmq.url leads to a stream"),
        ({"url": "amqp://h", "exchange_max_bytes": 1}, "must be at least 1024"),
        ({"stream_name": "amq.x"}, "not begin with amq."),
        ({"stream_name": "x" * 250}, "must be 1 to 249 bytes"),
        ({"stream_max_age": "100ms"}, "at least one second"),
        ({"stream_max_bytes": -1}, "must be at least 0"),
        ({"ack_timeout": "0s"}, "rabbitmq.ack_timeout"),
    ],
)
def test_values_that_are_refused(section: dict[str, Any], said: str) -> None:
    assert said in refused(**section).message


def test_what_it_cannot_be_together_with() -> None:
    url = {"DITTO_RABBITMQ_URL": "rabbitmq-stream://h"}
    with pytest.raises(ConfigError, match="nats"):
        load(None, {}, {**url, "DITTO_NATS_URL": "nats://h"})
    with pytest.raises(ConfigError, match="which has no object store"):
        load(None, {}, {**url, "DITTO_EVENTS_OVERSIZE": "object_store"})


def test_the_extra_is_named_where_the_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ditto.sinks.rabbitmq.library.find_spec", lambda _: None)
    for choose in (choose_sink, choose_reader):
        with pytest.raises(ConfigError) as caught:
            choose(Config(rabbitmq=RabbitMQ()))
        assert "pip install 'ditto-cdc[rabbitmq]'" in str(caught.value.hint)


def test_secrets_are_known() -> None:
    assert secrets(Config(rabbitmq=RabbitMQ(url="rabbitmq-stream://u:hushhush@h"))) >= {"hushhush"}
    assert secrets(Config(rabbitmq=RabbitMQ(user="u", password="other"))) >= {"other"}


def test_the_library_comes_only_with_the_section(tmp_path: Path) -> None:
    from unit.test_imports import imported  # noqa: PLC0415

    choose = "import ditto.config as k, ditto.sinks.choose as c; c.choose_sink(k.Config(rabbitmq=k.RabbitMQ()))"
    found = imported(choose, tmp_path)
    assert "rstream" in found
    assert "nats" not in found
    assert "rstream" not in imported(choose.replace("rabbitmq=k.RabbitMQ()", "file=k.File(path='/f')"), tmp_path)
