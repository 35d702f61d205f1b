"""Assignment of stored epochs to epochs of training."""

from collections import Counter

import torch

from rded_core.seeds import counter_generator
from rded_core.text.wording import counted


def stored_epoch(epoch: int, *, num_stored: int, seed: int) -> int:
    """Returns the stored epoch that a student sees in an epoch of its training.

    First the stored epochs as recorded; longer training repeats all of them, each round in its own order, drawn from
    the seed. So any two of them are used equally often, or one of them once more.
    """
    round_number, place = divmod(epoch, num_stored)
    if round_number == 0:
        return place
    generator = counter_generator(seed, "stored-epochs", round_number)
    return int(torch.randperm(num_stored, generator=generator)[place])


def describe_uses(num_epochs: int, *, num_stored: int, seed: int) -> str:
    """Returns in words how often the stored epochs are used."""
    uses = count_uses(num_epochs, num_stored=num_stored, seed=seed)
    least, most = min(uses), max(uses)
    times = "once" if most == 1 else f"{most} times"
    how_often = times if least == most else f"{least} or {times}"
    stored = f"{counted(num_stored, 'stored epoch')} of labels, each used {how_often}"
    return f"{counted(num_epochs, 'epoch')} of training from {stored}"


def count_uses(num_epochs: int, *, num_stored: int, seed: int) -> list[int]:
    """Counts how often each stored epoch is used in a training of `num_epochs`."""
    uses = Counter(stored_epoch(epoch, num_stored=num_stored, seed=seed) for epoch in range(num_epochs))
    return [uses[epoch] for epoch in range(num_stored)]
