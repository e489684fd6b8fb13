"""The life of a pool: what closing, dropping, killing and forking leave behind. Sessions: test_session.py."""

import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from recall_env.errors import SandboxFailure
from recall_env.sandbox import JailPool, Limits, UnsafePool, cgroups, shared_pool
from recall_env.sandbox.shard import Shard

LIMITS = Limits(call_timeout_s=0.5, load_timeout_s=5.0)
BACKENDS = {"nsjail": JailPool, "unsafe": UnsafePool}

TOOLS = """
import os
def echo(value=None): return value
def spin():
    while True: pass
def die(): os._exit(0)
"""


@pytest.fixture
def pool():
    made = JailPool(1, LIMITS)
    yield made
    made.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_closing_a_pool_leaves_nothing_behind(backend):
    gc.collect()
    before = traces()
    pool = BACKENDS[backend](limits=LIMITS)
    sessions = [pool.open(TOOLS) for _ in range(6)]
    sessions[0].call("spin", {})
    sessions[1].call("die", {})
    sessions[2].close()
    assert traces() != before
    pool.close()
    assert traces() == before
    with pytest.raises(SandboxFailure, match="closed"):
        pool.open(TOOLS)


def test_a_pool_that_is_dropped_unclosed_cleans_up_too():
    gc.collect()
    before = traces()
    pool = JailPool(1, LIMITS)
    pool.open(TOOLS)
    del pool
    gc.collect()
    assert traces() == before


def test_a_killed_jail_fails_its_sessions_and_the_pool_heals():
    pool = JailPool(1, LIMITS)
    try:
        lost = pool.open(TOOLS)
        pool._shards[0].jail.process.send_signal(signal.SIGKILL)
        with pytest.raises(SandboxFailure, match="its jail died"):
            for _ in range(100):
                lost.call("echo", {})
                time.sleep(0.01)
        with pytest.raises(SandboxFailure, match="its jail died"):
            lost.call("echo", {})
        lost.close()
        healed = pool.open(TOOLS)
        assert healed.call("echo", {"value": 3}).value == 3
    finally:
        pool.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_the_shared_pool_is_one_per_process_and_a_forked_child_gets_its_own():
    ours = shared_pool("nsjail")
    assert shared_pool("nsjail") is ours
    session = ours.open(TOOLS)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            theirs = shared_pool("nsjail")
            opened = theirs.open(TOOLS)
            code = 0 if theirs is not ours and opened.call("echo", {"value": 1}).value == 1 else 2
            theirs.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert session.call("echo", {"value": 2}).value == 2
    ours.close()
    assert shared_pool("nsjail") is not ours
    shared_pool("nsjail").close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_killed_host_takes_its_jails_along():
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            session = JailPool(2, LIMITS).open("def spin():\n    while True: pass")
            os.write(theirs, b" ".join(str(child).encode() for child in sorted(descendants(os.getpid()))))
            session.call("spin", {})
        finally:
            os._exit(1)
    os.close(theirs)
    jailed = [int(child) for child in os.read(ours, 4096).split()]
    os.close(ours)
    assert len(jailed) >= 3  # nsjail, zygote, episode
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(Path(f"/proc/{child}").exists() for child in jailed):
        time.sleep(0.02)
    assert [child for child in jailed if Path(f"/proc/{child}").exists()] == []


def traces() -> dict[str, object]:
    """What a pool may leave behind on this machine."""
    return {
        "processes": descendants(os.getpid()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "mounts": Path("/proc/self/mounts").read_text(),
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob(f"**/recall-{os.getpid()}-*")),
        "files": sorted(
            str(path)
            for folder in ("/tmp", "/run", "/run/user", "/dev/shm")
            for prefix in (f"recall-unsafe-{os.getpid()}-", "nsjail")
            for path in Path(folder).glob(f"{prefix}*")
        ),
    }


def descendants(pid: int) -> set[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended while we looked
    found, level = set(), {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found |= level
    return found


def test_a_process_without_room_for_descriptors_says_so_and_goes_on():
    script = """
import resource
from recall_env.errors import SandboxFailure
from recall_env.sandbox import JailPool

pool = JailPool(shards=1)
first = pool.open("def f(): return 1")
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
opened = [first]
try:
    while True:
        opened.append(pool.open("def f(): return 1"))
except SandboxFailure as error:
    print(error)
opened.pop().close()
print(pool.open("def f(): return 2").call("f", {}).value, first.call("f", {}).value)
pool.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    words, values = done.stdout.splitlines()
    assert "raise `ulimit -n`" in words and values == "2 1", done.stderr


def test_an_episode_that_is_killed_from_outside_is_our_failure_and_its_neighbours_go_on(pool):
    victim, neighbour = pool.open(TOOLS), pool.open(TOOLS)
    victim._process.kill()  # as the kernel does when the jail as a whole needs too much memory
    with pytest.raises(SandboxFailure, match="killed from outside"):
        victim.call("echo", {"value": 1})
    with pytest.raises(SandboxFailure, match="killed from outside"):
        victim.call("echo", {"value": 1})
    assert neighbour.call("echo", {"value": 2}).value == 2
    victim.close()
    neighbour.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_keeper_thread_that_dies_ends_its_sessions_and_the_pool_heals(monkeypatch):
    pool = JailPool(1, LIMITS)
    try:
        lost = pool.open(TOOLS)
        monkeypatch.setattr(Shard, "_read_notice", lambda self, control: 1 / 0)
        with pytest.raises(SandboxFailure):
            pool.open(TOOLS)  # its notice is the one that the thread stumbles over
        monkeypatch.undo()
        with pytest.raises(SandboxFailure, match="its jail died"):
            for _ in range(100):
                lost.call("echo", {"value": 1})
                time.sleep(0.01)
        lost.close()
        healed = pool.open(TOOLS)
        assert healed.call("echo", {"value": 3}).value == 3
    finally:
        pool.close()


def test_no_deadline_hangs_on_a_clock_that_people_set(pool, monkeypatch):
    def jumped():
        raise AssertionError("the wall clock was read")

    monkeypatch.setattr(time, "time", jumped)
    session = pool.open(TOOLS)
    assert session.call("echo", {"value": 1}).value == 1
    session.close()


def test_what_killed_hosts_left_behind_is_swept(tmp_path, monkeypatch):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, own = tmp_path / f"recall-unsafe-{gone.stdout.strip()}-x", tmp_path / f"recall-unsafe-{os.getpid()}-x"
    left.mkdir()
    own.mkdir()
    UnsafePool().close()
    assert not left.exists() and own.exists()
    for parent in cgroups.parents():
        folder = parent / f"recall-{gone.stdout.strip()}-x"
        folder.mkdir()
        cgroups.sweep()
        assert not folder.exists()
