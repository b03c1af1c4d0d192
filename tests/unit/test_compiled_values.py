"""Values that compiled code makes, of Debezium, MessagePack and conditions: the same that its twins in Python make."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ditto.decoding.column_kinds import ARRAY, ARRAY_SEMICOLON, BOOL, BYTEA, FLOAT, INT, TEXT, TIMESTAMPTZ
from ditto.formats import _debezium_values, _msgpack_values
from ditto.formats.debezium import numbers, times
from ditto.formats.debezium.conversions import Read, pure_array, pure_value
from ditto.formats.debezium.points import point
from ditto.formats.msgpack import pure_array as pure_packed_array
from ditto.formats.msgpack import pure_float
from ditto.routing.conditions import array_literals, instants, readers
from ditto.routing.conditions.errors import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

DECIMAL = r"-?[0-9]{1,20}(\.[0-9]{0,20}0{0,20})?|NaN|-?Infinity"
DATE = r"[0-9]{4,5}-[01][0-9]-[0-3][0-9]"
CLOCK = r"[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,7})?"
MOMENT = f"{DATE} {CLOCK}( BC)?|-?infinity|tomorrow|"
ZONED = rf"{DATE} {CLOCK}(\+00( BC)?|\+01)?|-?infinity"
INTERVAL = (
    r"([+-]?[0-9]{1,7} years? ?)?([+-]?[0-9]{1,6} mons? ?)?([+-]?[0-9]{1,6} days? ?)?"
    r"([+-]?[0-9]{1,11}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,7})?)?|-?infinity|P1Y2M-3DT4H5M6.7S"
)
READS = {
    **{f"numeric({scale})": (Read(numbers.decimal_of(scale), "decimal", scale), DECIMAL) for scale in (-2, 0, 8, 30)},
    "numeric": (Read(numbers.variable_decimal, "variable_decimal"), DECIMAL),
    "money": (Read(numbers.money, "money"), r"-?\$[0-9,]{0,20}[0-9]\.[0-9]{2}"),
    "bit": (Read(numbers.bits, "bits"), "[01]{0,70}"),
    "date": (Read(times.days, "days"), f"{DATE}( BC)?|-?infinity"),
    "timestamp": (Read(times.timestamp_us, "timestamp_us"), MOMENT),
    "timestamp(3)": (Read(times.timestamp_ms, "timestamp_ms"), MOMENT),
    **{
        f"timestamptz({digits})": (Read(times.zoned_timestamp(digits), "zoned_timestamp", digits), ZONED)
        for digits in (0, 1, 6)
    },
    "time": (Read(times.clock_us, "time_us"), CLOCK),
    "time(3)": (Read(times.time_ms, "time_ms"), CLOCK),
    "timetz": (Read(times.zoned_time, "zoned_time"), CLOCK + "([+-][0-9]{2}(:[0-9]{2}){0,2})?"),
    "interval": (Read(times.interval_us, "interval_us"), INTERVAL),
    "point": (Read(point), r"\([0-9]{1,3},-?[0-9]{1,3}\.5\)"),
}
ARRAYS = st.recursive(
    st.one_of(
        st.none(), st.sampled_from(["t", "1.5", "-7", "2026-01-02 03:04:05+00", r"\x00ff", "NaN", "1_0"]), st.text()
    ),
    lambda each: st.lists(each, max_size=40),
    max_leaves=60,
)


def encoded(function: Callable[[Any], Any], text: str, encode: Callable[[Any], bytes] = msgspec.json.encode) -> Any:
    """The value's bytes, or the class of the error."""
    try:
        return encode(function(text))
    except (ValueError, IndexError) as error:
        return type(error)


