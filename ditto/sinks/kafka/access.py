"""As whom Ditto works, and the command of Kafka that gives what this one lacks."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError

from ditto.errors import SinkDenied

if TYPE_CHECKING:
    from ditto.config import Kafka

_TOPIC: Final = ("Describe", "DescribeConfigs", "Create", "Write", "Read")
_READING: Final = ("Describe", "Read")
"""For the commands that only look at what is stored."""
_TRANSACTIONAL_ID: Final = ("Describe", "Write")
_SUBJECT: Final = "User:SUBJECT"
OPERATOR: Final = "at a listener where you may (--command-config FILE where that one asks for a user or for TLS)"
"""The commands name Ditto's own listener, at which its operator may have no user."""


class Access:
    """Of one pipeline, or of a command that reads; `prefix` is how the topics of its events begin."""

    def __init__(self, config: Kafka, prefix: str, *, reads_only: bool = False) -> None:
        self._operations = _READING if reads_only else _TOPIC
        self._servers = ",".join(config.servers)
        self._prefix = prefix
        has_certificate = config.user is None and config.tls is not None and config.tls.cert is not None
        self.principal = "the client's certificate" if has_certificate else f"User:{config.user or 'ANONYMOUS'}"
        self._allowed = _SUBJECT if has_certificate else self.principal

    def topics_command(self, topics: Collection[str]) -> str:
        """Gives all rights that are needed for these topics, and for those with the same beginning."""
        others = sorted(name for name in topics if not name.startswith(self._prefix))
        commands = [] if topics and len(others) == len(topics) else [[self._prefix, "prefixed"]]
        commands += [[name, "literal"] for name in others]
        return " && ".join(
            self._command("--topic", name, "--resource-pattern-type", pattern, operations=self._operations)
            for name, pattern in commands
        )

    def _command(self, *resource: str, operations: Collection[str]) -> str:
        words = ["kafka-acls.sh", "--bootstrap-server", self._servers, "--add", "--allow-principal", self._allowed]
        return shlex.join([*words, *resource, *(word for each in operations for word in ("--operation", each))])

    @property
    def note(self) -> str:
        """Where the commands are entered, and what has to be put in place of a part of them."""
        if self._allowed != _SUBJECT:
            return OPERATOR
        return f"{OPERATOR}, with the subject of kafka.tls.cert, as Java writes it (CN=ditto,O=Example), for SUBJECT"

    def denied(self, error: KafkaError, begin: str, *, operation: str, topic: str) -> SinkDenied:
        """The error for one of librdkafka's. `topic` is empty where it is not known."""
        code, context = error.code(), {"topic": topic} if topic else {}
        if code == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            what = "Write for its transactional id, which begins with ditto."
            options = ("--transactional-id", "ditto.", "--resource-pattern-type", "prefixed")
            command = self._command(*options, operations=_TRANSACTIONAL_ID)
        elif code == KafkaError.CLUSTER_AUTHORIZATION_FAILED:
            what = f"{operation} for the cluster"
            command = self._command("--cluster", operations=("Create", "IdempotentWrite"))
        elif code == KafkaError.GROUP_AUTHORIZATION_FAILED:
            what = "Describe for the consumer group ditto"
            command = self._command("--group", "ditto", operations=("Describe",))
        else:
            what = f"{operation} for {f'topic {topic}' if topic else 'one of the topics'}"
            command = self.topics_command([topic] if topic else [])
        message = f"{begin}: {self.principal} has no permission {what}"
        return SinkDenied(message, hint=f"give it, {self.note}", command=command, **context)

    def hidden(self, begin: str, names: Sequence[str], creation: str) -> SinkDenied:
        """The error for topics that Ditto's user may not see. `creation` creates them, in case they are missing too."""
        hint, command = f"give it, {self.note}", self.topics_command(names)
        if creation:
            hint = f"give it, and create those that are missing, as kafka.topics.create is false, {self.note}"
            command = f"{command}\n{creation}"
        return SinkDenied(
            f"{begin}: {self.principal} has no permission Describe for {', '.join(names)}, so that nothing tells "
            "whether they exist",
            hint=hint,
            command=command,
            topic=names[0],
        )
