"""Texts of values for each type: those at the bounds of what PostgreSQL takes, and strategies for random ones."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Texts = st.SearchStrategy[str]
TOGETHER = 12
"""Values that are drawn at once: each run of hypothesis has its price."""


class Sample(NamedTuple):
    """What is known of a type."""

    bounds: Sequence[str]
    random: Texts


def drawn(samples: Sequence[Sample], count: int) -> list[list[str]]:
    """About that many random values of each. They shrink to nothing: whoever fails on one names it."""
    found: list[list[str]] = []
    for start in range(0, len(samples), TOGETHER):
        rows = _rows(st.tuples(*(sample.random for sample in samples[start : start + TOGETHER])), count)
        found += map(list, zip(*rows, strict=True))
    return found


def _rows(strategy: st.SearchStrategy[tuple[str, ...]], count: int) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(row: tuple[str, ...]) -> None:
        rows.append(row)

    draw()
    return rows


def chosen(*values: str) -> Sample:
    return Sample(values, st.sampled_from(values))


def whole(bits: int, *, lowest: int | None = None) -> Sample:
    low = -(1 << (bits - 1)) if lowest is None else lowest
    high = low + (1 << bits) - 1
    return Sample([str(low), "0", str(high)], st.integers(low, high).map(str))


# ------------------------------------------------------------------------------------- texts

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.text(characters, max_size=20)
SYNTAX = st.text(st.sampled_from("{}[](),;:\"\\' \t\n\r=>NULLx1"), max_size=14)
EVERY_PLANE = "".join(chr((plane << 16) + offset) for plane in range(17) for offset in (0x41, 0xFFFD, 0xFFFE, 0xFFFF))
CONTROLS = "".join(map(chr, range(1, 0xA0)))
TEXT_BOUNDS = [
    "", " ", "NULL", "null", "\\", '"', "'", "{}", "\\x", "\\\\x00", '{"a"}', "[0:1]={1,2}", "true", "1",
    "a\nb\r\n\tc ", "e\u0301\u00e9\u200f\u2028\u2029\ufeff", "\x7f\x1b[0m", CONTROLS, EVERY_PLANE,
    "ab\u00e9\U0001f600" * 20_000,
]  # fmt: skip
text = Sample(TEXT_BOUNDS, texts | SYNTAX)
short = Sample([bound[:16] for bound in TEXT_BOUNDS[:-1]], st.text(characters, max_size=15))

XML_BOUNDS = [
    "",
    "a",
    "<a/>",
    '<?xml version="1.0"?><a>\n</a>',
    "<a>&lt;&#169;<![CDATA[<]]></a>",
    "<!-- c --><b c='d'/>x",
]
xml = Sample(
    XML_BOUNDS,
    st.text(st.characters(codec="utf-8", min_codepoint=32, exclude_characters="<>&\x7f", max_codepoint=0xD7FF)).map(
        lambda body: f"<a b='&quot;'>{body}</a>"
    ),
)

# ------------------------------------------------------------------------------------- json

strings = st.text(characters, max_size=8)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | strings
documents = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3), max_leaves=8
)
spaces = st.text(st.sampled_from(" \t\n\r"), max_size=3)


def written(document: object, space: str, is_ascii: bool) -> str:  # as hypothesis calls it
    body = json.dumps(document, ensure_ascii=is_ascii, separators=(f"{space},", f":{space}"))
    return space + body + space[::-1]


DOCUMENT_BOUNDS = [
    "null", " null\n", "true", "false", "0", "-0", '""', '"null"', "[]", "{}", "[null]", "[[1, 2], [3]]", '"\\\\x00"',
    '"{1,2}"', '{"a": {"a": null}}', '{"": 1, "a":1,"a":2, "\\u00e9\\ud83d\\ude00": "\\/\\b\\f\\n\\r\\t\\"\\\\"}',
    " \n\t{\"a\" :\r\n1 ,\n\"b\": [ ] } ", '{"n": 123456789012345678901234567890.12345678901234567890e+30}',
    "9" * 20_000, "0." + "0" * 10_000 + "1", "[" * 900 + "]" * 900, '{"a":' * 400 + "1" + "}" * 400,
    '{"big": "' + "x\\u0041\u00e9" * 20_000 + '"}', json.dumps(EVERY_PLANE, ensure_ascii=False),
]  # fmt: skip
documents_written = st.builds(written, documents, spaces, st.booleans())
json_ = Sample(
    [*DOCUMENT_BOUNDS, '"\\u0000"', '{"\\u0000": "\\ud83d\\ude00"}', "1e400", "-1.50E-999999", '"\x7f"'],
    documents_written,
)
jsonb = Sample([*DOCUMENT_BOUNDS, "1e400", "1e-400"], documents_written)

# ------------------------------------------------------------------------------------- numbers

float8 = Sample(
    [
        "0", "-0", "NaN", "Infinity", "-Infinity", "5e-324", "-5e-324", "2.2250738585072011e-308", "0.1", "1e15",
        "1e16", "1.7976931348623157e+308", "-1.7976931348623157e308", "9007199254740993",
    ],
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)  # fmt: skip
float4 = Sample(
    ["0", "-0", "NaN", "Infinity", "-Infinity", "1e-45", "1.1754942e-38", "3.4028235e+38", "0.1", "16777217"],
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
)
numeric = Sample(
    [
        "0", "-0", "0.00", "5.00", "NaN", "Infinity", "-Infinity", "9" * 131_072 + "." + "1" * 16_383, "-1e-16383",
        "1e131071", "12345678901234567890.12345678901234567890",
    ],
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda number: f"{number:f}")
    | st.integers().map(lambda number: f"{number}.{abs(number):020}"),
)  # fmt: skip
money = Sample(
    ["0", "-92233720368547758.08", "92233720368547758.07", "-0.01"],
    st.integers(-(1 << 62), 1 << 62).map(lambda cents: f"{'-' * (cents < 0)}{abs(cents) // 100}.{abs(cents) % 100:02}"),
)

# ------------------------------------------------------------------------------------- times

CLOCK = st.times().map(str)
OFFSET = st.integers(-15 * 3600 - 3599, 15 * 3600 + 3599).map(
    lambda s: f"{'-' if s < 0 else '+'}{abs(s) // 3600:02}:{abs(s) // 60 % 60:02}:{abs(s) % 60:02}"
)
far_days = st.builds(
    "{:04}-{:02}-{:02}".format, st.integers(1, 294_275), st.integers(1, 12), st.integers(1, 28),
)  # fmt: skip
eras = st.sampled_from(["", "", " BC"])


def dated(day: str, clock: str, era: str) -> str:
    is_too_early = era and int(day.partition("-")[0]) > 4713
    return f"{day} {clock}{'' if is_too_early else era}".strip()


date_ = Sample(
    [
        "infinity", "-infinity", "5874897-12-31", "4713-01-01 BC", "0001-12-31 BC", "0001-01-01", "2000-02-29",
        "1970-01-01",
    ],
    st.builds(dated, far_days, st.just(""), eras).map(lambda day: day.replace("  ", " ")),
)  # fmt: skip
time_ = Sample(["00:00:00", "24:00:00", "23:59:59.999999", "12:00:00.100000"], CLOCK)
timetz = Sample(
    ["24:00:00+15:59:59", "00:00:00-15:59:59", "12:34:56.7+05:30", "00:00:00+00"],
    st.builds(str.__add__, CLOCK, OFFSET),
)
TIMESTAMP_BOUNDS = [
    "infinity", "-infinity", "294276-12-31 23:59:59.999999", "4713-01-01 00:00:00 BC", "0001-12-31 23:59:59.5 BC",
    "0001-01-01 00:00:00", "2000-01-01 00:00:00", "2026-01-02 03:04:05.1", "10000-01-01 00:00:00.000001",
    "1969-12-31 24:00:00",
]  # fmt: skip
timestamp = Sample(TIMESTAMP_BOUNDS, st.builds(dated, far_days, CLOCK, eras))
timestamptz = Sample(
    [
        *(bound if "inf" in bound else bound.replace(" BC", "+00 BC") for bound in TIMESTAMP_BOUNDS),
        "2026-01-02 03:04:05+05:30",
    ],
    st.builds(lambda day, clock, zone, era: dated(day, clock + zone, era), far_days, CLOCK, OFFSET, eras),
)
interval = Sample(
    [
        "0", "178956970 years 7 mons 2147483647 days 2562047788:00:54.775807", "-178956970 years -8 mons",
        "-2147483648 days", "-2562047788:00:54.775807", "1 year 2 mons -3 days +04:05:06.789", "-00:00:00.000001",
        "1 year -1 mons", "1 day -24:00:00", "-1 mons +1 day -00:00:01",
    ],
    st.builds(
        lambda months, days, micros: f"{months} mons {days} days {micros} microseconds",
        st.integers(-(1 << 31), (1 << 31) - 1), st.integers(-(1 << 31), (1 << 31) - 1),
        st.integers(-(1 << 53), 1 << 53),
    ),
)  # fmt: skip

# ------------------------------------------------------------------------------------- the rest of the built-in ones

bytea = Sample(
    ["\\x", "\\x00", "\\x00ff", "\\x" + bytes(range(256)).hex(), "\\x" + "5c" * 100_000, "\\x6162"],
    st.binary(max_size=30).map(lambda data: f"\\x{data.hex()}"),
)
coordinates = st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr)
points = st.builds("({},{})".format, coordinates, coordinates)
point = Sample(["(0,0)", "(-0,NaN)", "(Infinity,-Infinity)", "(5e-324,1.7976931348623157e308)"], points)
many_points = st.lists(points, min_size=2, max_size=5).map(",".join)
two_points = st.builds("{},{}".format, points, points)
small = st.integers(-1000, 1000).map(str)
bits = st.text(st.sampled_from("01"), max_size=70)
ipv4 = st.ip_addresses(v=4).map(str)
ipv6 = st.ip_addresses(v=6).map(str)
pg_lsn = Sample(
    ["0/0", "FFFFFFFF/FFFFFFFF"], st.integers(0, (1 << 64) - 1).map(lambda n: f"{n >> 32:X}/{n & 0xFFFFFFFF:X}")
)
snapshot = Sample(
    ["1:1:", "10:20:10,14,15", "1:9223372036854775807:"],
    st.lists(st.integers(1, 1 << 31), min_size=2, max_size=5, unique=True).map(
        lambda xids: "{}:{}:{}".format(min(xids), max(xids) + 1, ",".join(map(str, sorted(xids)[1:])))
    ),
)
lexemes = st.text(characters, min_size=1, max_size=8).map(
    lambda word: "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"
)

queries = st.builds(
    lambda words, mark: mark.join(words),
    st.lists(lexemes, min_size=1, max_size=4),
    st.sampled_from([" & ", " | ", " <2> ", " & !"]),
)


def octets(count: int) -> Texts:
    return st.binary(min_size=count, max_size=count).map(lambda data: data.hex(":"))


def ranges(bounds: Sequence[str], ordered: st.SearchStrategy[list[str]]) -> tuple[Sample, Sample]:
    """A range type and its multirange type, by lists of four texts in ascending order."""
    opened, closed = st.sampled_from("[("), st.sampled_from("])")
    one = st.builds(lambda at, o, c: f'{o}"{at[0]}","{at[3]}"{c}', ordered, opened, closed)
    two = st.builds(lambda at, o, c: f'{{[{at[0]},{at[1]}],{o}"{at[2]}","{at[3]}"{c}}}', ordered, opened, closed)
    low, high = bounds
    range_ = Sample(["empty", "(,)", f"[{low},]", f'(,"{high}")', f"[{low},{high})", f"[{low},{low}]"], one)
    return range_, Sample(["{}", "{(,)}", f"{{[{low},{high})}}", f"{{(,{low}],({high},)}}"], two)


def ascending(numbers: st.SearchStrategy[int], write: Callable[[int], str] = str) -> st.SearchStrategy[list[str]]:
    return st.lists(numbers, min_size=4, max_size=4, unique=True).map(lambda found: [write(n) for n in sorted(found)])


START = datetime(1, 1, 1)  # noqa: DTZ001  # a timestamp without a zone
days_ascending = ascending(st.integers(1, 3_600_000), lambda n: str(date.fromordinal(n)))
times_ascending = ascending(
    st.integers(0, 300_000_000_000), lambda s: str(START + timedelta(seconds=s, microseconds=s))
)
zoned_ascending = times_ascending.map(lambda times: [f"{time}+00" for time in times])
int4range, int4multirange = ranges(("-2147483648", "2147483646"), ascending(st.integers(-(1 << 31), (1 << 31) - 2)))
int8range, int8multirange = ranges(("-9223372036854775808", "1"), ascending(st.integers(-(1 << 63), (1 << 63) - 2)))
numrange, nummultirange = ranges(("-1.50", "Infinity"), ascending(st.integers(), lambda n: f"{n}.{abs(n) % 9:03}"))
daterange, datemultirange = ranges(("4713-01-01 BC", "infinity"), days_ascending)
tsrange, tsmultirange = ranges(("4713-01-01 00:00:00 BC", "infinity"), times_ascending)
tstzrange, tstzmultirange = ranges(("4713-01-01 00:00:00+00 BC", "294276-12-31 00:00:00+00"), zoned_ascending)

BUILT_IN: dict[str, Sample] = {
    "aclitem": chosen("postgres=arwdDxt/postgres", "=r/postgres", "postgres=r*w*/postgres"),
    "bit": chosen("0", "1"),
    "bool": chosen("t", "f"),
    "box": Sample(["(0,0),(0,0)", "(Infinity,1),(-Infinity,-0)"], two_points),
    "bpchar": text,
    "bytea": bytea,
    "char": chosen("", "a", "\\", '"', "{", ",", "\x7f", "\x01"),
    "cid": whole(32, lowest=0),
    "cidr": Sample(["0.0.0.0/0", "::/0", "10.1.0.0/16", "2001:db8::/32"], ipv4 | ipv6),
    "circle": Sample(["<(0,0),0>", "<(NaN,1),Infinity>"], st.builds("<{},{}>".format, points, st.integers(0, 99))),
    "date": date_,
    "float4": float4,
    "float8": float8,
    "inet": Sample(["0.0.0.0/0", "10.0.0.1/8", "::1/0", "::ffff:1.2.3.4"], ipv4 | ipv6),
    "int2": whole(16),
    "int2vector": chosen("", "1", "-32768 32767 0"),
    "int4": whole(32),
    "int8": whole(64),
    "interval": interval,
    "json": json_,
    "jsonb": jsonb,
    "jsonpath": chosen("$", "strict $", '$."a\\"\\u00e9"[*] ? (@ > 1 && @.b starts with "x")', "$.a + 1.50", '"x"'),
    "line": Sample(["{1,-1,0}", "{0,-1,Infinity}"], st.builds("{{{},1,{}}}".format, small, coordinates)),
    "lseg": Sample(["[(0,0),(1,NaN)]"], two_points.map("[{}]".format)),
    "macaddr": Sample(["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"], octets(6)),
    "macaddr8": Sample(["08:00:2b:01:02:03"], octets(8)),
    "money": money,
    "name": short,
    "numeric": numeric,
    "oid": whole(32, lowest=0),
    "oidvector": chosen("", "0", "4294967295 1 2"),
    "path": Sample(["[(0,0)]", "((0,0))"], many_points.map("[{}]".format) | many_points.map("({})".format)),
    "pg_lsn": pg_lsn,
    "pg_snapshot": snapshot,
    "point": point,
    "polygon": Sample(["((0,0))"], many_points.map("({})".format)),
    "refcursor": text,
    "regclass": chosen("pg_class", 'odd."a.b ""c"""', "-", "4294967295", "odd.t"),
    "regcollation": chosen('"C"', "-"),
    "regconfig": chosen("simple", "english"),
    "regdictionary": chosen("simple"),
    "regnamespace": chosen("pg_catalog", "odd", "public"),
    "regoper": chosen("||/", "0"),
    "regoperator": chosen("+(integer,integer)", "-(NONE,integer)", "0"),
    "regproc": chosen("now", "odd.f", "-"),
    "regprocedure": chosen("now()", "sum(integer)", "odd.f(odd.mood[])", "-"),
    "regrole": chosen("postgres", "-"),
    "regtype": chosen("integer", "odd.mood[]", '"char"', "numeric", "-"),
    "text": text,
    "tid": Sample(
        ["(0,0)", "(4294967295,65535)"], st.builds("({},{})".format, st.integers(0, 9**9), st.integers(0, 9999))
    ),
    "time": time_,
    "timestamp": timestamp,
    "timestamptz": timestamptz,
    "timetz": timetz,
    "tsquery": Sample(["", "'a' & !'b' <-> 'c':*AB", "'it''s' | 'x'"], queries),
    "tsvector": Sample(
        ["", "'a':1A,16383 'b' 'it''s':2", "'\\\\' ' '"],
        st.lists(st.builds("{}{}".format, lexemes, st.sampled_from(["", ":1", ":3A,7"])), max_size=5).map(" ".join),
    ),
    "txid_snapshot": snapshot,
    "uuid": Sample(["00000000-0000-0000-0000-000000000000"], st.uuids().map(str)),
    "varbit": Sample(["", "0" * 1000], bits),
    "varchar": text,
    "xid": whole(32, lowest=0),
    "xid8": whole(64, lowest=0),
    "xml": xml,
    "int4range": int4range, "int4multirange": int4multirange, "int8range": int8range, "int8multirange": int8multirange,
    "numrange": numrange, "nummultirange": nummultirange, "daterange": daterange, "datemultirange": datemultirange,
    "tsrange": tsrange, "tsmultirange": tsmultirange, "tstzrange": tstzrange, "tstzmultirange": tstzmultirange,
}  # fmt: skip
WITHOUT_INPUT = {
    "gtsvector", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary", "pg_dependencies", "pg_mcv_list",
    "pg_ndistinct", "pg_node_tree",
}  # fmt: skip
"""Types of which no value can be given."""


