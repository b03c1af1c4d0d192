"""One connection to the receiver, and one request at a time on it."""

from __future__ import annotations

import asyncio
import io
import os
import ssl
import time
from base64 import b64encode
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp

import ditto
from ditto.config.webhook import WebhookTls, key_of
from ditto.errors import AckTimeout, AnswerUnreadable, LoginDenied, SinkError, SinkLost, WebhookRefused
from ditto.sinks.tls import tls_context
from ditto.sinks.tls_mismatch import Port, tls_mismatch
from ditto.sinks.webhook.answers import judge
from ditto.sinks.webhook.signature import signed

if TYPE_CHECKING:
    from ditto.config.webhook import Webhook
    from ditto.sinks.webhook.queue import Request

CONNECT_TIMEOUT_S: Final = 5.0
_HEARING_S: Final = 0.2
_MOST_ANSWER: Final = 64 << 10
"""Bytes of an answer that are read, so that the connection can be used again."""
_LARGE: Final = 1 << 20
"""Beyond, aiohttp wants bytes in pieces."""
_CERTIFICATE_ALERTS: Final = ("certificate", "unknown ca", "access denied")
"""What the receiver says, in TLS, of the client's certificate."""
_TAKERS: Final[set[str]] = set()
"""Receivers that have taken a request from this process, in whichever session: they are spoken to as they want to be,
and what does not fit for a while will pass.
"""


