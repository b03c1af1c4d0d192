"""TLS to a sink's server, for the client libraries that take a context of Python's."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ditto.errors import ConfigError, MissingHere

if TYPE_CHECKING:
    from ditto.config import ClientTls


_HEARING_S: Final = 0.5


def check_readable(tls: ClientTls, section: str) -> None:
    """Raise MissingHere where a file cannot be read; `section` is `nats.tls`."""
    for name, path in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if path is not None:
            try:
                Path(path).read_bytes()
            except OSError as error:
                key = f"{section}.{name}"
                raise MissingHere(f"{key}: cannot read {path}: {error.strerror}", key=key) from None


def tls_context(tls: ClientTls, section: str) -> ssl.SSLContext:
    """Verifies the server against `ca`, or the system's authorities; nothing turns that off. Raises ConfigError."""
    check_readable(tls, section)
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except ssl.SSLError:
        raise ConfigError(f"{section}.ca: {tls.ca} holds no certificate in PEM format", key=f"{section}.ca") from None
    if tls.cert is not None:
        try:
            # Without the callback, OpenSSL asks for the password of an encrypted key on the terminal.
            context.load_cert_chain(tls.cert, tls.key, password=lambda: "")
        except (ssl.SSLError, ValueError):
            raise ConfigError(
                f"{section}.cert and {section}.key cannot be used together",
                hint="both are PEM files, the key without a password, and made for that certificate",
                key=f"{section}.cert",
            ) from None
    return context


async def refusal_of(host: str, port: int, context: ssl.SSLContext) -> ssl.SSLError | None:
    """Why a server hung up right after the handshake, where TLS says it; None where it does not.

    With TLS 1.3 a server refuses the client's certificate, or that there is none, after the handshake. Where the client
    has sent something by then, its system may drop the server's words with the connection: here nothing is sent.
    """
    try:
        async with asyncio.timeout(_HEARING_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            try:
                await reader.read(1)
            finally:
                writer.transport.abort()
    except ssl.SSLError as error:
        return error
    except OSError:  # a time-out is one
        pass
    return None
