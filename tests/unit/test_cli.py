"""The command line: help, exit codes, and one sentence for each thing that goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
import pytest
import uvloop
import yaml
from click.testing import CliRunner, Result

import ditto
import ditto.service
from ditto.cli import main
from ditto.config import FLAGS, KEYS, schema
from ditto.errors import ConfigError, DittoError, SlotMissing, StreamNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "hunter2"


def invoke(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, arguments, env=env, prog_name="ditto")


@pytest.fixture(autouse=True)
def _no_configuration_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in KEYS.values():
        for variable in key.variables:
            monkeypatch.delenv(variable, raising=False)
    for variable in ("OUTPUT_PLUGIN", "DITTO_CONFIG", "DITTO_DEBUG"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def failing(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a command that raises what the test asks for."""

    @click.command("failing")
    def command() -> None:
        raise request.param

    main.add_command(command)
    yield "failing"
    del main.commands["failing"]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        if name == "demo" and group is main:
            continue  # its options are not the configuration's
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = [((), main), *commands(main)]


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) or "ditto" for path, _ in ALL])
def test_every_command_has_an_example_and_documented_options(path: tuple[str, ...], command: click.Command) -> None:
    text = invoke(*path, "--help").output
    assert "Example" in text
    assert f"ditto {' '.join(path)}".strip() in text.partition("Example")[2]
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            assert parameter.make_metavar(click.Context(command)) in text
            continue
        assert isinstance(parameter, click.Option)
        assert parameter.help
        if parameter.name != "version" and "--version" not in parameter.opts:
            context = click.Context(command)
            record = parameter.get_help_record(context)
            assert record is not None
            assert "default: " in record[1], parameter.opts
            assert "env var: " in record[1], parameter.opts


def test_the_flags_help_comes_from_the_model() -> None:
    text = " ".join(invoke("run", "--help").output.split())
    for path, flags in FLAGS.items():
        for flag in flags:
            assert flag in text
        for variable in KEYS[path].variables if path in KEYS else ():
            assert variable in text


def test_version() -> None:
    text = invoke("--version").output
    names = [line.split()[0] for line in text.splitlines()]
    assert names == ["ditto", "decoder", "libpq", "psycopg", "Python"]
    assert text.startswith(f"ditto {ditto.__version__}\n")


def test_version_where_the_decoder_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ditto.decoding.choose", None)
    result = invoke("--version")
    assert result.exit_code == 0
    assert "decoder none (" in result.output


@pytest.mark.parametrize("dashes", ["-", "--"])
@pytest.mark.parametrize("sign", ["_", "-"])
@pytest.mark.parametrize("is_joined", [False, True])
def test_flags_of_ditto_1(dashes: str, sign: str, is_joined: bool) -> None:
    """Its flag parser takes one dash or two, and a value behind `=` or a space."""
    given = {f"slot{sign}name": "s1", f"publication{sign}name": "p1", f"output{sign}plugin": "pgoutput"}
    flags = [
        part
        for name, value in given.items()
        for part in ([f"{dashes}{name}={value}"] if is_joined else [f"{dashes}{name}", value])
    ]
    result = invoke("config", "show", *flags)
    assert result.exit_code == 0, result.output
    shown = yaml.safe_load(result.stdout)["postgres"]
    assert (shown["slot"], shown["publication"]) == ("s1", "p1")


