"""Learning-rate factors as functions of progress."""

import math


def stretched_cosine(progress: float, *, stretch: float) -> float:
    """Returns 0.5 * (1 + cos(pi * progress / stretch)) for `progress` in [0, 1].

    ``stretch=2`` is the `paper` protocol (ends at one half), ``stretch=1`` a plain cosine that ends at zero.
    """
    return 0.5 * (1.0 + math.cos(math.pi * progress / stretch))


def warmup_cosine(progress: float, *, warmup: float) -> float:
    """Returns a linear rise from zero over the share `warmup` of training, then a cosine that ends at zero."""
    if progress < warmup:
        return progress / warmup
    return stretched_cosine((progress - warmup) / (1.0 - warmup), stretch=1.0)


def look_epochs(num_epochs: int, num_looks: int) -> list[int]:
    """Returns the epochs (counted from 1) after which a student is measured: evenly over the last fifth, with the last.

    Source: RDED's code measures six times.
    """
    span = num_epochs // 5
    steps = [num_epochs - round(step * span / max(num_looks - 1, 1)) for step in range(num_looks)]
    return sorted({max(step, 1) for step in steps})
