"""The lease, as far as it needs no server: what a standby concludes, and how a lease is written down."""

from __future__ import annotations

import msgspec
import pytest

from ditto.pipeline.lease import Silence, Terms, read_terms
from ditto.sinks.jetstream.lease_bucket import lease_key


def test_silence_is_counted_from_the_answer_to_the_next_request() -> None:
    """What happened while a request was under way is not known: it does not count."""
    silence = Silence()
    assert silence.note("a", asked_at=10.0, answered_at=12.0) == 0
    assert silence.note("a", asked_at=13.0, answered_at=17.0) == 1.0
    assert silence.note("a", asked_at=22.0, answered_at=22.5) == 10.0
    assert silence.note("b", asked_at=30.0, answered_at=31.0) == 0
    assert silence.note("b", asked_at=32.0, answered_at=32.0) == 1.0


def test_a_standby_that_was_frozen_has_not_counted() -> None:
    """The answer waited for it in the socket: it tells of the moment when it was asked for, long ago."""
    silence = Silence()
    silence.note("a", asked_at=10.0, answered_at=10.0)
    assert silence.note("a", asked_at=11.0, answered_at=500.0) == 1.0


def test_what_cannot_be_read_starts_the_count_anew() -> None:
    silence = Silence()
    silence.note("a", asked_at=10.0, answered_at=10.0)
    silence.forget()
    assert silence.note("a", asked_at=50.0, answered_at=51.0) == 0
    assert silence.note("a", asked_at=53.0, answered_at=53.0) == 2.0


def test_terms_survive_being_written_down() -> None:
    terms = Terms("run", "host", 4711, 10.0)
    assert read_terms(msgspec.json.encode(terms)) == terms


@pytest.mark.parametrize("value", [b"", b"{}", b"null", b"\xff", b'{"run_id":"a","host":"b","walsender_pid":"1"}'])
def test_what_is_no_lease_says_nothing(value: bytes) -> None:
    assert read_terms(value) is None


@pytest.mark.parametrize(
    ("stream", "key"),
    [
        ("ORDERS", "ORDERS.shop_1"),
        ("a-b_c", "a-b_c.shop_1"),
        ("a=b", "a=3Db.shop_1"),
        ("Größe", "Gr=C3=B6=C3=9Fe.shop_1"),
        ("$a:b", "=24a=3Ab.shop_1"),
    ],
)
def test_a_key_holds_only_what_keys_may(stream: str, key: str) -> None:
    assert lease_key(stream, "shop_1") == key


def test_two_streams_never_share_a_key() -> None:
    assert lease_key("a=3D", "s") != lease_key("a=", "s")
