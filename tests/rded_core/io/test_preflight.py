"""Mistakes that are found before anything slow starts."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rded_core.config import DistillConfig, EvaluateConfig, Rerun, TrainObserverConfig
from rded_core.config.network_names import OWN_NETWORKS
from rded_core.errors import InputError
from rded_core.io.networks.known import torchvision_names
from rded_core.io.preflight import check_inputs
from rded_core.networks import network_names


def _distill(tmp_path: Path, source: object, **changes: object) -> DistillConfig:
    out = str(tmp_path / "run")
    return DistillConfig(**{"source": str(source), "observer": "torchvision:resnet18", "ipc": 1, "out": out, **changes})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "absent"}, "no such folder: absent"),
        ({"source": __file__}, "is a file, not a folder"),
        ({"weights": "absent.safetensors"}, "no such weights file: absent.safetensors"),
        ({"teacher_weights": "absent.pth"}, "no such weights file: absent.pth"),
        ({"observer_classes": "absent.txt"}, "no such class list: absent.txt"),
        ({"observer": "convnet3"}, "'convnet3' is not a valid spec; .*did you mean rded:convnet3"),
        ({"teacher": "rded:"}, "'rded:' is not a valid spec"),
        ({"observer": "absent.safetensors"}, "no such weights file: absent.safetensors"),
        ({"teacher": "absent.safetensors"}, "no such weights file: absent.safetensors"),
        ({"out": str(Path(__file__).parent)}, "is not empty and holds no rded run"),
        ({"out": __file__}, "is a file; choose another folder"),
    ],
)
def test_distillation_that_cannot_start(
    image_folder: Path, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_inputs(_distill(tmp_path, **{"source": image_folder, **changes}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "source", ["torchvision:CIFAR10", "s3://bucket/photos", "shards-{000..009}.tar", "shards/*.tar"]
)
def test_sources_that_only_their_reader_can_check_pass(tmp_path: Path, source: str) -> None:
    check_inputs(_distill(tmp_path, source))


def test_weights_that_do_not_name_their_network_cannot_start(image_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "o.safetensors"
    path.write_bytes(b"\2" + bytes(7) + b"{}")
    with pytest.raises(InputError, match="does not name its network"):
        check_inputs(_distill(tmp_path, image_folder, observer=str(path)))


def test_evaluation_that_cannot_start(image_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no distilled dataset at"):
        check_inputs(EvaluateConfig(dataset=str(tmp_path), val=str(image_folder), student="convnet3"))


def test_evaluation_without_validation_images(published: Path) -> None:
    config = EvaluateConfig(dataset=str(published), val="absent", student="convnet3", controls=())
    with pytest.raises(InputError, match="no such folder: absent"):
        check_inputs(config)


def test_training_never_overwrites_weights(image_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "o.safetensors"
    config = TrainObserverConfig(source=str(image_folder), arch="convnet3", out=str(path))
    check_inputs(config)
    path.touch()
    with pytest.raises(InputError, match="exists already"):
        check_inputs(config)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("SHA256SUMS", "recipe.json"):
        (folder / name).write_text("{}")
    return folder


def test_out_inside_the_source_is_refused(image_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lies inside the source"):
        check_inputs(_distill(tmp_path, image_folder, out=str(image_folder / "distilled")))
    check_inputs(_distill(tmp_path, image_folder, out=str(tmp_path / "source-distilled")))


@pytest.mark.parametrize("name", ["a" * 300, "bad\0name"])
def test_impossible_paths_are_reported(image_folder: Path, tmp_path: Path, name: str) -> None:
    for changes in ({"source": name}, {"weights": name}, {"out": name}):
        with pytest.raises(InputError):
            check_inputs(_distill(tmp_path, **{"source": image_folder, **changes}))


@pytest.mark.parametrize("split", ["", "train", "seg_train", "train2017"])
def test_unknown_classes_are_reported(image_folder: Path, tmp_path: Path, split: str) -> None:
    source = tmp_path / "photos"
    shutil.copytree(image_folder, source / split)
    message = r"--{}: 'dog' is not a class of .*photos; classes are: 1, 10, 2"
    with pytest.raises(InputError, match=message.format("classes")):
        check_inputs(_distill(tmp_path, source, classes=("1", "dog")))
    with pytest.raises(InputError, match=message.format("only-classes")):
        check_inputs(_distill(tmp_path, source), Rerun(only_classes=("dog",)))
    check_inputs(_distill(tmp_path, source, classes=("1", "2")), Rerun(only_classes=("2",)))


@pytest.mark.parametrize("name", ["train", "val", "bullet_train"])
@pytest.mark.parametrize("split", ["", "train"])
def test_classes_called_like_splits_are_accepted(image_folder: Path, tmp_path: Path, name: str, split: str) -> None:
    (image_folder / "1").rename(image_folder / name)
    source = tmp_path / "photos"
    shutil.copytree(image_folder, source / split)
    check_inputs(_distill(tmp_path, source, classes=(name, "2")))
    with pytest.raises(InputError, match="'1' is not a class of"):
        check_inputs(_distill(tmp_path, source, classes=("1", "2")))


@pytest.mark.parametrize("name", ["tench", "n01440764"])
def test_readable_names_are_accepted_as_classes(image_folder: Path, tmp_path: Path, name: str) -> None:
    (image_folder / "1").rename(image_folder / "n01440764")
    check_inputs(_distill(tmp_path, image_folder), Rerun(only_classes=(name,)))


@pytest.mark.parametrize("stray", ["data/train-0.parquet", "photos-0.tar", "new/2026/a.jpg"])
def test_classes_of_other_folders_than_image_folders_pass(image_folder: Path, tmp_path: Path, stray: str) -> None:
    (image_folder / stray).parent.mkdir(exist_ok=True, parents=True)
    (image_folder / stray).touch()
    check_inputs(_distill(tmp_path, image_folder), Rerun(only_classes=("dog",)))


def test_preflight_imports_nothing_slow() -> None:
    code = "import rded_core.io.preflight, sys; sys.exit('torch' in sys.modules or 'prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_folder_names_are_looked_up_without_torch(image_folder: Path) -> None:
    """Readable names come with torchvision."""
    (image_folder / "1").rename(image_folder / "n01440764")
    code = (
        "import sys; from rded_core.io.sources.class_folders import require_classes;"
        f"require_classes({str(image_folder)!r}, ['n01440764', '2'], '--classes');"
        "sys.exit(bool({'torch', 'torchvision'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("field", ["source", "out", "weights"])
def test_a_path_that_is_not_utf8_is_one_line(tmp_path: Path, field: str) -> None:
    config = replace(_distill(tmp_path, tmp_path), **{field: str(tmp_path / os.fsdecode(b"caf\xe9"))})
    with pytest.raises(InputError) as caught:
        check_inputs(config)
    assert str(caught.value) == rf"{field} {tmp_path}/caf\xe9: the name is not UTF-8; rename it"


def test_classes_whose_names_are_not_utf8_are_listed(image_folder: Path, tmp_path: Path) -> None:
    (image_folder / "2").rename(image_folder / os.fsdecode(b"caf\xe9"))
    with pytest.raises(InputError, match=r"classes are: 1, 10, caf\\xe9$"):
        check_inputs(_distill(tmp_path, image_folder), Rerun(only_classes=("dog",)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observer": "rded:convnet3"}, "rded:convnet3 comes without weights; give --weights FILE"),
        ({"observer": "rded:resnet81", "weights": __file__}, "unknown network 'resnet81' .did you mean resnet18, "),
        ({"observer": "torchvision:resnet_50"}, "unknown network 'resnet_50' .did you mean resnet50, "),
        ({"observer": "torchvision:resnet18", "teacher": "rded:nothing"}, "unknown network 'nothing'; choose convnet3"),
        ({"observer": "torchvision:resnet18", "teacher": "rded:resnet18"}, "rded:resnet18 comes without weights"),
        ({"observer": "nosuchpackage.module:make"}, "No module named 'nosuchpackage'; give torchvision:NAME"),
        ({"observer": "rded:convnet6", "weights": __file__, "size": 32}, "convnet6 halves the image 6 times"),
    ],
)
def test_networks_that_cannot_be_opened(
    image_folder: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    """A minute of imports and a failed run, otherwise."""
    with pytest.raises(InputError, match=message):
        check_inputs(_distill(tmp_path, image_folder, **changes))


@pytest.mark.parametrize("spec", ["torchvision:resnet18", "torchvision:vit_b_16", "json:loads", "tests.support.a:b"])
def test_networks_that_may_be_right_pass(image_folder: Path, tmp_path: Path, spec: str) -> None:
    check_inputs(_distill(tmp_path, image_folder, observer=spec))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A ConvNet-3's weights as `rded train-observer` writes them, of another layer."""
    facts = json.dumps({"arch": "convnet3", "size": 32, "classes": ["a", "b"]})
    header = {"__metadata__": {"rded": facts}, "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    return _write_safetensors(tmp_path / "weights.safetensors", header, 4)


def _write_safetensors(path: Path, header: object, num_bytes: int) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(num_bytes))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"observer": "rded:convnet4"},
            "does not fit rded:convnet4: it holds a convnet3; give --observer rded:convnet3",
        ),
        ({"observer": "torchvision:resnet18"}, "does not fit torchvision:resnet18: it holds a convnet3"),
        ({"size": 64}, "does not fit rded:convnet3 at 64 px: it was trained at 32 px; give --size 32"),
    ],
)
def test_weights_of_another_network(
    image_folder: Path, tmp_path: Path, weights: Path, changes: dict[str, object], message: str
) -> None:
    fitting = {"observer": "rded:convnet3", "weights": str(weights), "size": 32}
    check_inputs(_distill(tmp_path, image_folder, **fitting))
    check_inputs(_distill(tmp_path, image_folder, **{**fitting, "observer": "json:loads"}))
    with pytest.raises(InputError, match=message):
        check_inputs(_distill(tmp_path, image_folder, **{**fitting, **changes}))


