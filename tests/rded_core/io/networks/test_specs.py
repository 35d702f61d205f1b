"""Specs of observers, checked without torch."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from rded_core.errors import InputError
from rded_core.io.networks.known import own_size
from rded_core.io.networks.specs import is_weights_file, names_module, require_observer_spec


def write_header(path: Path, header: object) -> str:
    data = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data)
    return str(path)


@pytest.mark.parametrize("spec", ["o.safetensors", "/a/o.safetensors", "s3://bucket/o.safetensors"])
def test_a_weights_file_is_a_spec_and_not_a_module(spec: str) -> None:
    require_observer_spec(spec)
    assert is_weights_file(spec)
    assert not names_module(spec)


@pytest.mark.parametrize("spec", ["best.pth", "model.pt", "last.ckpt", "model_best.pth.tar"])
def test_other_weights_files_need_a_network(spec: str) -> None:
    with pytest.raises(InputError, match=f"does not name its network: give it as --weights {spec} with one of these"):
        require_observer_spec(spec)


def test_a_weights_file_gives_its_size(tmp_path: Path) -> None:
    facts = {"arch": "convnet3", "size": 32, "classes": ["a"]}
    path = write_header(tmp_path / "o.safetensors", {"__metadata__": {"rded": json.dumps(facts)}})
    assert own_size(path) == {"size": 32}
    assert own_size("rded:convnet3") == own_size(None) == own_size(str(tmp_path / "absent.safetensors")) == {}


@pytest.mark.parametrize("header", [{}, [], {"__metadata__": {}}, {"__metadata__": {"rded": "[1]"}}, "x"])
def test_other_files_give_none(tmp_path: Path, header: object) -> None:
    assert own_size(write_header(tmp_path / "o.safetensors", header)) == {}


def test_specs_are_read_without_torch() -> None:
    code = "import rded_core.io.networks.specs, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
