"""The train-observer flow: a file that distill can use, the same for the same config."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tasks.training.train_observer as train_module
from flows.train_observer import train_observer
from rded_core.config import TrainObserverConfig
from rded_core.errors import InputError
from rded_core.io.networks.observers import open_observer
from rded_core.io.networks.weights import read_weights
from rded_core.io.sources.spec import open_source
from rded_core.io.training import checkpoints
from tasks.training.train_observer import train_observer as train_stage


def _config(source: Path, out: Path, **changes: Any) -> TrainObserverConfig:
    fields = {"arch": "convnet3", "epochs": 2, "size": 32, "batch_size": 12, "lr": 0.02, "device": "cpu", "workers": 2}
    return TrainObserverConfig(source=str(source), out=str(out), **{**fields, **changes})


@pytest.mark.usefixtures("prefect_harness")
def test_flow_writes_an_observer_of_the_sources_classes(shared_source: Path, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "observer.safetensors"
    record = train_observer(_config(shared_source, path, val=str(shared_source)))
    assert (record["num_images"], record["num_classes"], record["path"]) == (36, 3, str(path))
    assert 0.0 <= record["top1"] <= record["top5"] == 1.0
    observer = open_observer("rded:convnet3", str(path), classes=open_source(str(shared_source)).classes, size=32)
    assert observer.facts["top1"] == record["top1"]
    assert observer.network(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


def test_number_of_workers_does_not_change_the_weights(shared_source: Path, tmp_path: Path) -> None:
    classes = open_source(str(shared_source)).classes
    digests: set[str] = set()
    for workers in (1, 3):
        path = tmp_path / f"{workers}.safetensors"
        train_stage.fn(_config(shared_source, path, workers=workers))
        digests.add(open_observer("rded:convnet3", str(path), classes=classes, size=32).digest)
    assert len(digests) == 1


class _PulledPlugError(Exception):
    pass


def _interrupt_after(num_epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops training right after the checkpoint of an epoch has been written."""
    done: list[int] = []
    save = checkpoints.save_checkpoint

    def save_and_stop(*arguments: Any, **options: Any) -> None:
        save(*arguments, **options)
        done.append(options["num_epochs"])
        if done[-1] == num_epochs:
            raise _PulledPlugError

    monkeypatch.setattr("tasks.training.train_observer.save_checkpoint", save_and_stop)


def test_interrupted_training_resumes_to_the_same_bytes(
    shared_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, halves = tmp_path / "whole.safetensors", tmp_path / "halves.safetensors"
    train_stage.fn(_config(shared_source, whole, epochs=3))
    with monkeypatch.context() as patch:
        _interrupt_after(2, patch)
        with pytest.raises(_PulledPlugError):
            train_stage.fn(_config(shared_source, halves, epochs=3))
    assert not halves.exists()
    epochs: list[int] = []
    train_epoch = train_module.train_epoch
    monkeypatch.setattr(train_module, "train_epoch", lambda *a, **k: (epochs.append(1), train_epoch(*a, **k))[1])
    train_stage.fn(_config(shared_source, halves, epochs=3))
    assert len(epochs) == 1, "only the third epoch was left"
    assert halves.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {whole.name, halves.name}, "the checkpoint was deleted"


def test_checkpoint_of_a_different_training_is_neither_used_nor_lost(
    shared_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    with monkeypatch.context() as patch:
        _interrupt_after(1, patch)
        with pytest.raises(_PulledPlugError):
            train_stage.fn(_config(shared_source, path))
    kept = (tmp_path / "x.safetensors.checkpoint").read_bytes()
    with pytest.raises(
        InputError, match=r"checkpoint holds 1 epoch of a different training \(epochs was 2, now 3\); give"
    ):
        train_stage.fn(_config(shared_source, path, epochs=3))
    assert (tmp_path / "x.safetensors.checkpoint").read_bytes() == kept


def test_damaged_checkpoint_counts_as_missing(shared_source: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for damage in (b"", b"PK\x03\x04 half a file", b"\x80\x02}q\x00X"):
        (tmp_path / "x.safetensors.checkpoint").write_bytes(damage)
        train_stage.fn(_config(shared_source, path, epochs=1))
        path.unlink()


def test_weights_have_default_file_permissions(shared_source: Path, tmp_path: Path) -> None:
    """Like any other file: what the user's umask allows."""
    (tmp_path / "plain").touch()
    train_stage.fn(_config(shared_source, tmp_path / "x.safetensors", epochs=1))
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_trained_weights_are_not_overwritten(shared_source: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"hours of training")
    with pytest.raises(InputError, match=r"x\.safetensors exists already; choose another name, or delete it"):
        train_stage.fn(_config(shared_source, path))
    assert path.read_bytes() == b"hours of training"


def test_start_from_weights_of_other_classes(
    shared_source: Path, save_untrained: Callable[..., Path], tmp_path: Path
) -> None:
    """The body is loaded, the head is not; a single tiny step then moves neither far."""
    start = save_untrained(classes=("cat", "dog"))
    train_stage.fn(_config(shared_source, tmp_path / "x.safetensors", init=str(start), epochs=1, lr=1e-6))
    before, _ = read_weights(str(start))
    after, facts = read_weights(str(tmp_path / "x.safetensors"))
    torch.testing.assert_close(after["features.0.weight"], before["features.0.weight"], atol=1e-4, rtol=0)
    assert after["classifier.weight"].shape[0] == 3
    assert facts["classes"] == ["1", "10", "2"]


def test_unknown_network_error_lists_the_choices(shared_source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown network 'resnet99' .*choose convnet3"):
        train_stage.fn(_config(shared_source, tmp_path / "x.safetensors", arch="resnet99"))
    assert not list(tmp_path.iterdir())


def test_files_that_classes_lose_are_a_warning_for_each_source(
    shared_source: Path, image_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (image_folder / "10" / "more.heic").write_bytes(b"x")
    lost = f"left out of {image_folder}: files that end in .heic, which is not read: 1 (the first: 10/more.heic)"
    for number, sources in enumerate([(shared_source, image_folder), (image_folder, None)]):
        source, val = sources
        caplog.clear()
        with caplog.at_level("WARNING", logger="rded"):
            train_stage.fn(_config(source, tmp_path / f"{number}.safetensors", epochs=1, val=val and str(val)))
        assert [record.getMessage() for record in caplog.records if "left out" in record.getMessage()] == [lost]


def test_validation_without_a_class_is_an_error(shared_source: Path, image_folder: Path, tmp_path: Path) -> None:
    (image_folder / "10").rename(image_folder / "ten")
    with pytest.raises(InputError, match=r"no class for '10'; its classes are 1, 2, ten"):
        train_stage.fn(_config(shared_source, tmp_path / "x.safetensors", val=str(image_folder)))
