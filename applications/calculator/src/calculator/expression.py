"""Infix expressions: ``+ - * /``, parentheses, decimals, spaces, a minus sign before any operand.

Parsing and evaluation are loops over lists, so that nesting is bounded by memory and never by the stack. Values are
text from end to end: what was written in the expression, or what a service answered, goes on to the next service as
it is. (That also keeps a bare ``3.0`` as ``3.0``, as the original did.)
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calculator import numerals
from calculator.errors import HttpError, shown
from calculator.operations import SYMBOLS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Expression", "Operand", "Operation", "evaluate", "parse"]

_SPACES = " \t\r\n"
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_NEGATION = "negation"

# Calls under way at once for one expression: enough to hide a slow service, too few to crowd out other requests.
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Operand:
    """A number as written, or the result of the operation with that index; ``negative`` flips its sign."""

    source: str | int
    negative: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One call: ``name`` of the service and its operands."""

    name: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Expression:
    """Operations in an order in which operands come before their use, and where the result is."""

    operations: tuple[Operation, ...]
    result: Operand


class _Parser:
    """The shunting-yard algorithm: one pass, two stacks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.operations: list[Operation] = []
        self.operands: list[Operand] = []
        self.waiting: list[tuple[str, int]] = []  # operators and open parentheses, each with its place in the text

    def parse(self) -> Expression:
        at, operand_due, last = 0, True, ""
        while at < len(self.text):
            char = self.text[at]
            if char in _SPACES:
                at += 1
                continue
            step = 1
            if operand_due:
                step, operand_due = self._operand(at, last)
            elif char in SYMBOLS:
                self._reduce(_PRECEDENCE[char])
                self.waiting.append((char, at))
                operand_due = True
            elif char == ")":
                self._close(at)
            else:
                raise self._error(f"expected an operator or the end after {last}, found {self._word(at)}", at)
            last = shown(self.text[at : at + step])
            at += step
        if operand_due:
            if not last:
                raise HttpError(400, "empty body: send an expression, such as: (5+3)*2")
            raise self._error(f"expected a number or '(' after {last}, found the end", at)
        self._reduce(0)
        if self.waiting:
            raise self._error("'(' is never closed", self.waiting[-1][1])
        return Expression(tuple(self.operations), self.operands.pop())

    def _operand(self, at: int, last: str) -> tuple[int, bool]:
        """Take what begins an operand; return the characters taken and whether an operand is still due."""
        char = self.text[at]
        if char in "(-":
            self.waiting.append((char if char == "(" else _NEGATION, at))
            return 1, True
        number = numerals.UNSIGNED.match(self.text, at)
        if not number:
            after = f" after {last}" if last else ""
            raise self._error(f"expected a number or '('{after}, found {self._word(at)}", at)
        self._complete(Operand(number.group()))
        return len(number.group()), False

    def _complete(self, operand: Operand) -> None:
        """Apply the minus signs that stand directly before an operand."""
        while self.waiting and self.waiting[-1][0] == _NEGATION:
            self.waiting.pop()
            operand = Operand(operand.source, not operand.negative)
        self.operands.append(operand)

    def _close(self, at: int) -> None:
        self._reduce(0)
        if not self.waiting:
            raise self._error("')' closes nothing", at)
        self.waiting.pop()
        self._complete(self.operands.pop())

    def _reduce(self, precedence: int) -> None:
        """Turn waiting operators that bind at least as tightly into operations."""
        while self.waiting and _PRECEDENCE.get(self.waiting[-1][0], -1) >= precedence:
            symbol, _ = self.waiting.pop()
            right, left = self.operands.pop(), self.operands.pop()
            self.operations.append(Operation(SYMBOLS[symbol], left, right))
            self.operands.append(Operand(len(self.operations) - 1))

    def _word(self, at: int) -> str:
        """Return the operator, parenthesis or word at a place."""
        apart = f"{_SPACES}+-*/()"
        end = at + 1
        while self.text[at] not in apart and end < len(self.text) and self.text[end] not in apart:
            end += 1
        return shown(self.text[at:end], 20)

    def _error(self, what: str, at: int) -> HttpError:
        return HttpError(400, f"column {at + 1}: {what}")


def parse(text: str) -> Expression:
    """Return the operations that an expression asks for; HttpError 400 names the column and what was expected there."""
    return _Parser(text).parse()


class _Evaluation:
    """One expression on its way: which results are there, and which operations they make ready."""

    def __init__(self, expression: Expression, call: Callable[[str, str, str], Awaitable[str]]) -> None:
        self._operations = expression.operations
        self._call = call
        self._results = [""] * len(self._operations)
        self._users: dict[int, int] = {}  # the one operation that waits for each result
        self._missing: list[int] = []  # how many results each operation waits for
        for index, operation in enumerate(self._operations):
            sources = [side.source for side in (operation.left, operation.right) if isinstance(side.source, int)]
            self._missing.append(len(sources))
            self._users.update(dict.fromkeys(sources, index))
        self._ready = deque(index for index, count in enumerate(self._missing) if not count)

    def value(self, operand: Operand) -> str:
        """Return an operand as text; its source must have been computed."""
        source = operand.source
        return _negated(self._results[source] if isinstance(source, int) else source, negative=operand.negative)

    async def run(self) -> None:
        """Make each call as soon as it can be made; the first failure ends the others and is raised as it is."""
        under_way: set[asyncio.Task[None]] = set()
        try:
            while self._ready or under_way:
                if not under_way and len(self._ready) == 1:  # nothing to do at the same time
                    await self._one(self._ready.popleft())
                    continue
                while self._ready and len(under_way) < _AT_ONCE:
                    under_way.add(asyncio.create_task(self._one(self._ready.popleft())))
                finished, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                failures = [error for task in finished if (error := task.exception())]
                if failures:
                    raise failures[0]
        finally:
            for task in under_way:
                task.cancel()
            if under_way:
                await asyncio.gather(*under_way, return_exceptions=True)

    async def _one(self, index: int) -> None:
        operation = self._operations[index]
        self._results[index] = await self._call(operation.name, self.value(operation.left), self.value(operation.right))
        user = self._users.get(index)
        if user is not None:
            self._missing[user] -= 1
            if not self._missing[user]:
                self._ready.append(user)


async def evaluate(expression: Expression, call: Callable[[str, str, str], Awaitable[str]]) -> str:
    """Return the result as text: one ``call(service, left, right)`` an operation, independent ones side by side."""
    evaluation = _Evaluation(expression, call)
    await evaluation.run()
    result = evaluation.value(expression.result)
    # The text of minus zero, which is written 0, can only come from a sign in the expression: services write 0.
    return "0" if result.startswith("-") and numerals.read(result) == 0 else result


def _negated(text: str, *, negative: bool) -> str:
    if not negative or text == "NaN":
        return text
    return text[1:] if text.startswith("-") else f"-{text}"
