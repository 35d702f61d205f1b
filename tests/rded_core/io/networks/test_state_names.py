"""State dicts as people have them: inside checkpoints, below wrappers, with counters and auxiliary heads."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rded_core.errors import InputError
from rded_core.io.networks.observers import open_observer
from rded_core.io.networks.state_names import find_state, fit_names
from rded_core.io.networks.weights import load_matching, load_state, read_weights
from rded_core.io.sources.base import name_classes


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


PREFIXES = [
    "_orig_mod.",
    "module.",
    "model.",
    "net.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "model.module.",
    "my.net.",
]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_wrappers_are_taken_off(tmp_path: Path, prefix: str) -> None:
    saved, loaded = network(), network()
    with torch.no_grad():
        next(loaded.parameters()).zero_()
    torch.save(below(prefix, saved.state_dict()), tmp_path / "w.pth")
    load_state(loaded, read_weights(str(tmp_path / "w.pth"))[0], weights="w.pth", spec="x")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in saved.state_dict().items())


def test_a_network_whose_own_names_begin_so_keeps_them() -> None:
    holder = nn.ModuleDict({"model": network(), "net": nn.Linear(2, 2)})
    state = holder.state_dict()
    assert fit_names(state, state) is state
    assert fit_names(state, below("module.", state)).keys() == state.keys()


def test_a_compiled_part_loses_its_wrapper() -> None:
    own = network().state_dict()
    assert (
        fit_names(own, {name.replace("0.", "0._orig_mod.", 1): value for name, value in own.items()}).keys()
        == own.keys()
    )


def test_averages_load_without_their_counters() -> None:
    averaged = AveragedModel(network())
    averaged.update_parameters(network())
    assert "n_averaged" in averaged.state_dict()
    load_state(network(), dict(averaged.state_dict()), weights="w.pth", spec="x")


def test_what_lies_beside_the_network_is_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    own = network().state_dict()
    state = {**below("model.", own), "criterion.weight": torch.ones(2), "model_ema.module.0.weight": torch.ones(1)}
    with caplog.at_level("INFO"):
        assert fit_names(own, state).keys() == own.keys()
    assert "2 values beside model. in the weights file are not used" in caplog.text


AVERAGES = [
    lambda own: below("model_ema.", own),
    lambda own: {**below("ema.module.", own), "ema.n_averaged": torch.tensor(3)},
    lambda own: {f"model_ema.{name.replace('.', '')}": value for name, value in own.items()},
]


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_an_average_beside_the_plain_weights_is_left_out(prefix: str, average: object) -> None:
    own = network().state_dict()
    copy: dict[str, Tensor] = average({name: torch.zeros_like(value) for name, value in own.items()})  # pyright: ignore[reportCallIssue]
    loaded = network()
    load_state(loaded, {**copy, "model_ema.decay": torch.ones(1), **below(prefix, own)}, weights="w.pth", spec="x")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in own.items())


def test_an_average_alone_is_the_network() -> None:
    own = network().state_dict()
    state = {**below("model_ema.", own), "model_ema.decay": torch.ones(1)}
    assert fit_names(own, state).keys() == own.keys()


def test_a_part_named_like_an_average_is_not_left_out() -> None:
    own = nn.ModuleDict({"ema": nn.Linear(2, 2), "fc": nn.Linear(2, 2)}).state_dict()
    assert fit_names(own, {**own, "more": torch.ones(1)}).keys() == {*own, "more"}
    with pytest.raises(InputError, match=r"the file has ema\.weight"):
        load_state(nn.ModuleDict({"fc": nn.Linear(2, 2)}), {**own, "ema.scale": torch.ones(1)}, weights="w", spec="x")


def test_two_networks_that_fit_are_an_error() -> None:
    own = network().state_dict()
    with pytest.raises(
        InputError, match=r"several networks that fit: student\., teacher\.; save the state dict of one"
    ):
        fit_names(own, {**below("student.", own), **below("teacher.", own)})


def test_names_below_module_and_at_the_top_are_not_merged(tmp_path: Path) -> None:
    own = network().state_dict()
    state = {**below("module.", own), **{name: torch.zeros_like(value) for name, value in own.items()}}
    torch.save(state, tmp_path / "w.pth")
    loaded, _ = read_weights(str(tmp_path / "w.pth"))
    assert loaded.keys() == state.keys()


def test_a_network_with_a_part_named_module_keeps_its_names(tmp_path: Path) -> None:
    own = nn.ModuleDict({"module": network(), "fc": nn.Linear(2, 2)}).state_dict()
    torch.save(own, tmp_path / "w.pth")
    read, _ = read_weights(str(tmp_path / "w.pth"))
    assert fit_names(own, read).keys() == own.keys() == read.keys()


@pytest.mark.parametrize(("first", "second"), [("_orig_mod.a", "a"), ("b._orig_mod.c", "_orig_mod.b.c")])
def test_two_names_that_become_one_are_an_error(first: str, second: str) -> None:
    state = {first: torch.zeros(1), second: torch.ones(1)}
    with pytest.raises(InputError, match=rf"two weights for .*: {first} and {second}; save the state dict of one"):
        fit_names({"a", "b.c"}, state)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"net": state, "acc": 93.1, "epoch": 9},
        lambda state: {"state_dict_ema": state, "epoch": 3},
        lambda state: {"state_dict": state, "state_dict_ema": {}, "args": Namespace(lr=0.1, model="x"), "metric": 0.7},
        lambda state: {"model": state, "model_ema": state, "optimizer": {"state": {}}, "args": Namespace(lr=0.1)},
        lambda state: {"state_dict": below("model.", state), "pytorch-lightning_version": "2.5"},
        lambda state: {"checkpoint": 1, "model": {"state_dict": state}},
    ],
    ids=["net", "ema alone", "timm", "torchvision", "lightning", "nested"],
)  # fmt: skip
def test_checkpoints_of_trainers_are_read(tmp_path: Path, wrap: object) -> None:
    own = network().state_dict()
    torch.save(wrap(dict(own)), tmp_path / "w.pth")  # pyright: ignore[reportCallIssue]
    assert fit_names(own, read_weights(str(tmp_path / "w.pth"))[0]).keys() == own.keys()


class Other:
    """A type that is not allowed; a Namespace must not open the door for it."""

    def __init__(self) -> None:
        self.value = 1


def test_only_a_namespace_is_allowed_and_only_while_reading(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "args": Namespace(inner=Other())}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"it needs unpickling, of .*Other\); expected \.safetensors"):
        read_weights(str(tmp_path / "w.pth"))
    assert Namespace not in torch.serialization.get_safe_globals()


def test_a_file_without_a_state_dict_shows_its_keys(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "best": 0.5}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"holds no state dict .*, only epoch, best; save one by torch\.save"):
        read_weights(str(tmp_path / "w.pth"))
    assert find_state({}) is None


def test_keys_that_are_numbers_are_no_names(tmp_path: Path) -> None:
    torch.save({0: torch.ones(1), 1: torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"holds no state dict .*, only 0, 1; save one by torch\.save"):
        read_weights(str(tmp_path / "w.pth"))


class Called:
    """Unpickles as a call of a Namespace that fails."""

    def __init__(self, *given: int) -> None:
        self.given = given

    def __reduce__(self) -> tuple[object, ...]:
        return Namespace, self.given


@pytest.mark.parametrize("given", [(1,), (1, 2)])
def test_a_namespace_that_cannot_be_made_is_an_error_in_one_line(tmp_path: Path, given: tuple[int, ...]) -> None:
    torch.save({"state_dict": {}, "args": Called(*given)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"holds no weights that can be read safely \(") as error:
        read_weights(str(tmp_path / "w.pth"))
    assert len(str(error.value).splitlines()) == 1


def test_a_missing_and_an_unexpected_name_stand_side_by_side() -> None:
    state = {f"stem.{name}": value for name, value in network().state_dict().items()}
    state["stem.9.bias"] = state.pop("stem.3.bias")
    with pytest.raises(InputError) as error:
        load_state(network(), state, weights="w.pth", spec="x")
    assert str(error.value) == (
        "w.pth does not fit x: the network needs 3.bias, the file has 9.bias; give the network and size that it was "
        "saved from"
    )


def test_weights_to_start_from_lose_wrappers_too(tmp_path: Path) -> None:
    head = nn.ModuleDict({"body": network(), "fc": nn.Linear(2, 5)})
    other = nn.ModuleDict({"body": network(), "fc": nn.Linear(2, 3)})
    torch.save({"net": below("_orig_mod.", head.state_dict())}, tmp_path / "w.pth")
    assert load_matching(other, str(tmp_path / "w.pth")) == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize(("num_classes", "transforms"), [(1000, True), (3, False)])
def test_torchvisions_weights_with_auxiliary_heads_load(tmp_path: Path, num_classes: int, transforms: bool) -> None:
    """Its published ones expect an input that the network transforms."""
    saved = torchvision.models.googlenet(num_classes=num_classes, aux_logits=True, init_weights=False)
    torch.save(saved.state_dict(), tmp_path / "w.pth")
    classes = name_classes(("n01440764", "n01443537")) if num_classes == 1000 else name_classes(("a", "b", "c"))
    observer = open_observer("torchvision:googlenet", str(tmp_path / "w.pth"), classes=classes, size=32)
    assert observer.network.transform_input is transforms


def test_old_names_of_densenets_are_read() -> None:
    own = {"features.denseblock1.denselayer1.norm1.weight": torch.ones(1), "features.norm5.weight": torch.ones(1)}
    old = {"features.denseblock1.denselayer1.norm.1.weight": torch.ones(1), "features.norm5.weight": torch.ones(1)}
    assert fit_names(own, old).keys() == own.keys()


TIMM_HEADS = ["levit_128s", "efficientvit_m0", "shvit_s1"]


@pytest.mark.parametrize("name", TIMM_HEADS)
def test_heads_of_timm_under_other_names_are_found_by_their_shape(tmp_path: Path, name: str) -> None:
    timm = pytest.importorskip("timm", reason="the extra rded[timm] is not installed")
    saved = timm.create_model(name, pretrained=False, num_classes=5)
    torch.save({"state_dict": below("module.", saved.state_dict())}, tmp_path / "w.pth")
    size = saved.pretrained_cfg["input_size"][1]
    (tmp_path / "names.txt").write_text("x\na\nb\ny\nz\n")
    observer = open_observer(
        f"timm:{name}", str(tmp_path / "w.pth"), classes=name_classes(("a", "b")), size=size,
        class_list=str(tmp_path / "names.txt"),
    )  # fmt: skip
    assert observer.outputs == (1, 2)
