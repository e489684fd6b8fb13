"""python -m benchmarks.serve: calls per second of /execute on one processor, ours and the original's handler.

Each server is pinned to the first processor with all its jails, the client to the last. The client is one loop over raw
keep-alive connections, so that it is not what is measured. `cpu_us_per_call` is the processor time of the server's
whole tree: it holds on a machine that has other work too, where calls per second do not.
"""

import argparse
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from recall_env.taskset import TaskSet

# What Agent-RL/ReCall's scripts/serving/sandbox.py does for a call: run the source and the call's text in the server.
ORIGINAL = """
import contextlib, io, sys
from typing import Any, Optional
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()

class Request(BaseModel):
    env: str
    call: str
    timeout: Optional[int] = 5

@app.post("/execute")
async def execute(request: Request):
    output, names = io.StringIO(), {}
    try:
        with contextlib.redirect_stdout(output):
            exec(request.env, names)
            exec("response = " + request.call, names)
        return {"output": output.getvalue(), "result": names["response"], "error": None}
    except Exception as error:
        return {"output": output.getvalue(), "result": None, "error": str(error)}

print("serving on http://127.0.0.1:%s (" % sys.argv[1], file=sys.stderr, flush=True)
uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="error")
"""
ORIGINAL_PORT = 8643


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serve",
        description="Calls per second of /execute on one processor, as a JSON line for each server and source.",
        epilog="example: python -m benchmarks.serve --original --rows 1 2 4",
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4], help="SynTool rows in one source")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one round")
    parser.add_argument("--rounds", type=int, default=3, help="of each server, in turn; the best one counts")
    parser.add_argument("--original", action="store_true", help="also the original's handler; needs FastAPI")
    parser.add_argument("--option", action="append", default=[], help="for recall-env serve, as --option=--max-warm=1")
    arguments = parser.parse_args()
    commands = {
        "recall-env": [sys.executable, "-m", "recall_env", "serve", "--port=0", "--shards=1", *arguments.option]
    }
    if arguments.original:
        commands["original"] = [sys.executable, "-c", ORIGINAL, str(ORIGINAL_PORT)]
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, processors[:1])
    servers = {name: start(command) for name, command in commands.items()}  # they inherit it
    os.sched_setaffinity(0, processors[-1:])
    try:
        for rows in arguments.rows:
            body = source_and_call(rows)
            best: dict[str, dict[str, Any]] = {}
            for _ in range(arguments.rounds):
                for name, (process, port) in servers.items():
                    figures = measure(process.pid, port, body, arguments.connections, arguments.seconds)
                    if name not in best or figures["calls_per_s"] > best[name]["calls_per_s"]:
                        best[name] = figures
            for name, figures in best.items():
                print(json.dumps({"server": name, "source_bytes": len(body["env"]), **figures}), flush=True)
    finally:
        for process, _ in servers.values():
            process.send_signal(signal.SIGTERM)
            process.wait()


def source_and_call(rows: int) -> dict[str, Any]:
    """The sources of some tasks of middling length as one, and the first gold call of the last of them."""
    tasks = sorted(TaskSet.load("syntool", "test"), key=lambda task: (len(task.source), task.id))
    middle = len(tasks) // 2
    chosen = [task for task in tasks[middle:] if task.state is None][:rows]
    call = chosen[-1].solution.calls[0]
    written = f"{call.name}({', '.join(f'{name}={value!r}' for name, value in call.arguments.items())})"
    return {"env": "\n".join(task.source for task in chosen), "call": written, "timeout": 5}


def start(command: list[str]) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    line = process.stderr.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+) \(", line)
    if found is None:
        raise SystemExit(line + process.stderr.read())
    for _ in range(100):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", int(found[1]))) == 0:
                return process, int(found[1])
        time.sleep(0.1)
    raise SystemExit(f"{command[0]} does not listen")


def measure(pid: int, port: int, body: dict[str, Any], connections: int, seconds: float) -> dict[str, Any]:
    play(port, body, connections, 0.3)  # interpreters are opened here
    cpu_s = tree_cpu_s(pid)
    waits = sorted(play(port, body, connections, seconds))
    return {
        "calls_per_s": round(len(waits) / seconds),
        "cpu_us_per_call": round((tree_cpu_s(pid) - cpu_s) / len(waits) * 1e6),
        "p50_ms": round(waits[len(waits) // 2] * 1e3, 2),
        "p99_ms": round(waits[len(waits) * 99 // 100] * 1e3, 2),
    }


def play(port: int, body: dict[str, Any], connections: int, seconds: float) -> list[float]:
    """Seconds of each call made within `seconds`, one after another on each connection. A wrong answer ends it."""
    text = json.dumps(body).encode()
    head = f"POST /execute HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(text)}"
    request = head.encode() + b"\r\n\r\n" + text
    waits: list[float] = []
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", port))
            selector.register(sock, selectors.EVENT_READ, [bytearray(), time.perf_counter()])
            sock.sendall(request)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for key, _ in selector.select(1.0):
                received, began = key.data
                received += key.fileobj.recv(65536)
                if not complete(received):
                    continue
                if not received.endswith(b'"error":null}'):
                    raise SystemExit(received.decode())
                waits.append(time.perf_counter() - began)
                received.clear()
                key.fileobj.sendall(request)
                key.data[1] = time.perf_counter()
        for key in list(selector.get_map().values()):
            key.fileobj.close()
    return waits


def complete(received: bytearray) -> bool:
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return False
    length = re.search(rb"content-length: (\d+)", received[:head].lower())
    return len(received) >= head + 4 + int(length[1])


def tree_cpu_s(pid: int) -> float:
    """Processor time of a process, of those below it, and of those that were and have been waited for."""
    pids, ticks = [pid], 0
    for each in pids:
        try:
            with open(f"/proc/{each}/stat") as stat:
                ticks += sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:15]))
            for thread in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{thread}/children") as children:
                    pids += map(int, children.read().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
