"""What nats-server says about permissions, in a sentence."""

from __future__ import annotations

import pytest

from ditto.sinks.jetstream.permissions import OF_NODES, OF_PIPELINES, refusal


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ('Permissions Violation for Publish to "$JS.API.STREAM.INFO.DITTO"',
         "publish to $JS.API.STREAM.INFO.DITTO, which is for requests to JetStream"),
        ('permissions violation for publish to "$JS.hub.API.INFO"', "which is for requests to JetStream"),
        ('Permissions Violation for Subscription to "_INBOX.aB.*"', "which is for the answers to its requests"),
        ('Permissions Violation for Subscription to "x" using queue "q"', "subscribe to x, which is for events"),
        ('Permissions Violation for Publish to "$KV.ditto_leases.DITTO.s"', "which is for the lease of the pipeline"),
        ('Permissions Violation for Publish to "$KV.ditto_nodes.n1"', "which is for the control plane of the fleet"),
        ('Permissions Violation for Publish to "ditto.node.n2.status"', "which is for requests from node to node"),
        ('Permissions Violation for Publish to "ditto_Public_Orders"', "publish to ditto_Public_Orders, which"),
    ],
)  # fmt: skip
def test_the_subject_is_named_with_what_it_is_for(words: str, sentence: str) -> None:
    found = refusal(words)
    assert found is not None
    error = found.denied("cannot look at stream DITTO", OF_PIPELINES, "user ditto")
    assert error.message.startswith("cannot look at stream DITTO: user ditto may not ")
    assert sentence in error.message
    assert f"add it to the user's permissions ({found.verb})" in str(error.hint)
    assert str(error.hint).endswith('under "NATS permissions"')
    assert str(found.denied("x", OF_NODES, "user ditto").hint).endswith('under "NATS permissions of nodes"')


@pytest.mark.parametrize("inbox", ["_INBOX.YAij", "answers.YAij"])
def test_a_node_that_may_not_answer_lacks_allow_responses(inbox: str) -> None:
    found = refusal(f'Permissions Violation for Publish to "{inbox}"')
    assert found is not None
    error = found.denied("NATS at a", OF_NODES, "user ditto")
    assert error.message == f"NATS at a: user ditto may not publish to {inbox}, which is the answer to another node"
    assert str(error.hint).startswith("give the user allow_responses: true, as docs/operations.md ")
    assert "allow_responses" not in str(found.denied("NATS at a", OF_PIPELINES, "user ditto").hint)


def test_other_complaints_are_no_refusals() -> None:
    for words in ("", "Stale Connection", "Maximum Connections Exceeded", "Authorization Violation"):
        assert refusal(words) is None
