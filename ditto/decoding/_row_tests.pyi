from collections.abc import Collection, Sequence

from msgspec import UnsetType

class RowTest:
    def judge(
        self,
        action: str,
        new: Sequence[str | UnsetType | None] | None,
        old: Sequence[str | UnsetType | None] | None,
    ) -> bool | None: ...

class ColumnTest(RowTest): ...
class Unknown(RowTest): ...

class Always(RowTest):
    def __init__(self, value: bool) -> None: ...

class AllOf(RowTest):
    def __init__(self, tests: Collection[RowTest]) -> None: ...

class AnyOf(RowTest):
    def __init__(self, tests: Collection[RowTest]) -> None: ...

class Not(RowTest):
    def __init__(self, test: RowTest) -> None: ...

class ActionIs(RowTest):
    def __init__(self, actions: Collection[str]) -> None: ...

class IsNull(ColumnTest):
    def __init__(self, row: str, column: int, of_null: bool | None) -> None: ...

class IsSent(RowTest):
    def __init__(self, row: str, column: int) -> None: ...

class IsChanged(RowTest):
    def __init__(self, column: int, is_key: bool) -> None: ...
