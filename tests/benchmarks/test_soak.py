"""The soak of benchmarks/sandbox, two minutes of it: nothing lost, nothing mixed up, nothing growing."""

import pytest

from benchmarks.sandbox import soak
from benchmarks.sandbox.measures import apart


@pytest.mark.slow
def test_calls_are_accounted_for_and_nothing_grows_while_jails_are_killed():
    found = apart("soak", soak.Size(calls=400_000, episodes=20_000, kill_every_s=0.2, sample_every_s=0.2))
    kills = {kind: found.figures[f"kills, {kind}"].value for kind in ("episode", "zygote", "nsjail")}
    assert all(kills.values()), kills
    missed = [(claim.what, claim.value, claim.baseline) for claim in found.claims if not claim.met]
    assert missed == [], found.notes
