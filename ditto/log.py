"""What Ditto says about itself: structured events on standard error.

An event has a constant name and fields (`slot`, `lsn`, `lag_bytes`), never row values and never credentials.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from ditto import log_stream
from ditto.printable_text import indented, printable, printable_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from structlog.typing import EventDict, Processor, WrappedLogger

MASK = "***"
_HANDLER = "ditto"
_SHORTEST = 4
"""A shorter secret is part of too many innocent words."""
_WORDS: Final = frozenset(
    (
        *("access", "admin", "broker", "client", "cluster", "credentials", "database", "default", "ditto"),
        *("events", "guest", "kafka", "localhost", "nats", "none", "null", "pass", "passphrase", "passwd"),
        *("password", "pipeline", "postgres", "postgresql", "public", "rabbitmq", "redis", "replication"),
        *("root", "secret", "server", "stream", "subject", "table", "test", "token", "user", "webhook"),
    )
)
"""Words of Ditto's own sentences. As a password such a word is known to everybody who tries one, and is masked only
where it stands as a credential: everywhere else it would spoil what is said.
"""
_NAMED: Final = r"((?i:pass(?:word|wd|phrase)?|pwd|secret|token|auth|credentials?)['\"]?\s*(?:[:=]\s*['\"]?|['\"]))"

# The user part is everything before the last @ of the address: a password may hold one itself.
_URL_PASSWORD = re.compile(r"\b([a-z][a-z0-9+.-]*://[^\s:/@]*):\S*@", re.IGNORECASE)
_URL_TOKEN = re.compile(r"\b((?:nats|tls)://)[^\s:/@]+@", re.IGNORECASE)
_ASSIGNED = re.compile(r"\b((?:ssl)?password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s&'\"]+)", re.IGNORECASE)


_known: dict[str, re.Pattern[str]] = {}
_is_json = False


def is_json() -> bool:
    """Whether events are written as JSON lines."""
    return _is_json


def keep_secret(secrets: Iterable[str]) -> None:
    """From now on mask these everywhere: a library may put them into an error by themselves."""
    _known.update((secret, _place_of(secret)) for secret in secrets if len(secret) >= _SHORTEST)


def _place_of(secret: str) -> re.Pattern[str]:
    """Where a secret is masked: everywhere, but a word (`_WORDS`) only as a value of what is called like a secret, and
    between : and @.
    """
    found = re.escape(secret)
    return re.compile(rf"{_NAMED}{found}(?!\w)|(?<=:){found}(?=@)" if secret.lower() in _WORDS else found)


def mask_secrets(text: str) -> str:
    """`text` with *** in place of the known secrets, and of what looks like one: in URLs, and after `password=`."""
    for secret, place in _known.items():
        if secret in text:
            text = place.sub(_masked, text)
    text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    text = _URL_TOKEN.sub(rf"\1{MASK}@", text)
    return _ASSIGNED.sub(rf"\1{MASK}", text)


def _masked(found: re.Match[str]) -> str:
    """What names the secret stays."""
    return f"{found[1] or ''}{MASK}" if found.re.groups else MASK


def _mask(value: Any) -> Any:
    if isinstance(value, str):
        return mask_secrets(value)
    if isinstance(value, dict):
        return {name: _mask(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mask(item) for item in value]
    if isinstance(value, BaseException):
        return mask_secrets(str(value))
    return value


def _mask_event(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """The second line of defence; the first is not to log such things."""
    return {name: _mask(value) for name, value in event_dict.items()}


_IN_LINES: Final = frozenset({"exception", "hint"})


def _show(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {name: _show(item) for name, item in value.items()}
    return [_show(item) for item in value] if isinstance(value, list) else value


def _show_event(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """For people: a name or a server's words with a line end in them must not look like an event of their own."""
    return {name: _show_lines(value) if name in _IN_LINES else _show(value) for name, value in event_dict.items()}


def _show_lines(value: Any) -> Any:
    return printable_lines(value) if isinstance(value, str) else _show(value)


def _with_hint_below(renderer: Processor) -> Processor:
    """For people: a hint of several lines, which show a place in a text, comes below its event, indented."""

    def render(logger: WrappedLogger, method: str, event_dict: EventDict) -> Any:
        hint = event_dict.get("hint")
        if not isinstance(hint, str) or "\n" not in hint:
            return renderer(logger, method, event_dict)
        del event_dict["hint"]
        return f"{renderer(logger, method, event_dict)!s}\n    hint: {indented(hint)}"

    return render


def configure(level: Literal["debug", "info", "warning", "error"], format: Literal["auto", "pretty", "json"]) -> None:  # noqa: A002 -- it is the key's name
    """Send Ditto's events, and what libraries log from WARNING up, to standard error.

    `auto` is pretty on a terminal and JSON lines elsewhere. Colours only on a terminal, and never if NO_COLOR is set.
    May be called again; the last call counts.
    """
    global _is_json  # noqa: PLW0603  the last call counts
    is_terminal = sys.stderr.isatty()
    _is_json = format == "json" or (format == "auto" and not is_terminal)
    renderer: Processor
    if _is_json:
        renderer = structlog.processors.JSONRenderer()
    else:
        has_colors = is_terminal and not os.environ.get("NO_COLOR")
        renderer = _with_hint_below(structlog.dev.ConsoleRenderer(colors=has_colors))
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Renderers' own tracebacks show local variables, which may be row values.
        structlog.processors.format_exc_info,
        _mask_event,
    ]
    if not _is_json:
        shared.append(_show_event)
    threshold = getattr(logging, level.upper())
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    _route_libraries(max(threshold, logging.WARNING), shared, renderer)
    if (stream := log_stream.current()) is not None:
        stream.notice = lambda count: _render("log.lost", [*shared, renderer], lines=count)


def _render(event: str, processors: list[Processor], **fields: object) -> str:
    """A warning as the line that is written."""
    rendered: Any = {"event": event, **fields}
    for process in processors:
        rendered = process(None, "warning", rendered)
    return str(rendered)


def _route_libraries(threshold: int, shared: list[Processor], renderer: Processor) -> None:
    """Give what goes through the standard library's logging the same look."""
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(_HANDLER)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shared, renderer],
        )
    )
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.get_name() == _HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(threshold)
    logging.captureWarnings(True)
