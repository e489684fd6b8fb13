"""The benchmark of `recall-env serve` runs, and says what it measured."""

import json
import subprocess
import sys
from pathlib import Path


def test_it_prints_a_json_line_for_each_source():
    words = [sys.executable, "-m", "benchmarks.serve", "--rows", "1", "--rounds", "1", "--seconds", "0.3"]
    done = subprocess.run(words, cwd=Path(__file__).parent.parent.parent, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (figures,) = map(json.loads, done.stdout.splitlines())
    assert figures["server"] == "recall-env" and figures["calls_per_s"] > 50 and figures["cpu_us_per_call"] > 10
