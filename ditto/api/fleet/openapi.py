"""The OpenAPI document: what Litestar reads off the handlers, with what the gate adds, and the schema of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Litestar, Request
from litestar.openapi.plugins import JsonRenderPlugin

from ditto.api.fleet.access import ROLE
from ditto.api.fleet.gate import OPEN_PATHS
from ditto.api.fleet.problems import MEDIA_TYPE
from ditto.api.fleet.responses import EVERYWHERE, about
from ditto.config import schema
from ditto.config.fleet_values import LONGEST_NAME, NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

_DOCUMENT: Final = "Document"
_PROBLEM: Final = {"$ref": "#/components/schemas/ProblemDocument"}
_BODIES: Final = (("/v1/pipelines/{name}", "put"), ("/v1/pipelines/{name}/validate", "post"))
_STRICT: Final = ("Rollback", "StartSnapshot")
"""Bodies in which every key has to be known."""
_METHODS: Final = frozenset({"get", "put", "post", "delete"})


class CompleteDocument(JsonRenderPlugin):
    """Serves the document as `/schema/openapi.json`; made at the first request."""

    def __init__(self) -> None:
        super().__init__()
        self._made = b""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The bytes."""
        if not self._made:
            self._made = msgspec.json.encode(complete(request.app, openapi_schema))
        return self._made


def complete(app: Litestar, found: dict[str, Any]) -> dict[str, Any]:
    """Add what Litestar does not know."""
    components = found.setdefault("components", {})
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "A token of `auth.tokens`, by its SHA-256."}
    }
    schemas = components.setdefault("schemas", {})
    for name in _STRICT:
        schemas[name]["additionalProperties"] = False
    schemas.update(_document_schemas())
    roles = {(path, method): role for path, method, role in _roles(app)}
    for path, item in found["paths"].items():
        for method in _METHODS & item.keys():
            _complete(path, method, item[method], role=roles.get((path, method)))
    for path, method in _BODIES:
        body = found["paths"][path][method]["requestBody"]
        body["required"] = method == "put"
        content = body["content"]["application/json"]
        reference = {"$ref": f"#/components/schemas/{_DOCUMENT}"}
        content["schema"] = reference if method == "put" else {"anyOf": [reference, {"type": "null"}]}
    return found


def _complete(path: str, method: str, operation: dict[str, Any], *, role: str | None) -> None:
    responses = operation["responses"]
    if path in OPEN_PATHS:
        operation["security"] = []
        if path == "/readyz":
            responses["503"] = {**responses["200"], "description": "It is not part of the fleet now."}
        statuses: tuple[int, ...] = (400, 405, 421, 500)
    else:
        operation["security"] = [{"token": []}]
        statuses = EVERYWHERE
    if role is not None:
        operation["x-role"] = role
        operation["description"] = f"{operation.get('description', '')}\n\nRole: `{role}`.".strip()
    for status in statuses:
        if method == "get" and status in {413, 415}:
            continue
        responses[str(status)] = {"description": about(status), "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}
    for each in operation.get("parameters", ()):
        if (each["in"], each["name"]) == ("path", "name"):
            each["schema"] |= {"pattern": f"^{NAME}$", "maxLength": LONGEST_NAME}
    for status, response in responses.items():
        if status == "401":
            response["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
        elif status == "503" and path not in OPEN_PATHS:
            response["headers"] = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds."}}
        elif status == "405":
            response["headers"] = {"Allow": {"schema": {"type": "string"}}}
    operation["responses"] = dict(sorted(responses.items()))


def _roles(app: Litestar) -> Iterator[tuple[str, str, str]]:
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            role = getattr(handler, "opt", {}).get(ROLE)
            if role is not None:
                for method in handler.http_methods:
                    yield route.path_format, method.lower(), role


def _document_schemas() -> dict[str, Any]:
    """The JSON Schema of a configuration, each definition a component."""
    whole = schema()
    definitions = whole["$defs"]
    renamed = {name: _DOCUMENT if name == "Config" else f"{_DOCUMENT}{name}" for name in definitions}
    return {renamed[name]: _renamed(node, renamed) for name, node in definitions.items()}


def _renamed(node: Any, names: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_renamed(each, names) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        name: f"#/components/schemas/{names[each.rpartition('/')[2]]}" if name == "$ref" else _renamed(each, names)
        for name, each in node.items()
    }
