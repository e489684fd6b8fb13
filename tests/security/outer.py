"""An outer jail for attacks that would harm the machine, so that they can be shown to work where ours is not.

`attempt` starts this file as a program, which goes into user, mount, pid, network, IPC and UTS namespaces of its own
with a file system of its own, bounded in memory and processes, and there plays the attack on a host without a jail:
  unsafe: the package's UnsafePool;
  naive: what ReCall's server does: text is run as Python in the server's own process, and results are looked at there.
What comes back are the signs that it worked: `value` (it returned something true), `bystander` (an episode beside it is
gone), `files` (the host's files are changed), `process` (one is left), `broken` (the naive server serves
no longer as it did: beside it `hang` or `dead`, where it does not answer at all), `machine` (all of the outer jail is
gone). A benign call must give no sign.
"""

import contextlib
import copy
import ctypes
import io
import json
import os
import pickle
import resource
import select
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
MEMORY, PROCESSES = 1 << 30, 512
ANSWER_S = 0.4  # within which a naive server that has not hung has answered
TOTAL_S = 25
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 1, 32, 4096, 16384, 1 << 18, 2
SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/usr", "/etc")
NAMESPACES = os.CLONE_NEWPID | os.CLONE_NEWNET | os.CLONE_NEWIPC | os.CLONE_NEWUTS | os.CLONE_NEWNS
HOST = Path("/tmp/host")  # inside: the folder whose files an attack may change
SIGNALS = tuple(range(1, 32))


class Outcome(NamedTuple):
    signs: list[str]
    said: str  # what came of the judged call, for whoever reads a failure


def attempt(host: str, *attacks: dict) -> list[Outcome]:
    """What came of each attack. host: "unsafe", or "naive", which may be given several: each meets a new server.

    attack: source, calls (name and arguments, in order; the last one is judged), takes_target (whether the calls are
    given facts about the host; unless told, they are).
    """
    done = subprocess.run(
        [sys.executable, "-S", "-B", __file__],
        input=json.dumps({"host": host, "attacks": attacks}),
        capture_output=True,
        text=True,
        timeout=2 * TOTAL_S,
    )
    if done.returncode < 0 or not done.stdout:
        raise RuntimeError(f"the outer jail does not stand: {done.stderr[-2000:]}")
    return [Outcome(*each) for each in json.loads(done.stdout)]


# -- the way in -------------------------------------------------------------------------------------------------------


def main() -> None:
    _find_the_sandbox(REPOSITORY)
    from recall_env.sandbox import cgroups

    job, folders = sys.stdin.read(), []
    with contextlib.suppress(OSError):
        folders = cgroups.make(f"{os.getpid()}-outer", 0.1)
    for folder in folders:
        for name, bound in {"memory.limit_in_bytes": MEMORY, "memory.max": MEMORY, "pids.max": PROCESSES}.items():
            if (folder / name).exists():
                (folder / name).write_text(str(bound))
    (out, into), (ready, is_ready), (mapped, is_mapped) = os.pipe(), os.pipe(), os.pipe()
    jobs = os.memfd_create("job", 0)
    os.write(jobs, job.encode())
    pid = os.fork()
    if pid == 0:
        for folder in folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()))
        _enter(jobs, into, is_ready, mapped)
    os.close(into)
    os.close(is_ready)
    if os.read(ready, 1) and os.geteuid() == 0:
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text("0 1073741824 65536")
    os.write(is_mapped, b"x")
    signs = b""
    if select.select([out], [], [], TOTAL_S)[0]:
        while piece := os.read(out, 1 << 16):
            signs += piece
            if signs.endswith(b"]\n"):
                break
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    cgroups.remove(folders)
    print(signs.decode(), end="", flush=True)


def _find_the_sandbox(repository: Path) -> None:
    """Without running the package's own __init__, which wants packages that are not in the outer jail."""
    package = sys.modules["recall_env"] = types.ModuleType("recall_env")
    package.__path__ = [str(repository / "recall_env")]


