"""Types that are not built in: enums, domains, composites, ranges, and those of extensions."""

from __future__ import annotations

from hypothesis import strategies as st

from e2e.samples import (
    BUILT_IN,
    Sample,
    array,
    ascending,
    bytea,
    characters,
    chosen,
    json_,
    jsonb,
    ranges,
    text,
    timestamptz,
    whole,
)

LABELS = ["sad", "", " ", "NULL", "a b", 'q"uote', "back\\slash", "{x}", "(y,z)", "a,b", "\u00e9\U0001f600", "it's"]
CREATED = [
    "CREATE SCHEMA odd",
    'CREATE TABLE odd."a.b ""c""" (id int PRIMARY KEY)',
    "CREATE TABLE odd.t (id int PRIMARY KEY)",
    "CREATE TYPE odd.mood AS ENUM (" + ", ".join("'" + label.replace("'", "''") + "'" for label in LABELS) + ")",
    "CREATE FUNCTION odd.f(odd.mood[]) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE DOMAIN odd.whole AS int CHECK (value IS NULL OR value > -2000000000)",
    "CREATE DOMAIN odd.texts AS text[]",
    "CREATE DOMAIN odd.at AS timestamptz",
    "CREATE DOMAIN odd.doc AS jsonb",
    "CREATE DOMAIN odd.docs AS jsonb[]",
    "CREATE DOMAIN odd.raw AS json",
    "CREATE DOMAIN odd.blob AS bytea",
    "CREATE DOMAIN odd.again AS odd.blob",
    "CREATE DOMAIN odd.feeling AS odd.mood",
    "CREATE TYPE odd.pair AS (a int, b text)",
    "CREATE TYPE odd.nested AS (p odd.pair, ps odd.pair[], d jsonb, m odd.mood, r int4range, x bytea)",
    "CREATE DOMAIN odd.couple AS odd.pair",
    "CREATE TYPE odd.floats AS RANGE (subtype = float8)",
    'CREATE TYPE odd.words AS RANGE (subtype = text, collation = "C")',
    # Arrays that do not separate with commas, and types that have an array's name.
    "CREATE DOMAIN odd.corners AS box",
    "CREATE TYPE odd._list AS ENUM ('{a}', '{1,2}', '{}')",
    "CREATE TABLE odd._row (a int[] PRIMARY KEY, b text)",
    # A type of which Ditto knows nothing but its text.
    "CREATE TYPE odd.own",
    "CREATE FUNCTION odd.own_in(cstring) RETURNS odd.own LANGUAGE internal IMMUTABLE STRICT AS 'textin'",
    "CREATE FUNCTION odd.own_out(odd.own) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout'",
    "CREATE TYPE odd.own (INPUT = odd.own_in, OUTPUT = odd.own_out, LIKE = text)",
]


def composite(*fields: Sample) -> Sample:
    """Row literals of some fields."""

    def literal(*values: str | None) -> str:
        quoted = (
            "" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '""') + '"' for value in values
        )
        return "(" + ",".join(quoted) + ")"

    bounds = [[bound for bound in field.bounds if len(bound) < 1000] for field in fields]
    longest = max(map(len, bounds))
    return Sample(
        [literal(*(None for _ in fields)), *(literal(*(b[n % len(b)] for b in bounds)) for n in range(longest))],
        st.builds(
            literal, *(st.none() | st.sampled_from(b) | field.random for b, field in zip(bounds, fields, strict=True))
        ),
    )


mood = chosen(*LABELS)
pair = composite(whole(32), text)
nested = composite(pair, array(pair), jsonb, mood, BUILT_IN["int4range"], bytea)
floats, float_multiranges = ranges(("-0", "Infinity"), ascending(st.integers(-1000, 1000), lambda n: repr(n / 7)))
words, word_multiranges = ranges(
    ('"a,""\\\\"', "z"), st.lists(st.sampled_from("abcdefgh"), min_size=4, max_size=4, unique=True).map(sorted)
)

