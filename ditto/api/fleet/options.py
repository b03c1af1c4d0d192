"""Which methods a path knows. Litestar's own answer to OPTIONS has those of one handler of the path only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from litestar import HttpMethod, Response, route

_OPTIONS = "OPTIONS"


def options_handlers(handlers: Sequence[Any]) -> list[Any]:
    """One for each path of these handlers."""
    methods: defaultdict[str, set[str]] = defaultdict(set)
    for handler in handlers:
        for path in handler.paths:
            methods[path] |= {_OPTIONS, *map(str, handler.http_methods)}
    return [_handler(path, ", ".join(sorted(found))) for path, found in methods.items()]


def _handler(path: str, allowed: str) -> Any:
    @route(path, http_method=[HttpMethod.OPTIONS], include_in_schema=False, status_code=204, sync_to_thread=False)
    def options() -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": allowed})

    return options
