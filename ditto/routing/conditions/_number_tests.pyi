from ditto.decoding._row_tests import ColumnTest

class IntegerOrder(ColumnTest):
    def __init__(self, row: str, column: int, of_null: bool | None, wanted: int, other: int) -> None: ...

class DoubleOrder(ColumnTest):
    def __init__(self, row: str, column: int, of_null: bool | None, wanted: int, other: float) -> None: ...

class NumericOrder(ColumnTest):
    def __init__(self, row: str, column: int, of_null: bool | None, wanted: int, other: bytes) -> None: ...

class TimeOrder(ColumnTest):
    def __init__(
        self, row: str, column: int, of_null: bool | None, wanted: int, is_span: bool, us: int, has_rest: bool
    ) -> None: ...
