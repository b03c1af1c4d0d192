"""A key that does not exist, and the one that was probably meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from ditto.config.keys import KEYS, SECTIONS
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


def _nearest(path: str) -> str | None:
    known = [*KEYS, *SECTIONS]
    names = {key.rpartition(".")[2]: key for key in reversed(known)}
    last = path.rpartition(".")[2]
    if last in names:  # the right name in the wrong section
        return names[last]
    if whole := get_close_matches(path, known, n=1, cutoff=0.75):
        return whole[0]
    if name := get_close_matches(last, list(names), n=1, cutoff=0.7):
        return names[name[0]]
    return next(iter(get_close_matches(path, known, n=1, cutoff=0.5)), None)


def unknown(path: str, origin: str) -> ConfigError:
    """The error for the key `path`, found `in ditto.yaml`."""
    nearest = _nearest(path)
    section = path.rpartition(".")[0]
    siblings = [key for key in KEYS if key.startswith(f"{section}.")] if section else list(SECTIONS)
    return ConfigError(
        f"{path} {origin} is not a known key" + (f": did you mean {nearest}?" if nearest else ""),
        hint=None if nearest else f"known are {', '.join(siblings)}",
        key=path,
    )


def unknown_variable(variable: str, known: Sequence[str]) -> ConfigError:
    """The error for an environment variable that looks like Ditto's and belongs to no key."""
    nearest = get_close_matches(variable, known, n=1, cutoff=0.0)[0]
    return ConfigError(
        f"the environment variable {variable} belongs to no key: did you mean {nearest}?", variable=variable
    )
