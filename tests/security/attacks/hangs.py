"""A tool source whose calls never end. See files.py for what a function gets and returns; these return nothing."""

import asyncio
import ctypes
import itertools
import json
import os
import queue
import re
import select
import signal
import socket
import sqlite3
import sys
import threading
import time


def spin(target):
    while True:
        pass


def sleep(target):
    time.sleep(3600)


def sleep_in_an_event_loop(target):
    asyncio.run(asyncio.sleep(3600))


async def await_for_ever(target):
    await asyncio.Event().wait()


def wait_for_a_lock_one_holds(target):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def wait_for_a_queue(target):
    queue.Queue().get()


def wait_for_a_thread(target):
    thread = threading.Thread(target=threading.Event().wait)
    thread.start()
    thread.join()


def wait_for_a_pipe(target):
    os.read(os.pipe()[0], 1)


def wait_for_a_signal(target):
    signal.pause()


def wait_for_nothing_at_all(target):
    select.select([], [], [])


def wait_for_a_socket(target):
    ours, _theirs = socket.socketpair()
    ours.recv(1)


def spin_in_a_regular_expression(target):
    return re.match(r"(a+)+$", "a" * 64 + "b") is None


def spin_in_a_power(target):
    return (9**9**9) % 10


def spin_in_an_iterator(target):
    return sum(itertools.repeat(0))


def spin_in_sqlite(target):
    query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    return sqlite3.connect(":memory:").execute(query).fetchone()


def spin_in_colliding_hashes(target):
    return len({_Same(number) for number in range(100_000)})


class _Same:
    def __init__(self, number):
        self.number = number

    def __hash__(self):
        return 1

    def __eq__(self, other):
        return self.number == other.number


def spin_in_machine_code(target):
    import mmap

    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(b"\xeb\xfe" if os.uname().machine == "x86_64" else b"\x00\x00\x00\x14")
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()


def spin_deaf_to_signals(target):
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass


def spin_in_a_handler(target):
    def again(*_):
        while True:
            pass

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    signal.pause()


def swallow_every_exception(target):
    while True:
        try:
            time.sleep(0.01)
            raise SystemExit
        except BaseException:
            continue


def spin_in_a_finally(target):
    try:
        sys.exit()
    finally:
        while True:
            pass


def spin_in_a_trace(target):
    def trace(*_):
        while True:
            pass

    sys.settrace(trace)
    (lambda: None)()


def spin_when_read_as_json(target):
    class Endless(dict):
        def items(self):
            while True:
                yield "key", None

    return json.dumps(Endless(key=1))


def return_what_never_ends(target):
    class Endless(dict):
        def items(self):
            return itertools.repeat(("key", None))

    return Endless(key=1)


def raise_what_never_ends(target):
    class Endless(Exception):
        def __str__(self):
            while True:
                pass

    raise Endless


def print_for_ever(target):
    while True:
        print("y" * 10_000)


def start_threads_for_ever(target):
    while True:
        try:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        except BaseException:
            time.sleep(0.01)


def spin_in_all_threads(target):
    for _ in range(8):
        try:
            threading.Thread(target=spin, args=(target,), daemon=True).start()
        except BaseException:
            break
    spin(target)
