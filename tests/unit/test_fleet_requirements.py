"""What a document needs of the machine that runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ditto.errors import MissingHere
from ditto.fleet.requirements import check_requirements

if TYPE_CHECKING:
    from pathlib import Path

POSTGRES = {"dsn": "postgres://u:${PW}@h/shop", "slot": "shop"}
NATS = {"url": "nats://h", "stream": "S"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"postgres": {**POSTGRES, "dsn": "${SHOP_DSN}"}}, "SHOP_DSN, which is not set"),
        (
            {"postgres": {**POSTGRES, "dsn": "file:/nowhere/dsn"}},
            "/nowhere/dsn, which cannot be read: there is no",
        ),
        ({"nats": {**NATS, "creds": "/nowhere/a.creds"}}, "nats.creds: cannot read /nowhere/a.creds: No such file"),
        (
            {"nats": {**NATS, "tls": {"ca": "/nowhere/ca.pem"}}},
            "nats.tls.ca: cannot read /nowhere/ca.pem: No such",
        ),
        (
            {"postgres": {**POSTGRES, "dsn": "postgres://h/shop?sslmode=verify-full&sslrootcert=/nowhere/ca.pem"}},
            "postgres.dsn: sslrootcert: cannot read /nowhere/ca.pem",
        ),
    ],
)
def test_what_is_missing_is_named_with_a_hint(document: dict[str, Any], words: str) -> None:
    with pytest.raises(MissingHere) as caught:
        check_requirements("shop", {"postgres": POSTGRES, "nats": NATS, **document}, {"PW": "x"})
    assert words in caught.value.message
    assert caught.value.hint
    assert "placement.labels" in caught.value.hint


def test_the_library_of_the_sink_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ditto.sinks.redis.library.find_spec", lambda _: None)
    with pytest.raises(MissingHere, match="the client library of Redis is not installed"):
        check_requirements("shop", {"postgres": POSTGRES, "redis": {"url": "redis://h"}}, {"PW": "x"})


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"nats": {**NATS, "urll": "a mistake, which is one on every node"}},
        {"postgres": {**POSTGRES, "dsn": "postgres://h/shop?sslmode=require&sslrootcert=/nowhere/ca.pem"}},
        {"postgres": {**POSTGRES, "dsn": "postgres://h/shop?sslmode=verify-full&sslrootcert=system"}},
    ],
)
def test_all_else_is_for_the_node_that_runs_it(document: dict[str, Any], tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("")
    made = {"postgres": POSTGRES, "nats": {**NATS, "tls": {"ca": str(authority)}}, **document}
    check_requirements("shop", made, {"PW": "x"})
