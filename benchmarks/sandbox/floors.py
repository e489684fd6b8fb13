"""What nothing built this way can beat: the bare parts of a call and of a spawn, each alone on one core."""

import json
import os
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.sandbox import tools
from benchmarks.sandbox.cores import FIRST, on
from benchmarks.sandbox.figures import percentile
from recall_env.sandbox import launch as launch_script
from recall_env.sandbox.jail import probe
from recall_env.sandbox.nsjail_config import configuration, find_nsjail, python_sources

HERE = Path(__file__).parent
SANDBOX = Path(launch_script.__file__).parent


def in_process(n: int) -> dict[str, float]:
    """Median seconds of the call of tools.py in this process, in three ways."""
    code, live = compile(tools.SOURCE, "<tools>", "exec"), {}
    exec(code, live)

    def executed(source: str | types.CodeType) -> None:
        namespace: dict[str, Any] = {}
        exec(source, namespace)
        namespace[tools.NAME](**tools.ARGUMENTS)

    with on(FIRST):
        return {
            "live dict in process": median_s(lambda: live[tools.NAME](**tools.ARGUMENTS), n),
            "re-executed in process": median_s(lambda: executed(code), n),
            "compiled and executed in process": median_s(lambda: executed(tools.SOURCE), n),
        }


def echo(n: int) -> float:
    """Median seconds of one datagram there and back between two Python processes on one core."""
    payload = json.dumps({"nonce": "0" * 16, "op": "call", "name": tools.NAME, "arguments": tools.ARGUMENTS}).encode()
    loop = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1]))\nwhile d := s.recv(65536): s.send(d)"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with on(FIRST), ours:
        with theirs:
            child = subprocess.Popen(
                [sys.executable, "-S", "-c", loop, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )

        def once() -> None:
            ours.send(payload)
            ours.recv(65536)

        seconds = median_s(once, n)
        ours.close()
        child.wait()
    return seconds


def median_s(once: Callable[[], object], n: int) -> float:
    once()
    times = []
    for _ in range(n):
        start = time.perf_counter()
        once()
        times.append(time.perf_counter() - start)
    return percentile(times, 50)


def bare_fork(n: int) -> list[float]:
    """Seconds of os.fork, _exit and wait, of a process that holds what a zygote holds; on one core."""
    python, _ = python_sources()["python"]
    command = [python, "-s", "-S", "-B", str(HERE / "fork_floor.py"), str(SANDBOX), str(n)]
    with on(FIRST):
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def cold_start(n: int) -> list[float]:
    """Seconds of an nsjail and a Python made for one call and ended, on one core; none where nsjail cannot run.

    The jail is that of the pool, without a cgroup; launch.py stages its mounts once, before the first is timed.
    """
    rung = probe().rung
    if rung is None or not rung.namespaces:
        return []
    ours, theirs = os.pipe()  # stands in for the control socket, which nobody uses here
    config = os.memfd_create("nsjail.cfg")
    try:
        stage, text = configuration(rung.root, theirs, "")
        os.write(config, text.encode())
        program = f"{tools.SOURCE}\nprint(json.dumps({tools.CALL_TEXT}))"
        command = [find_nsjail(), "--config", f"/proc/self/fd/{config}", "--", "/python/bin/python3", "-I", "-S", "-c"]
        order = json.dumps({"command": [*command, program], "n": n, "fds": [theirs, config], "value": tools.VALUE})
        argv = [sys.executable, "-I", "-S", str(HERE / "cold_floor.py"), order]
        plan = {"parent": os.getpid(), "cpu": None, "nice": 0, "cgroups": [], "stage": stage, "argv": argv}
        launch = [sys.executable, "-I", "-S", str(SANDBOX / "launch.py"), json.dumps(plan)]
        with on(FIRST):
            run = subprocess.run(launch, stdout=subprocess.PIPE, pass_fds=(theirs, config), check=True)
        return json.loads(run.stdout)
    finally:
        for fd in (ours, theirs, config):
            os.close(fd)
