"""Fixtures for all tests: small real files made on demand, a trained network, runs with and without Prefect."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from rded_core.config import DistillConfig
    from tests.support.shared import MakeOnce

pytest_plugins = (
    "tests.support.selection",
    "tests.support.shared",
    "tests.support.shapes",
    "tests.support.prefect_server",
    "tests.support.s3",
)

# With more torch threads than cores, each spins while it waits for the others: four times the work in all.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

CLASSES = ("1", "10", "2")
IMAGES_PER_CLASS = 12


def photo_like(seed: int, *, height: int = 48, width: int = 40, hue: int = 0) -> Image.Image:
    """Returns a smooth picture with some texture: JPEG-like statistics, and a colour that depends on its class."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int32)
    smooth[..., hue % 3] += 60
    noise = rng.integers(-8, 9, (height, width, 3))
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def draw_photo() -> Callable[..., Image.Image]:
    """Returns `photo_like`, for test modules, which cannot import it."""
    return photo_like


def _write_image_folder(root: Path) -> Path:
    for hue, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(IMAGES_PER_CLASS):
            picture = photo_like(100 * hue + number, height=36 + number, width=50 - number, hue=hue)
            picture.save(root / name / f"{number:03d}.jpg", quality=92)
    return root


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Returns an ImageFolder of three classes (named to expose natural sorting) of twelve JPEGs of varied sizes."""
    return _write_image_folder(tmp_path / "source")


@pytest.fixture(scope="session")
def shared_source(make_once: MakeOnce) -> Path:
    """Returns one image folder for the session; tests must not change it."""
    return make_once("images", lambda folder: _write_image_folder(folder / "source")) / "source"


@pytest.fixture(scope="session")
def trained_weights(shared_source: Path, make_once: MakeOnce) -> Path:
    """Returns weights of a convnet3 that distinguishes the three classes, trained for a few steps outside any flow."""
    return make_once("weights", lambda folder: _train(shared_source, folder)) / "trained.safetensors"


def _train(source: Path, folder: Path) -> None:
    from rded_core.config import TrainObserverConfig
    from rded_core.io.device.threads import one_torch_thread
    from tasks.training.train_observer import train_observer
    from tests.support.shapes import shapes_checked

    config = TrainObserverConfig(
        source=str(source),
        arch="convnet3",
        out=str(folder / "trained.safetensors"),
        epochs=8,
        size=32,
        batch_size=12,
        lr=0.02,
        device="cpu",
    )
    with one_torch_thread(), shapes_checked(False):
        train_observer.fn(config)


SaveNetwork = Callable[..., Path]


@pytest.fixture(scope="session")
def save_untrained(tmp_path_factory: pytest.TempPathFactory) -> SaveNetwork:
    """Returns a function that saves an untrained network: ``save_untrained(arch="convnet3", classes=..., size=32)``."""
    from rded_core.io.networks.weights import save_network
    from rded_core.networks import build_network
    from rded_core.networks.preprocessing import Preprocessing
    from rded_core.seeds import seeded_init

    def save(*, arch: str = "convnet3", classes: tuple[str, ...] = CLASSES, size: int = 32) -> Path:
        with seeded_init(7):
            network = build_network(arch, num_classes=len(classes), size=size)
        path = tmp_path_factory.mktemp("untrained") / f"{arch}.safetensors"
        save_network(network, path, preprocessing=Preprocessing(size=size), facts={"arch": arch, "classes": classes})
        return path

    return save


MakeConfig = Callable[..., "DistillConfig"]


@pytest.fixture(scope="session")
def make_config(shared_source: Path, trained_weights: Path) -> MakeConfig:
    """Returns a function for the config of a short run: two class shards, two label tables, two batches per epoch."""
    from rded_core.config import DistillConfig

    def make(out: Path, **changes: object) -> DistillConfig:
        fields = {
            "source": str(shared_source),
            "observer": "rded:convnet3",
            "weights": str(trained_weights),
            "ipc": 2,
            "num_candidates": 10,
            "num_crops": 3,
            "size": 32,
            "label_epochs": 12,
            "label_batch_size": 4,
            "classes_per_shard": 2,
            "image_format": "png",
            "device": "cpu",
            "workers": 2,
        }
        return DistillConfig(out=str(out), **{**fields, **changes})  # pyright: ignore[reportArgumentType]

    return make


@pytest.fixture(scope="session")
def finished_run(
    prefect_harness: None,  # noqa: ARG001
    make_config: MakeConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Returns the run folder of a finished ``distill`` flow; tests that change it must copy it first."""
    from flows.distill import distill
    from tests.support.shapes import shapes_checked

    out = tmp_path_factory.mktemp("runs") / "finished"
    with shapes_checked(False):
        distill(make_config(out))
    return out


@contextmanager
def _plain_flows() -> Iterator[None]:
    from prefect import Flow, Task

    import flows.distill
    import flows.evaluate
    import flows.forget
    import flows.refresh
    import flows.repair
    import flows.train_observer
    from tests.support.shapes import shapes_checked

    with shapes_checked(False), pytest.MonkeyPatch.context() as patch:
        modules = (flows.distill, flows.evaluate, flows.forget, flows.refresh, flows.repair, flows.train_observer)
        for module in modules:
            for name, value in list(vars(module).items()):
                if isinstance(value, Flow | Task):
                    patch.setattr(module, name, value.fn)
        yield


@pytest.fixture(scope="session")
def without_prefect() -> Callable[[], AbstractContextManager[None]]:
    """Returns a context manager that does the same as `plain_flows`, for fixtures that outlive a test."""
    return _plain_flows


@pytest.fixture
def plain_flows() -> Iterator[None]:
    """Removes the decorators of all flows and tasks: the same code without Prefect, a server or shape checks."""
    with _plain_flows():
        yield


RunUndecorated = Callable[["DistillConfig"], Path]


@pytest.fixture(scope="session")
def run_undecorated() -> RunUndecorated:
    """Returns a function that distils without decorators and returns the dataset folder."""

    def run(config: DistillConfig) -> Path:
        with _plain_flows():
            from flows.distill import distill

            return Path(distill(config)["dataset"])

    return run


@pytest.fixture(scope="session")
def short_run(
    make_config: MakeConfig, run_undecorated: Callable[[DistillConfig], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Returns a finished run of two label epochs, made without Prefect; tests that change it must copy it first."""
    run = tmp_path_factory.mktemp("short") / "run"
    run_undecorated(make_config(run, label_epochs=2))
    return run


RunCli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[RunCli]:
    """Yields a function that runs ``rded ARGUMENTS`` and returns exit code, stdout, and stderr with Prefect's logs."""
    from deployments.cli.main import main

    monkeypatch.setattr("deployments.cli.main.prepare_environment", lambda: None)
    monkeypatch.setattr("deployments.server.temporary.start", lambda: None)
    monkeypatch.setenv("COLUMNS", "80")
    loggers = [logging.getLogger(name) for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine")]
    handlers: list[logging.Handler] = []

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rded", *map(str, arguments)])
        handlers.append(logging.StreamHandler(sys.stderr))
        for logger in loggers:
            logger.addHandler(handlers[-1])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    yield run
    for logger in loggers:
        for handler in handlers:
            logger.removeHandler(handler)