def test_show_prints_the_effective_configuration(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("nats: {stream: A, replicas: 3}\npostgres: {slot: in_file}", encoding="utf-8")
    result = invoke("config", "show", "-c", str(file), "--slot-name", "by_flag", env={"DITTO_NATS_STREAM": "B"})
    assert result.exit_code == 0, result.output
    shown = yaml.safe_load(result.stdout)
    assert (shown["postgres"]["slot"], shown["nats"]["stream"], shown["nats"]["replicas"]) == ("by_flag", "B", 3)
    as_json = invoke(
        "config",
        "show",
        "--slot",
        "by_flag",
        "--format",
        "json",
        env={"DITTO_CONFIG": str(file), "DITTO_NATS_STREAM": "B"},
    )
    assert json.loads(as_json.stdout) == shown


@pytest.mark.parametrize("path", [path for path in FLAGS if path in KEYS])
def test_every_flag_and_alias_sets_its_key(path: str) -> None:
    text = {"log.level": "error", "log.format": "json", "postgres.dsn": "host=h", "nats.url": "tls://h"}.get(path, "x")
    section, name = path.split(".")
    for flag in FLAGS[path]:
        result = invoke("config", "show", flag, text)
        assert result.exit_code == 0, result.output
        assert yaml.safe_load(result.stdout)[section][name] == text


def test_show_masks_secrets() -> None:
    environ = {"DITTO_NATS_USER": "u", "DITTO_NATS_PASSWORD": SECRET, "DB_DSN": f"postgres://u:{SECRET}@h/d"}
    for notation in ("yaml", "json"):
        result = invoke(
            "config", "show", "--format", notation, "--nats-url", f"nats://u:{SECRET}@a,nats://b", env=environ
        )
        assert result.exit_code == 0
        assert SECRET not in result.output
        assert result.output.count("***") == 3


def test_schema_is_printed() -> None:
    assert json.loads(invoke("config", "schema").stdout) == schema()


@pytest.mark.parametrize(
    "arguments",
    [("config", "show"), ("slot", "status"), ("slot", "drop", "--yes")],
    ids=" ".join,
)
def test_a_wrong_configuration_is_one_sentence(arguments: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("nats: {urll: x}", encoding="utf-8")
    result = invoke(*arguments, "-c", str(file))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == f"ditto: error: nats.urll in {file} is not a known key: did you mean nats.url?\n"


def test_a_fatal_stop_in_json_logging_is_one_json_line_at_error(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("nats: {urll: x}", encoding="utf-8")
    result = invoke("run", "-c", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = map(json.loads, result.stderr.splitlines())
    assert (line["event"], line["level"], line["kind"]) == ("run.failed", "error", "ConfigError")
    assert line["error"] == f"nats.urll in {file} is not a known key: did you mean nats.url?"
    assert line["exit_code"] == 2
    traced = invoke("--debug", "run", "-c", str(file))
    (line,) = map(json.loads, traced.stderr.splitlines())
    assert line["exception"].startswith("Traceback (most recent call last)")
    pretty = invoke("run", "-c", str(file), env={"DITTO_LOG_FORMAT": "pretty"})
    assert pretty.stderr.startswith("ditto: error: nats.urll in")


def test_an_unexpected_fatal_stop_is_one_json_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr(sys.modules["ditto.cli.run"], "effective", fail)
    result = invoke("run", "-c", "x.yaml")
    (line,) = map(json.loads, result.stderr.splitlines())
    assert (result.exit_code, line["level"], line["kind"]) == (1, "error", "ValueError")
    assert SECRET not in result.stderr


def test_a_line_end_in_an_error_does_not_begin_a_line() -> None:
    @click.command("failing")
    def command() -> None:
        raise ConfigError("no\nditto: error: forged\x1b[2J", hint="one\ntwo")

    main.add_command(command)
    try:
        result = invoke("failing")
    finally:
        del main.commands["failing"]
    assert result.stderr == "ditto: error: no\n    ditto: error: forged\\x1b[2J\n  hint: one\n    two\n"


@pytest.mark.parametrize(
    ("failing", "code", "text"),
    [
        (ConfigError("no good", hint="do better"), 2, "ditto: error: no good\n  hint: do better\n"),
        (SlotMissing("no slot"), 3, "ditto: error: no slot\n"),
        (StreamNotFound("no stream", hint="make one"), 4, "ditto: error: no stream\n  hint: make one\n"),
        (DittoError("inside"), 1, "ditto: error: inside\n"),
        (KeyboardInterrupt(), 130, ""),
        (asyncio.CancelledError(), 130, ""),
        (
            ValueError(SECRET),
            1,
            "ditto: error: an unexpected ValueError ended the command\n"
            "  hint: run with --debug for the traceback: ditto --debug failing …\n",
        ),
    ],
    indirect=["failing"],
)
def test_errors_become_sentences_and_exit_codes(failing: str, code: int, text: str) -> None:
    result = invoke(failing)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", text)
    traced = invoke("--debug", failing)
    assert traced.exit_code == code
    assert traced.stderr.startswith("Traceback (most recent call last)")
    assert traced.stderr.endswith(text)


def test_usage_errors_exit_with_2() -> None:
    assert invoke("run", "--no-such-flag").exit_code == 2
    assert invoke("run", "--log-level", "loud").exit_code == 2
    assert invoke("nonsense").exit_code == 2


def test_run_hands_the_configuration_to_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    async def run(config: Any, *, read: Any) -> None:
        assert read() == config
        seen.extend([config, asyncio.get_running_loop()])

    def configure(level: str, form: str) -> None:
        seen.append((level, form))

    monkeypatch.setattr("ditto.log.configure", configure)
    fake = ModuleType("ditto.service.run")
    fake.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ditto.service.run", fake)
    monkeypatch.setattr(ditto.service, "run", fake, raising=False)
    result = invoke("run", "--slot", "s", "--log-level", "error", "--output-plugin", "pgoutput")
    assert result.exit_code == 0, result.output
    first, levels, config, loop = seen
    assert first == ("info", "auto"), "for what is wrong with the configuration"
    assert levels == ("error", "auto")
    assert config.postgres.slot == "s"
    assert isinstance(loop, uvloop.Loop)


def test_demo_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ditto.cli.demo", None)
    assert invoke("--help").exit_code == 0
    result = invoke("demo", "--seconds", "3")
    assert result.exit_code == 2
    assert "ditto demo cannot start" in result.stderr
    assert "ditto-cdc[demo]" in result.stderr


def test_drop_refuses_to_guess_where_nobody_can_be_asked() -> None:
    result = invoke("slot", "drop")
    assert result.exit_code == 2
    assert "hint: give --yes" in result.stderr


@pytest.mark.parametrize("arguments", [("slot", "status"), ("slot", "drop", "--yes")])
def test_an_unreachable_server_exits_with_3(arguments: tuple[str, ...]) -> None:
    with socket.socket() as taken:  # bound and not listening: refused, whatever else runs on this machine
        taken.bind(("127.0.0.1", 0))
        dsn = f"postgres://u:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/d"
        result = invoke(*arguments, "--dsn", dsn)
    assert result.exit_code == 3
    assert "127.0.0.1" in result.stderr
    assert "hint: " in result.stderr
    assert SECRET not in result.output
    assert "Traceback" not in result.output


def test_flags_are_read_in_any_case_and_files_with_a_mark_are_imported(tmp_path: Path) -> None:
    assert "level: error" in invoke("config", "show", "--log-level", "ERROR").stdout
    file = tmp_path / "config.yml"
    file.write_bytes(b"\xef\xbb\xbflistener: {slotName: s}\r\npublisher: {type: NATS}\r\n")
    assert "slot: s" in invoke("config", "import", str(file)).stdout


def test_the_line_end_behind_the_password_that_libpq_reads_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret\n")
    assert invoke("config", "show").exit_code == 0
    assert os.environ["PGPASSWORD"] == "secret"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")  # noqa: PTH110
def test_a_full_standard_output_is_named() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ended = subprocess.run(
            [sys.executable, "-m", "ditto", "config", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (
        1,
        "ditto: error: standard output takes no more: No space left on device\n",
    )
