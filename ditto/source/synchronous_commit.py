"""Whether PostgreSQL's commits wait for Ditto: a walsender's client can be a synchronous standby, asked for or not.

https://www.postgresql.org/docs/current/runtime-config-replication.html#GUC-SYNCHRONOUS-STANDBY-NAMES
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from ditto.source.sql import Control

_SETTING: Final = re.compile(
    r"(?:(?P<method>first|any)\s+)?(?P<count>\d+)\s*\((?P<names>.*)\)", re.IGNORECASE | re.DOTALL
)
_NAME: Final = re.compile(r'"(?:[^"]|"")*"|[^\s,"]+')


class StandbyNames(Struct, frozen=True, kw_only=True):
    """The setting `synchronous_standby_names`."""

    method: str
    """FIRST or ANY; empty where neither is given."""
    count: int
    """How many of them a commit waits for."""
    names: list[str]

    def asks_for(self, application: str) -> bool:
        """Whether it has this name itself, in any case, as PostgreSQL compares."""
        return application.lower() in {name.lower() for name in self.names}

    @property
    def takes_all(self) -> bool:
        """Whether it takes every connected client."""
        return "*" in self.names


def parse_names(setting: str) -> StandbyNames:
    """`a, b`, `2 (a, b)`, `FIRST 2 (a, b)` or `ANY 2 (a, b)`; a name may be quoted, `*` means all."""
    match = _SETTING.fullmatch(setting.strip())
    names = match["names"] if match else setting
    return StandbyNames(
        method=(match["method"] or "").upper() if match else "",
        count=int(match["count"]) if match else 1,
        names=[name[1:-1].replace('""', '"') if name.startswith('"') else name for name in _NAME.findall(names)],
    )


class Standing(Struct, frozen=True, kw_only=True):
    """Ditto's part in PostgreSQL's commits."""

    is_synchronous: bool
    """Commits wait for what it confirms."""
    is_asked_for: bool
    """It is named in `synchronous_standby_names`; otherwise a `*` there takes it in."""
    setting: str


ASYNCHRONOUS: Final = Standing(is_synchronous=False, is_asked_for=False, setting="")


async def look_at_standing(control: Control, walsender_pid: int) -> Standing:
    """The part of that walsender's client, which has the same application_name as this connection."""
    (row,) = await control.fetch(
        "SELECT pg_catalog.current_setting('synchronous_standby_names') AS setting, "
        "pg_catalog.current_setting('application_name') AS application, "
        "(SELECT r.sync_state FROM pg_catalog.pg_stat_replication AS r WHERE r.pid = %s) AS state",
        [walsender_pid],
        doing="see whether commits wait for Ditto",
    )
    names, application = parse_names(row["setting"]), row["application"]
    is_asked_for = names.asks_for(application)
    # The state is hidden from a role without pg_read_all_stats: a client that is named may be waited for.
    is_waited_for = row["state"] in {"sync", "quorum"} if row["state"] else is_asked_for or names.takes_all
    return Standing(is_synchronous=is_waited_for, is_asked_for=is_asked_for, setting=row["setting"])
