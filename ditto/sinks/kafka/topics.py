"""Topics: their names, which of them there are, and what they take."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

from ditto.config.kafka import LONGEST_TOPIC, is_topic
from ditto.errors import NotNow, SinkError, StreamNotFound, StreamUnusable, SubjectCollision
from ditto.routing.route_limit import RouteLimit
from ditto.routing.router import description_subjects, snapshot_subjects
from ditto.sinks.kafka.access import OPERATOR, Access
from ditto.sinks.kafka.client_errors import error_of

if TYPE_CHECKING:
    from confluent_kafka.admin import TopicDescription

    from ditto.config import Kafka
    from ditto.sinks.kafka.client import Admin

DEFAULT_MAX_BYTES: Final = 1_048_588
"""`max.message.bytes` where nobody has changed it."""
BATCH_BYTES: Final = 128
"""Of a record and of the batch around it, besides key, value and headers."""

_WRITTEN: Final = re.compile(r"%([0-9A-F]{2})|(%)(?=[a-z])|-(?=x)|[^A-Za-z0-9._-]")
_COMPACTED: Final = {
    "cleanup.policy": "compact",
    "retention.ms": "-1",
    # The newest record of a key is searched for from the end on: what has been replaced is to go soon.
    "segment.bytes": str(16 << 20),
    "segment.ms": str(60 * 60 * 1000),
    "min.cleanable.dirty.ratio": "0.1",
}
_OF_REPLICAS: Final = ("min.insync.replicas", "unclean.leader.election.enable")
_LEADER_TIMEOUT_S: Final = 20.0
_LOOK_S: Final = 1.0
_DENIED: Final = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})
_UNKNOWN: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})


def topic_of(route: str) -> str:
    """The topic of a route: what Kafka does not take, and %, becomes `-x` and two digits for each byte.

    Raises StreamUnusable where the name is too long.
    """
    name = _written(route)
    if not is_topic(name):
        raise StreamUnusable(
            f"topic {name} would be longer than {LONGEST_TOPIC} characters" if len(name) > 2 else f"{name} is no topic",
            hint="give the table another topic in events.topics, or another events.subject",
            topic=name,
        )
    return name


def _written(route: str) -> str:
    """One to one: `-x` is in no topic but where something is written so; %null and its like become -xnull."""
    return _WRITTEN.sub(_escaped, route)


def _escaped(found: re.Match[str]) -> str:
    if found[1] is not None or found[2] is not None:
        return f"-x{found[1] or ''}"
    return "".join(f"-x{byte:02X}" for byte in found[0].encode())


def _length(part: str) -> int:
    """Of a topic, or of a part of it: what comes behind a hyphen may be an x."""
    return len(_written(part)) + (len("x2D") if part.endswith("-") else 0)


NAMES: Final = RouteLimit(LONGEST_TOPIC, _length, "characters of a topic", like_dot="_")


class Topics:
    """The topics of one pipeline's routes. `names` is filled as routes become known."""

    def __init__(self, config: Kafka, prefix: str, *, reads_only: bool = False) -> None:
        self.checkpoints = config.checkpoint_topic
        self.own = config.own_topic.replace("{prefix}", topic_of(prefix))
        self.access = Access(config, topic_of(prefix), reads_only=reads_only)
        self._own_routes = (description_subjects(prefix), snapshot_subjects(prefix))
        self.names: dict[bytes, str] = {}
        """By route."""
        self._route_of: dict[str, str] = {}

    def is_own(self, route: str) -> bool:
        """Whether its messages go to Ditto's own topic."""
        return route.startswith(self._own_routes)

    def is_description(self, route: str) -> bool:
        """Whether it is that of a table's description."""
        return route.startswith(self._own_routes[0])

    def name(self, route: str) -> str:
        """Raises StreamUnusable, and SubjectCollision where another route has the same topic."""
        if self.is_own(route):
            return self.own
        name = topic_of(route)
        if self._route_of.setdefault(name, route) != route or name in {self.own, self.checkpoints}:
            other = "Ditto's own records" if name in {self.own, self.checkpoints} else self._route_of[name]
            raise SubjectCollision(
                f"{route} and {other} would share topic {name}",
                hint="give the table another topic in events.topics",
                topic=name,
            )
        return name

    def topics_of(self, routes: Collection[str]) -> set[str]:
        """The topics of these routes; patterns are passed over."""
        return {self.name(route) for route in routes if not route.endswith(">")}

    def add(self, routes: Collection[str]) -> set[str]:
        """The same; from now on messages may have these routes."""
        self.names |= {route.encode(): self.name(route) for route in routes if not route.endswith(">")}
        return self.topics_of(routes)


