"""Commands that ask the application of a node on a socket. The node behind it is a fake."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from ditto.api.fleet.server import serve_fleet
from ditto.cli import main
from ditto.config.server import HttpTls
from unit.fleet_fakes import TOKENS, FakeNode

FILE = "postgres: {dsn: 'postgres://127.0.0.1:9/shop', slot: shop}\nnats: {url: nats://127.0.0.1:9, stream: SHOP}\n"


@contextmanager
def serving(node: FakeNode, *, port: int = 0, tls: HttpTls | None = None) -> Iterator[int]:
    """Its port."""
    begun, found, loop = threading.Event(), [], asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        async with serve_fleet(node.app, f"127.0.0.1:{port}", tls or HttpTls()) as bound:
            found.append(bound)
            begun.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        assert begun.wait(10)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


class Ask:
    """Commands for one node."""

    def __init__(self, node: FakeNode, port: int) -> None:
        self.node = node
        self.environ = {"DITTO_SERVER": f"http://127.0.0.1:{port}", "DITTO_TOKEN": TOKENS["admin"]}

    def __call__(self, *arguments: str, code: int = 0, answer: str | None = None, **environ: str) -> str:
        """What is printed, standard error last."""
        given = {**self.environ, **environ}
        found: Result = CliRunner().invoke(main, arguments, env=given, input=answer, prog_name="ditto")
        assert found.exit_code == code, found.output
        return found.output

    def works(self, *arguments: str, **environ: str) -> bool:
        """Whether it exits with 0."""
        found = CliRunner().invoke(main, arguments, env={**self.environ, **environ}, prog_name="ditto")
        return found.exit_code == 0

    def revision(self, name: str) -> int:
        return int(self.node.store.revisions[name][-1].revision)


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Commands configure the log of their process."""
    before, level = structlog.get_config(), logging.getLogger().level
    yield
    structlog.configure(**before)
    logging.getLogger().setLevel(level)


@pytest.fixture
def ask() -> Iterator[Ask]:
    node = FakeNode()
    with serving(node) as port:
        yield Ask(node, port)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the pipeline `shop`."""
    made = tmp_path / "pipelines"
    made.mkdir()
    (made / "shop.yaml").write_text(FILE)
    return made


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input is one."""
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