@pytest.mark.parametrize("fault", ["cut off", "empty", "text", "no mapping"])
def test_damaged_weights(image_folder: Path, tmp_path: Path, weights: Path, fault: str) -> None:
    whole = weights.read_bytes()
    weights.write_bytes({"cut off": whole[:-1], "empty": b"", "text": b"weights of mine", "no mapping": whole}[fault])
    if fault == "no mapping":
        _write_safetensors(weights, ["x"], 4)
    with pytest.raises(InputError, match=r"^[^\n]*weights.safetensors (is cut off|holds no weights)[^\n]*$"):
        check_inputs(_distill(tmp_path, image_folder, weights=str(weights)))


def test_weights_that_others_saved_pass(image_folder: Path, tmp_path: Path) -> None:
    header = {"__metadata__": {"format": "pt"}, "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    path = _write_safetensors(tmp_path / "other.safetensors", header, 4)
    check_inputs(_distill(tmp_path, image_folder, weights=str(path)))


def test_controls_need_the_run_folder(published: Path, image_folder: Path) -> None:
    fields = {"dataset": str(published), "val": str(image_folder), "student": "convnet3"}
    with pytest.raises(InputError, match=r"is outside its run folder, from which controls are made; .*--controls none"):
        check_inputs(EvaluateConfig(**fields))
    check_inputs(EvaluateConfig(**fields, controls=()))
    with pytest.raises(InputError, match=r"unknown network 'convnet33' .did you mean convnet3, "):
        check_inputs(EvaluateConfig(**{**fields, "student": "convnet33"}, controls=()))


@pytest.mark.parametrize(
    ("changes", "message"), [({"arch": "resnet_18"}, "unknown network"), ({"arch": "convnet6", "size": 32}, "halves")]
)
def test_observers_that_cannot_be_trained(
    image_folder: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    fields = {"source": str(image_folder), "out": str(tmp_path / "new.safetensors"), **changes}
    with pytest.raises(InputError, match=message):
        check_inputs(TrainObserverConfig(**fields))  # pyright: ignore[reportArgumentType]


def test_names_in_torchvisions_files_are_those_it_lists() -> None:
    assert sorted((*OWN_NETWORKS, *torchvision_names())) == sorted(network_names())
