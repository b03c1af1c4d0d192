"""The headers by which a receiver knows a request: Standard Webhooks 1.0 (https://www.standardwebhooks.com)."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence


def signed(identifier: str, timestamp: int, body: bytes, *, keys: Sequence[bytes]) -> Mapping[str, str]:
    """The three headers of one attempt: the id is that of the content, the time (Unix seconds) that of the attempt.

    There is a signature by each of `keys`, and no such header without any.
    """
    headers = {"webhook-id": identifier, "webhook-timestamp": str(timestamp)}
    if keys:
        signatures = []
        for key in keys:
            digest = hmac.new(key, f"{identifier}.{timestamp}.".encode(), "sha256")
            digest.update(body)
            signatures.append(f"v1,{b64encode(digest.digest()).decode()}")
        headers["webhook-signature"] = " ".join(signatures)
    return headers
