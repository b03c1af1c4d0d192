"""What the answers of handlers have in common, for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter

from ditto.api.fleet.problems import MEDIA_TYPE, ProblemDocument

Name = Annotated[str, PathParameter(description="Name of the pipeline.")]

ETAG: Final = (
    ResponseHeader(
        name="ETag", description="The revision, in quotes: for `If-Match`.", documentation_only=True, required=False
    ),
)

_ABOUT: Final = {
    400: "The request cannot be read: its body is not JSON, a parameter is not what it has to be.",
    401: "No token is given, or none that the node knows.",
    403: "The token's role does not include this.",
    404: "There is no such thing.",
    405: "The path does not know this method.",
    409: "The state of the pipeline, or of a server, does not allow it now.",
    412: "The pipeline has changed since the revision that `If-Match` names.",
    413: "The body is too large.",
    415: "The body is not sent as `application/json`.",
    421: "The name in the Host header is not one of the node's (`http.hosts`).",
    422: "The document, or what is asked for, does not pass the checks of a start.",
    428: "A change of a pipeline needs `If-Match`, or `If-None-Match` for a new one.",
    500: "An unexpected error ended the request.",
    503: "The control plane, the node that runs the pipeline, or a server does not answer now: try again.",
}
EVERYWHERE: Final = (400, 401, 403, 405, 413, 415, 421, 500)
"""What every route but the probes may answer."""


def fails(*statuses: int) -> dict[int, ResponseSpec]:
    """ProblemDocument documents."""
    return {
        each: ResponseSpec(ProblemDocument, description=_ABOUT[each], media_type=MEDIA_TYPE, generate_examples=False)
        for each in statuses
    }


def succeeds(status: int, content: type[Any], about: str) -> dict[int, ResponseSpec]:
    """Another answer than the usual one."""
    return {status: ResponseSpec(content, description=about, generate_examples=False)}


def about(status: int) -> str:
    """What that status code means."""
    return _ABOUT[status]
