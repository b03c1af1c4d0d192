"""The `ditto` command, and `python -m ditto`.

Signals and standard error come first: everything else takes a quarter of a second to import.
"""

from __future__ import annotations

import gc

from ditto import late_imports, log_stream
from ditto.service import signals
from ditto.service.memory import COLLECT_AFTER


def main() -> None:
    """Run the command that the arguments name."""
    signals.end_at_once()
    log_stream.replace_standard_error()
    gc.set_threshold(COLLECT_AFTER)  # what is imported stays: a tenth of the imports' time was looking for garbage
    late_imports.prepare()
    from ditto.cli import main as command  # noqa: PLC0415

    signals.end_on_request()
    command(prog_name="ditto")


if __name__ == "__main__":
    main()
