from collections.abc import Mapping

from ditto.decoding.messages import Extras

class BlockBuilder:
    def __init__(self, id_key: bytes, extras: Extras, described: Mapping[bytes, str]) -> None: ...
