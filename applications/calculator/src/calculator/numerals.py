"""Numbers as ECMAScript reads and writes them (IEEE-754 doubles)."""

from __future__ import annotations

import math
import re

__all__ = ["NUMBER", "UNSIGNED", "read", "write"]

# StrUnsignedDecimalLiteral of ECMA-262 without Infinity; [0-9] because \d takes every script's digits.
UNSIGNED = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
NUMBER = re.compile(rf"[+-]?(?:{UNSIGNED.pattern}|Infinity)|NaN")

# Number::toString writes plain digits up to 1e21 and down to 1e-6, then the exponent form.
_LARGEST_PLAIN = 21
_SMALLEST_PLAIN = -6
# Between these Python writes plain digits too, and the two differ in the ".0" of whole numbers only.
_SMALLEST_ALIKE = 1e-4
_LARGEST_ALIKE = 1e16


def read(text: str) -> float | None:
    """Return the number that parseFloat reads, or None where it would have to skip or ignore a part of the text."""
    return float(text) if NUMBER.fullmatch(text) else None


def write(number: float) -> str:
    """Return ECMA-262's Number::toString: ``5``, ``1e+21``, ``1e-7``, ``Infinity``, ``NaN``, ``0`` for minus zero."""
    if _SMALLEST_ALIKE <= abs(number) < _LARGEST_ALIKE:
        return repr(number).removesuffix(".0")
    if not math.isfinite(number) or number == 0:
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(str(number), "0")
    sign = "-" if number < 0 else ""
    # repr gives the same shortest digits that ECMA-262 asks for; only the layout differs.
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    # The value is 0.digits * 10**point ("n" in the specification, whose "k" is len(digits)).
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if len(digits) <= point <= _LARGEST_PLAIN:
        return sign + digits.ljust(point, "0")
    if 0 < point <= _LARGEST_PLAIN:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if _SMALLEST_PLAIN < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"
