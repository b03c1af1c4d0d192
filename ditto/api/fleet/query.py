"""What the parameters of a query have to be, in words: the framework's own name types of Python, and no choices."""

from __future__ import annotations

from typing import Any, Final, Literal, get_origin

from litestar import Request
from litestar.typing import FieldDefinition

_WORDS: Final[dict[Any, str]] = {bool: "true or false", int: "a whole number"}


def refusal(request: Request[Any, Any, Any], key: str) -> tuple[str, str | None] | None:
    """The sentence about a parameter whose value cannot be, and what it is for; None where its type says nothing."""
    for field in request.route_handler.parsed_fn_signature.parameters.values():
        given = field.kwarg_definition
        if key == (getattr(given, "name", None) or field.name):
            wanted = _wanted(field)
            bounds = _bounds(getattr(given, "ge", None), getattr(given, "le", None))
            return None if wanted is None else (f"{key} must be {wanted}{bounds}", getattr(given, "description", None))
    return None


def _wanted(field: FieldDefinition) -> str | None:
    if get_origin(field.annotation) is Literal:
        return f"one of {', '.join(map(str, field.args))}"
    of_members = (found for each in field.inner_types if (found := _wanted(each)) is not None)
    return _WORDS.get(field.annotation) or next(of_members, None)


def _bounds(least: float | None, most: float | None) -> str:
    if least is None or most is None:
        return ""
    return f" from {least:g} to {most:g}" if most < 2**53 else f", at least {least:g}"
