"""The benchmark of ids runs, at a tiny size, and leaves Gymnasium's registry as it was."""

import json

from gymnasium.envs.registration import registry

from benchmarks.registry import main


def test_it_prints_its_figures_and_takes_its_ids_back(capsys):
    before = dict(registry)
    assert main(["--points", "50"]) in (0, 1)
    measured = json.loads(capsys.readouterr().out)
    assert measured["points"] == 50 and measured["register_s"] > 0 and measured["make_s"] > 0
    assert dict(registry) == before
