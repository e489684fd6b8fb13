"""Inputs that the fuzzer found worth keeping, played through the targets; and a short look for new ones (-m slow)."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("target", TARGETS)
def test_what_must_hold_holds_for_the_kept_corpus(target):
    inputs = sorted((CORPUS / target).iterdir())
    assert len(inputs) > 20
    for file in inputs:
        TARGETS[target](file.read_bytes())


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs the extra `fuzz`")
@pytest.mark.parametrize("target", TARGETS)
def test_a_minute_of_fuzzing_finds_nothing(target, tmp_path):
    program = Path(__file__).with_name("explore.py")
    done = subprocess.run([sys.executable, str(program), target, "60"], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
