from typing import Final

from ditto.decoding._row_tests import RowTest

KINDS: Final[dict[str, int]]
OPERATIONS: Final[dict[str, int]]
GETTERS: Final[dict[str, int]]

class Number: ...

class ColumnValue(Number):
    def __init__(self, row: str, column: int, kind: str) -> None: ...

class TextSize(Number):
    def __init__(self, row: str, column: int) -> None: ...

class MomentPart(Number):
    def __init__(self, row: str, column: int, getter: str) -> None: ...

class ConstantNumber(Number):
    def __init__(self, digits: int, scale: int, nearest: float) -> None: ...

class Computed(Number):
    def __init__(self, operation: str, kind: str, one: Number, other: Number) -> None: ...

class NumberOrder(RowTest):
    def __init__(self, one: Number, other: Number, are_doubles: bool, wanted: int) -> None: ...
