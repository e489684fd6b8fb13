"""The rest of the attacking tool source: resources, the wire, looking around. See attacks.py."""

import ctypes
import gc
import json
import mmap
import os
import pickle
import platform
import re
import signal
import socket
import stat
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"


# -- resources --------------------------------------------------------------------------------------------------------


def fill_the_memory(target):
    kept = []
    for _ in range(4096):
        kept.append(bytearray(1 << 20))
    return len(kept)


def map_more_memory_than_allowed(target):
    return bool(mmap.mmap(-1, 1 << 33))


def fill_the_disk(target):
    for number in range(8):
        with open(f"big-{number}", "wb") as file:
            file.write(bytes(3 << 20))
    return True


def write_one_huge_file(target):
    with open("huge", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 64 << 20)
    return True


def make_many_files(target):
    for number in range(2_000):
        open(f"small-{number}", "w").close()
    return True


def open_many_descriptors(target):
    return [os.dup(0) for _ in range(10_000)]


def start_many_threads(target):
    release = threading.Event()
    threads = [threading.Thread(target=release.wait, daemon=True) for _ in range(200)]
    try:
        for thread in threads:
            thread.start()
    finally:
        release.set()
    return True


def spin(target):
    while True:
        pass


def spin_in_c(target):
    return re.match(r"(a+)+$", "a" * 64 + "b") is None


def spin_deaf_to_signals(target):
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass


def print_for_ever(target):
    while True:
        print("y" * 10_000)


def recurse_for_ever(target):
    sys.setrecursionlimit(1 << 30)

    def dive(depth):
        return dive(depth + 1)

    return dive(0)


def keep_memory_in_a_memfd(target):
    return os.memfd_create("hidden")


def share_memory_by_key(target):
    identity = libc.shmget(0x5EC2E7, 4096, 0o1666)
    if identity >= 0:
        libc.shmctl(identity, 0, None)
    return identity >= 0


def store_a_key_in_the_kernel(target):
    return libc.syscall(248 if X86 else 217, b"user", b"recall-attack", b"x", 1, -3) > 0


# -- the wire ---------------------------------------------------------------------------------------------------------


def _wire():
    for fd in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                return socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
    raise LookupError("no socket")


def _nonce():
    frame = sys._getframe()
    while frame is not None:
        if isinstance(frame.f_locals.get("request"), dict):
            return frame.f_locals["request"]["nonce"]
        frame = frame.f_back
    raise LookupError("no request")


def _reply(**fields):
    frame = {"nonce": _nonce(), "status": "ok", "value": 1, "stdout": "", "error_type": None, "error_message": None}
    return json.dumps(frame | fields).encode()


FRAMES = {
    "not json": lambda: b"\xff\xfe\x00 nonsense",
    "a pickle": lambda: pickle.dumps(_Bomb()),
    "another nonce": lambda: _reply(nonce="0" * 16),
    "no nonce": lambda: _reply(nonce=None),
    "an unknown key": lambda: _reply(extra=1),
    "NaN": lambda: _reply(value=float("nan")),
    "a number out of range": lambda: _reply(value="@").replace(b'"@"', b"1e999"),
    "nested too deep": lambda: _reply(value="@").replace(b'"@"', b"[" * 5_000 + b"]" * 5_000),
    "the host's own status": lambda: _reply(status="sandbox_failure"),
    "a status that is no text": lambda: _reply(status=[]),
    "a timeout it claims": lambda: _reply(status="timeout"),
    "a value beyond the limit": lambda: _reply(value="x" * 50_000),
    "a print beyond the limit": lambda: _reply(stdout="x" * 50_000),
    "an error beyond the limit": lambda: _reply(status="tool_error", error_type="E", error_message="x" * 50_000),
    "texts that are none": lambda: _reply(stdout=["x"], error_type=5),
    "a list": lambda: b"[]",
    "an empty datagram": lambda: b"",
}


class _Bomb:
    def __reduce__(self):
        return os.system, ("touch /tmp/recall-attack-pickle",)


def send_a_forged_frame(target):
    _wire().send(FRAMES[target["frame"]]())
    time.sleep(5)


def answer_twice(target):
    _wire().send(_reply(value="forged"))
    return "true"


def answer_the_next_call_now(target):
    connection = _wire()

    def flood():
        while True:
            connection.send(b'{"nonce":"","status":"ok","value":"forged"}')
            time.sleep(0.001)

    threading.Thread(target=flood, daemon=True).start()


def pass_descriptors_to_the_host(target):
    socket.send_fds(_wire(), [_reply()], [0, 0, 0])
    time.sleep(5)


def send_more_than_a_frame(target):
    connection = _wire()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    connection.send(_reply(value="x" * 400_000))
    time.sleep(5)


def close_the_wire(target):
    os.closerange(3, 256)
    time.sleep(5)


def leave_without_a_word(target):
    os._exit(0)


def leave_with_nsjails_code_for_a_time_limit(target):
    os._exit(137)


# -- looking around ---------------------------------------------------------------------------------------------------


def read_the_hosts_environment(target):
    return os.environ.get("RECALL_CANARY") or (os.environb.get(b"RECALL_CANARY") or b"").decode()


def find_a_host_path_in_memory(target):
    found = []
    for item in gc.get_objects():
        if isinstance(item, dict | list | tuple):
            values = list(item.values()) if isinstance(item, dict) else list(item)
            found += [value for value in values if isinstance(value, str) and value.startswith(target["repository"])]
    return [path for path in found if path != target["repository"]]


def learn_the_hosts_name(target):
    return os.uname().nodename == target["nodename"]


def see_the_parent(target):
    return os.getppid()


def be_root_outside(target):
    return os.getuid() == 0


def set_the_clock(target):
    time.clock_settime(time.CLOCK_REALTIME, 0)
    return True


def rename_the_machine(target):
    return libc.sethostname(b"attacked", 8) == 0


def read_the_kernels_log(target):
    return libc.klogctl(3, ctypes.create_string_buffer(100), 100) >= 0


def load_a_bpf_program(target):
    return libc.syscall(321 if X86 else 280, 0, ctypes.create_string_buffer(72), 72) >= 0


# -- other episodes ---------------------------------------------------------------------------------------------------


def leave_a_file_for_the_next_episode(target):
    with open("/tmp/recall-attack-mark", "w") as file:
        file.write("here")
    return True


def find_the_file_of_an_earlier_episode(target):
    return os.path.exists("/tmp/recall-attack-mark")


def poison_the_interpreter(target):
    import builtins

    json.loads = json.dumps = builtins.print = builtins.isinstance = None
    sys.modules["json"] = None
    return True


def is_the_interpreter_sound(target):
    return json.loads("[1]") == [1] and isinstance(1, int) and sys.modules["json"] is json


# -- the bystander ----------------------------------------------------------------------------------------------------

_visits = []


def visit(target):
    _visits.append(1)
    return len(_visits)
