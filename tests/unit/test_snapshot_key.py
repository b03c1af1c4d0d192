"""What a statement says about a key: its order, and the rows before and after a cursor."""

from __future__ import annotations

from ditto.source.snapshot_key import (
    KeyColumn,
    Operator,
    is_after,
    is_at_or_before,
    is_one_of,
    order_by,
    quoted,
    text_literal,
)

NAMES = ("<", "<=", "=", ">=", ">")


def column(
    name: str,
    type_name: str = "int4",
    *,
    schema: str = "pg_catalog",
    is_descending: bool = False,
    are_nulls_first: bool | None = None,
    collation: tuple[str, str] | None = None,
) -> KeyColumn:
    less, less_or_equal, equal, greater_or_equal, greater = (Operator(schema, each) for each in NAMES)
    return KeyColumn(
        name=name,
        type=(schema, type_name),
        less=less,
        less_or_equal=less_or_equal,
        equal=equal,
        greater_or_equal=greater_or_equal,
        greater=greater,
        is_descending=is_descending,
        are_nulls_first=is_descending if are_nulls_first is None else are_nulls_first,
        collation=collation,
    )


def op(sign: str, schema: str = "pg_catalog") -> str:
    return f'OPERATOR("{schema}".{sign})'


INT = '"pg_catalog"."int4"'


def test_one_column() -> None:
    key = [column("id")]
    assert order_by(key) == f'ORDER BY t."id" USING {op("<")}'
    assert is_after(key, ["5"]) == f"t.\"id\" {op('>')} '5'::{INT}"
    assert is_at_or_before(key, ["5"]) == f"t.\"id\" {op('<=')} '5'::{INT}"
    assert is_one_of(key, [["1"], ["2"]]) == f"t.\"id\" {op('=')} ANY (ARRAY['1'::{INT}, '2'::{INT}])"


def test_nulls_have_the_place_of_the_index() -> None:
    key = [column("a", are_nulls_first=True), column("b", is_descending=True, are_nulls_first=False)]
    assert order_by(key) == f'ORDER BY t."a" USING {op("<")} NULLS FIRST, t."b" USING {op(">")} NULLS LAST'


def test_the_same_operator_for_all_columns_is_one_comparison() -> None:
    key = [column("a"), column("b", "text")]
    values = f"ROW('1'::{INT}, 'x'::\"pg_catalog\".\"text\")"
    assert is_after(key, ["1", "x"]) == f'ROW(t."a", t."b") {op(">")} {values}'
    assert is_at_or_before(key, ["1", "x"]) == f'ROW(t."a", t."b") {op("<=")} {values}'


def test_operators_of_several_schemas_are_written_out() -> None:
    key = [column("a"), column("b", "citext", schema="public")]
    one, other = f"'1'::{INT}", '\'x\'::"public"."citext"'
    later = f't."a" {op(">")} {one} OR t."a" {op("=")} {one} AND (t."b" {op(">", "public")} {other})'
    assert is_after(key, ["1", "x"]) == f'(t."a" {op(">=")} {one} AND ({later}))'
    assert is_at_or_before(key, ["1", "x"]) == f'(t."a" {op("<=")} {one} AND NOT ({later}))'


def test_directions() -> None:
    key = [column("a"), column("b", is_descending=True)]
    assert order_by(key) == f'ORDER BY t."a" USING {op("<")}, t."b" USING {op(">")}'
    assert f"t.\"b\" {op('<')} '2'::{INT}" in is_after(key, ["1", "2"])
    down = [column("a", is_descending=True)]
    assert is_after(down, ["1"]) == f"t.\"a\" {op('<')} '1'::{INT}"
    assert is_at_or_before(down, ["1"]) == f"t.\"a\" {op('>=')} '1'::{INT}"


def test_keys_of_several_columns() -> None:
    key = [column("a"), column("b")]
    equal = op("=")
    assert is_one_of(key, [["1", "2"], ["3", "4"]]) == (
        f"((t.\"a\" {equal} '1'::{INT} AND t.\"b\" {equal} '2'::{INT})"
        f" OR (t.\"a\" {equal} '3'::{INT} AND t.\"b\" {equal} '4'::{INT}))"
    )


def test_names_values_and_collations_are_quoted() -> None:
    key = [column('a"b', "text", collation=("app", "näme"))]
    assert is_after(key, ["it's \\ %s"]).startswith('t."a""b" COLLATE "app"."näme" OPERATOR')
    assert is_after(key, ["it's \\ %s"]).endswith("'it''s \\ %s'::\"pg_catalog\".\"text\"")
    assert quoted("a.b", 'c"d') == '"a.b"."c""d"'
    assert text_literal("'") == "''''"
