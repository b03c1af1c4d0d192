from collections.abc import Sequence
from typing import Any

from ditto.formats.debezium.envelopes import MakeFrame

def encode_events(
    changes: Sequence[Any],
    layouts: Sequence[Any],
    commit_lsns: Sequence[int],
    ordinals: Sequence[int],
    make_frame: MakeFrame,
) -> tuple[bytearray, list[int]]: ...
