"""Errors of a fleet: its control plane, its nodes, the pipelines that it keeps."""

from __future__ import annotations

from ditto.errors.base import DittoError


class FleetError(DittoError):
    exit_code = 5


class ControlPlaneLost(FleetError):
    """The node cannot use the control plane of the fleet, NATS. Pipelines that run go on; nothing is begun or changed.

    Nothing, if NATS comes back; otherwise look at `nats.url` of the server's configuration, at nats-server, and at the
    rights of the node's user.
    """

    is_retryable = True


class ControlPlaneUnsuitable(FleetError):
    """An entry of a bucket of the control plane cannot be read, or a bucket cannot be created as asked for.

    Do as the message says. Only Ditto may write into its buckets.
    """


class PipelineUnreadable(FleetError):
    """The entry of a pipeline in the control plane cannot be read: Ditto has not written it, or a later version has.

    Apply the pipeline's document again, or delete the pipeline: the message says how.
    """


class RevisionConflict(FleetError):
    """The pipeline has been changed by somebody else since the revision that the request names.

    Read it again, look at the difference, and send the change with the new revision.
    """


class PipelineUnknown(FleetError):
    """There is no pipeline of that name.

    `ditto pipelines list` shows all names.
    """


class PipelineRefused(FleetError):
    """The document of a pipeline cannot be taken: a secret is written out in it, or its name cannot be.

    Do as the message says.
    """

    exit_code = 2


class NodeUnknown(FleetError):
    """No live node of the fleet has that name.

    `ditto nodes` shows all of them.
    """


class NodeNameTaken(FleetError):
    """Another live node of the fleet has the name of this one.

    Give each node a name of its own: `node` in its configuration.
    """


class NodeStarting(FleetError):
    """The node has just been started, and does not know the fleet yet: it has not reached the control plane so far.

    Ask again in a few seconds; commands do so by themselves for 15 s. Where it stays so, look at `nats.url` of the
    node's configuration, and at nats-server.
    """

    is_retryable = True


class NodeSilent(FleetError):
    """The node that runs the pipeline does not answer.

    Ask again in a few seconds: where the node is gone, another one takes its pipelines.
    """

    is_retryable = True


class NotRunning(FleetError):
    """No node runs the pipeline at the moment.

    `ditto pipelines status` says why: it is paused, has failed, or waits for a node.
    """


class PipelineCrashed(FleetError):
    """An unexpected error ended the pipeline: a mistake in Ditto.

    Please report it, with the lines of the log before it. `ditto pipelines resume` starts the pipeline again.
    """

    exit_code = 1


class NodeCrashed(FleetError):
    """An unexpected error ended the connection of a node to its control plane again and again: a mistake in Ditto.

    Please report it, with the lines `node.crashed` of the log. Other nodes run the pipelines.
    """

    exit_code = 1
