"""Numbers and expressions beside independent implementations: ECMA-262 written anew, exact fractions, and Node.js."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import shutil
import struct
import subprocess
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calculator import numerals, operations
from calculator.expression import evaluate, parse

DOUBLES = st.floats(width=64)
NUMERALS = st.one_of(
    DOUBLES.map(numerals.write),
    st.from_regex(r"[+-]?([0-9]{1,25}\.?[0-9]{0,25}|\.[0-9]{1,25})([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.sampled_from(["0", "-0", "+4", "007", "5.", ".5", "1E3", "Infinity", "-Infinity", "+Infinity", "NaN",
                     "1.7976931348623159e308", "5e-324", "2e-324", "9007199254740993", "1e21", "123456789012345680000",
                     "1e-6", "1e-7", "0.000001", "1.5e-7"]),
)  # fmt: skip


def shortest(number):
    """Return digits s and exponent n of a finite positive double: s the shortest, then the nearest, by exact search."""
    exact_value = Fraction(number)
    n = len(str(int(exact_value))) if exact_value >= 1 else 1 - next(
        zeros for zeros in range(1, 400) if exact_value * 10**zeros >= 1
    )  # fmt: skip
    for k in range(1, 18):
        below = int(exact_value * Fraction(10) ** (k - n))
        found = [
            (abs(Fraction(s) * Fraction(10) ** (n - k) - exact_value), s % 2, s)
            for s in (below, below + 1)
            if s and rounded(Fraction(s) * Fraction(10) ** (n - k)) == number
        ]
        if found:
            digits = str(min(found)[2])
            return digits.rstrip("0"), n + len(digits) - k
    raise AssertionError(number)


def ecma_to_string(number):  # noqa: PLR0911  the specification's own cases
    """Write a double as ECMA-262, section 6.1.6.1.20, says, step by step; digits are searched, not taken from repr."""
    if math.isnan(number):
        return "NaN"
    if number == 0:
        return "0"
    if number < 0:
        return "-" + ecma_to_string(-number)
    if math.isinf(number):
        return "Infinity"
    s, n = shortest(number)
    k = len(s)
    if k <= n <= 21:
        return s + "0" * (n - k)
    if 0 < n <= 21:
        return f"{s[:n]}.{s[n:]}"
    if -6 < n <= 0:
        return "0." + "0" * -n + s
    sign = "+" if n - 1 > 0 else "-"
    return f"{s[0]}{'.' + s[1:] if k > 1 else ''}e{sign}{abs(n - 1)}"


def ecma_parse_float(text):
    """Read what parseFloat (ECMA-262, section 19.2.4) reads, rounding an exact fraction."""
    found = re.match(r"[\s]*([+-]?)(Infinity|(?:(\d+)\.?(\d*)|\.(\d+))(?:[eE]([+-]?\d+))?)", text, re.ASCII)
    if not found:
        return math.nan
    sign = -1.0 if found[1] == "-" else 1.0
    if found[2] == "Infinity":
        return sign * math.inf
    whole, fraction, exponent = found[3] or "", found[4] or found[5] or "", int(found[6] or 0)
    if exponent > 400 + len(fraction):
        return sign * (math.inf if int(whole + fraction) else 0.0)
    value = Fraction(int(whole + fraction)) * Fraction(10) ** (exponent - len(fraction))
    try:
        return sign * (value.numerator / value.denominator)  # correctly rounded, as Python defines it
    except OverflowError:
        return sign * math.inf


def rounded(value):
    """Return the double nearest to an exact value, which is not zero."""
    try:
        return value.numerator / value.denominator
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def exact(operation, left, right):  # noqa: PLR0911  the standard's own cases
    """Compute with exact fractions and round once, as IEEE 754 says; what it says of zeros and infinities apart."""
    if math.isnan(left) or math.isnan(right):
        return math.nan
    if operation == "sub":
        return exact("sum", left, -right)
    signs = math.copysign(1, left) * math.copysign(1, right)
    if operation == "sum":
        if math.isinf(left) or math.isinf(right):
            return math.nan if math.isinf(left) and right == -left else (left if math.isinf(left) else right)
        value = Fraction(left) + Fraction(right)
    elif operation == "mul":
        if math.isinf(left) or math.isinf(right):
            return math.nan if 0 in (left, right) else signs * math.inf
        value = Fraction(left) * Fraction(right)
    else:
        if math.isinf(left):
            return math.nan if math.isinf(right) else signs * math.inf
        if math.isinf(right):
            return 0.0
        if right == 0:
            return math.nan if left == 0 else signs * math.inf
        value = Fraction(left) / Fraction(right)
    return rounded(value) if value else 0.0


@settings(max_examples=2000)
@given(DOUBLES)
def test_written_as_ecmascript_writes(number):
    """Every double is written as the specification says."""
    assert numerals.write(number) == ecma_to_string(number)


@settings(max_examples=1000)
@given(NUMERALS)
def test_read_as_parsefloat_reads(text):
    """Every text that is a number as a whole has parseFloat's value."""
    assert str(numerals.read(text)) == str(ecma_parse_float(text))


