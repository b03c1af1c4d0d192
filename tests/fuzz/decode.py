"""Fuzzes both decoders, guided by the coverage of the plain-Python one, which has the structure of the compiled one.

`scripts/fuzz` runs it; `python tests/fuzz/decode.py FILE` runs one input again.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(
    include=[
        "ditto.decoding.pure.decoder",
        "ditto.decoding.pure.block",
        "ditto.decoding.pure.cursor",
        "ditto.decoding.pure.relations",
        "ditto.decoding.pure.rows",
        "ditto.decoding.pure.column_values",
    ]
):
    from fuzz.check import check

if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
