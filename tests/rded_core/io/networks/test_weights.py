"""Weights files: reading them back, refusing bad ones, and the digest."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rded_core.errors import InputError
from rded_core.io.networks.known import read_facts
from rded_core.io.networks.state_names import fit_names
from rded_core.io.networks.weights import head_width, load_state, read_weights, save_network, state_digest
from rded_core.io.sources.spec import absolute_spec
from rded_core.networks.preprocessing import Preprocessing


class Trap:
    """Creates a folder when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.marker,)


def small_state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "features.weight": torch.randn(4, 3, generator=generator),
        "features.steps": torch.tensor(7),
        "fc.weight": torch.randn(2, 4, generator=generator),
        "fc.bias": torch.randn(2, generator=generator).to(torch.bfloat16),
    }


def test_a_saved_network_reads_back_with_its_facts(tmp_path: Path) -> None:
    saved = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    path = tmp_path / "observer.safetensors"
    preprocessing = Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 32, "bicubic")
    save_network(saved, path, preprocessing=preprocessing, facts={"arch": "tiny", "classes": ["ä", "b"], "top1": 0.5})
    state, facts = read_weights(str(path))
    assert state.keys() == saved.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in saved.state_dict().items())
    assert facts["classes"] == ["ä", "b"]
    assert (facts["arch"], facts["top1"]) == ("tiny", 0.5)
    read = Preprocessing(tuple(facts["mean"]), tuple(facts["std"]), facts["size"], facts["interpolation"])
    assert read == preprocessing


def test_the_same_network_is_saved_as_the_same_bytes(tmp_path: Path) -> None:
    saved = nn.Linear(3, 2)
    for name in ("a", "b"):
        save_network(saved, tmp_path / f"{name}.safetensors", preprocessing=Preprocessing(), facts={"arch": "linear"})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("wrap", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_in_common_forms_are_read(tmp_path: Path, wrap: str | None, prefix: str) -> None:
    state = {prefix + name: value for name, value in small_state().items()}
    torch.save({wrap: state, "epoch": 3} if wrap else state, tmp_path / "w.pth")
    read, facts = read_weights(str(tmp_path / "w.pth"))
    assert facts == {}
    fitted = fit_names(small_state(), read)
    assert fitted.keys() == small_state().keys()
    assert all(torch.equal(fitted[name], value) for name, value in small_state().items())


def test_pickled_objects_are_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    torch.save({"weight": Trap(marker)}, tmp_path / "zip.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Trap(marker)))
    for name in ("zip.pth", "bare.pth"):
        with pytest.raises(InputError, match="no weights that can be read safely"):
            read_weights(str(tmp_path / name))
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        *("", "hello", "<!DOCTYPE html>", "version https://git-lfs.github.com/spec/v1\n", '{"a": 1}', "# notes\n"),
        *("arch: resnet18\n", "epoch,loss\n1,2\n", "best checkpoint\n", "(weights)", "resnet18\n", "tensor([1.0])"),
    ],
)
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_text_files_are_refused(tmp_path: Path, text: str, ending: str) -> None:
    path = tmp_path / f"w.{ending}"
    path.write_text(text)
    with pytest.raises(InputError, match=r"w\.(pth|safetensors) holds no "):
        read_weights(str(path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty; fetch it again"),
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "a Git LFS pointer.*; run git lfs pull",
        ),
        ("<!DOCTYPE html>\n<html><body>Sign in</body></html>", "a web page or an error message.*; fetch it again"),
    ],
)
@pytest.mark.parametrize("ending", ["pth", "bin", "safetensors"])
def test_files_that_stand_in_for_weights_are_named(tmp_path: Path, text: str, reason: str, ending: str) -> None:
    path = tmp_path / f"w.{ending}"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"w\.{ending} holds no weights: (it is )?{reason}"):
        read_weights(str(path))
    if ending == "safetensors":
        with pytest.raises(InputError, match=rf"holds no weights: (it is )?{reason}"):
            read_facts(path)


