"""One class distilled by plain loops from the published description, against the kernels."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import Compose, Normalize, Pad, RandomResizedCrop, ToTensor
from torchvision.transforms.v2.functional import resize

from rded_core.networks import build_network
from rded_core.networks.canvas import CanvasNetwork
from rded_core.patches.crops import cut_patch, cut_patches, draw_crop_boxes
from rded_core.patches.realism import score_patches
from rded_core.patches.selection import select_patches
from rded_core.patches.tiling import cell_shapes, rank_grid, tile_patches
from rded_core.seeds import counter_generator, counter_seed, seeded_init

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASS_INDEX, NUM_CLASSES, NUM_CROPS, IPC = 3, 10, 5, 2


@dataclass(frozen=True)
class Setting:
    """A CIFAR-like set without mosaic, and one of larger photos tiled two by two."""

    size: int
    factor: int
    network: str
    shapes: tuple[tuple[int, int], ...]

    @property
    def num_patches(self) -> int:
        return IPC * self.factor**2


SETTINGS = [
    Setting(size=32, factor=1, network="convnet3", shapes=((32, 32),) * 12),
    Setting(size=64, factor=2, network="convnet4", shapes=((80, 100), (64, 64), (45, 120), (97, 33)) * 3),
    Setting(size=64, factor=2, network="resnet18", shapes=((75, 60), (70, 110)) * 5),
]


@dataclass(frozen=True)
class Distilled:
    """Result of one class: scores by candidate and crop, kept candidates and crops by rank, uint8 mosaics."""

    scores: Tensor
    candidates: list[int]
    crops: list[int]
    images: np.ndarray


def candidates_of(setting: Setting) -> list[Tensor]:
    """Returns smooth pictures, since crops of plain noise all score alike."""
    generator = counter_generator(0, "candidates")
    coarse = torch.randint(0, 256, (len(setting.shapes), 3, 4, 4), generator=generator, dtype=torch.uint8)
    return [resize(image, list(shape)) for image, shape in zip(coarse, setting.shapes, strict=True)]


def observer_of(setting: Setting) -> nn.Module:
    """Returns an untrained network whose BatchNorm has seen images, in eval mode."""
    with seeded_init(0):
        network = build_network(setting.network, num_classes=NUM_CLASSES, size=setting.size).train()
        with torch.no_grad():
            network(torch.randn(8, 3, setting.size, setting.size))
    return network.eval()


def distil_plainly(setting: Setting, network: nn.Module) -> Distilled:
    """Runs the method plainly: global seed, whole float image, one crop at a time, nothing from rded_core."""
    patch_px = setting.size // setting.factor
    crop = Compose([ToTensor(), RandomResizedCrop(patch_px, scale=(0.08, 1.0), ratio=(1.0, 1.0), antialias=True)])
    prepare = Compose([Normalize(MEAN, STD), Pad((setting.size - patch_px) // 2)])
    scores, patches = [], []
    for item, image in enumerate(candidates_of(setting)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(counter_seed(0, "crops", item))
            patches.append([crop(image.permute(1, 2, 0).numpy()) for _ in range(NUM_CROPS)])
        with torch.no_grad():
            logits = network(torch.stack([prepare(patch) for patch in patches[-1]]))
        scores.append([-float(nn.CrossEntropyLoss()(row[None], torch.tensor([CLASS_INDEX]))) for row in logits])
    best = [int(np.argmax(row)) for row in scores]
    order = sorted(range(len(scores)), key=lambda item: -scores[item][best[item]])[: setting.num_patches]
    kept = [patches[item][best[item]].permute(1, 2, 0).numpy() for item in order]
    images = np.zeros((IPC, setting.size, setting.size, 3), np.uint8)
    for rank, patch in enumerate(kept):
        quadrant, image = divmod(rank, IPC)
        top, left = (patch_px * place for place in divmod(quadrant, setting.factor))
        images[image, top : top + patch_px, left : left + patch_px] = (patch * 255.0).astype(np.uint8)
    return Distilled(torch.tensor(scores), order, [best[item] for item in order], images)


def distil_with_kernels(setting: Setting, network: nn.Module) -> Distilled:
    images, patch_px = candidates_of(setting), setting.size // setting.factor
    boxes = [
        draw_crop_boxes(*image.shape[1:], counter_generator(0, "crops", i), num_crops=NUM_CROPS, scale=(0.08, 1.0))
        for i, image in enumerate(images)
    ]
    patches = torch.cat([cut_patches(image, box, patch_px) for image, box in zip(images, boxes, strict=True)])
    targets = torch.full((len(patches),), CLASS_INDEX)
    observer = CanvasNetwork(network, patch_px=patch_px, size=setting.size)
    scores = score_patches(observer, patches, targets, mean=MEAN, std=STD).view(-1, NUM_CROPS)
    selected = select_patches(scores, setting.num_patches)
    candidates, crops = selected.candidates.tolist(), selected.crops.tolist()
    shapes = cell_shapes(setting.size, setting.factor)
    mosaics = []
    for ranks in rank_grid(IPC, setting.factor).tolist():
        chosen = [(images[candidates[rank]], boxes[candidates[rank]][crops[rank]]) for rank in ranks]
        cells = [cut_patch(image, box, *shape) for (image, box), shape in zip(chosen, shapes, strict=True)]
        mosaics.append(tile_patches(cells, setting.factor).permute(1, 2, 0).numpy())
    return Distilled(scores, candidates, crops, np.stack(mosaics))


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda setting: f"{setting.network}-{setting.size}px")
def pair(request: pytest.FixtureRequest) -> tuple[Distilled, Distilled]:
    network = observer_of(request.param)
    return distil_plainly(request.param, network), distil_with_kernels(request.param, network)


def test_scores_agree_within_tolerance(pair: tuple[Distilled, Distilled]) -> None:
    plain, ours = pair
    assert plain.scores.std() > 1e-3
    torch.testing.assert_close(ours.scores, plain.scores, rtol=0, atol=3e-6)


def test_the_same_patches_are_kept_in_the_same_order(pair: tuple[Distilled, Distilled]) -> None:
    plain, ours = pair
    assert ours.candidates == plain.candidates
    assert ours.crops == plain.crops


def test_mosaics_are_identical(pair: tuple[Distilled, Distilled]) -> None:
    plain, ours = pair
    assert np.array_equal(ours.images, plain.images)
