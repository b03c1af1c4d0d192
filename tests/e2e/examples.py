"""The examples of a Markdown page: its fenced blocks, and what the page says about them in comments."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

_FENCE = re.compile(
    r"(?P<notes>(?:^[ ]*<!--[^\n]*-->\n)*)^(?P<indent>[ ]*)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_NOTE = re.compile(r"<!-- (?P<name>[a-z ]+?)(?:: (?P<value>.*?))? -->")

# Of these every block is run, unless the line before it says why not. Others are output, or drawings.
RUN = ("sh", "sql", "yaml", "toml", "json", "python", "ini", "go")
SHOWN = ("", "text")
NOTES = {"not run", "included", "given", "anew", "file", "standby"}


class Example(NamedTuple):
    """A block, and the comments before it.

    `<!-- not run: why -->`;
    `<!-- included: FILE -->`, a file of the repository, which a test of its own runs, or `FILE NAME, NAME.NAME` of it;
    `<!-- given: a running Ditto -->`, or `a table with notes`: what the test makes first;
    `<!-- anew -->`, another way to make role and publication; `<!-- file: NAME -->`, a file that is not Ditto's;
    `<!-- standby -->`, the Ditto that it starts will not stream.
    """

    line: int
    language: str
    text: str
    notes: dict[str, str]


def examples(page: Path) -> list[Example]:
    text = page.read_text()
    return [
        Example(
            line=text.count("\n", 0, match.start("language")) + 1,
            language=match["language"],
            text=textwrap.dedent(match["text"]),
            notes={note["name"]: note["value"] or "" for note in _NOTE.finditer(match["notes"])},
        )
        for match in _FENCE.finditer(text)
    ]
