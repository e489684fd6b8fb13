"""Inside the jail: code that the standard library writes and compiles anew at every run of a source, compiled once.

`dataclass` and `namedtuple` make their methods from text. A source that runs anew for each call (mode `fresh`) pays
for that at each call: three quarters of the time of a small source with one dataclass. The text is the key, so what
runs is what would have run. Standard library only.
"""

import collections
import dataclasses
from types import CodeType
from typing import Any

ENTRIES = 256  # a source that makes up classes without end must not fill the memory

_compiled: dict[tuple[str, str], CodeType] = {}
_exec, _eval = exec, eval


def install() -> None:
    """Give both modules an `exec` and an `eval` of their own, which their functions find before the built-in ones."""
    dataclasses.exec = lambda text, *scopes: _exec(_code(text, "exec"), *scopes)
    collections.eval = lambda text, *scopes: _eval(_code(text, "eval"), *scopes)


def _code(text: Any, kind: str) -> Any:
    if not isinstance(text, str):
        return text
    code = _compiled.get((text, kind))
    if code is None:
        code = compile(text, "<string>", kind, dont_inherit=True)
        if len(_compiled) < ENTRIES:
            _compiled[text, kind] = code
    return code
