"""Observers: a spec and a weights file give a frozen network in the source's class order."""

import sys
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import Tensor, nn

from rded_core.errors import InputError
from rded_core.io.networks.observers import Observer, open_observer
from rded_core.io.networks.weights import save_network
from rded_core.io.sources.base import SourceClass, name_classes
from rded_core.networks import build_network
from rded_core.networks.preprocessing import Preprocessing

CLASSES = name_classes(("1", "10", "2"))
PREPROCESSING = Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 16, "bicubic")


def trained(num_classes: int = 3) -> nn.Module:
    torch.manual_seed(3)
    network = build_network("convnet3", num_classes=num_classes, size=16)
    network(torch.randn(8, 3, 16, 16))  # moves BatchNorm's statistics off their initial values
    return network.eval()


def save(network: nn.Module, path: Path, classes: list[str]) -> str:
    save_network(
        network, path, preprocessing=PREPROCESSING, facts={"arch": "convnet3", "classes": classes, "top1": 0.9}
    )
    return str(path)


def open_convnet(weights: str, classes: tuple[SourceClass, ...] = CLASSES, **options: Any) -> Observer:
    return open_observer("rded:convnet3", weights, classes=classes, size=16, **options)


def images() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def no_network(*_: Any, **__: Any) -> NoReturn:
    raise URLError("no network here")


def test_a_saved_observer_loads_with_all_its_facts(tmp_path: Path) -> None:
    network = trained()
    observer = open_convnet(save(network, tmp_path / "o.safetensors", ["1", "10", "2"]))
    assert observer.preprocessing == PREPROCESSING
    assert observer.facts["classes"] == ["1", "10", "2"]
    assert observer.facts["top1"] == 0.9
    assert "same order" in observer.head_note
    assert not observer.network.training
    assert not any(parameter.requires_grad for parameter in observer.network.parameters())
    torch.testing.assert_close(observer.classifier(images()), network(images()))


def test_the_head_is_reordered_to_the_sources_classes(tmp_path: Path) -> None:
    network = trained(4)
    observer = open_convnet(save(network, tmp_path / "o.safetensors", ["2", "x", "1", "10"]))
    torch.testing.assert_close(observer.classifier(images()), network(images())[:, [2, 3, 0]])
    assert not observer.network.training


def test_a_class_list_overrides_the_file(tmp_path: Path) -> None:
    network = trained()
    weights = save(network, tmp_path / "o.safetensors", ["1", "10", "2"])
    (tmp_path / "classes.txt").write_text("10\n2\n1\n")
    observer = open_convnet(weights, class_list=str(tmp_path / "classes.txt"))
    torch.testing.assert_close(observer.classifier(images()), network(images())[:, [2, 0, 1]])


def test_all_outputs_are_kept_for_scoring(tmp_path: Path) -> None:
    network = trained(4)
    observer = open_convnet(save(network, tmp_path / "o.safetensors", ["2", "x", "1", "10"]))
    torch.testing.assert_close(observer.network(images()), network(images()))
    assert observer.outputs == (2, 3, 0)


def test_the_digest_covers_weights_and_preprocessing_but_not_the_sources_classes(tmp_path: Path) -> None:
    network = trained()
    weights = save(network, tmp_path / "o.safetensors", ["1", "10", "2"])
    digest = open_convnet(weights).digest
    torch.save(network.state_dict(), tmp_path / "o.pth")
    plain = open_convnet(str(tmp_path / "o.pth")).digest  # without metadata: ImageNet's mean and std
    for classes, outputs in ((("2", "1", "10"), (2, 0, 1)), (("1", "10"), (0, 1))):
        observer = open_convnet(weights, name_classes(classes))
        assert (observer.digest, observer.outputs) == (digest, outputs)
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] += 1e-3
    nudged = open_convnet(save(network, tmp_path / "n.safetensors", ["1", "10", "2"])).digest
    assert len({digest, plain, nudged}) == 3


def test_a_class_missing_from_the_observer_is_an_error(tmp_path: Path) -> None:
    weights = save(trained(), tmp_path / "o.safetensors", ["1", "10", "3"])
    with pytest.raises(InputError, match=r"2 \(no match\)"):
        open_convnet(weights)


def test_torchvision_networks_load_plain_state_dicts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=3).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    observer = open_observer("torchvision:resnet18", str(tmp_path / "w.pth"), classes=CLASSES, size=16)
    assert observer.preprocessing == Preprocessing()
    assert "names no classes" in observer.head_note
    torch.testing.assert_close(observer.classifier(images()), network(images()))


