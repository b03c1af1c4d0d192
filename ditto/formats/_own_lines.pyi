from collections.abc import Sequence
from typing import Any

def lines_of(changes: Sequence[Any], more: bytes = b"") -> list[bytes]: ...
