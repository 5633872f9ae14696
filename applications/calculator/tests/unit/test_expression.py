"""Expressions: parsing and evaluation without HTTP."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calculator import numerals, operations
from calculator.errors import HttpError
from calculator.expression import evaluate, parse

REFERENCE = Path(__file__).parents[1] / "reference" / "calculator.jsonl"
CASES = [json.loads(line) for line in REFERENCE.read_text().splitlines()]


def compute(text):
    """Return the result and the calls that were made for it."""
    calls = []

    async def call(name, left, right):
        calls.append((name, left, right))
        return operations.answer(name, f"{left} {right}")

    return asyncio.run(evaluate(parse(text), call)), calls


def test_reference_is_all_there():
    """A cut reference file would make the tests below say little."""
    assert len(CASES) == 400


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["request"][:40])
def test_reference(case):
    """Each answer is the original's."""
    assert f"result = {compute(case['request'])[0]}" == case["response"]


@pytest.mark.parametrize(
    ("text", "result", "calls"),
    [
        ("(5+3)*2", "16", [("sum", "5", "3"), ("mul", "8", "2")]),
        ("-5+3", "-2", [("sum", "-5", "3")]),
        ("3.0", "3.0", []),
        ("-3.0", "-3.0", []),
        ("-0", "0", []),
        ("-0.0", "0", []),
        ("--5", "5", []),
        ("2*-3", "-6", [("mul", "2", "-3")]),
        ("5--3", "8", [("sub", "5", "-3")]),
        ("-(2+3)*4", "-20", [("sum", "2", "3"), ("mul", "-5", "4")]),
        ("-(0/0)", "NaN", [("div", "0", "0")]),
        ("-(1/0)", "-Infinity", [("div", "1", "0")]),
        ("-(5-7)", "2", [("sub", "5", "7")]),
        (".5+5.", "5.5", [("sum", ".5", "5.")]),
        ("1e3+1", "1001", [("sum", "1e3", "1")]),
        ("1e+21\r\n", "1e+21", []),
        ("\t2 +\n3", "5", [("sum", "2", "3")]),
    ],
)
def test_calls(text, result, calls):
    """One call an operation, with the operands as they were written or answered; a sign needs no call."""
    assert compute(text) == (result, calls)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "empty body: send an expression, such as: (5+3)*2"),
        (" \r\n", "empty body: send an expression, such as: (5+3)*2"),
        ("5+", "column 3: expected a number or '(' after '+', found the end"),
        ("-", "column 2: expected a number or '(' after '-', found the end"),
        ("abc", "column 1: expected a number or '(', found 'abc'"),
        ("2 x", "column 3: expected an operator or the end after '2', found 'x'"),
        ("2 3", "column 3: expected an operator or the end after '2', found '3'"),
        ("(1+2))", "column 6: ')' closes nothing"),
        (")", "column 1: expected a number or '(', found ')'"),
        ("(1+(2*3)", "column 1: '(' is never closed"),
        ("()", "column 2: expected a number or '(' after '(', found ')'"),
        ("5+*3", "column 3: expected a number or '(' after '+', found '*'"),
        ("2(3)", "column 2: expected an operator or the end after '2', found '('"),
        ("1.2.3", "column 4: expected an operator or the end after '1.2', found '.3'"),
        ("2**3", "column 3: expected a number or '(' after '*', found '*'"),
        ("5%2", "column 2: expected an operator or the end after '5', found '%2'"),
        ("5+\u00e9", "column 3: expected a number or '(' after '+', found '\\xe9'"),
        ("1+\0", "column 3: expected a number or '(' after '+', found '\\x00'"),
    ],
)
def test_refused(text, line):
    """What is no expression is a 400 that says what, where, and what was expected."""
    with pytest.raises(HttpError) as refusal:
        parse(text)
    assert (refusal.value.status, refusal.value.line) == (400, line)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("(" * 100_000 + "7" + ")" * 100_000, "7"),
        ("-" * 100_001 + "7", "-7"),
        ("-(" * 100_000 + "7" + ")" * 100_000, "7"),
        ("(1+" * 3000 + "1" + ")" * 3000, "3001"),
        ("+".join(["1"] * 5000), "5000"),
    ],
    ids=["parentheses", "signs", "signs and parentheses", "right-deep", "left-deep"],
)
def test_depth_is_no_matter(text, result):
    """Nesting uses no stack."""
    assert compute(text)[0] == result


