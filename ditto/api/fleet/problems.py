"""Errors as problem documents (RFC 9457): the message, the hint and the exit code that a command would have."""

from __future__ import annotations

import http
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import structlog
from litestar import Request, Response
from litestar.enums import ParamType
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from msgspec import Meta, Struct

from ditto import errors
from ditto.api import bodies
from ditto.api.fleet import query
from ditto.errors import DittoError
from ditto.log import mask_secrets

log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2
"""After an answer 503: nodes find each other again within a few seconds."""

_BODY: Final = "body"
_FRAMES: Final = 8
"""Of an unexpected error, in the log."""

_STATUS: Final[Mapping[type[DittoError], int]] = {
    errors.TokenRefused: 401,
    errors.RoleMissing: 403,
    errors.PipelineUnknown: 404,
    errors.NodeUnknown: 404,
    errors.SnapshotUnknown: 404,
    errors.NotPossibleNow: 409,
    errors.NotRunning: 409,
    errors.RevisionConflict: 412,
    errors.RevisionMissing: 428,
    errors.ControlPlaneLost: 503,
    errors.NodeSilent: 503,
    errors.TooManyStreams: 503,
    # Of the servers of a pipeline: what may pass by itself is 503 (`is_retryable`).
    errors.SlotInUse: 409,
    errors.PipelineRefused: 422,
    errors.ConfigError: 422,
    errors.SnapshotRefused: 422,
    errors.TableNotPublished: 422,
}
_OTHERS: Final = 409
"""Something at the other end is not as it has to be, and stays like that until somebody changes it."""


class ProblemDocument(Struct, frozen=True, kw_only=True):
    """What went wrong, as RFC 9457 has it, and what to do about it."""

    type: Annotated[str, Meta(description="`urn:ditto:error:CLASS`, by the reference of the errors.")] = "about:blank"
    title: Annotated[str, Meta(description="What kind of problem this is.")]
    status: Annotated[int, Meta(description="The status code of the answer.", ge=400, le=599)]
    detail: Annotated[str, Meta(description="The message: what happened, in one sentence.")]
    hint: Annotated[str | None, Meta(description="What to do about it, where that is known.")] = None
    code: Annotated[int, Meta(description="The exit code that a command has after this.")] = 2


def problem_of(error: DittoError) -> ProblemDocument:
    """The document of an error. Never holds a secret."""
    kind = type(error)
    status = next((_STATUS[each] for each in kind.__mro__ if each in _STATUS), 503 if error.is_retryable else _OTHERS)
    about = " ".join((kind.__doc__ or kind.__name__).partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")
    return ProblemDocument(
        type=f"urn:ditto:error:{kind.__name__}",
        title=about,
        status=status,
        detail=mask_secrets(error.message),
        hint=mask_secrets(error.hint) if error.hint else None,
        code=error.exit_code,
    )


def plain_problem(status: int, detail: str, *, hint: str | None = None, code: int = 2) -> ProblemDocument:
    """One that HTTP has a word for."""
    return ProblemDocument(title=http.HTTPStatus(status).phrase, status=status, detail=detail, hint=hint, code=code)


def headers_of(problem: ProblemDocument) -> dict[str, str]:
    """What goes with its status code."""
    if problem.status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": str(RETRY_AFTER_S)} if problem.status == 503 else {}


def answer(problem: ProblemDocument, headers: Mapping[str, str] | None = None) -> Response[ProblemDocument]:
    """The response."""
    return Response(
        problem,
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers={**headers_of(problem), **(headers or {})},
    )


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[ProblemDocument]:
    """For everything that a handler raises."""
    if isinstance(error, DittoError):
        return answer(problem_of(error))
    if isinstance(error, HTTPException) and error.status_code < 500:
        headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
        detail, hint = _sentence(request, error)
        return answer(plain_problem(error.status_code, detail, hint=hint), headers)
    if isinstance(error, RecursionError):
        return answer(plain_problem(400, "the body is nested too deeply"))
    # Not its text, which may quote a row or a password.
    kind = type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    log.error(
        "http.failed", kind=kind, where=[f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in frames]
    )
    return answer(
        plain_problem(500, f"an unexpected {kind} ended the request", hint="the log of the node has more", code=1)
    )


def _sentence(request: Request[Any, Any, Any], error: HTTPException) -> tuple[str, str | None]:
    """What is wrong with a request, in place of a list, and a hint."""
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        key, message = error.extra[0].get("key", ""), error.extra[0].get("message", "")
        source = error.extra[0].get("source")
        if source == _BODY:
            return bodies.refusal(request, "" if key == "data" else key, str(message))
        in_query = query.refusal(request, key) if source == ParamType.QUERY else None
        return in_query or (f"{key}: {message}", None)
    if isinstance(error.__cause__, SerializationException):
        return f"the body is not JSON: {error.detail}", None
    return error.detail or http.HTTPStatus(error.status_code).phrase, None
