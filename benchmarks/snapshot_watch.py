"""What Ditto's transactions and its memory do while a snapshot runs."""

from __future__ import annotations

import threading
from typing import Final

import psycopg

from benchmarks.metering import rss_bytes

_PERIOD_S: Final = 0.05


class Watch:
    """Looks twenty times a second, from a thread of its own, until the block is left."""

    def __init__(self, dsn: str, pid: int) -> None:
        self._dsn = dsn
        self._pid = pid
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.longest_s = 0.0
        self.rss_bytes: list[int] = []

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        query = (
            "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'ditto%' AND backend_type = 'client backend'"
        )
        with psycopg.connect(self._dsn, autocommit=True, application_name="watch") as connection:
            while not self._is_over.wait(_PERIOD_S):
                row = connection.execute(query).fetchone()
                self.longest_s = max(self.longest_s, row[0] if row else 0.0)
                self.rss_bytes.append(rss_bytes(self._pid))
