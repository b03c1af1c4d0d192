"""Tables and paragraphs on standard output: laid out for a terminal, and for programs that read lines."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import click
from rich.console import Console

if TYPE_CHECKING:
    from rich.console import RenderableType

_UNBROKEN = 100_000
"""Columns: no line is that long."""


def show(renderable: RenderableType) -> None:
    """Print it. Where standard output is no terminal, no line is broken and none ends with blanks."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(renderable)
        return
    text = io.StringIO()
    Console(file=text, width=_UNBROKEN, highlight=False).print(renderable)
    click.echo("\n".join(line.rstrip(" ") for line in text.getvalue().removesuffix("\n").split("\n")))