class TopicAdmin:
    """Creates topics and looks at them. Everything here may block."""

    def __init__(self, admin: Admin, config: Kafka, topics: Topics) -> None:
        self._admin = admin
        self._config = config.topics
        self._servers = ",".join(config.servers)
        self._topics = topics
        self._limits: dict[str, int] = {}

    @property
    def creates(self) -> bool:
        """Ditto creates what is missing."""
        return self._config.create

    @property
    def max_bytes(self) -> int:
        """Of the largest message that each known topic takes."""
        return min(self._limits.values(), default=self._default())

    def existing(self) -> set[str]:
        """All topics that this user may see."""
        return {name for name, topic in self._admin.metadata("list the topics").topics.items() if topic.error is None}

    def is_gone(self, name: str) -> bool:
        """The broker says that there is no such topic. One that does not answer soon says nothing."""
        try:
            found = self._admin.client.list_topics(name, timeout=_LOOK_S).topics.get(name)
        except KafkaException:
            return False
        return found is not None and found.error is not None and found.error.code() in _UNKNOWN

    def ensure(self, wanted: Collection[str]) -> None:
        """Create what is missing. Raises StreamNotFound where that is not wanted, SinkDenied where it is forbidden."""
        missing = sorted(set(wanted) - self.existing())
        if missing and not self._config.create:
            self.check_visible(missing, "look for topics")
            raise StreamNotFound(
                f"topics are missing, and kafka.topics.create is false: {', '.join(missing)}",
                hint=f"create them, {OPERATOR}:\n{self.creation(missing)}",
                topic=missing[0],
            )
        if missing:
            self._create(missing)
            self._wait_for(missing)
        self._read_limits(set(wanted) - self._limits.keys())

    def hidden(self, names: Collection[str]) -> list[str]:
        """Those that this user may not describe. The broker lists none of them, whether they are there or not."""
        return sorted(name for name, code in self._describe(names).items() if code in _DENIED)

    def check_visible(self, names: Collection[str], doing: str) -> None:
        """Raise SinkDenied where this user may not see one of these topics, which are not in the list."""
        if hidden := self.hidden(names):
            creation = "" if self._config.create else self.creation(hidden)
            raise self._topics.access.hidden(f"cannot {doing}", hidden, creation)

    def creation(self, names: Collection[str]) -> str:
        """The commands that create these, as Ditto would. Those that are there already stay as they are."""
        compacted = sorted(name for name in names if self._is_compacted(name))
        return "\n".join(self._creation(each) for each in (compacted, sorted(set(names) - set(compacted))) if each)

    def _creation(self, names: Sequence[str]) -> str:
        """Of topics that are created in the same way."""
        new = self._new(names[0])
        words = ["kafka-topics.sh", "--bootstrap-server", self._servers, "--create", "--if-not-exists"]
        for option, number in (("--partitions", new.num_partitions), ("--replication-factor", new.replication_factor)):
            words += [option, str(number)] if number > 0 else []
        words += [word for key, value in (new.config or {}).items() for word in ("--config", f"{key}={value}")]
        if len(names) == 1:
            return shlex.join([*words, "--topic", names[0]])
        return f"for topic in {shlex.join(names)}; do {shlex.join(words)} --topic $topic; done"

    def compaction(self, name: str) -> str:
        """The command that lets the newest record of each key stay."""
        words = ["--alter", "--topic", name, "--add-config", "cleanup.policy=compact"]
        return shlex.join(["kafka-configs.sh", "--bootstrap-server", self._servers, *words])

    def refusals(self, names: Collection[str]) -> dict[str, SinkError]:
        """The error with which each could not be created. The broker only looks whether it would: none is created."""
        new = [self._new(name) for name in names]
        timeout_s = self._admin.timeout_s
        futures = self._admin.client.create_topics(new, validate_only=True, request_timeout=timeout_s) if new else {}
        found = {}
        for name, future in futures.items():
            try:
                future.result()
            except KafkaException as exception:
                error = error_of(exception)
                if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    found[name] = self._admin.failed(error, f"create topic {name}", operation="Create", topic=name)
        return found

    def allowed(self, names: Collection[str]) -> dict[str, Collection[str] | None]:
        """What this user may do with topics that exist, in Kafka's words; None where the broker does not say."""
        found: dict[str, Collection[str] | None] = {}
        for name, described in self._describe(names).items():
            operations = None if isinstance(described, int) else described.authorized_operations
            found[name] = None if operations is None else {each.name for each in operations}
        return found

    def _describe(self, names: Collection[str]) -> dict[str, TopicDescription | int]:
        """What the broker says of each, or the code of its error."""
        timeout_s = self._admin.timeout_s
        if not names:
            return {}
        futures = self._admin.client.describe_topics(
            TopicCollection(list(names)), include_authorized_operations=True, request_timeout=timeout_s
        )
        found: dict[str, TopicDescription | int] = {}
        for name, future in futures.items():
            try:
                found[name] = future.result()
            except KafkaException as exception:
                found[name] = error_of(exception).code()
        return found

    def _create(self, names: Collection[str]) -> None:
        futures = self._admin.client.create_topics(
            [self._new(name) for name in names],
            operation_timeout=self._admin.timeout_s,
            request_timeout=self._admin.timeout_s,
        )
        for name, future in futures.items():
            try:
                future.result()
            except KafkaException as exception:
                error = error_of(exception)
                if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self._admin.failed(error, f"create topic {name}", operation="Create", topic=name) from None

    def _new(self, name: str) -> NewTopic:
        replicas = self._config.replication_factor or -1
        given = {key: str(value) for key, value in self._config.config.items()}
        if self._is_compacted(name):
            kept = {key: given[key] for key in _OF_REPLICAS if key in given}
            return NewTopic(name, 1, replicas, config=_COMPACTED | kept)
        return NewTopic(name, self._config.partitions or -1, replicas, config=given)

    def _is_compacted(self, name: str) -> bool:
        return name in {self._topics.own, self._topics.checkpoints}

    def _wait_for(self, names: Collection[str]) -> None:
        """Until each has a leader, as the broker that is asked knows."""
        deadline = time.monotonic() + _LEADER_TIMEOUT_S
        left = set(names)
        while True:
            found = self._admin.metadata("list the topics").topics
            left = {
                name
                for name in left
                if name not in found
                or found[name].error is not None
                or not found[name].partitions
                or any(each.leader < 0 for each in found[name].partitions.values())
            }
            if not left:
                return
            if time.monotonic() > deadline:
                raise NotNow(f"topic {min(left)} has no leader yet", hint="are enough brokers there?", topic=min(left))
            time.sleep(0.05)

    def _read_limits(self, names: Collection[str]) -> None:
        """What each topic takes; where this user may not ask, what Kafka's default is."""
        for name, found in self.settings(names).items():
            text = found.get("max.message.bytes", "")
            self._limits[name] = int(text) if text.isdigit() else DEFAULT_MAX_BYTES

    def settings(self, names: Collection[str]) -> dict[str, Mapping[str, str]]:
        """The settings of these topics; none of one that this user may not look at."""
        if not names:
            return {}
        asked = {name: ConfigResource(ResourceType.TOPIC, name) for name in names}
        futures = self._admin.client.describe_configs(list(asked.values()), request_timeout=self._admin.timeout_s)
        found: dict[str, Mapping[str, str]] = {}
        for resource, future in futures.items():
            try:
                found[resource.name] = {entry.name: str(entry.value) for entry in future.result().values()}
            except KafkaException:
                found[resource.name] = {}
        return found

    def _default(self) -> int:
        text = str(self._config.config.get("max.message.bytes", ""))
        return int(text) if text.isdigit() else DEFAULT_MAX_BYTES
