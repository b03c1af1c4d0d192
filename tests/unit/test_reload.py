"""Which keys a running Ditto can take, and when a pipeline changes its configuration."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ditto.config import Config, Events, Log, Nats, Postgres, Types
from ditto.config.changes import changed_keys, needs_restart
from ditto.pipeline.pipeline import Pipeline

BEFORE = Config()
AFTER = replace(BEFORE, events=Events(topics={"a": "b"}))


@pytest.mark.parametrize(
    ("after", "keys"),
    [
        (BEFORE, []),
        (
            replace(BEFORE, events=Events(prefix="p", types=Types(int8="string"))),
            ["events.prefix", "events.types.int8"],
        ),
        (replace(BEFORE, log=Log(level="error"), name="x"), ["name", "log.level"]),
        (replace(BEFORE, postgres=Postgres(slot="x"), nats=Nats(url="nats://x")), ["postgres.slot", "nats.url"]),
    ],
)
def test_keys_that_have_another_value(after: Config, keys: list[str]) -> None:
    assert changed_keys(BEFORE, after) == keys


def test_what_needs_a_restart() -> None:
    assert not any(map(needs_restart, ["events.tables", "events.types.int8", "events.format", "log.level"]))
    assert all(
        map(needs_restart, ["events.prefix", "postgres.slot", "nats.stream", "log.format", "http.listen", "name"])
    )


def test_a_pipeline_that_has_sent_nothing_may_change_at_once() -> None:
    pipeline = Pipeline(config=BEFORE)
    changed = pipeline.ask_for(AFTER)
    assert pipeline.may_change_now
    assert (pipeline.config, pipeline.configuration.is_pending) == (BEFORE, True)
    pipeline.change()
    assert changed.is_set()
    assert (pipeline.config, pipeline.configuration.is_pending, pipeline.configuration.revision) == (AFTER, False, 2)
    assert not pipeline.change_wanted.is_set()
    pipeline.change()
    assert pipeline.configuration.revision == 2, "nobody has asked"


def test_one_that_has_sent_something_changes_between_two_transactions_or_as_a_standby() -> None:
    pipeline = Pipeline(config=BEFORE)
    pipeline.counters.events = 1
    assert not pipeline.may_change_now
    pipeline.states.enter("standby", reason="another one has the slot")
    assert pipeline.may_change_now


def test_the_last_one_that_was_asked_for_counts() -> None:
    pipeline = Pipeline(config=BEFORE)
    first = pipeline.ask_for(AFTER)
    second = pipeline.ask_for(replace(BEFORE, events=Events(topics={"a": "c"})))
    pipeline.change()
    assert first.is_set()
    assert second.is_set()
    assert pipeline.config.events.topics == {"a": "c"}
    assert not pipeline.ask_for(BEFORE).is_set()
