"""The application of a node: the API behind its gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar import Litestar
from litestar.openapi.config import OpenAPIConfig

from ditto import __version__
from ditto.api.fleet.access import check_role, knows_the_fleet
from ditto.api.fleet.actions import action_handlers
from ditto.api.fleet.auth import Authenticator
from ditto.api.fleet.events import event_handlers
from ditto.api.fleet.gate import FleetGate
from ditto.api.fleet.nodes import node_handlers
from ditto.api.fleet.openapi import CompleteDocument
from ditto.api.fleet.options import options_handlers
from ditto.api.fleet.pipelines import pipeline_handlers
from ditto.api.fleet.problems import on_error
from ditto.api.fleet.process import process_handlers
from ditto.api.fleet.snapshots import snapshot_handlers
from ditto.api.fleet.status import status_handlers
from ditto.api.fleet.validation import validation_handlers
from ditto.fleet.interface import FleetNode

if TYPE_CHECKING:
    from litestar.types import ASGIApp

_MAX_BODY_BYTES = 64 * 1024
"""Of what says nothing else."""


def make_app(node: FleetNode) -> ASGIApp:
    """The application, which answers for the whole fleet."""
    return gated(make_api(node), node)


def gated(api: Litestar, node: FleetNode) -> ASGIApp:
    """The API behind its gate."""
    return FleetGate(api, Authenticator(node.config.auth), hosts=node.config.http.hosts)


def make_api(node: FleetNode) -> Litestar:
    """The API itself: who asks has to be in the state of each request."""
    handlers = [
        *process_handlers(node),
        *pipeline_handlers(node),
        *status_handlers(node),
        *action_handlers(node),
        *validation_handlers(node),
        *snapshot_handlers(node),
        *event_handlers(node),
        *node_handlers(node),
    ]
    return Litestar(
        [*options_handlers(handlers), *handlers],
        guards=[check_role, knows_the_fleet(node)],
        exception_handlers={Exception: on_error},
        logging_config=None,
        request_max_body_size=_MAX_BODY_BYTES,
        openapi_config=OpenAPIConfig(
            title="Ditto", version=__version__, use_handler_docstrings=True, render_plugins=[CompleteDocument()]
        ),
    )
