"""Extensions only; everything else stands in pyproject.toml."""

import os

from setuptools import Extension, setup

MODULES = ("_block", "_frames", "_libpq", "_pgoutput", "_values")


def extensions() -> list[Extension]:
    """The compiled core, or nothing where DITTO_NO_EXTENSIONS=1 asks for the plain-Python one."""
    if os.environ.get("DITTO_NO_EXTENSIONS") == "1":
        return []
    from Cython.Build import cythonize  # noqa: PLC0415  only needed where there is something to compile

    flags = ["-O2", "-g0"]
    return cythonize(
        [
            Extension(f"ditto.{name}", [f"ditto/{name}.pyx"], extra_compile_args=flags, libraries=["dl"])
            for name in MODULES
        ],
        language_level=3,
    )


setup(ext_modules=extensions())
