"""Connection strings of PostgreSQL: take a parameter out, or a secret, and leave the rest as it was written."""

from __future__ import annotations

import re

import psycopg
from psycopg import conninfo

MASK = "***"
SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")


def _is_url(dsn: str) -> bool:
    return dsn.startswith(("postgres://", "postgresql://"))


def without_replication(dsn: str) -> str:
    """`dsn` without its `replication` parameter: each connection decides that for itself.

    Raises psycopg.ProgrammingError when libpq cannot read `dsn`.
    """
    parameters = conninfo.conninfo_to_dict(dsn)
    if parameters.pop("replication", None) is None:
        return dsn
    if _is_url(dsn):
        shorter = re.sub(r"(?<=[?&])replication=[^&]*&?", "", dsn).rstrip("?&")
        if conninfo.conninfo_to_dict(shorter) == parameters:
            return shorter
    return conninfo.make_conninfo("", **parameters)


def mask_dsn(dsn: str) -> str:
    """`dsn` with *** in place of each password and key. What libpq cannot read is masked as a whole."""
    try:
        parameters = conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return MASK
    secrets = dict.fromkeys((name for name in SECRETS if parameters.get(name)), MASK)
    if not secrets:
        return dsn
    if _is_url(dsn):
        masked = re.sub(r"^([a-z]+://[^:@/]*):[^/]*@", rf"\1:{MASK}@", dsn)
        masked = re.sub(rf"([?&](?:{'|'.join(SECRETS)})=)[^&]*", rf"\1{MASK}", masked)
        if conninfo.conninfo_to_dict(masked) == {**parameters, **secrets}:
            return masked
    # Not a URL, or one that hides a secret in an unusual notation.
    return conninfo.make_conninfo("", **{**parameters, **secrets})
