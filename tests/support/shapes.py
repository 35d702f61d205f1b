"""A switch for jaxtyping's shape checks: on in tests of kernels, io and parity, off in whole runs.

The checks are slow, and torch.fx cannot trace our networks through them, so a checked run takes other code paths than a
user's. RDED_CHECK_SHAPES=1 turns them on everywhere.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jaxtyping import config

ROOT = Path(__file__).resolve().parents[1]
CHECKED = ("rded_core", "parity")


@contextmanager
def shapes_checked(are_checked: bool) -> Iterator[None]:
    """Turns the checks on or off for a block; RDED_CHECK_SHAPES=1 keeps them on."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", not (are_checked or os.environ.get("RDED_CHECK_SHAPES") == "1"))
    try:
        yield
    finally:
        config.update("jaxtyping_disable", before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Turns the checks on for a test, its setup and its teardown if it lies in one of the folders `CHECKED`."""
    with shapes_checked(item.path.relative_to(ROOT).parts[0] in CHECKED):
        return (yield)
