"""Devices by name."""

from pathlib import Path

import pytest
import torch

from rded_core.errors import InputError
from rded_core.io.device import devices as device
from rded_core.io.device.devices import num_available_cores, resolve_device, resolve_precision, same_kind


def without_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_cpu_is_the_cpu() -> None:
    assert resolve_device("cpu") == torch.device("cpu")


def test_auto_falls_back_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    without_accelerators(monkeypatch)
    assert resolve_device("auto") == torch.device("cpu")


def test_tf32_is_switched_off() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    resolve_device("cpu")
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("name", ["gpu", "tpu9", "", "cuda:x", "cpu;", "xla", "hpu", "vulkan"])
def test_unknown_devices_are_errors(name: str) -> None:
    with pytest.raises(InputError, match=r"cannot be used here \(.+\); try device auto or cpu"):
        resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_absent_cuda_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(InputError, match=f"device '{name}' cannot be used here"):
        resolve_device(name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_auto_takes_cuda_and_a_missing_card_is_an_error() -> None:
    assert resolve_device("auto").type == "cuda"
    with pytest.raises(InputError, match="cannot be used here"):
        resolve_device(f"cuda:{torch.cuda.device_count()}")


def test_there_is_at_least_one_core() -> None:
    assert num_available_cores() >= 1


@pytest.mark.parametrize(
    ("name", "kind", "has_bfloat16", "expected"),
    [
        ("auto", "cpu", True, torch.float32),
        ("auto", "mps", True, torch.float32),
        ("auto", "cuda", True, torch.bfloat16),
        ("auto", "cuda", False, torch.float32),
        ("float32", "cuda", True, torch.float32),
        ("bfloat16", "cpu", True, torch.bfloat16),
    ],
)
def test_precision(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: str, has_bfloat16: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bfloat16)
    assert resolve_precision(name, torch.device(kind)) == expected


def test_bfloat16_on_mps_is_an_error() -> None:
    with pytest.raises(InputError, match="bfloat16 needs a CUDA device or the CPU; give --precision float32"):
        resolve_precision("bfloat16", torch.device("mps"))


def test_cuda_without_a_number_means_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [str(device) for device in same_kind(torch.device("cuda"))] == ["cuda:0", "cuda:1", "cuda:2"]
    assert same_kind(torch.device("cuda", 1)) == [torch.device("cuda", 1)]
    assert same_kind(torch.device("cpu")) == [torch.device("cpu")]


def test_cpu_is_named_by_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "CPU_INFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some  CPU: 3 GHz\nmodel name\t: Other\n")
    assert device.cpu_model.__wrapped__() == "Some CPU: 3 GHz"
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n")
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert device.cpu_model.__wrapped__() == "aarch64"
    (tmp_path / "cpuinfo").unlink()
    monkeypatch.setattr("platform.processor", lambda: "arm")
    assert device.cpu_model.__wrapped__() == "arm"
