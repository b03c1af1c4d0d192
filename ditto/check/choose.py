"""The checks that belong to the sink of a configuration. Only the library of that one is imported."""

# ruff: noqa: PLC0415 -- only the chosen sink's library is imported

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ditto.check.finding import Finding
    from ditto.check.source import Source
    from ditto.config import Config


class SinkChecks(Protocol):
    """The checks of one kind of sink, and of both ends together. They add to `found`, and change nothing."""

    async def __call__(
        self, config: Config, source: Source | None, found: list[Finding], monitor_url: str | None, *, is_running: bool
    ) -> None:
        """`source` is None where PostgreSQL cannot be asked; `monitor_url` and `is_running` as for `run_checks`."""


def choose_checks(config: Config) -> SinkChecks:
    """Those of the sink that `config` names."""
    if config.redis is not None:
        from ditto.sinks.redis.library import require_library

        require_library()
        from ditto.check.redis import check_redis

        return check_redis
    if config.file is not None:
        from ditto.check.file import check_file

        return check_file
    if config.kafka is not None:
        from ditto.sinks.kafka.library import require_library

        require_library()
        from ditto.check.kafka import check_kafka

        return check_kafka
    if config.rabbitmq is not None:
        from ditto.sinks.rabbitmq.library import require_library

        require_library()
        from ditto.check.rabbitmq import check_rabbitmq

        return check_rabbitmq
    if config.webhook is not None:
        from ditto.check.webhook import check_webhook

        return check_webhook
    from ditto.check.jetstream import check_jetstream

    return check_jetstream


def usual_monitor(config: Config) -> str | None:
    """Where the sink's server is usually monitored (`run_checks`); None where there is no such thing."""
    if config.sink != "nats":
        return None
    from ditto.check.nats import monitor_of

    return monitor_of(config.nats)