USER: dict[str, Sample] = {
    "odd.mood": mood,
    "odd.whole": Sample(["0", "2147483647"], st.integers(-1_999_999_999, 2_147_483_647).map(str)),
    "odd.texts": array(text),
    "odd.at": timestamptz,
    "odd.doc": jsonb,
    "odd.docs": array(jsonb),
    "odd.raw": json_,
    "odd.blob": bytea,
    "odd.again": bytea,
    "odd.feeling": mood,
    "odd.pair": pair,
    "odd.nested": nested,
    "odd.couple": pair,
    "odd.floats": floats,
    "odd.floats_multirange": float_multiranges,
    "odd.words": words,
    "odd.own": text,
    "odd.corners": BUILT_IN["box"],
    "odd._list": chosen("{a}", "{1,2}", "{}"),
    "odd._row": composite(array(whole(32)), text),
    "varchar(5)": Sample(["", "abcde", "\U0001f600" * 5], st.text(characters, max_size=5)),
    "char(4)": Sample(["", "a", "abcd", " x"], st.text(characters, max_size=4)),
    "bit(9)": chosen("000000000", "101010101"),
    "numeric(10,2)": Sample(["0", "99999999.99", "NaN"], st.integers(-(10**9), 10**9).map(lambda n: f"{n / 100:.2f}")),
    "timestamp(0)": chosen("2026-01-02 03:04:05.6"),
    "interval day to second(3)": chosen("1 day 02:03:04.5678"),
}  # fmt: skip

EXTENSIONS = ["hstore", "citext", "ltree", "cube", "seg", "isn", "intarray", "lo", "vector"]
"""Tested where the server has them."""

words_ = st.from_regex(r"\A[A-Za-z0-9_]{1,9}\Z")


def pairs(values: dict[str, str | None]) -> str:
    def quoted(item: str | None) -> str:
        return "NULL" if item is None else '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return ", ".join(f"{quoted(key)}=>{quoted(value)}" for key, value in values.items())


hstore_text = st.text(characters, max_size=9) | st.text(st.sampled_from('",=>\\ NUL\n'), max_size=6)
hstore = Sample(
    [
        "",
        '""=>""',
        '""=>NULL, "NULL"=>"NULL"',
        '"a"=>"1", "b"=>NULL',
        '"q\\"\\\\"=>"{}", " "=>", "',
        pairs({"k": "x" * 9000}),
    ],
    st.dictionaries(hstore_text, st.none() | hstore_text, max_size=5).map(pairs),
)
numbers = st.floats(-1e6, 1e6, width=32).map(repr)
vector = Sample(
    ["[0]", "[1,-2.5,3e-10]", "[" + ",".join(["0.5"] * 2000) + "]"],
    st.lists(numbers, min_size=1, max_size=5).map(lambda n: f"[{','.join(n)}]"),
)

OF_EXTENSIONS: dict[str, dict[str, Sample]] = {
    "hstore": {"hstore": hstore},
    "citext": {"citext": text},
    "ltree": {
        "ltree": Sample(["", "A.b_1.C"], st.lists(words_, max_size=5).map(".".join)),
        "lquery": chosen("*.a.!b|c{1,2}.*{,3}", "a@*%"),
        "ltxtquery": chosen("a & b*@ | !c"),
    },
    "cube": {"cube": Sample(["(0)", "(1,2),(3,4)", "()"], st.builds("({0},{1}),({1},{0})".format, numbers, numbers))},
    "seg": {"seg": chosen("1", "1.50 .. 2.0", "<5", "~6.0e-1", "3 ..", ".. 4")},
    "isn": {
        "ean13": chosen("978-0-393-04002-9"),
        "isbn": chosen("0-393-04002-X"),
        "isbn13": chosen("978-0-393-04002-9"),
        "ismn": chosen("M-2306-7118-7"),
        "issn": chosen("1436-4522"),
        "upc": chosen("220356483481"),
    },
    "intarray": {"query_int": chosen("1", "1&(2|3)&!4")},
    "lo": {"lo": whole(32, lowest=0)},
    "vector": {
        "vector": vector,
        "halfvec": chosen("[1,2.5,-3]"),
        "sparsevec": chosen("{1:1,3:2.5}/5", "{}/3"),
    },
}
