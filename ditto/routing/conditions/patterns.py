"""The patterns of `matches()`: RE2's, by RE2 itself, whose time is linear in the text whatever the pattern."""

from __future__ import annotations

from collections.abc import Callable

from ditto.routing.conditions.errors import Failure


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """What says whether the pattern is found in a text. Raises ValueError with RE2's own words."""
    import re2  # noqa: PLC0415 -- a library only for conditions with patterns

    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        # The compiled object itself: around what it finds the wrapper makes a match, which takes as long again.
        match = re2.compile(pattern, options)._regexp.Match  # noqa: SLF001
    except re2.error as error:
        raise ValueError(error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]) from None

    anywhere = re2._re2.RE2.Anchor.UNANCHORED  # noqa: SLF001

    def matches(text: str) -> bool:
        try:
            data = text.encode()
        except UnicodeEncodeError:
            raise Failure("a text has half of a surrogate pair") from None
        return match(anywhere, data, 0, len(data))[0][0] >= 0  # type: ignore[no-any-return]  # it has no types

    return matches
