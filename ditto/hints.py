"""What errors and checks tell people to enter: the same words everywhere, and names quoted so that they stay names."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from psycopg.sql import SQL, Identifier
from psycopg.sql import Literal as SqlLiteral

from ditto.config import Nats, Redis

RELOAD: Final = (
    "start once with delivery.on_gap: continue, and then, not before, reload consumers from the tables; or with "
    "delivery.on_gap: snapshot, where consumers take the rows from READ events"
)
"""After events were lost for good. Before Ditto streams there may be no slot: changes that are made then would be
neither in the reload nor in the stream."""

GIVE_UP: Final = f"give up the changes that are not stored yet: drop the slot (ditto slot drop), {RELOAD}"

NOT_UTF8: Final = (
    "nothing is lost, the slot holds the change. Let the application write text that is UTF-8, or can be converted to "
    f"it; correct the rows that are there (docs/events.md says how, under Encodings); then {GIVE_UP}"
)
"""Of a row whose text cannot be in an event."""

NOT_UTF8_ROW: Final = (
    "let the application write text that is UTF-8, or can be converted to it; correct the rows that are there "
    "(docs/events.md says how, under Encodings); then ask for the snapshot again"
)
"""Of a row of a snapshot whose text cannot be in an event."""


def nats_command(config: Nats, *words: str) -> str:
    """A command line of the `nats` tool for the servers of the configuration; credentials are left to its context."""
    servers = ",".join(_without_credentials(server) for server in config.servers)
    domain = [] if config.domain is None else [f"--js-domain={config.domain}"]
    return shlex.join(["nats", f"--server={servers}", *domain, *words])


def redis_command(config: Redis, *words: str) -> str:
    """A command line of redis-cli for the server of the configuration; credentials are left to REDISCLI_AUTH."""
    url = urlsplit(config.url)
    if url.scheme == "unix":
        return shlex.join(["redis-cli", "-s", unquote(url.path), *words])
    options = ["-u", _without_credentials(config.url)]
    if config.tls is not None:
        given = (("--cacert", config.tls.ca), ("--cert", config.tls.cert), ("--key", config.tls.key))
        options += ["--tls", *(part for name, path in given if path for part in (name, path))]
    return shlex.join(["redis-cli", *options, *words])


def rabbitmq_permissions(user: str, vhost: str, names: Sequence[str], *, can_read: bool, can_write: bool = True) -> str:
    """The command that lets a user of RabbitMQ create and write, and read, what has these names, and nothing else.

    Where possible without backslashes, which JSON doubles: the hint may be copied from there.
    """
    escaped = "|".join(re.sub(r"[^\w-]", _literally, name) for name in names)
    pattern = f"^({escaped})$" if len(names) > 1 else f"^{escaped}$"
    writing, reading = pattern if can_write else "", pattern if can_read else ""
    return shell("rabbitmqctl", "set_permissions", "-p", vhost, user, writing, writing, reading)


def _literally(sign: re.Match[str]) -> str:
    return f"\\{sign[0]}" if sign[0] in "^\\[]" else f"[{sign[0]}]"


def rabbitmq_definitions(**definitions: Sequence[dict[str, Any]]) -> str:
    """The command that creates what is missing of these streams and exchanges. No plugin is needed for it."""
    return f"echo {shlex.quote(json.dumps(definitions))} | rabbitmqctl import_definitions"


def shell(*words: str) -> str:
    """A command line."""
    return shlex.join(words)


def delete_message(config: Nats, sequence: int | None) -> str:
    """Delete one message of the stream."""
    return nats_command(config, "stream", "rmm", config.stream, str(sequence), "--force")


def _without_credentials(server: str) -> str:
    url = urlsplit(server if "://" in server else f"nats://{server}")
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()


def subject_options(subjects: list[str]) -> list[str]:
    """`--subjects` for `nats stream add` and `edit`, one each."""
    return [f"--subjects={subject}" for subject in subjects]


def identifier(*names: str) -> str:
    """A name, or a name with its schema, quoted for a statement."""
    if all(name.isprintable() for name in names):
        return SQL("{}").format(Identifier(*names)).as_string()
    return ".".join(_escaped(name) for name in names)


def full_identity(schema: str, table: str) -> str:
    """The statement by which PostgreSQL sends a table's old rows whole."""
    return f"ALTER TABLE {identifier(schema, table)} REPLICA IDENTITY FULL"


def literal(text: str) -> str:
    """A text as a literal of a statement."""
    return SqlLiteral(text).as_string().strip()


def _escaped(name: str) -> str:
    """With control characters spelt out, so that a terminal does not take them for its own."""
    signs = (f"\\+{ord(sign):06X}" if not sign.isprintable() else sign * 2 if sign in '\\"' else sign for sign in name)
    return f'U&"{"".join(signs)}"'
