"""The route that runs the checks of `ditto check` on a document, before it is applied."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any, Final

import msgspec
from litestar import post
from litestar.params import Body

from ditto.api.fleet.access import ROLE
from ditto.api.fleet.checking import notes_on
from ditto.api.fleet.documents import Checked
from ditto.api.fleet.pipelines import MAX_BODY_BYTES, change_of, known
from ditto.api.fleet.responses import Name, fails
from ditto.check.finding import Finding, failed
from ditto.config import Config, secrets
from ditto.errors import ConfigError, NotPossibleNow
from ditto.fleet.document import resolve
from ditto.fleet.interface import FleetNode
from ditto.log import keep_secret, mask_secrets

_TIMEOUT_S: Final = 60.0
"""Less than an answer may take (`connections`)."""
_AT_ONCE: Final = 4
"""Checks that run at the same time: each opens connections to the servers of the document."""

OptionalDocument = Annotated[
    dict[str, Any] | None,
    Body(title="Document", description="The document to check; `null` for the one that is kept."),
]


def validation_handlers(node: FleetNode) -> list[Any]:
    """The handlers."""
    running = asyncio.Semaphore(_AT_ONCE)

    @post(
        "/v1/pipelines/{name:str}/validate",
        summary="Check a document as a start does",
        opt={ROLE: "admin"},
        status_code=200,
        request_max_body_size=MAX_BODY_BYTES,
        responses=fails(404, 409, 422, 503),
    )
    async def validate(name: Name, data: OptionalDocument = None) -> Checked:
        """Looks at both ends from this node with the references resolved here, as `ditto check` does, and changes
        nothing. Needs the role admin: the document says which servers get the secrets.
        """
        found = await node.store.find(name)
        if data is None:
            data = (await known(node, name)).record.document
        notes = await notes_on(node, name, data)
        former = found.record.document if found is not None and found.is_readable else None
        change = await asyncio.to_thread(change_of, former, data, node)
        try:
            config = await asyncio.to_thread(resolve, name, data, os.environ, log=node.config.log)
        except ConfigError as error:
            findings = [failed("configuration.references", error)]
        else:
            keep_secret(secrets(config))
            async with running:
                findings = await _findings(config)
        findings = [_masked(each) for each in findings]
        is_good = not any(each.level == "error" for each in findings)
        return Checked(name=name, is_good=is_good, change=change, findings=findings, notes=notes)

    return [validate]


async def _findings(config: Config) -> list[Finding]:
    from ditto.check.choose import usual_monitor  # noqa: PLC0415 -- brings the client of the sink
    from ditto.check.run import run_checks  # noqa: PLC0415 -- the same

    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await run_checks(config, monitor_url=usual_monitor(config))
    except TimeoutError:
        raise NotPossibleNow(
            f"the checks have not ended within {_TIMEOUT_S:g} s: a server does not answer",
            hint="run ditto check with the same configuration on the node: it has no such limit",
        ) from None


def _masked(finding: Finding) -> Finding:
    """The finding without secrets: messages of servers and libraries are in it."""
    return msgspec.structs.replace(
        finding,
        what=mask_secrets(finding.what),
        why=mask_secrets(finding.why),
        fix=finding.fix and mask_secrets(finding.fix),
    )
