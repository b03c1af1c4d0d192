"""The configuration of a node of a fleet: what `ditto serve --config server.yaml` reads."""

from __future__ import annotations

import socket
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from ditto.config.documented import documented as _doc
from ditto.config.model import Log
from ditto.config.nats_connection import NatsConnection

ROLES: Final = ("read", "operate", "admin")
"""Each may do what the ones before it may."""


class HttpTls(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS of the API and the console. Both keys or none."""

    cert: Annotated[
        str | None, _doc("File with the server's certificate, and the chain to its authority.", "/etc/ditto/tls.crt")
    ] = None
    key: Annotated[str | None, _doc("File with the certificate's private key.", "/etc/ditto/tls.key")] = None


class ServerHttp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The API, the console, metrics and probes of the node."""

    listen: Annotated[
        str,
        _doc("Where to listen: `host:port`, or `:port` for every address of the machine.", ":7480", "127.0.0.1:7480"),
    ] = "127.0.0.1:7480"
    url: Annotated[
        str | None,
        _doc(
            "Address under which people and other programs reach this node: `ditto nodes` shows it. By default made of "
            "`listen`, with the host name where that names no address.",
            "https://n1.example.com:7480",
        ),
    ] = None
    hosts: Annotated[
        list[str],
        _doc(
            "Names under which clients reach it, as the Host header has them. Always allowed: addresses, the machine's "
            "own name, names without a dot, and those that end in `.local`, `.localhost`, `.internal`, `.svc` or "
            "`.cluster.local`. `*` allows all.",
            ["ditto.example.com"],
        ),
    ] = []
    tls: Annotated[HttpTls, _doc("TLS of the API and the console.")] = HttpTls()


class ApiToken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A client of the API, as it is stored: never the token itself."""

    name: Annotated[str, _doc("Who that is, in the audit log.", "ci")]
    role: Annotated[Literal["read", "operate", "admin"], _doc("What the client may do.")]
    sha256: Annotated[str, _doc("SHA-256 of the token, in hexadecimal.", "<hex>")]


class Auth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may use the API and the console."""

    allow_loopback: Annotated[
        bool, _doc("Let clients on this machine do everything without a token, from 127.0.0.1 or ::1.")
    ] = False
    tokens: Annotated[
        list[ApiToken],
        _doc(
            "The clients. A client sends `Authorization: Bearer TOKEN`; here is the SHA-256 of its token "
            "(`printf %s TOKEN | sha256sum`), so that who reads this file learns none. Roles: `read` sees all but row "
            "values; `operate` also pauses, resumes, restarts, drains, starts snapshots, and sees row values; `admin` "
            "also changes and deletes pipelines.",
            [
                {
                    "name": "ci",
                    "role": "admin",
                    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                }
            ],
        ),
    ] = []


class ServerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration of one node. Nodes with the same control plane form a fleet."""

    node: Annotated[
        str | None,
        _doc(
            "Name of the node in its fleet, where no other may have it: letters, digits, `.`, `_` and `-`, the first a "
            "letter or a digit, at most 63. By default the host name.",
            "n1",
        ),
    ] = None
    nats: Annotated[
        NatsConnection,
        _doc("The control plane: what is to run, and where it runs, is kept in key-value buckets of JetStream."),
    ] = NatsConnection()
    replicas: Annotated[
        int, Meta(ge=1, le=5), _doc("Copies of the buckets when the node creates them, from 1 to 5.", 3)
    ] = 1
    http: Annotated[ServerHttp, _doc("The API, the console, metrics and probes.")] = ServerHttp()
    auth: Annotated[Auth, _doc("Who may use the API and the console.")] = Auth()
    labels: Annotated[
        dict[str, str],
        _doc("What pipelines may ask for in `placement.labels`.", {"zone": "a"}),
    ] = {}
    max_pipelines: Annotated[
        int, Meta(ge=0), _doc("How many pipelines it runs at most. `0`: it serves the API and runs none.")
    ] = 100
    workers: Annotated[
        int,
        Meta(ge=0, le=256),
        _doc("How many worker processes share the pipelines that are not isolated. `0`: one a core.", 4),
    ] = 0
    log: Annotated[Log, _doc("What the node and its pipelines say about themselves, on standard error.")] = Log()

    @property
    def name(self) -> str:
        """The node's name, or that of the host."""
        return socket.gethostname()[:63] if self.node is None else self.node
