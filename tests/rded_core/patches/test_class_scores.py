"""Scores of a class in two passes: exact if the selection depends on them."""

import pytest
import torch
from torch import Tensor

from rded_core.patches.class_scores import ClassScores
from rded_core.patches.realism import realism_scores
from rded_core.patches.selection import select_patches

NUM_CLASSES = 4


def _exact(patches: Tensor) -> Tensor:
    weights = torch.randn(3 * 8 * 8, NUM_CLASSES, generator=torch.Generator().manual_seed(5))
    return patches.flatten(1) @ weights / 3.0


def _rounded(patches: Tensor) -> Tensor:
    return _exact(patches.to(torch.bfloat16).float()).to(torch.bfloat16).float()


def _patches(num: int) -> Tensor:
    return torch.randn(num, 3, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def _collect(fast: object, exact: object, patches: Tensor, *, num_chosen: int = 10, batch: int = 16) -> Tensor | None:
    scores = ClassScores(2, fast, exact, exact_batch=8, num_chosen=num_chosen)  # pyright: ignore[reportArgumentType]
    for part in patches.split(batch):
        padded = torch.cat([part, part[:1].expand(batch - len(part), -1, -1, -1, -1)])
        scores.add(padded, len(part))
    return scores.finish()


def test_one_exact_pass_scores_all_patches() -> None:
    patches = _patches(37)
    classes = torch.full((37 * 3,), 2)
    expected = realism_scores(_exact(patches.flatten(0, 1)), classes).view(37, 3)
    found = _collect(_exact, None, patches)
    assert found is not None
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_selection_equals_that_of_the_exact_pass() -> None:
    patches = _patches(400)
    passes = [(_exact, None), (_rounded, _exact), (_rounded, None)]
    exact, found, fast = (_collect(*networks, patches, num_chosen=100) for networks in passes)
    assert exact is not None and found is not None and fast is not None
    chosen, expected = select_patches(found, 100), select_patches(exact, 100)
    assert not torch.equal(select_patches(fast, 100).candidates, expected.candidates), "rounding matters here"
    assert torch.equal(chosen.candidates, expected.candidates)
    assert torch.equal(chosen.crops, expected.crops)
    torch.testing.assert_close(chosen.scores, expected.scores, rtol=0, atol=3e-6)


def test_most_patches_are_scored_once() -> None:
    seen: list[int] = []

    def counted(patches: Tensor) -> Tensor:
        seen.append(len(patches))
        return _exact(patches)

    _collect(_rounded, counted, _patches(100))
    assert 0 < sum(seen) < 60
    assert set(seen) == {8}, "one shape"


@pytest.mark.parametrize("offset", [2.0, float("nan")])
def test_fast_pass_that_is_far_off_is_rejected(offset: float) -> None:
    def wrong(patches: Tensor) -> Tensor:
        return _exact(patches) * (1.0 + offset)

    assert _collect(wrong, _exact, _patches(40)) is None
