"""What a request may do: the role that a route needs, and the line in the log for what was changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

from ditto.api.fleet.auth import Identity, Role
from ditto.api.fleet.gate import IDENTITY
from ditto.errors import NodeStarting, RoleMissing

if TYPE_CHECKING:
    from litestar import Request
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler
    from litestar.types import Guard

    from ditto.fleet.interface import FleetNode

log = structlog.get_logger()

ROLE: Final = "role"
"""The option of a handler: the role that it needs. A handler without it takes everybody who is let in."""
_OF_THE_FLEET: Final = "/v1/"
"""All other routes are about the node itself."""


def check_role(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """A guard, called before anything of the request is read. Raises RoleMissing."""
    needed: Role | None = handler.opt.get(ROLE)
    if needed is not None:
        what = f"{connection.scope['method']} {connection.url.path}"  # type: ignore[typeddict-item]
        require(identity_of(connection), needed, what, client=_client(connection))


def require(identity: Identity, needed: Role, what: str, *, client: str | None) -> None:
    """Raises RoleMissing, and logs it."""
    if not identity.may(needed):
        log.warning("audit.refused", who=identity.name, role=identity.role, what=what, client=client)
        raise RoleMissing(
            f"token {identity.name} has the role {identity.role}, and this needs {needed}",
            hint=f"use a token with the role {needed}",
        )


def identity_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Identity:
    """Who asks."""
    found: Identity = connection.scope["state"][IDENTITY]
    return found


def knows_the_fleet(node: FleetNode) -> Guard:
    """A guard: a node that has just been started would say that there is nothing. Raises NodeStarting."""

    def check(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        if node.state == "connecting" and connection.url.path.startswith(_OF_THE_FLEET):
            raise NodeStarting(
                f"node {node.name} is starting: {node.reason}",
                hint="ask again in a few seconds; where it stays so, look at nats.url of the node's configuration, and "
                "at nats-server",
            )

    return check


def audit(request: Request[Any, Any, Any], what: str, **fields: object) -> None:
    """One line for every change: who, what, on what, and the revision that came of it."""
    identity = identity_of(request)
    log.info("audit", who=identity.name, role=identity.role, what=what, client=_client(request), **fields)


def _client(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    return connection.client.host if connection.client else None
