"""The `ditto` command, and `python -m ditto`.

Signals and standard error come first: everything else takes a quarter of a second to import.
"""

from __future__ import annotations

import sys

from ditto import log_stream
from ditto.service import signals

_INTERRUPTED = 130


def main() -> None:
    """Run the command that the arguments name."""
    signals.end_on_request()
    log_stream.replace_standard_error()
    try:
        from ditto.cli import main as command  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    command(prog_name="ditto")


if __name__ == "__main__":
    main()
