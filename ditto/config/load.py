"""The layers: default < file < environment < flag."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from ditto.config.contradictions import check_together
from ditto.config.conversion import Setting, convert
from ditto.config.files import read
from ditto.config.keys import FLAGS, KEYS, PIPELINE, SERVER, Model, section, variable_of
from ditto.config.model import SINKS, Config
from ditto.config.nats import contradiction
from ditto.config.renamed_keys import with_current_paths
from ditto.config.server import ServerConfig
from ditto.config.suggestions import unknown_variable
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# What Kubernetes puts into every container for a service called ditto-nats: not meant for Ditto.
_KUBERNETES = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$")


def load(file: Path | None, flags: Mapping[str, object], environ: Mapping[str, str]) -> Config:
    """The effective configuration.

    `flags` holds what was given on the command line by key (`postgres.dsn`; None: not given). An empty environment
    variable counts as not set. The file is checked as a whole, also where something overrides it.
    Raises ConfigError, whose one sentence names the key and where its value came from.
    """
    in_file = read(file, environ) if file else {}
    outside = {**_from_originals(environ), **_from_environ(environ, PIPELINE), **_from_flags(flags)}
    if (plugin := outside.pop("output_plugin", None)) is not None:
        _check_output_plugin(plugin)
    return compose(in_file, outside)


def compose(*layers: Mapping[str, Setting]) -> Config:
    """The configuration of a pipeline that these settings make; a later layer wins. Raises ConfigError."""
    settings = {path: setting for layer in layers for path, setting in layer.items()}
    values = _converted(layers, PIPELINE)
    _check_sinks(settings)
    _check_required(settings)
    config = Config(**_arguments(Config, "", values))
    check_together(config)
    return config


def load_server(file: Path | None, environ: Mapping[str, str]) -> ServerConfig:
    """The configuration of a node of a fleet. Raises ConfigError, as `load` does."""
    in_file = read(file, environ, SERVER) if file else {}
    values = _converted([in_file, _from_environ(environ, SERVER)], SERVER)
    config = ServerConfig(**_arguments(ServerConfig, "", values))
    if (found := contradiction(config.nats)) is not None:
        key, sentence, hint = found
        raise ConfigError(sentence, hint=hint, key=key)
    if (config.http.tls.cert is None) != (config.http.tls.key is None):
        raise ConfigError("http.tls.cert and http.tls.key are given one without the other", key="http.tls.cert")
    return config


def _converted(layers: Iterable[Mapping[str, Setting]], model: Model) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for layer in layers:
        for path, setting in layer.items():
            values[path] = convert(model.keys[path], setting) if path in model.keys else None
    return values


def _from_originals(environ: Mapping[str, str]) -> dict[str, Setting]:
    return {
        path: Setting(value, f"from {variable}", is_text=True)
        for path, variable in PIPELINE.originals.items()
        if (value := environ.get(variable))
    }


def _from_environ(environ: Mapping[str, str], model: Model) -> dict[str, Setting]:
    paths = {variable_of(path): path for path in (*model.keys, *model.former)}
    sections = frozenset(map(variable_of, model.sections))
    prefixes = tuple(f"{variable_of(name)}_" for name in model.sections if "." not in name)
    settings: dict[str, Setting] = {}
    for variable, value in environ.items():
        if variable in paths:
            if value:
                settings[paths[variable]] = Setting(value, f"from {variable}", is_text=True)
        elif variable in sections or (variable.startswith(prefixes) and not _KUBERNETES.search(variable)):
            raise unknown_variable(variable, model)
    return with_current_paths(settings)


def _from_flags(flags: Mapping[str, object]) -> dict[str, Setting]:
    return {
        path: Setting(value, f"from {FLAGS[path][0]}", is_text=isinstance(value, str))
        for path, value in flags.items()
        if value is not None
    }


def _check_output_plugin(setting: Setting) -> None:
    if setting.value != "pgoutput":
        raise ConfigError(
            f"the output plugin {setting.origin} must be pgoutput", hint="Ditto reads no other plugin: leave it out"
        )


def _check_sinks(settings: Mapping[str, Setting]) -> None:
    given: dict[str, str] = {}
    for name in SINKS:
        keys = [path for path in settings if path.startswith(f"{name}.")]
        if keys or name in settings:
            path = keys[0] if keys else name
            given[name] = f"{path} is given {settings[path].origin}"
    if len(given) > 1:
        raise ConfigError(
            f"{' and '.join(given)} exclude each other: {', '.join(given.values())}",
            hint="a pipeline has one sink: give the keys of one of them",
            key=list(given)[1],
        )


def _check_required(settings: Mapping[str, Setting]) -> None:
    for name, paths in PIPELINE.required.items():
        given = [path for path in settings if path == name or path.startswith(f"{name}.")]
        path = next((path for path in paths if path not in settings), None)
        if given and path is not None:
            raise ConfigError(
                f"{name} {settings[given[0]].origin} has no {path.rpartition('.')[2]}",
                hint=f"give {path}, such as {' or '.join(map(json.dumps, KEYS[path].examples))}",
                key=path,
            )


def _arguments(struct: type[Struct], path: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `struct`: the keys below `path` that have a value. The others keep their defaults."""
    arguments: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        child = f"{path}{field.encode_name}"
        if nested := section(field.type):
            # An optional section is there as soon as the file has it, even without a key in it.
            if child in values or any(each.startswith(f"{child}.") for each in values):
                arguments[field.name] = nested(**_arguments(nested, f"{child}.", values))
        elif child in values:
            arguments[field.name] = values[child]
    return arguments
