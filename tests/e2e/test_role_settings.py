"""What the role's own settings and the server's own ends do to a running Ditto: nothing that lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import conninfo

if TYPE_CHECKING:
    from e2e.world import World


def role(world: World, **settings: str) -> str:
    """A superuser with these settings that streams; its connection string."""
    name = f"{world.name}_role"
    world.sql(
        f"CREATE ROLE {name} LOGIN SUPERUSER", *(f"ALTER ROLE {name} SET {k} = '{v}'" for k, v in settings.items())
    )
    return conninfo.make_conninfo(world.dsn, user=name)


async def test_a_publication_that_was_missing_is_noticed_whatever_the_role_wants_to_hear(world: World) -> None:
    dsn = role(world, client_min_messages="error")
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming(postgres_dsn=dsn)
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    publication = f'"{world.name}"'
    world.sql(
        f"DROP PUBLICATION {publication}",
        "INSERT INTO t VALUES (2)",
        "INSERT INTO t VALUES (3)",
        f"CREATE PUBLICATION {publication} FOR ALL TABLES",
        "INSERT INTO t VALUES (4)",
    )
    assert await ditto.ended() == 3
    assert "publication" in ditto.sentence()
    assert [each.change[2] for each in await world.messages() if each.subject.endswith("_t")] == [1]