def _enter(jobs: int, into: int, is_ready: int, mapped: int) -> None:
    """Become the outer jail's parent, which says for it what it cannot say: that it was killed. Never returns."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)
        if os.geteuid() == 0:
            os.unshare(os.CLONE_NEWNS)
            _build_root(libc)
            os.unshare(os.CLONE_NEWUSER | NAMESPACES)
            os.write(is_ready, b"x")
            os.read(mapped, 1)
            os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        else:
            uid, gid = os.getuid(), os.getgid()
            os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNS)
            for name, text in {"setgroups": "deny", "uid_map": f"0 {uid} 1", "gid_map": f"0 {gid} 1"}.items():
                Path(f"/proc/self/{name}").write_text(text)
            _build_root(libc)
            os.unshare(NAMESPACES)
        pid = os.fork()
        if pid == 0:
            libc.prctl(1, signal.SIGKILL, 0, 0, 0)
            os.dup2(into, 1)
            os.environ["LD_LIBRARY_PATH"] = "/python/lib:/python/shared"
            os.environ["HOME"] = "/tmp"
            os.execv(
                "/python/bin/python3",
                ["/python/bin/python3", "-S", "-B", "/repository/tests/security/outer.py", str(jobs)],
            )
        if os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
            os.write(into, json.dumps([[["machine"], "it was killed"]]).encode() + b"\n")
    finally:
        os._exit(1)


def _mount(libc, source, target, kind=None, flags=0, options=None) -> None:
    packed = [None if text is None else str(text).encode() for text in (source, target, kind)]
    if libc.mount(*packed, flags, None if options is None else options.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mount {source} on {target}: {os.strerror(ctypes.get_errno())}")


def _build_root(libc) -> None:
    """A root folder in memory: the system and this interpreter, read-only as far as its user goes, and a scratch
    folder. The machine's own is out of reach afterwards."""
    from recall_env.sandbox.nsjail_config import python_sources

    sources = {source: target for source, target in python_sources().values()}
    sources |= {str(REPOSITORY): "/repository", **{path: path for path in SYSTEM}, "/proc": "/proc"}
    sources |= {f"/dev/{name}": f"/dev/{name}" for name in ("null", "zero", "urandom", "full", "random")}
    _mount(libc, "none", "/", None, MS_REC | MS_PRIVATE)
    opened = {
        target: (source, os.open(source, os.O_PATH)) for source, target in sources.items() if os.path.exists(source)
    }
    root = "/tmp"
    _mount(libc, "outer", root, "tmpfs", 0, "size=64m,mode=0755")
    for target, (source, fd) in opened.items():
        if os.path.islink(source):
            os.symlink(os.readlink(source), root + target)
            continue
        place = Path(root + target)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir() if os.path.isdir(source) else place.touch()
        _mount(libc, f"/proc/self/fd/{fd}", place, None, MS_BIND | MS_REC)
    for name in ("tmp", "old", "dev/shm", "root"):
        Path(root, name).mkdir(exist_ok=True)
    for name in ("tmp", "dev/shm"):
        _mount(libc, "scratch", f"{root}/{name}", "tmpfs", 0, "size=256m,mode=1777")
    os.chdir(root)
    if libc.syscall(155 if os.uname().machine == "x86_64" else 41, b".", b"old") != 0:
        raise OSError(ctypes.get_errno(), "pivot_root")
    os.chdir("/")
    if libc.umount2(b"/old", MNT_DETACH) != 0:
        raise OSError(ctypes.get_errno(), "umount /old")


# -- inside -----------------------------------------------------------------------------------------------------------


def inside(host: str, attacks: list[dict]) -> list[tuple[list[str], str]]:
    """PID 1 of the outer jail: play the attacks, look for signs."""
    _find_the_sandbox(Path("/repository"))
    libc = ctypes.CDLL(None, use_errno=True)
    _mount(libc, "proc", "/proc", "proc")
    os.chdir("/tmp")
    HOST.mkdir()
    mounted = Path("/tmp/mounted")
    mounted.mkdir()
    _mount(libc, "/etc", mounted, None, MS_BIND)
    _mount(libc, None, mounted, None, MS_BIND | MS_REMOUNT | MS_RDONLY)
    facts = {
        "canary": str(HOST / "canary"),
        "prey": str(HOST / "prey"),
        "mark": str(HOST / "mark"),
        "mount": str(mounted),
        "pid": os.getpid(),
        "repository": "/repository",
        "prefix": "/python",
        "nodename": os.uname().nodename,
        "now": time.time(),
        "victim": 0,
    }
    found = []
    for attack in attacks:
        for file in HOST.iterdir():
            file.rmdir() if file.is_dir() else file.unlink()
        for name in ("canary", "prey"):
            (HOST / name).write_text("untouched")
        signs, said = {"unsafe": _unsafe, "naive": _naive}[host](attack, dict(facts))
        found.append((signs + _changes(), said[:1000]))
    return found


def _changes() -> list[str]:
    if not HOST.exists():
        return ["machine"]
    files = {path.name: path.read_text() if path.is_file() else "folder" for path in HOST.iterdir()}
    return [] if files == {"canary": "untouched", "prey": "untouched"} else ["files"]


