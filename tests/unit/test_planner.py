"""The plan of a relation: what is asked for it, in which order, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ditto.config import Events, Types
from ditto.config.events import Action, Columns, Group, Mask, TableRules
from ditto.decoding.column_kinds import ARRAY, CALL, INT, JSON, SKIP, TEXT
from ditto.decoding.messages import Column, Relation
from ditto.errors import RuleUnfit, SubjectCollision
from ditto.routing.planner import Planner
from ditto.routing.table_descriptions import stored_versions
from ditto.routing.table_plans import TablePlan, Texts

ID = Column("id", 23, -1, True)
NAME = Column("name", 25, -1, False)
MOODS = Column("moods", 99_999, -1, False, "public", "_mood")


def relation(name: str = "trades", *columns: Column, identity: str = "d", oid: int = 1) -> Relation:
    return Relation(oid, "public", name, identity, columns or (ID, NAME))


class World:
    """What a planner asks, and what is answered."""

    def __init__(
        self,
        key: list[str] | None = None,
        *,
        has_keys: bool = False,
        relatives: Sequence[tuple[str, str]] = (),
        **events: Any,
    ) -> None:
        self.asked: list[object] = []
        self.relatives = relatives
        self.key = key or []
        self.not_arrays = frozenset({("public", "_odd")})
        self.planner = Planner(
            Events(**events),
            database="shop",
            primary_key=self._primary_key,
            not_arrays=self._not_arrays,
            relatives=self._relatives,
            has_keys=has_keys,
        )

    def plan(self, given: Relation) -> TablePlan:
        return asyncio.run(self.planner.plan(given))

    async def _primary_key(self, oid: int) -> list[str]:
        await asyncio.sleep(0)
        self.asked.append(oid)
        return self.key

    async def _relatives(self, oid: int) -> Sequence[tuple[str, str]]:
        await asyncio.sleep(0)
        return self.relatives

    async def _not_arrays(self) -> frozenset[tuple[str, str]]:
        await asyncio.sleep(0)
        self.asked.append("not arrays")
        return self.not_arrays


def test_the_plan_of_a_table_with_default_rules_asks_nothing() -> None:
    world = World()
    given = relation()
    plan = world.plan(given)
    assert world.asked == []
    assert plan.relation is given
    assert plan.routes.names == {"ditto_public_trades"}
    assert plan.routes == (b"ditto_public_trades",) * 5
    assert plan.kinds == bytes([INT, TEXT])
    assert (plan.primary_key, plan.schema_version, plan.description) == (None, None, None)


def test_a_relation_that_comes_again_is_planned_anew() -> None:
    world = World(["id"], metadata=["primary_key"])
    assert world.plan(relation(identity="f")).primary_key == ("id",)
    world.key = ["name"]
    assert world.plan(relation(identity="f")).primary_key == ("name",)
    assert world.asked == [1, 1]


def test_only_actions_that_pass_have_routes() -> None:
    world = World(tables={"trades": [Action.INSERT]}, subject="{prefix}.{action}.{table}")
    assert world.plan(relation()).routes == (b"ditto.insert.trades", None, None, None, b"ditto.read.trades")


def test_nothing_is_asked_for_a_table_that_is_filtered() -> None:
    world = World(tables={"trades": []}, schemas=True, metadata=["primary_key"])
    plan = world.plan(relation("trades", ID, MOODS, identity="f"))
    assert plan.routes == (None,) * 5
    assert len(plan.kinds) == 2
    assert plan.description is None
    assert world.asked == []


def test_two_tables_of_one_route_collide_until_one_is_dropped() -> None:
    world = World(subject="{prefix}_{table}")
    world.plan(relation())
    other = Relation(2, "audit", "trades", "d", (ID,))
    with pytest.raises(SubjectCollision, match="would share the subject"):
        world.plan(other)
    world.planner.forget({("public", "trades")})
    assert world.plan(other).routes.insert == b"ditto_trades"


def test_a_subject_that_may_be_one_of_dittos_own_is_refused_with_what_to_write() -> None:
    world = World(tables={"trades": TableRules(actions=[Action.INSERT], subject="{prefix}.{data.id}")})
    with pytest.raises(SubjectCollision, match="with Ditto's checkpoints") as caught:
        world.plan(relation())
    assert caught.value.hint == "put text of its own before the value of a column, such as {prefix}.{schema}.{table}."


@pytest.mark.parametrize(("identity", "asks"), [("d", False), ("i", False), ("f", True), ("n", True)])
@pytest.mark.parametrize("events", [{"schemas": True}, {"metadata": ["primary_key"]}], ids=["schemas", "metadata"])
def test_the_primary_key_is_asked_for_where_the_relation_does_not_tell(
    identity: str, asks: bool, events: dict[str, Any]
) -> None:
    world = World(["name"], **events)
    plan = world.plan(relation(identity=identity))
    assert (1 in world.asked) == asks
    assert plan.primary_key == (("name",) if asks else ("id",))
    if plan.description is not None:
        assert plan.description.table.primary_key == ["name" if asks else "id"]


def test_a_key_of_columns_that_came_later_is_none() -> None:
    world = World(["id", "later"], schemas=True)
    plan = world.plan(relation(identity="f"))
    assert plan.primary_key == ()
    assert plan.description is not None
    assert plan.description.table.primary_key == []


def test_kinds_follow_the_configuration() -> None:
    world = World(types=Types(int8="string", json="embed"))
    columns = (Column("a", 20, -1, False), Column("b", 3802, -1, False), Column("c", 1007, -1, False))
    assert world.plan(relation("t", *columns)).kinds == bytes([TEXT, JSON, ARRAY | INT])


def test_types_that_look_like_arrays_are_looked_up_once_where_there_are_some() -> None:
    world = World(schemas=True)
    world.plan(relation())
    assert "not arrays" not in world.asked
    odd = Column("odd", 99_998, -1, False, "public", "_odd")
    for _ in range(2):
        plan = world.plan(relation("t", ID, MOODS, odd))
    assert world.asked.count("not arrays") == 1
    assert plan.kinds == bytes([INT, ARRAY | TEXT, TEXT])
    assert plan.description is not None
    assert [column.type for column in plan.description.table.columns] == ["int4", "public.mood[]", "public._odd"]


def test_types_that_look_like_arrays_are_looked_up_again_where_a_new_one_comes() -> None:
    world = World()
    odd = Column("odd", 99_998, -1, False, "public", "_odd")
    late = Column("late", 99_997, -1, False, "public", "_late")
    elsewhere = Column("elsewhere", 99_996, -1, False, "other", "_late")
    assert world.plan(relation("t", ID, MOODS, odd)).kinds == bytes([INT, ARRAY | TEXT, TEXT])
    world.not_arrays = frozenset({("public", "_late")})  # and the other one has been dropped
    for _ in range(2):
        assert world.plan(relation("t", ID, MOODS, late, odd)).kinds == bytes([INT, ARRAY | TEXT, TEXT, TEXT])
    world.plan(relation("u", late, odd))
    assert world.asked.count("not arrays") == 2
    assert world.plan(relation("t", late, elsewhere)).kinds == bytes([TEXT, ARRAY | TEXT])
    assert world.asked.count("not arrays") == 3


def test_a_description_and_its_version() -> None:
    columns = (
        ID,
        Column("mood", 99_999, -1, False, "public", "mood"),
        Column("moods", 99_998, -1, False, "public", "_mood"),
        Column("odd", 99_997, -1, False, "public", "_odd"),
        Column("n", 1231, 655_366, False),
        Column("x", 99_990, -1, False),
    )
    plan = World(schemas=True, metadata=["schema_version"], prefix="a.b").plan(relation("trades", *columns))
    description = plan.description
    assert description is not None
    assert description.route == b"a.b._schema.public.trades"
    # Earlier versions of Ditto have stored it: with another one, every table would be described again.
    assert plan.schema_version == description.version == description.table.version == "e465a24cfafc8538"
    assert (description.table.schema, description.table.table) == ("public", "trades")
    assert (description.table.replica_identity, description.table.primary_key) == ("default", ["id"])
    assert [column.type for column in description.table.columns] == [
        "int4", "public.mood", "public.mood[]", "public._odd", "numeric[]", "99990",
    ]  # fmt: skip


def test_versions_of_stored_descriptions() -> None:
    payload = b'{"schema":"s","table":"t","version":"v7","replicaIdentity":"full","primaryKey":[],"columns":[]}'
    assert stored_versions({"ditto._schema.s.t": payload, "ditto._schema.s.u": b"{}"}) == {b"ditto._schema.s.t": "v7"}


# ------------------------------------------------------------------------------------- at the start


def test_routes_of_the_published_tables() -> None:
    planner = World(schemas=True, topics={"accounts": "money"}).planner
    assert planner.description_wildcard == "ditto._schema.>"
    first = planner.routes_of([("public", "trades")])
    assert first == {"ditto_public_trades", "ditto._schema.>"}
    assert planner.routes_of([("public", "accounts")], known=first) == {*first, "money"}


def test_tables_that_may_never_come_collide_with_nothing_later() -> None:
    world = World(subject="{prefix}.{table}")
    assert world.planner.routes_ahead([("audit", "trades")]) == {"ditto.trades"}
    world.plan(relation())
    with pytest.raises(SubjectCollision):
        world.planner.routes_ahead([("audit", "trades"), ("public", "trades")])


# ------------------------------------------------------------------------------------- rules of tables


def test_columns_that_are_left_out_or_masked_have_kinds_of_their_own() -> None:
    columns = Columns(exclude=["name"], mask={"moods": Mask(constant="-")})
    world = World(tables={"trades": TableRules(columns=columns)})
    plan = world.plan(relation("trades", ID, NAME, MOODS))
    assert plan.kinds == bytes([INT, SKIP, CALL])
    assert plan.functions[:2] == (None, None)
    assert plan.functions[2] is not None
    assert plan.functions[2]("{a}") == "-"
    assert plan.rule is None


def test_without_rules_nothing_is_called() -> None:
    plan = World(tables={"trades": TableRules(actions=[Action.INSERT])}).plan(relation())
    assert (plan.functions, plan.rule) == ((), None)


def test_the_key_may_be_left_out_where_another_one_is_given() -> None:
    columns = Columns(include=["name"])
    with pytest.raises(RuleUnfit, match=r"leaves out id, a column of the key of table public\.trades"):
        World(tables={"trades": TableRules(columns=columns)}).plan(relation())
    only = [Action.INSERT]
    world = World(tables={"trades": TableRules(columns=columns, key=["name"], actions=only)}, metadata=["primary_key"])
    plan = world.plan(relation())
    assert plan.primary_key == ()
    assert plan.rule is not None
    assert plan.rule.columns == (1,)


def test_of_a_full_identity_the_catalogue_says_what_the_key_is() -> None:
    world = World(["name"], tables={"trades": TableRules(columns=Columns(exclude=["id"]))})
    assert world.plan(relation(identity="f")).kinds == bytes([SKIP, TEXT])
    with pytest.raises(RuleUnfit):
        World(["id"], tables={"trades": TableRules(columns=Columns(exclude=["id"]))}).plan(relation(identity="f"))


def test_another_choice_of_columns_is_another_version_of_the_description() -> None:
    def described(columns: Columns | None) -> tuple[str | None, list[tuple[str, bool]]]:
        rules = TableRules(columns=columns)
        plan = World(schemas=True, tables={"trades": rules}).plan(relation())
        assert plan.description is not None
        assert plan.description.version == plan.schema_version
        return plan.schema_version, [(each.name, each.is_masked) for each in plan.description.table.columns]

    plain = described(None)
    assert plain == (World(schemas=True).plan(relation()).schema_version, [("id", False), ("name", False)])
    masked = described(Columns(mask={"name": Mask(null=True)}))
    without = described(Columns(exclude=["name"]))
    assert masked[1] == [("id", False), ("name", True)]
    assert without[1] == [("id", False)]
    assert len({plain[0], masked[0], without[0]}) == 3


def test_only_tables_with_rules_are_looked_at_ahead() -> None:
    tables = {"a": [Action.INSERT], "b": TableRules(actions=[Action.INSERT]), "c": TableRules(key=["id"])}
    planner = World(tables=tables).planner
    assert planner.ruled([("public", name) for name in "abcd"]) == [("public", "c")]


def keys(plan: TablePlan, *rows: tuple[str, Texts | None, Texts | None]) -> list[bytes | None]:
    """Those of changes: action, new and old values of the rule's columns."""
    assert plan.rule is not None
    found = [plan.rule.apply(*row) for row in rows]
    assert all(each is not None and each[0] for each in found)
    return [each[2] for each in found if each is not None]