def test_weights_of_a_different_network_are_an_error(tmp_path: Path) -> None:
    torch.save(torchvision.models.squeezenet1_1(num_classes=3).state_dict(), tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth does not fit rded:convnet3"):
        open_convnet(str(tmp_path / "w.pth"))


def test_weights_of_a_different_size_are_an_error(tmp_path: Path) -> None:
    weights = save(trained(), tmp_path / "o.safetensors", ["1", "10", "2"])
    with pytest.raises(InputError, match=r"does not fit rded:convnet3 at 32 px: size mismatch.*trained at --size 16"):
        open_observer("rded:convnet3", weights, classes=CLASSES, size=32)


def test_pretrained_weights_without_a_network_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    with pytest.raises(InputError, match=r"cannot be downloaded .*no network here.*; give --weights FILE"):
        open_observer("torchvision:squeezenet1_1", None, classes=CLASSES, size=32)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet18", "is not a valid spec"),
        ("torchvision:", "is not a valid spec"),
        (":resnet18", "observer ':resnet18'"),
        ("rded:convnet3", "comes without weights"),
        ("torchvision:resnet19", "unknown network 'resnet19' .did you mean resnet1.*choose convnet3"),
        ("torchvison:resnet18", "No module named 'torchvison'"),
        ("json:absent", "has no attribute 'absent'"),
        ("json:JSONDecoder", "returned JSONDecoder, not a torch.nn.Module"),
    ],
)
def test_unusable_specs_are_errors(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_observer(spec, None, classes=CLASSES, size=32)


def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such weights file"):
        open_convnet(str(tmp_path / "absent.safetensors"))


FACTORY = """
import torch
from torch import nn

class Sums(nn.Module):
    preprocessing = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    classes = ["2", "1", "10"]

    def forward(self, images):
        return images.sum(dim=(2, 3))

class Pair(Sums):
    def forward(self, images):
        return images, images

class Odd(Sums):
    preprocessing = {"mean": [0.0, 0.0, 0.0], "crop": 224}
"""


@pytest.fixture
def factory_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"rded_test_factory_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, name, None)  # so that the import is undone at the end
    del sys.modules[name]
    return name


def test_factories_bring_their_own_preprocessing_and_classes(factory_module: str) -> None:
    observer = open_observer(f"{factory_module}:Sums", None, classes=CLASSES, size=16)
    assert observer.preprocessing == Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    torch.testing.assert_close(observer.classifier(images()), images().sum(dim=(2, 3))[:, [1, 2, 0]])


@pytest.mark.parametrize(
    ("factory", "message"), [("Pair", "one row of logits per image"), ("Odd", "invalid preprocessing")]
)
def test_factories_that_return_the_wrong_thing_are_errors(factory_module: str, factory: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_observer(f"{factory_module}:{factory}", None, classes=CLASSES, size=16)


def test_timm_networks_load_weights_files(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="the extra rded[timm] is not installed")
    network = timm.create_model("test_resnet", pretrained=False, num_classes=3).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    observer = open_observer("timm:test_resnet", str(tmp_path / "w.pth"), classes=CLASSES, size=32)
    assert observer.preprocessing.mean == tuple(network.pretrained_cfg["mean"])
    batch = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(observer.classifier(batch), network(batch))


def test_timm_without_weights_or_network_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="the extra rded[timm] is not installed")
    hub = pytest.importorskip("huggingface_hub", reason="timm fetches weights with it")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"timm:test_resnet: .*or give --weights"):
        open_observer("timm:test_resnet", None, classes=CLASSES, size=32)
    with pytest.raises(InputError, match=r"timm:resnet18and: .*timm\.list_models"):
        open_observer("timm:resnet18and", None, classes=CLASSES, size=32)


def test_a_file_of_our_own_is_an_observer_by_itself(tmp_path: Path) -> None:
    network = trained()
    weights = save(network, tmp_path / "o.safetensors", ["2", "1", "10"])
    by_itself = open_observer(weights, None, classes=CLASSES, size=16)
    named = open_convnet(weights)
    assert (by_itself.spec, by_itself.digest, by_itself.outputs) == (named.spec, named.digest, (1, 2, 0))
    torch.testing.assert_close(by_itself.classifier(images()), network(images())[:, [1, 2, 0]])


def test_a_file_that_does_not_name_its_network_is_no_observer(tmp_path: Path) -> None:
    path = tmp_path / "o.safetensors"
    save_network(trained(), path, preprocessing=PREPROCESSING, facts={})
    with pytest.raises(InputError, match="does not name its network; give --observer torchvision:NAME"):
        open_observer(str(path), None, classes=CLASSES, size=16)
    weights = save(trained(), tmp_path / "w.safetensors", ["1", "10", "2"])
    with pytest.raises(InputError, match=r"w\.safetensors is its own weights, but .*o\.safetensors is given too"):
        open_observer(weights, str(path), classes=CLASSES, size=16)
