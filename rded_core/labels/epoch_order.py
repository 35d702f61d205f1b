"""Which stored epoch is shown in which epoch of training."""

from collections import Counter

import torch

from rded_core.seeds import counter_generator
from rded_core.text.wording import counted


def stored_epoch(epoch: int, *, num_stored: int, seed: int) -> int:
    """Returns the stored epoch that a student sees in an epoch of its training.

    The stored ones as recorded, first; where training is longer, all of them again and again, each round in an order
    of its own, drawn from the seed. So any two of them are used equally often, or one once more than the other.
    """
    walk, place = divmod(epoch, num_stored)
    if walk == 0:
        return place
    return int(torch.randperm(num_stored, generator=counter_generator(seed, "stored-epochs", walk))[place])


def describe_uses(num_epochs: int, *, num_stored: int, seed: int) -> str:
    """Says how often the stored epochs are shown."""
    uses = count_uses(num_epochs, num_stored=num_stored, seed=seed)
    least, most = min(uses), max(uses)
    times = "once" if most == 1 else f"{most} times"
    shown = times if least == most else f"{least} or {times}"
    stored = f"{counted(num_stored, 'stored epoch')} of labels, each used {shown}"
    return f"{counted(num_epochs, 'epoch')} of training from {stored}"


def count_uses(num_epochs: int, *, num_stored: int, seed: int) -> list[int]:
    """Counts how often each stored epoch is shown in a training of `num_epochs`."""
    uses = Counter(stored_epoch(epoch, num_stored=num_stored, seed=seed) for epoch in range(num_epochs))
    return [uses[epoch] for epoch in range(num_stored)]
