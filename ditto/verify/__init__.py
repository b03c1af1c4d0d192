"""The check behind the promises: replay a stream into a copy of the tables, and compare the two.

    keys = await table_keys(connection)
    copy = await replay(client, "DITTO", keys=keys)
    result = await compare(connection, copy, tables=await published_tables(connection, "ditto"))

`replay` and `compare` share no code with the way from PostgreSQL to the stream except the notation of positions:
values are converted back by PostgreSQL itself. They expect a stream that holds every event of its tables (none
filtered, none aged out), and tables that nobody writes to meanwhile. `ditto.verify.run` is the command's whole check.
"""

from ditto.verify.compare import Comparison, Published, compare, published_tables, table_keys
from ditto.verify.difference import Difference
from ditto.verify.replay import Replay, replay

__all__ = ["Comparison", "Difference", "Published", "Replay", "compare", "published_tables", "replay", "table_keys"]
