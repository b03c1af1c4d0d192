"""A key that does not exist, and the one that was probably meant."""

from __future__ import annotations

from difflib import get_close_matches

from ditto.config.keys import PIPELINE, Model, variable_of
from ditto.errors import ConfigError


def _nearest(path: str, model: Model) -> str | None:
    """The current path of the key that was probably meant."""
    nearest = _nearest_known(path, model)
    return None if nearest is None else model.former.get(nearest, nearest)


def _nearest_known(path: str, model: Model) -> str | None:
    known = [*model.keys, *model.former, *model.sections]
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


def unknown(path: str, origin: str, model: Model = PIPELINE) -> ConfigError:
    """The error for the key `path`, found `in ditto.yaml`."""
    nearest = _nearest(path, model)
    section = path.rpartition(".")[0]
    if section:
        siblings = [key for key in model.keys if key.startswith(f"{section}.")]
    else:
        siblings = [*(key for key in model.keys if "." not in key), *model.sections]
    return ConfigError(
        f"{path} {origin} is not a known key" + (f": did you mean {nearest}?" if nearest else ""),
        hint=None if nearest else f"known are {', '.join(siblings)}",
        key=path,
    )


def unknown_variable(variable: str, model: Model = PIPELINE) -> ConfigError:
    """The error for an environment variable that looks like Ditto's and belongs to no key."""
    known = {variable_of(path): path for path in (*model.keys, *model.former)}
    if below := {name: path for name, path in known.items() if name.startswith(f"{variable}_")}:  # that of a section
        known = below
    path = known[get_close_matches(variable, list(known), n=1, cutoff=0.0)[0]]
    nearest = variable_of(model.former.get(path, path))
    return ConfigError(
        f"the environment variable {variable} belongs to no key: did you mean {nearest}?", variable=variable
    )
