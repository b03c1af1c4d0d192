"""What is written to standard error, and what never is."""

from __future__ import annotations

import io
import json
import logging
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from ditto import log

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "hunter2"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def stderr() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def configure(level: Any, form: Any, stream: io.StringIO) -> None:
    with redirect_stderr(stream):
        log.configure(level, form)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_where_there_is_no_terminal(stderr: io.StringIO) -> None:
    configure("info", "auto", stderr)
    structlog.get_logger().info("slot_confirmed", slot="ditto", lag_bytes=5)
    (line,) = lines(stderr)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "slot_confirmed", "level": "info", "slot": "ditto", "lag_bytes": 5}


def test_pretty_on_a_terminal(terminal: Terminal) -> None:
    configure("info", "auto", terminal)
    structlog.get_logger().info("slot_confirmed", slot="ditto")
    assert "slot_confirmed" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert "\x1b[" in terminal.getvalue()


def test_no_color(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    configure("info", "auto", terminal)
    structlog.get_logger().info("slot_confirmed", slot="ditto")
    assert "slot=ditto" in terminal.getvalue()
    assert "\x1b[" not in terminal.getvalue()


def test_the_format_can_be_forced(stderr: io.StringIO) -> None:
    configure("info", "pretty", stderr)
    structlog.get_logger().info("slot_confirmed", slot="ditto")
    assert "slot=ditto" in stderr.getvalue()
    assert "\x1b[" not in stderr.getvalue()


def test_json_on_a_terminal_if_asked(terminal: Terminal) -> None:
    configure("info", "json", terminal)
    structlog.get_logger().info("slot_confirmed")
    assert lines(terminal)[0]["event"] == "slot_confirmed"


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels(level: Any, written: list[str], stderr: io.StringIO) -> None:
    configure(level, "json", stderr)
    logger = structlog.get_logger()
    for each in ("debug", "info", "warning", "error"):
        getattr(logger, each)("something")
    assert [line["level"] for line in lines(stderr)] == written


def test_libraries_are_heard_from_warning_up_in_the_same_format(stderr: io.StringIO) -> None:
    configure("debug", "json", stderr)
    library = logging.getLogger("nats.aio")
    library.info("chatter")
    library.warning("lost %s", "connection")
    (line,) = lines(stderr)
    assert (line["event"], line["level"], line["logger"]) == (
        "lost connection",
        "warning",
        "nats.aio",
    )


def test_libraries_keep_quiet_where_only_errors_are_wanted(stderr: io.StringIO) -> None:
    configure("error", "json", stderr)
    logging.getLogger("asyncio").warning("slow")
    logging.getLogger("asyncio").error("failed")
    assert [line["event"] for line in lines(stderr)] == ["failed"]


def test_configured_twice_writes_once(stderr: io.StringIO) -> None:
    configure("info", "json", stderr)
    configure("info", "json", stderr)
    logging.getLogger("asyncio").error("failed")
    structlog.get_logger().info("slot_confirmed")
    assert len(lines(stderr)) == 2


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_passwords_are_masked_wherever_they_stand(form: Any, stderr: io.StringIO) -> None:
    configure("info", form, stderr)
    logger = structlog.get_logger()
    address = f"postgresql://u:{SECRET}@h"
    logger.info("connecting", url=f"nats://u:{SECRET}@h:4222", others=[f"postgres://u:{SECRET}@h/d"])
    token = f"nats://{SECRET}@h"
    logger.info(token, nested={"dsn": f"host=h password={SECRET}"}, error=ValueError(f"password='{SECRET}'"))
    logging.getLogger("psycopg").warning("lost postgres://u:p@%s@h/d", SECRET)
    try:
        raise ValueError(address)
    except ValueError:
        logger.exception("attempt_failed")
        logging.getLogger("nats").exception("failed")
    assert stderr.getvalue().count("***") == 8
    assert SECRET not in stderr.getvalue()


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_a_traceback_shows_no_local_variables(form: Any, stderr: io.StringIO) -> None:
    configure("info", form, stderr)
    row = {"name": "".join(["a", "l", "i", "c", "e"])}
    try:
        raise KeyError(len(row))
    except KeyError:
        structlog.get_logger().exception("attempt_failed")
    assert "KeyError" in stderr.getvalue()
    assert "alice" not in stderr.getvalue()


def test_a_password_that_is_a_word_spoils_no_sentence_and_is_masked_where_it_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log, "_known", {})
    log.keep_secret(["secret", "postgres", SECRET])
    for text in (
        "webhook.secret is missing: give a secret, see secrets",
        "role postgres of postgres://db/shop has no secret_key",
        "unknown key 'secret'",
    ):
        assert log.mask_secrets(text) == text
    for text, shown in (
        ("host=h password=secret", "host=h password=***"),
        ("postgres://postgres:secret@h/d", "postgres://postgres:***@h/d"),
        ("redis://:secret@h, u:postgres@h", "redis://:***@h, u:***@h"),
        ("""{"user": "u", "pass": "secret"}""", """{"user": "u", "pass": "***"}"""),
        ("{'password': 'secret', 'token':'postgres'}", "{'password': '***', 'token':'***'}"),
        ("ALTER ROLE u PASSWORD 'secret'", "ALTER ROLE u PASSWORD '***'"),
        (f"the word x{SECRET}x", "the word x***x"),
    ):
        assert log.mask_secrets(text) == shown


def test_addresses_without_secrets_stay_readable() -> None:
    for text in ("nats://h:4222", "postgres://u@h:5432/d", "https://example.com/a@b", "table users: 3 rows"):
        assert log.mask_secrets(text) == text


def test_line_ends_and_terminal_escapes_in_values_do_not_pass(stderr: io.StringIO) -> None:
    configure("info", "pretty", stderr)
    name = "t\n2026-01-01T00:00:00Z [error    ] forged \x1b[2J\u009b"
    structlog.get_logger().warning("tables.added", table=name, tables=[name], more={"table": name})
    logging.getLogger("nats").warning("lost %s", name)
    assert len(stderr.getvalue().splitlines()) == 2
    assert all(sign.isprintable() or sign == "\n" for sign in stderr.getvalue())


def test_json_lines_stay_one_line_each(stderr: io.StringIO) -> None:
    configure("info", "json", stderr)
    name = "t\n{}\x1b[2J\u009b\u2028"
    structlog.get_logger().warning("tables.added", table=name)
    assert lines(stderr)[0]["table"] == name
    assert stderr.getvalue().isascii()


@pytest.mark.parametrize("form", ["pretty", "json"])
def test_a_hint_of_several_lines_can_be_read(form: Any, stderr: io.StringIO) -> None:
    configure("info", form, stderr)
    hint = "did you mean name?\ndata.nme == 'a'\n     ^"
    structlog.get_logger().error("reload.refused", reason="no column", hint=hint, key="events.tables.t.when")
    if form == "json":
        assert lines(stderr)[0]["hint"] == hint
        return
    first, *shown = stderr.getvalue().splitlines()
    assert "events.tables.t.when" in first
    assert shown == ["    hint: did you mean name?", "    data.nme == 'a'", "         ^"]
