"""What nats-server does not let the user do: a sentence of its words, and where what is needed is listed."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from ditto.errors import SinkDenied

OF_PIPELINES: Final = "NATS permissions"
OF_NODES: Final = "NATS permissions of nodes"
"""Sections of docs/operations.md."""

_REFUSAL: Final = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE)
_MEANINGS: Final = (
    (re.compile(r"\$JS\.([^.]+\.)?API\."), "requests to JetStream"),
    (re.compile(r"\$JS\.FC\."), "the flow control of consumers"),
    (re.compile(r"\$KV\.ditto_leases\."), "the lease of the pipeline"),
    (re.compile(r"\$KV\.ditto_"), "the control plane of the fleet"),
    (re.compile(r"ditto\.node\."), "requests from node to node"),
    (re.compile(r"_INBOX"), "the answers to its requests"),
)
_OTHERS: Final = "events and checkpoints"


class Refusal(NamedTuple):
    """One thing that the user may not do."""

    verb: Literal["publish", "subscribe"]
    subject: str

    def denied(self, what: str, permissions: str, user: str) -> SinkDenied:
        """The error: `what` was tried by `user`; `permissions` is the section that lists what is needed."""
        subject = self.subject
        if self._is_answer(permissions):
            return SinkDenied(
                f"{what}: {user} may not publish to {subject}, which is the answer to another node",
                hint=f'give the user allow_responses: true, as docs/operations.md does under "{OF_NODES}"',
            )
        meaning = next((text for pattern, text in _MEANINGS if pattern.match(subject)), _OTHERS)
        return SinkDenied(
            f"{what}: {user} may not {self.verb} to {subject}, which is for {meaning}",
            hint=f"add it to the user's permissions ({self.verb}), with the wildcards that docs/operations.md lists "
            f'under "{permissions}"',
        )

    def _is_answer(self, permissions: str) -> bool:
        """Whether this is a node's answer to another one. All else that nodes publish has a meaning."""
        is_known = any(pattern.match(self.subject) for pattern, _ in _MEANINGS[:-1])
        return permissions == OF_NODES and self.verb == "publish" and not is_known


def refusal(words: str) -> Refusal | None:
    """That of the server's words; None where they are about something else."""
    found = _REFUSAL.search(words)
    if found is None:
        return None
    return Refusal("publish" if found[1].lower() == "publish" else "subscribe", found[2])
