"""The configuration file: YAML, TOML or JSON into settings, with `${NAME}` filled in from the environment."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import yaml

from ditto.config.conversion import Setting
from ditto.config.keys import OPTIONAL_SECTIONS, PIPELINE, Model
from ditto.config.renamed_keys import with_current_paths
from ditto.config.suggestions import unknown
from ditto.errors import ConfigError, MissingHere

if TYPE_CHECKING:
    from pathlib import Path

# In this order: an escaped brace, a whole reference, and what looks like one and is none.
_REFERENCE = re.compile(r"\$(?P<escape>\$\{)|\$\{(?P<name>[A-Za-z_]\w*)(?P<has_default>:-(?P<default>[^}]*))?\}|\$\{")

_EXPECTED = re.compile(r"(could not find )?expected (':'|',' or '[\]}]')")
"""How sentences of PyYAML's begin that name a sign of YAML's own."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses to let one key silently win over another of the same name.

    An optional section is there as soon as its name is: `tls:` with nothing below it, or with comments alone, is
    `tls: {}`. To leave it out takes `null`, or nothing at all.
    """

    def get_single_node(self) -> yaml.Node | None:
        root = super().get_single_node()
        _open_empty_sections(root, "")
        return root

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # what a merge brings may be overridden: that is its purpose
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _open_empty_sections(node: yaml.Node | None, path: str) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for index, (key, value) in enumerate(node.value):
        child = f"{path}{key.value}"
        is_empty = isinstance(value, yaml.ScalarNode) and value.tag == "tag:yaml.org,2002:null" and not value.value
        if is_empty and child in OPTIONAL_SECTIONS:
            node.value[index] = (key, yaml.MappingNode("tag:yaml.org,2002:map", [], value.start_mark, value.end_mark))
        elif child in PIPELINE.sections:
            _open_empty_sections(value, f"{child}.")


SYNTAX_HINT: Final = "the place is file:line:column, where reading stops: the fault is there, or in the line before"


_REFERENCE_HINT: Final = """within braces YAML needs quotes around a reference: {user: "${NAME}"}"""


class SyntaxFault(ValueError):
    """Where a file is not what its extension says, and why: never quotes the text there."""

    def __init__(
        self, problem: str, line: int | None = None, column: int | None = None, *, hint: str = SYNTAX_HINT
    ) -> None:
        super().__init__(problem)
        self.hint = hint
        self.place = "" if line is None or column is None else f":{line}:{column}"
        """To be put behind the name of the file, as compilers do."""


def parse_yaml(text: str) -> Any:
    """Raises SyntaxFault."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 -- a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = (mark.line + 1, mark.column + 1) if mark else ()
        if mark is not None and text[mark.index : mark.index + 1] == "\t":
            raise SyntaxFault("there is a tab", *where, hint="put spaces in its place") from None
        # What PyYAML quotes may be a password that began with * or !; <tokens> and _EXPECTED are its own words.
        problem = error.problem or "unreadable"
        own = _EXPECTED.match(problem)
        kept = 0 if own is None else own.end()
        problem = problem[:kept] + re.sub(r"'(?!<).*'", "'…'", problem[kept:], flags=re.DOTALL)
        is_reference = mark is not None and text[mark.index - 1 : mark.index + 1] == "${"
        raise SyntaxFault(problem, *where, hint=_REFERENCE_HINT if is_reference else SYNTAX_HINT) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        raise SyntaxFault(
            "it has a character that YAML does not allow",
            before.count("\n") + 1,
            len(before) - before.rfind("\n"),
        ) from None
    except yaml.YAMLError:
        raise SyntaxFault("unreadable") from None


def _parse_json(text: str) -> Any:
    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in pairs:
            if name in result:
                raise ValueError(f"duplicate key {name}")
            result[name] = value
        return result

    if not text.strip():
        return None
    try:
        return json.loads(text, object_pairs_hook=mapping)
    except json.JSONDecodeError as error:
        raise SyntaxFault(error.msg, error.lineno, error.colno) from None


