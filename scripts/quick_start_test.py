"""Follows docs/quick-start.md to the letter on a bare Debian: every block of the page, in its order, in a chroot.

The machine has what the page asks for (git and Python), and a clone of what is committed here. What the page has run in
a terminal of its own goes on in the background.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.image_test import PATH, SUITE, chroot

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from e2e.examples import Example, examples

TOP = Path(__file__).parents[1]
PAGE = TOP / "docs" / "quick-start.md"
BEFORE = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --yes --no-install-recommends git python3 > /dev/null
git config --global --add safe.directory '*'
git clone --quiet /repository ditto
cd ditto
until_says() { for _ in $(seq 300); do grep -q "$2" "$1" && return; sleep 0.2; done; cat "$1"; exit 1; }
"""
# Stop Ditto first, says the page; then the slot can be dropped.
STOP = "kill -TERM $ditto; wait $ditto\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=TOP / "build" / "debian", help="where the bare system is kept")
    parser.add_argument("--mirror", help="Debian mirror for debootstrap; default: its own")
    arguments = parser.parse_args()
    if os.geteuid() or not shutil.which("debootstrap"):
        sys.exit("quick-start-test: needs root and debootstrap (apt-get install debootstrap)")
    bare: Path = arguments.folder
    if not (bare / "usr/bin/apt-get").exists():
        bare.parent.mkdir(parents=True, exist_ok=True)
        command = ["debootstrap", "--variant=minbase", SUITE, str(bare)]
        subprocess.run([*command, *([arguments.mirror] if arguments.mirror else [])], check=True)
    script = BEFORE + "".join(_step(example) for example in examples(PAGE) if example.language != "text")
    with tempfile.TemporaryDirectory(prefix="quick-start-") as name:
        root = Path(name, "root")
        subprocess.run(["cp", "--archive", "--reflink=auto", bare, root], check=True)
        repository = Path(name, "repository")
        subprocess.run(["git", "clone", "--quiet", "--bare", TOP, repository], check=True)
        network = {each: os.environ[each] for each in os.environ if each.startswith(("PIP_", "http", "HTTP"))}
        command = [
            "/bin/bash",
            "-eu",
            "-o",
            "pipefail",
            "-c",
            f"cd /root\n{script}\npg_ctlcluster 17 main stop -m fast",
        ]
        # How this machine reaches the network is no part of the page: its own authorities are known there too.
        own = Path("/usr/local/share/ca-certificates")
        binds = [(repository, "/repository"), *([(own, str(own))] if own.is_dir() else [])]
        line = chroot(root, command, binds=binds, user=(0, 0), is_read_only=False)
        # In a process namespace of its own: whatever the page has started ends with it.
        done = subprocess.run(
            ["unshare", "--pid", "--fork", "--kill-child", *line],
            env={**network, "PATH": PATH, "HOME": "/root"},
            check=False,
        )
    if done.returncode:
        sys.exit(f"quick-start-test: exit code {done.returncode}")
    print("quick-start-test: passed")


def _step(example: Example) -> str:
    """The block as somebody enters it."""
    text = example.text
    says = f"echo {shlex.quote(f'quick-start-test: line {example.line}')}\n"
    if example.language == "ini":
        return ""  # the block after it sets the same
    if example.language == "yaml":
        return f"{says}cat > ditto.yaml <<'END'\n{text}END\n"
    if example.language == "python":
        return f"{says}cat > read.py <<'END'\n{text}END\npython read.py\n"
    if example.language == "sql":
        return f"{says}su postgres -c 'psql --set=ON_ERROR_STOP=1 shop' <<'END'\n{text}END\n"
    if text.startswith("nats-server"):
        return f"{says}{text.strip()} > /root/nats.log 2>&1 &\nuntil_says /root/nats.log 'Server is ready'\n"
    if text.startswith("ditto run"):
        log = "/root/ditto.log"
        return f"{says}{text.strip()} > {log} 2>&1 &\nditto=$!\nuntil_says {log} pipeline.streaming\n"
    return says + (STOP if "slot drop" in text else "") + text


if __name__ == "__main__":
    main()
