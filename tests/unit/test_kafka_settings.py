"""The section kafka, and the names of topics: what is refused, and what becomes of names that Kafka does not take."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.config import Config, Kafka, KafkaTls, load
from ditto.errors import ConfigError, LoginDenied, NotNow, StreamUnusable, SubjectCollision
from ditto.routing.templates import encode_token
from ditto.sinks.choose import choose_reader, choose_sink
from ditto.sinks.kafka.client import settings
from ditto.sinks.kafka.topics import NAMES, Topics, topic_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("brokers: nats://localhost:4222", "must be host and port of a broker"),
        ("brokers: []", "must be host and port of a broker"),
        ("checkpoint_topic: a b", "must be the name of a topic"),
        ("own_topic: '{table}'", "must be the name of a topic"),
        ("options: {acks: 1}", "kafka.options.acks in {file} cannot be given: Ditto sets it"),
        ("options: {enable.idempotence: false}", "kafka.options.enable.idempotence in {file} cannot be given"),
        ("options: {transactional.id: mine}", "kafka.options.transactional.id in {file} cannot be given"),
        ("options: {bootstrap.servers: a}", "has a key of its own, kafka.brokers"),
        ("options: {error_cb: a}", "callbacks are functions"),
        ("user: ditto", "kafka.user is given without kafka.password"),
        ("password: secret", "kafka.password is given without kafka.user"),
        ("tls: {cert: /c.pem}", "kafka.tls.cert and kafka.tls.key are given one without the other"),
        ("checkpoint_topic: x\n  own_topic: x", "are the same topic"),
    ],
)
def test_what_is_refused(tmp_path: Path, section: str, said: str) -> None:
    file = tmp_path / "ditto.yaml"
    file.write_text(f"kafka:\n  {section}\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {}, {})
    assert said.replace("{file}", str(file)) in caught.value.message


def test_an_option_that_librdkafka_does_not_know() -> None:
    from ditto.sinks.kafka.client import Admin  # noqa: PLC0415  a client is made

    config = Kafka(options={"no.such": 1})
    with pytest.raises(ConfigError, match="No such configuration property"):
        Admin(config, Topics(config, "ditto").access)


def test_the_library_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without(name: str) -> object:
        return None if name == "confluent_kafka" else found(name)

    monkeypatch.setattr("ditto.sinks.kafka.library.find_spec", without)
    config = Config(kafka=Kafka())
    for choose in (choose_sink, choose_reader):
        with pytest.raises(ConfigError) as caught:
            choose(config)
        assert "ditto-cdc[kafka]" in (caught.value.hint or "")


def test_a_password_in_clear() -> None:
    given: Any = {"user": "ditto", "password": "hush", "brokers": "kafka.example.com:9092"}
    with pytest.raises(LoginDenied, match="does not show it the password"):
        settings(Kafka(mechanism="plain", **given))
    assert settings(Kafka(mechanism="plain", tls=KafkaTls(), **given))["security.protocol"] == "sasl_ssl"
    assert settings(Kafka(**given))["sasl.mechanism"] == "SCRAM-SHA-512"


@pytest.mark.parametrize(
    ("route", "topic"),
    [
        ("ditto_public_trades", "ditto_public_trades"),
        ("ditto_public_my%20orders", "ditto_public_my-x20orders"),
        ("ditto_public_größe", "ditto_public_gr-xC3-xB6-xC3-x9Fe"),
        ("a.b-c_D9", "a.b-c_D9"),
        ("p.%null", "p.-xnull"),
        ("p.%25null", "p.-x25null"),
        ("p.a-x20b", "p.a-x2Dx20b"),
    ],
)
def test_topics_of_routes(route: str, topic: str) -> None:
    assert topic_of(route) == topic
    assert NAMES.measure(route) == len(topic)


@given(st.lists(st.text("ax-%2 .ü😀"), min_size=2, max_size=2, unique=True))
def test_two_values_never_have_one_topic(values: list[str]) -> None:
    """Nor one that NULL, or the empty text, has."""
    routes = ["p.%null", "p.%empty", *(f"p.{encode_token(value)}" for value in values if value)]
    assert len(set(map(topic_of, routes))) == len(routes)


@given(st.lists(st.text("ax-%2.", max_size=5), max_size=5))
def test_the_parts_of_a_topic_are_measured_with_what_is_beside_them(parts: list[str]) -> None:
    assert sum(map(NAMES.measure, parts)) >= NAMES.measure("".join(parts))


def test_what_is_no_topic() -> None:
    with pytest.raises(StreamUnusable, match="longer than 249"):
        topic_of("x" * 250)
    with pytest.raises(StreamUnusable, match="is no topic"):
        topic_of("..")


def test_two_routes_never_share_a_topic() -> None:
    topics = Topics(Kafka(), "ditto")
    topics.add(["ditto_a b", "ditto_a-x20b"])
    with pytest.raises(SubjectCollision):
        topics.add(["ditto_a%20b"])
    for own in ("ditto.checkpoints", "ditto._ditto"):
        with pytest.raises(SubjectCollision):
            topics.add([own])
    assert topics.add(["ditto._schema.public.t", "ditto._snapshot.>"]) == {"ditto._ditto"}


@pytest.mark.parametrize("name", ["UNKNOWN_LEADER_EPOCH", "FENCED_LEADER_EPOCH", "NOT_LEADER_FOR_PARTITION"])
def test_a_leader_that_has_changed_is_asked_again(name: str) -> None:
    from confluent_kafka import KafkaError  # noqa: PLC0415  an extra

    from ditto.sinks.kafka.access import Access  # noqa: PLC0415  as above
    from ditto.sinks.kafka.client_errors import translate  # noqa: PLC0415  as above

    access = Access(Kafka(brokers="kafka:9092"), "shop")
    error = translate(KafkaError(getattr(KafkaError, name)), "look up the end of topic shop._ditto", access)
    assert isinstance(error, NotNow)
