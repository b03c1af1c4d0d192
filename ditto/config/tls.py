"""TLS to the server of a sink: the keys that all sections have."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from ditto.config.documented import documented as _doc


class ClientTls(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without any key the system's certificate authorities are trusted."""

    ca: Annotated[
        str | None, _doc("File with the certificate authorities to trust, in PEM format.", "/etc/ditto/ca.pem")
    ] = None
    cert: Annotated[str | None, _doc("File with the client's certificate. Needs `key`.", "/etc/ditto/tls.crt")] = None
    key: Annotated[str | None, _doc("File with the client's private key. Needs `cert`.", "/etc/ditto/tls.key")] = None


def half_given(tls: ClientTls | None, section: str) -> tuple[str, str, str | None] | None:
    """Key, sentence and hint where the client's certificate or its key is missing."""
    if tls is not None and (tls.cert is None) != (tls.key is None):
        return f"{section}.cert", f"{section}.cert and {section}.key are given one without the other", None
    return None
