"""Inside the jail: an episode that answers in a moment goes before those that compute for long.

A processor's episodes share it fairly, in slices; one that wakes for a short call would wait until the slices of all
that spin are over. Linux lets a task choose the length of its slices and lets one with shorter slices interrupt one
with longer ones (since 6.12: EEVDF's PREEMPT_SHORT). So an episode waits with short slices, is woken at once, and
takes long ones while a tool runs: many short calls never notice, and nobody gets more time than his share. Kernels
that do not know it ignore it. Standard library only.
"""

import ctypes
import os
import struct

SHORT_NS = 100_000  # the least there is
LONG_NS = 10_000_000
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
ATTR_FORM = "=IIQiIQQQ"  # struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period

_syscall = ctypes.CDLL(None).syscall
_number = SCHED_SETATTR.get(os.uname().machine, -1)


def _attributes(slice_ns: int) -> ctypes.Array:
    size = struct.calcsize(ATTR_FORM)
    return ctypes.create_string_buffer(struct.pack(ATTR_FORM, size, 0, 0, 0, 0, slice_ns, 0, 0))


_short, _long, _usual = _attributes(SHORT_NS), _attributes(LONG_NS), _attributes(0)


def begin_tool() -> None:
    """A tool is about to run: it may take long."""
    _syscall(_number, 0, _long, 0)


def end_tool() -> None:
    """The answer is there: what comes next is short again."""
    _syscall(_number, 0, _short, 0)


def end_play() -> None:
    """This was no episode: back to what all other processes have."""
    _syscall(_number, 0, _usual, 0)
