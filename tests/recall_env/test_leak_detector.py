"""The detector of what a test leaves behind, on a test that leaves all it watches for."""

import os
import subprocess
import sys
from pathlib import Path

LEAKING = """
import subprocess, sys, threading, time
kept = []

def test_that_leaks():
    kept.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
    kept.append(open("/dev/null"))
    kept.append(threading.Thread(target=time.sleep, args=(4,), name="left-running"))
    kept[-1].start()

def test_that_does_not():
    with open("/dev/null"):
        thread = threading.Thread(target=time.sleep, args=(0.01,))
        thread.start()
    subprocess.run([sys.executable, "-c", ""])
"""


def test_a_test_that_leaves_something_behind_fails_and_is_told_what(tmp_path):
    (tmp_path / "recall_env").mkdir()
    (tmp_path / "recall_env" / "test_leaking.py").write_text(LEAKING)
    tests = Path(__file__).parent.parent
    (tmp_path / "conftest.py").write_text((tests / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tests.parent)},
        capture_output=True,
        text=True,
    )
    assert "2 passed, 1 error" in done.stdout, done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("E  ")]
    assert "process " in line and "(python" in line and "(/dev/null)" in line and "(left-running)" in line