_TOML_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def _parse_toml(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _TOML_PLACE.search(str(error))
        problem = _TOML_PLACE.sub("", str(error))
        if found is None:
            raise SyntaxFault(problem) from None
        if found[1] is None:
            raise SyntaxFault(problem, text.count("\n") + 1, len(text) - text.rfind("\n")) from None
        raise SyntaxFault(problem, int(found[1]), int(found[2])) from None


_PARSERS: Mapping[str, tuple[str, Callable[[str], Any]]] = MappingProxyType(
    {
        ".yaml": ("YAML", parse_yaml),
        ".yml": ("YAML", parse_yaml),
        ".toml": ("TOML", _parse_toml),
        ".json": ("JSON", _parse_json),
    }
)
SUFFIXES: Final = tuple(_PARSERS)
"""Of files that can be read."""


def read(file: Path, environ: Mapping[str, str], model: Model = PIPELINE) -> dict[str, Setting]:
    """The settings in `file` by key. Raises ConfigError for a file that cannot be read, parsed or understood."""
    return settings_of(parse(file), f"in {file}", environ, model)


def settings_of(root: Any, origin: str, environ: Mapping[str, str], model: Model = PIPELINE) -> dict[str, Setting]:
    """The settings in a parsed document by key. Raises ConfigError."""
    settings: dict[str, Setting] = {}
    _collect(root, "", origin, environ, settings, model)
    return with_current_paths(settings)


def parse(file: Path) -> Any:
    """The document in `file`, with its references as they are written. Raises ConfigError."""
    if file.suffix.lower() not in _PARSERS:
        raise ConfigError(
            f"the configuration file {file} has none of the extensions {', '.join(_PARSERS)}", file=str(file)
        )
    language, read_text = _PARSERS[file.suffix.lower()]
    try:
        return read_text(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"the configuration file {file} cannot be read: {error.strerror or type(error).__name__}",
            hint="give the path of a file that is there, and that this user may read",
            file=str(file),
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"the configuration file {file} is not UTF-8 text", file=str(file)) from None
    except ValueError as error:
        place, hint = (error.place, error.hint) if isinstance(error, SyntaxFault) else ("", SYNTAX_HINT)
        raise ConfigError(
            f"the configuration file {file}{place} is not valid {language}: {error}", hint=hint, file=str(file)
        ) from None


def _collect(
    node: Any, path: str, origin: str, environ: Mapping[str, str], settings: dict[str, Setting], model: Model
) -> None:
    """Put the keys below `path` into `settings`. A section without content (None) has none.

    A section that is there without a key still says something where it is `{}`; one of the top level also where it has
    a required key.
    """
    if node is None:
        return
    if not isinstance(node, dict):
        where = f"{path} {origin}" if path else f"the top level {origin}"
        raise ConfigError(f"{where} must be a mapping", hint=_example(path, model), key=path)
    for name, value in node.items():
        child = f"{path}.{name}" if path else str(name)
        if child in model.keys or child in model.former:
            settings[child] = _fill(child, value, origin, environ)
        elif child in model.sections:
            if value is not None or (child in model.required and not path):
                settings[child] = Setting(value, origin)
            _collect(value, child, origin, environ, settings, model)
        else:
            raise unknown(child, origin, model)


def _example(path: str, model: Model) -> str:
    """How a key of the section is written."""
    key = next((each for each in model.keys.values() if each.path.startswith(f"{path}.") and each.examples), None)
    if not path or key is None:
        return "give keys and their values, as docs/configuration.md lists them"
    name = key.path.removeprefix(f"{path}.")
    return f"it is a section with keys of its own: {path.rpartition('.')[2]}: {{{name}: {json.dumps(key.examples[0])}}}"


def _fill(path: str, value: Any, origin: str, environ: Mapping[str, str]) -> Setting:
    """Replace the references in the strings of `value`.

    A value that is text because it had to be, in order to hold a reference (`replicas: ${REPLICAS}`), may turn out
    to be a number.
    """
    if isinstance(value, str):
        filled = _interpolate(path, value, origin, environ)
        return Setting(filled, origin, is_text=filled != value)
    return Setting(_fill_nested(path, value, origin, environ), origin)


def _fill_nested(path: str, value: Any, origin: str, environ: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _interpolate(path, value, origin, environ)
    if isinstance(value, list):
        return [_fill_nested(f"{path}[{index}]", item, origin, environ) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {name: _fill_nested(f"{path}.{name}", item, origin, environ) for name, item in value.items()}
    return value


def _interpolate(path: str, text: str, origin: str, environ: Mapping[str, str]) -> str:
    def replace(found: re.Match[str]) -> str:
        if found["escape"]:
            return "${"
        name = found["name"]
        if name is None:
            raise ConfigError(
                f"{path} {origin} has a ${{ that does not begin a reference",
                hint="write ${NAME} or ${NAME:-default}, and $${ for the characters themselves",
                key=path,
            )
        if found["has_default"]:  # as in a shell, a default also replaces an empty variable
            return environ.get(name, "").rstrip("\r\n") or found["default"]
        if name not in environ:
            raise MissingHere(
                f"{path} {origin} needs the environment variable {name}, which is not set",
                hint=f"set it, or give a default: ${{{name}:-default}}",
                key=path,
                variable=name,
            )
        return environ[name].rstrip("\r\n")  # secret stores and `echo` put a line end behind a password

    return _REFERENCE.sub(replace, text)
