"""As whom Ditto works, on which keys, and what the user lacks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from ditto.config import Redis
from ditto.errors import SinkDenied
from ditto.hints import redis_command
from ditto.sinks.redis.server import login
from ditto.sinks.redis.stored_state import Keys

COMMANDS: Final = (
    *("+@connection", "+info", "+config|get", "+script|load", "+eval", "+evalsha", "+exists", "+type"),
    *("+hget", "+hmget", "+hgetall", "+hset", "+hincrby", "+sadd", "+smembers"),
    *("+xadd", "+xlen", "+xrange", "+xrevrange", "+xread"),
)
"""Those that Ditto gives, as an ACL says them."""
READING: Final = ("+@connection", "+exists", "+hmget", "+smembers", "+xlen", "+xrange", "+xrevrange", "+xread")
"""Those of the commands that only look at what is stored."""
_GLOB: Final = re.compile(r"([\\*?\[\]])")
_COMMAND: Final = re.compile(r"'([\w|-]+)' command")


class Access(NamedTuple):
    """Of one connection."""

    config: Redis
    user: str
    patterns: tuple[str, ...]
    """Of the keys that Ditto uses."""
    reads_only: bool = False

    def command(self, *, keys: Sequence[str] = (), lacks_commands: bool = False) -> str:
        """Lets the user use Ditto's keys, `keys` among them, where there are some; and give Ditto's commands. Takes
        nothing away. The server refuses keys for one who may use them all.
        """
        more = [f"~{escaped(key)}" for key in keys if not self._covers(key)]
        patterns = [*self.patterns, *more] if keys else []
        if self.reads_only:
            patterns = [f"%R{pattern}" for pattern in patterns]
        commands = () if not lacks_commands else READING if self.reads_only else COMMANDS
        return redis_command(self.config, "ACL", "SETUSER", self.user, *patterns, *commands)

    def _covers(self, key: str) -> bool:
        return any(key.startswith(pattern[1:-1].replace("\\", "")) for pattern in self.patterns)

    def denied(self, begin: str, text: str, keys: Sequence[str], *, is_of_entry: bool = False) -> SinkDenied:
        """The error for the server's words; `keys` are those of the command, or with `is_of_entry` the stream to which
        the script could not add an entry.
        """
        found = _COMMAND.search(text)
        is_in_script = "can't run this command" in text
        on = f"for key {keys[0]}" if len(keys) == 1 else f"for one of the keys {', '.join(keys)}" if keys else ""
        if found is not None:
            what = f"to give the command {found[1].upper()}"
        elif is_in_script and is_of_entry:
            what = f"to give the command XADD {on}"
        elif is_in_script:  # the server does not say which one
            what = f"to give one of the commands of Ditto's script (ditto check names it) {on}".rstrip()
        else:
            what = on or f"for that ({text})"
        lacks_commands = found is not None or is_in_script or not keys
        command = self.command(keys=() if lacks_commands else keys, lacks_commands=lacks_commands)
        return SinkDenied(
            f"{begin}: user {self.user} has no permission {what}",
            hint="enter this, and then ACL SAVE, or CONFIG REWRITE, so that it stays after a restart",
            command=command,
        )


def escaped(key: str) -> str:
    """As a pattern of an ACL that matches nothing else."""
    return _GLOB.sub(r"\\\1", key)


def access_of(config: Redis, keys: Keys, *, reads_only: bool = False) -> Access:
    """To the keys of a pipeline."""
    begin = escaped(config.key_prefix)
    streams = keys.label.removeprefix("ditto:")
    own = () if keys.label.startswith(streams) else (f"~{keys.label}:*",)
    patterns = (f"~{begin}*",) if begin else (*own, f"~{streams}*")
    return Access(config, login(config)[0] or "default", patterns, reads_only)
