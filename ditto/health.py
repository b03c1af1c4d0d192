"""`python -m ditto.health` for container health checks: the public name of `ditto.service.heartbeat`."""

from __future__ import annotations

import sys

from ditto.service.heartbeat import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
