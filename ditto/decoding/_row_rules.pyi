from collections.abc import Mapping, Sequence

from msgspec import UnsetType

from ditto.decoding._row_tests import RowTest

class Template:
    def __init__(self, literals: Mapping[str, Sequence[bytes]], slots: Sequence[tuple[int, int, bytes]]) -> None: ...

class RowRule:
    def __init__(
        self,
        columns: Sequence[int],
        test: RowTest | None,
        route: Template | None,
        headers: Template | None,
        key: Template | None,
    ) -> None: ...
    def routed(
        self,
        action: str,
        new: Sequence[str | UnsetType | None] | None,
        old: Sequence[str | UnsetType | None] | None,
    ) -> tuple[bytes, bytes, bytes | None] | UnsetType | None: ...
