"""Which implementation is in use, and that a missing one is never replaced in silence."""

from __future__ import annotations

import os
import subprocess
import sys

from ditto.decoding import choose
from ditto.sinks.jetstream import frames

BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in {"ditto._pgoutput", "ditto.sinks.jetstream._frames"}:
            raise ImportError("not built")
sys.meta_path.insert(0, Blocker())
"""
REPORT = """
from ditto.errors import DittoError
try:
    from ditto.sinks.jetstream import frames
    from ditto.decoding import choose
    print(choose.IMPL, choose.Decoder.__module__, frames.frame_block.__module__)
except DittoError as error:
    print(type(error).__name__, error.exit_code, error.message, "|", error.hint)
"""
PYTHON = "python ditto.decoding.pure.decoder ditto.sinks.jetstream.pure_frames"


def load(impl: str | None, *, is_built: bool = True) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "DITTO_IMPL"}
    if impl is not None:
        environment["DITTO_IMPL"] = impl
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", REPORT if is_built else BLOCK + REPORT],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


def test_the_compiled_core_is_built_and_is_the_default() -> None:
    assert load(None) == load("c")
    assert load("c").startswith("c ditto._pgoutput ")


def test_these_tests_run_on_what_the_environment_asks_for() -> None:
    assert os.environ.get("DITTO_IMPL", "c") == choose.IMPL
    is_compiled = choose.IMPL == "c"
    decoder, framing = ("ditto._pgoutput", "_frames") if is_compiled else ("ditto.decoding.pure.decoder", "pure_frames")
    assert choose.Decoder.__module__ == decoder
    assert frames.frame_block.__module__ == f"ditto.sinks.jetstream.{framing}"


def test_plain_python_on_request() -> None:
    assert load("python") == PYTHON


def test_plain_python_does_not_need_the_compiled_core() -> None:
    assert load("python", is_built=False) == PYTHON


def test_a_compiled_core_that_is_missing_is_an_error() -> None:
    for impl in ("c", None):
        said = load(impl, is_built=False)
        assert said.startswith("ConfigError 2 the compiled core cannot be loaded: not built | build it with")


def test_any_other_value_is_an_error() -> None:
    for impl in ("cython", "C", ""):
        assert load(impl).startswith(f"ConfigError 2 DITTO_IMPL={impl} is neither c nor python")
