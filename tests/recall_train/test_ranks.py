"""Ranks: what each does, what only the first does, and what all of them learn of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recall_train.ranks import Ranks


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("total", [0, 1, 5, 16])
def test_shares_add_up_and_differ_by_one_at_most(monkeypatch, size, total):
    shares = []
    for rank in range(size):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(size))
        shares.append(Ranks().share(total))
    assert sum(shares) == total and max(shares) - min(shares) <= 1
    assert shares == sorted(shares, reverse=True)


def test_a_process_without_a_launcher_is_alone(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks = Ranks()
    assert (ranks.rank, ranks.size) == (0, 1)
    assert ranks.gather("x") == ["x"] and ranks.first(lambda: 3) == 3 and ranks.share(7) == 7
    with pytest.raises(ZeroDivisionError):
        ranks.first(lambda: 1 / 0)


def test_what_the_first_of_two_does_or_refuses_reaches_all(tmp_path):
    def start(rank: int) -> subprocess.Popen:
        variables = {"RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        words = [sys.executable, Path(__file__).with_name("ranks_rank.py"), tmp_path / "store"]
        return subprocess.Popen(words, env=os.environ | variables, stdout=subprocess.PIPE, text=True)

    said = [json.loads(process.communicate(timeout=120)[0]) for process in [start(rank) for rank in range(2)]]
    assert [one["first"] for one in said] == ["from 0"] * 2
    assert [one["ran"] for one in said] == [[0], []]
    assert [one["error"] for one in said] == ["rank 0 refuses"] * 2
    assert [one["gathered"] for one in said] == [[{"rank": 0}, {"rank": 1}]] * 2
    assert [one["share"] for one in said] == [3, 2]
