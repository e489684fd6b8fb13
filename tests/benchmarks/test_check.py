"""The benchmark of recall-env check: all of it runs, and the corpus is found."""

import pytest

from benchmarks.check import main, planted


@pytest.mark.slow
def test_every_planted_defect_is_a_row_and_is_found():
    rows = planted()
    assert len(rows) >= 40 and [row["defect"] for row in rows if not row["found"]] == []


@pytest.mark.slow
def test_the_quick_run_writes_nothing(tmp_path):
    assert main(["--quick", "--out", str(tmp_path)]) == 0 and list(tmp_path.iterdir()) == []
