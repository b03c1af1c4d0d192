"""The key-value buckets of the control plane: nats-py's `KeyValue` with typed errors.

Every bucket is a stream laid out so that every NATS tool knows it (`nats kv get ditto_pipelines shop`):
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, TypeVar, cast

import nats.errors
import nats.js.errors
from msgspec import Struct
from nats.js.api import KeyValueConfig
from nats.js.kv import KV_DEL, KV_PURGE, KeyValue

from ditto.errors import ControlPlaneLost, ControlPlaneUnsuitable, SinkDenied, SinkError
from ditto.fleet.records import ASSIGNMENTS, NODES, PIPELINES, READINESS, STATUS
from ditto.sinks.jetstream.connection import Connection

HISTORY: Final = {PIPELINES: 64, NODES: 1, ASSIGNMENTS: 1, STATUS: 1, READINESS: 1}
"""How many revisions of an entry each bucket keeps."""
_TIMEOUT_S: Final = 5.0
_FULL: Final = 10077
"""The stream cannot store it: the bucket or the disk is full."""

T = TypeVar("T")


class Entry(Struct, frozen=True):
    """One revision of one key. `value` is None where it was deleted."""

    key: str
    value: bytes | None
    revision: int
    written_at: float = 0.0
    """When it was, by the server's clock; 0 where that was not asked for: only `watch` says it."""


class BucketState(Struct, frozen=True):
    """What the server says of a bucket."""

    created: str
    """When its stream was: with another time it is another bucket of that name."""
    first: int
    """The lowest revision that is kept of any key; above `newest` where nothing is."""
    newest: int
    """The highest revision of all keys."""


class Bucket:
    """One bucket, on one connection. Every call raises ControlPlaneLost where the connection is gone, and
    ControlPlaneUnsuitable for what does not go away by itself.
    """

    def __init__(self, store: KeyValue, connection: Connection, name: str) -> None:
        self._store = store
        self._connection = connection
        self._name = name

    async def state(self) -> BucketState:
        """How it is now."""
        status = await self._ask(self._store.status())
        stream = status.stream_info
        return BucketState(str(stream.created), first=stream.state.first_seq, newest=stream.state.last_seq)

    async def get(self, key: str) -> Entry | None:
        """The newest revision; None where there is none, or it was deleted."""
        try:
            entry = await self._ask(self._store.get(key))
        except nats.js.errors.KeyNotFoundError:
            return None
        return _entry(entry)

    async def put(self, key: str, value: bytes) -> int:
        """Write it, whatever is there; returns the revision."""
        return await self._ask(self._store.put(key, value))

    async def write(self, key: str, value: bytes, *, after: int) -> int | None:
        """Write it after this revision, 0 where there is to be none; returns the new revision, and None where another
        one came before.
        """
        writing = self._store.update(key, value, last=after) if after else self._store.create(key, value)
        try:
            return await self._ask(writing)
        except nats.js.errors.KeyWrongLastSequenceError:
            return None

    async def delete(self, key: str, *, after: int) -> bool:
        """Delete it after this revision; False where another one came before."""
        try:
            return await self._ask(self._store.delete(key, last=after))
        except nats.js.errors.APIError as error:
            if error.err_code in {10071, 10164}:  # the last sequence is another one
                return False
            raise self._unsuitable(error) from error

    async def remove(self, key: str, *, is_own: Callable[[Entry], bool]) -> None:
        """As `delete`, where the server has refused something else on this connection; whatever becomes of it."""
        with suppress(nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError):
            async with asyncio.timeout(_TIMEOUT_S):
                entry = _entry(await self._store.get(key))
                if is_own(entry):
                    await self._store.delete(key, last=entry.revision)

    async def history(self, key: str) -> list[Entry]:
        """The revisions that are kept, the oldest first."""
        try:
            return [_entry(each) for each in await self._ask(self._store.history(key))]
        except nats.js.errors.NoKeysError:
            return []

    async def watch(self) -> AsyncGenerator[Entry | None, None]:
        """Every key as it is, then None once, then every change. Ends with an error only."""
        watcher = await self._ask(self._store.watchall(inactive_threshold=60.0))
        try:
            while True:
                item: KeyValue.Entry | None = await self._connection.guard(_next(watcher))
                yield None if item is None else _entry(item)
        except Exception as error:
            if not is_about_connection(self._connection, error):
                raise
            raise self._lost(error) from error
        finally:
            try:
                await watcher.stop()  # type: ignore[no-untyped-call]
            except Exception as error:
                if not is_about_connection(self._connection, error):
                    raise

    async def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(2 * _TIMEOUT_S):
                return await self._connection.guard(work)
        except (
            nats.js.errors.KeyNotFoundError,
            nats.js.errors.KeyWrongLastSequenceError,
            nats.js.errors.NoKeysError,
        ):
            raise
        except (nats.js.errors.ServiceUnavailableError, nats.js.errors.NotFoundError) as error:
            raise self._lost(error) from error  # without the bucket, too: the next connection makes it anew
        except nats.js.errors.APIError as error:
            if error.err_code in {10071, 10164}:
                raise
            if error.code is not None and error.code >= 500:
                raise self._lost(error) from error
            raise self._unsuitable(error) from error
        except Exception as error:
            if not is_about_connection(self._connection, error):
                raise
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> ControlPlaneLost:
        found = lost(self._connection, error, f"bucket {self._name}")
        if isinstance(error, nats.js.errors.APIError) and error.err_code == _FULL:
            found.hint = (
                f"pipelines that run go on; raise max_bytes of the stream KV_{self._name}, or make room where "
                "nats-server stores (store_dir)"
            )
        return found

    def _unsuitable(self, error: nats.js.errors.APIError) -> ControlPlaneUnsuitable:
        return ControlPlaneUnsuitable(
            f"NATS at {self._connection.where} refuses a request for bucket {self._name}: "
            f"{error.description or 'no reason given'}",
            hint="look at the bucket with: nats kv info, and at nats-server's log",
        )