@pytest.mark.parametrize("content", [{}, {"state_dict": {}, "epoch": 3}])
def test_an_empty_state_dict_holds_no_weights(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth holds no weights: its state dict is empty; save that of the trained"):
        read_weights(str(tmp_path / "w.pth"))


def test_an_empty_safetensors_file_holds_no_weights(tmp_path: Path) -> None:
    save_network(nn.Identity(), tmp_path / "w.safetensors", preprocessing=Preprocessing(), facts={})
    with pytest.raises(InputError, match="holds no weights: its state dict is empty"):
        read_weights(str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_truncated_files_are_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"w.{ending}"
    if ending == "pth":
        torch.save(small_state(), path)
    else:
        save_network(nn.Linear(9, 9), path, preprocessing=Preprocessing(), facts={})
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match="no weights that can be read safely"):
            read_weights(str(path))


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.ones(2), {"state_dict": {"a": 1}}])
def test_files_without_a_state_dict_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match="holds no state dict"):
        read_weights(str(tmp_path / "w.pth"))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    for path, problem in ((tmp_path / "absent.pth", "no such weights file"), (tmp_path, "is a folder, not a weights")):
        with pytest.raises(InputError, match=problem):
            read_weights(str(path))


@pytest.mark.parametrize("name", ["fc", "head", "classifier", "classifier.6", "heads.head", "head.fc", "last_linear"])
def test_the_width_of_the_head_is_read_from_its_last_layer(name: str) -> None:
    state = {"stem.weight": torch.zeros(3, 3), f"{name}.weight": torch.zeros(7, 3), f"{name}.bias": torch.zeros(7)}
    assert head_width(state) == 7


def test_a_state_without_a_head_has_no_width() -> None:
    assert head_width(None) is None
    assert head_width({"stem.weight": torch.zeros(3, 3)}) is None


def test_weights_of_a_different_network_are_an_error_that_names_both() -> None:
    with pytest.raises(
        InputError, match=r"not fit rded:tiny: the network needs weight \(and 3 more\), the file has fc\.weight; give"
    ):
        load_state(nn.BatchNorm1d(2), {"fc.weight": torch.zeros(2, 2)}, weights="w.pth", spec="rded:tiny")
    with pytest.raises(InputError, match="size mismatch"):
        load_state(nn.Linear(2, 2), nn.Linear(3, 2).state_dict(), weights="w.pth", spec="rded:tiny")


def test_the_digest_covers_values_names_types_shapes_and_settings() -> None:
    state = small_state()
    digests = {state_digest(state), state_digest(state, [0, 1]), state_digest(state, [1, 0])}
    nudged = {**state, "fc.weight": state["fc.weight"].clone()}
    nudged["fc.weight"][1, 2] = torch.nextafter(nudged["fc.weight"][1, 2], torch.tensor(9.0))
    digests |= {
        state_digest(nudged),
        state_digest({**state, "features.steps": torch.tensor(8)}),
        state_digest({**state, "fc.weight": state["fc.weight"].view(4, 2)}),
        state_digest({**state, "features.steps": torch.tensor(7, dtype=torch.int32)}),
        state_digest({("x" if name == "fc.bias" else name): value for name, value in state.items()}),
    }
    assert len(digests) == 8


def test_the_digest_does_not_depend_on_order_or_memory_layout() -> None:
    state = small_state()
    state["conv.weight"] = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    other = dict(reversed(state.items()))
    other["conv.weight"] = other["conv.weight"].to(memory_format=torch.channels_last)
    assert state_digest(other) == state_digest(state)


def test_weights_behind_a_link_without_an_ending_are_read(tmp_path: Path) -> None:
    """Hugging Face's cache links names to files that are called after their digest."""
    (tmp_path / "blobs").mkdir()
    network = nn.Linear(3, 2)
    save_network(network, tmp_path / "blobs" / "w.safetensors", preprocessing=Preprocessing(size=4), facts={})
    (tmp_path / "blobs" / "w.safetensors").rename(tmp_path / "blobs" / "aaaa")
    (tmp_path / "model.safetensors").symlink_to("blobs/aaaa")
    state, facts = read_weights(absolute_spec(str(tmp_path / "model.safetensors")))
    assert state.keys() == {"weight", "bias"}
    assert facts["size"] == 4
