"""The four operations: two numbers separated by one space in, one number out."""

from __future__ import annotations

import math
import operator
import re
from typing import TYPE_CHECKING

from calculator import numerals
from calculator.errors import HttpError, shown

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OPERATIONS", "SYMBOLS", "answer"]

# The sign of each operation in an expression.
SYMBOLS = {"+": "sum", "-": "sub", "*": "mul", "/": "div"}

_SPACES = " \t\r\n"  # which may stand around the operands
_OPERANDS = re.compile(rf"[{_SPACES}]*({numerals.NUMBER.pattern}) ({numerals.NUMBER.pattern})[{_SPACES}]*")


def _divide(left: float, right: float) -> float:
    """IEEE-754 division, where Python raises ZeroDivisionError."""
    if right:
        return left / right
    if math.isnan(left) or not left:
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "sum": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": _divide,
}


def answer(operation: str, body: str) -> str:
    """Return the service's answer to a request body such as ``2 3``; HttpError 400 says what is wrong with it."""
    found = _OPERANDS.fullmatch(body)
    if found:
        return numerals.write(OPERATIONS[operation](float(found[1]), float(found[2])))
    raise HttpError(400, _wrong(body))


def _wrong(body: str) -> str:
    """Return what is wrong with a request body that is not two numbers."""
    operands = body.strip(_SPACES).split(" ")
    if operands == [""]:
        return "empty body: send two numbers separated by one space, such as: 5 3"
    if len(operands) != 2:  # noqa: PLR2004  binary operations
        wanted = "two numbers separated by one space"
        return f"{shown(body)} is not {wanted}: send {wanted}, such as: 5 3"
    place, wrong = ("first", operands[0]) if numerals.read(operands[0]) is None else ("second", operands[1])
    return f"the {place} operand {shown(wrong)} is not a number"
