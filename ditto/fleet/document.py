"""The document of a pipeline, as the fleet keeps it: the content of a configuration file, without secrets.

A secret is given as a reference, which the node that runs the pipeline resolves: `${NAME}` from its environment, or,
as a whole value, `file:/run/secrets/NAME` from a file there. `http` and `log` are the node's affair: a document may
have them, and they are ignored.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from ditto.config import Config, Log, webhook
from ditto.config.changes import changed_keys, needs_restart
from ditto.config.dsn import SECRETS, mask_dsn, parameters_of
from ditto.config.files import settings_of
from ditto.config.fleet_values import NAME_RULE, is_name
from ditto.config.keys import KEYS, SECTIONS
from ditto.config.load import compose
from ditto.config.mask import mask_url
from ditto.config.model import Http
from ditto.errors import ConfigError, MissingHere, PipelineRefused
from ditto.log import MASK

Document = dict[str, Any]
Effect = Literal["nothing", "reload", "restart", "new slot"]

_REFERENCE: Final = re.compile(r"\$\{[A-Za-z_]\w*(:-)?\}")
"""Without a default, which would be the secret itself."""
_FILE: Final = "file:/"
_STAND_IN: Final = token_hex(16)
"""For a reference, while another syntax is read. Another one in each process: nobody can enter it as a secret."""
_DEEPEST: Final = 32
"""Nested so deep a document is no configuration, and whoever reads it runs out of stack."""
_LARGEST_FILE: Final = 1 << 20
"""Of a reference."""
_IGNORED: Final = ("http.", "log.", "name")
_NEW_PLACE: Final = frozenset(
    {
        "postgres.slot",
        "events.prefix",
        "nats.stream",
        "nats.domain",
        "file.path",
        "kafka.own_topic",
        "rabbitmq.stream.name",
        "redis.key_prefix",
    }
)
_SINKS: Final = ("file", "kafka", "rabbitmq", "redis", "webhook")
_SERVER: Final = ("host", "hostaddr", "port", "dbname")


class Change(Struct, frozen=True):
    """What another document does to a pipeline."""

    effect: Effect
    """`reload`: taken between two transactions; `restart`: its session ends, and the next one has it; `new slot`: it
    would go on from another place, or store elsewhere, so that events would be missing."""
    keys: list[str]
    """Those that have another value."""


def canonical(document: Document) -> bytes:
    """The same bytes for the same content."""
    return msgspec.json.encode(document, order="sorted")


def check_name(name: str) -> None:
    """Raise PipelineRefused for a name that no pipeline can have."""
    if not is_name(name):
        raise PipelineRefused(
            f"the name of a pipeline must be {NAME_RULE}",
            hint="give another name, such as shop; for a file: its key name, or the name of the file itself",
        )


def check(name: str, document: object) -> Document:
    """The document, which may be stored under this name. Raises PipelineRefused; values are looked at by `resolve`."""
    check_name(name)
    if not isinstance(document, dict):
        raise PipelineRefused("the document of a pipeline must be a mapping, as a configuration file is")
    if is_too_deep(document):
        raise PipelineRefused(f"the document of a pipeline is nested more than {_DEEPEST} levels deep")
    for key in _dotted("", document):
        raise PipelineRefused(
            f"the key {key} is written with a dot in its name",
            hint="write a mapping for each section, as in nats: {url: …}",
            key=key,
        )
    if document.get("name", name) != name:
        raise PipelineRefused(
            f"the document's own name is not {name}", hint="leave name out, or give both the same name", key="name"
        )
    if found := secrets_in(document):
        raise PipelineRefused(
            f"{' and '.join(found)} {'has' if len(found) == 1 else 'have'} a secret written out",
            hint="give a reference, which the node resolves: ${NAME} from its environment (without a default), or "
            "file:/path as the whole value",
            key=found[0],
        )
    return document


def is_too_deep(document: object) -> bool:
    """Whether that is nested too deep to be read."""
    level = [document]
    for _ in range(_DEEPEST):
        inner = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level = [each for values in inner for each in values]
    return any(isinstance(each, dict | list) for each in level)


def secrets_in(document: Document) -> list[str]:
    """The keys that have a secret written out."""
    return sorted({path for path, text, kind in _sensitive(document) if _is_written_out(text, kind)})


def shown(document: Document) -> Document:
    """For those who may not change it: with *** in place of what `ditto config show` masks. References stay."""
    found = copy.deepcopy(document)
    for path, key in KEYS.items():
        *sections, name = path.split(".")
        section = _at(found, sections)
        if key.mask is not None and isinstance(section, dict) and section.get(name) is not None:
            section[name] = _masked(section[name], key.mask)
    for mask in _masks(found).values():
        mask["key"] = _masked(mask["key"], "whole")
    return found


def resolve(name: str, document: Document, environ: Mapping[str, str], *, log: Log | None = None) -> Config:
    """The configuration, with the references of the document replaced; `log` is that of the node.

    Raises ConfigError, and PipelineRefused for what is no document.
    """
    document = check(name, document)
    try:
        config = compose(settings_of(_with_files(document, ""), f"of pipeline {name}", environ))
    except ConfigError as error:
        if (variable := error.context.get("variable")) is not None:
            error.hint = (
                f"set {variable} for every node that may run the pipeline and start these nodes again, or let "
                "placement.labels choose the nodes"
            )
        raise
    return msgspec.structs.replace(config, name=name, http=Http(), log=log or Log())


def labels_of(document: Document) -> dict[str, str]:
    """`placement.labels`, as far as it is one: the document has been checked when it was stored."""
    placement = document.get("placement")
    labels = placement.get("labels") if isinstance(placement, dict) else None
    return {str(name): str(value) for name, value in labels.items()} if isinstance(labels, dict) else {}


def is_isolated(document: Document) -> bool:
    """`placement.isolated`."""
    placement = document.get("placement")
    return isinstance(placement, dict) and placement.get("isolated") is True


def difference(before: Document, after: Document, environ: Mapping[str, str]) -> Change:
    """What the change from one document to the other does to the pipeline.

    Where one of them cannot be resolved here, because another node has the secrets, the texts are compared.
    """
    try:
        old, new = (resolve("x", {**each, "name": "x"}, environ) for each in (before, after))
    except (ConfigError, PipelineRefused):
        keys = list(_differences("", before, after))
        return Change(_effect(keys, is_elsewhere=False), keys)
    keys = changed_keys(old, new)
    return Change(_effect(keys, is_elsewhere=_place(old) != _place(new)), keys)


def _effect(keys: list[str], *, is_elsewhere: bool) -> Effect:
    counted = [key for key in keys if not key.startswith(_IGNORED)]
    if is_elsewhere or any(key in _NEW_PLACE or key in _SINKS for key in counted):
        return "new slot"
    if any(needs_restart(key) for key in counted):
        return "restart"
    return "reload" if counted else "nothing"


def _place(config: Config) -> list[Any]:
    parameters = parameters_of(config.postgres.dsn)
    return [parameters.get(name) for name in _SERVER]


def _differences(path: str, before: object, after: object) -> Iterator[str]:
    if before == after:
        return
    if not path or (path not in KEYS and isinstance(before or {}, dict) and isinstance(after or {}, dict)):
        old, new = (each if isinstance(each, dict) else {} for each in (before, after))
        for name in dict.fromkeys([*old, *new]):
            yield from _differences(f"{path}.{name}" if path else str(name), old.get(name), new.get(name))
        return
    yield path


# ------------------------------------------------------------------------------------------- secrets


def _dotted(path: str, node: object) -> Iterator[str]:
    """Keys whose sections are written into the name: all that looks for a key in its section would miss them."""
    for name, value in node.items() if isinstance(node, dict) else ():
        key = f"{path}.{name}" if path else str(name)
        if "." in str(name):
            yield key
        elif key in SECTIONS:
            yield from _dotted(key, value)


def _sensitive(document: Document) -> Iterator[tuple[str, str, str]]:
    """Key, text and kind of every value that is, or may have, a secret."""
    for path, key in KEYS.items():
        if key.mask is None:
            continue
        value = _at(document, path.split("."))
        entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        for each in entries:
            if each is not None:
                yield path, each if isinstance(each, str) else str(each), key.mask
    for path, mask in _masks(document).items():
        yield f"{path}.key", str(mask["key"]), "whole"


def _masks(document: Document) -> dict[str, dict[str, Any]]:
    """The masks of columns that have a key, by their place."""
    found = {}
    tables = _at(document, ["events", "tables"])
    for table, rules in tables.items() if isinstance(tables, dict) else ():
        masks = _at(rules, ["columns", "mask"])
        for column, mask in masks.items() if isinstance(masks, dict) else ():
            if isinstance(mask, dict) and mask.get("key") is not None:
                found[f"events.tables.{table}.columns.mask.{column}"] = mask
    return found


def _masked(value: Any, kind: str) -> Any:
    if isinstance(value, dict):
        return {name: _masked(each, kind) for name, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, kind) for each in value]
    text = str(value)
    if text.startswith(_FILE) or not _REFERENCE.sub("", text):
        return value
    if kind in {"dsn", "url"} and not _is_written_out(text, kind):
        return value
    try:
        if kind == "dsn":
            return mask_dsn(text)
        if kind == "url":
            return ",".join(map(mask_url, text.split(",")))
        return webhook.shown(text) if kind == "address" else MASK
    except ValueError:
        return MASK


def _at(node: object, names: list[str]) -> object:
    for name in names:
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _is_written_out(text: str, kind: str) -> bool:
    if not text or text.startswith(_FILE):
        return False
    text = _REFERENCE.sub(_STAND_IN, text)
    if kind == "dsn":
        return _is_literal(text) and any(map(_is_literal, _passwords(text)))
    if kind == "url":
        return any(_is_literal(_identity(server)) for server in text.split(","))
    if kind == "address":
        return _is_literal(_identity(text)) or _is_literal(text.partition("#")[0].partition("?")[2])
    return _is_literal(text)


def _is_literal(text: str) -> bool:
    return bool(text.replace(_STAND_IN, ""))


def _passwords(dsn: str) -> Iterator[str]:
    try:
        parameters = parameters_of(dsn)
    except ValueError:
        yield dsn  # nobody knows what is in it
        return
    for name in SECRETS:
        yield str(parameters.get(name) or "")


def _identity(server: str) -> str:
    """The password in a URL, or the token that is alone before the @."""
    identity = server.rpartition("@")[0].rpartition("://")[2]
    user, has_password, password = identity.partition(":")
    return password if has_password else user


def _with_files(node: Any, path: str) -> Any:
    if isinstance(node, dict):
        return {name: _with_files(each, f"{path}.{name}" if path else str(name)) for name, each in node.items()}
    if isinstance(node, list):
        return [_with_files(each, f"{path}[{index}]") for index, each in enumerate(node)]
    if not isinstance(node, str) or not node.startswith(_FILE):
        return node
    file = Path(node.removeprefix("file:"))
    try:
        text = _read(file).rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
        raise MissingHere(
            f"{path} refers to the file {file}, which cannot be read: {reason}",
            hint="put the file there on every node that may run the pipeline, or let placement.labels choose the "
            "nodes; a node looks again every 10 s",
            key=path,
        ) from None
    return text.replace("${", "$${")


def _read(file: Path) -> str:
    """A pipe would keep the whole process waiting, and a device has no end."""
    if not file.is_file():
        raise OSError(None, "there is no regular file" if file.exists() else "there is no such file")
    with file.open("rb") as opened:
        content = opened.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise OSError(None, f"the file has more than {_LARGEST_FILE} bytes")
    return content.decode()