CATALOGUE = """
    SELECT typname::text FROM pg_type t
    WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm')
    AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid) ORDER BY 1"""
"""Each type of which a column can be, without arrays."""


def has_xml(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server was built with libxml; the wheel's was not."""
    try:
        with connection.transaction():
            connection.execute("SELECT 'a'::xml")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def array(sample: Sample, delimiter: str = ",") -> Sample:
    """Array literals of up to six dimensions, some with bounds of their own."""

    def quoted(item: str | None) -> str:
        return "NULL" if item is None else '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def nested(items: list[str | None], sizes: Sequence[int]) -> str:
        if len(sizes) == 1:
            return "{" + delimiter.join(map(quoted, items)) + "}"
        step = len(items) // sizes[0]
        return "{" + delimiter.join(nested(items[i : i + step], sizes[1:]) for i in range(0, len(items), step)) + "}"

    def literal(items: list[str | None], sizes: list[int], lower: int | None) -> str:
        count = 1
        for size in sizes:
            count *= size
        bounds = "" if lower is None else "".join(f"[{lower}:{lower + size - 1}]" for size in sizes) + "="
        return bounds + nested((items * count)[:count], sizes)

    short_bounds = [bound for bound in sample.bounds if len(bound) < 1000]
    elements = st.none() | st.sampled_from(short_bounds) | sample.random
    sizes = st.lists(st.integers(1, 3), min_size=1, max_size=2) | st.lists(st.integers(1, 2), min_size=3, max_size=6)
    lower = st.none() | st.none() | st.sampled_from([0, -3, 7, 1])
    everything: list[str | None] = [*short_bounds, None]
    return Sample(
        [
            "{}", "{NULL}", literal(everything, [len(everything)], None), literal(everything, [len(everything)], 0),
            *(literal([bound], [1], None) for bound in short_bounds), literal(everything, [2, 1, 2, 1, 2, 1], None),
        ],
        st.builds(literal, st.lists(elements, min_size=1, max_size=6), sizes, lower),
    )  # fmt: skip
