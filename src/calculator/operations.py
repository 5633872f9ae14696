"""The four operations: two numbers separated by one space in, one number out."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING

from calculator import numerals
from calculator.errors import HttpError, shown

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OPERATIONS", "SYMBOLS", "answer"]

# The sign of each operation in an expression.
SYMBOLS = {"+": "sum", "-": "sub", "*": "mul", "/": "div"}


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
    operands = body.strip(" \t\r\n").split(" ")
    if operands == [""]:
        raise HttpError(400, "empty body: send two numbers separated by one space, such as: 5 3")
    if len(operands) != 2:  # noqa: PLR2004  binary operations
        wanted = "two numbers separated by one space"
        raise HttpError(400, f"{shown(body)} is not {wanted}: send {wanted}, such as: 5 3")
    numbers = [numerals.read(operand) for operand in operands]
    left, right = numbers
    if left is None or right is None:
        place = "first" if left is None else "second"
        wrong = operands[0] if left is None else operands[1]
        raise HttpError(400, f"the {place} operand {shown(wrong)} is not a number")
    return numerals.write(OPERATIONS[operation](left, right))
