"""The loader's cost for a student: its views and labels, compared with the same ones from tensors in memory.

    python -m benchmarks.loader DATASET [--epochs 3] [--repeats 5] [--student convnet3] [--num-workers 0] [--device cpu]

Both sides run the same training step on the same batches, alternately; the medians of the repeats are compared.
"""

import argparse
import statistics
import time
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn

from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.networks import build_network
from rded_core.seeds import seeded_init
from rded_core.training.loop import split_decay, train_epoch
from rded_core.training.losses import kl_at_temperature

Batches = Iterable[tuple[Tensor, Tensor]]


def make_student(name: str, dataset: DistilledDataset, device: str) -> nn.Module:
    """Returns the student, with the same initial weights each time."""
    with seeded_init(0):
        return build_network(name, num_classes=len(dataset.classes), size=dataset.recipe["size"]).to(device)


def time_epochs(student: nn.Module, epochs: Iterable[Batches], *, temperature: float) -> float:
    """Trains on some epochs and returns the seconds it took."""
    optimiser = torch.optim.AdamW(split_decay(student, 0.01), lr=1e-3)
    loss = partial(kl_at_temperature, temperature=temperature)
    started = time.perf_counter()
    for batches in epochs:
        train_epoch(student, optimiser, batches, loss=loss, learning_rate=lambda _: 1e-3)
    return time.perf_counter() - started


def main() -> None:
    """Prints each side's time per epoch, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--epochs", type=int, default=3, help="epochs per timing")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--student", default="convnet3")
    parser.add_argument("--batch-size", type=int, help="by default the recorded batches")
    parser.add_argument("--num-workers", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    dataset = DistilledDataset(options.dataset)
    temperature = float(dataset.recipe["temperature"])
    settings = {"num_workers": options.num_workers, "device": options.device}
    total = options.epochs * (options.repeats + 1)
    loader = dataset.loader(options.batch_size, epochs=total, **settings)
    in_memory = dataset.loader(options.batch_size, epochs=total, **settings)
    seconds: dict[str, list[float]] = {"loader": [], "memory": []}
    for _ in range(options.repeats + 1):
        held = [list(in_memory) for _ in range(options.epochs)]
        sides: dict[str, Iterable[Batches]] = {"memory": held, "loader": (loader for _ in range(options.epochs))}
        for side, epochs in sides.items():
            student = make_student(options.student, dataset, options.device)
            seconds[side].append(time_epochs(student, epochs, temperature=temperature) / options.epochs)
    medians = {side: statistics.median(times[1:]) for side, times in seconds.items()}  # the first is the warm-up
    pairs = [ours / theirs for ours, theirs in zip(seconds["loader"][1:], seconds["memory"][1:], strict=True)]
    print(f"{len(dataset)} images, {options.student}, {options.repeats} x {options.epochs} epochs, {settings}")
    for side, median in medians.items():
        print(
            f"{side:>8}: {median * 1000:9.1f} ms per epoch  ({', '.join(f'{s * 1000:.1f}' for s in seconds[side][1:])})"
        )
    print(f"   ratio: {medians['loader'] / medians['memory']:.3f} of medians, {statistics.median(pairs):.3f} in pairs")


if __name__ == "__main__":
    main()
