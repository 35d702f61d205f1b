"""A small real source, and an undisturbed run of it to compare with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import photo_like
from tests.faults.harness import Command, Outcome
from tests.support.shared import MakeOnce

CLASSES = tuple(f"class-{letter}" for letter in "abcdefghijkl")
IMAGES_PER_CLASS = 13

FLAGS = (
    "--observer", "rded:convnet3", "--ipc", "2", "--num-candidates", "12", "--num-crops", "2", "--size", "16",
    "--label-epochs", "25", "--label-batch-size", "12", "--classes-per-shard", "5", "--image-format", "png",
    "--device", "cpu", "--workers", "2", "--force",
)  # fmt: skip
"""Flags that give three class shards and three label tables, with an untrained observer, which needs --force."""

MakeCommand = Callable[..., Command]


def write_source(root: Path) -> Path:
    """Writes an image folder of a dozen classes, in PNG and JPEG; returns `root`."""
    for hue, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for number in range(IMAGES_PER_CLASS):
            suffix = "png" if number % 2 else "jpg"
            photo_like(100 * hue + number, height=36 + number, width=44, hue=hue).save(
                root / name / f"{number}.{suffix}"
            )
    return root


@pytest.fixture(scope="session")
def fault_source(make_once: MakeOnce) -> Path:
    """The source, which tests do not change."""
    return make_once("faults", lambda folder: write_source(folder / "source")) / "source"


@pytest.fixture(scope="session")
def fault_weights(save_untrained: Callable[..., Path]) -> Path:
    """An observer for the source's classes."""
    return save_untrained(classes=CLASSES, size=16)


@pytest.fixture
def make_command(fault_source: Path, fault_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeCommand:
    """Makes a ``distill`` command: ``make_command(out, "--ipc", "3", source=..., environment=...)``."""

    def make(out: Path, *flags: str, source: Path = fault_source, environment: dict[str, str] | None = None) -> Command:
        arguments = ["distill", str(source), "--weights", str(fault_weights), *FLAGS, *flags, "--out", str(out)]
        return Command(arguments, out, tmp_path_factory.mktemp("logs"), environment)

    return make


@pytest.fixture(scope="session")
def undisturbed(fault_source: Path, fault_weights: Path, make_once: MakeOnce) -> tuple[Path, list[str]]:
    """The run folder of an undisturbed run, and its file operations in order."""

    def run(folder: Path) -> None:
        flags = ["--weights", str(fault_weights), *FLAGS, "--out", str(folder / "run")]
        (folder / "logs").mkdir()
        command = Command(["distill", str(fault_source), *flags], folder / "run", folder / "logs")
        command.finish(log=str(folder / "log.txt"))

    folder = make_once("undisturbed", run)
    return folder / "run", list(dict.fromkeys((folder / "log.txt").read_text().splitlines()))


@pytest.fixture(scope="session")
def expected(undisturbed: tuple[Path, list[str]]) -> Outcome:
    """The outcome that every run of the source must have."""
    return Outcome.of(undisturbed[0])
