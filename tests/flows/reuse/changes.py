"""Changes of config and source, and what a run remade after them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from rded_core.config import DistillConfig
from rded_core.io.layout.units import class_unit
from rded_core.io.run.inventory import CLASS_STAGES

MakeConfig = Callable[..., DistillConfig]
Distill = Callable[..., dict[str, Any]]


ALL = frozenset({"1", "10", "2"})
TEN = frozenset({"10"})
NONE: frozenset[str] = frozenset()

WHOLE_STAGES = ("observe", "soft_labels", "publish")


def save_picture(path: Path) -> None:
    Image.radial_gradient("L").convert("RGB").resize((44, 40)).save(path, quality=95)


def add_images(source: Path) -> None:
    for number in range(3):
        save_picture(source / "10" / f"new{number}.jpg")


def edit_images(source: Path) -> None:
    for path in sorted((source / "10").iterdir()):
        save_picture(path)


def delete_images(source: Path) -> None:
    for path in sorted((source / "10").iterdir())[:2]:
        path.unlink()


def touch_images(source: Path) -> None:
    for path in (source / "10").iterdir():
        path.touch()


def stages_from(stage: str, classes: frozenset[str]) -> dict[str, frozenset[str]]:
    return dict.fromkeys(CLASS_STAGES[CLASS_STAGES.index(stage) :], classes)


def written(out: Path) -> dict[str, int]:
    work = out / "work"
    return {path.relative_to(work).as_posix(): path.stat().st_mtime_ns for path in work.glob("*/*.json")}


def remade_since(out: Path, before: dict[str, int]) -> tuple[dict[str, set[str]], set[str]]:
    """Returns the classes with rewritten records by stage, and the rewritten stages that cover all classes."""
    new = {name for name, time_ns in written(out).items() if before.get(name) != time_ns}
    folders = {class_unit(folder): folder for folder in ALL}
    classes: dict[str, set[str]] = {}
    for name in new:
        stage, unit = name.removesuffix(".json").split("/")
        if stage in CLASS_STAGES:
            classes.setdefault(stage, set()).add(folders[unit])
    return classes, {name.split("/")[0] for name in new} & set(WHOLE_STAGES)


def sums_of(out: Path) -> str:
    return (out / "dataset" / "SHA256SUMS").read_text()
