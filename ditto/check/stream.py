"""The stream: its owner, its subjects, settings that may drop events, and how full it is."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ditto.check.finding import Finding, bad, failed, named, ok
from ditto.check.place import compare_place
from ditto.check.role import Identity
from ditto.config import Config
from ditto.errors import StreamUnusable
from ditto.hints import RELOAD, nats_command, subject_options
from ditto.pipeline.lease import has_been_held
from ditto.routing.router import MANY, Router
from ditto.sinks.jetstream.api import change_subject
from ditto.sinks.jetstream.api_answers import StreamConfig
from ditto.sinks.jetstream.capabilities import capabilities
from ditto.sinks.jetstream.lease_bucket import LeaseBucket
from ditto.sinks.jetstream.stream import Stream
from ditto.sinks.jetstream.stream_risks import Risk, check_usable, risks
from ditto.sinks.jetstream.subjects import is_pattern, subject_matches
from ditto.source.slot import Slot
from ditto.source.sql import Control
from ditto.units import counted, size

_NEARLY: Final = 0.8
_RECENT: Final = 20
"""How many of the last messages are read to find other writers."""

# The options of `nats stream edit` that remove a risk.
_EDITS: Final = {
    "discard": "--discard=new",
    "max_age": "--max-age=0s",
    "max_msgs_per_subject": "--max-msgs-per-subject=-1",
}


def check_existence(config: Config, stream: Stream, needed: set[str]) -> Finding:
    """Whether the stream exists, or will be created."""
    name, check, why = stream.name, "stream.exists", "events are stored in it"
    if stream.exists:
        return ok(check, f"stream {name} exists", why)
    if config.nats.create:
        return ok(check, f"stream {name} will be created by ditto run", why)
    settings = {"storage": "file", "retention": "limits", "discard": "new", "allow_rollup_hdrs": True}
    options = ["--storage=file", "--retention=limits", "--discard=new", "--allow-rollup", "--defaults"]
    command = _with_subjects(config, "add", name, sorted(needed), options, settings)
    return bad("error", check, f"stream {name} does not exist, and nats.create is false", why, command=command)


async def check_subjects(config: Config, stream: Stream, router: Router, needed: set[str]) -> list[Finding]:
    """Whether the stream takes every subject that events may have, and no other stream does."""
    check, why = "stream.subjects", "an event on a subject that the stream does not take cannot be stored"
    missing = sorted(stream.missing_subjects(needed)) if stream.exists else sorted(needed)
    if not missing:
        return [ok(check, f"it takes the {counted(len(needed), 'subject')} that it needs", why)]
    wanted = [router.wildcard] if router.wildcard and not stream.exists else missing[:_RECENT]
    for subject in wanted:
        taking = await stream.api.streams_with(subject, f"look up who takes {subject}")
        others = [name for name in taking if name != stream.name]
        if others:
            what = f"stream {others[0]} takes {subject} already"
            return [
                bad("error", check, what, "a subject belongs to one stream", configuration="events: {prefix: ANOTHER}")
            ]
    if not stream.exists:
        return [ok(check, f"no other stream takes the {counted(len(needed), 'subject')} that it needs", why)]
    if config.nats.create and stream.is_created_here:
        return [ok(check, f"ditto run will add {named(missing)}", why)]
    subjects = [*(stream.config.subjects or []), *missing]
    command = _with_subjects(config, "edit", stream.name, subjects, ["--force"], stream.settings)
    return [bad("error", check, f"it does not take {named(missing)}", why, command=command)]


def _with_subjects(
    config: Config, action: str, name: str, subjects: list[str], options: list[str], settings: dict[str, Any]
) -> str:
    """The command that gives a stream these subjects."""
    if not any("," in subject for subject in subjects):
        return nats_command(config.nats, "stream", action, name, *subject_options(subjects), *options)
    # `nats stream` takes a comma for the end of a subject, quoted or not: the API, which it calls, does not.
    subject = change_subject("CREATE" if action == "add" else "UPDATE", name, domain=config.nats.domain)
    body = msgspec.json.encode({**settings, "name": name, "subjects": subjects}).decode()
    return nats_command(config.nats, "request", "--raw", "--no-templates", subject, body)


def check_subject_count(stream: Stream, router: Router, needed: set[str]) -> Finding:
    """Whether there are so many subjects that adding one takes nats-server long."""
    check, why = "stream.subject_count", "nats-server compares each of a stream's subjects with each when one is added"
    patterns = [
        subject for subject in (router.wildcard, *(stream.config.subjects or ())) if subject and is_pattern(subject)
    ]
    single = {
        subject
        for subject in router.folded(needed) | set(stream.config.subjects or ())
        if not any(subject_matches(pattern, subject) for pattern in patterns)
    }
    if len(single) <= MANY:
        return ok(check, f"{len(single)} subjects without a wildcard", why)
    seconds = 4 * (len(single) / 10_000) ** 2
    return bad(
        "warning",
        check,
        f"{len(single):,} subjects without a wildcard: a new table's first event waits {seconds:.1g} s or longer",
        f"{why}; a dotted template needs one, but consumers then have other subjects",
        configuration='events: {subject: "{prefix}.{schema}.{table}"}',
    )


def check_settings(config: Config, stream: Stream, *, says_risks: bool = True) -> list[Finding]:
    """Settings that cannot work, and settings that may lose events; the latter only if `says_risks`."""
    try:
        check_usable(stream.name, stream.config)
    except StreamUnusable as error:
        return [failed("stream.usable", error)]
    at_risk = risks(stream.config)
    found = [_risk(config, stream, risk) for risk in at_risk] if says_risks else []
    seen = {risk.setting for risk in at_risk}
    for setting, what in _as_it_should_be(stream.config):
        if setting not in seen:
            found.append(ok(f"stream.{setting}", what, "what is acknowledged has to stay in the stream"))
    return [*found, _replicas(config, stream)]


def _risk(config: Config, stream: Stream, risk: Risk) -> Finding:
    check, edit = f"stream.{risk.setting}", _EDITS.get(risk.setting)
    if edit:
        return bad("warning", check, risk.what, risk.why, command=_edit(config, stream, edit))
    if risk.setting == "retention" and stream.config.retention == "interest":
        edit = nats_command(config.nats, "stream", "edit", stream.name, "--retention=limits", "--force")
        return bad("warning", check, risk.what, risk.why, command=edit)
    # A stream of another name is no way out: this one takes the subjects, and the slot has been read.
    delete = nats_command(config.nats, "stream", "rm", stream.name)
    fix = f"it cannot be changed: stop Ditto, delete the stream and its consumers ({delete}), {RELOAD}"
    return bad("warning", check, risk.what, f"{risk.why}; {fix}")


def _edit(config: Config, stream: Stream, option: str) -> str:
    return nats_command(config.nats, "stream", "edit", stream.name, option, "--force")


def _as_it_should_be(config: StreamConfig) -> list[tuple[str, str]]:
    return [
        ("storage", f"storage is {config.storage}"),
        ("discard", f"discard is {config.discard}"),
        ("max_age", "there is no max_age"),
    ]


def _replicas(config: Config, stream: Stream) -> Finding:
    count, check = stream.replicas, "stream.replicas"
    why = "the only copy is gone when its machine is, and with it the events that PostgreSQL has given up"
    if count > 1:
        return ok(check, counted(count, "replica"), why)
    if not stream.is_clustered:
        return ok(check, "1 replica: the server is not in a cluster", why)
    return bad("warning", check, "1 replica, in a cluster", why, command=_edit(config, stream, "--replicas=3"))


def check_limits(config: Config, stream: Stream) -> list[Finding]:
    """How full the stream is."""
    found = []
    refuses = stream.config.discard == "new"
    for setting, used, words in (
        ("max_bytes", stream.state.bytes, size),
        ("max_msgs", stream.state.messages, lambda count: counted(round(count), "message")),
    ):
        most = getattr(stream.config, setting)
        if most <= 0:
            continue
        check, what = f"stream.{setting}", f"it holds {words(used)} of {words(most)}"
        why = "at the limit nothing more is stored" if refuses else "at the limit the oldest events are dropped"
        if used < _NEARLY * most:
            found.append(ok(check, what, why))
            continue
        option = setting.replace("_", "-")
        command = _edit(config, stream, f"--{option}={2 * most}")
        # A full stream takes nothing: the next message is larger than the room that is left.
        is_full = refuses and used >= 0.99 * most
        found.append(bad("error" if is_full else "warning", check, what, why, command=command))
    return found or [ok("stream.limits", "neither max_bytes nor max_msgs", "at a limit nothing more is stored")]


async def check_writers(config: Config, stream: Stream) -> list[Finding]:
    """Whether another client writes into the stream, by its last messages."""
    check, why = "stream.writers", "each foreign message ends a session: Ditto has to be the only writer"
    last = stream.last_sequence
    recent = range(last, max(0, last - _RECENT), -1)
    foreign = [sequence for sequence in recent if await stream.is_foreign(sequence)]
    if not foreign:
        return [ok(check, f"its last {counted(min(last, _RECENT), 'message')}: Ditto's own", why)]
    what = (
        f"not Ditto's: {len(foreign)} of its last {counted(min(last, _RECENT), 'message')}, the newest is {foreign[0]}"
    )
    show = nats_command(config.nats, "stream", "get", stream.name, str(foreign[0]))
    fix = f"let nobody else publish on its subjects ({show} shows what was written)"
    return [bad("warning", check, what, f"{why}; {fix}")]


async def check_place(
    control: Control, config: Config, stream: Stream, identity: Identity, slot: Slot | None
) -> list[Finding]:
    """Whether stream and slot fit together."""
    return await compare_place(
        control,
        config,
        identity,
        slot,
        sink=capabilities(config.nats),
        inspect=stream.inspect,
        has_trace=lambda: has_been_held(_lease(config, stream)),
    )


def _lease(config: Config, stream: Stream) -> LeaseBucket | None:
    """Where `ditto run` keeps the lease; None where it keeps none."""
    ttl_s = config.delivery.lease_ttl_s
    if not ttl_s:
        return None
    return LeaseBucket(stream.connection, config.nats, slot=config.postgres.slot, ttl_s=ttl_s)
