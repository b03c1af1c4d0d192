"""Replays what a sink holds into a copy of the tables, and compares the two: the check of what Ditto promises.

    publication = await read_publication(control, "ditto")
    async with open_reader(config) as reader:
        copy = await replay(reader, keys=await table_keys(control, publication.tables))
    result = await compare(control, copy, publication=publication)

`replay` and `compare` share no code with the way from PostgreSQL to the stream except the notation of positions: values
are read back by the rules of `inverse`. They expect a stream that holds every event of its tables (none filtered, none
aged out), and tables that no client writes to during the comparison. Rows that were changed without an event, by ALTER
TABLE, are left out: `history`. `ditto.verify.run` is the command's whole check.
"""

from ditto.verify.catalogue import Publication, Published, read_publication, table_keys
from ditto.verify.compare import Comparison, compare
from ditto.verify.difference import Difference, Unjudged
from ditto.verify.replay import Replay, replay

__all__ = [
    "Comparison",
    "Difference",
    "Publication",
    "Published",
    "Replay",
    "Unjudged",
    "compare",
    "read_publication",
    "replay",
    "table_keys",
]