def test_where_the_sink_has_keys_the_primary_key_is_the_messages_key() -> None:
    plan = World(has_keys=True).plan(relation())
    assert plan.rule is not None
    assert plan.rule.columns == (0,)
    changes: list[tuple[str, Texts | None, Texts | None]] = [
        ("INSERT", ["7"], None),
        ("UPDATE", ["8"], ["7"]),
        ("DELETE", None, ["8"]),
        ("READ", ["9"], None),
    ]
    assert keys(plan, *changes) == [b"7", b"8", b"8", b"9"]
    truncated = plan.rule.apply("TRUNCATE", None, None)
    assert truncated is not None
    assert truncated[:3] == (b"ditto_public_trades", b"", None)
    assert (plan.kinds, plan.functions, plan.primary_key) == (bytes([INT, TEXT]), (), None)


def test_a_key_of_several_columns_is_an_object() -> None:
    plan = World(has_keys=True).plan(relation("t", ID, Column("name", 25, -1, True)))
    assert keys(plan, ("INSERT", ["7", "a"], None)) == [b'{"id":7,"name":"a"}']


def test_of_a_full_identity_the_key_is_the_primary_key_and_without_one_there_is_none() -> None:
    world = World(["name"], has_keys=True)
    assert keys(world.plan(relation(identity="f")), ("DELETE", None, ["a"])) == [b"a"]
    world.key = []
    assert world.plan(relation(identity="f")).rule is None


