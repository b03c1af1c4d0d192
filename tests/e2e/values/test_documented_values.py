"""Every row of the tables of values in docs/events.md: the literal goes into a column, the JSON comes out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import psycopg
import pytest

from ditto.verify.inverse import members
from e2e.samples import CATALOGUE, WITHOUT_INPUT, has_xml

if TYPE_CHECKING:
    from e2e.world import World

PAGE = (Path(__file__).parents[3] / "docs/events.md").read_text()
VALUES = PAGE[PAGE.index("## Values") : PAGE.index("## Back into PostgreSQL")]
ROW = re.compile(
    r"(?m)^\| (?:`(?P<option>\w+: \w+)` \| )?`(?P<type>[^`]+)` \| `(?P<literal>[^`]+)` \| `(?P<json>[^`]+)` \|"
)
LIKE_A_ROW = re.compile(r"(?m)^\| `")


class Example(NamedTuple):
    """A row of a table."""

    option: str | None
    type: str
    literal: str
    json: str


def examples(text: str) -> list[Example]:
    found = [Example(**match.groupdict()) for match in ROW.finditer(text)]
    assert len(found) == len(LIKE_A_ROW.findall(text)), "a row that this test cannot read"
    return found


DEFAULT = examples(VALUES[: VALUES.index("### Options")])
PROFILE = examples(VALUES[VALUES.index("**`profile: wal-listener`**") :])
BY_OPTION = examples(VALUES[VALUES.index("### Options") : VALUES.index("**`profile: wal-listener`**")])


def options(wanted: set[str]) -> dict[str, str]:
    """The options in the order of the page, as keys and values."""
    return dict(option.split(": ") for option in wanted)


USUAL = {"numeric: string", "int8: number", "bytea: base64", "interval: postgres", "json: embed", "timestamp: plain"}
RUNS = {
    "default": ({}, DEFAULT),
    "usual options": (options(USUAL), [row for row in BY_OPTION if row.option in USUAL]),
    "other options": (
        options({row.option for row in BY_OPTION if row.option} - USUAL),
        [row for row in BY_OPTION if row.option not in USUAL],
    ),
    "profile": ({"profile": "wal-listener"}, PROFILE),
}


@pytest.mark.parametrize(("types", "rows"), RUNS.values(), ids=RUNS)
async def test_each_row_of_the_page(world: World, types: dict[str, str], rows: list[Example]) -> None:
    match = re.search(r"```sql\n(.*?)```", VALUES, re.DOTALL)
    assert match
    with psycopg.connect(world.dsn) as connection:
        if not connection.execute("SELECT FROM pg_available_extensions WHERE name = 'hstore'").fetchall():
            pytest.skip("this server came without contrib")
        connection.execute(match[1].encode())
        if not has_xml(connection):
            rows = [row for row in rows if row.type != "xml"]
        for number, row in enumerate(rows):
            connection.execute(f"CREATE TABLE t{number} (id int PRIMARY KEY, v {row.type})".encode())
    settings: dict[str, Any] = {f"events_types_{name}": value for name, value in types.items()}
    await world.streaming(**settings)
    world.transaction(*(f"INSERT INTO t{number} VALUES (1, {row.literal})" for number, row in enumerate(rows)))
    found = []
    for row, message in zip(rows, await world.events(), strict=True):
        event = msgspec.json.decode(message.payload, type=dict[str, msgspec.Raw])
        found.append(row._replace(json=bytes(members(event["data"])["v"]).decode()))
        names_null = bytes(event.get("jsonNull", b"[]")) == b'["v"]'
        assert names_null == (row.json == "null" and row.literal != "NULL")
    assert found == rows


def test_each_built_in_type_has_a_row(world: World) -> None:
    names = {name for (name,) in world.sql(CATALOGUE)} - WITHOUT_INPUT
    assert names - {row.type.strip('"').partition("(")[0] for row in DEFAULT} == set()


def test_each_option_has_rows_for_both_values() -> None:
    given = {row.option for row in BY_OPTION if row.option}
    assert given >= USUAL
    assert options(given).keys() == options(USUAL).keys()
    assert options(given - USUAL).keys() == options(USUAL).keys()
