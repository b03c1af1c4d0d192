"""PostgreSQL's regression SQL as a workload that nobody here made: every type, and every kind of ALTER.

Takes the source tree of the PostgreSQL that the tests use (the same major). Only its SQL and data are used, run by psql
in the order of its schedule, one file after the other; what the files print is not compared. An event trigger gives
every new table REPLICA IDENTITY FULL, without which PostgreSQL would refuse their UPDATE and DELETE. Then
`ditto verify` compares.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

import psycopg

import ditto
from ditto.testing.process import ServerProcess
from ditto.testing.programs import postgres_account
from ditto.testing.servers import NatsServer, PostgresServer

DATABASE: Final = "regression"
PUBLICATION: Final = "ditto_regression"
FILE_TIMEOUT_S: Final = 300

UNUSED: Final = {
    "tablespace": "moves databases between tablespaces, for which Ditto would have to be away",
    "event_trigger": "drops every event trigger",
    "event_trigger_login": "likewise",
    "encoding": "stores text that is not UTF-8, at which Ditto stops",
    "infinite_recurse": "may take the server's stack limit",
}

FULL: Final = """
    CREATE SCHEMA ditto_regression;
    CREATE FUNCTION ditto_regression.set_identity() RETURNS event_trigger LANGUAGE plpgsql
        SET search_path = pg_catalog AS $$
    DECLARE
        found record;
    BEGIN
        FOR found IN
            SELECT c.oid::regclass AS name
            FROM pg_event_trigger_ddl_commands() AS d JOIN pg_class AS c ON c.oid = d.objid
            WHERE d.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p') AND c.relreplident <> 'f'
              AND c.relpersistence = 'p'
        LOOP
            EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', found.name);
        END LOOP;
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'no identity: %', SQLERRM;
    END $$;
    CREATE EVENT TRIGGER ditto_identity ON ddl_command_end
        WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO') EXECUTE FUNCTION ditto_regression.set_identity();
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the source tree of PostgreSQL")
    parser.add_argument("--report", type=Path, help="where to put verify's report as JSON")
    parser.add_argument("--only", nargs="*", help="these files alone, test_setup first")
    parser.add_argument("--via-root", action="store_true", help="publish partitions under the name of their root")
    parser.add_argument("--keep", type=Path, help="the folder for logs")
    arguments = parser.parse_args()
    suite = arguments.source / "src" / "test" / "regress"
    if not (suite / "parallel_schedule").exists():
        parser.error(f"{suite} is not there: give the source tree of PostgreSQL")
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="ditto-regression-"))
    folder.mkdir(exist_ok=True)
    settings = {"fsync": "off", "max_prepared_transactions": "10", "wal_level": "logical", "max_wal_size": "4GB"}
    with (
        PostgresServer(folder / "postgres", settings=settings) as postgres,
        NatsServer(folder / "nats", config="max_payload: 32MB") as nats,
    ):
        report = _run(suite, folder, postgres, nats, arguments.only, via_root=arguments.via_root)
    if arguments.report:
        arguments.report.write_text(json.dumps(report, indent=1))
    _show(report)
    if not arguments.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if report["differences"] else 0


def _run(
    suite: Path, folder: Path, postgres: PostgresServer, nats: NatsServer, only: list[str] | None, *, via_root: bool
) -> dict[str, Any]:
    dsn = postgres.dsn.removesuffix("/postgres") + f"/{DATABASE}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0".encode())
        for setting in ("lc_messages = 'C'", "timezone_abbreviations = 'Default'"):
            connection.execute(f"ALTER DATABASE {DATABASE} SET {setting}".encode())
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(FULL.encode())
        if via_root:
            options = "WITH (publish_via_partition_root = true)"
            connection.execute(f"CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES {options}".encode())
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "PG"))},
        "PYTHONPATH": str(Path(ditto.__file__).parent.parent),
        "DITTO_POSTGRES_DSN": dsn,
        "DITTO_POSTGRES_ALLOW_MISSING_IDENTITY": "true",
        "DITTO_POSTGRES_PUBLICATION": PUBLICATION,
        "DITTO_NATS_URL": nats.url,
        "DITTO_EVENTS_PREFIX": "regression",
        "DITTO_EVENTS_SUBJECT": "{prefix}.{schema}.{table}",
        "DITTO_NATS_STREAM": "REGRESSION",
        "DITTO_LOG_FORMAT": "json",
    }
    process = ServerProcess(
        [sys.executable, "-m", "ditto", "run"],
        name="ditto",
        log_path=folder / "ditto.log",
        last_signal=signal.SIGKILL,
        env=environment,
    )
    try:
        process.wait_until(lambda: "pipeline.streaming" in process.output(), timeout_s=60)
        library = _library(suite, folder, postgres.bin_dir)
        for name in _schedule(suite, only):
            _run_file(suite, folder, postgres, name, library)
            if not process.is_running:
                raise SystemExit(f"\n{process.output()[-2000:]}")
        return _verify(environment)
    finally:
        process.end(signal.SIGTERM)


