"""Which libraries a command imports, and what the shortest commands cost: each library only where it is used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXPORTERS = {"uvicorn", "litestar", "prometheus_client", "opentelemetry"}
SINKS = {"nats", "nkeys", "aiohttp", "tenacity"}
LIBRARIES = EXPORTERS | SINKS | {"psycopg", "psycopg_c", "psycopg_binary"}
MOST_S = 0.5
"""Of processor time: 0.2 on a quiet machine, and up to 0.32 where several programs share the processor's cache."""
DITTO = Path(__file__).parents[2] / "ditto"

RECORD = """
import sys
try:
    {code}
finally:
    with open(sys.argv[1], "w") as file:
        file.write(" ".join(sys.modules))
"""


def imported(code: str, folder: Path) -> set[str]:
    """The packages that a new process has imported at its end."""
    names = folder / "modules"
    command = [sys.executable, "-c", RECORD.format(code=code), str(names)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "OTEL_"))}
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    return {name.partition(".")[0] for name in names.read_text().split()}


def command(*arguments: str) -> str:
    return f"from ditto.cli import main; main({list(arguments)!r}, standalone_mode=False)"


def cpu_s(*arguments: str) -> float:
    """User and system time of Python with these arguments: what other processes do matters little to it."""
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import ditto", LIBRARIES | {"click", "structlog", "rich", "asyncio"}),
        ("import ditto.config", LIBRARIES),
        (command("config", "--help"), LIBRARIES),
        (command("config", "schema"), LIBRARIES),
        (command("run", "--help"), LIBRARIES),
        # psycopg knows the version of libpq, which is printed; a connection string is read by libpq.
        (command("--version"), EXPORTERS | SINKS),
        (command("config", "show"), EXPORTERS | SINKS),
        (command("--help"), EXPORTERS),  # the demo, whose help it prints, reads the stream
        ("import ditto.service.run", EXPORTERS | SINKS | {"sqlglot"}),
    ],
)
def test_a_command_imports_what_it_uses(code: str, unwanted: set[str], tmp_path: Path) -> None:
    assert imported(code, tmp_path) & unwanted == set()


def test_nats_py_does_not_import_what_it_needs_for_websockets_alone() -> None:
    code = """
import sys
from ditto import late_imports
late_imports.prepare()
import nats.aio.transport as nats
assert "aiohttp.client" not in sys.modules, "it is imported"
from ditto.sinks.webhook.library import require_library
require_library()
assert "aiohttp.client" not in sys.modules, "it is imported when it is looked for"
import ditto.sinks.webhook.client as webhook
assert issubclass(webhook.aiohttp.ServerDisconnectedError, webhook.aiohttp.ClientError)
assert nats.aiohttp.ClientSession is sys.modules["aiohttp"].ClientSession
from aiohttp.web import Application
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_chosen_sink_is_imported_with_its_library(tmp_path: Path) -> None:
    choose = "import ditto.config, ditto.sinks.choose as c; c.choose_sink(ditto.config.Config())"
    assert "nats" in imported(choose, tmp_path)
    choose = (
        "import ditto.config as c, ditto.sinks.choose as s; s.choose_sink(c.Config(webhook=c.Webhook(url='http://h')))"
    )
    found = imported(choose, tmp_path)
    assert {"aiohttp", "tenacity"} <= found
    assert not {"nats", "nkeys"} & found
    assert not imported("import ditto.sinks.choose, ditto.sinks.base, ditto.sinks.null", tmp_path) & SINKS


@pytest.mark.parametrize("package", ["formats", "decoding"])
def test_decoding_and_formats_know_no_sink_no_pipeline_and_no_route(package: str) -> None:
    upward = re.compile(r"^(?:from|c?import) ditto\.(?:sinks|pipeline|routing)\b.*", re.MULTILINE)
    sources = [path for path in (DITTO / package).rglob("*") if path.suffix in {".py", ".pyx", ".pxd"}]
    assert len(sources) > 5
    assert {path.name: found for path in sources if (found := upward.findall(path.read_text()))} == {}


@pytest.mark.parametrize("arguments", [("-c", "import ditto"), ("-m", "ditto", "--version")])
def test_the_shortest_commands_take_little_time(arguments: tuple[str, ...]) -> None:
    assert min(cpu_s(*arguments) for _ in range(5)) < MOST_S
