"""The 30 quirks of the original ReCall: what it did, what the `recall` dialect does, and how the default fixes it.

Each row of the ledger runs its own check. "Not kept" means that no dialect can or should: the row says why, and checks
what holds instead. What is byte for byte is held by test_recall_dialect.py and test_recall_inference.py.
"""

import pytest
import quirks_of_calls  # noqa: F401 (fills the ledger)
import quirks_of_episodes  # noqa: F401
from quirks import LEDGER, Player

ROWS = sorted(LEDGER, key=lambda row: row.number)


@pytest.fixture
def play(jail):
    player = Player(jail)
    yield player
    player.close()


def test_the_ledger_is_whole():
    assert [row.number for row in ROWS] == list(range(1, 31))
    assert all(row.original and row.recall and row.default for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}-{row.original[:40]}")
def test_a_quirk_is_in_recall_and_fixed_by_default(row, play):
    row.check(play)
