"""Configurations to begin with. Secrets are references, which the node resolves from its environment."""

from __future__ import annotations

from typing import Final, NamedTuple


class Template(NamedTuple):
    """One of them."""

    title: str
    about: str
    text: str


_SOURCE: Final = """\
postgres:
  dsn: postgresql://ditto:${DITTO_POSTGRES_PASSWORD}@db.example.com/shop
  slot: NAME
  publication: NAME
"""

TEMPLATES: Final[tuple[Template, ...]] = (
    Template(
        "Tables to a stream of NATS",
        "Every change of the published tables, an event each, in one JetStream stream.",
        _SOURCE
        + """\
nats:
  url: nats://nats.example.com:4222
  stream: NAME
events:
  prefix: NAME
""",
    ),
    Template(
        "Tables to a stream, with what is in them already",
        "As above; a new stream begins with a snapshot of all tables.",
        _SOURCE
        + """\
nats:
  url: nats://nats.example.com:4222
  stream: NAME
events:
  prefix: NAME
snapshot:
  mode: initial
""",
    ),
    Template(
        "Outbox to NATS",
        "Rows of an outbox table become messages, with the subject and the body that the application gave them.",
        _SOURCE
        + """\
nats:
  url: nats://nats.example.com:4222
  stream: NAME
events:
  prefix: NAME
  outbox:
    table: public.outbox
    subject: "NAME.{data.topic}"
    payload: payload
    id: id
""",
    ),
    Template(
        "Tables to Kafka",
        "Every change of the published tables, to topics of Apache Kafka, in transactions.",
        _SOURCE
        + """\
kafka:
  brokers: kafka.example.com:9092
events:
  prefix: NAME
""",
    ),
    Template(
        "Tables to Redis",
        "Every change of the published tables, to streams of Redis or Valkey.",
        _SOURCE
        + """\
redis:
  url: redis://redis.example.com:6379/0
events:
  prefix: NAME
""",
    ),
    Template(
        "Tables to RabbitMQ",
        "Every change of the published tables, to a stream of RabbitMQ.",
        _SOURCE
        + """\
rabbitmq:
  url: rabbitmq-stream://ditto:${DITTO_RABBITMQ_PASSWORD}@rabbitmq.example.com:5552
  stream:
    name: NAME
events:
  prefix: NAME
""",
    ),
    Template(
        "Tables to a webhook",
        "Every change of the published tables, to an HTTP endpoint, signed.",
        _SOURCE
        + """\
webhook:
  url: https://hooks.example.com/ditto
  secret: ${DITTO_WEBHOOK_SECRET}
events:
  prefix: NAME
""",
    ),
)


def filled(template: Template, name: str) -> str:
    """The text for a pipeline of this name. Slots of PostgreSQL have no `-` and no `.` in their names."""
    word = "".join(letter if letter.isalnum() else "_" for letter in name.lower()) or "ditto"
    return template.text.replace("NAME", word)
