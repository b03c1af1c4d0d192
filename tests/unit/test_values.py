"""PostgreSQL's text of a value as JSON, type by type. Expected values are as a consumer's JSON parser gives them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ditto.config import Types
from ditto.decoding.column_kinds import HSTORE, INT, JSON, KINDS, TEXT, TIMESTAMP_UTC, TIMESTAMPTZ
from ditto.routing.type_settings import kinds as kinds_of

if TYPE_CHECKING:
    from unit.implementations import Implementation

TYPES_OF_WAL_LISTENER = kinds_of(Types(profile="wal-listener"))

# Type, PostgreSQL's text, value.
VALUES: list[tuple[str, str, Any]] = [
    ("bool", "t", True),
    ("bool", "f", False),
    ("int2", "-32768", -32768),
    ("int4", "0", 0),
    ("int8", "9223372036854775807", 9223372036854775807),
    ("int8", "-9223372036854775808", -9223372036854775808),
    ("oid", "4294967295", 4294967295),
    ("numeric", "5.00", "5.00"),
    ("numeric", "-0.000000000000000000001", "-0.000000000000000000001"),
    ("numeric", "NaN", "NaN"),
    ("numeric", "Infinity", "Infinity"),
    ("float4", "0.1", Decimal("0.1")),
    ("float4", "1e-45", Decimal("1e-45")),
    ("float8", "1e+300", Decimal("1e300")),
    ("float8", "1.7976931348623157e+308", Decimal("1.7976931348623157e308")),
    ("float8", "-0", 0),
    ("float8", "3", 3),
    ("float8", "NaN", "NaN"),
    ("float8", "Infinity", "Infinity"),
    ("float8", "-Infinity", "-Infinity"),
    ("text", "", ""),
    ("text", 'a "b" \\ \x01\t\n é 😀 \u2028', 'a "b" \\ \x01\t\n é 😀 \u2028'),
    ("text", "NULL", "NULL"),
    ("varchar", "007", "007"),
    ("bpchar", "c   ", "c   "),
    ("name", "n", "n"),
    ("char", "x", "x"),
    ("xml", "<a/>", "<a/>"),
    ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("inet", "10.0.0.1/8", "10.0.0.1/8"),
    ("cidr", "10.0.0.0/8", "10.0.0.0/8"),
    ("macaddr", "08:00:2b:01:02:03", "08:00:2b:01:02:03"),
    ("macaddr8", "08:00:2b:01:02:03:04:05", "08:00:2b:01:02:03:04:05"),
    ("pg_lsn", "16/B374D848", "16/B374D848"),
    ("bit", "101", "101"),
    ("varbit", "10110", "10110"),
    ("money", "$1,234.50", "$1,234.50"),
    ("tsvector", "'a':1 'fat':2", "'a':1 'fat':2"),
    ("tsquery", "'a' & 'b'", "'a' & 'b'"),
    ("jsonpath", '$."a"', '$."a"'),
    ("point", "(1,2)", "(1,2)"),
    ("box", "(3,4),(1,2)", "(3,4),(1,2)"),
    ("json", '{"a":  1, "n": 12345678901234567890.10}', {"a": 1, "n": Decimal("12345678901234567890.10")}),
    ("json", '{\n  "a": "é\\u0041"\n}', {"a": "éA"}),
    ("json", "null", None),
    ("jsonb", '[1.50, null, "x", 12345678901234567890]', [Decimal("1.50"), None, "x", 12345678901234567890]),
    ("jsonb", '"s"', "s"),
    ("date", "2026-02-03", "2026-02-03"),
    ("date", "0044-03-15 BC", "0044-03-15 BC"),
    ("date", "12345-01-01", "12345-01-01"),
    ("date", "infinity", "infinity"),
    ("time", "24:00:00", "24:00:00"),
    ("timetz", "12:34:56.789+05:30", "12:34:56.789+05:30"),
    ("interval", "1 year 2 mons -3 days +04:05:06.789", "1 year 2 mons -3 days +04:05:06.789"),
    ("timestamp", "2026-01-02 03:04:05.1", "2026-01-02T03:04:05.1"),
    ("timestamp", "12345-01-01 00:00:00", "12345-01-01T00:00:00"),
    ("timestamp", "0044-03-15 12:00:00 BC", "0044-03-15 12:00:00 BC"),
    ("timestamp", "infinity", "infinity"),
    ("timestamp", "-infinity", "-infinity"),
    ("timestamptz", "2026-01-02 03:04:05+00", "2026-01-02T03:04:05Z"),
    ("timestamptz", "2026-01-02 03:04:05.000001+00", "2026-01-02T03:04:05.000001Z"),
    ("timestamptz", "294276-12-31 23:59:59.999999+00", "294276-12-31T23:59:59.999999Z"),
    ("timestamptz", "0044-03-15 12:00:00+00 BC", "0044-03-15 12:00:00+00 BC"),
    ("timestamptz", "infinity", "infinity"),
    ("bytea", "\\xdeadbeef", "3q2+7w=="),
    ("bytea", "\\x", ""),
    ("bytea", "\\x00", "AA=="),
    ("bytea", "\\x0001", "AAE="),
    ("bytea", "\\xfffefd", "//79"),
    ("_bool", "{t,NULL,f}", [True, None, False]),
    ("_int4", "{}", []),
    ("_int4", "{{1,NULL},{3,4}}", [[1, None], [3, 4]]),
    ("_int8", "{{{{{{1}}}}}}", [[[[[[1]]]]]]),
    ("_numeric", "{1.50,NaN}", ["1.50", "NaN"]),
    ("_float8", "{0.10,NaN,-Infinity,1e-07}", [Decimal("0.1"), "NaN", "-Infinity", Decimal("1e-7")]),
    ("_text", '{a,"b,c","q\\"x",NULL,"NULL",""}', ["a", "b,c", 'q"x', None, "NULL", ""]),
    ("_text", '{"back\\\\slash","{x}"," ","é",a b}', ["back\\slash", "{x}", " ", "é", "a b"]),
    ("_varchar", '{"{","}"}', ["{", "}"]),
    ("_uuid", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("_json", '{"{\\"a\\": [1, 2]}","\\"s\\"",NULL,1}', [{"a": [1, 2]}, "s", None, 1]),
    ("_jsonb", '{"{\\"a\\": \\"q\\\\\\"x\\"}"}', [{"a": 'q"x'}]),
    ("_bytea", '{"\\\\x00ff","\\\\x"}', ["AP8=", ""]),
    ("_date", '{2026-01-01,"0044-03-15 BC"}', ["2026-01-01", "0044-03-15 BC"]),
    ("_timestamp", '{"2026-01-02 03:04:05",infinity}', ["2026-01-02T03:04:05", "infinity"]),
    ("_timestamptz", '{"2026-01-02 03:04:05+00",NULL}', ["2026-01-02T03:04:05Z", None]),
    ("_box", "{(3,4),(1,2);(7,8),(5,6)}", ["(3,4),(1,2)", "(7,8),(5,6)"]),
    ("_point", '{"(1,2)","(3,4)"}', ["(1,2)", "(3,4)"]),
]

# What no server of ours sends for these types: passed on as it stands.
MISFITS = [
    ("bool", "true"),
    ("bool", ""),
    ("int4", ""),
    ("int4", "-"),
    ("int4", "+1"),
    ("int4", "1.0"),
    ("int4", " 1"),
    ("int4", "0x10"),
    ("int4", "\u0661"),
    ("int8", "9223372036854775808"),
    ("int8", "-9223372036854775809"),
    ("int8", "18446744073709551616"),
    ("int8", "00000000000000000001"),
    ("float8", ""),
    ("float8", "."),
    ("float8", "1."),
    ("float8", ".5"),
    ("float8", "01"),
    ("float8", "1e"),
    ("float8", "1e+"),
    ("float8", "-"),
    ("float8", "nan"),
    ("float8", "1 "),
    ("json", ""),
    ("timestamp", ""),
    ("timestamp", "2026-01-02"),
    ("timestamp", "Fri Jan 02 03:04:05 2026"),
    ("timestamp", "2026-01-02 03:04:05é"),
    ("timestamptz", "2026-01-02 03:04:05+01"),
    ("timestamptz", "2026-01-02 03:04:05.1+00:30"),
    ("timestamptz", "+00"),
    ("timestamptz", ""),
    ("bytea", "\\xabc"),
    ("bytea", "\\xzz"),
    ("bytea", "\\000\\001"),
    ("bytea", ""),
    ("_int4", ""),
    ("_int4", "{"),
    ("_int4", "{1"),
    ("_int4", "{1}x"),
    ("_int4", "{1,}"),
    ("_int4", "{,1}"),
    ("_int4", "{1;2"),
    ("_int4", "{{1}{2}}"),
    ("_int4", "[0:2]={1,2,3}"),
    ("_int4", "[-1:0][2:3]={{1,2},{3,4}}"),
    ("_jsonb", '{1,"null"}'),
    ("_json", '{"\nnull "}'),
    ("_int4", "1"),
    ("_int4", "{{{{{{{1}}}}}}}"),
    ("_text", '{"a}'),
    ("_text", '{"a\\'),
    ("_text", '{a"b"}'),
    ("_text", "{a\\b}"),
    ("_box", "{(3,4),(1,2);"),
]


def parse(payload: bytes) -> Any:
    return json.loads(payload, parse_float=Decimal)


@pytest.mark.parametrize(("type_name", "text", "value"), VALUES)
def test_a_value(impl: Implementation, type_name: str, text: str, value: Any) -> None:
    payload = msgspec.json.encode({"c": impl.convert(text.encode(), KINDS.find(0, "", type_name))})
    parsed = parse(payload)["c"]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(("type_name", "text"), MISFITS)
def test_what_does_not_fit_stays_text(impl: Implementation, type_name: str, text: str) -> None:
    assert impl.convert(text.encode(), KINDS.find(0, "", type_name)) == text


@pytest.mark.parametrize(
    ("type_name", "text"),
    [
        ("json", '{"a":  1, "a": 2, "n": 1.10}'),
        ("jsonb", "12345678901234567890.0123456789"),
        ("float8", "-0"),
        ("float8", "1.7976931348623157e+308"),
    ],
)
def test_json_and_floats_are_embedded_to_the_letter(impl: Implementation, type_name: str, text: str) -> None:
    assert msgspec.json.encode(impl.convert(text.encode(), KINDS.find(0, "", type_name))).decode() == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ('"a"=>"1"', {"a": "1"}),
        ('"a"=>"1", "b"=>NULL', {"a": "1", "b": None}),
        (r'"NULL"=>"NULL", ""=>"", "q\"\\"=>"=>, \""', {"NULL": "NULL", "": "", 'q"\\': '=>, "'}),
        ('"é\n"=>"😀"', {"é\n": "😀"}),
    ],
)
def test_hstore_is_an_object(impl: Implementation, text: str, value: Any) -> None:
    assert parse(msgspec.json.encode(impl.convert(text.encode(), HSTORE))) == value


@pytest.mark.parametrize(
    "text", ["a", '"a"', '"a"=>', '"a"=>1', '"a"=>"1",', '"a"=>"1", ', '"a"=>"1" "b"=>"2"', '"a"=>nul']
)
def test_what_is_no_hstore_stays_text(impl: Implementation, text: str) -> None:
    assert impl.convert(text.encode(), HSTORE) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-01-02 03:04:05.1", "2026-01-02T03:04:05.1Z"),
        ("294276-12-31 23:59:59", "294276-12-31T23:59:59Z"),
        ("0044-03-15 10:00:00 BC", "0044-03-15 10:00:00 BC"),
        ("infinity", "infinity"),
    ],
)
def test_a_timestamp_that_is_said_to_be_utc(impl: Implementation, text: str, value: str) -> None:
    assert impl.convert(text.encode(), TIMESTAMP_UTC) == value


def every_control_character() -> list[str]:
    return [chr(code) for code in range(0x80)] + ["a\x00b", "\x1f" * 100, 'é"\n', "\u2028😀\\"]


@pytest.mark.parametrize("text", every_control_character())
def test_text_in_an_array_is_escaped_as_everywhere(impl: Implementation, text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert msgspec.json.encode(impl.convert(f"{{{quoted}}}".encode(), KINDS.find(0, "", "_text"))) == (
        msgspec.json.encode([text])
    )
    assert msgspec.json.encode(impl.convert(f"{quoted}=>{quoted}".encode(), HSTORE)) == msgspec.json.encode(
        {text: text}
    )


# What 14 sends, and what 15 and later send for the same value.
@pytest.mark.parametrize(
    ("before_15", "text", "value"),
    [
        (b"\xc8", rb"\310", r"\310"),
        (b"\x80", rb"\200", r"\200"),
        (b"\xff", rb"\377", r"\377"),
        (b"", b"", ""),
        (b"\\", b"\\", "\\"),
        (b"\x7f", b"\x7f", "\x7f"),
    ],
)
def test_a_byte_is_the_same_from_every_version(impl: Implementation, before_15: bytes, text: bytes, value: str) -> None:
    for kinds in (KINDS, TYPES_OF_WAL_LISTENER):
        assert impl.convert(before_15, kinds.find(18, "", "")) == value
        assert impl.convert(text, kinds.find(18, "", "")) == value


def test_bytes_in_an_array_are_the_same_from_every_version(impl: Implementation) -> None:
    texts = (b'{a,\xc8,NULL,"\\\\",\xff}', rb'{a,"\\310",NULL,"\\","\\377"}')
    for text in texts:
        assert parse(msgspec.json.encode(impl.convert(text, KINDS.find(1002, "", "")))) == (
            ["a", r"\310", None, "\\", r"\377"]
        )
        assert impl.convert(text, TYPES_OF_WAL_LISTENER.find(1002, "", "")) == texts[1].decode()


def test_bytes_outlive_the_buffer_they_came_from(impl: Implementation) -> None:
    data = bytearray(b'{"a": 1}')
    value = impl.convert(bytes(data), JSON)
    data[:] = b"overwritten"[: len(data)]
    assert msgspec.json.encode(value) == b'{"a": 1}'


@pytest.mark.parametrize("kind", [TEXT, INT, JSON, TIMESTAMPTZ])
def test_what_is_not_utf8_is_an_error(impl: Implementation, kind: int) -> None:
    with pytest.raises(UnicodeDecodeError):
        impl.convert(b"caf\xe9", kind)


@pytest.mark.parametrize(
    ("oid", "type_name"),
    [
        (16, "bool"),
        (17, "bytea"),
        (20, "int8"),
        (21, "int2"),
        (23, "int4"),
        (25, "text"),
        (26, "oid"),
        (114, "json"),
        (700, "float4"),
        (701, "float8"),
        (1114, "timestamp"),
        (1184, "timestamptz"),
        (1700, "numeric"),
        (2950, "uuid"),
        (3802, "jsonb"),
        (1000, "_bool"),
        (1007, "_int4"),
        (1009, "_text"),
        (1020, "_box"),
        (1185, "_timestamptz"),
        (3807, "_jsonb"),
    ],
)
def test_oid_and_name_of_a_type_mean_the_same(oid: int, type_name: str) -> None:
    assert KINDS.find(oid, "", "") == KINDS.find(0, "", type_name)
