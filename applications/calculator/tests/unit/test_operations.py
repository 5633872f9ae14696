"""The four operations and the numbers they read and write, as pure functions."""

from __future__ import annotations

import json
import math
import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calculator import numerals
from calculator.errors import HttpError
from calculator.operations import answer

REFERENCE = Path(__file__).parents[1] / "reference" / "operations.jsonl"
CASES = [json.loads(line) for line in REFERENCE.read_text().splitlines()]
DOUBLES = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])


def test_reference_is_all_there():
    """A cut reference file would make the tests below say little."""
    assert len(CASES) == 320


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['operation']} {case['request']}")
def test_reference(case):
    """Each answer is the original's."""
    assert answer(case["operation"], case["request"]) == case["response"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (5.0, "5"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e21, "1e+21"),
        (999999999999999900000.0, "999999999999999900000"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (123456.789, "123456.789"),
        (-1.2345e-10, "-1.2345e-10"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (math.nan, "NaN"),
    ],
)
def test_write(number, text):
    """Each branch of Number::toString, on both sides of its bounds."""
    assert numerals.write(number) == text


@given(DOUBLES)
def test_written_numbers_are_read_back(number):
    """What one service writes, another reads as the same double."""
    read = numerals.read(numerals.write(number))
    assert read == number or (math.isnan(read) and math.isnan(number))


def test_write_as_node_does(tmp_path):
    """Node, where it is installed, writes thousands of random doubles and of bounds the same way."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    seeded = random.Random(2)  # noqa: S311  the same doubles every time, of any exponent
    numbers = [struct.unpack("<d", seeded.randbytes(8))[0] for _ in range(5000)]
    numbers += [
        sign * digits * 10.0**power for power in range(-9, 24) for digits in (1, 1.5, 1 / 3) for sign in (1, -1)
    ]
    source = tmp_path / "doubles"
    source.write_bytes(struct.pack(f"<{len(numbers)}d", *numbers))
    script = """
        const bytes = require('fs').readFileSync(process.argv[1]);
        for (let at = 0; at < bytes.length; at += 8) console.log(String(bytes.readDoubleLE(at)));
    """
    written = subprocess.run([node, "-e", script, source], check=True, capture_output=True, text=True).stdout.split()
    assert [numerals.write(number) for number in numbers] == written


@given(DOUBLES, DOUBLES, st.sampled_from(["sum", "sub", "mul", "div"]))
def test_every_pair_of_doubles_has_an_answer(left, right, operation):
    """No pair raises (division by zero, overflow), and every answer is a number again."""
    assert (
        numerals.read(answer(operation, f"{left!r} {right!r}".replace("inf", "Infinity").replace("nan", "NaN")))
        is not None
    )


@pytest.mark.parametrize(
    ("operation", "body", "expected"),
    [
        ("div", "0 0", "NaN"),
        ("div", "-5 0", "-Infinity"),
        ("div", "-5 -0", "Infinity"),
        ("div", "NaN 0", "NaN"),
        ("sub", "Infinity Infinity", "NaN"),
        ("mul", "0 -Infinity", "NaN"),
        ("sum", "2 3\r\n", "5"),
        ("sum", "1e99999999999999999999 -1e99999999999999999999", "NaN"),
    ],
)
def test_beyond_the_reference(operation, body, expected):
    """IEEE-754 where Python would raise, and white space at the end as curl and echo send it."""
    assert answer(operation, body) == expected


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("", "empty body: send two numbers separated by one space, such as: 5 3"),
        (" \r\n", "empty body: send two numbers separated by one space, such as: 5 3"),
        ("2 x", "the second operand 'x' is not a number"),
        ("abc 3", "the first operand 'abc' is not a number"),
        ("2abc 3", "the first operand '2abc' is not a number"),
        ("0x10 3", "the first operand '0x10' is not a number"),
        ("1_000 3", "the first operand '1_000' is not a number"),
        ("inf 3", "the first operand 'inf' is not a number"),
        ("3 \u0663", "the second operand '\\u0663' is not a number"),
        ("2", "'2' is not two numbers separated by one space: send two numbers separated by one space, such as: 5 3"),
        ("2 3 4", ("'2 3 4' is not two numbers separated by one space: "
         "send two numbers separated by one space, such as: 5 3")),
        ("2  3", ("'2  3' is not two numbers separated by one space: "
         "send two numbers separated by one space, such as: 5 3")),
    ],
)  # fmt: skip
def test_refused(body, line):
    """What is no pair of numbers is a 400 that says which part is wrong."""
    with pytest.raises(HttpError) as refusal:
        answer("sum", body)
    assert (refusal.value.status, refusal.value.line) == (400, line)
