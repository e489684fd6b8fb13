"""A tool source that looks around in its interpreter, and one that breaks it for whoever comes next.

The first half returns what it has found of the host; see files.py. The `break_...` functions change the interpreter
that they run in, as a tool may: what counts is that the next episode has another one.
"""

import ast
import atexit
import builtins
import ctypes
import decimal
import gc
import inspect
import json
import linecache
import os
import pwd
import random
import signal
import socket
import sys
import threading
import time
import traceback
import types
import warnings


def read_the_hosts_environment(target):
    return os.environ.get("RECALL_CANARY") or (os.environb.get(b"RECALL_CANARY") or b"").decode()


def read_the_environment_before_python(target):
    """From the C library's own block, which os.environ is a copy of."""
    block, found = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ"), []
    while block and block[len(found)]:
        found.append(block[len(found)].decode(errors="replace"))
    return [line for line in found if line.startswith("RECALL_CANARY")]


def find_a_host_path_in_memory(target):
    found = []
    for item in gc.get_objects():
        if isinstance(item, dict | list | tuple):
            values = list(item.values()) if isinstance(item, dict) else list(item)
            found += [value for value in values if isinstance(value, str) and value.startswith(target["repository"])]
    return [path for path in found if path != target["repository"]]


def find_a_host_path_in_the_frames_above(target):
    frame, found = sys._getframe(), []
    while frame is not None:
        found.append(frame.f_code.co_filename)
        found += [str(value) for value in frame.f_globals.values() if isinstance(value, str)]
        frame = frame.f_back
    return [path for path in found if path.startswith(target["repository"])]


def find_a_host_path_in_a_traceback(target):
    return target["repository"] in "".join(traceback.format_stack())


def find_a_host_path_in_the_modules(target):
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    return [file for file in files if file.startswith(target["repository"])]


def find_a_host_path_in_the_arguments(target):
    return [text for text in sys.orig_argv + sys.argv if text.startswith(target["repository"])]


def find_a_host_path_in_the_interpreters_own(target):
    """Where a virtual environment lies, or the person's own packages."""
    return [path for path in (sys.prefix, sys.executable, *sys.path) if path.startswith(target["prefix"])]


def find_the_source_of_the_supervisor(target):
    guest = sys.modules.get("recall_env.sandbox.guest") or sys.modules["__main__"]
    return inspect.getsource(guest) if guest.__file__.startswith(target["repository"]) else None


def find_the_secret_of_a_sibling(target):
    """In the objects of the interpreter: another episode's global variables."""
    return [item["SECRET"] for item in gc.get_objects() if isinstance(item, dict) and "SECRET" in item]


def call_the_tools_of_a_sibling(target):
    """A function that another episode has defined, by its name."""
    tools = [item for item in gc.get_objects() if isinstance(item, types.FunctionType) and item.__name__ == "remember"]
    return [tool("attacked") or "called" for tool in tools]


def learn_the_hosts_name(target):
    return os.uname().nodename == target["nodename"]


def learn_who_runs_this(target):
    return pwd.getpwuid(os.getuid()).pw_name


def learn_when_the_host_thinks_it_is(target):
    """The seeded clocks give a year that is made up."""
    return abs(time.time() - target["now"]) < 86_400


def learn_the_hosts_session(target):
    return os.getsid(0) not in (0, os.getpid()) or os.getppid()


# -- breaking it for the next -----------------------------------------------------------------------------------------


def _sabotage(*_arguments, **_named):
    raise RuntimeError("sabotage")


def break_json(target):
    json.loads = json.dumps = None


def break_the_builtins(target):
    builtins.len = builtins.isinstance = builtins.print = None


def break_the_import_of_modules(target):
    builtins.__import__ = _sabotage


def break_every_class_to_come(target):
    builtins.__build_class__ = _sabotage


def break_compiling(target):
    builtins.compile = builtins.exec = builtins.eval = None


def break_the_modules_table(target):
    sys.modules["json"] = sys.modules["random"] = None


def break_with_an_audit_hook(target):
    sys.addaudithook(_sabotage)


def break_with_a_trace(target):
    threading.settrace(_sabotage)
    sys.settrace(_sabotage)
    sys._getframe().f_back.f_trace = _sabotage


def break_with_a_profile(target):
    sys.setprofile(lambda frame, *_: _sabotage() if frame.f_code.co_name == "work" else None)


def break_with_a_signal_to_come(target):
    signal.signal(signal.SIGALRM, _sabotage)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.001)


def break_with_a_thread(target):
    """One that raises in the main thread, over and over."""
    main = ctypes.c_ulong(threading.main_thread().ident)

    def sabotage():
        while True:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(SystemExit))
            time.sleep(0.0005)

    threading.Thread(target=sabotage, daemon=True).start()


def break_with_little_room_to_recurse(target):
    sys.setrecursionlimit(len(inspect.stack(0)) + 2)


def break_with_warnings(target):
    warnings.warn = warnings.warn_explicit = _sabotage
    builtins.SyntaxWarning = None
    linecache.getline = _sabotage
    builtins.__debug_me__ = None
    json.JSONDecoder.decode = _sabotage


def break_chance(target):
    random.random = lambda: 0.0


def break_the_standard_output(target):
    sys.stdout = sys.stderr = sys.__stdout__ = None
    builtins.print = _sabotage


def break_the_descriptors(target):
    os.closerange(0, 256)


def break_the_working_folder(target):
    os.mkdir("gone")
    os.chdir("gone")
    os.rmdir("../gone")


def break_arithmetic(target):
    """Write another number over the one small integer object that everyone shares."""
    ctypes.memmove(id(7) + 24, (8).to_bytes(4, "little"), 4)


def break_a_builtin_type(target):
    gc.get_referents(str.__dict__)[0]["upper"] = lambda text: "sabotage"
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(str))


def break_decimals(target):
    decimal.getcontext().prec = 1
    decimal.DefaultContext.prec = 1


def break_the_collector(target):
    gc.callbacks.append(_sabotage)
    gc.disable()
    sys.unraisablehook = lambda *_: os._exit(3)
    gc.collect()


def break_the_hash_of_a_shared_tree(target):
    ast.parse = ast.literal_eval = None
    atexit._clear()
    socket.socket.send = socket.socket.recv = _sabotage


def break_with_limits(target):
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
