"""Mutates the corpus without guidance, for a build with sanitizers: theirs would break libFuzzer's coverage.

    python tests/fuzz/mutate.py SECONDS FOLDER...

Takes the inputs that the guided run has found as well. The seed is printed; what fails is left in `failing-input`.
"""

from __future__ import annotations

import random
import struct
import sys
import time
from pathlib import Path

from fuzz.check import check

FORGED = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(chance: random.Random, inputs: list[bytes]) -> bytes:
    """One input, changed in one to six places, perhaps with another one behind."""
    data = bytearray(chance.choice(inputs))
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(data)) if data else 0
        match chance.randrange(6):
            case 0 if data:
                data[place] ^= 1 << chance.randrange(8)
            case 1:
                data[place : place + 4] = struct.pack("!I", chance.choice(FORGED))
            case 2:
                del data[place : place + chance.randint(1, 30)]
            case 3:
                data[place:place] = chance.randbytes(chance.randint(1, 30))
            case 4:
                other = chance.choice(inputs)
                start = chance.randrange(len(other)) if other else 0
                data[place:place] = other[start : start + chance.randint(1, 400)]
            case _:
                data[place : place + 2] = struct.pack("!H", chance.choice(FORGED) & 0xFFFF)
    return bytes(data) + (chance.choice(inputs) if chance.random() < 0.2 else b"")


def main(seconds: float, folders: list[Path]) -> None:
    """Until the time is over, or something is wrong."""
    inputs = [file.read_bytes() for folder in folders for file in sorted(folder.iterdir()) if file.is_file()]
    seed = time.time_ns() % 1_000_000
    chance = random.Random(seed)
    print(f"seed {seed}, {len(inputs)} inputs", flush=True)
    deadline = time.monotonic() + seconds
    count = 0
    failing = Path("failing-input")
    for data in inputs:
        check(data)
    while time.monotonic() < deadline:
        data = mutated(chance, inputs)
        failing.write_bytes(data)  # a sanitizer ends the process on the spot
        check(data)
        count += 1
    failing.unlink(missing_ok=True)
    print(f"{count} inputs: no difference, no fault")


if __name__ == "__main__":
    main(float(sys.argv[1]), [Path(folder) for folder in sys.argv[2:]])
