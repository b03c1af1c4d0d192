"""Extensions only; everything else stands in pyproject.toml."""

import os
import shutil
import sys

from setuptools import Extension, setup

MODULES = (
    "ditto._pgoutput",
    "ditto.decoding._block",
    "ditto.decoding._libpq",
    "ditto.decoding._scalar_values",
    "ditto.decoding._column_values",
    "ditto.decoding._conversion",
    "ditto.decoding._cells",
    "ditto.decoding._read_lines",
    "ditto.decoding._row_rules",
    "ditto.decoding._row_tests",
    "ditto.decoding._shape",
    "ditto.decoding._snapshot_rows",
    "ditto.decoding._snapshots",
    "ditto.formats._debezium",
    "ditto.formats._debezium_numbers",
    "ditto.formats._debezium_times",
    "ditto.formats._debezium_values",
    "ditto.formats._lines",
    "ditto.formats._msgpack_arrays",
    "ditto.formats._msgpack_events",
    "ditto.formats._msgpack_values",
    "ditto.formats._own_lines",
    "ditto.formats._packing",
    "ditto.routing.conditions._arithmetic",
    "ditto.routing.conditions._json_tests",
    "ditto.routing.conditions._number_tests",
    "ditto.routing.conditions._pair_tests",
    "ditto.routing.conditions._readers",
    "ditto.routing.conditions._text_tests",
    "ditto.sinks.jetstream._frames",
)


def extensions() -> list[Extension]:
    """The compiled core, or nothing where DITTO_NO_EXTENSIONS=1 asks for the plain-Python one."""
    if os.environ.get("DITTO_NO_EXTENSIONS") == "1":
        return []
    from Cython.Build import cythonize  # noqa: PLC0415  only needed where there is something to compile

    flags, link_flags = ["-O2", "-g0"], []
    if os.environ.get("DITTO_SANITIZE") == "1":  # scripts/fuzz: libasan has to be preloaded
        link_flags = ["-fsanitize=address,undefined"]
        flags = ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined", *link_flags]
    return cythonize(
        [
            Extension(
                name,
                [name.replace(".", "/") + ".pyx"],
                extra_compile_args=flags,
                extra_link_args=link_flags,
                libraries=["dl"],
            )
            for name in MODULES
        ],
        language_level=3,
    )


# pip asks for Ditto's metadata first, and compiles psycopg-c after that: say now what it will need.
if "dist_info" in sys.argv and not shutil.which("pg_config") and os.environ.get("DITTO_NO_PG_CONFIG") != "1":
    sys.exit(
        "\nDitto reads from PostgreSQL through psycopg-c, which is compiled here. That needs libpq's headers,\n"
        "pg_config, Python's headers and a C compiler. Install them, then run pip again:\n"
        "  Debian, Ubuntu: apt-get install gcc libc6-dev libpq-dev python3-dev\n"
        "  Fedora:         dnf install gcc libpq-devel python3-devel\n"
        "  Alpine:         apk add gcc musl-dev libpq-dev python3-dev\n"
        '  macOS:          brew install libpq && export PATH="$(brew --prefix libpq)/bin:$PATH"\n'
        "Where pip has a wheel of psycopg-c already, DITTO_NO_PG_CONFIG=1 leaves this out.\n"
    )

setup(ext_modules=extensions())
