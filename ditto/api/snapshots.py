"""The routes of snapshots. A GET is answered from memory; a POST sends the request to PostgreSQL, as everybody does."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any, Final, TypeVar

from litestar import Request, Response, get, post
from litestar.exceptions import (
    ClientException,
    HTTPException,
    NotFoundException,
    SerializationException,
    ValidationException,
)
from litestar.params import Body, Parameter
from msgspec import Meta, Struct

from ditto.api.bodies import refusal
from ditto.check.snapshot_asking import change_snapshot, start_snapshot
from ditto.errors import (
    ConfigError,
    DittoError,
    NotPossibleNow,
    PublicationMissing,
    SlotMissing,
    SnapshotRefused,
    SnapshotUnknown,
    TableNotPublished,
)
from ditto.log import mask_secrets
from ditto.monitoring.pipeline_monitor import PipelineMonitor
from ditto.monitoring.status_document import Snapshots
from ditto.source.snapshot_requests import Verb

_MAX_BODY_BYTES: Final = 64 * 1024
_BAD_REQUEST: Final = (ConfigError, SnapshotRefused, TableNotPublished)
_NOT_YET: Final = (PublicationMissing, SlotMissing, NotPossibleNow)

T = TypeVar("T")
RunId = Annotated[str, Parameter(description="The id of a run.")]


class Start(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request for a snapshot."""

    tables: Annotated[
        list[str], Meta(description="Tables, as `schema.table`, `table` or a glob of either; empty for every one.")
    ] = []
    where: Annotated[str | None, Meta(description="A condition on the rows, in SQL, of exactly one table.")] = None
    max_rows_per_s: Annotated[int, Meta(ge=0, description="The most rows a second; 0 for no limit.")] | None = None


StartBody = Annotated[Start | None, Body()]


class Accepted(Struct, frozen=True):
    """The request is in the WAL: Ditto does what it asks for when it comes to it."""

    run: str


def snapshot_handlers(monitors: list[PipelineMonitor]) -> list[Any]:
    """The handlers."""
    monitor = monitors[0]

    @get("/v1/snapshots", summary="The snapshots, and what each table of theirs does", sync_to_thread=False)
    def snapshots() -> Snapshots:
        """Those that have not ended, and the last ones that have. Only the Ditto that streams knows them."""
        return monitor.snapshots()

    @post(
        "/v1/snapshots",
        summary="Start a snapshot",
        status_code=202,
        request_max_body_size=_MAX_BODY_BYTES,
        raises=[ClientException],
    )
    async def start(data: StartBody = None) -> Accepted:
        """The tables have to exist, to be published and to be selected by `events.tables`. Any Ditto of the pipeline
        takes the request; the one that streams does the work.
        """
        if data is None:
            raise ClientException("the body is not JSON: it is empty; {} asks for every table")
        asking = start_snapshot(monitor.config, data.tables, where=data.where, max_rows_per_s=data.max_rows_per_s)
        return Accepted(await _answered(asking))

    async def change(verb: Verb, run: str) -> Accepted:
        await _answered(change_snapshot(monitor.config, monitor.snapshots, verb, run))
        return Accepted(run)

    @post("/v1/snapshots/{run:str}/pause", summary="Pause a snapshot", status_code=202, raises=[NotFoundException])
    async def pause(run: RunId) -> Accepted:
        """The run keeps its place until it is resumed, also over restarts."""
        return await change("pause", run)

    @post("/v1/snapshots/{run:str}/resume", summary="Resume a snapshot", status_code=202, raises=[NotFoundException])
    async def resume(run: RunId) -> Accepted:
        """The run goes on after the last row that is stored."""
        return await change("resume", run)

    @post("/v1/snapshots/{run:str}/cancel", summary="End a snapshot", status_code=202, raises=[NotFoundException])
    async def cancel(run: RunId) -> Accepted:
        """Rows that are stored stay in the stream."""
        return await change("cancel", run)

    return [snapshots, start, pause, resume, cancel]


async def _answered(asking: Awaitable[T]) -> T:
    """Raises HTTPException."""
    try:
        return await asking
    except SnapshotUnknown as error:
        raise HTTPException(error.message, status_code=404) from error
    except DittoError as error:
        code = 400 if isinstance(error, _BAD_REQUEST) else 409 if isinstance(error, _NOT_YET) else 503
        hint = f" ({error.hint})" if error.hint else ""
        raise HTTPException(mask_secrets(f"{error.message}{hint}"), status_code=code) from error


def refuse(request: Request[Any, Any, Any], error: ClientException) -> Response[dict[str, Any]]:
    """The status code and one sentence: what is wrong with a body, in place of a list."""
    detail = error.detail
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        key, message = error.extra[0].get("key", ""), error.extra[0].get("message", "")
        sentence, hint = refusal(request, "" if key == "data" else key, str(message))
        detail = f"{sentence} ({hint})" if hint else sentence
    elif isinstance(error.__cause__, SerializationException):
        detail = f"the body is not JSON: {detail}"
    return Response({"status_code": error.status_code, "detail": detail}, status_code=error.status_code)
