"""`python -m ditto.fleet --fd N`: a worker process of a node."""

from __future__ import annotations

from ditto import late_imports


def main() -> None:
    """The imports of a worker come behind what makes them shorter."""
    late_imports.prepare()
    from ditto.fleet.worker import main as work  # noqa: PLC0415

    work()


if __name__ == "__main__":
    main()
