"""What a tool returned is written as JSON in one go where it is data already; it must say what the slow way says."""

import collections
import datetime
import decimal
import enum
import json
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

SANDBOX = Path(__file__).parents[2] / "recall_env" / "sandbox"
sys.path.append(str(SANDBOX))  # the jail's own modules are imported beside each other
import values  # noqa: E402
import wire  # noqa: E402

sys.path.remove(str(SANDBOX))


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    YES = "yes"


class Number(enum.IntEnum):
    SEVEN = 7


class Odd(int):
    def __repr__(self):
        return "odd"


class Half(float):
    def __str__(self):
        return "half"


Pair = collections.namedtuple("Pair", "left right")
OF_CLASSES = st.sampled_from(
    [Colour.RED, Word.YES, Number.SEVEN, Odd(3), Half(2.5), decimal.Decimal("1.50"), datetime.date(2024, 1, 2)]
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), OF_CLASSES)
KEYS = st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.floats(), OF_CLASSES)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(KEYS, inner), st.builds(Pair, inner, inner), st.frozensets(LEAVES)
    ),
    max_leaves=20,
)


def said(write, value):
    try:
        return json.loads(write(value))
    except values.ResultError as error:
        return str(error)


@given(VALUES)
def test_the_quick_way_writes_what_the_slow_way_does(value):
    assert said(values.written, value) == said(lambda each: wire.as_ascii(values.plain(each)), value)


def test_what_nests_too_deep_or_holds_itself_is_refused_by_either():
    deep: list = []
    for _ in range(values.MAX_VALUE_DEPTH + 1):
        deep = [deep]
    circle: list = []
    circle.append(circle)
    for value in (deep, circle):
        assert "nests deeper" in said(values.written, value)
    assert said(values.written, "[" * 500) == "[" * 500