async def _next(watcher: KeyValue.KeyWatcher) -> KeyValue.Entry | None:
    return cast("KeyValue.Entry | None", await watcher.updates(timeout=None))  # type: ignore[no-untyped-call]


def is_about_connection(connection: Connection, error: Exception) -> bool:
    """Whether the error is one of NATS or of the network, or follows from the end of the connection. Any other one is a
    mistake in Ditto, which does not go away.
    """
    return isinstance(error, nats.errors.Error | SinkError | OSError | TimeoutError) or connection.failure.done()


def lost(connection: Connection, error: Exception, what: str) -> ControlPlaneLost:
    """The control plane does not answer, or not now."""
    is_late = isinstance(error, TimeoutError | nats.errors.TimeoutError)
    said = error.description if isinstance(error, nats.js.errors.APIError) else str(error).removeprefix("nats: ")
    words = "no answer in time" if is_late else said or type(error).__name__
    hint = "pipelines that run go on; look at nats-server, and at nats.url of the server's configuration"
    return ControlPlaneLost(
        f"the control plane, NATS at {connection.where}, cannot be used ({what}): {words}",
        hint=error.hint if isinstance(error, SinkDenied) else hint,
    )


async def open_buckets(connection: Connection, *, domain: str | None, replicas: int) -> dict[str, Bucket]:
    """All buckets by name; those that are missing are created."""
    js = connection.jetstream(domain=domain, timeout=_TIMEOUT_S) if domain else connection.jetstream(timeout=_TIMEOUT_S)
    found: dict[str, Bucket] = {}
    for name, history in HISTORY.items():
        try:
            store = await js.key_value(name)
        except nats.js.errors.BucketNotFoundError:
            config = KeyValueConfig(bucket=name, history=history, replicas=replicas)
            try:
                store = await js.create_key_value(config)
            except nats.js.errors.APIError as error:
                if error.code is not None and error.code >= 500:
                    raise lost(connection, error, f"bucket {name}") from error
                raise ControlPlaneUnsuitable(
                    f"bucket {name} cannot be created with {replicas} replicas in NATS at {connection.where}: "
                    f"{error.description or 'no reason given'}",
                    hint="give as many replicas as the NATS cluster has servers, and the node's user the right to "
                    "create streams",
                ) from error
        except Exception as error:
            if not is_about_connection(connection, error):
                raise
            raise lost(connection, error, f"bucket {name}") from error
        found[name] = Bucket(store, connection, name)
    return found


def _entry(entry: KeyValue.Entry) -> Entry:
    is_gone = entry.operation in {KV_DEL, KV_PURGE}
    created = cast("datetime | None", entry.created)  # declared as a number
    written_at = 0.0 if created is None else created.timestamp()
    return Entry(entry.key, None if is_gone else (entry.value or b""), entry.revision or 0, written_at)
