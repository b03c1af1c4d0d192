"""`python -m ditto` is the `ditto` command."""

from ditto.cli import main

main(prog_name="ditto")
