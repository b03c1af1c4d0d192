"""Whether a document can be a pipeline, as far as this node can tell; and what else there is to say about it."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ditto.errors import ConfigError
from ditto.fleet.document import Document, check, resolve

_VARIABLE: Final = re.compile(r"(?<!\$)\$\{([A-Za-z_]\w*)\}")
_FILE: Final = "file:"
_STAND_IN: Final = "unknown"
_OF_THE_NODE: Final = ("http", "log")


def check_document(name: str, document: object, environ: Mapping[str, str]) -> list[str]:
    """Notes about the document. Raises PipelineRefused and ConfigError, with the sentences of a start.

    A reference that only another node can resolve is noted, and its key is not looked at.
    """
    checked = check(name, document)
    unknown = dict(_unknown(checked, "", environ))
    stand_ins = dict.fromkeys((each for names in unknown.values() for each in names), _STAND_IN)
    try:
        resolve(name, _without_files(checked, "", unknown), ChainMap(stand_ins, dict(environ)))
    except ConfigError as error:
        if not _is_about(str(error.context.get("key", "")), unknown):
            raise
    notes = [f"{each} is ignored: the node decides that" for each in _OF_THE_NODE if each in checked]
    if unknown:
        notes.append(
            f"{', '.join(unknown)}: this node cannot resolve the reference, so the value is not checked; the node that "
            "runs the pipeline needs it"
        )
    return notes


def _unknown(node: Any, path: str, environ: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """The keys with a reference that cannot be resolved here, and the variables of each."""
    if isinstance(node, dict):
        for name, each in node.items():
            yield from _unknown(each, f"{path}.{name}" if path else str(name), environ)
    elif isinstance(node, list):
        found = [each for item in node for each in _unknown(item, path, environ)]
        if found:
            yield path, [each for _, names in found for each in names]
    elif isinstance(node, str):
        missing = [name for name in _VARIABLE.findall(node) if name not in environ]
        if missing or (node.startswith(f"{_FILE}/") and not Path(node.removeprefix(_FILE)).is_file()):
            yield path, missing


def _without_files(node: Any, path: str, unknown: Mapping[str, Any]) -> Document | Any:
    """The same, with a text in place of files that cannot be read here."""
    if isinstance(node, dict):
        return {
            name: _without_files(each, f"{path}.{name}" if path else str(name), unknown) for name, each in node.items()
        }
    if isinstance(node, list):
        return [_without_files(each, path, unknown) for each in node]
    return _STAND_IN if path in unknown and isinstance(node, str) and node.startswith(f"{_FILE}/") else node


def _is_about(key: str, unknown: Mapping[str, Any]) -> bool:
    return any(each == key or each.startswith((f"{key}.", f"{key}[")) for each in unknown) if key else False
