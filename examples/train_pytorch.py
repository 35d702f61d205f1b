"""Trains a student on a distilled dataset: ``python examples/train_pytorch.py DATASET [--val IMAGE_FOLDER]``."""

import argparse

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from rded_core import DistilledDataset, build_network, kl_at_temperature

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("dataset", help="a run folder, a dataset folder, or the URL of either")
parser.add_argument("--val", help="validation images: a folder of class folders")
parser.add_argument(
    "--student", default="convnet3", help="convnet3, resnet18_small or any torchvision classifier (default convnet3)"
)
parser.add_argument("--epochs", type=int, help="epochs to train; by default the recipe's")
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
options = parser.parse_args()

dataset = DistilledDataset(options.dataset)
size, temperature = dataset.recipe["size"], dataset.recipe["temperature"]
student = build_network(options.student, num_classes=len(dataset.classes), size=size).to(options.device)
loader = dataset.loader(epochs=options.epochs, device=options.device)
optimiser = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.01)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, loader.epochs)

loss = torch.zeros(())
for epoch in range(loader.epochs):
    for views, teacher_logits in loader:
        loss = kl_at_temperature(student(views), teacher_logits, temperature=temperature)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    schedule.step()
    print(f"epoch {epoch + 1} of {loader.epochs}: loss {loss.item():.4f}")

if options.val:
    mean, std = dataset.mean_and_std
    steps = [v2.ToImage(), v2.Resize(size), v2.CenterCrop(size), v2.ToDtype(torch.float32, scale=True)]
    images = ImageFolder(options.val, v2.Compose([*steps, v2.Normalize(list(mean), list(std))]))
    index_of = {label.folder: label.index for label in dataset.classes}
    own = torch.tensor([index_of[name] for name in images.classes])  # ImageFolder numbers the classes in its own order
    student.eval()
    with torch.inference_mode():
        right = [student(views.to(options.device)).argmax(1).cpu() == own[y] for views, y in DataLoader(images, 100)]
    print(f"top-1 {torch.cat(right).float().mean().item():.1%} of {len(images)} images")