@settings(max_examples=1000)
@given(NUMERALS, NUMERALS, st.sampled_from(sorted(operations.OPERATIONS)))
def test_operations_are_exact_and_rounded_once(left, right, operation):
    """The services compute what exact arithmetic, rounded once, gives."""
    expected = exact(operation, ecma_parse_float(left), ecma_parse_float(right))
    assert operations.answer(operation, f"{left} {right}") == ecma_to_string(expected)


# --- expressions: a tree, written in many ways, and its value computed from the tree alone ----------------------------

SIGNS = {"sum": "+", "sub": "-", "mul": "*", "div": "/"}
DESTRUCTIVE = st.from_regex(r"([0-9]{1,6}(\.[0-9]{0,6})?|\.[0-9]{1,6})(e[+-]?[0-9]{1,2})?", fullmatch=True)
TREES = st.recursive(
    DESTRUCTIVE,
    lambda inner: st.tuples(st.sampled_from(sorted(SIGNS)), inner, inner) | st.tuples(st.just("neg"), inner),
    max_leaves=20,
)


def value_of(tree):
    """Return the text that the services pass on for a tree, and the double."""
    if isinstance(tree, str):
        return ecma_parse_float(tree)
    if tree[0] == "neg":
        return -value_of(tree[1])
    # Each result travels as text, on which minus zero is 0.
    return ecma_parse_float(ecma_to_string(exact(tree[0], value_of(tree[1]), value_of(tree[2]))))


def written(tree, draw):
    """Write a tree, with the parentheses that it needs, some that it does not, and spaces."""
    level, text = 3, tree
    if tree[0] == "neg":
        text, inner = written(tree[1], draw)
        text, level = (f"-({text})" if inner < 3 else f"-{text}"), 3
    elif not isinstance(tree, str):
        level = 1 if tree[0] in ("sum", "sub") else 2
        (left, left_level), (right, right_level) = written(tree[1], draw), written(tree[2], draw)
        left = f"({left})" if left_level < level else left
        right = f"({right})" if right_level <= level else right
        space = draw(st.sampled_from(["", " ", "\t", "\n"]))
        text = f"{left}{space}{SIGNS[tree[0]]}{space}{right}"
    if draw(st.booleans()):
        text, level = f"({text})", 3
    return text, level


@settings(max_examples=500)
@given(TREES, st.data())
def test_expressions(tree, data):
    """An expression's answer is its tree's value, however the tree is written."""
    text, _ = written(tree, data.draw)

    async def call(name, left, right):
        return operations.answer(name, f"{left} {right}")

    answer = asyncio.run(evaluate(parse(text), call))
    expected = value_of(tree)
    if isinstance(tree, str) or tree[0] == "neg":
        # A number that no service has seen stays as it was written.
        assert ecma_parse_float(answer) == expected or math.isnan(expected)
    else:
        assert answer == ecma_to_string(expected)


# --- Node.js itself ---------------------------------------------------------------------------------------------------

NODE = """
const compute = {sum: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b, div: (a, b) => a / b};
const cases = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const answers = cases.map(([name, left, right]) => `${compute[name](parseFloat(left), parseFloat(right))}`);
console.log(JSON.stringify(answers));
"""


def test_same_as_node():
    """20,000 operations on doubles of every size and shape: the very text that Node.js gives."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    chance = random.Random(20040229)  # noqa: S311  the same cases every time

    def number():
        kind = chance.randrange(4)
        if kind == 0:
            return numerals.write(struct.unpack("<d", chance.randbytes(8))[0])
        if kind == 1:
            return f"{chance.choice(['', '-', '+'])}{chance.randrange(10 ** chance.randrange(1, 24))}"
        if kind == 2:
            return f"{chance.randrange(1000)}.{chance.randrange(10 ** chance.randrange(1, 20))}"
        return f"{chance.randrange(1, 10**6)}e{chance.randrange(-330, 310)}"

    cases = [(chance.choice(sorted(SIGNS)), number(), number()) for _ in range(20_000)]
    done = subprocess.run(["node", "-e", NODE], input=json.dumps(cases), capture_output=True, text=True, check=True)
    expected = json.loads(done.stdout)
    got = [operations.answer(name, f"{left} {right}") for name, left, right in cases]
    assert len(got) == len(expected) == 20_000
    assert [pair for pair in zip(cases, got, expected, strict=True) if pair[1] != pair[2]] == []