def test_unclosed_depth():
    """Nor do errors."""
    with pytest.raises(HttpError, match="never closed"):
        parse("(" * 100_000 + "7")


def tree(children):
    binary = st.tuples(children, st.sampled_from("+-*/"), children).map(lambda parts: f"({' '.join(parts)})")
    return binary | children.map(lambda child: f"(-{child})")


def python_value(text):
    """Evaluate with Python's own parser, and IEEE-754 division."""

    class Double(float):
        def __add__(self, other):
            return Double(float(self) + other)

        def __sub__(self, other):
            return Double(float(self) - other)

        def __mul__(self, other):
            return Double(float(self) * other)

        def __truediv__(self, other):
            if other:
                return Double(float(self) / other)
            return Double(math.nan if not self or math.isnan(self) else math.copysign(math.inf, self))

        def __neg__(self):
            return Double(-float(self))

    return eval(text, {"D": Double})  # noqa: S307  text generated here


@given(st.recursive(st.integers(0, 99).map(str), tree, max_leaves=30))
def test_same_as_pythons_parser(text):
    """Precedence, associativity and signs are Python's (zeros, whose sign the services drop, left aside)."""
    marked = "".join(f"D({word})" if word.isdigit() else word for word in split_numbers(text))
    expected = python_value(marked)
    result, calls = compute(text)
    if any(numerals.read(left) == 0 or numerals.read(right) == 0 for name, left, right in calls if name == "div"):
        return  # the sign of a zero divisor decides, and the services write minus zero as 0
    assert result == numerals.write(expected)


@given(st.lists(st.integers(0, 99).map(str), min_size=2, max_size=12), st.data())
def test_precedence_without_parentheses(numbers, data):
    """A chain of operators groups as Python groups it."""
    operators = data.draw(st.lists(st.sampled_from("+-*"), min_size=len(numbers) - 1, max_size=len(numbers) - 1))
    text = numbers[0] + "".join(f"{operator}{number}" for operator, number in zip(operators, numbers[1:], strict=True))
    marked = "".join(f"D({word})" if word.isdigit() else word for word in split_numbers(text))
    assert float(compute(text)[0]) == python_value(marked)


def split_numbers(text):
    """Split into digits and the rest."""
    words = [""]
    for char in text:
        if words[-1] and char.isdigit() != words[-1][-1].isdigit():
            words.append("")
        words[-1] += char
    return words


def test_independent_operations_run_side_by_side():
    """All calls of one level are under way before the first is answered."""
    waiting, everyone = [], asyncio.Event()

    async def call(name, left, right):
        if name == "sum":
            waiting.append((left, right))
            if len(waiting) == 3:
                everyone.set()
            await everyone.wait()
        return operations.answer(name, f"{left} {right}")

    async def run():
        async with asyncio.timeout(10):
            return await evaluate(parse("(1+2)*(3+4)*(5+6)"), call)

    assert asyncio.run(run()) == "231"


def test_first_failure_ends_the_others():
    """A failed call is raised as it is, and its siblings are cancelled, not left behind."""
    cancelled = []

    async def call(_name, left, _right):
        if left == "1":
            raise HttpError(503, "gone")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(left)
            raise

    async def run():
        await evaluate(parse("(2+2)*(1+2)"), call)

    with pytest.raises(HttpError, match="503 gone"):
        asyncio.run(run())
    assert cancelled == ["2"]
