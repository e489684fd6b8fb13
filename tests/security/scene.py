"""Where attacks are played: what an attacker knows of this machine, a jail with a bystander in it, and the questions
that are asked after each attack."""

import gc
import os
import socket
import threading
import time
from pathlib import Path

import bystander

from recall_env.sandbox import JailPool, Limits
from recall_env.sandbox.jail import Rung
from recall_env.tool_call import ToolResult

FOLDER = Path(__file__).parent
BYSTANDER = Path(bystander.__file__).read_text()
SOURCES = {file.stem: file.read_text() for file in sorted(FOLDER.glob("attacks/*.py"))}
LIMITS = Limits(call_timeout_s=2.0, memory_bytes=192 << 20)
PATIENCE = {"hangs": Limits(call_timeout_s=0.3, memory_bytes=192 << 20)}  # of what hangs there is nothing to wait for
GREETING = b"hello from the host"
GROWTH_BYTES = 48 << 20  # of resident memory, over all attacks together


class Host:
    def __init__(self, folder: Path) -> None:
        folder.chmod(0o777)
        self.canary, self.prey, self.mark = folder / "canary", folder / "prey", folder / "mark"
        self.canary.write_text("secret")
        self.restore()
        name = f"recall-host-{os.getpid()}"
        self.servers = [socket.create_server(("127.0.0.1", 0)), *(socket.socket(socket.AF_UNIX) for _ in range(2))]
        self.servers[1].bind("\0" + name)
        self.servers[2].bind(str(folder / "socket"))
        (folder / "socket").chmod(0o777)
        for server in self.servers:
            server.listen()
            threading.Thread(target=greet, args=(server,), daemon=True).start()
        self.datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.datagrams.bind("\0" + name + "-datagrams")
        self.target = {
            "canary": str(self.canary),
            "prey": str(self.prey),
            "mark": str(self.mark),
            "socket": str(folder / "socket"),
            "mount": "/usr/lib",
            "port": self.servers[0].getsockname()[1],
            "abstract": name,
            "datagrams": name + "-datagrams",
            "pid": os.getpid(),
            "victim": os.getpid(),
            "repository": str(FOLDER.parents[1]),
            "prefix": os.path.realpath(os.sys.prefix),
            "nodename": os.uname().nodename,
            "now": time.time(),
        }

    def restore(self) -> None:
        self.prey.unlink(missing_ok=True)
        self.prey.write_text("untouched")
        self.prey.chmod(0o666)
        if self.mark.is_dir():
            self.mark.rmdir()

    @property
    def untouched(self) -> bool:
        same = self.canary.read_text() == "secret" and self.prey.exists() and self.prey.read_text() == "untouched"
        return same and self.prey.stat().st_mode & 0o777 == 0o666 and not self.mark.exists()

    def close(self) -> None:
        for server in self.servers:
            server.shutdown(socket.SHUT_RDWR)
            server.close()
        self.datagrams.close()


def greet(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(GREETING)


class Scene:
    """One jail with a bystander in it; `attack` runs an attacker beside the bystander, `check` asks the questions."""

    def __init__(self, host: Host, rung: Rung | None = None) -> None:
        self.host = host
        self.pool = JailPool(1, LIMITS, rung=rung)
        self.writes = rung is None or rung.namespaces  # without them there is no scratch folder
        self.bystander = self.pool.open(BYSTANDER)
        self.words: list[str] = []
        self.play("spin", "hangs")  # so that what stays open for good is counted in
        self.work()
        gc.collect()
        self.processes = descendants()
        self.descriptors = len(os.listdir("/proc/self/fd"))
        self.resident = {pid: resident_bytes(pid) for pid in (os.getpid(), *self.processes)}

    def open(self, kind: str):
        return self.pool.open(SOURCES[kind], limits=PATIENCE.get(kind, LIMITS))

    def play(self, name: str, kind: str, **more: object) -> ToolResult:
        session = self.open(kind)
        try:
            return session.call(name, {"target": self.host.target | more})
        finally:
            session.close()

    def work(self) -> None:
        """A benign call in an episode of its own works."""
        session = self.pool.open(BYSTANDER)
        result = session.call("work", {"writes": self.writes})
        session.close()
        assert (result.status, result.value, result.stdout) == ("ok", bystander.WORK, "hello\n"), result

    def check(self) -> None:
        self.words.append(f"w{len(self.words)}")
        result = self.bystander.call("remember", {"word": self.words[-1], "writes": self.writes})
        assert result.value == [self.words, self.words], result
        self.work()
        assert self.host.untouched
        deadline = time.monotonic() + 2
        while descendants() != self.processes and time.monotonic() < deadline:
            time.sleep(0.005)
        assert descendants() == self.processes
        if (now := len(os.listdir("/proc/self/fd"))) != self.descriptors:
            gc.collect()
            now = len(os.listdir("/proc/self/fd"))
        assert now == self.descriptors
        for pid, before in self.resident.items():
            assert resident_bytes(pid) - before < GROWTH_BYTES, f"process {pid} has grown"


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descendants() -> set[int]:
    """The processes below this one."""
    found, parents = set(), [os.getpid()]
    while parents:
        try:
            texts = [task.read_text() for task in Path(f"/proc/{parents.pop()}/task").glob("*/children")]
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended while we looked
        children = [int(child) for text in texts for child in text.split()]
        found.update(children)
        parents += children
    return found
