"""Trains a timm model on a distilled dataset, with timm's scheduler, and resumes from its last checkpoint.

python examples/train_timm.py DATASET [--model resnet18] [--checkpoint student.pt]; needs ``pip install timm``.
"""

import argparse
from pathlib import Path

import timm
import torch
from timm.scheduler.cosine_lr import CosineLRScheduler

from rded_core import DistilledDataset, kl_at_temperature

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("dataset", help="a run folder, a dataset folder, or the URL of either")
parser.add_argument("--model", default="resnet18")
parser.add_argument("--epochs", type=int, help="epochs to train; by default the recipe's")
parser.add_argument("--batch-size", type=int, help="by default the recorded batches")
parser.add_argument("--checkpoint", type=Path, default=Path("student.pt"))
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
options = parser.parse_args()

dataset = DistilledDataset(options.dataset)
loader = dataset.loader(options.batch_size, epochs=options.epochs, device=options.device)
model = timm.create_model(options.model, num_classes=len(dataset.classes)).to(options.device)
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
scheduler = CosineLRScheduler(optimiser, t_initial=loader.epochs, warmup_t=min(5, loader.epochs // 10))
parts = {"model": model, "optimiser": optimiser, "scheduler": scheduler, "loader": loader}

if options.checkpoint.is_file():
    saved = torch.load(options.checkpoint, map_location=options.device, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    print(f"resumed at epoch {loader.epoch + 1} of {loader.epochs}")

loss = torch.zeros(())
for epoch in range(loader.epoch, loader.epochs):
    model.train()
    for views, teacher_logits in loader:
        loss = kl_at_temperature(model(views), teacher_logits, temperature=dataset.recipe["temperature"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    scheduler.step(epoch + 1)
    torch.save({name: part.state_dict() for name, part in parts.items()}, options.checkpoint)
    print(f"epoch {epoch + 1} of {loader.epochs}: loss {loss.item():.4f}")
