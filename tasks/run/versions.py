"""Versions that compute here, and those that records name: bits need to be equal only if both are the same."""

import platform
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import torch

from rded_core import __version__
from rded_core.io.device.devices import cpu_model
from rded_core.io.run.records import Record

VERSIONED_PACKAGES = ("torch", "torchvision", "pillow", "simplejpeg", "pyarrow", "webdataset", "numpy")

DECIDING = ("torch", "torchvision", "pillow", "simplejpeg", "numpy", "cpu", "cpu_model")
"""What determines the last bits: MKL and oneDNN choose kernels by CPU model, even within an instruction set."""

FACT = "made_with"
"""Fact in records: what a unit was computed with. Not a setting: the unit stays valid on other machines."""


def current_versions() -> dict[str, str]:
    """Returns the versions of the software and CPU here; ``cpu`` is the instruction set that torch uses."""
    return {**_installed(), "cpu": torch.backends.cpu.get_cpu_capability(), "cpu_model": cpu_model()}


@lru_cache(maxsize=1)
def _installed() -> dict[str, str]:
    packages = {name: version(name) for name in VERSIONED_PACKAGES}
    return {"rded": __version__, "python": platform.python_version(), **packages}


def made_with(device: torch.device) -> dict[str, Any]:
    """Returns the fact that names what a unit is computed with: the kind of device, and the versions in `DECIDING`."""
    now = current_versions()
    return {FACT: {"device": device.type, **{name: now[name] for name in DECIDING}}}


def is_made_as_here(record: Record) -> bool:
    """Whether a unit was computed on such a CPU with these versions; False if its record does not say."""
    return record.facts.get(FACT) == made_with(torch.device("cpu"))[FACT]