def _unsafe(attack: dict, target: dict) -> tuple[list[str], str]:
    from recall_env.errors import EnvError
    from recall_env.sandbox import Limits, UnsafePool

    pool = UnsafePool(Limits(call_timeout_s=5, memory_bytes=MEMORY, open_files=1024, file_bytes=1 << 28))
    bystander = pool.open(Path("/repository/tests/security/bystander.py").read_text())
    target["victim"] = bystander._process.popen.pid
    bystander.call("remember", {"word": "first"})
    others = _processes()
    for function, arguments in attack["calls"]:
        with contextlib.suppress(EnvError):
            session = pool.open(attack["source"])
            result = session.call(function, arguments | {"target": target})
            target["hint"] = result.value
    signs = ["value"] if result.status in ("ok", "output_truncated") and result.value else []
    bystander._limits = Limits(call_timeout_s=1)
    if bystander.call("remember", {"word": "second"}).value != [["first", "second"]] * 2:
        signs.append("bystander")
    with contextlib.suppress(OSError):  # it may have taken the machine away
        session.close()
    time.sleep(0.02)
    if Path("/proc/self").exists() and _processes() - others:
        signs.append("process")
    return signs, str(result)


def _processes() -> set[str]:
    """Of this pid namespace, the dead that nobody has asked about left out."""
    alive = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                alive.add(pid)
    return alive


def _naive(attack: dict, target: dict) -> tuple[list[str], str]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open("/dev/null", os.O_RDWR), 1)
        ours.close()
        try:
            _serve(theirs)
        finally:
            os._exit(1)
    theirs.close()
    ours.settimeout(10)
    work = Path("/repository/tests/security/bystander.py").read_text()
    answers = [_ask(ours, work, "work", {})]
    if answers != [_expected(work)]:
        raise RuntimeError(f"the naive server does not work: {answers}")
    ours.settimeout(attack.get("patience_s", ANSWER_S))
    hint = None
    for function, arguments in attack["calls"]:
        extra = {"target": target | {"hint": hint}} if attack.get("takes_target", True) else {}
        answer = _ask(ours, attack["source"], function, arguments | extra)
        hint = (answer or {}).get("value")
    signs = ["value"] if hint else []
    time.sleep(0.03)
    if os.waitpid(pid, os.WNOHANG)[0]:
        return ["dead", "broken"], str(answer)
    if answer is None:
        signs = ["hang", "broken"]
    elif _ask(ours, work, "work", {}) != answers[0]:
        signs.append("broken")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return signs, str(answer)


def _expected(work: str) -> dict:
    names: dict = {}
    exec(work, names)
    return {"value": names["WORK"]}


def _ask(sock: socket.socket, source: str, function: str, arguments: dict):
    try:
        sock.send(json.dumps([source, function, arguments]).encode())
        return json.loads(sock.recv(1 << 20))
    except (OSError, ValueError):
        return None


def _serve(sock: socket.socket) -> None:
    """ReCall's server: the source, then the call, pasted together as Python and run in this very process."""
    live = []  # what each request has defined: nobody throws it away
    while payload := sock.recv(1 << 20):
        source, function, arguments = json.loads(payload)
        names = {"__name__": "__task__"}
        live.append(names)
        value = None
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(source, names)
                text = ", ".join(f"{key}={item!r}" for key, item in arguments.items())
                exec(f"response = {function}({text})", names)
                value = names.get("response")
                if hasattr(value, "__await__"):
                    import asyncio

                    value = asyncio.run(value)
        except Exception as error:
            value = _looked_at(error) and None
        sock.send(json.dumps({"value": _looked_at(value)}).encode())
    os._exit(0)


def _looked_at(value):
    """The value as data, and on the way whatever hosts do with values: test, show, compare, hash, copy, pickle them."""
    looks = (
        bool, str, repr, format, hash, len, list, dict, int, float, lambda v: v == 0, lambda v: 0 in v, copy.deepcopy,
        lambda v: pickle.loads(pickle.dumps(v)), lambda v: isinstance(v, dict) and v.items(), lambda v: v.tolist,
        lambda v: v.value, lambda v: v.isoformat(), lambda v: [str(each) for each in v.exceptions],
        lambda v: isinstance(1, v),
    )  # fmt: skip
    for look in looks:
        with contextlib.suppress(Exception):
            look(value)
    try:
        return json.loads(json.dumps(value))
    except Exception:
        return True


if __name__ == "__main__":
    if len(sys.argv) == 2:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        print(json.dumps(inside(**json.loads(os.pread(int(sys.argv[1]), 1 << 24, 0)))), flush=True)
        os._exit(0)
    main()
