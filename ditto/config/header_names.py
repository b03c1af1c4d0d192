"""Which names the headers of a message may have, whether the configuration or the application gives them."""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN: Final = ("nats-", "ditto-")
_PROTOCOL: Final = frozenset({"status", "description"})
"""By these, clients tell nats-server's own answers from messages: a consumer of nats-py fails at a message that has a
`Status`, and others skip it where its body is empty."""


def is_possible(name: str) -> bool:
    """Whether a header may have the name at all (RFC 9110)."""
    return _NAME.fullmatch(name) is not None


def is_taken(name: str) -> bool:
    """Whether it is one that Ditto, nats-server or a client gives a meaning of its own."""
    return name.lower().startswith(_OWN) or name.lower() in _PROTOCOL


def is_of_formats(name: str) -> bool:
    """Whether formats of events write it, so that readers tell by it what an event is."""
    return name.lower() == "content-type" or name.lower().startswith("ce-")
