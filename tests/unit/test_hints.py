"""Commands that are printed."""

from __future__ import annotations

import shlex

import pytest

from ditto.config import Nats
from ditto.hints import delete_message


@pytest.mark.parametrize("domain", [None, "h'ub $(x)"])
def test_a_command_names_servers_and_domain_and_no_credentials(domain: str | None) -> None:
    config = Nats(url=["nats://me:secret@a:1", "b:2"], stream="D'S; `x` $(y)", domain=domain)
    line = delete_message(config, 8)
    assert "secret" not in line
    words = ["nats", "--server=nats://a:1,nats://b:2", *([] if domain is None else [f"--js-domain={domain}"])]
    assert shlex.split(line) == [*words, "stream", "rmm", config.stream, "8", "--force"]
