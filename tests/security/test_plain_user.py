"""A plain user's episodes share one user id, and without namespaces they share more: the same attacks there."""

import subprocess
import sys
from pathlib import Path

import pytest

PLAYER = Path(__file__).with_name("plain_user.py")


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("files", "network", "episodes", "resources")]


@pytest.mark.parametrize("way", ["namespaces", "landlock"])
@pytest.mark.parametrize("kind", ["processes", "doors", *SLOW])
def test_the_jail_of_a_plain_user_stops_the_same_attacks(kind, way):
    done = subprocess.run([sys.executable, str(PLAYER), way, kind], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("played\n", 0), done.stdout + done.stderr
