"""A configuration of Ditto while it is made of another tool's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from ditto.config.conversion import Setting, convert
from ditto.config.keys import KEYS
from ditto.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE: Final = "${"
"""What comes from the environment is only known at the start."""


class Imported(Struct, frozen=True, kw_only=True):
    """Ditto's configuration, and what is to be said about it."""

    settings: dict[str, Any]
    """By section and key, as the file holds it."""
    notes: list[str]
    """Keys that have no counterpart or work differently, and what to do about them."""


class Draft:
    """What is left of the other tool's file, by key, and what has been made of it."""

    def __init__(self, file: Path, leaves: dict[str, Any]) -> None:
        self.file = file
        self.leaves = leaves
        self.notes: list[str] = []
        self.settings: dict[str, Any] = {}

    def take(self, path: str) -> Any:
        """The value of a key, which is dealt with by that; None where it is not given."""
        return self.leaves.pop(path, None)

    def put(self, path: str, value: Any) -> None:
        """Give a key of Ditto's a value."""
        *sections, name = path.split(".")
        node = self.settings
        for each in sections:
            node = node.setdefault(each, {})
        node[name] = value

    def note(self, path: str, words: str) -> None:
        """Say something about a key of the other tool's."""
        self.notes.append(f"{path}: {words}")

    def is_possible(self, path: str, value: Any) -> bool:
        """Whether a key of Ditto's takes that."""
        try:
            convert(KEYS[path], Setting(value, f"from {self.file}"))
        except ConfigError:
            return False
        return True

    def check(self) -> None:
        """Raise ConfigError for a value that the other tool took, and Ditto cannot."""
        for path, key in KEYS.items():
            node: Any = self.settings
            for name in path.split("."):
                node = node.get(name) if isinstance(node, dict) else None
            if node is not None and REFERENCE not in str(node):
                convert(key, Setting(node, f"from {self.file}"))

    def done(self) -> Imported:
        """The result."""
        return Imported(settings=self.settings, notes=self.notes)
