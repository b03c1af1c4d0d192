"""Documents of pipelines in files, as they are written: nothing is filled in."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from ditto.config.files import SUFFIXES, SyntaxFault, parse, parse_yaml
from ditto.errors import ConfigError, DittoError

STANDARD_INPUT: Final = Path("-")


class DocumentFile(NamedTuple):
    """One pipeline."""

    name: str
    document: dict[str, Any]
    file: str
    """Where it is from, for messages."""


class Documents(NamedTuple):
    """What was found, and what could not be read."""

    files: list[DocumentFile]
    faults: list[DittoError]
    unread: int = 0
    """How many files are in subdirectories, which were not asked for."""


def read_documents(path: Path, *, is_recursive: bool = False) -> Documents:
    """The pipelines in a file, in a directory (with `is_recursive` in all directories below, too), or on standard input
    (YAML, `-`).

    A pipeline is called as its document says (`name`), or like its file. Raises ConfigError for a path that is not
    there, and for a directory without any.
    """
    unread = 0
    if path == STANDARD_INPUT:
        return _read([("standard input", None, _from_standard_input)])
    if path.is_dir():
        found, below = _in_directory(path)
        if is_recursive:
            found += below
        else:
            unread = len(below)
        if not found:
            suffixes = f"a file of each ends in {', '.join(SUFFIXES)}"
            raise ConfigError(
                f"{path} has no configuration of a pipeline in it",
                hint=f"{files_below(unread)} not read: --recursive reads them" if unread else suffixes,
            )
    elif path.exists():
        found = [path]
    else:
        raise ConfigError(f"there is no file {path}", hint="give a file, a directory, or - for standard input")
    return _read([(str(each), each.stem, lambda each=each: parse(each)) for each in found])._replace(unread=unread)


def files_below(count: int) -> str:
    """The beginning of a sentence about them."""
    return f"{count:,} file{'s' if count > 1 else ''} in subdirectories {'are' if count > 1 else 'is'}"


def _in_directory(path: Path) -> tuple[list[Path], list[Path]]:
    """The documents at its own level, and those below; nothing of directories that are hidden, or links."""
    own: list[Path] = []
    below: list[Path] = []
    for folder, names, files in os.walk(path):
        names[:] = sorted(each for each in names if not each.startswith("."))
        found = [each for each in map(Path(folder).joinpath, sorted(files)) if _is_document(each)]
        (own if Path(folder) == path else below).extend(found)
    return own, below


def _is_document(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _read(sources: list[Any]) -> Documents:
    files: dict[str, DocumentFile] = {}
    faults: list[DittoError] = []
    for origin, stem, read in sources:
        try:
            document = _mapping(read(), origin)
            name = _name(document, stem, origin)
            document.pop("name", None)  # the path of the request says it
            if name in files:
                raise ConfigError(
                    f"{files[name].file} and {origin} are both of a pipeline {name}",
                    hint="give each a name of its own: the key name, or the name of the file",
                )
            files[name] = DocumentFile(name, document, origin)
        except DittoError as error:
            faults.append(error)
    return Documents(list(files.values()), faults)


def _from_standard_input() -> Any:
    try:
        return parse_yaml(sys.stdin.read())
    except SyntaxFault as error:
        raise ConfigError(f"standard input{error.place} is not valid YAML: {error}", hint=error.hint) from None


def _mapping(document: Any, origin: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise ConfigError(f"the top level of {origin} must be a mapping", hint="it is a file as ditto run takes it")
    return document


def _name(document: dict[str, Any], stem: str | None, origin: str) -> str:
    name = document.get("name", stem)
    if not isinstance(name, str) or not name:
        raise ConfigError(f"the pipeline in {origin} has no name", hint="give the key name")
    return name
