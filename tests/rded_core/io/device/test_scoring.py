"""Scoring whole images on a device: the same scores and selection as the plain path, for any batches."""

import pytest
import torch
from torch import Tensor, nn

from rded_core.errors import InputError
from rded_core.io.device import decoding as device_decoding
from rded_core.io.device.decoding import Packed
from rded_core.io.device.scoring import DeviceScorer, ScoredClass
from rded_core.io.formats.images import RejectedImage, encode_image
from rded_core.networks import build_network
from rded_core.networks.preprocessing import Preprocessing
from rded_core.patches.crops import cut_patches, draw_crop_boxes, normalise
from rded_core.patches.realism import pad_to_canvas, realism_scores
from rded_core.patches.selection import select_patches
from rded_core.seeds import seeded_init

PREPROCESSING = Preprocessing()
PATCH_PX, SIZE, NUM_CROPS = 16, 32, 3


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with seeded_init(0):
        network = build_network("convnet3", num_classes=4, size=SIZE).eval()
    with torch.no_grad():  # as spread out as a trained network's logits
        list(network.parameters())[-2].mul_(300.0)
    return network


def _load(row: int) -> tuple[Tensor, Tensor]:
    """Returns an image of a size drawn for the row, with boxes; every thirteenth row does not decode."""
    if row % 13 == 5:
        raise RejectedImage("truncated")
    generator = torch.Generator().manual_seed(row)
    height, width = (int(torch.randint(12, 70, (1,), generator=generator)) for _ in range(2))
    image = torch.randint(0, 256, (3, height, width), generator=generator).to(torch.uint8)
    return image, draw_crop_boxes(height, width, generator, num_crops=NUM_CROPS, scale=(0.08, 1.0))


def _plain_scores(network: nn.Module, rows: list[int], index: int) -> Tensor:
    scores: list[Tensor] = []
    for row in rows:
        image, boxes = _load(row)
        patches = normalise(cut_patches(image, boxes, PATCH_PX), PREPROCESSING.mean, PREPROCESSING.std)
        with torch.inference_mode():
            scores.append(realism_scores(network(pad_to_canvas(patches, SIZE)), torch.full((NUM_CROPS,), index)))
    return torch.stack(scores)


def _scorer(network: nn.Module, dtype: torch.dtype) -> DeviceScorer:
    return DeviceScorer(
        network, PREPROCESSING, patch_px=PATCH_PX, size=SIZE, num_crops=NUM_CROPS, num_chosen=6, dtype=dtype
    )


def _score(network: nn.Module, classes: list[tuple[int, list[int]]], dtype: torch.dtype) -> list[ScoredClass[int]]:
    scorer = _scorer(network, dtype)
    return list(scorer.score(classes, _load, workers=2))


CLASSES = [(0, list(range(3))), (3, list(range(100, 230))), (1, []), (2, [5, 18, 31])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_and_selection_equal_the_plain_path(network: nn.Module, dtype: torch.dtype) -> None:
    results = _score(network, CLASSES, dtype)
    assert [each.class_index for each in results] == [0, 3, 1, 2]
    for (index, rows), each in zip(CLASSES, results, strict=True):
        sound = [row for row in rows if row % 13 != 5]
        assert each.rows == sound
        assert [(row, error.reason) for row, error in each.refused] == [
            (row, "truncated") for row in rows if row % 13 == 5
        ]
        if not sound:
            assert each.scores.numel() == 0
            continue
        expected = _plain_scores(network, sound, index)
        torch.testing.assert_close(each.scores, expected, rtol=3e-6, atol=3e-6 if dtype == torch.float32 else 0.2)
        assert torch.equal(each.boxes, torch.stack([_load(row)[1] for row in sound]))
        num_chosen = min(6, len(sound))
        chosen, wanted = select_patches(each.scores, num_chosen), select_patches(expected, num_chosen)
        assert torch.equal(chosen.candidates, wanted.candidates)
        assert torch.equal(chosen.crops, wanted.crops)
        torch.testing.assert_close(chosen.scores, wanted.scores, rtol=3e-6, atol=3e-6)


def test_fast_scores_stay_rounded_if_they_do_not_decide(network: nn.Module) -> None:
    fast, exact = (_score(network, CLASSES[1:2], dtype)[0].scores for dtype in (torch.bfloat16, torch.float32))
    assert ((fast - exact).abs() > 1e-5).any()


def test_large_images_are_cut_on_the_cpu(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _score(network, CLASSES[:2], torch.float32)
    monkeypatch.setattr(device_decoding, "MAX_SIDE_PX", 40)
    for result, before in zip(_score(network, CLASSES[:2], torch.float32), expected, strict=True):
        torch.testing.assert_close(result.scores, before.scores, rtol=3e-6, atol=3e-6)


def test_encoded_candidates_are_decoded_together(network: nn.Module) -> None:
    def encoded(row: int) -> tuple[Tensor | bytes, Tensor]:
        image, boxes = _load(row)
        if row % 3 == 1:
            return image, boxes
        data = encode_image(image, "jpeg", 95)
        return (data[:40] if row % 13 == 7 else data), boxes

    scorer = _scorer(network, torch.float32)
    result = next(scorer.score([(1, list(range(40)))], encoded, workers=2))
    broken = [row for row in range(40) if row % 13 == 5 or (row % 13 == 7 and row % 3 != 1)]
    assert sorted(row for row, _ in result.refused) == broken
    assert result.rows == [row for row in range(40) if row not in broken]
    assert torch.equal(result.boxes, torch.stack([_load(row)[1] for row in result.rows]))


def test_a_fast_pass_that_is_far_off_is_replaced_by_float32(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = _score(network, CLASSES[1:2], torch.float32)[0]
    scorer = _scorer(network, torch.bfloat16)
    monkeypatch.setattr(scorer, "fast", lambda patches: 5.0 * network(pad_to_canvas(patches, SIZE)))
    result = next(scorer.score(CLASSES[1:2], _load, workers=1))
    assert "class 3: the fast scores are far off" in caplog.text
    assert torch.equal(result.scores, expected.scores)
    assert len(result.refused) == len(expected.refused)


def test_scores_do_not_depend_on_other_classes_or_workers(network: nn.Module) -> None:
    together = _score(network, CLASSES, torch.bfloat16)
    scorer = _scorer(network, torch.bfloat16)
    alone = next(scorer.score(CLASSES[1:2], _load, workers=5))
    assert torch.equal(alone.scores, together[1].scores)


def test_pixels_of_a_class_are_not_kept(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    finish = DeviceScorer._finish  # pyright: ignore[reportPrivateUsage]

    def watched(self: DeviceScorer, class_scores: object, parts: list[Packed[int]], *rest: object) -> object:
        kept.append(sum(part.images.numel() + len(part.large) for part in parts))
        return finish(self, class_scores, parts, *rest)  # pyright: ignore

    monkeypatch.setattr(DeviceScorer, "_finish", watched)
    _score(network, CLASSES[1:2], torch.float32)
    assert kept == [0]


class _TurnsToFloat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.first(images).float()).mean(dim=(2, 3))


def test_a_network_that_cannot_run_in_bfloat16_is_an_error() -> None:
    with pytest.raises(InputError, match=r"the observer does not run in bfloat16 \(.*\); pass --precision float32"):
        _scorer(_TurnsToFloat().eval(), torch.bfloat16)
    assert _score(_TurnsToFloat().eval(), CLASSES[:1], torch.float32)[0].scores.shape == (3, NUM_CROPS)
