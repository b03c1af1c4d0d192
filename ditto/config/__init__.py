"""The configuration: what can be set (`model`), and how it is put together (`load`)."""

from ditto.config.dsn import mask_dsn
from ditto.config.events import (
    ACTIONS,
    EVENT_ACTIONS,
    READ,
    Action,
    Events,
    Group,
    TableRules,
    Types,
)
from ditto.config.kafka import Kafka, KafkaTls, KafkaTopics
from ditto.config.keys import FLAGS, FORMER, KEYS, ORIGINAL_VARIABLES, SECTIONS, Key
from ditto.config.load import load, load_server
from ditto.config.mask import mask_url, masked, secrets
from ditto.config.model import (
    SINKS,
    Config,
    Delivery,
    File,
    Log,
    Nats,
    PipelineConfig,
    Postgres,
)
from ditto.config.nats_connection import NatsConnection, Tls
from ditto.config.placement import Placement
from ditto.config.rabbitmq import RabbitExchange, RabbitMQ, RabbitStream, RabbitTls
from ditto.config.redis import Redis, RedisTls
from ditto.config.schema import schema
from ditto.config.server import ApiToken, ServerConfig
from ditto.config.snapshot import Snapshot
from ditto.config.tls import ClientTls
from ditto.config.webhook import Webhook, WebhookTls

__all__ = [
    "ACTIONS",
    "EVENT_ACTIONS",
    "FLAGS",
    "FORMER",
    "KEYS",
    "ORIGINAL_VARIABLES",
    "READ",
    "SECTIONS",
    "SINKS",
    "Action",
    "ApiToken",
    "ClientTls",
    "Config",
    "Delivery",
    "Events",
    "File",
    "Group",
    "Kafka",
    "KafkaTls",
    "KafkaTopics",
    "Key",
    "Log",
    "Nats",
    "NatsConnection",
    "PipelineConfig",
    "Placement",
    "Postgres",
    "RabbitExchange",
    "RabbitMQ",
    "RabbitStream",
    "RabbitTls",
    "Redis",
    "RedisTls",
    "ServerConfig",
    "Snapshot",
    "TableRules",
    "Tls",
    "Types",
    "Webhook",
    "WebhookTls",
    "load",
    "load_server",
    "mask_dsn",
    "mask_url",
    "masked",
    "schema",
    "secrets",
]
