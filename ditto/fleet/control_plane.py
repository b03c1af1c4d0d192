"""The connection of a node to its control plane. By itself it does not connect again: each connection is a period of
its own (`connected`), and the node begins the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import nats.errors

from ditto.config import NatsConnection
from ditto.errors import ControlPlaneLost, DittoError, NodeSilent, SinkDenied, SinkError
from ditto.fleet.buckets import Bucket, lost, open_buckets
from ditto.fleet.records import PIPELINES
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.jetstream.permissions import OF_NODES
from ditto.sinks.jetstream.servers import close, connect, usable
from ditto.tasks import deciding_error

_OPEN_S: Final = 20.0
_LOST_HINT: Final = "pipelines that run go on; nothing can be changed until NATS is back"


class ControlPlane:
    """The buckets, and requests to other nodes, for as long as there is a connection."""

    def __init__(self, config: NatsConnection, *, replicas: int = 1) -> None:
        self._config = config
        self._replicas = replicas
        self._connection: Connection | None = None
        self._buckets: dict[str, Bucket] = {}
        self._created: dict[str, str] = {}
        """When each bucket of this connection was."""
        self._first: dict[str, int] = {}
        """The lowest revision of each when it was last looked at."""
        self.reason = "not connected yet"
        """Why there is no connection."""
        self._hint = _LOST_HINT

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    def bucket(self, name: str) -> Bucket:
        """Raises ControlPlaneLost where there is no connection."""
        if self._connection is None:
            raise self._lost()
        return self._buckets[name]

    @property
    def connection(self) -> Connection:
        """Raises ControlPlaneLost where there is none."""
        if self._connection is None:
            raise self._lost()
        return self._connection

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        """One connection, with all buckets. Raises ControlPlaneLost where it cannot be made; errors of the login, and
        of a server that cannot be used, as the sink does.
        """
        try:
            async with asyncio.timeout(_OPEN_S):
                connection = await connect(
                    self._config, accept=lambda made: usable(made, self._config), permissions=OF_NODES
                )
        except TimeoutError as error:
            raise self._lost("no answer in time") from error
        except SinkError as error:
            self._remember(error)
            if error.is_retryable:
                raise ControlPlaneLost(f"the control plane is away: {error.message}", hint=error.hint) from error
            raise
        try:
            # What the user may not do ends this at once, with the subject: nats-py would wait for an answer.
            self._buckets = await connection.guard(
                open_buckets(connection, domain=self._config.domain, replicas=self._replicas)
            )
            self._created = {name: (await each.state()).created for name, each in self._buckets.items()}
            self._first = {}
            self._connection = connection
            yield connection
        except Exception as error:
            self._remember(error)
            raise
        finally:
            self._connection = None
            await close(connection)

    def created(self, name: str) -> str:
        """When the bucket was, which this connection (or the last one) uses: revisions of another one say nothing."""
        return self._created.get(name, "")

    async def check(self, oldest: Mapping[str, int]) -> None:
        """Raise ControlPlaneLost where a bucket is gone, or another one: a watcher of the former one hears of nothing.
        Nor does it hear of a purge, after which `oldest`, by bucket the lowest revision that is known, is not there
        any more. After the next connection all is listed, and written again.
        """
        for name in self._created:
            state = await self.bucket(name).state()
            if state.created != self._created[name]:
                raise ControlPlaneLost(
                    f"bucket {name} was deleted, and is another one now", hint="the node reads what is in it"
                )
            # Of a bucket without history the watcher may not have said yet that the oldest entry was written again.
            first = state.first if name == PIPELINES else self._first.get(name, 0)
            if 0 < oldest.get(name, 0) < first:
                raise ControlPlaneLost(f"bucket {name} was purged", hint="the node lists what is left")
            self._first[name] = state.first

    async def request(self, subject: str, body: Any, *, timeout_s: float, whom: str) -> bytes:
        """Ask a node. Raises NodeSilent where none answers, and ControlPlaneLost."""
        connection = self.connection
        try:
            async with asyncio.timeout(timeout_s + 1):
                answer = await connection.guard(
                    connection.request(subject, msgspec.json.encode(body), timeout=timeout_s)
                )
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError, TimeoutError) as error:
            raise NodeSilent(
                f"node {whom} has not answered within {timeout_s:g} s",
                hint="ask again in a few seconds: where the node is gone, another one takes its pipelines",
            ) from error
        except (SinkError, nats.errors.Error) as error:
            raise lost(connection, error, f"a request to node {whom}") from error
        return bytes(answer.data)

    def _lost(self, reason: str = "") -> ControlPlaneLost:
        return ControlPlaneLost(
            f"the control plane is away: {reason or self.reason}",
            hint=_LOST_HINT if reason else self._hint,
        )

    def _remember(self, error: Exception) -> None:
        """Why the connection ended; of several errors at once that of the one that decides. Where NATS has refused
        something, waiting for NATS does not help, and the hint is that of the refusal.
        """
        deciding = deciding_error(error) if isinstance(error, BaseExceptionGroup) else error
        self.reason = deciding.message if isinstance(deciding, DittoError) else type(deciding).__name__
        denied = next((each for each in (deciding, deciding.__cause__) if isinstance(each, SinkDenied)), None)
        self._hint = _LOST_HINT if denied is None or denied.hint is None else denied.hint
