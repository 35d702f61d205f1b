"""Devices by name, and the processor of this machine."""

import contextlib
import os
import platform
from functools import cache
from pathlib import Path

import torch

from rded_core.errors import InputError


def resolve_device(name: str) -> torch.device:
    """Returns `find_device(name)`, with TF32 switched off in this process: scores are float32 everywhere.

    Raises:
        InputError: as `find_device`.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return find_device(name)


def find_device(name: str) -> torch.device:
    """Returns the device for ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``, once it is known to work.

    ``auto`` prefers CUDA, then MPS, then the CPU.

    Raises:
        InputError: the device is unknown or absent.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        first_line = (str(error).splitlines() or ["not available"])[0]
        raise InputError(f"device {name!r} cannot be used here ({first_line}); try device auto or cpu") from error
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Returns the type of the fast scoring pass for ``auto``, ``float32`` or ``bfloat16``.

    ``auto`` means bfloat16 on CUDA GPUs that support it (several times faster), and float32 elsewhere.

    Raises:
        InputError: the device does not compute in that type.
    """
    if name == "auto":
        is_fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        name = "bfloat16" if is_fast else "float32"
    if name == "bfloat16" and device.type == "mps":
        raise InputError("precision bfloat16 needs a CUDA device or the CPU; give --precision float32")
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def same_kind(device: torch.device) -> list[torch.device]:
    """Returns the devices that may share the work: all GPUs if CUDA was named without a number, else `device`."""
    if str(device) == "cuda" and torch.cuda.device_count() > 1:
        return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    return [device]


def num_available_cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


CPU_INFO = Path("/proc/cpuinfo")


@cache
def cpu_model() -> str:
    """Returns this machine's processor model as far as the system reports it: libraries choose their kernels by it."""
    with contextlib.suppress(OSError):
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or platform.machine()
