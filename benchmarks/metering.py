"""What processes use: CPU seconds and memory, as Linux tells below /proc."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


class Meter:
    """CPU seconds of a process since the meter was made, or since the process began. One that has ended keeps its last
    reading.
    """

    def __init__(self, pid: int, *, from_start: bool = False) -> None:
        self._tasks = Path(f"/proc/{pid}/task")
        self._start_s = 0.0 if from_start else self._total_s()
        self.cpu_s = 0.0

    def read(self) -> float:
        """Take a reading, and return it."""
        self.cpu_s = max(self.cpu_s, self._total_s() - self._start_s)
        return self.cpu_s

    def _total_s(self) -> float:
        total_ns = 0
        # The scheduler's own count, in ns; /proc/<pid>/stat counts in steps of 10 ms.
        with suppress(FileNotFoundError, ProcessLookupError):
            for task in self._tasks.iterdir():
                with suppress(FileNotFoundError, ProcessLookupError):
                    total_ns += int((task / "schedstat").read_text().split()[0])
        return total_ns / 1e9


def processor_ticks() -> tuple[int, int]:
    """Since boot, over all processors: what the hypervisor gave to other machines, and what was wanted here with it."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("cpu "):
            user, nice, system, _idle, _iowait, interrupts, soft_interrupts, stolen = map(int, line.split()[1:9])
            return stolen, user + nice + system + interrupts + soft_interrupts + stolen
    raise RuntimeError("/proc/stat does not tell what the processors did")


def peak_rss_bytes(pid: int) -> int:
    """The most memory that the process has held so far."""
    return _status_bytes(pid, "VmHWM")


def rss_bytes(pid: int) -> int:
    """The memory that the process holds now."""
    return _status_bytes(pid, "VmRSS")


def _status_bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{pid}/status does not tell {name}")