class Client:
    """Posts requests. Owned by one task."""

    def __init__(self, config: Webhook) -> None:
        self._config = config
        self._receiver = f"webhook {config.origin}"
        self._keys = [key_of(secret) for secret in config.secrets]
        self._headers = {"User-Agent": f"ditto/{ditto.__version__}", "Accept": "*/*", **config.headers}
        if config.token is not None:
            self._headers["Authorization"] = f"Bearer {config.token}"
        elif config.user is not None:
            pair = f"{config.user}:{config.password or ''}".encode()
            self._headers["Authorization"] = f"Basic {b64encode(pair).decode()}"
        self._tls: ssl.SSLContext | None = None
        self._session: aiohttp.ClientSession | None = None

    async def connect(self) -> None:
        """See that somebody listens there, TLS included, and say nothing: a request is one that has events.

        Raises SinkLost, LoginDenied and ConfigError.
        """
        config, port = self._config, self._port
        if port.has_tls:
            self._tls = tls_context(config.tls or WebhookTls(), "webhook.tls")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(port.host, port.port, ssl=self._tls)
                is_refused = self._tls is not None and await _has_hung_up(reader)
        except TimeoutError as error:
            raise SinkLost(
                f"{self._receiver} took no connection within {CONNECT_TIMEOUT_S:g} s",
                hint="check webhook.url: is the receiver running, does a firewall drop what comes, does the port do "
                + ("TLS, as https:// says" if self._tls is not None else "HTTP without TLS, as http:// says"),
            ) from error
        except (OSError, ssl.SSLError) as error:
            raise (await tls_mismatch(port, error) or self._failure(error)) from error
        writer.transport.abort()
        if is_refused:
            raise LoginDenied(
                f"{self._receiver} hung up right after the handshake of TLS",
                hint="check webhook.tls.cert and webhook.tls.key: the receiver wants a certificate from the client",
            )

    async def post(self, request: Request) -> None:
        """Let the receiver take it. Raises the SinkError that keeps it from that: `is_retryable` says what kind."""
        headers = {
            **self._headers,
            "Content-Type": request.kind.value,
            "Ditto-Position": str(request.last),
            **signed(request.identifier, int(time.time()), request.body, keys=self._keys),
        }
        data = request.body if len(request.body) <= _LARGE else io.BytesIO(request.body)
        try:
            async with self._open().post(self._config.url, data=data, headers=headers, allow_redirects=False) as answer:
                status, retry_after = answer.status, answer.headers.get("Retry-After")
                if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
                    await _drop(answer)
        except (aiohttp.ClientError, OSError, ssl.SSLError, ValueError) as error:
            raise (await self._refused_for_tls(error) or self._failure(error)) from error
        if (refusal := judge(status, retry_after, receiver=self._receiver, now=time.time())) is not None:
            # That is what a server says to a request in plain text on its port for TLS.
            is_doubtful = status == HTTPStatus.BAD_REQUEST
            raise (await self._refused_for_tls(refusal) if is_doubtful else None) or refusal
        _TAKERS.add(self._receiver)

    async def close(self) -> None:
        """Hang up."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1, ssl=self._tls or True),
                timeout=aiohttp.ClientTimeout(total=self._config.timeout_s, sock_connect=CONNECT_TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    @property
    def _port(self) -> Port:
        parts = urlsplit(self._config.url)
        has_tls = parts.scheme == "https"
        return Port(
            self._receiver,
            parts.hostname or "",
            parts.port or (443 if has_tls else 80),
            has_tls,
            speech=None,
            without_tls="let webhook.url begin with http://, or give the port that does TLS",
            with_tls="let webhook.url begin with https://; webhook.tls.ca names the authority, where it is not one of "
            "the system's",
        )

    async def _refused_for_tls(self, error: Exception) -> SinkError | None:
        """As final as another answer to a request that is never taken, though the pipeline is streaming by now.

        With TLS nothing is: connect() has found it there, and what answers in plain text now is a proxy without its
        receiver.
        """
        if self._tls is not None or self._receiver in _TAKERS:
            return None
        found = await tls_mismatch(self._port, error)
        return None if found is None else WebhookRefused(found.message, hint=found.hint)

    def _failure(self, error: Exception) -> SinkError:
        """Why nothing came back."""
        where = self._receiver
        if isinstance(error, TimeoutError):
            return AckTimeout(
                f"{where} did not answer in time", hint="see the receiver's log; webhook.timeout is the limit"
            )
        if (tls := _tls_error(error)) is not None:
            return self._tls_failure(tls)
        if isinstance(error, aiohttp.ClientResponseError):
            hint = f"see what answers at webhook.url{self._maybe_tls}"
            return AnswerUnreadable(f"the answer of {where} is not one of HTTP", hint=hint)
        if isinstance(error, aiohttp.ServerDisconnectedError):
            hint = f"see the receiver's log{self._maybe_tls}"
            if self._tls is not None and (self._config.tls is None or self._config.tls.cert is None):
                hint += "; maybe it wants a certificate from the client (webhook.tls.cert)"
            return SinkLost(f"{where} hung up before it answered", hint=hint)
        cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        return SinkLost(
            f"cannot reach {where}: {_words(cause)}", hint="check webhook.url, and that the receiver is running"
        )

    @property
    def _maybe_tls(self) -> str:
        return "" if self._tls is not None else "; does its port do TLS? Then webhook.url begins with https://"

    def _tls_failure(self, error: ssl.SSLError) -> SinkError:
        where = self._receiver
        if isinstance(error, ssl.SSLCertVerificationError):
            return LoginDenied(
                f"TLS with {where} failed: the server's certificate is refused: {error.verify_message}",
                hint="webhook.tls.ca names the file of the authority that signs the receiver's certificate (the "
                "system's, if it is absent), and webhook.url has to hold a name that it contains",
            )
        words = (error.reason or "an error of TLS").replace("_", " ").lower()
        if any(each in words for each in _CERTIFICATE_ALERTS):
            return LoginDenied(
                f"TLS with {where} failed: {words}",
                hint="check webhook.tls.cert and webhook.tls.key: the receiver wants a certificate from the client",
            )
        return SinkLost(f"TLS with {where} failed: {words}", hint="check webhook.url: does the receiver do TLS there?")


def _words(error: BaseException) -> str:
    """The system's own: a library's has the address once more."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or type(error).__name__


async def _has_hung_up(reader: asyncio.StreamReader) -> bool:
    """With TLS 1.3 the receiver refuses the client's certificate, or that there is none, only after the handshake."""
    try:
        async with asyncio.timeout(_HEARING_S):
            return not await reader.read(1)
    except TimeoutError:
        return False


async def _drop(answer: aiohttp.ClientResponse) -> None:
    """Read a short answer to its end; the events are taken, whatever becomes of it."""
    try:
        left = _MOST_ANSWER
        async for part in answer.content.iter_any():
            left -= len(part)
            if left < 0:
                answer.close()
                return
    except (aiohttp.ClientError, OSError):
        answer.close()


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    """That of TLS, where it is the cause: also of a connection that ended because of it.

    aiohttp's own errors may be ones of TLS by their class, and have nothing of what those have: a reason, for one.
    """
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner = error.certificate_error
        return inner if isinstance(inner, ssl.SSLError) else None
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLError) and not isinstance(found, aiohttp.ClientError):
            return found
        found = found.__cause__ or found.__context__
    return None
