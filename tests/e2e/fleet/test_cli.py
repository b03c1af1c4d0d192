"""The commands that ask a fleet, against real nodes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import nats
import pytest
import structlog
import yaml
from click.testing import CliRunner, Result

import ditto
from ditto.cli import main
from e2e.fleet.fleet import Fleet, document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ditto.testing.servers import NatsServer
    from e2e.conftest import OpenWorld
    from e2e.world import World


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Commands configure the log of their process."""
    before, level = structlog.get_config(), logging.getLogger().level
    yield
    structlog.configure(**before)
    logging.getLogger().setLevel(level)


class Commands:
    """Commands for one node, which needs no token from this machine."""

    def __init__(self, url: str) -> None:
        self._environ = {"DITTO_SERVER": url}

    async def begin(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start one as a process."""
        inherited = {name: each for name, each in os.environ.items() if not name.startswith(("DITTO_", "PYTHON"))}
        root = Path(ditto.__file__).parent.parent
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ditto", *arguments),
            env={**inherited, "PYTHONPATH": str(root), **self._environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def __call__(self, *arguments: str, code: int = 0) -> str:
        """What it prints."""
        found: Result = await asyncio.to_thread(
            CliRunner().invoke, main, arguments, env=self._environ, prog_name="ditto"
        )
        assert found.exit_code == code, found.output
        return found.output


async def test_pipelines_from_files_to_their_end(fleet: Fleet, open_world: OpenWorld, tmp_path: Path) -> None:
    shop, orders = open_world(""), open_world("")
    folder = tmp_path / "pipelines"
    folder.mkdir()
    for name, world in (("shop", shop), ("orders", orders)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document(world)))
    async with fleet.watching():
        for name in ("n1", "n2"):
            fleet.start(name)
        await fleet.live("n1", "n2")
        command = Commands(fleet.node("n1").api_url)
        (folder / "bad.yaml").write_text("postgres: {slott: x}\n")
        assert "nothing is applied" in await command("pipelines", "apply", "-f", str(folder), code=2)
        assert await fleet.store.list() == []
        (folder / "bad.yaml").unlink()
        await command("pipelines", "apply", "-f", str(folder), "--check")
        await fleet.streams("shop")
        await fleet.streams("orders")

        # Watched until it is interrupted, also while the node that answers is asked anew.
        watching = await command.begin("pipelines", "status", "--watch", "--every", "200ms", "--json")
        assert watching.stdout is not None
        for _ in range(3):
            async with asyncio.timeout(30):
                told = json.loads(await watching.stdout.readline())
            assert {each["state"] for each in told["pipelines"]} == {"streaming"}
        watching.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            assert b"Traceback" not in await watching.stdout.read()
            assert await watching.wait() == 130

        # Where both go into one file, the difference is before the reason why nothing is applied.
        elsewhere = tmp_path / "shop.yaml"
        elsewhere.write_text(yaml.safe_dump(document(shop, events={"prefix": "elsewhere"})))
        applying = await command.begin("pipelines", "apply", "-f", str(elsewhere))
        assert applying.stdout is not None
        async with asyncio.timeout(60):
            lines = (await applying.stdout.read()).decode().splitlines()
            assert await applying.wait() == 2
        assert [line[:12] for line in lines] == [
            *("shop would s", "    events:", "  -   prefix", "  +   prefix"),
            *("ditto: error", "  hint: give"),
        ]

        # All of one node's pipelines go to the other one.
        leaves = str(fleet.pipeline("shop").node)
        stays = "n2" if leaves == "n1" else "n1"
        assert "runs no pipeline any more" in await command("drain", leaves)
        for name in ("shop", "orders"):
            await fleet.streams(name, on=stays)
        assert "draining" in await command("nodes")
        refused = await command("drain", stays, code=2)
        assert "No other node can take the pipelines orders, shop: nothing would run there." in refused
        assert fleet.node(stays).state == "live"

        # One that has never run has left nothing behind.
        never = {"slot": f"{shop.name}_never", "publication": f"{shop.name}_never"}
        made = document(shop, postgres=never, nats={"stream": "NEVER"}, placement={"labels": {"zone": "nowhere"}})
        (tmp_path / "never.yaml").write_text(yaml.safe_dump(made))
        why = "no live node has the labels zone=nowhere (placement.labels)"
        shown = await command("pipelines", "apply", "-f", str(tmp_path / "never.yaml"))
        assert f"warning: never would run nowhere: {why}" in shown
        assert f"never: created; it is unassigned: {why}" in shown
        await fleet.is_in("never", "unassigned")
        for shown in (await command("pipelines", "list"), await command("pipelines", "status", "never", code=1)):
            assert f"never (unassigned)\n  {why}\n  hint: start a node with these labels" in shown
        assert "Nothing of it stays" in await command("pipelines", "delete", "never", "--yes")
        await command("pipelines", "apply", "-f", str(tmp_path / "never.yaml"))
        told = json.loads(await command("pipelines", "history", "never", "--json"))
        assert [each["change"]["effect"] for each in told["revisions"]] == ["start", "start"]
        assert "There was no slot" in await command("pipelines", "delete", "never", "--drop-slot", "--yes")

        assert "streaming" in await command("pipelines", "status", "shop")
        (folder / "orders.yaml").unlink()
        shown = await command("pipelines", "apply", "-f", str(folder), "--prune", "--yes")
        assert "orders: deleted" in shown
        await orders.slot_is_free()
        shown = await command("pipelines", "delete", "shop", "--drop-slot", "--yes")
        assert f"The slot {shop.name} is dropped." in shown
        assert f'the publication {shop.name} stays: DROP PUBLICATION "{shop.name}" removes it' in shown
        assert await fleet.store.list() == []


async def test_an_entry_that_cannot_be_read_is_repaired_as_the_hint_says(
    fleet: Fleet, control_plane: NatsServer, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(document(world)))
    client = await nats.connect(control_plane.url)
    try:
        async with fleet.watching():
            fleet.start("n1")
            await fleet.live("n1")
            bucket = await client.jetstream().key_value("ditto_pipelines")
            url = fleet.node("n1").api_url
            command, path = Commands(url), "/v1/pipelines/shop"
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
                http.headers["Content-Type"] = "application/json"

                async def broken() -> str:
                    """Break the entry; the hint of the problem document, and what it names as the revision."""
                    revision = await bucket.put("shop", b"garbage")
                    answer = await http.get(path)
                    problem = answer.json()
                    assert answer.status_code == problem["status"] == 409, problem
                    assert problem["type"] == "urn:ditto:error:PipelineUnreadable"
                    assert f"revision {revision} of pipeline shop" in problem["detail"]
                    assert problem["hint"] in await command("pipelines", "get", "shop", code=5)
                    return str(problem["hint"])

                async def entered(hint: str, verb: str) -> str:
                    """Enter the command that the hint has."""
                    found = re.search(rf"ditto (pipelines {verb} [\w. -]+?) (replaces|removes) it", hint)
                    assert found is not None, hint
                    return await command(*found[1].split(), *(["--yes"] if verb == "delete" else []))

                def tag(hint: str) -> str:
                    found = re.search(r'If-Match: ("[0-9]+")', hint)
                    assert found is not None, hint
                    return found[1]

                shown = await entered(await broken(), "apply")
                assert "cannot be read, which is replaced" in shown
                await fleet.streams("shop")
                assert "***" not in await command("pipelines", "get", "shop")
                assert len(json.loads(await command("pipelines", "history", "shop", "--json"))["revisions"]) == 1

                await entered(await broken(), "delete")
                await world.slot_is_free()
                assert (await http.get(path)).status_code == 404

                made: list[tuple[str, dict[str, Any]]] = [("PUT", {"json": document(world)}), ("DELETE", {})]
                for method, body in made:
                    for takes_any in (False, True):
                        former, current = tag(await broken()), tag(await broken())
                        stale = await http.request(method, path, headers={"If-Match": former}, **body)
                        assert stale.status_code == 412, stale.text
                        done = await http.request(
                            method, path, headers={"If-Match": "*" if takes_any else current}, **body
                        )
                        assert done.status_code == 200, done.text
                await broken()
                refused = await http.delete(f"{path}?drop_slot=true", headers={"If-Match": "*"})
                assert (refused.status_code, "nobody knows its slot" in refused.text) == (409, True)
                assert "did not say" in await command("pipelines", "delete", "shop", "--yes")
    finally:
        await client.close()
