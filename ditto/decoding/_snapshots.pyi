from collections.abc import Mapping, Sequence

from ditto.decoding._block import BlockBuilder
from ditto.decoding._snapshot_rows import Rows
from ditto.decoding.messages import Block, Extras, Moved
from ditto.decoding.transaction_snapshot import TxSnapshot
from ditto.routing.table_plans import TablePlan

class SnapshotSupport(BlockBuilder):
    def __init__(self, id_key: bytes, extras: Extras, described: Mapping[bytes, str], max_size: int) -> None: ...
    @property
    def recorded(self) -> list[tuple[int, bytes]]: ...
    @property
    def recorded_bytes(self) -> int: ...
    @property
    def moved(self) -> list[Moved]: ...
    def record(self, oid: int | None, key: tuple[int, ...], names: tuple[str, ...] = ()) -> None: ...
    def record_invisible(self, snapshot: TxSnapshot | None) -> None: ...
    def recorded_invisible_in(self, snapshot: TxSnapshot) -> list[bytes]: ...
    def forget_moved(self, moved: Sequence[Moved]) -> None: ...
    def read_block_of(
        self,
        plan: TablePlan,
        rows: Rows,
        start: int,
        stop: int,
        *,
        key: tuple[int, ...],
        run: str,
        commit_lsn: int,
        commit_time: str,
        xid: int,
        first_ordinal: int,
        moved_cursor: list[str] | None,
    ) -> Block: ...
