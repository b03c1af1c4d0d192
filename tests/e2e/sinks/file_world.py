"""A world whose events go to a file: no NATS anywhere."""

from __future__ import annotations

import base64
from abc import abstractmethod
from typing import TYPE_CHECKING

import msgspec

from ditto.decoding.event_id import event_key, position_of
from ditto.formats.checkpoint import decode_checkpoint
from ditto.formats.payload_prefixes import CHECKPOINT, CONTROL, CONTROL_OFFSET, DESCRIPTION, RECORD
from ditto.lsn import Position
from e2e.sinks.replayed_world import ReplayedWorld
from e2e.world import Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ditto.testing.servers import PostgresServer


class Record(msgspec.Struct, rename="camel"):
    """A line that is no event by itself."""

    subject: str = ""
    headers: dict[str, str] = {}
    payload: msgspec.Raw = msgspec.Raw()
    payload_base64: str = msgspec.field(default="", name="payloadBase64")


class LineWorld(ReplayedWorld):
    """Reads lines: what is in the ids says where each one is."""

    def __init__(self, postgres: PostgresServer, *, name: str, folder: Path, settings: Mapping[str, str]) -> None:
        super().__init__(postgres, name=name, folder=folder, settings=settings)
        system = self.value("SELECT system_identifier FROM pg_control_system()")
        self.key = event_key(str(system), self.name)

    def stored(self, lines: Iterable[bytes]) -> list[Stored]:
        """With the positions that their ids give."""
        found: list[Stored] = []
        position = Position(0, 0)
        for number, line in enumerate(lines, 1):
            if line.startswith(b'{"lsn":'):
                position = decode_checkpoint(line).checkpoint.position
            elif line.startswith(b'{"id":"'):
                given = position_of(line[7:43], self.key)
                assert given is not None, line[:60]
                position = given
            found.append(Stored(number, "", position, line))
        return found

    @abstractmethod
    def lines(self) -> list[bytes]:
        """The complete ones."""

    async def descriptions(self) -> list[bytes]:
        return [line for line in self.lines() if line.startswith(DESCRIPTION)]

    async def payloads(self) -> list[tuple[bytes, Mapping[str, str]]]:
        """A record has the payload in it."""
        found: list[tuple[bytes, Mapping[str, str]]] = []
        for line in self.lines():
            if line.startswith(RECORD):
                record = msgspec.json.decode(line, type=Record)
                payload = bytes(record.payload) or base64.b64decode(record.payload_base64)
                if not record.subject.startswith(f"{self.name}._"):
                    found.append((payload, record.headers))
            elif not line.startswith((DESCRIPTION, CHECKPOINT)) and not line.startswith(CONTROL, CONTROL_OFFSET):
                found.append((line, {}))
        return [each for each in found if b'"table":"fence"' not in each[0]]


class FileWorld(LineWorld):
    """Reads the file `path`."""

    def __init__(self, postgres: PostgresServer, *, name: str, folder: Path) -> None:
        self.path = folder / "events.jsonl"
        super().__init__(postgres, name=name, folder=folder, settings={"DITTO_FILE_PATH": str(self.path)})
        self._looked = 0

    def lines(self) -> list[bytes]:
        """The complete ones."""
        content = self.path.read_bytes() if self.path.exists() else b""
        return content.split(b"\n")[:-1]

    async def messages(self) -> list[Stored]:
        """All lines, checkpoints included. Their positions increase strictly, or the test fails."""
        found = self.stored(self.lines())
        positions = [message.position for message in found if not message.payload.startswith(b'{"schema":')]
        assert positions == sorted(set(positions)), "positions increase strictly"
        return found

    async def message_count(self) -> int:
        return len(self.lines())

    async def fence(self, *, timeout_s: float = 30) -> None:
        self._looked = 0
        await super().fence(timeout_s=timeout_s)

    async def has_arrived(self, wanted: bytes) -> bool:
        """In what has come since it was looked at last."""
        if not self.path.exists():
            return False
        start = max(0, self._looked - len(wanted))
        with self.path.open("rb") as file:
            file.seek(start)
            content = file.read()
        self._looked = start + len(content)
        return wanted in content
