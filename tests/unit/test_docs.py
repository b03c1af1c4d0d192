"""The pages of the documentation say what the code says, and name files and tests that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from ditto import errors
from ditto.config import KEYS

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs"
TESTS = {path.stem for path in (TOP / "tests").rglob("test_*.py")}
PAGES = sorted(
    path.relative_to(TOP).as_posix()
    for path in [*TOP.glob("*.md"), *DOCS.rglob("*.md")]
    if path.name != "CHANGELOG.md"  # of earlier versions
)
FILE = re.compile(r"(?<![\w./-])(?:\.ci|benchmarks|deploy|ditto|docs|examples|scripts|tests)/[\w./*-]*[\w*/]")
TEST = re.compile(r"(?<![\w/])test_\w+(?!\w*\.)")


NAMED = re.compile(r"`(test_\w+)`(?:: (`[\w…]+`(?:[\s*]*(?:\([^)`]*\))?[*]*, `(?!test_)[\w…]+`)*))?")
"""A file of tests, and some of its tests without their `test_`; … is for the rest of a name."""


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", generator().PAGES)
def test_generated_page_has_not_drifted(name: str) -> None:
    assert (DOCS / name).read_text() == generator().PAGES[name](), "run: python docs/generate.py"


def test_every_error_says_what_to_do() -> None:
    def tree(kind: type[errors.DittoError]) -> list[type[errors.DittoError]]:
        return [found for child in kind.__subclasses__() for found in (tree(child) or [child])]

    ours = [kind for kind in tree(errors.DittoError) if kind.__module__.startswith("ditto.errors")]
    assert len(ours) > 20
    for kind in ours:
        about, _, advice = (kind.__doc__ or "").partition("\n\n")
        assert about.strip(), kind
        assert advice.strip(), kind


def test_every_key_of_the_configuration_has_an_anchor() -> None:
    headings = [line for line in (DOCS / "configuration.md").read_text().splitlines() if line.startswith("### ")]
    assert sorted(headings) == sorted(f"### {path}" for path in KEYS)


@pytest.mark.parametrize("page", PAGES)
def test_files_and_tests_that_a_page_names_exist(page: str) -> None:
    text = (TOP / page).read_text()
    named = [name for name in FILE.findall(text) if "NAME" not in name]
    assert [name for name in named if not any(TOP.glob(name.rstrip("/")))] == []
    assert [name for name in TEST.findall(text) if name not in TESTS and "NAME" not in name] == []


def functions(stem: str) -> set[str]:
    """The tests of the files of that name."""
    return {
        name
        for path in (TOP / "tests").rglob(f"{stem}.py")
        for name in re.findall(r"^\s*(?:async )?def test_(\w+)", path.read_text(), re.MULTILINE)
    }


def test_tests_that_show_a_guarantee_exist() -> None:
    found = NAMED.findall((DOCS / "guarantees.md").read_text())
    assert len(found) > 100
    missing = [
        f"{stem}: {name}"
        for stem, names in found
        for name in re.findall(r"`([\w…]+)`", names)
        if not any(re.fullmatch(name.replace("…", r"\w*"), each) for each in functions(stem))
    ]
    assert missing == []


def test_each_sink_has_a_test_for_each_guarantee() -> None:
    """Or a cell that says what is not promised, or that nothing shows it."""
    text = (DOCS / "guarantees.md").read_text()
    table = text[text.index("## Other sinks") : text.index("## Hostile input")]
    rows = [line for line in table.splitlines() if line.startswith("|")]
    head, _, *promises = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    without = ("there ", "not ", "each has its own", "ask for it again", "as the ", "the lines of a file")
    for promise, *cells in promises:
        assert len(cells) == len(head) - 1, promise
        for sink, cell in zip(head[1:], cells, strict=True):
            is_shown = "test_" in cell or "no test cuts the power" in cell
            assert is_shown or cell.startswith(without) or "the window fills" in cell, f"{promise}: {sink}"
