"""Numbers as Debezium has them with `decimal.handling.mode: precise`, and bits.

A decimal is its unscaled value: two's complement, the fewest bytes, big-endian, in base64.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from typing import Any, Final

_MOST_DIGITS: Final = 4000
"""Of a text that Python reads as one integer."""
_NO_DECIMAL: Final = frozenset({"NaN", "Infinity", "-Infinity"})


def base64(data: bytes) -> str:
    """Without line ends."""
    return b2a_base64(data, newline=False).decode()


def _unscaled(number: int) -> str:
    bits = (number if number >= 0 else ~number).bit_length()
    return base64(number.to_bytes(bits // 8 + 1, signed=True))


def _integer(digits: str) -> int:
    """Of any length: Python refuses a text of more than 4300 digits."""
    if len(digits) <= _MOST_DIGITS:
        return int(digits or "0")
    middle = len(digits) // 2
    shift: int = 10 ** (len(digits) - middle)
    return _integer(digits[:middle]) * shift + _integer(digits[middle:])


def variable_decimal(text: str) -> dict[str, Any] | None:
    """`io.debezium.data.VariableScaleDecimal`; None for NaN and the infinities, as there."""
    if text in _NO_DECIMAL:
        return None
    whole, _, fraction = text.removeprefix("-").partition(".")
    fraction = fraction.rstrip("0")
    number = _integer(whole + fraction)
    return {"scale": len(fraction), "value": _unscaled(-number if text[0] == "-" else number)}


def decimal_of(scale: int) -> Callable[[str], str | None]:
    """Reads decimals of this scale, which may be negative; None for NaN."""

    def read(text: str) -> str | None:
        if text in _NO_DECIMAL:
            return None
        whole, _, fraction = text.removeprefix("-").partition(".")
        digits = whole + fraction[:scale].ljust(scale, "0") if scale >= 0 else whole[:scale]
        number = _integer(digits)
        return _unscaled(-number if text[0] == "-" else number)

    return read


_cents = decimal_of(2)


def money(text: str) -> str | None:
    """`-$1,234.50`, as `lc_monetary = C` writes it."""
    return _cents(text.replace("$", "").replace(",", ""))


def number_of(text: str) -> float | str:
    """A float; NaN and the infinities as text."""
    value = float(text)
    return text if value - value != 0 else value


def is_set(text: str) -> bool:
    """A single bit."""
    return text == "1"


def bits(text: str) -> str:
    """`io.debezium.data.Bits`: little-endian, without the zero bytes at the end."""
    number = int(text or "0", 2)
    return base64(number.to_bytes((number.bit_length() + 7) // 8, "little"))
