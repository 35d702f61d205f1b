"""The published algorithm in plain PyTorch, as one would write it from the paper: the baseline of the comparison.

ImageFolder and ToTensor, one RandomResizedCrop per crop, DataLoader workers, an eager forward pass of every padded
crop, the best crop of each image, the best ones of a class, tiled and saved. Only the network's definition is ours.

    python -m benchmarks.reference JOB
"""

from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Normalize, Pad, RandomResizedCrop, ToTensor

from benchmarks.job import Costs, Job, read_job
from rded_core.networks import build_network

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CROPS_PER_FORWARD = 100


class CropEach:
    """Transform from an image to a stack of its normalised patches."""

    def __init__(self, job: Job) -> None:
        self.num_crops = job.num_crops
        patch_px = job.size // job.factor
        crop = RandomResizedCrop(patch_px, scale=(0.08, 1.0), ratio=(1.0, 1.0), antialias=True)
        self.transform = Compose([crop, Normalize(MEAN, STD)])
        self.to_tensor = ToTensor()

    def __call__(self, image: Image.Image) -> Tensor:
        whole = self.to_tensor(image)
        return torch.stack([self.transform(whole) for _ in range(self.num_crops)])


def distil(job: Job, costs: Costs) -> None:
    """Runs the job class by class."""
    dataset = ImageFolder(job.source, transform=CropEach(job))
    network = build_network(job.arch, num_classes=len(dataset.classes), size=job.size)
    network.load_state_dict(load_file(job.weights))
    network.eval()
    for index in range(len(dataset.classes)):
        rows = [row for row, target in enumerate(dataset.targets) if target == index][: job.num_candidates]
        with costs.stage("score"):
            patches, scores = score_class(job, dataset, rows, index, network)
        with costs.stage("tile"):
            save_class(job, patches, scores, index)


def score_class(
    job: Job, dataset: ImageFolder, rows: list[int], index: int, network: nn.Module
) -> tuple[Tensor, Tensor]:
    """Returns each image's best patch and its score, on the CPU; the network runs on its own device."""
    device = next(network.parameters()).device
    patch_px = job.size // job.factor
    pad = Pad((job.size - patch_px) // 2)
    kept: list[Tensor] = []
    scores: list[Tensor] = []
    loader = DataLoader(Subset(dataset, rows), batch_size=CROPS_PER_FORWARD // job.num_crops, num_workers=job.cores)
    with torch.no_grad():
        for images, _ in loader:
            logits = network(pad(images.flatten(0, 1).to(device)))
            classes = torch.full((len(logits),), index, device=device)
            realism = -functional.cross_entropy(logits, classes, reduction="none").cpu()
            best = realism.view(len(images), job.num_crops).max(dim=1)
            kept.append(images[torch.arange(len(images)), best.indices])
            scores.append(best.values)
    return torch.cat(kept), torch.cat(scores)


def save_class(job: Job, patches: Tensor, scores: Tensor, index: int) -> None:
    """Tiles the best patches of a class and saves them."""
    order = scores.argsort(descending=True)[: job.ipc * job.factor**2]
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    best = (patches[order] * std + mean).clamp(0, 1)
    folder = Path(job.out, f"{index:05d}")
    folder.mkdir(parents=True)
    for number in range(job.ipc):
        cells = best[number :: job.ipc].unflatten(0, (job.factor, job.factor))
        image = torch.cat([torch.cat(list(row), dim=2) for row in cells], dim=1)
        pixels = (image.permute(1, 2, 0).numpy() * 255).astype("uint8")
        Image.fromarray(pixels).save(folder / f"{number:05d}.jpg", quality=90)


if __name__ == "__main__":
    spent = Costs()
    distil(read_job(), spent)
    spent.print()