@pytest.mark.parametrize("name", READS)
def test_values_of_debezium(name: str) -> None:
    read, pattern = READS[name]
    compiled = _debezium_values.Value(read.name, read.function, read.parameter)

    @given(st.from_regex(pattern, fullmatch=True))
    @example("")
    @example("é")
    def check(text: str) -> None:
        assert encoded(compiled, text) == encoded(pure_value(read), text)

    check()
    assert compiled(None) is None


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("numeric(8)", "60000.12500000", b'"BXT8nRwg"'),
        ("numeric(0)", "-128", b'"gA=="'),
        ("numeric", "0.00100000000000000000", b'{"scale":3,"value":"AQ=="}'),
        ("timestamp(3)", "1969-12-31 23:59:59.9991", b"-1"),
        ("interval", "-1 years -2 mons +3 days -04:05:06.7", b"-36572706700000"),
        ("timetz", "03:04:05.120-02:30:15", b'"05:34:20.12Z"'),
        ("bit", "", b'""'),
    ],
)
def test_what_is_usual_is_made_without_python(name: str, text: str, value: bytes) -> None:
    def never(text: str) -> Any:
        raise AssertionError(text)

    read = READS[name][0]
    assert msgspec.json.encode(_debezium_values.Value(read.name, never, read.parameter)(text)) == value
    assert msgspec.json.encode(read.function(text)) == value


def test_a_reading_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="no reading has the name bytes"):
        _debezium_values.Value("bytes", str)
    with pytest.raises(ValueError, match="no number of digits: 7"):
        _debezium_values.Value("zoned_timestamp", str, 7)


@given(st.text(max_size=40), st.integers(0, 200), st.integers(0, 3))
def test_documents(text: str, times_over: int, quotes: int) -> None:
    text = text * times_over + '"\\\n' * quotes
    assert msgspec.json.encode(_debezium_values.Document()(text)) == msgspec.json.encode(text)


@pytest.mark.parametrize("size", [255, 256, 511, 512, 513, 5000, 100_000])
@pytest.mark.parametrize("sign", ['"', "\x01", "é", "a"])
def test_documents_of_one_sign(size: int, sign: str) -> None:
    assert msgspec.json.encode(_debezium_values.Document()(size * sign)) == msgspec.json.encode(size * sign)


