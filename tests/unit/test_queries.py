"""Every query names the schema of each function and table: no object of somebody else's can take its place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ditto

FOLDER = Path(ditto.__file__).parent
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.py"))

QUERY = re.compile(r"\b(?:SELECT|FROM|JOIN|CASE WHEN)\s")
CALL = re.compile(r"""(?<![\w."'%{}])([a-z_][a-z_0-9]*)\(""")
RELATION = re.compile(r"\b(?:FROM|JOIN)\s+(?:ONLY |LATERAL )?([a-z_][\w.]*)\b(?! ?\()")
SYNTAX = frozenset(
    {"all", "any", "array", "as", "between", "by", "cast", "coalesce", "exists", "extract", "filter", "from"}
    | {"greatest", "in", "lateral", "least", "not", "nullif", "on", "or", "over", "row", "select", "using"}
    | {"values", "when", "pg_reload_conf"}
)
"""No functions; and one without an argument, to which none of another schema can be preferred."""
OWN_SERVER = "demo/"
"""On a server that nobody else uses, the pinned path is enough for functions."""
PROSE = frozenset({"errors/source.py", "errors/sink.py", "errors/configuration.py", "cli/wait.py"})
"""Their queries are for people to run: docstrings and examples."""


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The strings of a module; what an f-string puts in counts as a name with its schema."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "pg_catalog.x" for part in node.values)
            yield node.lineno, "".join(str(part) for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def calls(text: str) -> list[str]:
    """Functions in a query that are looked up along the search path."""
    return [name for name in CALL.findall(text) if name not in SYNTAX | own_names(text)] if QUERY.search(text) else []


def relations(text: str) -> list[str]:
    """The same of tables."""
    found = RELATION.findall(text) if QUERY.search(text) else []
    return [name for name in found if "." not in name and name not in SYNTAX | own_names(text)]


def own_names(text: str) -> set[str]:
    """What the query names itself: subqueries, and columns of an alias."""
    subqueries = re.findall(r"\b([a-z_]+)(?: ?\([a-z_, ]+\))? AS \(", text)
    aliases = re.findall(r"\bAS ([a-z_]+) ?\(", text)
    return {*subqueries, *aliases}


@pytest.mark.parametrize("name", [name for name in FILES if name not in PROSE])
def test_every_name_has_its_schema(name: str) -> None:
    found = [
        (line, names)
        for line, text in texts(FOLDER / name)
        if (names := relations(text) if name.startswith(OWN_SERVER) else calls(text) + relations(text))
    ]
    assert found == []


@pytest.mark.parametrize("name", [name for name in FILES if name != "source/connection.py"])
def test_every_connection_is_made_in_one_place(name: str) -> None:
    assert not re.search(r"psycopg\.connect\(|Connection\.connect\(", (FOLDER / name).read_text())


def test_what_is_not_qualified_is_found() -> None:
    assert calls("SELECT array_agg(a) FROM pg_class") == ["array_agg"]
    assert relations("SELECT array_agg(a) FROM pg_class") == ["pg_class"]
    assert calls("SELECT pg_catalog.count(*) FROM pg_catalog.pg_class AS t (a)") == []
