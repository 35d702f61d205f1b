import math

import pytest
import torch
from torch import Tensor, nn

from rded_core.networks.canvas import CanvasNetwork
from rded_core.patches.realism import classify, pad_to_canvas, realism_scores, score_patches
from rded_core.seeds import counter_generator

MEAN, STD = (0.5, 0.4, 0.3), (0.1, 0.2, 0.25)


class ChannelSums(nn.Module):
    """Logits are the sums of the three channels over all pixels."""

    def forward(self, images: Tensor) -> Tensor:
        return images.sum(dim=(2, 3))


def test_scores_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0], [math.log(3.0), 0.0]])
    scores = realism_scores(logits, torch.tensor([1, 0, 1]))
    torch.testing.assert_close(scores, torch.tensor([0.5, 0.75, 0.25]).log())


def test_scores_are_log_probabilities() -> None:
    logits = 20.0 * torch.randn(50, 7, generator=counter_generator(0))
    scores = torch.stack([realism_scores(logits, torch.full((50,), k)) for k in range(7)])
    assert (scores <= 0.0).all()
    torch.testing.assert_close(scores.exp().sum(dim=0), torch.ones(50))
    torch.testing.assert_close(realism_scores(logits + 5.0, torch.zeros(50, dtype=torch.int64)), scores[0])


def test_half_precision_logits_are_scored_in_single_precision() -> None:
    logits = torch.randn(4, 9, generator=counter_generator(0)).to(torch.bfloat16)
    scores = realism_scores(logits, torch.arange(4))
    assert scores.dtype == torch.float32
    assert torch.equal(scores, realism_scores(logits.float(), torch.arange(4)))


def on_canvas(patch_px: int, size: int) -> CanvasNetwork:
    return CanvasNetwork(ChannelSums(), patch_px=patch_px, size=size)


@pytest.mark.parametrize(
    ("height", "width", "size", "top", "left"), [(2, 2, 4, 1, 1), (3, 3, 6, 1, 1), (1, 2, 6, 2, 2), (5, 5, 5, 0, 0)]
)
def test_patch_sits_in_the_centre_of_zeros(height: int, width: int, size: int, top: int, left: int) -> None:
    patches = torch.rand(2, 3, height, width, generator=counter_generator(0)) + 1.0
    canvas = pad_to_canvas(patches, size)
    assert canvas.shape == (2, 3, size, size)
    assert torch.equal(canvas[:, :, top : top + height, left : left + width], patches)
    assert torch.count_nonzero(canvas) == patches.numel()


def test_the_canvas_is_the_mean_colour() -> None:
    """Padding before normalising would add minus mean / std for each pixel around the patch."""
    mean_colour = torch.tensor(MEAN).view(3, 1, 1).expand(1, 3, 2, 2)
    scores = score_patches(on_canvas(2, 8), mean_colour, torch.tensor([0]), mean=MEAN, std=STD)
    torch.testing.assert_close(scores, torch.tensor([-math.log(3.0)]))


def test_patch_scores_by_hand() -> None:
    # One pixel, normalised to (1, -1, 2) on a canvas of zeros.
    patch = torch.tensor([0.6, 0.2, 0.8]).view(1, 3, 1, 1)
    scores = score_patches(on_canvas(1, 4), patch.expand(3, 3, 1, 1), torch.tensor([0, 1, 2]), mean=MEAN, std=STD)
    torch.testing.assert_close(scores, torch.tensor([1.0, -1.0, 2.0]).log_softmax(0))


def test_scores_follow_the_order_of_their_patches() -> None:
    patches, order = torch.rand(4, 3, 5, 5, generator=counter_generator(0)), torch.tensor([3, 1, 0, 2])
    targets = torch.tensor([0, 1, 2, 0])
    scores = score_patches(on_canvas(5, 8), patches, targets, mean=MEAN, std=STD)
    permuted = score_patches(on_canvas(5, 8), patches[order], targets[order], mean=MEAN, std=STD)
    torch.testing.assert_close(permuted, scores[order])
    assert scores.unique().numel() == 4


def test_scoring_and_classifying_make_no_graph_and_leave_the_mode_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 4), nn.Flatten()).eval()
    images = torch.rand(2, 3, 4, 4, generator=counter_generator(0))
    with torch.enable_grad():
        scores = score_patches(network, images, torch.tensor([0, 1]), mean=MEAN, std=STD)
        logits = classify(network, images, mean=MEAN, std=STD)
    assert not scores.requires_grad
    assert not logits.requires_grad
    assert not network.training


def test_classify_normalises_and_returns_single_precision() -> None:
    image = torch.tensor([0.6, 0.2, 0.8]).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    logits = classify(ChannelSums(), image, mean=MEAN, std=STD)
    torch.testing.assert_close(logits, torch.tensor([4.0, -4.0, 8.0]).expand(2, 3))
    assert logits.dtype == torch.float32
    half = classify(ChannelSums().bfloat16(), image.bfloat16(), mean=MEAN, std=STD)
    assert half.dtype == torch.float32