def literal(value: Any, delimiter: str = ",") -> str:
    """An array as PostgreSQL writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "{" + delimiter.join(literal(each, delimiter) for each in value) + "}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return value if value.isalnum() and value.isascii() and value.upper() != "NULL" else f'"{escaped}"'


@pytest.mark.parametrize("kind", [TEXT, INT, BOOL, FLOAT, BYTEA])
@given(value=ARRAYS, prefix=st.sampled_from(["", "[0:1]=", "["]))
def test_arrays_of_debezium(kind: int, value: Any, prefix: str) -> None:
    text = prefix + literal(value)
    compiled = _debezium_values.Array(ARRAY | kind, None)
    assert encoded(compiled, text) == encoded(pure_array(kind, None), text)


@pytest.mark.parametrize("name", ["numeric", "numeric(8)", "timestamp", "timestamptz(6)", "interval"])
@given(data=st.data())
def test_arrays_of_debezium_with_values_of_its_own(name: str, data: st.DataObject) -> None:
    read, pattern = READS[name]
    text = literal(data.draw(st.lists(st.one_of(st.none(), st.from_regex(pattern, fullmatch=True)), max_size=20)))
    element = _debezium_values.Value(read.name, read.function, read.parameter)
    compiled = _debezium_values.Array(ARRAY | TEXT, element)
    assert encoded(compiled, text) == encoded(pure_array(TEXT, read), text)


@pytest.mark.parametrize("kind", [TEXT, INT, BOOL, TIMESTAMPTZ])
@pytest.mark.parametrize("flag", [ARRAY, ARRAY_SEMICOLON])
@given(value=ARRAYS)
def test_packed_arrays(flag: int, kind: int, value: Any) -> None:
    text = literal(value, "," if flag == ARRAY else ";")
    compiled, pure = _msgpack_values.Array(flag | kind, None), pure_packed_array(flag | kind, None)
    assert encoded(compiled, text, msgspec.msgpack.encode) == encoded(pure, text, msgspec.msgpack.encode)


@given(ARRAYS)
def test_packed_arrays_of_floats(value: Any) -> None:
    compiled, pure = _msgpack_values.Array(ARRAY, pure_float), pure_packed_array(ARRAY, pure_float)
    assert encoded(compiled, literal(value), msgspec.msgpack.encode) == encoded(
        pure, literal(value), msgspec.msgpack.encode
    )


@pytest.mark.parametrize("count", [0, 15, 16, 65_535, 65_536])
@pytest.mark.parametrize("element", ["1", "NULL", "ab"])
def test_packed_arrays_of_every_length(count: int, element: str) -> None:
    text = "{" + ",".join([element] * count) + "}"
    for kind in (TEXT, INT):
        found = _msgpack_values.Array(ARRAY | kind, None)(text)
        assert bytes(found) == msgspec.msgpack.encode(pure_packed_array(ARRAY | kind, None)(text))


@pytest.mark.parametrize("bits", [0, 5, 7, 8, 15, 16, 29, 31, 32, 63, 64])
def test_packed_integers_of_every_width(bits: int) -> None:
    text = "{" + ",".join(str(sign * (1 << bits) + more) for sign in (1, -1) for more in (-1, 0, 1)) + "}"
    found = _msgpack_values.Array(ARRAY | INT, None)(text)
    assert bytes(found) == msgspec.msgpack.encode(pure_packed_array(ARRAY | INT, None)(text))


@pytest.mark.parametrize("size", [0, 31, 32, 255, 256, 65_535, 65_536])
def test_packed_texts_of_every_length(size: int) -> None:
    text = '{"' + "x" * size + '"}'
    assert bytes(_msgpack_values.Array(ARRAY, None)(text)) == msgspec.msgpack.encode(["x" * size])


@given(
    st.one_of(st.floats().map(repr), st.sampled_from(["1e999", "-1e999", "1e-999", "0" * 80, "1_0", " 1", "NaN", "x"]))
)
def test_floats(text: str) -> None:
    compiled = _msgpack_values.Float(pure_float)
    assert encoded(compiled, text, msgspec.msgpack.encode) == encoded(pure_float, text, msgspec.msgpack.encode)
    assert compiled(None) is None


# ------------------------------------------------------------------------------------- the columns of conditions


def read(function: Callable[..., Any], *arguments: Any) -> Any:
    """The value with its class, or what is wrong."""
    try:
        found = function(*arguments)
    except (Failure, ValueError) as error:
        return type(error), str(error)
    return type(found), repr(found)


@given(st.from_regex(f"{DATE}( {CLOCK})?" + r"(\+00)?( BC)?|-?infinity|", fullmatch=True))
@example("2026-01-02 24:00:00+00")
@example("é")
def test_timestamps_of_conditions(text: str) -> None:
    assert read(readers.read_timestamp, text) == read(instants.read_timestamp, text)


@given(st.from_regex(INTERVAL, fullmatch=True))
@example("-3 days +04:05:06")
def test_intervals_of_conditions(text: str) -> None:
    assert read(readers.read_interval, text) == read(instants.read_interval, text)


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(1 << 65), 1 << 65), st.floats(), st.text()),
        lambda each: st.one_of(st.lists(each), st.dictionaries(st.text(), each)),
    ).map(json.dumps)
)
@example("9223372036854775807")
@example("9223372036854775808")
@example("-0")
@example("1e999")
@example('"\\ud800"')
@example('{"a": 1, "a": 2}')
@example("[" * 500 + "]" * 500)
@example("[")
def test_documents_of_conditions(text: str) -> None:
    assert read(readers.read_json, text) == read(readers.pure_read_json, text)


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("kind", [int, str, instants.read_timestamp])
@given(value=ARRAYS, prefix=st.sampled_from(["", "", "[0:1]=", "["]))
@example(value=["1", "-9223372036854775809", None], prefix="")
@example(value="{,}", prefix="")
def test_arrays_of_conditions(kind: Callable[[str], Any], delimiter: str, value: Any, prefix: str) -> None:
    text = prefix + (value if isinstance(value, str) else literal(value, delimiter))
    assert read(readers.read_array, text, kind, delimiter) == read(array_literals.read_array, text, kind, delimiter)