def _schedule(suite: Path, only: list[str] | None) -> list[str]:
    lines = (suite / "parallel_schedule").read_text().splitlines()
    names = [name for line in lines if line.startswith("test:") for name in line.removeprefix("test:").split()]
    return [name for name in names if name not in UNUSED and (not only or name in {"test_setup", *only})]


def _library(suite: Path, folder: Path, bin_dir: Path) -> Path:
    """The functions in C that some files use, where they can be compiled; without them these statements fail."""
    libraries = folder / "lib"
    libraries.mkdir(exist_ok=True)
    include = bin_dir.parent / "include" / "server"
    target = libraries / "regress.so"
    command: list[str | Path] = [
        "cc",
        "-shared",
        "-fPIC",
        "-O1",
        "-w",
        "-I",
        include,
        "-o",
        target,
        suite / "regress.c",
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        print(f"without regress.so: {built.stderr.strip().splitlines()[-1]}", flush=True)
    return libraries


def _run_file(suite: Path, folder: Path, postgres: PostgresServer, name: str, library: Path) -> None:
    user = postgres_account()
    if user is not None:  # the server reads and writes these
        for path in (folder, library):
            path.chmod(0o755)
    results = folder / "results"
    results.mkdir(exist_ok=True)
    results.chmod(0o777)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PGTZ": "America/Los_Angeles",
        "PGDATESTYLE": "Postgres, MDY",
        "PGOPTIONS": "-c intervalstyle=postgres_verbose",
        "LC_ALL": "C",
        "PG_ABS_SRCDIR": str(suite),
        "PG_ABS_BUILDDIR": str(folder),
        "PG_LIBDIR": str(library),
        "PG_DLSUFFIX": ".so",
    }
    command: list[str | Path] = [
        postgres.bin_dir / "psql",
        "-X",
        "-a",
        "-q",
        "-v",
        "HIDE_TABLEAM=on",
        "-v",
        "HIDE_TOAST_COMPRESSION=on",
        "-d",
        postgres.dsn.removesuffix("/postgres") + f"/{DATABASE}",
        "-f",
        suite / "sql" / f"{name}.sql",
    ]
    with (folder / "results" / f"{name}.out").open("wb") as output:
        try:
            subprocess.run(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False, timeout=FILE_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            print(f"{name}: not done after {FILE_TIMEOUT_S} s", flush=True)
    print(name, end=" ", flush=True)


def _verify(environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "ditto", "verify", "--json", "--timeout", "5m"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if not result.stdout.startswith("{"):
        raise SystemExit(result.stdout + result.stderr)
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def _show(report: dict[str, Any]) -> None:
    print(f"\n{report['events']} events, {report['rows']} rows of {report['tables']} tables compared")
    reasons: dict[str, list[str]] = {}
    for each in report["unjudged"]:
        reasons.setdefault(each["reason"], []).append(each["table"])
    for reason, tables in reasons.items():
        print(f"not judged  {len(tables)}: {reason}: {' '.join(tables)}")
    counts = Counter((each["table"], each["kind"], ",".join(each["columns"])) for each in report["differences"])
    for (table, kind, columns), count in sorted(counts.items()):
        print(f"DIFFERENT   {table}: {kind} {columns} ({count})")
    for note in report["notes"]:
        print(f"note        {note}")


if __name__ == "__main__":
    sys.exit(main())
