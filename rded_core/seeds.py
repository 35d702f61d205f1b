"""Counter seeds: every draw is a function of (root seed, stage, class, item), never of time, worker or shard."""

import hashlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager

import torch


def counter_seed(root_seed: int, *counter: str | int) -> int:
    """Returns the 63-bit seed of one draw: SHA-256 over the root seed and the counter's parts.

    Parts are separated by a byte that must not occur in them, so ``("a", "bc")`` and ``("ab", "c")`` differ.
    """
    text = "\x1f".join(str(part) for part in (root_seed, *counter))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def counter_seeds(root_seed: int, *counter: str | int, last: Iterable[str | int]) -> list[int]:
    """Returns ``counter_seed(root_seed, *counter, part)`` for each part of `last`; joins the shared parts only once."""
    shared = "\x1f".join(str(part) for part in (root_seed, *counter, ""))
    digests = (hashlib.sha256(f"{shared}{part}".encode()).digest() for part in last)
    return [int.from_bytes(digest[:8], "big") >> 1 for digest in digests]


def counter_generator(root_seed: int, *counter: str | int) -> torch.Generator:
    """Returns a fresh CPU generator seeded by `counter_seed`."""
    return torch.Generator().manual_seed(counter_seed(root_seed, *counter))


@contextmanager
def seeded_init(seed: int) -> Generator[None]:
    """Runs a block with torch's global CPU generator seeded to `seed`, then restores it.

    The only place that touches a global generator: ``nn.Module`` constructors and dropout accept no other.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
