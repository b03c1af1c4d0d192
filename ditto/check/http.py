"""Which clients can read metrics and status over HTTP."""

from __future__ import annotations

from ditto.check.finding import Finding, bad, ok
from ditto.config.listen import is_loopback
from ditto.config.model import Http

_WHY = "metrics and status name tables, hosts and positions"


def check_http(config: Http) -> list[Finding]:
    """No finding where Ditto does not listen."""
    if config.listen is None:
        return []
    if config.token is not None:
        return [ok("http.listen", "only clients with http.token can read metrics and status", _WHY)]
    if is_loopback(config.listen):
        return [ok("http.listen", f"only this machine can connect to {config.listen}", _WHY)]
    return [
        bad(
            "warning",
            "http.listen",
            f"every client that can connect to {config.listen} can read metrics and status: there is no token",
            _WHY,
            configuration="http:\n  token: ${DITTO_HTTP_TOKEN}",
        )
    ]
