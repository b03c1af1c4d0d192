from ditto.decoding._row_tests import RowTest

class PairOrder(RowTest):
    def __init__(
        self, kind: str, row: str, column: int, other_row: str, other_column: int, wanted: int, takes_null: bool
    ) -> None: ...
