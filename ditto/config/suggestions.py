"""A key that does not exist, and the one that was probably meant."""

from __future__ import annotations

from difflib import get_close_matches

from ditto.config.keys import FORMER, KEYS, SECTIONS, variable_of
from ditto.errors import ConfigError


def _nearest(path: str) -> str | None:
    """The current path of the key that was probably meant."""
    nearest = _nearest_known(path)
    return None if nearest is None else FORMER.get(nearest, nearest)


def _nearest_known(path: str) -> str | None:
    known = [*KEYS, *FORMER, *SECTIONS]
    names = {key.rpartition(".")[2]: key for key in reversed(known)}
    last = path.rpartition(".")[2]
    if same := get_close_matches(path, known, n=1, cutoff=0.95):
        return same[0]
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
    if section:
        siblings = [key for key in KEYS if key.startswith(f"{section}.")]
    else:
        siblings = [*(key for key in KEYS if "." not in key), *SECTIONS]
    return ConfigError(
        f"{path} {origin} is not a known key" + (f": did you mean {nearest}?" if nearest else ""),
        hint=None if nearest else f"known are {', '.join(siblings)}",
        key=path,
    )


def unknown_variable(variable: str) -> ConfigError:
    """The error for an environment variable that looks like Ditto's and belongs to no key."""
    known = {variable_of(path): path for path in (*KEYS, *FORMER)}
    if below := {name: path for name, path in known.items() if name.startswith(f"{variable}_")}:  # that of a section
        known = below
    path = known[get_close_matches(variable, list(known), n=1, cutoff=0.0)[0]]
    nearest = variable_of(FORMER.get(path, path))
    return ConfigError(
        f"the environment variable {variable} belongs to no key: did you mean {nearest}?", variable=variable
    )
