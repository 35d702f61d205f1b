"""Tables and pages that sum up a run."""

import pytest

from rded_core.text.summaries import accuracy_rows


@pytest.mark.parametrize(("num_classes", "is_shown"), [(2, False), (5, False), (6, True), (1000, True)])
def test_top5_is_shown_if_it_can_fail(num_classes: int, is_shown: bool) -> None:
    measure = {"mean": 0.5, "std": None}
    summary = dict.fromkeys(("last_top1", "best_top1", "last_top5"), measure)
    (row,) = accuracy_rows({"num_classes": num_classes, "num_seeds": 1, "sets": {"distilled": summary}})
    assert ("top-5 last" in row) is is_shown
    assert row["top-1 last"] == "50.0 %"
