"""The route that lets a running Ditto read its configuration again."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, post
from litestar.exceptions import ClientException
from msgspec import Struct

from ditto.errors import ConfigError, DittoError
from ditto.log import mask_secrets
from ditto.monitoring.configuration_status import Reload, Reloaded

TIMEOUT_S: Final = 8.0
"""Less than a connection may take in all (`connection_limits`)."""


class Refused(Struct, frozen=True):
    """Why nothing has changed."""

    status_code: int
    detail: str
    hint: str | None
    exit_code: int
    """That a command would have for this."""


def reload_handler(reload: Reload) -> Any:
    """The handler."""

    @post("/v1/reload", summary="Read the configuration again", status_code=200, raises=[ClientException])
    async def reload_configuration() -> Response[Reloaded | Refused]:
        """Takes a new `events` section between two transactions, after the checks of a start. 202 where that takes
        longer: the status tells of it (`process.configuration`).
        """
        try:
            done = await reload(timeout_s=TIMEOUT_S)
        except DittoError as error:
            code = 400 if isinstance(error, ConfigError) or not error.is_retryable else 503
            hint = mask_secrets(error.hint) if error.hint else None
            return Response(Refused(code, mask_secrets(error.message), hint, error.exit_code), status_code=code)
        return Response(done, status_code=202 if done.state in {"pending", "checking"} else 200)

    return reload_configuration
