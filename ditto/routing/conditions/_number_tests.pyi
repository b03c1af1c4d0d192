from ditto.decoding._row_tests import ColumnTest

class IntegerOrder(ColumnTest):
    def __init__(self, row: str, column: int, of_null: bool | None, wanted: int, other: int) -> None: ...

class DoubleOrder(ColumnTest):
    def __init__(self, row: str, column: int, of_null: bool | None, wanted: int, other: float) -> None: ...

class NumericOrder(ColumnTest):
    def __init__(
        self, row: str, column: int, of_null: bool | None, wanted: int, sign: int, whole: bytes, fraction: bytes
    ) -> None: ...

class MomentOrder(ColumnTest):
    def __init__(self, row: str, column: int, of_null: bool | None, wanted: int, us: int, has_rest: bool) -> None: ...

class SpanOrder(ColumnTest):
    def __init__(self, row: str, column: int, of_null: bool | None, wanted: int, us: int, has_rest: bool) -> None: ...
