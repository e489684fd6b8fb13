"""A peer in a process of its own, on cores of its own: its virtual environment, its start, its orders, its end."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.envs.peers.peer import Job, Timed
from benchmarks.sandbox.report import say

# verifiers 0.3 is the newest with tools in the environment's own process (classic_verifiers.py).
PINS = ("skyrl-gym==0.4.0", "verifiers==0.3.1")
HERE = Path(__file__).parent
SCRIPTS = {
    "SkyRL-gym": HERE / "skyrl.py",
    "verifiers": HERE / "classic_verifiers.py",
    "a bare process": HERE / "bare_process.py",
}
HOME = HERE.parents[2] / "build" / "env-peers"  # git ignores build/; `make clean` removes it
STOP_S = 10.0

Order = Callable[[str, int, int, float], Timed]  # loop, live episodes, turns, seconds to time


class PeersUnavailable(Exception):
    """The peers cannot be installed here; the message says why, in one line."""


@contextmanager
def started(name: str, job: Job) -> Iterator[Order]:
    """A peer that takes orders, on this thread's cores. Raises PeersUnavailable, and RuntimeError when it breaks."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [python(), str(SCRIPTS[name])],
            env=own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )

        def ask(line: dict) -> dict:
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps(line), file=process.stdin, flush=True)
            reply = process.stdout.readline()
            if not reply:
                said.seek(0)
                last = (said.read().strip().splitlines() or ["it said nothing"])[-1]
                raise RuntimeError(f"{name} broke: {last}")
            return json.loads(reply)

        def order(loop: str, live: int, turns: int, duration_s: float) -> Timed:
            return Timed(**ask({"loop": loop, "live": live, "turns": turns, "duration_s": duration_s}))

        try:
            ask(asdict(job))
            yield order
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def python(home: Path = HOME, pins: tuple[str, ...] = PINS) -> str:
    """The interpreter that has the peers; the first time it is made, from PyPI. Raises PeersUnavailable."""
    interpreter, done = home / "bin" / "python", home / "installed.json"
    if done.is_file() and json.loads(done.read_text()) == [*pins]:
        return str(interpreter)
    say("peers", f"installing {', '.join(pins)} into {os.path.relpath(home)} (700 MB, some minutes) ...")
    venv.create(home, with_pip=True, clear=True)
    run = subprocess.run(
        [interpreter, "-m", "pip", "install", "-q", "--disable-pip-version-check", *pins],
        stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        errors = [line for line in run.stderr.splitlines() if line.startswith("ERROR")] or ["it gave no reason"]
        raise PeersUnavailable(f"pip cannot install {', '.join(pins)} (is PyPI within reach?): {errors[-1]}")
    done.write_text(json.dumps(pins))
    return str(interpreter)
