"""Same seed, same bytes: `random`, `os.urandom`, `uuid` and the clocks of an episode's interpreter.

Wall clocks start at a moment derived from the seed and go on by a fixed step at every reading; nothing here measures
time. `time.sleep` really sleeps and moves the clocks on by what was asked. asyncio, `threading` and `queue` keep the
true monotonic clock, or their waits would never end. String hashing is fixed from outside, by PYTHONHASHSEED.
Runs inside the jail. Standard library only.
"""

import asyncio
import contextlib
import datetime
import logging
import os
import random
import sys
import time
import uuid
from typing import Any

EPOCH_NS = 1_735_689_600 * 10**9  # 2025-01-01T00:00:00Z: the earliest start
SPREAD_S = 365 * 24 * 3600  # starts lie within this of EPOCH_NS
GOLDEN = 0x9E3779B97F4A7C15  # spreads neighbouring seeds over the year (Knuth, TAOCP vol. 3, 6.4)
STEP_NS = 1_000_000  # 1 ms per reading

_RealDate, _RealDatetime = datetime.date, datetime.datetime
_true_monotonic, _true_sleep = time.monotonic, time.sleep
_true_localtime, _true_gmtime = time.localtime, time.gmtime
_true_strftime, _true_asctime, _true_ctime = time.strftime, time.asctime, time.ctime


class Clock:
    """The wall clock and every stopwatch of the episode: a number that grows when it is read."""

    start_ns = now_ns = EPOCH_NS

    def time_ns(self) -> int:
        self.now_ns += STEP_NS
        return self.now_ns

    def time(self) -> float:
        return self.time_ns() / 1e9

    def elapsed_ns(self) -> int:
        return self.time_ns() - self.start_ns

    def elapsed(self) -> float:
        return self.elapsed_ns() / 1e9

    def sleep(self, secs: float, /) -> None:
        _true_sleep(secs)
        self.now_ns += int(secs * 1e9)


class Entropy:
    """What the kernel's bytes are outside. Made when first drawn from: few tools ever do."""

    _source: random.Random | None = None
    _seed = 0

    def seed(self, number: int) -> None:
        self._seed, self._source = number, None

    def randbytes(self, size: int) -> bytes:
        return self._drawn().randbytes(size)

    def getrandbits(self, bits: int) -> int:
        return self._drawn().getrandbits(bits)

    def _drawn(self) -> random.Random:
        if self._source is None:
            self._source = random.Random(f"entropy of {self._seed}")
        return self._source


_clock, _entropy = Clock(), Entropy()


class _RealInstances(type):
    """Dates that C code made with the original class are still dates to `isinstance`."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _REAL[cls]) if cls in _REAL else super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _REAL[cls]) if cls in _REAL else super().__subclasscheck__(subclass)


_REAL: dict[type, type] = {}


def install() -> None:
    """Replace the sources of chance and time in this interpreter; once, after the preimports."""
    _install_entropy()
    _install_time()
    _install_datetime()
    _install_sqlite()
    asyncio.BaseEventLoop.time = lambda loop: _true_monotonic()


def seed(number: int) -> None:
    """Start them all from `number`; once per episode, before the source loads."""
    random.seed(number)
    _entropy.seed(number)
    _clock.start_ns = EPOCH_NS + number * GOLDEN % SPREAD_S * 10**9
    _clock.now_ns = _clock.start_ns
    # When logging thinks it was loaded: seconds, and from Python 3.13 on nanoseconds.
    logging._startTime = _clock.start_ns if isinstance(logging._startTime, int) else _clock.start_ns / 1e9


def _install_entropy() -> None:
    os.urandom = random._urandom = _entropy.randbytes
    os.getrandom = lambda size, flags=0: _entropy.randbytes(size)
    # The C constructor draws from the kernel; a generator without a seed is to begin here instead.
    true_seed = random.Random.seed
    random.Random.seed = lambda self, a=None, version=2: true_seed(
        self, _entropy.getrandbits(256) if a is None else a, version
    )
    random.seed = random._inst.seed
    uuid._generate_time_safe = uuid._UuidCreate = None  # uuid1 falls back to time_ns, the node and random
    uuid._node = 0x02_00_00_00_00_01
    uuid._last_timestamp = None


def _install_time() -> None:
    time.time, time.time_ns = _clock.time, _clock.time_ns
    for name in ("monotonic", "perf_counter", "process_time", "thread_time"):
        setattr(time, name, _clock.elapsed)
        setattr(time, f"{name}_ns", _clock.elapsed_ns)
    wall = {time.CLOCK_REALTIME, time.CLOCK_TAI}
    time.clock_gettime = lambda clock: _clock.time() if clock in wall else _clock.elapsed()
    time.clock_gettime_ns = lambda clock: _clock.time_ns() if clock in wall else _clock.elapsed_ns()
    time.sleep = _clock.sleep
    time.localtime = lambda secs=None: _true_localtime(_clock.time() if secs is None else secs)
    time.gmtime = lambda secs=None: _true_gmtime(_clock.time() if secs is None else secs)
    time.ctime = lambda secs=None: _true_ctime(_clock.time() if secs is None else secs)
    time.asctime = lambda when=None: _true_asctime(time.localtime() if when is None else when)
    time.strftime = lambda form, when=None: _true_strftime(form, time.localtime() if when is None else when)


def _install_datetime() -> None:
    def today(cls: type) -> Any:
        return cls.fromtimestamp(_clock.time())

    def now(cls: type, tz: datetime.tzinfo | None = None) -> Any:
        return cls.fromtimestamp(_clock.time(), tz)

    def utcnow(cls: type) -> Any:
        return cls.fromtimestamp(_clock.time(), datetime.UTC).replace(tzinfo=None)

    own = {"__module__": "datetime", "today": classmethod(today)}
    # The first argument is what repr() of an instance shows: C prints the type's own name as it stands.
    date = _RealInstances("datetime.date", (_RealDate,), own | {"__qualname__": "date"})
    own |= {"now": classmethod(now), "utcnow": classmethod(utcnow), "__qualname__": "datetime"}
    moment = _RealInstances("datetime.datetime", (_RealDatetime,), own)
    _REAL.update({date: _RealDate, moment: _RealDatetime})
    replacement = {_RealDate: date, _RealDatetime: moment}
    for module in list(sys.modules.values()):  # some did `from datetime import datetime` earlier
        if module is sys.modules[__name__] or module is sys.modules.get("_datetime"):
            continue
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and value in replacement:
                setattr(module, name, replacement[value])


def _install_sqlite() -> None:
    """SQLite's module writes dates by their exact class; it is to know both the real and the replaced ones."""
    with contextlib.suppress(ImportError):  # an interpreter built without it
        import sqlite3

        for kind in (_RealDate, datetime.date):
            sqlite3.register_adapter(kind, lambda value: value.isoformat())
        for kind in (_RealDatetime, datetime.datetime):
            sqlite3.register_adapter(kind, lambda value: value.isoformat(" "))
