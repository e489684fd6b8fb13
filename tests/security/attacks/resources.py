"""A tool source that wants too much: memory, disk, files, descriptors, threads, the kernel's own memory.

See files.py for what a function gets and returns. What is too much lies between the limits that the jail is given in
these tests and those of the unjailed runs.
"""

import array
import ctypes
import fcntl
import itertools
import mmap
import os
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
import zlib

libc = ctypes.CDLL(None, use_errno=True)
MIB = 1 << 20
MUCH = 320 * MIB  # of memory: more than an episode of these tests has


def fill_the_memory(target):
    kept = [bytearray(MIB) for _ in range(MUCH // MIB)]
    return len(kept)


def fill_the_memory_in_one_piece(target):
    return len(bytearray(MUCH))


def fill_the_memory_behind_an_except(target):
    kept = []
    while len(kept) < MUCH // MIB:
        try:
            kept.append(bytearray(MIB))
        except MemoryError:
            os.write(1, b"again")
            return False
    return True


def fill_the_memory_with_text(target):
    return len("x" * 64 * MIB * 5)


def fill_the_memory_with_a_number(target):
    return (1 << 8 * MUCH).bit_length()


def fill_the_memory_with_a_list(target):
    return len([None] * (MUCH // 8))


def fill_the_memory_with_a_bomb_of_zeros(target):
    """zlib: 320 KB become 320 MB. One packed block, many times."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return len(zlib.decompress(block * (MUCH // MIB) + packer.flush(), wbits=-15))


def fill_the_memory_with_permutations(target):
    return len(list(itertools.islice(itertools.permutations(range(12)), MUCH // 150)))


def map_more_memory_than_allowed(target):
    return len(mmap.mmap(-1, MUCH))


def map_memory_that_is_shared(target):
    return len(mmap.mmap(-1, MUCH, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS))


def map_memory_that_is_not_reserved(target):
    return len(mmap.mmap(-1, MUCH, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000))


def grow_the_heap_by_hand(target):
    libc.sbrk.restype = ctypes.c_void_p
    return libc.sbrk(ctypes.c_long(MUCH)) not in (None, ctypes.c_void_p(-1).value)


def lock_memory(target):
    libc.mmap.restype = ctypes.c_void_p
    address = libc.mmap(None, ctypes.c_size_t(MIB), 3, 0x22, -1, ctypes.c_long(0))
    return libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(MIB)) == 0


def lock_all_memory(target):
    return libc.mlockall(2) == 0 and libc.munlockall() == 0


def map_memory_locked(target):
    return len(mmap.mmap(-1, MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x2000))


def fill_the_disk(target):
    for number in range(8):
        with open(f"big-{number}", "wb") as file:
            file.write(bytes(3 * MIB))
    return True


def fill_the_disk_with_deleted_files(target):
    kept = []
    for _ in range(8):
        file = tempfile.TemporaryFile(dir=".")
        file.write(bytes(3 * MIB))
        file.flush()
        kept.append(file)
    return len(kept)


def write_one_huge_file(target):
    with open("huge", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 64 * MIB)
    return True


def write_far_behind_the_end(target):
    with open("sparse", "wb") as file:
        file.seek(1 << 33)
        file.write(b"x")
    return os.path.getsize("sparse") > 1 << 32


def stretch_a_file(target):
    with open("stretched", "wb") as file:
        file.truncate(1 << 33)
    return True


def write_huge_pages_of_a_mapped_file(target):
    kept = []
    for number in range(8):
        with open(f"mapped-{number}", "wb+") as file:
            file.truncate(3 * MIB)
            kept.append(mmap.mmap(file.fileno(), 3 * MIB))
        kept[-1].write(bytes(3 * MIB))
    return True


def make_many_files(target):
    for number in range(2_000):
        open(f"small-{number}", "w").close()
    return True


def make_many_links(target):
    for number in range(2_000):
        os.symlink("nowhere", f"link-{number}")
    return True


def make_many_names_of_one_file(target):
    open("one", "w").close()
    for number in range(2_000):
        os.link("one", f"name-{number}")
    return True


def make_deep_folders(target):
    for _ in range(300):
        os.mkdir("deeper")
        os.chdir("deeper")
    return True


def give_a_file_many_attributes(target):
    open("attributed", "w").close()
    for number in range(4_000):
        os.setxattr("attributed", f"user.name-{number}", bytes(1000))
    return True


def open_many_descriptors(target):
    return [os.dup(0) for _ in range(500)]


def open_many_watchers(target):
    return len([select.epoll() for _ in range(500)])


def open_many_counters(target):
    return [os.eventfd(0) for _ in range(500)]


def keep_descriptors_in_flight(target):
    """A message that nobody receives keeps what it carries open, and uncounted by the limit on open files."""
    kept = []
    for _ in range(5):
        ours, theirs = socket.socketpair()
        for _ in range(10):
            rights = array.array("i", [0] * 10)
            ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        kept += [ours, theirs]
    return len(kept)


def fill_pipes(target):
    kept = []
    for _ in range(100):
        reader, writer = os.pipe()
        fcntl.fcntl(writer, 1031, MIB)  # F_SETPIPE_SZ
        kept.append((reader, os.write(writer, bytes(MIB))))
    return len(kept)


def fill_sockets(target):
    kept = []
    for _ in range(100):
        pair = socket.socketpair()
        pair[0].setblocking(False)
        kept.append((pair, pair[0].send(bytes(MIB))))
    return len(kept)


def start_many_threads(target):
    release, threads = threading.Event(), []
    threading.stack_size(128 * 1024)
    try:
        for _ in range(200):
            threads.append(threading.Thread(target=release.wait, daemon=True))
            threads[-1].start()
    finally:
        release.set()
    return len(threads)


def start_many_threads_by_number(target):
    import _thread

    lock = _thread.allocate_lock()
    lock.acquire()
    _thread.stack_size(128 * 1024)
    try:
        return [_thread.start_new_thread(lock.acquire, (True, 1)) for _ in range(200)]
    finally:
        lock.release()


def set_many_timers(target):
    identity = ctypes.c_int()
    number = 222 if sys.maxsize > 0 and os.uname().machine == "x86_64" else 107
    return all(libc.syscall(number, 1, None, ctypes.byref(identity)) == 0 for _ in range(500))


def queue_many_signals(target):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
    number = 129 if os.uname().machine == "x86_64" else 138
    information = struct.pack("iii", signal.SIGRTMIN, 0, -1) + bytes(116)
    return all(libc.syscall(number, os.getpid(), signal.SIGRTMIN, information) == 0 for _ in range(500))


def recurse_for_ever(target):
    sys.setrecursionlimit(1 << 30)

    def dive(depth):
        return dive(depth + 1)

    return dive(0)


def recurse_in_c(target):
    """Iterators that ask each other, without a Python frame in between that could be counted."""
    chain = iter([1])
    for _ in range(300_000):
        chain = map(int, chain)
    return next(chain)


def crash(target):
    ctypes.string_at(0)


def crash_in_a_destructor(target):
    class Trap:
        def __del__(self):
            ctypes.memset(8, 0, 8)

    Trap()


def abort(target):
    os.abort()


def return_too_much(target):
    return "y" * 100_000


def return_too_many(target):
    return list(range(15_000))
