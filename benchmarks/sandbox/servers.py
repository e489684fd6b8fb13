"""Start and stop the servers of the HTTP measures: ReCall's, in an environment of its own if need be, and ours."""

import importlib.util
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from benchmarks.sandbox.cores import on

START_S, STOP_S = 30.0, 10.0
PEERS = ("fastapi", "uvicorn[standard]")  # standard: with the faster loop and parser, in the baseline's favour


@contextmanager
def recall_server(core: int) -> Iterator[int]:
    """The baseline on one core; yields its port."""
    script = str(Path(__file__).with_name("recall_server.py"))
    with _python_with_peers() as python, _served(lambda port: [python, script, str(port)], core) as port:
        yield port


@contextmanager
def recall_env_serve(core: int) -> Iterator[int]:
    """Our drop-in on one core; yields its port."""
    with _served(lambda port: [sys.executable, "-m", "recall_env", "serve", "--port", str(port)], core) as port:
        yield port


def serve_is_there() -> bool:
    run = subprocess.run([sys.executable, "-m", "recall_env", "serve", "--help"], capture_output=True, check=False)
    return run.returncode == 0


@contextmanager
def _served(command: Callable[[int], list[str]], core: int) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryFile() as said:
        with on(core):
            process = subprocess.Popen(command(port), stdout=said, stderr=said)
        try:
            _await(process, port, said)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(process: subprocess.Popen, port: int, said: IO[bytes]) -> None:
    """Until it takes connections; RuntimeError, with its last words, when it does not."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=START_S).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                said.seek(0)
                words = said.read().decode("utf-8", "replace").strip().splitlines()[-3:]
                raise RuntimeError(f"the server did not start: {' | '.join(words)}") from error
            time.sleep(0.05)


@contextmanager
def _python_with_peers() -> Iterator[str]:
    """An interpreter that has what the baseline needs: this one, or that of an environment made for it."""
    if importlib.util.find_spec("fastapi") and importlib.util.find_spec("uvicorn"):
        yield sys.executable
        return
    with tempfile.TemporaryDirectory(prefix="recall-peers-") as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", *PEERS], check=True, stdout=sys.stderr)
        yield python
