"""No peer but the limit: a process for each episode, and nothing else.

No jail, no limits, no environment: the call goes as JSON over a socket to a fork that has loaded the tools, the value
comes back, and the host does nothing but write the one and read the other, one episode after another. What is above
this, in time, is an environment's own; what is below it cannot be had while each episode has its own interpreter. Run
as a script, by the peers' interpreter: standard library only.
"""

import json
import os
import re  # noqa: F401 (what the tools import, so that no fork has to)
import socket
import time
from dataclasses import dataclass  # noqa: F401 (as above)
from datetime import datetime  # noqa: F401 (as above)

from peer import Job, Play, answer, expect

MESSAGE_BYTES = 1 << 16


def loops(job: Job) -> dict[str, Play]:
    def play(live: int, turns: int) -> float:
        episodes = [begin(job) for _ in range(live)]
        for sock, _ in episodes:
            call(sock, job)
        start = time.perf_counter()
        for _ in range(turns):
            for sock, _ in episodes:
                call(sock, job)
        elapsed_s = time.perf_counter() - start
        for sock, _ in episodes:  # all of them before the first wait: a fork has copies of those made before it
            sock.close()
        for _, pid in episodes:
            os.waitpid(pid, 0)
        return elapsed_s

    return {"direct": play}


def begin(job: Job) -> tuple[socket.socket, int]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        serve(theirs, job)
    theirs.close()
    return ours, pid


def serve(sock: socket.socket, job: Job) -> None:
    """In the fork. Never returns."""
    try:
        functions = {job.name: job.function()}
        while message := sock.recv(MESSAGE_BYTES):
            request = json.loads(message)
            sock.send(json.dumps(functions[request["name"]](**request["arguments"])).encode())
    finally:
        os._exit(0)


def call(sock: socket.socket, job: Job) -> None:
    sock.send(json.dumps({"name": job.name, "arguments": job.arguments}).encode())
    expect(json.dumps(json.loads(sock.recv(MESSAGE_BYTES))), job)


if __name__ == "__main__":
    answer(loops)
