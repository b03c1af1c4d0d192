"""What a body has to be, in the words that a configuration file gets: the framework's own name types of Python, and no
key where one is missing or unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final, get_args

import msgspec
from litestar import Request
from msgspec import Meta, Struct

from ditto.config.conversion import explain

_UNKNOWN: Final = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`")
_LONGEST: Final = 63
_NO_BODY: Final = "'data'"
"""All that the framework says."""


def refusal(request: Request[Any, Any, Any], place: str, message: str) -> tuple[str, str | None]:
    """The sentence about a body that cannot be, and a hint; `place` is as `tables[1]`, empty for the whole body."""
    body = request.route_handler.parsed_fn_signature.parameters["data"]
    about = getattr(body.kwarg_definition, "description", None)
    known = _known(body.annotation)
    if message == _NO_BODY:
        return "the request has no body", about or _needs(known)
    if found := _UNKNOWN.search(message):
        near = get_close_matches(found[1], known, n=1)
        if near:
            return f"{found[1][:_LONGEST]} is not a known key: did you mean {near[0]}?", known[near[0]]
        return f"{found[1][:_LONGEST]} is not a known key", _needs(known)
    if found := _MISSING.search(message):
        return f"the body needs {found[1]}", known.get(found[1])
    hint = known.get(place.partition("[")[0], about or _needs(known))
    return f"{place or 'the body'} {explain(message)}", hint


def _needs(known: dict[str, str]) -> str | None:
    return f"its keys are {', '.join(known)}" if known else None


def _known(annotation: Any) -> dict[str, str]:
    """The keys of a body, and what each is for."""
    structs = [
        each for each in (annotation, *get_args(annotation)) if isinstance(each, type) and issubclass(each, Struct)
    ]
    return {
        field.encode_name: next(_descriptions(field.type), "")
        for each in structs
        for field in msgspec.structs.fields(each)
    }


def _descriptions(annotation: Any) -> Iterator[str]:
    for each in (annotation, *getattr(annotation, "__metadata__", ()), *get_args(annotation)):
        if isinstance(each, Meta) and each.description:
            yield each.description
        elif each is not annotation:
            yield from _descriptions(each)
