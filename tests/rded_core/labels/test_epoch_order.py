"""Stored epochs are used as recorded, then repeated in seeded orders, all equally often."""

import pytest

from rded_core.labels.epoch_order import count_uses, stored_epoch


def walk(num_epochs: int, num_stored: int, seed: int = 0) -> list[int]:
    return [stored_epoch(epoch, num_stored=num_stored, seed=seed) for epoch in range(num_epochs)]


def test_first_round_follows_the_record() -> None:
    assert walk(5, 7) == [0, 1, 2, 3, 4]
    assert walk(7, 7) == list(range(7))


def test_every_round_uses_each_epoch_once_in_its_own_order() -> None:
    rounds = [walk(80, 20)[start : start + 20] for start in range(0, 80, 20)]
    assert all(sorted(part) == list(range(20)) for part in rounds)
    assert len({tuple(part) for part in rounds}) == 4


def test_seed_changes_only_the_later_rounds() -> None:
    assert walk(60, 20, seed=1) == walk(60, 20, seed=1)
    assert walk(60, 20, seed=1)[20:] != walk(60, 20, seed=2)[20:]
    assert walk(20, 20, seed=1) == walk(20, 20, seed=2)


@pytest.mark.parametrize(("num_epochs", "uses"), [(3, [1, 1, 1, 0]), (4, [1] * 4), (12, [3] * 4)])
def test_uses_are_counted(num_epochs: int, uses: list[int]) -> None:
    assert count_uses(num_epochs, num_stored=4, seed=9) == uses


def test_uses_of_stored_epochs_differ_by_at_most_one() -> None:
    uses = count_uses(47, num_stored=9, seed=3)
    assert sum(uses) == 47
    assert max(uses) - min(uses) == 1
