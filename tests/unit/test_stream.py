"""What a stream's settings mean to Ditto: the judgements that need no server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from ditto.config import Nats
from ditto.errors import NoJetStream, NotNow, PublishRejected, SinkError, StreamOwned, StreamUnusable
from ditto.sinks.base import PipelineId
from ditto.sinks.jetstream.api_answers import StreamConfig
from ditto.sinks.jetstream.api_errors import Fault, refusal
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.jetstream.message_size import LARGEST_IN_FILE, largest_message
from ditto.sinks.jetstream.stream import Stream, change_timeout_s
from ditto.sinks.jetstream.stream_risks import risks
from ditto.sinks.jetstream.subjects import folded, subject_matches

OWNER = PipelineId("7312", "ditto", "ditto", start_lsn=0x16_B374D848)
METADATA = {
    "ditto.system-identifier": "7312",
    "ditto.slot": "ditto",
    "ditto.prefix": "ditto",
    "ditto.start-lsn": "16/B374D848",
    "theirs": "kept",
}
# As nats-server gives them for a stream that Ditto created.
DEFAULTS: dict[str, Any] = {
    "name": "DITTO",
    "retention": "limits",
    "storage": "file",
    "discard": "new",
    "max_msgs": -1,
    "max_bytes": -1,
    "max_age": 0,
    "max_msgs_per_subject": -1,
    "num_replicas": 1,
    "sealed": False,
}


def stream(**settings: Any) -> Stream:
    made = Stream(cast("Connection", SimpleNamespace(requests=None)), Nats(stream="DITTO"))
    made.config = msgspec.convert({**DEFAULTS, **settings}, StreamConfig)
    return made


@pytest.mark.parametrize(
    ("pattern", "subject", "is_match"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.b", "a", False),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("*", "a.b", False),
        ("a.>", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("a.*.>", "a.b.c", True),
        ("a.*.>", "a.b", False),
        ("a_*", "a_b", False),
    ],
)
def test_subjects_and_patterns(pattern: str, subject: str, is_match: bool) -> None:
    assert subject_matches(pattern, subject) is is_match


def test_missing_subjects() -> None:
    taken = stream(subjects=["literal", "dotted.>"])
    wanted = {"literal", "dotted.a.b", "dotted", "other"}
    assert taken.missing_subjects(wanted) == {"dotted", "other"}
    assert stream(subjects=None).missing_subjects({"a"}) == {"a"}


def test_the_owner_is_read_from_the_metadata() -> None:
    assert stream(metadata=METADATA).owner == OWNER
    assert stream().owner is None
    assert stream(metadata=None).owner is None
    assert stream(metadata={"ditto.slot": "ditto"}).owner is None


def test_an_owner_may_come_back_with_another_prefix() -> None:
    stream(metadata=METADATA).check_owner(PipelineId("7312", "ditto", "changed", 0))
    stream().check_owner(OWNER)


@pytest.mark.parametrize("claimant", [PipelineId("7312", "other", "ditto", 0), PipelineId("9999", "ditto", "ditto", 0)])
def test_another_slot_or_cluster_is_refused(claimant: PipelineId) -> None:
    with pytest.raises(StreamOwned) as caught:
        stream(metadata=METADATA).check_owner(claimant)
    assert "slot ditto of the database cluster 7312" in caught.value.message
    assert f"slot {claimant.slot} of {claimant.system_identifier}" in caught.value.message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sealed": True}, "sealed"),
        ({"mirror": {"name": "OTHER"}}, "mirror"),
        ({"no_ack": True}, "does not acknowledge"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(StreamUnusable, match=words):
        stream(**settings).check()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"storage": "memory"}, ["storage is memory"]),
        ({"persist_mode": "async"}, ["persist_mode is async"]),
        ({"retention": "workqueue"}, ["retention is workqueue"]),
        ({"retention": "interest"}, ["retention is interest"]),
        ({"discard": "old", "max_msgs": 10}, ["discard is old with max_msgs set"]),
        ({"discard": "old", "max_msgs": 10, "max_bytes": 10}, ["discard is old with max_msgs and max_bytes set"]),
        ({"max_age": 3600 * 10**9}, ["shorter than a day"]),
        ({"max_age": 48 * 3600 * 10**9}, ["max_age is set"]),
        ({"max_msgs_per_subject": 1}, ["max_msgs_per_subject"]),
        ({"allow_msg_ttl": True, "subject_delete_marker_ttl": 10**9}, ["subject_delete_marker_ttl is set"]),
        ({"allow_msg_ttl": True}, ["allow_msg_ttl is set"]),
        ({"sources": [{"name": "OTHER"}]}, ["it has sources"]),
        ({"storage": "memory", "max_age": 10**9}, ["storage is memory", "max_age"]),
    ],
)
def test_what_can_lose_events_is_warned_of(settings: dict[str, Any], words: list[str]) -> None:
    found = risks(stream(**settings).config)
    assert len(found) == len(words)
    for risk, each in zip(found, words, strict=True):
        assert each in risk.what
        assert risk.why


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"discard": "old"},
        {"discard": "new", "max_msgs": 10, "max_bytes": 10},
        {"num_replicas": 3},
    ],
)
def test_what_loses_nothing_is_not_warned_of(settings: dict[str, Any]) -> None:
    assert risks(stream(**settings).config) == []


def test_an_age_of_two_days_is_not_called_shorter_than_one() -> None:
    (risk,) = risks(stream(max_age=48 * 3600 * 10**9).config)
    assert "shorter" not in risk.what


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ((10004, 503), NotNow),
        ((10131, 429), NotNow),
        (10077, NotNow),
        (10008, NotNow),
        (10009, NotNow),
        (10002, NotNow),
        (10118, NotNow),  # stream is offline: its servers are
        (10194, NotNow),
        (10226, NotNow),  # it is being moved
        (10023, NotNow),
        (10047, NotNow),
        (10167, NotNow),
        (10039, NoJetStream),
        (10076, NoJetStream),
        (10054, PublishRejected),
        (10060, PublishRejected),
        (99999, PublishRejected),
    ],
)
def test_jetstreams_codes(code: int | tuple[int, int], kind: type[SinkError]) -> None:
    number, status = code if isinstance(code, tuple) else (code, 400)
    fault = Fault(code=status, err_code=number, description="the server's words")
    error = refusal(fault, "store events")
    assert type(error) is kind
    assert error.message.startswith("cannot store events")
    assert "the server's words" in error.message
    assert error.hint


def test_the_hint_of_a_full_stream_names_it() -> None:
    fault = Fault(code=503, err_code=10077, description="maximum bytes exceeded")
    assert "nats stream purge ORDERS --keep=1:" in (refusal(fault, "store events", stream="ORDERS").hint or "")
    assert "nats stream purge 'A;B' --keep=1:" in (refusal(fault, "store events", stream="A;B").hint or "")
    assert "purge" not in (refusal(fault, "write the lease").hint or ""), "the lease's bucket is not the consumers'"


@pytest.mark.parametrize(
    ("max_payload", "settings", "limit"),
    [
        (1 << 20, {}, "max_payload"),
        (64 << 20, {}, "file storage"),
        (64 << 20, {"storage": "memory"}, "max_payload"),
        (1 << 20, {"max_msg_size": 1000}, "max_msg_size"),
    ],
)
def test_the_largest_message_has_the_smallest_of_the_limits(
    max_payload: int, settings: dict[str, Any], limit: str
) -> None:
    found = largest_message(max_payload, stream(**settings).config)
    sizes = {"max_payload": max_payload, "max_msg_size": 1000, "file storage": LARGEST_IN_FILE}
    assert (found.limit, found.size) == (limit, sizes[limit])


def test_subjects_that_a_wildcard_covers_are_left_out() -> None:
    given = {"a.b", "a.c", "other", "x.>", "x.y"}
    assert folded(given, None) == {"a.b", "a.c", "other", "x.>"}
    assert folded(given, "a.>") == {"a.>", "other", "x.>"}
    assert folded({"other"}, "a.>") == {"other"}
    assert folded({"a.b.c", "a._schema.>"}, "a.>") == {"a.>"}
    assert folded({"a.*.b", "a.b.*", "a.x.b", "a.*.*.>"}, None) == {"a.*.b", "a.b.*", "a.*.*.>"}


@pytest.mark.parametrize(
    ("pattern", "subject", "is_covered"),
    [
        ("a.>", "a.b", True),
        ("a.>", "a", False),
        ("a.>", "a.>", True),
        ("a.>", "a._schema.>", True),
        ("a.>", "a.*.b", True),
        ("a.>", "*.b", False),
        ("a.>", ">", False),
        (">", "a.>", True),
        ("a.*", "a.*", True),
        ("a.*", "a.>", False),
        ("a.*.>", "a.>", False),
        ("a.*.>", "a.b.>", True),
        ("a.*.b", "a.c.b", True),
        ("a.*.b", "a.c.*", False),
        ("a.*.b", "a.c.>", False),
        ("a.b.*", "a.*.b", False),
        ("a.*.*", "a.b.>", False),
        ("a.b", "a.*", False),
        ("a.b", "a.>", False),
    ],
)
def test_a_pattern_covers_another_one_where_it_takes_all_that_the_other_takes(
    pattern: str, subject: str, *, is_covered: bool
) -> None:
    assert subject_matches(pattern, subject) == is_covered


def test_a_change_of_a_stream_with_many_subjects_may_take_longer() -> None:
    assert change_timeout_s(1) == pytest.approx(5, abs=0.1)
    assert change_timeout_s(10_000) > 30