def test_a_key_that_is_configured_comes_before_the_primary_key() -> None:
    only = [Action.INSERT]
    plan = World(has_keys=True, tables={"trades": TableRules(key=["name"], actions=only)}).plan(relation())
    assert keys(plan, ("INSERT", ["a"], None)) == [b"a"]
    masked = Columns(mask={"id": Mask(constant="-")})
    plan = World(has_keys=True, tables={"trades": TableRules(columns=masked)}).plan(relation())
    assert keys(plan, ("INSERT", ["7"], None)) == [b"-"]


def test_a_primary_key_whose_column_was_renamed_has_the_new_name() -> None:
    rules = TableRules(columns=Columns(former={"number": ["id"]}))
    plan = World(has_keys=True, tables={"trades": rules}).plan(relation("trades", ID, Column("name", 25, -1, True)))
    assert keys(plan, ("INSERT", ["7", "a"], None)) == [b'{"number":7,"name":"a"}']


def test_a_primary_key_that_is_too_long_for_a_key_stops_nothing() -> None:
    plan = World(has_keys=True).plan(relation("t", Column("name", 25, -1, True)))
    assert keys(plan, ("INSERT", ["x" * 5000], None), ("INSERT", ["x" * 1500], None)) == [None, b"x" * 1500]


def test_groups_have_no_keys() -> None:
    group = Group(subject="{prefix}.groups")
    assert World(has_keys=True, group=group).plan(relation()).rule is None


