"""Picks the decoder: `DITTO_IMPL=c` (the default) or `python`. A compiled core that is missing is an error."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ditto.errors import ConfigError

IMPL = os.environ.get("DITTO_IMPL", "c")
"""Which one is in use: `c` or `python`."""

if IMPL not in {"c", "python"}:
    raise ConfigError(f"DITTO_IMPL={IMPL} is neither c nor python", hint="leave it unset for the compiled core")

if TYPE_CHECKING or IMPL == "c":
    try:
        from ditto._pgoutput import Decoder
        from ditto.decoding._column_values import convert
    except ImportError as error:
        raise ConfigError(
            f"the compiled core cannot be loaded: {error}",
            hint="build it with: pip install -e . (needs a C compiler), or set DITTO_IMPL=python for the slow one",
        ) from error
else:
    from ditto.decoding.pure.column_values import convert
    from ditto.decoding.pure.decoder import Decoder

__all__ = ["IMPL", "Decoder", "convert"]
