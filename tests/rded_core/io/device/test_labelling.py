"""Labelling on a device whose memory fills up: the same views, the same logits, in passes of fewer rows."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from rded_core.errors import InputError
from rded_core.io.device import uploads
from rded_core.io.device.labelling import Batch, TeacherPasses
from rded_core.labels.batches import classify_in_passes, rows_per_pass
from rded_core.labels.views import ViewRecipe, apply_views, draw_views, join_views
from rded_core.text.wording import counted

CPU = torch.device("cpu")
NUM_IMAGES, SIZE, NUM_CLASSES = 30, 16, 5
STYLE = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}
RECIPE = ViewRecipe(size=SIZE, factor=2, crop_scale_min=0.5, flip=True, mix="cutmix")
TOLERANCE = 1e-5
"""Maximum difference of logits (with a spread of about 1) from passes of two shapes; zero if arithmetic is by row."""

WEIGHT = torch.randn(3 * SIZE * SIZE, NUM_CLASSES, generator=torch.Generator().manual_seed(1)) / 30.0


def _by_row(views: Tensor) -> Tensor:
    return torch.stack([(row.reshape(-1, 1) * WEIGHT).sum(dim=0) for row in views])


def _together(views: Tensor) -> Tensor:
    return views.flatten(1) @ WEIGHT


def _limited(network: Callable[[Tensor], Tensor], limit: int, seen: list[int]) -> Callable[[Tensor], Tensor]:
    def refusing(views: Tensor) -> Tensor:
        seen.append(len(views))
        if len(views) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of")
        return network(views)

    return refusing


def _images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (NUM_IMAGES, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)


def _batches(*sizes: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(7)
    return [
        (torch.randperm(NUM_IMAGES, generator=generator)[:size], draw_views(RECIPE, size, generator)) for size in sizes
    ]


def _plain(network: Callable[[Tensor], Tensor], batches: list[Batch], rows: int) -> Tensor:
    """All views at once, in passes of `rows` rows, as on a device with enough memory."""
    images = _images()[torch.cat([chosen for chosen, _ in batches])]
    return classify_in_passes(network, apply_views(images, join_views([views for _, views in batches]), **STYLE), rows)


def _lines(*sizes: int) -> list[str]:
    moved = "the memory of cpu is full; moving the images to label off it"
    return [moved] + [
        f"the memory of cpu is full (2.00 GiB more requested); labelling in passes of {counted(now, 'row')} instead of "
        f"{before}; logits may differ in their last bits from here on"
        for before, now in pairwise(sizes)
    ]


@pytest.mark.parametrize("sizes", [(10, 10), (23,), (4, 4, 4, 3)])
def test_passes_are_unchanged_if_everything_fits(sizes: tuple[int, ...], caplog: pytest.LogCaptureFixture) -> None:
    batches, seen = _batches(*sizes), list[int]()
    rows = rows_per_pass(max(sizes), 20)
    logits = TeacherPasses(_images(), CPU).label(_limited(_together, 20, seen), batches, rows, **STYLE)
    assert torch.equal(logits, _plain(_together, batches, rows))
    assert set(seen) == {rows}
    assert not caplog.records


@pytest.mark.parametrize(
    ("sizes", "limit", "halved"), [((10, 10), 12, (20, 10)), ((23,), 3, (12, 6, 3)), ((7,), 1, (7, 4, 2, 1))]
)
@pytest.mark.parametrize(("network", "tolerance"), [(_together, TOLERANCE), (_by_row, 0.0)], ids=["matrix", "by row"])
def test_fewer_rows_give_the_same_logits(
    caplog: pytest.LogCaptureFixture,
    sizes: tuple[int, ...],
    limit: int,
    halved: tuple[int, ...],
    network: Callable[[Tensor], Tensor],
    tolerance: float,
) -> None:
    batches, passes, seen = _batches(*sizes), TeacherPasses(_images(), CPU), list[int]()
    for _ in range(2):
        logits = passes.label(_limited(network, limit, seen), batches, halved[0], **STYLE)
        torch.testing.assert_close(logits, _plain(network, batches, halved[0]), rtol=tolerance, atol=tolerance)
    assert caplog.messages == _lines(*halved), "the second call changes nothing"
    assert seen[: len(halved) + 1] == [halved[0], *halved], "first with the images moved off, then in halves"
    assert set(seen[len(halved) + 1 :]) == {halved[-1]}


def test_recorded_batches_get_their_views_separately_if_a_pass_holds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    show = TeacherPasses._show  # pyright: ignore[reportPrivateUsage]

    def watched(self: TeacherPasses, batches: list[Batch], **style: object) -> Tensor:
        sizes.append(sum(len(rows) for rows, _ in batches))
        return show(self, batches, **style)  # pyright: ignore

    monkeypatch.setattr(TeacherPasses, "_show", watched)
    TeacherPasses(_images(), CPU).label(_limited(_together, 5, []), _batches(5, 5, 5, 5), 20, **STYLE)
    assert sizes == [20, 20, 10, 5, 5, 5, 5]


def test_images_leave_the_device_before_anything_is_halved(caplog: pytest.LogCaptureFixture) -> None:
    passes, batches, failures = TeacherPasses(_images(), CPU), _batches(10, 10), iter([True])

    def network(views: Tensor) -> Tensor:
        if next(failures, False):
            raise torch.OutOfMemoryError("full")
        return _together(views)

    assert torch.equal(passes.label(network, batches, 20, **STYLE), _plain(_together, batches, 20))
    assert caplog.messages == _lines()
    assert not passes.is_kept


def test_images_that_do_not_fit_the_device_stay_where_they_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class _Images(Tensor):
        def to(self, *_: object, **__: object) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.50 GiB. GPU 0 has a total of")

    images, released = _images().as_subclass(_Images), list[str]()
    monkeypatch.setattr(uploads, "release", lambda device: released.append(str(device)))
    assert uploads.keep_on_device(images, torch.device("cuda", 1)) is images
    assert released == ["cuda:1"]
    assert caplog.messages == [
        "the memory of cuda:1 is full (3.50 GiB more requested); uploading images batch by batch"
    ]


def test_one_row_that_does_not_fit_is_an_error_with_a_remedy() -> None:
    with pytest.raises(InputError) as caught:
        TeacherPasses(_images(), CPU).label(_limited(_together, 0, []), _batches(10), 10, **STYLE)
    assert str(caught.value) == (
        "labelling in passes of 1 row does not fit the memory of cpu (2.00 GiB more requested); free "
        "memory on the device, or give another --device or --device cpu, or a smaller --teacher"
    )
