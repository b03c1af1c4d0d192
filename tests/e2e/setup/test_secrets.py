"""Secrets stay where they were given: no failure, no debug log and no traceback shows one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import psutil
import pytest
from click.testing import CliRunner

from ditto.cli import main
from ditto.source.handshake import PinnedAsyncConnection
from ditto.testing.process import free_port
from ditto.testing.servers import NatsServer

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.world import World

PASSWORD = "Hush-Pg/1:@%?x"
NATS_PASSWORD = "Hush-Nats/2:@%?x"
TOKEN = "Hush-Token-3"
SEED = "SUAHUSHSEED4HUSHSEED4HUSHSEED4HUSHSEED4HUSHSEED4HUSHSEED4X"
PARTS = ("Hush", "HUSH")


def silent(text: str) -> None:
    assert text
    for part in PARTS:
        assert part not in text, text


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.long)])
async def test_no_failure_shows_a_secret(world: World, tmp_path: Path, step: int) -> None:
    """With tracebacks and debug logs, for every secret where PostgreSQL or NATS is away or says no."""
    dead = free_port()
    seed_file = tmp_path / "user.creds"
    seed_file.write_text(
        f"-----BEGIN NATS USER JWT-----\n{TOKEN}\n------END NATS USER JWT------\n"
        f"-----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n"
    )
    url = f"postgres://postgres:{quote(PASSWORD, safe='')}@127.0.0.1"
    by_keyword = f"host=127.0.0.1 user=postgres password='{PASSWORD}'"
    user = f"nats://u:{quote(NATS_PASSWORD, safe='')}@127.0.0.1"
    with NatsServer(tmp_path / "closed", config='authorization { user: u, password: "other" }') as closed:
        refused = closed.port
        cases: list[tuple[int | None, dict[str, object]]] = [
            (None, {"postgres_dsn": f"{url}:{dead}/x"}),
            (None, {"postgres_dsn": f"{by_keyword} port={dead}"}),
            (3, {"postgres_dsn": f"{url}:{world.postgres.port}/nowhere"}),
            (3, {"postgres_dsn": f"{by_keyword} port={world.postgres.port} dbname=nowhere sslpassword={PASSWORD}"}),
            (2, {"postgres_dsn": f"{by_keyword} port={world.postgres.port} keepalives=x"}),
            (2, {"postgres_dsn": f"postgres://u:{PASSWORD}@h/d"}),
            (2, {"postgres_dsn": f"{by_keyword} passwort={PASSWORD}"}),
            (None, {"nats_url": f"{user}:{dead}"}),
            (4, {"nats_url": f"{user}:{refused}"}),
            (4, {"nats_url": f"nats://{TOKEN}@127.0.0.1:{refused}"}),
            (4, {"nats_url": f"nats://127.0.0.1:{refused}", "nats_user": "u", "nats_password": NATS_PASSWORD}),
            (4, {"nats_url": f"nats://127.0.0.1:{refused}", "nats_token": TOKEN}),
            (4, {"nats_url": f"nats://127.0.0.1:{refused}", "nats_nkey_seed": SEED}),
            (4, {"nats_url": f"nats://127.0.0.1:{refused}", "nats_creds": str(seed_file)}),
            (2, {"nats_token": TOKEN, "nats_nkey_seed": SEED}),
            (2, {"nats_password": NATS_PASSWORD}),
        ]
        for code, settings in cases[::step]:
            ditto = world.ditto(**{"debug": "1", "log_level": "debug", **settings})
            if code is None:
                await ditto.logged("session.failed")
                assert await ditto.stop() == 0
            else:
                assert await ditto.ended() == code, ditto.output
            silent(ditto.output)


async def test_a_process_that_works_shows_no_secret(world: World, tmp_path: Path) -> None:
    dsn = world.dsn.replace("postgres@", f"postgres:{quote(PASSWORD, safe='')}@")
    with NatsServer(tmp_path / "nats", config=f'authorization {{ user: u, password: "{NATS_PASSWORD}" }}') as server:
        world.nats_server = server
        ditto = await world.streaming(
            debug="1",
            log_level="debug",
            postgres_dsn=dsn,
            nats_url=server.url.replace("//", f"//u:{quote(NATS_PASSWORD, safe='')}@"),
        )
        silent(" ".join(psutil.Process(ditto.pid).cmdline()))
        world.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
        await ditto.streaming(count=2)
        server.kill()
        await ditto.logged("session.failed", count=2)
        assert await ditto.stop() == 0
        silent(ditto.output)


@pytest.mark.parametrize("notation", ["yaml", "json"])
def test_config_show(notation: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "ditto.json"
    nats = {"url": [f"nats://u:{quote(NATS_PASSWORD, safe='')}@h", f"nats://{TOKEN}@h2"], "nkey_seed": SEED}
    file.write_text(json.dumps({"nats": nats}))
    monkeypatch.setenv("DITTO_POSTGRES_DSN", f"host=h password='{PASSWORD}' sslpassword='{PASSWORD}'")
    shown = CliRunner().invoke(main, ["config", "show", "--config", str(file), "--format", notation])
    assert shown.exit_code == 0
    silent(shown.output)


def test_an_exception_of_a_library_that_quotes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the secrets by themselves, which look like nothing in particular."""

    async def connect(text: str, **_: object) -> None:
        raise RuntimeError(f"cannot use {text}, {PASSWORD}, {quote(PASSWORD, safe='')}")

    monkeypatch.setattr(PinnedAsyncConnection, "connect", connect)
    dsn = f"postgres://u:{quote(PASSWORD, safe='')}@127.0.0.1/d"
    result = CliRunner().invoke(main, ["--debug", "slot", "status", "--dsn", dsn])
    assert result.exit_code == 1
    assert "RuntimeError" in result.output
    assert "***" in result.output
    silent(result.output)
