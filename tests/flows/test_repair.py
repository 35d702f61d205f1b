"""Any file in OUT is damaged: verify finds it, and repair restores every file to its original bytes."""

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from rded_core.config import DistillConfig, EvaluateConfig
from rded_core.io.layout.run import RunFolder
from rded_core.io.run.forgotten import Forgotten, write_forgotten
from rded_core.io.verify.findings import Findings
from tasks.verify.files import check_files

MakeConfig = Callable[..., DistillConfig]
Files = dict[str, bytes]

CONTROL = "work/controls/*"
KINDS = (
    *("run.json", "work/run.json", "forgotten.json", "work/forgotten.json", "evaluations/*.json"),
    *("work/evaluations/*.json", "work/index/*", "work/candidates/*", "work/observe/*", "work/realism/*"),
    *("work/selection/*", "work/squeeze/*", "work/soft_labels/epochs*", "work/soft_labels/images*", "work/publish/*"),
    *("work/students/*.result.json", "work/students/*s0.json", f"{CONTROL}/run.json"),
    *(f"{CONTROL}/{files}" for files in ("work/*/*", "dataset/*")),
    *("dataset/SHA256SUMS", "dataset/*.*", "dataset/*/*"),
)
"""Every kind of file is damaged before any is damaged a second time."""


@pytest.fixture(scope="module")
def whole(
    make_config: MakeConfig,
    without_prefect: Callable[[], AbstractContextManager[None]],
    shared_source: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[RunFolder, Files]:
    """A run with a list of forgotten images, an evaluation and its control; and the bytes of all its files."""
    run = RunFolder(tmp_path_factory.mktemp("repair") / "run")
    with without_prefect():
        from flows.distill import distill
        from flows.evaluate import evaluate

        distill(make_config(run.root))
        write_forgotten(run, Forgotten(frozenset({"0" * 64})))
        evaluate(
            EvaluateConfig(
                dataset=str(run.root), val=str(shared_source), student="convnet3", seeds=2, epochs=1, device="cpu"
            )
        )
    return run, _files(run.root)


def _files(root: Path) -> Files:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _repair(run: RunFolder) -> tuple[Findings, list[str]]:
    from flows.repair import repair

    lines: list[str] = []
    return repair(run, tell=lines.append), lines


def _flip(path: Path, draw: random.Random) -> str:
    data = bytearray(path.read_bytes())
    place, bit = draw.randrange(len(data)), draw.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    return f"bit {bit} of byte {place} flipped"


def _truncate(path: Path, draw: random.Random) -> str:
    data = path.read_bytes()
    length = draw.randrange(len(data))
    path.write_bytes(data[:length])
    return f"cut to {length} bytes"


def _delete(path: Path, _: random.Random) -> str:
    path.unlink()
    return "deleted"


def _damage_and_repair(
    run: RunFolder, before: Files, damage: Callable[[Path, random.Random], str], *, count: int
) -> None:
    draw = random.Random(f"{damage.__name__} {count}")
    started = time.monotonic()
    for number in range(count):
        kind = KINDS[number % len(KINDS)] if count > len(KINDS) else draw.choice(KINDS)
        path = draw.choice(sorted(path for path in run.root.glob(kind) if path.is_file()))
        what = f"{path.relative_to(run.root)} {damage(path, draw)}"
        assert check_files(run).faults, f"{what}: not found"
        findings, lines = _repair(run)
        assert not findings.faults, f"{what}: {lines} left {findings.faults}"
        assert lines, what
        after = _files(run.root)
        assert {name for name in before | after if before.get(name) != after.get(name)} == set(), f"{what}: {lines}"
    print(f"{count} files {damage.__name__.strip('_')}: all found, all repaired, {time.monotonic() - started:.0f} s")


@pytest.mark.usefixtures("plain_flows")
@pytest.mark.parametrize(("damage", "count"), [(_flip, 12), (_truncate, 4), (_delete, 6)])
def test_random_damage_is_found_and_repaired(
    whole: tuple[RunFolder, Files], damage: Callable[[Path, random.Random], str], count: int
) -> None:
    _damage_and_repair(*whole, damage, count=count)


@pytest.mark.soak
@pytest.mark.usefixtures("plain_flows")
@pytest.mark.parametrize(("damage", "count"), [(_flip, 200), (_truncate, 60), (_delete, 60)])
def test_much_random_damage_is_found_and_repaired(
    whole: tuple[RunFolder, Files], damage: Callable[[Path, random.Random], str], count: int
) -> None:
    _damage_and_repair(*whole, damage, count=count)


@pytest.mark.usefixtures("plain_flows")
def test_intact_run_is_left_unchanged(whole: tuple[RunFolder, Files]) -> None:
    run, _ = whole
    written = {path: path.stat().st_mtime_ns for path in run.root.rglob("*") if path.is_file()}
    findings, lines = _repair(run)
    assert (findings.faults, lines, findings.foreign) == ([], [], set()), "every file of a run has a known name"
    assert {path: path.stat().st_mtime_ns for path in run.root.rglob("*") if path.is_file()} == written


@pytest.mark.usefixtures("plain_flows")
@pytest.mark.parametrize("damage", [_flip, _delete])
def test_damaged_last_layer_is_remade(
    make_config: MakeConfig,
    run_undecorated: Callable[[DistillConfig], Path],
    tmp_path: Path,
    damage: Callable[[Path, random.Random], str],
) -> None:
    run = RunFolder(tmp_path / "run")
    head = run_undecorated(make_config(run.root, label_codec="features", label_epochs=2)) / "teacher_head.parquet"
    before = _files(run.root)
    damage(head, random.Random(0))
    assert head in {fault.path for fault in check_files(run).faults}
    findings, lines = _repair(run)
    assert not findings.faults
    assert any("dataset" in line for line in lines)
    assert _files(run.root) == before
