"""Connection strings of PostgreSQL: read one, take a parameter or a secret out, and leave the rest as it was written.

Only libpq knows every notation. psycopg, which brings it, is imported at the first connection string: a command that
has none does not wait for it.
"""

from __future__ import annotations

import re
from typing import Any

MASK = "***"
SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")


def _is_url(dsn: str) -> bool:
    return dsn.startswith(("postgres://", "postgresql://"))


def parameters_of(dsn: str) -> dict[str, Any]:
    """The parameters of `dsn` by name. Raises ValueError, without a quotation, where libpq cannot read it."""
    from psycopg import ProgrammingError, conninfo  # noqa: PLC0415 -- see above

    try:
        return conninfo.conninfo_to_dict(dsn)
    except ProgrammingError:
        raise ValueError("libpq cannot read the connection string") from None


def make_dsn(**parameters: Any) -> str:
    """A connection string of these parameters, in the notation key=value."""
    from psycopg import conninfo  # noqa: PLC0415 -- see above

    return conninfo.make_conninfo("", **parameters)


def without_replication(dsn: str) -> str:
    """`dsn` without its `replication` parameter: each connection decides that for itself.

    Raises ValueError when libpq cannot read `dsn`.
    """
    parameters = parameters_of(dsn)
    if parameters.pop("replication", None) is None:
        return dsn
    if _is_url(dsn):
        shorter = re.sub(r"(?<=[?&])replication=[^&]*&?", "", dsn).rstrip("?&")
        if parameters_of(shorter) == parameters:
            return shorter
    return make_dsn(**parameters)


def mask_dsn(dsn: str) -> str:
    """`dsn` with *** in place of each password and key. What libpq cannot read is masked as a whole."""
    try:
        parameters = parameters_of(dsn)
    except ValueError:
        return MASK
    secrets = dict.fromkeys((name for name in SECRETS if parameters.get(name)), MASK)
    if not secrets:
        return dsn
    if _is_url(dsn):
        masked = re.sub(r"^([a-z]+://[^:@/]*):[^/]*@", rf"\1:{MASK}@", dsn)
        masked = re.sub(rf"([?&](?:{'|'.join(SECRETS)})=)[^&]*", rf"\1{MASK}", masked)
        if parameters_of(masked) == {**parameters, **secrets}:
            return masked
    # Not a URL, or one that hides a secret in an unusual notation.
    return make_dsn(**{**parameters, **secrets})
