"""All that the pages ask of the node: what runs, from memory; everything else of the API's own handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote

import msgspec

from ditto.api.fleet.documents import Applied, Checked, Deleted, Draining, History, PipelineDocument
from ditto.console.event_stream import ServerEvent, read_events
from ditto.console.in_process import Caller, InProcess
from ditto.fleet.document import Document
from ditto.fleet.records import Problem
from ditto.fleet.status import ClusterView
from ditto.monitoring.status_document import Snapshots

T = TypeVar("T")
Action = Literal["pause", "resume", "restart"]
Verb = Literal["pause", "resume", "cancel"]
_PIPELINES: Final = "/v1/pipelines/"


class Fleet:
    """The fleet, as every person sees it. Each call raises the DittoError that the API answers with."""

    def __init__(
        self,
        node: str,
        view: ClusterView,
        api: InProcess,
        *,
        is_starting: Callable[[], bool] = lambda: False,
        cut_off_by: Callable[[], Problem | None] = lambda: None,
    ) -> None:
        self.node = node
        """The name of this node."""
        self.is_starting = is_starting
        """Whether this node does not know the fleet yet."""
        self.cut_off_by = cut_off_by
        """What keeps it from the control plane."""
        self.view = view
        """What runs."""
        self._api = api

    async def read(self, caller: Caller, name: str, revision: int | None = None) -> PipelineDocument:
        """Its newest revision, or an earlier one."""
        query = [] if revision is None else [("revision", str(revision))]
        return await self._ask(PipelineDocument, caller, "GET", _path(name), query=query)

    async def check(self, caller: Caller, name: str, document: Document) -> Applied:
        """What storing it would do, after everything that can be looked at without a server."""
        return await self._ask(Applied, caller, "PUT", _path(name), body=document, query=[("dry_run", "true")])

    async def validate(self, caller: Caller, name: str, document: Document) -> Checked:
        """The checks of `ditto check`, on real servers."""
        return await self._ask(Checked, caller, "POST", _path(name, "validate"), body=document)

    async def apply(self, caller: Caller, name: str, document: Document, *, after: int | None) -> Applied:
        """Store it after this revision; None for a new pipeline."""
        headers = [("if-none-match", "*")] if after is None else [_match(after)]
        return await self._ask(Applied, caller, "PUT", _path(name), body=document, headers=headers)

    async def change(self, caller: Caller, name: str, action: Action) -> None:
        """Pause, resume or restart it."""
        await self._api.ask(caller, "POST", _path(name, action))

    async def delete(self, caller: Caller, name: str, *, after: int, drop_slot: bool) -> Deleted:
        """Forget it."""
        query = [("drop_slot", "true")] if drop_slot else []
        return await self._ask(Deleted, caller, "DELETE", _path(name), query=query, headers=[_match(after)])

    async def history(self, caller: Caller, name: str) -> History:
        """Its revisions, the newest first."""
        return await self._ask(History, caller, "GET", _path(name, "history"))

    async def rollback(self, caller: Caller, name: str, revision: int, *, after: int) -> Applied:
        """Make the document of an older revision the newest one."""
        body = {"revision": revision}
        return await self._ask(Applied, caller, "POST", _path(name, "rollback"), body=body, headers=[_match(after)])

    async def snapshots(self, caller: Caller, name: str) -> Snapshots:
        """Its runs, and what each of their tables does."""
        return await self._ask(Snapshots, caller, "GET", _path(name, "snapshots"))

    async def start_snapshot(self, caller: Caller, name: str, request: dict[str, Any]) -> None:
        """Read rows that are in the tables."""
        await self._api.ask(caller, "POST", _path(name, "snapshots"), body=request)

    async def change_snapshot(self, caller: Caller, name: str, run: str, verb: Verb) -> None:
        """Pause, resume or cancel a run."""
        await self._api.ask(caller, "POST", _path(name, "snapshots", run, verb))

    @asynccontextmanager
    async def events(
        self, caller: Caller, name: str, *, tables: Sequence[str], actions: Sequence[str]
    ) -> AsyncIterator[AsyncIterator[ServerEvent]]:
        """The live tail, from now on; without the values of rows where the role may not see them."""
        query = [*(("table", each) for each in tables), *(("action", each) for each in actions)]
        async with self._api.open(caller, "GET", _path(name, "events"), query=query) as parts:
            yield read_events(parts)

    async def drain(self, caller: Caller, node: str, *, dry_run: bool = False) -> Draining:
        """Hand the pipelines of a node over to the others, or say what would become of them."""
        query = [("dry_run", "true")] if dry_run else []
        return await self._ask(Draining, caller, "POST", f"/v1/nodes/{quote(node, safe='')}/drain", query=query)

    async def _ask(self, kind: type[T], caller: Caller, method: str, path: str, **options: Any) -> T:
        return msgspec.json.decode(await self._api.ask(caller, method, path, **options), type=kind)


def _path(*parts: str) -> str:
    return _PIPELINES + "/".join(quote(each, safe="") for each in parts)


def _match(revision: int) -> tuple[str, str]:
    return ("if-match", f'"{revision}"')
