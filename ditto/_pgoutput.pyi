from collections.abc import Callable, Mapping

from psycopg.pq.abc import PGconn

from ditto.decoding.kinds import Kinds
from ditto.decoding.messages import Block, Extras, Relation, Targets
from ditto.formats.checkpoint import Transaction
from ditto.lsn import Position

class Decoder:
    skipped_count: int
    filtered_count: int
    logical_message_count: int
    def __init__(
        self,
        select: Callable[[Relation], Targets],
        *,
        id_key: bytes,
        after: Position = ...,
        watch_lsn: int = ...,
        kinds: Kinds = ...,
        extras: Extras = ...,
        max_size: int = ...,
    ) -> None: ...
    def feed(self, frame: bytes) -> None: ...
    @property
    def watched(self) -> list[Transaction]: ...
    def last_transaction(self) -> Transaction | None: ...
    def passed_counts(self) -> dict[tuple[str, str], tuple[int, int, int, int]]: ...
    @property
    def relation_count(self) -> int: ...
    @property
    def passed_lsn(self) -> int: ...
    def relations(self) -> dict[int, Relation]: ...
    def forget(self, relations: Mapping[int, Relation]) -> set[tuple[str, str]]: ...
    def take(self) -> Block: ...
    def read(self, pgconn: PGconn, *, max_events: int, max_bytes: int, enough: int = 1) -> Block: ...
