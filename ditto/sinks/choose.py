"""The sink that a configuration names, and what reads it back. Only the library of that one is imported."""

# ruff: noqa: PLC0415 -- only the chosen sink's library is imported

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ditto.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ditto.config import PipelineConfig
    from ditto.sinks.base import Capabilities, MakeSink, Reader


def require_library(config: PipelineConfig) -> None:
    """Raise MissingHere where the sink's client library, which is an extra, is not installed. Imports none."""
    if config.kafka is not None:
        from ditto.sinks.kafka import library as kafka

        kafka.require_library()
    if config.redis is not None:
        from ditto.sinks.redis import library as redis

        redis.require_library()
    if config.rabbitmq is not None:
        from ditto.sinks.rabbitmq import library as rabbitmq

        rabbitmq.require_library()
    if config.webhook is not None:
        from ditto.sinks.webhook import library as webhook

        webhook.require_library()


def choose_sink(config: PipelineConfig) -> MakeSink:
    """The sink whose section `config` has; JetStream where it has none. Raises MissingHere without its library."""
    require_library(config)
    if config.kafka is not None:
        from ditto.sinks.kafka.sink import KafkaSink

        return KafkaSink
    if config.redis is not None:
        from ditto.sinks.redis.sink import RedisSink

        return RedisSink
    if config.rabbitmq is not None:
        if config.rabbitmq.has_exchange:
            from ditto.sinks.rabbitmq.exchange_sink import ExchangeSink

            return ExchangeSink
        from ditto.sinks.rabbitmq.sink import RabbitMQSink

        return RabbitMQSink
    if config.webhook is not None:
        from ditto.sinks.webhook.sink import WebhookSink

        return WebhookSink
    if config.file is None:
        from ditto.sinks.jetstream.sink import JetStreamSink

        return JetStreamSink
    if config.file.path == "-":
        from ditto.sinks.file.standard_output import StandardOutputSink

        return StandardOutputSink
    from ditto.sinks.file.sink import FileSink

    return FileSink


def capabilities(config: PipelineConfig) -> Capabilities:
    """What that sink can do, as far as it is known before a session has one."""
    return choose_sink(config)(config, clock=time.monotonic).capabilities


def choose_reader(config: PipelineConfig) -> Reader:
    """What reads that sink back. Raises ConfigError where nothing can be read again, or its library is missing."""
    require_library(config)
    if config.kafka is not None:
        from ditto.sinks.kafka.reader import KafkaReader

        return KafkaReader(config)
    if config.redis is not None:
        from ditto.sinks.redis.reader import RedisReader

        return RedisReader(config)
    if config.rabbitmq is not None:
        if config.rabbitmq.has_exchange:
            raise ConfigError(
                f"the events of this configuration go to exchange {config.rabbitmq.exchange.name} of RabbitMQ, where "
                "nothing can be read again",
                hint="read the queues that are bound to it; ditto slot status shows how far it is, ditto wait waits "
                "for it",
                key="rabbitmq.url",
            )
        from ditto.sinks.rabbitmq.reader import RabbitMQReader

        return RabbitMQReader(config)
    if config.webhook is not None:
        raise ConfigError(
            f"the events of this configuration are posted to {config.webhook.origin}, where nothing can be read again",
            hint="read what the receiver has stored; ditto slot status shows how far it is, ditto wait waits for it",
            key="webhook",
        )
    if config.file is None:
        from ditto.sinks.jetstream.reader import StreamReader

        return StreamReader(config)
    if config.file.path == "-":
        raise ConfigError(
            "the events of this configuration go to standard output, where nothing can be read again",
            hint="give file.path the path of a file, or read what the program that gets them has stored",
            key="file.path",
        )
    from ditto.sinks.file.reader import FileReader

    return FileReader(config.file.path)


@asynccontextmanager
async def open_reader(config: PipelineConfig) -> AsyncGenerator[Reader]:
    """The same, connected. Raises what keeps it from that."""
    reader = choose_reader(config)
    try:
        await reader.connect()
        yield reader
    finally:
        await reader.close()
