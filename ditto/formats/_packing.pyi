from collections.abc import Sequence

def split(
    routes: Sequence[bytes],
    commit_lsns: Sequence[int],
    ends: Sequence[int],
    *,
    gap: int,
    route: bytes,
    max_events: int,
    max_bytes: int,
    lsn: int,
    count: int,
    size: int,
) -> list[int]: ...
def join(
    into: bytearray,
    data: bytes | bytearray,
    ends: Sequence[int],
    first: int,
    stop: int,
    *,
    gap: int,
    separator: int,
    is_line: bool,
) -> None: ...
