"""Errors of the HTTP API of a fleet: who asks, and what a request lacks."""

from __future__ import annotations

from ditto.errors.fleet import FleetError


class TokenRefused(FleetError):
    """The node wants a token, and got none, or one that it does not know.

    Give a token whose SHA-256 is in `auth.tokens` of the node's configuration: `--token`, or `DITTO_TOKEN`.
    `ditto token` makes one.
    """


class RoleMissing(FleetError):
    """The token is known, and its role does not include what was asked for.

    Use a token with the role that the message names.
    """


class RevisionMissing(FleetError):
    """A change does not say which revision it is a change of.

    Send `If-Match` with the revision, which is the `ETag` of the pipeline; or `If-None-Match: *` for a new one.
    """


class NotPossibleNow(FleetError):
    """The pipeline, the snapshot or the node is in a state in which that cannot be done.

    Do as the message says.
    """


class SnapshotUnknown(FleetError):
    """There is no run of that name.

    `GET /v1/pipelines/NAME/snapshots` lists all runs.
    """


class TooManyStreams(FleetError):
    """The node sends live events to as many clients as it takes.

    Close a stream, or ask another node.
    """

    is_retryable = True


class NoServer(FleetError):
    """No node of a fleet answers at that address.

    Start one with `ditto serve`, or give the address of another one: `--server`, or `DITTO_SERVER`.
    """
