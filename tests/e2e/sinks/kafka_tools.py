"""What Kafka's command-line tools do, as far as Ditto's hints use them: its Maven artifacts have no scripts."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

OPERATIONS = {each.name.replace("_", ""): each for each in AclOperation}


def enter(command: str, folder: Path, *, operator: str) -> None:
    """In a shell. `operator` is the listener by which everything is allowed: it takes the place of the one given."""
    for name in ("kafka-topics.sh", "kafka-acls.sh"):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        script.chmod(0o755)
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "OPERATOR": operator}
    subprocess.run(["sh", "-e", "-c", command], env=env, check=True, timeout=60)


def commands(hint: str) -> str:
    """The lines of a hint that are to be entered."""
    return "\n".join(line for line in hint.splitlines() if re.match(r"kafka-|for topic in ", line))


def create_topic(words: list[str]) -> None:
    parser = argparse.ArgumentParser("kafka-topics.sh", allow_abbrev=False)
    parser.add_argument("--bootstrap-server", required=True)
    parser.add_argument("--create", action="store_true", required=True)
    parser.add_argument("--if-not-exists", action="store_true")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, default=-1)
    parser.add_argument("--replication-factor", type=int, default=-1)
    parser.add_argument("--config", action="append", default=[])
    given = parser.parse_args(words)
    config = dict(each.split("=", 1) for each in given.config)
    topic = NewTopic(given.topic, given.partitions, given.replication_factor, config=config)
    client = admin()
    for future in client.create_topics([topic]).values():
        try:
            future.result()
        except KafkaException as exception:
            if not given.if_not_exists or exception.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def add_acls(words: list[str]) -> None:
    parser = argparse.ArgumentParser("kafka-acls.sh", allow_abbrev=False)
    parser.add_argument("--bootstrap-server", required=True)
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--topic")
    parser.add_argument("--transactional-id")
    parser.add_argument("--resource-pattern-type", choices=["prefixed", "literal"], default="literal")
    parser.add_argument("--operation", action="append", required=True)
    given = parser.parse_args(words)
    kind = ResourceType.TOPIC if given.topic else ResourceType.TRANSACTIONAL_ID
    pattern = ResourcePatternType[given.resource_pattern_type.upper()]
    bindings = [
        AclBinding(
            kind,
            given.topic or given.transactional_id,
            pattern,
            given.allow_principal,
            "*",
            OPERATIONS[operation.upper()],
            AclPermissionType.ALLOW,
        )
        for operation in given.operation
    ]
    client = admin()
    for future in client.create_acls(bindings).values():
        future.result()


def admin() -> AdminClient:
    return AdminClient({"bootstrap.servers": os.environ["OPERATOR"]})


if __name__ == "__main__":
    {"kafka-topics.sh": create_topic, "kafka-acls.sh": add_acls}[sys.argv[1]](sys.argv[2:])
