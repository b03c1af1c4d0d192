from collections.abc import Mapping, Sequence

from ditto.sinks.jetstream.pure_frames import FrameTooLarge as FrameTooLarge

def frame_block(
    subjects: Sequence[bytes],
    commit_lsns: Sequence[int],
    ordinals: Sequence[int],
    payloads: bytes | bytearray,
    ends: Sequence[int],
    *,
    gap: int,
    last_sequence: int,
    reply: bytes,
    first_number: int,
    is_committed: bool,
    max_size: int,
    traceparents: Mapping[int, bytes] | None = None,
    headers: bytes = b"",
    own_headers: Sequence[bytes] | None = None,
) -> bytes | bytearray: ...
