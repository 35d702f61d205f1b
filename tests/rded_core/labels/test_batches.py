from zlib import crc32

import pytest
import torch

from rded_core.labels.batches import classify_in_passes, pack_batches, plan_batches, rows_per_pass
from rded_core.seeds import counter_generator


@pytest.mark.parametrize(
    ("num_images", "batch_size", "sizes"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (3, 5, [3]), (1, 5, [1]), (5, 1, [1] * 5)],
)
def test_batches_hold_every_image_once(num_images: int, batch_size: int, sizes: list[int]) -> None:
    batches = plan_batches(num_images, batch_size, counter_generator(0))
    assert [len(batch) for batch in batches] == sizes
    assert torch.cat(batches).sort().values.tolist() == list(range(num_images))


def test_the_generator_alone_decides_the_order() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (torch.cat(plan_batches(50, 8, counter_generator(0, epoch))) for epoch in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_order_does_not_depend_on_the_batch_size() -> None:
    orders = [torch.cat(plan_batches(50, size, counter_generator(0))) for size in (7, 50)]
    assert torch.equal(*orders)


def test_batches_are_pinned() -> None:
    # A change here means different numbers: bump ALGORITHM_VERSION and say so in CHANGELOG.md.
    assert crc32(torch.cat(plan_batches(100, 10, counter_generator(0, "batches", 0))).numpy()) == 700751863


@pytest.mark.parametrize(
    ("batch_size", "limit", "expected"),
    [(10, 256, 250), (100, 256, 200), (200, 256, 200), (10, 20, 20), (100, 20, 20), (50, 20, 17), (2, 3, 2), (7, 1, 1)],
)
def test_rows_per_pass_by_hand(batch_size: int, limit: int, expected: int) -> None:
    assert rows_per_pass(batch_size, limit) == expected


@pytest.mark.parametrize("batch_size", range(1, 60))
def test_passes_stay_within_the_limit_and_waste_little(batch_size: int) -> None:
    rows = rows_per_pass(batch_size, 20)
    assert 10 < rows <= 20 or (batch_size <= 20 and rows % batch_size == 0)
    assert -batch_size % rows <= 4 or batch_size <= 20


def test_groups_hold_every_batch_once_in_order_and_as_many_as_fit() -> None:
    sizes = [4, 2, 4, 2, 9, 11, 1, 4, 4]
    groups = pack_batches(sizes, 10)
    assert groups == [range(3), range(3, 4), range(4, 5), range(5, 6), range(6, 9)]
    assert [number for group in groups for number in group] == list(range(len(sizes)))
    assert pack_batches([], 10) == []


@pytest.mark.parametrize("num_rows", [1, 3, 4, 5, 8, 11])
def test_every_pass_has_the_same_shape_and_rows_keep_their_logits(num_rows: int) -> None:
    shown = torch.arange(float(num_rows)).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    shapes: list[torch.Size] = []
    reused = torch.empty(4, 2)

    def network(images: torch.Tensor) -> torch.Tensor:
        """Returns every result in the same memory, like a CUDA graph."""
        shapes.append(images.shape)
        return reused.copy_(images[:, 0, 0, :])

    logits = classify_in_passes(network, shown, 4)
    assert set(shapes) == {torch.Size([4, 3, 2, 2])}
    assert len(shapes) == -(-num_rows // 4)
    assert torch.equal(logits, shown[:, 0, 0, :])
