"""Certificates for tests: an authority, and what it signs, as files that servers and Ditto can read."""

from __future__ import annotations

import datetime
import tempfile
from pathlib import Path
from typing import NamedTuple

import trustme

from ditto.testing.programs import hand_over, postgres_account

HOST = "db.test"
"""The name in the servers' certificates. It is never looked up: the address stands beside it."""


class Pair(NamedTuple):
    """A certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """Signs; its files stand in a folder that PostgreSQL's account can enter."""

    def __init__(self) -> None:
        self.folder = hand_over(Path(tempfile.mkdtemp(prefix="certificates-", dir="/tmp")), postgres_account())
        self._authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.file = self.folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.file))
        self.file.chmod(0o644)

    def issue(self, *names: str, user: str | None = None, is_expired: bool = False, for_server: bool = True) -> Pair:
        """For these host names and addresses, or for a user."""
        ended = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
        leaf = self._authority.issue_cert(
            *names or (f"{user}@test",),
            common_name=user,
            not_before=ended - datetime.timedelta(days=1) if is_expired else None,
            not_after=ended if is_expired else None,
            key_type=trustme.KeyType.ECDSA,
        )
        number = len(list(self.folder.iterdir()))
        pair = Pair(self.folder / f"{number}.crt", self.folder / f"{number}.key")
        leaf.cert_chain_pems[0].write_to_path(str(pair.cert))
        leaf.private_key_pem.write_to_path(str(pair.key))
        pair.key.chmod(0o600)
        if for_server:
            for file in pair:
                hand_over(file, postgres_account())
        return pair
