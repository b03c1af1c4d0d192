"""A key that does not exist, and the one that was probably meant."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Final

from ditto.config.keys import PIPELINE, SERVER, Model, variable_of
from ditto.config.model import SINKS
from ditto.errors import ConfigError

_ADDRESSES: Final = ("dsn", "url", "brokers")
_IN_ADDRESS: Final = (
    *("host", "hostname", "server", "servers", "port", "user", "username", "password"),
    *("database", "dbname", "sslmode", "sslrootcert", "url", "uri", "dsn", "address"),
)
"""What an address may have, in the words of other programs."""

_OTHERS_OF: Final = {PIPELINE.struct: SERVER, SERVER.struct: PIPELINE}
_WHOSE: Final = {
    PIPELINE.struct: "of a pipeline, but one of a node (ditto serve)",
    SERVER.struct: "of a node, but one of a pipeline",
}
_INSTEAD: Final = {
    PIPELINE.struct: "give the file of a pipeline; ditto serve --config takes that of a node",
    SERVER.struct: "give the file of the node; that of a pipeline goes to the fleet (ditto pipelines apply -f FILE), "
    "or runs alone (ditto run --config FILE)",
}


def _is_of_the_other(path: str, model: Model) -> bool:
    """Whether it is a key or a section of the other configuration, by a name that this one has nowhere."""
    other, last = _OTHERS_OF[model.struct], path.rpartition(".")[2]
    names = {each.rpartition(".")[2] for each in (*model.keys, *model.former)}
    return last not in names and (path in other.keys or path in other.sections)


def _nearest(path: str, model: Model) -> str | None:
    """The current path of the key that was probably meant."""
    nearest = _nearest_known(path, model)
    return None if nearest is None else model.former.get(nearest, nearest)


def _nearest_known(path: str, model: Model) -> str | None:
    section, _, last = path.rpartition(".")
    known = [each for each in (*model.keys, *model.former, *model.sections) if _is_possible(section, each)]
    if same := get_close_matches(path, known, n=1, cutoff=0.95):
        return same[0]
    names: dict[str, set[str]] = {}
    for each in known:
        names.setdefault(each.rpartition(".")[2], set()).add(model.former.get(each, each))
    if last in names and (only := _only(names[last])):  # the right name in the wrong section
        return only
    if address := _address(path, model):
        return address
    if last in names:
        return None
    if whole := get_close_matches(path, known, n=1, cutoff=0.75):
        return whole[0]
    if name := get_close_matches(last, list(names), n=1, cutoff=0.7):
        return _only(names[name[0]])
    return next(iter(get_close_matches(path, known, n=1, cutoff=0.5)), None)


def _is_possible(section: str, known: str) -> bool:
    """A pipeline has one sink: in the section of a sink nobody means a key of another one."""
    own, other = section.partition(".")[0], known.partition(".")[0]
    return own == other or not {own, other} <= set(SINKS)


def _only(paths: set[str]) -> str | None:
    """A name that several sections have says nothing about which one was meant."""
    return next(iter(paths)) if len(paths) == 1 else None


def _address(path: str, model: Model) -> str | None:
    """The address of the section, for a part of it that is no key: `postgres.dsn` for `postgres.password`."""
    section, _, last = path.rpartition(".")
    if not get_close_matches(last, _IN_ADDRESS, n=1, cutoff=0.85):
        return None
    return next((key for name in _ADDRESSES if (key := f"{section}.{name}") in model.keys), None)


def unknown(path: str, origin: str, model: Model = PIPELINE) -> ConfigError:
    """The error for the key `path`, found `in ditto.yaml`."""
    if _is_of_the_other(path, model):
        return ConfigError(f"{path} {origin} is no key {_WHOSE[model.struct]}", hint=_INSTEAD[model.struct], key=path)
    nearest = _nearest(path, model)
    section = path.rpartition(".")[0]
    if section:
        siblings = [key for key in model.keys if key.startswith(f"{section}.")]
    else:
        siblings = [*(key for key in model.keys if "." not in key), *model.sections]
    hint = None if nearest else f"known are {', '.join(siblings)}"
    if nearest is not None and nearest == _address(path, model) and not _is_misspelt(path, nearest):
        hint = _how(nearest, model)
    return ConfigError(
        f"{path} {origin} is not a known key" + (f": did you mean {nearest}?" if nearest else ""), hint=hint, key=path
    )


def _is_misspelt(path: str, key: str) -> bool:
    last, own = (each.rpartition(".")[2] for each in (path, key))
    return bool(get_close_matches(last, [own], n=1, cutoff=0.7))


def _how(address: str, model: Model) -> str:
    examples = " or ".join(map(json.dumps, model.keys[address].examples))
    return f"{address} has it, such as {examples}" if examples else f"{address} has it"


def unknown_variable(variable: str, model: Model = PIPELINE) -> ConfigError:
    """The error for an environment variable that looks like Ditto's and belongs to no key."""
    for section in model.sections:
        name = variable.removeprefix(f"{variable_of(section)}_").lower()
        if name != variable.lower() and (address := _address(f"{section}.{name}", model)):
            return ConfigError(
                f"the environment variable {variable} belongs to no key: did you mean {variable_of(address)}?",
                hint=_how(address, model),
                variable=variable,
            )
    known = {variable_of(path): path for path in (*model.keys, *model.former)}
    if below := {name: path for name, path in known.items() if name.startswith(f"{variable}_")}:  # that of a section
        known = below
    path = known[get_close_matches(variable, list(known), n=1, cutoff=0.0)[0]]
    nearest = variable_of(model.former.get(path, path))
    return ConfigError(
        f"the environment variable {variable} belongs to no key: did you mean {nearest}?", variable=variable
    )
