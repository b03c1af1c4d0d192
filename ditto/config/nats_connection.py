"""How NATS is connected to: by a pipeline that stores events there, and by a node of a fleet."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct, field

from ditto.config.documented import Seconds
from ditto.config.documented import documented as _doc
from ditto.config.tls import ClientTls


class Tls(ClientTls, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS to NATS. Without any key the system's certificate authorities are trusted."""

    handshake_first: Annotated[
        bool, _doc("Begin with TLS, before the server says anything: for servers with `handshake_first: true`.")
    ] = False


class NatsConnection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Address, login and encryption. At most one of user, token, creds and nkey_seed may be given."""

    url: Annotated[
        str | list[str],
        _doc(
            "Address of the server, or a list of the servers of one cluster (a list, or one text with commas).",
            "nats://localhost:4222",
            ["nats://n1:4222", "nats://n2:4222"],
            mask="url",
        ),
    ] = "nats://localhost:4222"
    user: Annotated[str | None, _doc("User name. Goes with `password`.", "ditto")] = None
    password: Annotated[str | None, _doc("Password of `user`.", "${NATS_PASSWORD}", mask="whole")] = None
    token: Annotated[str | None, _doc("Authentication token.", "${NATS_TOKEN}", mask="whole")] = None
    creds: Annotated[str | None, _doc("File with the user's JWT and seed (`.creds`).", "/etc/ditto/ditto.creds")] = None
    nkey_seed: Annotated[
        str | None, _doc("Seed of the user's NKey: the seed itself, not a file.", "${NATS_NKEY_SEED}", mask="whole")
    ] = None
    tls: Annotated[Tls | None, _doc("Connect with TLS. Absent: only if the server or a `tls://` address asks.")] = None
    allow_plaintext_credentials: Annotated[
        bool,
        _doc(
            "Send a password or a token to a server on another machine that does no TLS. Whoever can read the network "
            "between them, or answer in the server's place, gets it. By default Ditto refuses. `creds` and `nkey_seed` "
            "are never sent and need no TLS for their own sake."
        ),
    ] = False
    domain: Annotated[
        str | None, _doc("JetStream domain of the stream, where it is not that of the server's own JetStream.", "hub")
    ] = None
    inbox_prefix: Annotated[
        str, _doc("What the subjects begin with on which Ditto gets answers: where the user may not use `_INBOX`.")
    ] = "_INBOX"
    ack_timeout_s: Annotated[
        Seconds,
        _doc("How long an acknowledgement may take before the session ends and the next one begins.", "10s", 2.5),
    ] = field(default=10.0, name="ack_timeout")

    @property
    def servers(self) -> list[str]:
        """`url` as a list, whichever way it was written."""
        return [self.url] if isinstance(self.url, str) else self.url