@pytest.mark.parametrize(
    ("columns", "hidden"),
    [
        (None, []),
        (Columns(exclude=["a"]), ["a"]),
        (Columns(mask={"a": Mask(null=True)}, former={"a": ["was a"], "b": ["was b"]}), ["a", "was a"]),
        (Columns(include=["a"], former={"a": ["was a"]}), ["b", "was b", "other"]),
        (Columns(include=["a"], mask={"a": Mask(null=True)}), ["a", "was a", "b", "was b", "other"]),
    ],
)
def test_which_columns_may_be_hidden_is_known_without_the_relation(columns: Columns | None, hidden: list[str]) -> None:
    planner = World(tables={"trades": TableRules(columns=columns)}).planner
    names = ["a", "was a", "b", "was b", "other"]
    assert [name for name in names if planner.hides(("public", "trades"), [name])] == hidden
    assert not planner.hides(("public", "orders"), names)


def test_a_column_that_is_gone_may_be_hidden_by_another_name() -> None:
    world = World(tables={"trades": TableRules(columns=Columns(mask={"name": Mask(null=True)}))})
    assert not world.planner.hides(("public", "trades"), ["label"])
    world.plan(relation())
    assert world.planner.hides(("public", "trades"), ["label"])
    assert not world.planner.hides(("public", "trades"), ["id"])


@pytest.mark.parametrize(
    ("own", "other", "name", "relative", "fits"),
    [
        ("*", "orders", "orders_1", "orders", False),
        ("orders_1", "orders", "orders_1", "orders", False),
        ("ord*", "re:.*_1", "orders", "orders_1", False),
        ("orders", "orders_*", "orders", "orders_1", True),
    ],
)
def test_columns_that_are_chosen_under_another_name(own: str, other: str, name: str, relative: str, fits: bool) -> None:
    """A partition and its table: rows that come under either name must not show what the other one hides."""
    hides, relatives = TableRules(columns=Columns(exclude=["name"])), [("public", relative)]
    world = World(relatives=relatives, tables={own: TableRules(), other: hides})
    if fits:
        assert SKIP not in world.plan(relation(name)).kinds
    else:
        with pytest.raises(RuleUnfit, match=f"chooses the columns of public.{relative}"):
            world.plan(relation(name))
    assert SKIP in World(relatives=relatives, tables={own: hides, other: hides}).plan(relation(name)).kinds
