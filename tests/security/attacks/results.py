"""A tool source whose results are meant for whoever reads them: objects that run code when looked at.

Each method of such an object marks the host's folder, if it is run where that folder is. `_mark` holds its path.
"""

import collections
import dataclasses
import datetime
import enum
import os

_mark = []


def _run(*_arguments, **_named):
    try:
        os.mkdir(_mark[-1])
    except OSError:
        pass


def _running(give):
    def method(*arguments, **named):
        _run()
        return give

    return method


def _hostile(target, *bases, **methods):
    _mark.append(target["mark"])
    return type("Hostile", bases, {name: _running(given) for name, given in methods.items()})


def one_that_runs_when_unpickled(target):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (target["mark"],)

    return Bomb()


def one_that_runs_when_its_state_is_set(target):
    class Bomb:
        def __reduce_ex__(self, protocol):
            return eval, (f"__import__('os').mkdir({target['mark']!r})",)

    return [{"deep": (Bomb(),)}]


def one_that_runs_as_text(target):
    return _hostile(target, __str__="x")()


def one_that_runs_when_shown(target):
    return _hostile(target, __repr__="x")()


def one_that_runs_when_formatted(target):
    return _hostile(target, __format__="x")()


def one_that_runs_when_tested(target):
    return _hostile(target, __bool__=True)()


def one_that_runs_when_compared(target):
    return _hostile(target, __eq__=True)()


def one_that_runs_when_hashed(target):
    return _hostile(target, __hash__=1)()


def one_that_runs_when_measured(target):
    return _hostile(target, __len__=1)()


def one_that_runs_when_iterated(target):
    return _hostile(target, __iter__=iter(()))()


def one_that_runs_when_searched(target):
    return _hostile(target, __contains__=True)()


def one_that_runs_when_indexed(target):
    return _hostile(target, __index__=1, __int__=1)()


def one_that_runs_when_asked_its_class(target):
    _mark.append(target["mark"])
    return type("Hostile", (), {"__class__": property(lambda self: _run() or dict)})()


def one_that_runs_on_any_attribute(target):
    return _hostile(target, __getattr__=None)()


def one_that_runs_when_copied(target):
    return _hostile(target, __deepcopy__=None)()


def one_that_runs_when_collected(target):
    return _hostile(target, __del__=None)()


def a_text_that_runs(target):
    return _hostile(target, str, __str__="x", __repr__="x", encode=b"x", __len__=1)("text")


def a_number_that_runs(target):
    return _hostile(target, int, __int__=1, __repr__="1", __str__="1", __index__=1)(5)


def a_fraction_that_runs(target):
    return _hostile(target, float, __float__=1.0, __repr__="nan", __str__="nan", __sub__=0.0)(5)


def a_dict_that_runs(target):
    return _hostile(target, dict, items=[("forged", 1)], keys=["forged"], __iter__=iter(["forged"]))(key=1)


def a_list_that_runs(target):
    return _hostile(target, list, __iter__=iter(["forged"]), __len__=1)([1])


def a_key_that_runs(target):
    return {_hostile(target, str, __str__="x", __hash__=1, __eq__=True)("key"): 1}


def a_date_that_runs(target):
    return _hostile(target, datetime.date, isoformat="forged", __str__="x")(2024, 1, 2)


def a_choice_that_runs(target):
    _mark.append(target["mark"])

    class Choice(enum.Enum):
        ONE = 1
        value = property(_running(1))

        def __str__(self):
            _run()
            return "forged"

    return Choice.ONE


def a_record_that_runs(target):
    _mark.append(target["mark"])

    @dataclasses.dataclass
    class Record:
        field: int = 1

        def __getattribute__(self, name):
            _run()
            return object.__getattribute__(self, name)

    return Record()


def a_class_and_not_an_object(target):
    _mark.append(target["mark"])
    return type("Meta", (type,), {"__instancecheck__": _running(True), "__repr__": _running("x")})("C", (), {})


def a_generator_that_runs(target):
    _mark.append(target["mark"])

    def generate():
        _run()
        yield 1

    return generate()


def a_mapping_that_runs(target):
    return _hostile(target, collections.UserDict, __getitem__=1, __iter__=iter(["x"]), __repr__="x")()


def an_error_that_runs(target):
    raise _hostile(target, ValueError, __str__="x", __repr__="x")("text")


def an_exit_that_runs(target):
    raise _hostile(target, SystemExit, __str__="x")("text")


def an_error_group_that_runs(target):
    raise BaseExceptionGroup("many", [_hostile(target, ValueError, __str__="x", __repr__="x")("text")])
