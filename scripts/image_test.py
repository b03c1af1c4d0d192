"""Builds the Dockerfile step by step in chroots, and runs the result as a container engine would: as its user, on a
read-only root, without any capability, against a PostgreSQL and a NATS server of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import nats
import psycopg

from ditto.testing.process import free_port
from ditto.testing.servers import NatsServer, PostgresServer
from scripts import dockerfile

TOP = Path(__file__).parents[1]
PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
# The image is python:3.13-slim, which is Debian 13 with a Python of that version in /usr/local.
SUITE = "trixie"
PACKAGES = "python3,python3-dev,python3-venv,ca-certificates"
DEADLINE_S = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=TOP / "build" / "image", help="where the roots stand")
    parser.add_argument("--mirror", help="Debian mirror for debootstrap; default: its own")
    arguments = parser.parse_args()
    if os.geteuid() or not shutil.which("debootstrap"):
        sys.exit("image-test: needs root and debootstrap (apt-get install debootstrap)")
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    stages = dockerfile.read(TOP / "Dockerfile")
    base = make_base(folder / "base", arguments.mirror)
    roots: dict[str, Path] = {}
    for stage in stages:
        started = time.monotonic()
        roots[stage.name] = folder / f"stage-{stage.name}"
        env, user = build(stage, base, roots[stage.name], roots)
        print(f"image-test: stage {stage.name} of {stage.base} built in {time.monotonic() - started:.0f} s", flush=True)
    root = roots[stages[-1].name]
    try_out(stages[-1], root, env, user)
    try_out_node(stages[-1], root, env, user)
    used = subprocess.run(["du", "-sm", root], capture_output=True, text=True, check=True).stdout.split()[0]
    print(f"image-test: passed; the root has {used} MB, headers of the base included")


def make_base(base: Path, mirror: str | None) -> Path:
    """What `FROM python:…-slim` stands for. Kept: it is the same every time."""
    if not (base / "usr/local/bin/pip").exists():
        shutil.rmtree(base, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(base)]
        subprocess.run([*command, *([mirror] if mirror else [])], check=True, stdout=subprocess.DEVNULL)
        in_root(base, ["python3", "-m", "venv", "/usr/local"], {"PATH": PATH})
    return base


def build(
    stage: dockerfile.Stage, base: Path, root: Path, roots: dict[str, Path]
) -> tuple[dict[str, str], tuple[int, int]]:
    """Run the steps of a stage in a copy of the base; returns the environment and the user that they end with."""
    if root.exists():
        shutil.rmtree(root)
    subprocess.run(["cp", "--archive", "--reflink=auto", base, root], check=True)
    env = {"PATH": PATH}
    # How this machine reaches the package registry is no part of the image.
    network = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "http", "HTTP"))}
    network.pop("PIP_FIND_LINKS", None)
    place, user = "/", (0, 0)
    for word, rest in stage.steps:
        if word == "RUN":
            fields, command = dockerfile.mount(rest)
            binds = [(roots[fields["from"]] / fields["source"].lstrip("/"), fields["target"])] if fields else []
            in_root(root, ["/bin/sh", "-c", f"cd {place} && {command}"], {**network, **env}, binds=binds, user=user)
        elif word == "COPY":
            copy(shlex.split(rest), root, place)
        elif word == "ENV":
            env |= dockerfile.environment(rest)
        elif word == "WORKDIR":
            place = rest
            (root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
        else:
            uid, _, gid = rest.partition(":")
            user = (int(uid), int(gid))
    return env, user


def copy(parts: list[str], root: Path, place: str) -> None:
    """COPY from the build context: files into a folder, or one folder onto another."""
    *sources, target = parts
    folder = root / place.lstrip("/") / target
    allowed = dockerfile.context(TOP)
    for source in sources:
        files = [path for path in allowed if path == TOP / source or (TOP / source) in path.parents]
        if not files:
            raise dockerfile.NotUnderstood(f"COPY {source}: not in the build context")
        for path in files:
            # A folder's contents are copied, not the folder; a file keeps its name.
            inside = path.relative_to(TOP / source) if (TOP / source).is_dir() else Path(path.name)
            (folder / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, folder / inside)


def chroot(
    root: Path,
    command: list[str],
    *,
    binds: list[tuple[Path, str]],
    user: tuple[int, int],
    is_read_only: bool,
) -> list[str]:
    """The command line that runs `command` in `root`, in a mount namespace that ends with it."""
    q = shlex.quote
    lines = ["set -e", f"mount --bind {q(str(root))} {q(str(root))}", f"cd {q(str(root))}"]
    lines += ["mount -t proc proc proc", "mount -t tmpfs tmpfs dev", "mkdir dev/shm", "mount -t tmpfs tmpfs dev/shm"]
    lines += [
        "chmod 1777 dev/shm",
        "for d in null zero urandom random; do touch dev/$d; mount --bind /dev/$d dev/$d; done",
    ]
    if not is_read_only:
        lines += ["touch etc/resolv.conf", "mount --bind /etc/resolv.conf etc/resolv.conf"]
        # A copy: packages that are installed may rewrite it.
        lines += [
            "mkdir -p etc/ssl/certs",
            "mount -t tmpfs tmpfs etc/ssl/certs",
            "cp -a /etc/ssl/certs/. etc/ssl/certs/",
        ]
    for source, target in binds:
        inside = q(target.lstrip("/"))
        lines += [f"mkdir -p {inside}", f"mount --bind -o ro {q(str(source))} {inside}"]
    if is_read_only:
        lines.append(f"mount -o remount,ro,bind {q(str(root))}")
    confined = [f"--reuid={user[0]}", f"--regid={user[1]}", "--clear-groups"]
    if is_read_only:  # the built image runs, as it should in production
        confined += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    lines.append(shlex.join(["exec", "chroot", str(root), "setpriv", *confined, "--", *command]))
    return ["unshare", "--mount", "--propagation=private", "/bin/sh", "-c", "\n".join(lines)]


def in_root(
    root: Path,
    command: list[str],
    env: dict[str, str],
    *,
    binds: list[tuple[Path, str]] | None = None,
    user: tuple[int, int] = (0, 0),
) -> None:
    """Run a build step. Raises CalledProcessError after its output."""
    line = chroot(root, command, binds=binds or [], user=user, is_read_only=False)
    done = subprocess.run(line, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        done.check_returncode()


def try_out(stage: dockerfile.Stage, root: Path, env: dict[str, str], user: tuple[int, int]) -> None:
    """Start the image's own command, see an event arrive, ask for its health, and stop it."""
    with (
        tempfile.TemporaryDirectory() as name,
        PostgresServer(Path(name, "postgres")) as postgres,
        NatsServer(Path(name, "nats")) as nats_server,
    ):
        Path(name).chmod(0o755)
        mounted = Path(name, "etc")
        mounted.mkdir()
        (mounted / "ditto.yaml").write_text(
            json.dumps({"postgres": {"dsn": postgres.dsn}, "nats": {"url": nats_server.url}})
        )
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE trades (id int PRIMARY KEY)")
        binds = [(mounted, "/etc/ditto")]
        line = chroot(root, [*stage.entrypoint, *stage.command], binds=binds, user=user, is_read_only=True)
        container = subprocess.Popen(line, env=env, stderr=subprocess.PIPE, text=True)
        try:
            log = []
            for text in container.stderr or ():
                log.append(text)
                if "pipeline.streaming" in text:
                    break
            check(bool(log) and "pipeline.streaming" in log[-1], "it streams", "".join(log))
            with psycopg.connect(postgres.dsn, autocommit=True) as connection:
                connection.execute("INSERT INTO trades VALUES (7)")
            event = asyncio.run(first_event(nats_server.url))
            check(event["data"] == {"id": 7}, "an event is stored", event)
            status = Path(f"/proc/{container.pid}/status").read_text()
            fields = dict(field.split(":\t", 1) for field in status.splitlines() if ":\t" in field)
            check(fields["Uid"].split() == [str(user[0])] * 4, f"it runs as uid {user[0]}", fields["Uid"])
            check(
                int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0, "without any capability", fields["CapEff"]
            )
            inside = ["nsenter", f"--target={container.pid}", "--mount", f"--root=/proc/{container.pid}/root"]
            inside += [f"--setuid={user[0]}", f"--setgid={user[1]}"]
            health = subprocess.run([*inside, *stage.health], env=env, capture_output=True, text=True, check=False)
            check(health.returncode == 0, "it is healthy", health)
            touch = subprocess.run([*inside, "touch", "/x"], env=env, capture_output=True, text=True, check=False)
            check("Read-only file system" in touch.stderr, "its root is read-only", touch)
            version = subprocess.run(
                [*inside, "ditto", "--version"], env=env, capture_output=True, text=True, check=False
            )
            check("decoder c" in version.stdout, "the decoder is the compiled one", version)
            print(version.stdout, end="")
        finally:
            container.send_signal(signal.SIGTERM)
            code = container.wait(DEADLINE_S)
        check(code == 0, "SIGTERM ends it with 0", code)


