"""The report page: warnings stand out, other notes do not."""

from rded_core.io.report.page import _notes  # pyright: ignore[reportPrivateUsage]


def test_notes_that_ask_for_nothing_are_not_highlighted() -> None:
    found = _notes(["images are missing", "few <candidates>"], ["few <candidates>"])
    assert found == '<p class="warn">images are missing</p><p class="note">few &lt;candidates&gt;</p>'
