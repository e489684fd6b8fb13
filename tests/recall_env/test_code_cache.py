"""What the jail does in the standard library's place comes to the same."""

import inspect
import subprocess
import sys
from dataclasses import KW_ONLY, InitVar, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

SANDBOX = Path(__file__).parents[2] / "recall_env" / "sandbox"
sys.path.append(str(SANDBOX))  # the jail's own modules are imported beside each other
import code_cache  # noqa: E402

sys.path.remove(str(SANDBOX))


class Odd:
    def __repr__(self):
        return "<odd, with a comma>"


def plain():
    @dataclass
    class A:
        name: str
        price: float = 0.5
        tags: list[str] = field(default_factory=list)
        other: "A | None" = None

    return A


def keywords():
    @dataclass(order=True)
    class B:
        x: Any
        _: KW_ONLY
        y: int = 3
        z: "dict[str, Odd]" = field(default_factory=dict)
        odd: Odd = Odd()  # noqa: RUF009
        shared: ClassVar[int] = 1
        seed: InitVar[int | None] = None

    return B


def frozen():
    @dataclass(frozen=True, slots=True)
    class C:
        key: tuple[int, ...]

    return C


def derived():
    @dataclass
    class D(plain()):
        more: bytes = b"x"

    return D


def own_init():
    @dataclass(init=False)
    class E:
        x: int

        def __init__(self, *things, **named):
            pass

    return E


def own_new():
    @dataclass
    class F:
        x: int

        def __new__(cls, a, b):
            return super().__new__(cls)

    return F


def no_init():
    @dataclass(init=False)
    class G:
        x: int

    return G


def empty():
    @dataclass
    class H:
        pass

    return H


@pytest.mark.parametrize("make", [plain, keywords, frozen, derived, own_init, own_new, no_init, empty])
def test_the_signature_of_a_class_reads_as_inspect_writes_it(make):
    assert str(code_cache.signature(make())) == str(inspect.signature(make()))


def test_a_source_makes_the_same_classes_with_and_without_the_cache():
    program = f"""
import sys
sys.path.append({str(SANDBOX)!r})
import code_cache
from collections import namedtuple
from dataclasses import dataclass, field
if len(sys.argv) > 1:
    code_cache.install()
for _ in range(3):
    @dataclass(order=True)
    class Item:
        name: str
        count: int = 2
        tags: list = field(default_factory=list, compare=False)
    Pair = namedtuple("Pair", "left right", defaults=[5])
    print(Item.__doc__, Item("a"), Item("a") < Item("b"), Item("a") == Item("a", tags=[1]), Pair(1), Pair._fields,
          Item.__init__.__doc__, sorted(vars(Item)))
"""
    outputs = [
        subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True).stdout
        for words in ([], ["cached"])
    ]
    assert outputs[0] == outputs[1] and "Item(name: str, count: int = 2" in outputs[0]
