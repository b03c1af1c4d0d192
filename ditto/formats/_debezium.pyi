from collections.abc import Sequence
from typing import Any

from ditto.formats.debezium.envelopes import MakeFrame

def wrap(
    changes: Sequence[Any],
    layouts: Sequence[Any],
    commit_lsns: Sequence[int],
    ordinals: Sequence[int],
    new: bytes,
    old: bytes | None,
    make_frame: MakeFrame,
) -> tuple[bytearray, list[int]]: ...
def rows_of(changes: Sequence[Any], layouts: Sequence[Any]) -> tuple[list[Any], list[Any] | None]: ...
