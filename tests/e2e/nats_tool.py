"""Stands in for the `nats` tool where that is not installed: the commands that Ditto prints, and no others.

`python -m e2e.nats_tool stream edit …`. The tests marked `long` run the same commands with the tool itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import nats
from nats.aio.client import Client

# The options of `stream add` and `stream edit`, as the API has them. Durations are 0 in what Ditto prints.
SETTINGS: dict[str, Callable[[str], Any]] = {
    "storage": str,
    "retention": str,
    "discard": str,
    "replicas": int,
    "max_age": lambda text: int(text.removesuffix("s")),
    "max_bytes": lambda text: int(text.removesuffix("GB")) << 30 if text.endswith("GB") else int(text),
    "max_msgs": int,
    "max_msg_size": int,
    "max_msgs_per_subject": int,
}
NAMES = {"replicas": "num_replicas"}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nats", allow_abbrev=False)
    parser.add_argument("--server", default=os.environ.get("NATS_URL", "nats://localhost:4222"))
    kinds = parser.add_subparsers(dest="kind", required=True)
    request = kinds.add_parser("request", allow_abbrev=False)
    request.add_argument("--raw", action="store_true")
    request.add_argument("--no-templates", action="store_true")
    request.add_argument("subject")
    request.add_argument("body")
    add_bucket = kinds.add_parser("kv", allow_abbrev=False).add_subparsers(dest="action", required=True)
    add_bucket.add_parser("add", allow_abbrev=False).add_argument("name")
    actions = kinds.add_parser("stream", allow_abbrev=False).add_subparsers(dest="action", required=True)
    for action in ("add", "edit", "info", "purge", "rm", "rmm"):
        each = actions.add_parser(action, allow_abbrev=False)
        each.add_argument("name")
        if action == "rmm":
            each.add_argument("sequence", type=int)
        each.add_argument("--force", action="store_true")
        if action == "purge":
            each.add_argument("--keep", type=int)
        if action in {"add", "edit"}:
            each.add_argument("--defaults", action="store_true")
            each.add_argument("--allow-rollup", action="store_true")
            each.add_argument("--subjects", action="append", default=[])
            for name, read in SETTINGS.items():
                each.add_argument(f"--{name.replace('_', '-')}", type=read)
    return parser


async def ask(client: Client, subject: str, body: Any) -> dict[str, Any]:
    reply = await client.request(f"$JS.API.{subject}", b"" if body is None else json.dumps(body).encode(), timeout=5)
    answer: dict[str, Any] = json.loads(reply.data)
    if "error" in answer:
        sys.exit(f"nats: error: {answer['error']['description']}")
    return answer


async def run(given: argparse.Namespace) -> None:
    client = await nats.connect(given.server.split(","), allow_reconnect=False)
    try:
        if given.kind == "request":
            await ask(client, given.subject.removeprefix("$JS.API."), json.loads(given.body))
        elif given.kind == "kv":
            await client.jetstream().create_key_value(bucket=given.name)
        elif given.action in {"add", "edit"}:
            before = {"name": given.name}
            if given.action == "edit":
                before = (await ask(client, f"STREAM.INFO.{given.name}", None))["config"]
            values = {NAMES.get(name, name): getattr(given, name) for name in SETTINGS}
            changes = {name: value for name, value in values.items() if value is not None}
            if given.allow_rollup:
                changes["allow_rollup_hdrs"] = True
            # The tool takes a comma or white space for the end of a subject.
            if subjects := [part for text in given.subjects for part in re.split(r"[,\s]", text)]:
                changes["subjects"] = subjects
            verb = "CREATE" if given.action == "add" else "UPDATE"
            await ask(client, f"STREAM.{verb}.{given.name}", {**before, **changes})
        elif given.action == "info":
            print(json.dumps(await ask(client, f"STREAM.INFO.{given.name}", None)))
        elif given.action == "rmm":
            await ask(client, f"STREAM.MSG.DELETE.{given.name}", {"seq": given.sequence})
        elif given.action == "purge":
            await ask(client, f"STREAM.PURGE.{given.name}", {"keep": given.keep} if given.keep else None)
        else:
            await ask(client, f"STREAM.DELETE.{given.name}", None)
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(run(parser().parse_args()))
