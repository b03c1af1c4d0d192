"""Which changes pass, and to which subject."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.config import EVENT_ACTIONS, Events
from ditto.config.events import Action, TableRules
from ditto.errors import RuleUnfit, SubjectCollision
from ditto.routing.patterns import Patterns, TablePattern
from ditto.routing.router import MANY, SCHEMA, Router
from ditto.routing.templates import encode_token
from ditto.sinks.jetstream.subjects import subject_matches

ALL = [Action.INSERT, Action.UPDATE, Action.DELETE, Action.TRUNCATE]
DOTTED = "{prefix}.{schema}.{table}"


def router(**events: Any) -> Router:
    return Router(Events(**events), database="shop")


# ------------------------------------------------------------------------------------- filter


@pytest.mark.parametrize(
    ("namespace", "name", "winner"),
    [
        ("public", "trades", "public.trades"),
        ("other", "trades", "trades"),
        ("public", "trades_2026", "public.trades_*"),
        ("public", "trades_2026_01", "public.trades_2026_*"),
        ("audit", "trades_2026", "audit.*"),
        ("audit", "anything", "audit.*"),
        ("auditor", "anything", "*"),
        ("other", "trades_2026", "trade*"),
        ("public", "only", "only"),
        ("public", "Trades", "public.*"),
        ("x", "tab1", "tab[0-9]"),
        ("x", "tab", "*"),
    ],
)
def test_the_most_specific_key_wins(namespace: str, name: str, winner: str) -> None:
    keys = ["*", "trade*", "trades", "public.*", "public.trades_*", "public.trades_2026_*", "public.trades", "audit.*"]
    keys += ["tab[0-9]", "only"]
    for order in (keys, keys[::-1]):
        assert Patterns({key: key for key in order}).find(namespace, name) == winner


def test_a_key_without_a_schema_means_any_schema() -> None:
    assert TablePattern("trades").matches("a", "trades")
    assert TablePattern("t*").matches("b", "trades")
    assert not TablePattern("a.trades").matches("b", "trades")
    assert not TablePattern("a.t*").matches("b", "trades")
    assert TablePattern("*.trades").matches("b", "trades")


def test_names_are_compared_as_they_stand() -> None:
    assert not TablePattern("Trades").matches("public", "trades")
    assert not TablePattern("T*").matches("public", "trades")


def test_nothing_matches_nothing() -> None:
    assert Patterns({"trades": 1}).find("public", "accounts") is None


def test_only_listed_tables_and_actions_pass() -> None:
    route = router(tables={"trades": [Action.INSERT, Action.UPDATE]})
    subject = b"ditto_public_trades"
    assert route.routes("public", "trades") == (subject, subject, None, None, subject)
    assert route.routes("public", "accounts") == (None,) * 5


def test_without_a_filter_everything_passes() -> None:
    assert router().routes("public", "trades") == (b"ditto_public_trades",) * 5


# ------------------------------------------------------------------------------------- subjects


def test_a_mapped_table_has_the_whole_subject() -> None:
    route = router(topics={"trades": "transactions", "audit.*": "a.b"}, subject=DOTTED)
    assert route.routes("public", "trades") == (b"transactions",) * 5
    assert route.routes("audit", "x") == (b"a.b",) * 5
    assert route.routes("public", "x") == (b"ditto.public.x",) * 5


def test_a_mapping_does_not_pass_what_the_filter_stops() -> None:
    route = router(topics={"trades": "transactions"}, tables={"trades": [Action.INSERT]})
    assert route.routes("public", "trades") == (b"transactions", None, None, None, b"transactions")


def test_tables_may_be_mapped_to_one_subject() -> None:
    route = router(topics={"trades": "all", "accounts": "all"})
    assert route.routes("public", "trades") == route.routes("public", "accounts") == (b"all",) * 5


def test_action_and_database_in_the_template() -> None:
    route = router(subject="{prefix}.{database}.{action}.{schema}.{table}", prefix="cdc.x")
    assert route.routes("public", "t") == tuple(f"cdc.x.shop.{action}.public.t".encode() for action in EVENT_ACTIONS)
    encoded = Router(Events(subject="{prefix}.{database}.{table}"), database="my.db")
    assert encoded.routes("public", "t")[0] == b"ditto.my%2Edb.t"


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("plain_Name-1$", "plain_Name-1$"),
        ("Größe", "Größe"),
        ("a.b", "a%2Eb"),
        ("a b", "a%20b"),
        ("*", "%2A"),
        (">", "%3E"),
        ("100%", "100%25"),
        ("%2E", "%252E"),
        ("tab\tnew\r\nline", "tab%09new%0D%0Aline"),
        ("\x7f\x01", "%7F%01"),
    ],
)
def test_what_nats_does_not_allow_is_encoded(name: str, token: str) -> None:
    assert encode_token(name) == token


names = st.text("ab._*> %25E\t\né", min_size=1, max_size=8) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8
)


@given(names, names)
def test_encoding_is_one_to_one_and_gives_one_token(first: str, second: str) -> None:
    tokens = encode_token(first), encode_token(second)
    assert (tokens[0] == tokens[1]) == (first == second)
    for token in tokens:
        assert not set(token) & set(" .*>\t\r\n\0\f\x7f")
        assert subject_matches("x.*", f"x.{token}")


not_reserved = names.filter(lambda name: name != SCHEMA)


@given(st.lists(st.tuples(not_reserved, names), unique=True, min_size=2, max_size=5))
def test_tables_never_share_a_subject_of_a_dotted_template(tables: list[tuple[str, str]]) -> None:
    route = router(subject=DOTTED)
    assert len({route.routes(*table) for table in tables}) == len(tables)


@given(st.lists(st.tuples(names, names), unique=True, min_size=2, max_size=5))
def test_tables_never_share_a_subject_in_silence(tables: list[tuple[str, str]]) -> None:
    route = router()
    given_subjects = set()
    for table in tables:
        try:
            given_subjects.add(route.routes(*table))
        except SubjectCollision:
            return
    assert len(given_subjects) == len(tables)


def test_a_collision_names_both_tables_and_the_way_out() -> None:
    route = router()
    route.routes("a_b", "c")
    with pytest.raises(SubjectCollision) as caught:
        route.routes("a", "b_c")
    assert "tables a_b.c and a.b_c would share the subject ditto_a_b_c" in caught.value.message
    assert "events.topics" in (caught.value.hint or "")
    assert caught.value.context == {"relation": "a.b_c"}


def test_a_collision_of_filtered_tables_is_none() -> None:
    route = router(tables={"a_b.c": ALL})
    route.routes("a_b", "c")
    assert route.routes("a", "b_c") == (None,) * 5


def test_a_relation_that_is_described_again_does_not_collide_with_itself() -> None:
    route = router()
    assert route.routes("public", "t") == route.routes("public", "t")


@pytest.mark.parametrize(
    "events",
    [{"subject": "{prefix}.{table}"}, {"topics": {"_checkpoint": "ditto._checkpoint"}}],
    ids=["template", "topic"],
)
def test_no_table_shares_the_subject_of_the_checkpoints(events: dict[str, Any]) -> None:
    # Only the newest message is kept there: the next checkpoint would delete the table's events.
    route = router(**events)
    with pytest.raises(SubjectCollision, match=r"public._checkpoint would share the subject ditto._checkpoint"):
        route.routes("public", "_checkpoint")


# ------------------------------------------------------------------------------------- what the stream takes


def test_filtered_tables_need_no_subject() -> None:
    route = router(tables={"trades": [Action.INSERT]}, subject="{prefix}.{action}.{table}")
    assert route.routes("public", "accounts").names == set()
    assert route.routes("public", "trades").names == {"ditto.insert.trades"}


@pytest.mark.parametrize(
    ("template", "wildcard"),
    [
        (DOTTED, "ditto.>"),
        ("{prefix}.{action}_{table}", "ditto.>"),
        ("{prefix}_{schema}_{table}", None),
        ("x.{prefix}.{table}", None),
    ],
)
def test_the_wildcard_covers_every_subject_or_there_is_none(template: str, wildcard: str | None) -> None:
    route = router(subject=template)
    assert route.wildcard == wildcard
    assert route.checkpoint_subject == "ditto._checkpoint"
    if wildcard is not None:
        for subject in route.routes("s", "t.*"):
            assert isinstance(subject, bytes)
            assert subject_matches(wildcard, subject.decode())
        assert subject_matches(wildcard, route.checkpoint_subject)


@pytest.mark.parametrize(
    ("template", "wildcard"),
    [
        ("{prefix}.{schema}.{table}", "ditto.>"),
        ("cdc.{prefix}.{schema}_{table}", "cdc.ditto.>"),
        ("{database}.{table}.{action}", "shop.>"),
        ("{prefix}_{schema}_{table}", None),
        ("{table}.{prefix}", None),
    ],
)
def test_many_subjects_become_one_where_the_template_allows(template: str, wildcard: str | None) -> None:
    router = Router(Events(subject=template, topics={"t1": "mapped"}), database="shop")
    subjects = set[str]().union(*(router.routes("public", f"t{number}").names for number in range(MANY + 10)))
    assert router.folded(subjects) == ({wildcard, "mapped"} if wildcard else subjects)
    few = set(sorted(subjects)[:MANY])
    assert router.folded(few) == few


# ------------------------------------------------------------------------------------- rules of tables


def test_regular_expressions_are_keys_for_the_whole_name() -> None:
    keys = ["orders", r"re:tenant_(?P<t>\w+)\.orders", "tenant_*.orders", "*"]
    found = Patterns({key: key for key in keys})
    assert found.find("tenant_a", "orders") == "orders"  # a name comes first
    others = Patterns({key: key for key in keys[1:]})
    assert others.find("tenant_a", "orders") == keys[1]
    assert others.find("tenant_", "orders") == "tenant_*.orders"
    assert others.find("x_tenant_a", "orders") == "*"
    assert others.find("tenant_a", "orders_2") == "*"


def test_a_name_that_somebody_asks_for_is_no_regular_expression() -> None:
    assert not TablePattern("re:(a+)+b").matches("public", "aab")
    assert TablePattern(r"re:public\.(a+)+b", may_be_regex=True).matches("public", "aab")


def test_groups_of_a_key_are_placeholders() -> None:
    key = r"re:(?P<of>\w+)_(?P<t>.*)\.orders(?P<more>_x)?"
    found = router(tables={key: TableRules(subject="{prefix}.{of}.{t}.{more}.{action}")})
    assert found.routes("tenant_a.b", "orders").names == {
        f"ditto.tenant.a%2Eb.%empty.{action}" for action in ("insert", "update", "delete", "truncate")
    }


def own(subject: str, **more: TableRules) -> Router:
    rules = TableRules(actions=[Action.INSERT], subject=subject)
    return router(tables={"*": rules, **more}, subject=DOTTED)


def test_the_route_of_a_template_with_values_covers_what_it_makes() -> None:
    assert own("{prefix}.{schema}.{table}.{data.id}").routes("public", "orders").names == {"ditto.public.orders.>"}
    assert own("{prefix}.{table}-{data.id}.x").routes("public", "orders").names == {"ditto.>"}
    assert own("shop.{table}").routes("public", "orders").names == {"shop.orders"}
    assert own("shop.{table}").routes("public", "orders").read == b"shop.orders"


@pytest.mark.parametrize(
    "subject",
    [
        "{prefix}.{data.id}",
        "{prefix}._{data.id}",
        "{prefix}.{data.a}.{data.b}",
        "{prefix}.{data.a}.{table}.x",
        "{prefix}._schema.{data.id}",
        "{prefix}._snapshot.{table}",
        "{prefix}._checkpoint",
        "ditto.{data.id}",
    ],
)
def test_no_row_takes_one_of_dittos_own_subjects(subject: str) -> None:
    with pytest.raises(SubjectCollision, match=r"with (Ditto's|the control events)"):
        own(subject).routes("public", "orders")


@pytest.mark.parametrize("subject", ["{prefix}.x{data.id}", "{prefix}.x.{data.id}", "{prefix}.{table}.{data.id}"])
def test_subjects_beside_dittos_own_are_fine(subject: str) -> None:
    assert own(subject).routes("public", "orders").insert


def test_tables_share_a_subject_only_on_purpose() -> None:
    shared = own("{prefix}.all.{data.id}")
    assert shared.routes("a", "orders").names == shared.routes("b", "lines").names == {"ditto.all.>"}
    by_table = own("{prefix}.{table}.{data.id}")
    assert by_table.routes("a", "orders").names
    assert by_table.routes("a", "orders").names
    with pytest.raises(
        SubjectCollision, match=r"tables a\.orders and b\.orders would share .*events\.tables\.\*\.subject"
    ):
        by_table.routes("b", "orders")
    by_table.forget([("a", "orders")])
    assert by_table.routes("b", "orders").names


def test_the_subject_of_an_entry_comes_before_a_topic() -> None:
    found = router(tables={"orders": TableRules(subject="own.{table}")}, topics={"orders": "topic"})
    assert found.routes("public", "orders").names == {"own.orders"}


@pytest.mark.parametrize(
    ("events", "place"),
    [
        ({"prefix": "p" * 3900}, "events.subject"),
        ({"tables": {"orders": TableRules(subject="{prefix}." + "x" * 3900)}}, "events.tables.orders.subject"),
        (
            {"tables": {"orders": TableRules(subject="{prefix}." + "x" * 3000 + ".{data.a}.{data.b}")}},
            "events.tables.orders.subject",
        ),
    ],
)
def test_a_subject_that_nats_server_does_not_take_is_refused(events: dict[str, Any], place: str) -> None:
    with pytest.raises(RuleUnfit, match=r"subjects of [0-9,]+ bytes, and nats-server takes 3,900") as caught:
        router(**events).routes("public", "orders")
    assert caught.value.context["key"] == place
