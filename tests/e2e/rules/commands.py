"""Ditto's commands, as a user calls them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from click.testing import CliRunner

from ditto.cli import main

if TYPE_CHECKING:
    from click.testing import Result

    from e2e.world import World


async def ditto(world: World, *arguments: str, **variables: str) -> Result:
    """Run a command in this process, with the world's configuration."""
    return await asyncio.to_thread(
        CliRunner().invoke, main, arguments, env={**world.settings, **variables}, catch_exceptions=False
    )
