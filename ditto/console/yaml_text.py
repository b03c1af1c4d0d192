"""Documents as YAML, which is how people write configuration files, and the difference between two of them."""

from __future__ import annotations

import difflib
import html
from typing import Any

import yaml

from ditto.errors import ConfigError
from ditto.fleet.document import Document


def written(document: Document) -> str:
    """The document as a file has it."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=False, width=100)


def read(text: str) -> Document:
    """The document that a text holds. Raises ConfigError, without quoting the text."""
    try:
        found: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise ConfigError(f"this is not YAML{where}: {problem}", hint="correct that line") from None
    if not isinstance(found, dict):
        raise ConfigError(
            "a configuration is a mapping of sections",
            hint="begin with a line such as postgres: and put its keys below",
        )
    return found


def put(document: Document, path: str, value: Any) -> None:
    """Set a key that is not there yet. Raises ConfigError where it is, or where a section is a value."""
    node: Any = document
    *sections, name = path.split(".")
    for section in sections:
        if node.get(section) is None:
            node[section] = {}
        node = node[section]
        if not isinstance(node, dict):
            raise ConfigError(f"{section} has a value, where keys are to be", hint=f"remove the value of {section}")
    if name in node:
        raise ConfigError(f"{path} is there already", hint="change its value in the text")
    node[name] = value


def difference(before: str, after: str) -> str:
    """As HTML: lines that go and lines that come, with three lines around them. Empty where nothing differs."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=3))[2:]
    tags = {"+": "ins", "-": "del"}
    shown = []
    for line in lines:
        tag = tags.get(line[:1], "span")
        text = "⋯" if line.startswith("@@") else html.escape(line)
        shown.append(f"<{tag}>{text}</{tag}>")
    return f'<pre class="diff">{"".join(shown)}</pre>' if shown else ""
