"""Templates: what is put into a subject or a header stays in its place, and tells values apart."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from ditto.config.events import Columns, Mask, TableRules
from ditto.config.impossible import Impossible
from ditto.config.table_rules import check_entry
from ditto.config.template_syntax import Name, Template, TemplateError, Value, columns_of, parse_template
from ditto.decoding.column_kinds import BOOL, BYTEA, INT, JSON, TEXT, TIMESTAMPTZ
from ditto.decoding.column_kinds import KINDS as KIND_NAMES
from ditto.decoding.messages import Column, Relation, RuleFailed
from ditto.errors import RuleUnfit
from ditto.routing.route_limit import RouteLimit
from ditto.routing.rules import RuleMaker
from ditto.routing.table_columns import choose_columns
from ditto.routing.table_names import TableNames
from ditto.routing.table_plans import Routed, Routes, Rule
from ditto.routing.templates import encode_header, event_text, may_make, wildcard

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NAMES = {"prefix": "ditto", "schema": "public", "table": "orders", "database": "shop"}
ROUTE = b"ditto.orders.>"
KINDS = {"id": INT, "a": TEXT, "b": TEXT, "flag": BOOL, "doc": JSON, "odd name": TEXT}
RELATION = Relation(1, "public", "orders", "f", tuple(Column(name, 25, -1, True) for name in KINDS))


def rule_of(
    *,
    identity: str = "f",
    key_columns: tuple[str, ...] = (),
    truncate: bytes | None = None,
    route_limit: RouteLimit | None = None,
    **rules: Any,
) -> Rule:
    given_rules = TableRules(**rules)
    check_entry("orders", given_rules)
    relation = Relation(
        1,
        "public",
        "orders",
        identity,
        tuple(Column(name, 25, -1, identity == "f" or name in key_columns) for name in KINDS),
    )
    maker = RuleMaker(
        given_rules,
        key="orders",
        relation=relation,
        columns=choose_columns(given_rules, "events.tables.orders", relation),
        kinds=bytes(KINDS.values()),
        routes=Routes(ROUTE, ROUTE, ROUTE, truncate, ROUTE),
        names=TableNames(subject=NAMES, plain=NAMES),
        type_names=KIND_NAMES,
        route_limit=route_limit,
    )
    return maker.make()


def routed(rule: Rule, action: str = "INSERT", old: dict[str, Any] | None = None, **row: Any) -> Routed | None:
    """What becomes of a change of this row; the columns that are not named are NULL."""
    columns = [list(KINDS)[index] for index in rule.columns]

    def texts(of: dict[str, Any]) -> list[Any]:
        return [of.get(column) for column in columns]

    has_new = action not in {"DELETE", "TRUNCATE"}
    quick: Any = UNSET
    if rule.row_rule is not None:
        whole = [row.get(name) for name in KINDS] if has_new else None
        quick = rule.row_rule.routed(action, whole, None if old is None else [old.get(name) for name in KINDS])
    try:
        found = rule.apply(action, texts(row) if has_new else None, None if old is None else texts(old))
    except RuleFailed:
        assert quick is UNSET
        raise
    assert quick is UNSET or quick == found  # what the compiled rule knows is what the function says
    return found


def subject(rule: Rule, **row: Any) -> str:
    found = routed(rule, **row)
    assert found is not None
    return found[0].decode()


# ------------------------------------------------------------------------------------- syntax


def test_the_parts_of_a_template() -> None:
    text = '{prefix}.{data.id}-{data."odd ""name}"}.{{x}}'
    assert parse_template(text, ("prefix",), has_data=True) == (
        Name("prefix"), ".", Value("id"), "-", Value('odd "name}'), ".", "{", "x", "}",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{prefix", "a { without its }"),
        ("prefix}", "a } without its {"),
        ("{}", "cannot be read, {}"),
        ("{data.}", "cannot be read, {data.}"),
        ("{data.id:>3}", "cannot be read, {data.id:>3}"),
        ("{data.id!r}", "cannot be read"),
        ("{colour}", "unknown placeholder {colour}"),
        ("{datum.id}", "unknown placeholder {datum.id}"),
    ],
)
def test_templates_that_are_none(text: str, said: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(said)):
        parse_template(text, ("prefix",), has_data=True)


def test_data_may_not_be_allowed() -> None:
    with pytest.raises(TemplateError, match=r"unknown placeholder \{data\.id\}"):
        parse_template("{data.id}", ("prefix",), has_data=False)


# ------------------------------------------------------------------------------------- subjects


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("4711", "4711"),
        ("a b", "a%20b"),
        ("a.b", "a%2Eb"),
        ("*", "%2A"),
        (">", "%3E"),
        ("%", "%25"),
        ("%null", "%25null"),
        ("\r\n", "%0D%0A"),
        ("Zürich", "Zürich"),
        ("8d1f4a3e-1f1c-4b43-9a1b-0a52a1a5f0aa", "8d1f4a3e-1f1c-4b43-9a1b-0a52a1a5f0aa"),
        (None, "%null"),
        ("", "%empty"),
    ],
)
def test_a_value_in_a_subject(value: str | None, token: str) -> None:
    assert subject(rule_of(subject="{prefix}.orders.{data.a}"), a=value) == f"ditto.orders.{token}"


def test_values_have_the_text_that_they_have_in_events() -> None:
    assert event_text("t", BOOL) == "true"
    assert event_text("2026-01-02 03:04:05+00", TIMESTAMPTZ) == "2026-01-02T03:04:05Z"
    assert event_text(r"\x00ff", BYTEA) == "AP8="
    assert event_text('{"a": 1}', JSON) == '{"a": 1}'
    assert subject(rule_of(subject="{table}.{data.flag}"), flag="t") == "orders.true"


@given(TEXTS, TEXTS, TEXTS, TEXTS)
@example("a", "b-c", "a-b", "c")
@example("-", "", "", "-")
def test_two_rows_never_share_a_subject_and_none_leaves_its_place(a: str, b: str, c: str, d: str) -> None:
    for template, count in (("{prefix}.{table}.{data.a}-{data.b}", 3), ("{prefix}.{table}.{data.a}.{data.b}", 4)):
        rule = rule_of(subject=template, on_error="keep")
        first, second = subject(rule, a=a, b=b), subject(rule, a=c, b=d)
        assert first.startswith("ditto.orders.")
        assert len(first.split(".")) == count
        assert all(first.split("."))
        assert not re.search(r"[\x00-\x20*>\x7f]", first)
        assert (first == second) == ((a, b) == (c, d)) or "%long" in first


@given(TEXTS)
def test_a_subject_can_be_read_back(text: str) -> None:
    if text and len(text.encode()) < 100:
        assert unquote(subject(rule_of(subject="orders.{data.a}"), a=text).removeprefix("orders.")) == text


def test_a_masked_value_is_masked_in_every_place() -> None:
    columns = Columns(mask={"a": Mask(keep_last=2)})
    rule = rule_of(subject="o.{data.a}", headers={"x": "{data.a}"}, key=["a"], columns=columns)
    assert routed(rule, a="secret") == (b"o.%2A%2A%2A%2Aet", b"x: ****et\r\n", b"****et")
    assert routed(rule, a=None) == (b"o.%null", b"x: %null\r\n", None)


def test_what_is_not_sent() -> None:
    stop = rule_of(subject="o.{data.a}")
    with pytest.raises(RuleFailed) as caught:
        routed(stop, a=UNSET)
    assert caught.value.rule == "events.tables.orders.subject"
    assert caught.value.reason == "the value of column a was not sent"
    assert routed(rule_of(subject="o.{data.a}", on_error="keep"), a=UNSET) == (b"o.%unsent", b"", None)
    assert routed(rule_of(subject="o.{data.a}", on_error="drop"), a=UNSET) is None
    masked = Columns(mask={"a": Mask(constant="***")})
    assert routed(rule_of(subject="o.{data.a}", on_error="keep", columns=masked), a=UNSET) == (b"o.%unsent", b"", None)


def test_what_is_too_long() -> None:
    text = "x" * 513
    with pytest.raises(RuleFailed, match="takes more than 512 bytes") as caught:
        routed(rule_of(subject="o.{data.a}"), a=text)
    assert text not in str(caught.value)
    assert routed(rule_of(subject="o.{data.a}", on_error="keep"), a=text) == (b"o.%long", b"", None)
    assert routed(rule_of(subject="o.{data.a}", on_error="drop"), a=text) is None
    assert subject(rule_of(subject="o.{data.a}"), a="x" * 512) == "o." + "x" * 512


def test_what_the_sink_has_no_room_for() -> None:
    keys = RouteLimit(100, lambda route: len(route.encode()), "bytes of a routing key")
    template = "orders.{data.a}.{data.b}"  # 46 bytes for each value
    kept = rule_of(subject=template, on_error="keep", route_limit=keys)
    assert subject(kept, a="x" * 46, b="7") == f"orders.{'x' * 46}.7"
    assert subject(kept, a="x" * 47, b="ü" * 24) == "orders.%long.%long"
    assert subject(kept, a="ü" * 23, b=None) == f"orders.{'ü' * 23}.%null"
    assert routed(rule_of(subject=template, on_error="drop", route_limit=keys), a="x" * 47) is None
    with pytest.raises(RuleFailed, match="the value of column a takes more than 46 bytes of a routing key there"):
        routed(rule_of(subject=template, route_limit=keys), a="x" * 47)
    with pytest.raises(RuleUnfit, match="leaves 35 of the 100 bytes of a routing key for the value of a column"):
        rule_of(subject="{table}.{table}.{table}.{table}.{data.a}.{data.b}", route_limit=keys)


def test_what_the_sink_takes_for_a_dot() -> None:
    topics = RouteLimit(249, len, "characters of a topic", like_dot="_")
    two = rule_of(subject="{prefix}_x.{data.a}.{data.b}", route_limit=topics)
    assert (subject(two, a="a_b", b="c"), subject(two, a="a", b="b_c")) == ("ditto_x.a%5Fb.c", "ditto_x.a.b%5Fc")
    assert subject(rule_of(subject="{prefix}_x.{data.a}", route_limit=topics), a="a_b") == "ditto_x.a_b"


def test_the_action_is_part_of_a_subject() -> None:
    rule = rule_of(subject="{action}.{data.id}", headers={"x": "{action}"})
    for action in ("INSERT", "UPDATE", "READ"):
        assert routed(rule, action, id="1") == (
            f"{action.lower()}.1".encode(),
            f"x: {action.lower()}\r\n".encode(),
            None,
        )
    assert routed(rule, "DELETE", old={"id": "1"}) == (b"delete.1", b"x: delete\r\n", None)


def test_a_delete_has_the_values_of_the_old_row() -> None:
    rule = rule_of(subject="o.{data.id}", key_columns=("id",), identity="d")
    assert routed(rule, "DELETE", old={"id": "7"}) == (b"o.7", b"", None)
    assert routed(rule, "UPDATE", old={"id": "7"}, id="8") == (b"o.8", b"", None)


def test_what_covers_the_subjects_of_a_template() -> None:
    def parsed(text: str) -> Template:
        return parse_template(text, NAMES, has_data=True)

    assert wildcard(parsed("{prefix}.{table}"), NAMES) == "ditto.orders"
    assert wildcard(parsed("{prefix}.{table}.{data.a}"), NAMES) == "ditto.orders.>"
    assert wildcard(parsed("{prefix}.{table}-{data.a}.x"), NAMES) == "ditto.>"
    assert may_make(parsed("{prefix}.{data.a}"), NAMES, "ditto._checkpoint")
    assert may_make(parsed("{prefix}._{data.a}"), NAMES, "ditto._checkpoint")
    assert not may_make(parsed("{prefix}.c{data.a}"), NAMES, "ditto._checkpoint")
    assert not may_make(parsed("{prefix}.{data.a}.x"), NAMES, "ditto._checkpoint")
    assert may_make(parsed("{prefix}.{data.a}.x"), NAMES, "ditto._schema.")
    assert not may_make(parsed("{prefix}.{data.a}"), NAMES, "ditto._schema.")


# ------------------------------------------------------------------------------------- headers and keys


@given(TEXTS, TEXTS)
@example(" ", "")
@example("a\r\nNats-Rollup: all", "a")
def test_a_header_is_one_line_and_tells_values_apart(first: str, second: str) -> None:
    rule = rule_of(headers={"x": "{data.a}"}, on_error="keep")
    lines = []
    for text in (first, second):
        found = routed(rule, a=text)
        assert found is not None
        line = found[1].decode("ascii")
        assert line.startswith("x: ")
        assert line.endswith("\r\n")
        value = line[3:-2]
        assert value == value.strip()
        assert value.isprintable()
        lines.append(value)
    assert (lines[0] == lines[1]) == (first == second) or "%long" in lines[0]


def test_headers_may_have_several_values() -> None:
    rule = rule_of(headers={"Tenant": "t/{data.a}/{data.b}", "fixed": "yes, {table}"})
    assert routed(rule, a="x/y", b="z/") == (b"ditto.orders.>", b"Tenant: t/x%2Fy/z/\r\nfixed: yes, orders\r\n", None)


def test_headers_without_values_are_those_of_every_change() -> None:
    rule = rule_of(headers={"fixed": "yes"}, truncate=b"ditto.orders")
    assert routed(rule) == (b"ditto.orders.>", b"fixed: yes\r\n", None)
    assert routed(rule, "TRUNCATE") == (b"ditto.orders", b"fixed: yes\r\n", None)


@pytest.mark.parametrize(
    ("columns", "row", "key"),
    [
        (["id"], {"id": "7"}, b"7"),
        (["id"], {"id": None}, None),
        (["a"], {"a": ""}, b""),
        (["a"], {"a": "ü\n"}, "ü\n".encode()),
        (["flag"], {"flag": "t"}, b"true"),
        (["id", "a"], {"id": "7", "a": None}, b'{"id":7,"a":null}'),
        (["doc", "flag"], {"doc": '{"a": 1}', "flag": "f"}, b'{"doc":{"a": 1},"flag":false}'),
    ],
)
def test_keys(columns: list[str], row: dict[str, Any], key: bytes | None) -> None:
    found = routed(rule_of(key=columns), **row)
    assert found is not None
    assert found[2] == key


def test_a_key_that_cannot_be_made() -> None:
    with pytest.raises(RuleFailed, match="takes more than 4096 bytes"):
        routed(rule_of(key=["a"]), a="x" * 4097)
    with pytest.raises(RuleFailed, match="the value of column b was not sent"):
        routed(rule_of(key=["a", "b"]), a="x", b=UNSET)
    assert routed(rule_of(key=["a"], on_error="keep"), a=UNSET) == (b"ditto.orders.>", b"", None)
    assert routed(rule_of(key=["a"], on_error="drop"), a=UNSET) is None


def test_encoding_of_headers() -> None:
    assert encode_header(" a b\t%ü ") == b"%20a b%09%25%C3%BC%20"


# ------------------------------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"subject": "o.{data.idd}"}, "events.tables.orders.subject names the column idd, .*: did you mean id?"),
        ({"headers": {"x": "{data.zzz}"}}, r"events.tables.orders.headers.x names the column zzz"),
        ({"key": ["zzz"]}, "events.tables.orders.key names the column zzz"),
        ({"columns": Columns(exclude=["zzz"])}, "events.tables.orders.columns.exclude names the column zzz"),
        ({"columns": Columns(include=["id", "zzz"])}, "events.tables.orders.columns.include names the column zzz"),
        ({"columns": Columns(mask={"zzz": Mask(null=True)})}, "events.tables.orders.columns.mask names the column zzz"),
        ({"subject": "o.{data.a}", "identity": "d"}, "does not send for a DELETE in table public.orders"),
        ({"key": ["a"], "identity": "d"}, "does not send for a DELETE"),
        ({"subject": "o.{data.a}", "truncate": b"o"}, "a TRUNCATE has no row"),
    ],
)
def test_a_rule_that_does_not_fit_its_table(rules: dict[str, Any], said: str) -> None:
    with pytest.raises(RuleUnfit, match=said) as caught:
        rule_of(**rules)
    assert caught.value.message.startswith(str(caught.value.context["key"]))


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("{data.a}", "must not begin with the value of a column"),
        ("x{data.a}", "must not begin with the value of a column"),
        ("o.{data.a}{data.b}", "two columns"),
        ("o.{data.a}x{data.b}", "two columns"),
        ("o.{data.a}%{data.b}", "two columns"),
        ("o.{data.a}.", "must give a NATS subject"),
        ("o.{data.a} x", "must give a NATS subject"),
        ("o" + ".{data.a}" * 7, "more than 6 columns"),
    ],
)
def test_subjects_that_cannot_be(subject: str, said: str) -> None:
    with pytest.raises(Impossible, match=said) as caught:
        check_entry("orders", TableRules(subject=subject))
    assert caught.value.place == "events.tables.orders.subject"


def test_the_columns_of_a_template() -> None:
    assert columns_of(parse_template("a.{data.a}.{data.b}", (), has_data=True)) == ["a", "b"]


# ------------------------------------------------------------------------------------- conditions


def test_a_condition_decides_first_and_reads_what_is_masked() -> None:
    columns = Columns(mask={"a": Mask(constant="***")})
    rule = rule_of(when="data.a == 'yes'", subject="o.{data.b}.{data.a}", columns=columns)
    assert routed(rule, a="yes", b="1") == (b"o.1.%2A%2A%2A", b"", None)
    assert routed(rule, a="no", b="1") is None


@pytest.mark.parametrize(("on_error", "is_there"), [("stop", None), ("keep", True), ("drop", False)])
def test_a_condition_that_has_no_value(on_error: str, is_there: bool | None) -> None:
    rule = rule_of(when="data.b > 'a'", on_error=on_error)
    assert routed(rule, b="b") == (ROUTE, b"", None)
    assert routed(rule, b="a") is None
    if is_there is None:
        with pytest.raises(RuleFailed) as caught:
            routed(rule, b=None)
        assert caught.value.rule == "events.tables.orders.when"
    else:
        assert (routed(rule, b=None) is not None) == is_there


def test_a_truncate_is_judged_too() -> None:
    rule = rule_of(when="action == 'TRUNCATE'", truncate=b"t")
    assert routed(rule, "TRUNCATE") == (b"t", b"", None)
    assert routed(rule, b="1") is None


def test_a_condition_that_does_not_fit_shows_its_place() -> None:
    with pytest.raises(RuleUnfit) as caught:
        rule_of(when="action == 'INSERT' &&\n  data.z == 'a'")
    assert caught.value.message.endswith(", at line 2, column 8")
    assert (caught.value.hint or "").endswith("\n  data.z == 'a'\n       ^")


def test_large_values_are_not_kept_in_memory() -> None:
    rule = rule_of(subject="{prefix}.t.{data.a}", headers={"b": "{data.b}"}, on_error="keep")
    tracemalloc.start()
    try:
        for number in range(100):
            found = rule.apply("INSERT", [f"{number}{'x' * 100_000}", f"{number}{'y' * 100_000}"], None)
            assert found is not None
            assert tuple(found[:2]) == (b"ditto.t.%long", b"b: %long\r\n")
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
