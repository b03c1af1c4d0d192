"""The client of a running Ditto's HTTP: status, snapshots, reload; the status of both servers where none runs."""

from __future__ import annotations

import asyncio
import http
import http.client
from collections.abc import AsyncGenerator
from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from ditto.config import Config
from ditto.config.listen import split_address
from ditto.errors import ConfigError, DittoError, SinkError, SourceError
from ditto.monitoring.configuration_status import Reloaded
from ditto.monitoring.http_client import AnswerTooLarge, fetch
from ditto.monitoring.pipeline_monitor import Rate, lag_by_servers
from ditto.monitoring.server_status import ServerStatusReader
from ditto.monitoring.status_document import Snapshots, Status

_TIMEOUT_S: Final = 5.0
_CHANGE_TIMEOUT_S: Final = 15.0
_REASONED: Final = frozenset({400, 503})
"""With these a running Ditto says why it does not do it."""
_MAX_BYTES: Final = 16 * 1024 * 1024
_REFUSALS: Final = {
    401: "it wants the token of http.token (DITTO_HTTP_TOKEN)",
    403: "it takes no requests that change something: without http.token only from its own machine",
    404: "it does not know how to do that: is it an older Ditto?",
    421: "it is not known under this name: add the name to http.hosts there",
}
_BY_EXIT_CODE: Final[dict[int, type[DittoError]]] = {2: ConfigError, 3: SourceError, 4: SinkError}
_NOBODY: Final = "does a Ditto run there, with http.listen? Without --url both servers are asked"
_NO_RUNS: Final = "does a Ditto run there, with http.listen? Only a running one knows its snapshots"
_NO_DITTO: Final = "does a Ditto run there, with http.listen? Without that, give its process: --pid PID"
_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  only compared with

T = TypeVar("T", Status, Snapshots, Reloaded)


class NoAnswer(DittoError):
    """No Ditto answers at that address."""


def own_url(listen: str) -> str:
    """Where a Ditto of this machine with this `http.listen` can be reached."""
    host, port = split_address(listen)
    if host in _EVERYWHERE:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def over_http(url: str, *, token: str | None = None) -> Status:
    """The status of the Ditto at this address, which may ask for a token.

    Raises NoAnswer, and ConfigError for what is no address.
    """
    return _document(url, "/v1/status", Status, token=token, hint=_NOBODY)


def snapshots_over_http(url: str, *, token: str | None = None) -> Snapshots:
    """The same of its snapshots."""
    return _document(url, "/v1/snapshots", Snapshots, token=token, hint=_NO_RUNS)


def reload_over_http(url: str, *, token: str | None = None) -> Reloaded:
    """Let the Ditto at this address reload its configuration.

    Raises the error for which it is refused, and the same as `over_http`.
    """
    return _document(url, "/v1/reload", Reloaded, token=token, hint=_NO_DITTO, posted=b"{}")


class _Refusal(msgspec.Struct):
    detail: str
    hint: str | None = None
    exit_code: int = 1


def _document(
    url: str, path: str, kind: type[T], *, token: str | None, hint: str | None, posted: bytes | None = None
) -> T:
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc:
        raise ConfigError(f"{url!r} is not an address", hint="it looks like http://localhost:8080")
    try:
        answer = fetch(
            f"{url.rstrip('/')}{path}",
            timeout_s=_TIMEOUT_S if posted is None else _CHANGE_TIMEOUT_S,
            max_bytes=_MAX_BYTES,
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            posted=posted,
        )
        if answer.status in {http.HTTPStatus.OK, http.HTTPStatus.ACCEPTED}:
            return msgspec.json.decode(answer.body, type=kind)
        if posted is not None and answer.status in _REASONED:
            refusal = msgspec.json.decode(answer.body, type=_Refusal)
            raise _BY_EXIT_CODE.get(refusal.exit_code, DittoError)(refusal.detail, hint=refusal.hint)
        reason = _REFUSALS.get(answer.status, f"it answers {answer.status}")
        if answer.status in _REFUSALS:
            hint = None
    except AnswerTooLarge as error:
        reason = str(error)
    except http.client.HTTPException:
        reason = "it does not speak HTTP"
    except OSError as error:
        reason = error.strerror or str(error)
    except (msgspec.MsgspecError, RecursionError) as error:
        reason = str(error)
    except ValueError as error:
        raise ConfigError(f"{url!r} is not an address", hint="it looks like http://localhost:8080") from error
    raise NoAnswer(f"no {'status' if posted is None else 'answer'} from {url}: {reason}", hint=hint)


async def statuses(config: Config, *, url: str | None, period_s: float) -> AsyncGenerator[Status]:
    """One after the other, for ever. `url` None: that of the configuration if a Ditto answers there, else the servers.

    Raises NoAnswer where `url` is given.
    """
    reader, rate = ServerStatusReader(config), Rate()
    try:
        while True:
            status = await asyncio.to_thread(_running, config, url)
            if status is None:
                servers = await reader.read()
                if servers.stream is not None:
                    rate.note(servers.stream.last_sequence)
                status = Status(
                    source="servers",
                    pipeline=config.label,
                    process=None,
                    lag_s=lag_by_servers(servers),
                    events_per_s=rate.per_s,
                    servers=servers,
                    servers_age_s=0.0,
                )
            yield status
            await asyncio.sleep(period_s)
    finally:
        await reader.close()


def _running(config: Config, url: str | None) -> Status | None:
    if url is not None:
        return over_http(url, token=config.http.token)
    if config.http.listen is None:
        return None
    try:
        return over_http(own_url(config.http.listen), token=config.http.token)
    except NoAnswer:
        return None
