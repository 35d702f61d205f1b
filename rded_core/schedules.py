"""Learning-rate factors as functions of progress."""

import math


def stretched_cosine(progress: float, *, stretch: float) -> float:
    """Returns 0.5 * (1 + cos(pi * progress / stretch)) for `progress` in [0, 1].

    ``stretch=2`` is the `paper` protocol (ends at one half), ``stretch=1`` a plain cosine that ends at zero.
    """
    return 0.5 * (1.0 + math.cos(math.pi * progress / stretch))


def warmup_cosine(progress: float, *, warmup: float) -> float:
    """Rises linearly from zero over the share `warmup` of training, then falls to zero along a cosine."""
    if progress < warmup:
        return progress / warmup
    return stretched_cosine((progress - warmup) / (1.0 - warmup), stretch=1.0)


NUM_LOOKS = 6
"""Looks at the validation set in the last fifth of a student's training, as in RDED's code."""


def look_epochs(num_epochs: int) -> list[int]:
    """Returns the epochs (counted from 1, the last among them) after which a student is measured."""
    first = num_epochs - num_epochs // 5
    steps = [first + round(step * (num_epochs - first) / (NUM_LOOKS - 1)) for step in range(NUM_LOOKS)]
    return sorted({max(step, 1) for step in steps})
