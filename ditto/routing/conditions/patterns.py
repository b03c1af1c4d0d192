"""The patterns of `matches()`: RE2's, by RE2 itself, whose time is linear in the text whatever the pattern."""

from __future__ import annotations

from collections.abc import Callable

from ditto.routing.conditions.errors import Failure


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """What says whether the pattern is found in a text. Raises ValueError with RE2's own words."""
    import re2  # noqa: PLC0415 -- a library only for conditions with patterns

    options = re2.Options()
    options.log_errors = False
    try:
        search = re2.compile(pattern, options).search
    except re2.error as error:
        raise ValueError(error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]) from None

    def matches(text: str) -> bool:
        try:
            # With a str the wrapper works out the offsets of what it found, which takes three times as long.
            return search(text.encode()) is not None
        except UnicodeEncodeError:
            raise Failure("a text has half of a surrogate pair") from None

    return matches
