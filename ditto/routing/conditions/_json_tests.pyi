from collections.abc import Sequence

from ditto.decoding._row_tests import ColumnTest

class JsonTest(ColumnTest):
    def __init__(
        self, row: str, column: int, of_null: bool | None, path: Sequence[bytes], is_binary: bool, *arguments: object
    ) -> None: ...

class JsonHas(JsonTest):
    def __init__(self, row: str, column: int, of_null: bool | None, path: Sequence[bytes], is_binary: bool) -> None: ...

class JsonIsOneOf(JsonTest):
    def __init__(
        self,
        row: str,
        column: int,
        of_null: bool | None,
        path: Sequence[bytes],
        is_binary: bool,
        texts: Sequence[bytes],
        words: Sequence[bytes],
    ) -> None: ...

class JsonIsTrue(JsonTest):
    def __init__(self, row: str, column: int, of_null: bool | None, path: Sequence[bytes], is_binary: bool) -> None: ...

class JsonOrder(JsonTest):
    def __init__(
        self,
        row: str,
        column: int,
        of_null: bool | None,
        path: Sequence[bytes],
        is_binary: bool,
        wanted: int,
        other: int | float,
        of_others: bool | None,
    ) -> None: ...