def try_out_node(stage: dockerfile.Stage, root: Path, env: dict[str, str], user: tuple[int, int]) -> None:
    """Start a node of a fleet, open its console, apply a pipeline, see an event arrive, and stop it."""
    with (
        tempfile.TemporaryDirectory() as name,
        PostgresServer(Path(name, "postgres")) as postgres,
        NatsServer(Path(name, "nats")) as nats_server,
    ):
        Path(name).chmod(0o755)
        mounted = Path(name, "etc")
        mounted.mkdir()
        url = f"http://127.0.0.1:{free_port()}"
        server = {
            "nats": {"url": nats_server.url},
            "http": {"listen": url.removeprefix("http://")},
            "auth": {"allow_loopback": True},
        }
        (mounted / "server.yaml").write_text(json.dumps(server))
        pipeline = {"postgres": {"dsn": postgres.dsn}, "nats": {"url": nats_server.url}}
        (mounted / "shop.yaml").write_text(json.dumps(pipeline))
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE trades (id int PRIMARY KEY)")
        command = [*stage.entrypoint, "serve", "--config", "/etc/ditto/server.yaml"]
        line = chroot(root, command, binds=[(mounted, "/etc/ditto")], user=user, is_read_only=True)
        log = Path(name, "log")
        with log.open("w") as output:
            container = subprocess.Popen(line, env=env, stderr=output)
        try:
            until(lambda: is_answered(f"{url}/readyz"), "a node is ready", log)
            check(b"nicegui" in read(url), "its console opens", log.read_text())
            inside = ["nsenter", f"--target={container.pid}", "--mount", f"--root=/proc/{container.pid}/root"]
            inside += [f"--setuid={user[0]}", f"--setgid={user[1]}"]
            apply = [*inside, *stage.entrypoint, "pipelines", "apply", "-f", "/etc/ditto/shop.yaml"]
            done = subprocess.run(apply, env={**env, "DITTO_SERVER": url}, capture_output=True, text=True, check=False)
            check(done.returncode == 0, "it takes a pipeline", done)
            until(lambda: b'"streaming"' in read(f"{url}/v1/pipelines"), "the pipeline streams", log)
            with psycopg.connect(postgres.dsn, autocommit=True) as connection:
                connection.execute("INSERT INTO trades VALUES (7)")
            event = asyncio.run(first_event(nats_server.url))
            check(event["data"] == {"id": 7}, "an event is stored", event)
            health = subprocess.run([*inside, *stage.health], env=env, capture_output=True, text=True, check=False)
            check(health.returncode == 0, "it is healthy", health)
        finally:
            container.send_signal(signal.SIGTERM)
            code = container.wait(DEADLINE_S)
        check(code == 0, "SIGTERM ends it with 0", log.read_text())


def read(url: str) -> bytes:
    """What a GET is answered with. Raises OSError."""
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:  # noqa: S310  an address of its own
        found: bytes = answer.read()
        return found


def is_answered(url: str) -> bool:
    try:
        read(url)
    except OSError:
        return False
    return True


def until(is_so: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        if time.monotonic() > deadline:
            check(False, what, log.read_text())
        time.sleep(0.1)
    print(f"image-test: {what}", flush=True)


async def first_event(url: str) -> dict[str, object]:
    """The first row change in the stream DITTO."""
    client = await nats.connect(url, allow_reconnect=False)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                message = await client.jetstream().get_last_msg("DITTO", "ditto_public_trades")
            except nats.js.errors.NotFoundError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)
            else:
                event: dict[str, object] = json.loads(message.data or b"")
                return event
    finally:
        await client.close()


def check(is_so: bool, what: str, found: object) -> None:
    if not is_so:
        sys.exit(f"image-test: not true: {what}\n{found}")
    print(f"image-test: {what}", flush=True)


if __name__ == "__main__":
    main()
