from collections.abc import Sequence

from ditto.decoding._row_tests import ColumnTest
from ditto.routing.conditions._readers import Membership

class TextIsOneOf(ColumnTest):
    def __init__(self, row: str, column: int, of_null: bool | None, texts: Sequence[bytes]) -> None: ...

class TextOrder(ColumnTest):
    def __init__(self, row: str, column: int, of_null: bool | None, wanted: int, text: bytes) -> None: ...

class TextHas(ColumnTest):
    def __init__(self, row: str, column: int, of_null: bool | None, part: bytes, where: str) -> None: ...

class TextMatches(ColumnTest):
    def __init__(
        self,
        row: str,
        column: int,
        of_null: bool | None,
        parts: Sequence[tuple[bytes, bool, int, int]],
        is_from_start: bool,
        is_to_end: bool,
    ) -> None: ...

class ArrayHas(ColumnTest):
    def __init__(self, row: str, column: int, of_null: bool | None, membership: Membership) -> None: ...
