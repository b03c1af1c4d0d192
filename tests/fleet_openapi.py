"""schemathesis for the API of a fleet: what its checks are to expect, and requests with the token of a role."""

from __future__ import annotations

from typing import Any, Final

from schemathesis.config import SchemathesisConfig

TAKEN: Final = ["2xx", "401", "403", "404", "409", "412", "422", "428", "503"]
"""No schema says all that a document has to be, what revision a pipeline has, or whether a server answers."""


def expectations() -> SchemathesisConfig:
    """For every check."""
    return SchemathesisConfig.from_dict(
        {
            "checks": {
                "positive_data_acceptance": {"expected-statuses": TAKEN},
                "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503"]},
            }
        }
    )


def headers(token: str) -> dict[str, Any]:
    """Of every request."""
    return {"Authorization": f"Bearer {token}", "Host": "localhost"}
