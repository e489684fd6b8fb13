"""Inside the jail: what the standard library does anew at every run of a source, done once or done quickly.

`dataclass` and `namedtuple` make their methods from text, and `dataclass` writes a signature into a docstring by way of
`inspect`. A source that runs anew for each call (mode `fresh`) pays for that at each call: most of the time of a small
source with one dataclass. The text is the key of the cache, so what runs is what would have run, and the signature is
the one that `inspect` would have written; a test holds the two against each other. Standard library only.
"""

import collections
import dataclasses
import inspect
import types
from types import CodeType, FunctionType
from typing import Any

ENTRIES = 256  # a source that makes up classes without end must not fill the memory
STAR_ARGUMENTS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS

_compiled: dict[tuple[str, str], CodeType] = {}
_exec, _eval = exec, eval


def install() -> None:
    """Give both modules names of their own, which their functions find before the built-in and the imported ones."""
    dataclasses.exec = lambda text, *scopes: _exec(_code(text, "exec"), *scopes)
    collections.eval = lambda text, *scopes: _eval(_code(text, "eval"), *scopes)
    dataclasses.inspect = types.SimpleNamespace(**vars(inspect) | {"signature": signature})


def signature(made: Any) -> Any:
    """`inspect.signature`; of a class whose own plain `__init__` says it all only the text, which is all that is asked.

    Both raise the same where there is none.
    """
    init = vars(made).get("__init__") if type(made) is type else None
    if type(init) is not FunctionType or made.__new__ is not object.__new__ or init.__code__.co_flags & STAR_ARGUMENTS:
        return inspect.signature(made)
    if "__signature__" in vars(made) or hasattr(init, "__wrapped__") or init.__code__.co_posonlyargcount:
        return inspect.signature(made)
    code, written = init.__code__, []
    names, defaults = code.co_varnames[: code.co_argcount], init.__defaults__ or ()
    given = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
    for name in names[1:]:
        written.append(_parameter(init, name, given))
    if code.co_kwonlyargcount:
        written.append("*")
        for name in code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]:
            written.append(_parameter(init, name, init.__kwdefaults__ or {}))
    text, annotations = f"({', '.join(written)})", init.__annotations__
    return f"{text} -> {inspect.formatannotation(annotations['return'])}" if "return" in annotations else text


def _parameter(init: FunctionType, name: str, defaults: dict[str, Any]) -> str:
    annotated = name in init.__annotations__
    text = f"{name}: {inspect.formatannotation(init.__annotations__[name])}" if annotated else name
    if name not in defaults:
        return text
    return f"{text} = {defaults[name]!r}" if annotated else f"{text}={defaults[name]!r}"


def _code(text: Any, kind: str) -> Any:
    if not isinstance(text, str):
        return text
    code = _compiled.get((text, kind))
    if code is None:
        code = compile(text, "<string>", kind, dont_inherit=True)
        if len(_compiled) < ENTRIES:
            _compiled[text, kind] = code
    return code
