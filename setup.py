"""Extensions only; everything else stands in pyproject.toml."""

import os

from setuptools import Extension, setup

MODULES = ("_block", "_frames", "_libpq", "_pgoutput", "_scalars", "_values")


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
                f"ditto.{name}",
                [f"ditto/{name}.pyx"],
                extra_compile_args=flags,
                extra_link_args=link_flags,
                libraries=["dl"],
            )
            for name in MODULES
        ],
        language_level=3,
    )


setup(ext_modules=extensions())
