"""What is refused before a run exists: the server has no run to show as failed, and OUT is not made."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rded_core.config import DistillConfig
from rded_core.errors import RunStopped
from rded_core.io.layout.run import RunFolder

RunCli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if a flow is called."""

    def begin(*_: object, **__: object) -> None:
        raise AssertionError("a run began")

    for name in ("distill", "evaluate", "train_observer"):
        monkeypatch.setattr(f"flows.{name}.{name}", begin)


@pytest.fixture
def refuse(run_cli: RunCli, shared_source: Path, trained_weights: Path, tmp_path: Path) -> Callable[..., None]:
    """Checks that a distillation is refused: ``refuse(message, source=...)``."""

    def check(message: str, **changes: Any) -> None:
        settings = {"source": shared_source, "observer": "rded:convnet3", "weights": trained_weights, "ipc": 1}
        settings |= {"out": tmp_path / "run", "size": 32, "num_candidates": 10, "device": "cpu", **changes}
        options = [(f"--{name.replace('_', '-')}", value) for name, value in settings.items() if name != "source"]
        code, _, err = run_cli("distill", settings["source"], *(part for option in options for part in option))
        assert (code, err.count("rded: error: ")) == (2, 1), err
        assert message in err
        assert not (tmp_path / "run").exists()

    return check


def test_too_few_images(refuse: Callable[..., None]) -> None:
    refuse("are needed; lower --ipc to 3", ipc=4, num_candidates=16)


def test_unclear_splits(refuse: Callable[..., None], image_folder: Path) -> None:
    shutil.copytree(image_folder, image_folder / "train")
    refuse("so its classes are unclear; give the folder whose subfolders are the classes", source=image_folder)


def test_a_class_that_vanishes(refuse: Callable[..., None], image_folder: Path) -> None:
    for path in (image_folder / "10").iterdir():
        path.rename(path.with_suffix(".xyz"))
    refuse("so the class would vanish; unpack, convert, restore, rename or remove them", source=image_folder)


def test_a_glob_without_tars(refuse: Callable[..., None], tmp_path: Path) -> None:
    refuse("no such tar", source=f"{tmp_path}/*.tar")


def test_head_of_other_classes(refuse: Callable[..., None], save_untrained: Callable[..., Path]) -> None:
    refuse("cannot match the source's classes", weights=save_untrained(classes=("cat", "1", "10")))


def test_size_that_a_network_cannot_take(refuse: Callable[..., None]) -> None:
    refuse("at 16 px", size=16)


@pytest.mark.parametrize("field", ["source", "observer", "weights", "out"])
def test_empty_text(refuse: Callable[..., None], field: str) -> None:
    refuse(f"{field} is empty; give a value, or leave it out", **{field: ""})


def test_an_empty_list_of_classes(refuse: Callable[..., None]) -> None:
    refuse("--classes is empty; name some classes, or drop the flag to use all of them", classes="")


def test_weights_that_are_not_finite(refuse: Callable[..., None], trained_weights: Path, tmp_path: Path) -> None:
    state = load_file(trained_weights)
    state["classifier.bias" if "classifier.bias" in state else next(iter(state))].view(-1)[0] = torch.nan
    torch.save(state, tmp_path / "diverged.pth")
    refuse("holds numbers that are not finite", weights=tmp_path / "diverged.pth")


def test_weights_that_are_a_folder(refuse: Callable[..., None], tmp_path: Path) -> None:
    refuse(f"{tmp_path} is a folder, not a weights file; name the file in it", weights=tmp_path)


def test_out_that_is_being_written(run_cli: RunCli, shared_source: Path, trained_weights: Path, tmp_path: Path) -> None:
    lock = RunFolder(tmp_path / "run").lock
    lock.parent.mkdir(parents=True)
    flags = ("--weights", trained_weights, "--ipc", 1, "--size", 32, "--out", tmp_path / "run")
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        code, _, err = run_cli("distill", shared_source, "--observer", "rded:convnet3", *flags)
    assert (code, "is being written by another process; wait" in err) == (2, True), err


def test_validation_images_of_other_classes(
    run_cli: RunCli, finished_run: Path, image_folder: Path, tmp_path: Path
) -> None:
    (image_folder / "10").rename(image_folder / "cat")
    code, _, err = run_cli("evaluate", finished_run, "--val", image_folder, "--student", "convnet3")
    assert (code, "has no class for '10'" in err) == (2, True), err
    out = tmp_path / "observer.safetensors"
    code, _, err = run_cli("train-observer", image_folder, "--arch", "convnet3", "--val", finished_run, "--out", out)
    assert (code, out.exists()) == (2, False), err


def test_a_source_is_listed_once(
    run_cli: RunCli, shared_source: Path, trained_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rded_core.io.sources import spec
    from tasks.run.prepare import prepare

    def begin(config: DistillConfig, **_: object) -> None:
        prepare.fn(config)
        raise RunStopped("prepared")

    opened: list[str] = []
    list_tree = spec.list_tree
    monkeypatch.setattr(spec, "list_tree", lambda root: opened.append(root) or list_tree(root))
    monkeypatch.setattr("flows.distill.distill", begin)
    flags = ("--weights", trained_weights, "--ipc", 1, "--size", 32, "--out", tmp_path / "run")
    code, _, err = run_cli("distill", shared_source, "--observer", "rded:convnet3", *flags)
    assert (code, err) == (1, "rded: error: prepared\n")
    assert opened == [str(shared_source)]
