"""Whether a document can be a pipeline, as far as this node can tell; and what else there is to say about it."""

from __future__ import annotations

import asyncio
import os
import re
from base64 import b64encode
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ditto.config import KEYS
from ditto.fleet.document import Document, check, resolve
from ditto.fleet.interface import FleetNode
from ditto.fleet.shared_slots import shared_slot

_VARIABLE: Final = re.compile(r"(?<!\$)\$\{([A-Za-z_]\w*)\}")
_FILE: Final = "file:/"
_NAME: Final = "DITTO_STAND_IN_"
_TEXT: Final = "unknown"
_SHAPED: Final = {"webhook.secret": f"whsec_{b64encode(bytes(32)).decode()}"}
"""Values of keys that take no free text, and have no example without a reference."""
_OF_THE_NODE: Final = ("http", "log")


def check_document(name: str, document: object, environ: Mapping[str, str]) -> list[str]:
    """Notes about the document. Raises PipelineRefused and ConfigError, with the sentences of a start.

    A reference that only another node can resolve is noted; a value that is possible stands in for it.
    """
    stand_ins = _StandIns(environ)
    resolve(name, stand_ins.fill(check(name, document), ""), ChainMap(stand_ins.values, dict(environ)))
    notes = [f"{each} is ignored: the node decides that" for each in _OF_THE_NODE if each in document]  # type: ignore[operator]
    if stand_ins.keys:
        notes.append(
            f"{', '.join(stand_ins.keys)}: this node cannot resolve the reference, so the value is not checked; the "
            "node that runs the pipeline needs it"
        )
    return notes


async def notes_on(node: FleetNode, name: str, document: Document) -> list[str]:
    """As `check_document`, with what the other pipelines have to do with it."""
    # A large document takes seconds, and the node has to be heard of meanwhile.
    notes = await asyncio.to_thread(check_document, name, document, os.environ)
    if not is_given(document, "postgres", "dsn"):
        notes.append(f"postgres.dsn is not given: {KEYS['postgres.dsn'].default}, as the node that runs it sees that")
    return notes + await asyncio.to_thread(shared_slot, document, await others(node, name), os.environ)


def is_given(document: Document, section: str, key: str) -> bool:
    """Whether a document says it itself."""
    found = document.get(section)
    return isinstance(found, dict) and found.get(key) is not None


async def others(node: FleetNode, name: str) -> list[tuple[str, Document]]:
    """The other pipelines."""
    await node.catch_up()
    return [(each, node.view.stored(each).record.document) for each in node.view.names() if each != name]


class _StandIns:
    """Values for references that cannot be resolved here."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.values: dict[str, str] = {}
        """By variable."""
        self.keys: list[str] = []
        """That have such a reference."""

    def fill(self, node: Any, path: str) -> Any:
        """The same, with references that can be resolved: still references, since a secret may not be written out."""
        if isinstance(node, dict):
            return {name: self.fill(each, f"{path}.{name}" if path else str(name)) for name, each in node.items()}
        if isinstance(node, list):
            return [self.fill(each, path) for each in node]
        if not isinstance(node, str):
            return node
        missing = [name for name in _VARIABLE.findall(node) if name not in self._environ]
        is_file = node.startswith(_FILE) and not Path(node.removeprefix("file:")).is_file()
        if not missing and not is_file:
            return node
        if path not in self.keys:
            self.keys.append(path)
        if is_file or _VARIABLE.fullmatch(node):
            variable = f"{_NAME}{len(self.values)}"
            self.values[variable] = _possible(path)
            return f"${{{variable}}}"
        self.values |= dict.fromkeys(missing, _TEXT)
        return node


def _possible(path: str) -> str:
    """A value that this key may have."""
    key = KEYS.get(path)
    if key is None:
        return _TEXT
    if path in _SHAPED:
        return _SHAPED[path]
    if key.choices:
        return str(key.choices[0])
    if isinstance(key.default, dict):
        return "{}"
    for each in (key.default, *key.examples):
        if isinstance(each, bool | int | float | str) and "${" not in str(each):
            return str(each)
    return _TEXT
