"""Refresh: nothing is written if nothing changed; otherwise everything is remade that distilling would remake."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect.states import State

from rded_core.config import DistillConfig
from rded_core.errors import OutInUse
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import class_unit
from tests.flows.reuse.changes import (
    Distill,
    MakeConfig,
    add_images,
    delete_images,
    edit_images,
    sums_of,
    touch_images,
)

Change = Callable[[Path], object]


@pytest.fixture
def refresh(plain_flows: None) -> Distill:  # noqa: ARG001
    from flows.refresh import refresh

    return refresh  # type: ignore[return-value]


@pytest.fixture
def config(out: Path, source: Path, restore_source: None, make_config: MakeConfig) -> DistillConfig:  # noqa: ARG001
    """The config of the finished run; its source may be changed."""
    return make_config(out, source=str(source))


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    stats = {path.relative_to(folder).as_posix(): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: (stat.st_mtime_ns, stat.st_ino) for name, stat in stats.items()}


def test_nothing_is_written_if_nothing_changed(refresh: Distill, config: DistillConfig, out: Path) -> None:
    before = _state(out)
    record = refresh(config)
    assert _state(out) == before
    assert record["changed"] is False
    assert record["num_images"] == 6
    assert record["dataset"] == str(out / "dataset")


def test_neutral_settings_do_not_count_as_a_change(
    refresh: Distill, out: Path, source: Path, make_config: MakeConfig
) -> None:
    assert refresh(make_config(out, source=str(source), workers=1, classes_per_shard=1))["changed"] is False


@pytest.mark.parametrize("change", [add_images, delete_images, edit_images])
def test_changed_sources_are_distilled_again(
    refresh: Distill, distill: Distill, config: DistillConfig, source: Path, make_config: MakeConfig,
    tmp_path: Path, change: Change,
) -> None:  # fmt: skip
    change(source)
    assert refresh(config)["changed"] is True
    distill(make_config(tmp_path / "new", source=str(source)))
    assert sums_of(tmp_path / "run") == sums_of(tmp_path / "new")
    assert refresh(config)["changed"] is False


def test_touched_images_are_read_once(refresh: Distill, config: DistillConfig, source: Path, out: Path) -> None:
    before = sums_of(out)
    touch_images(source)
    assert [refresh(config)["changed"] for _ in range(2)] == [True, False]
    assert sums_of(out) == before


def test_run_that_stopped_after_listing_is_resumed(refresh: Distill, config: DistillConfig, source: Path) -> None:
    """The index already lists the current images; what was made from the earlier ones is still recognised."""
    from tasks.run.prepare import prepare

    touch_images(source)
    prepare.fn(config)
    assert [refresh(config)["changed"] for _ in range(2)] == [True, False]


def test_classes_left_out_before_are_made(
    refresh: Distill, distill: Distill, config: DistillConfig, source: Path
) -> None:
    add_images(source)
    distill(config, only_classes=["1"])
    record = refresh(config)
    assert record["changed"] is True
    assert {work["stage"]: work["made"] for work in record["work"]}["draw"] == 1


@pytest.mark.parametrize("changes", [{"ipc": 1}, {"seed": 1}, {"temperature": 3.0}, {"max_rejected": 0.5}])
def test_changed_settings_are_noticed(
    refresh: Distill, out: Path, source: Path, make_config: MakeConfig, changes: dict[str, object]
) -> None:
    assert refresh(make_config(out, source=str(source), **changes))["changed"] is True


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGE: dict[str, Change] = {
    "labels": lambda out: next((out / "dataset" / "soft_labels").iterdir()).unlink(),
    "image": lambda out: _cut(next((out / "dataset" / "images").iterdir())),
    "sums": lambda out: (out / "dataset" / "SHA256SUMS").unlink(),
    "stray": lambda out: (out / "dataset" / "images" / "train-000009.tar").touch(),
    "dataset": lambda out: shutil.rmtree(out / "dataset"),
    "record": lambda out: RunFolder(out).record("publish", "dataset").unlink(),
    "tiles": lambda out: RunFolder(out).record("squeeze", class_unit("10")).unlink(),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_repaired(refresh: Distill, config: DistillConfig, out: Path, name: str) -> None:
    before = sums_of(out)
    DAMAGE[name](out)
    assert [refresh(config)["changed"] for _ in range(2)] == [True, False]
    assert sums_of(out) == before
    assert not (out / "dataset" / "images" / "train-000009.tar").exists()


def test_first_refresh_distils(refresh: Distill, make_config: MakeConfig, tmp_path: Path) -> None:
    record = refresh(make_config(tmp_path / "new", label_epochs=2))
    assert record["changed"] is True
    assert (tmp_path / "new" / "dataset").is_dir()


def test_forgotten_images_stay_forgotten(refresh: Distill, config: DistillConfig, out: Path) -> None:
    from flows.forget import forget
    from rded_core.io.formats.schemas import CANDIDATES
    from rded_core.io.formats.tables import read_rows
    from rded_core.io.run.forgotten import begin_forgetting

    row = read_rows(RunFolder(out).table("candidates", class_unit("10")), CANDIDATES)[0]
    forget(str(out), [row["source_uri"]])  # type: ignore[arg-type]
    assert refresh(config)["changed"] is False
    begin_forgetting(RunFolder(out), {row["source_sha256"]: []}, [])
    assert refresh(config)["changed"] is True


@pytest.fixture
def flow(prefect_harness: None) -> Iterator[Callable[[DistillConfig], State]]:  # noqa: ARG001
    from flows.refresh import refresh

    yield lambda config: refresh(config, return_state=True)


def test_state_says_that_nothing_changed(
    flow: Callable[[DistillConfig], State], config: DistillConfig, source: Path
) -> None:
    state = flow(config)
    assert (state.is_completed(), state.message) == (True, "nothing changed")
    assert state.result()["changed"] is False
    add_images(source)
    state = flow(config)
    assert (state.is_completed(), state.message) == (True, None)
    assert state.result()["changed"] is True


@pytest.fixture
def other_writer(out: Path) -> Iterator[None]:
    """Another process that writes to the run folder."""
    lock = RunFolder(out).lock
    with lock.open("w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write("ann, process 7 on box")
        stream.flush()
        yield
    lock.unlink(missing_ok=True)


def _run_as(monkeypatch: pytest.MonkeyPatch, *, is_scheduled: bool) -> None:
    context = SimpleNamespace(flow_run=SimpleNamespace(auto_scheduled=is_scheduled))
    monkeypatch.setattr("tasks.runtime.states.FlowRunContext", SimpleNamespace(get=lambda: context))


@pytest.mark.usefixtures("other_writer")
def test_a_scheduled_refresh_that_meets_a_writer_is_skipped(
    refresh: Distill, config: DistillConfig, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed run would notify an operator, who has nothing to do."""
    _run_as(monkeypatch, is_scheduled=True)
    before = _state(out)
    state = refresh(config)
    assert isinstance(state, State)
    assert state.is_completed()
    assert state.message == f"skipped: --out {out} is being written by ann, process 7 on box"
    assert _state(out) == before


@pytest.mark.usefixtures("other_writer")
@pytest.mark.parametrize("is_in_prefect", [True, False])
def test_a_refresh_by_hand_that_meets_a_writer_fails(
    refresh: Distill, config: DistillConfig, monkeypatch: pytest.MonkeyPatch, is_in_prefect: bool
) -> None:
    if is_in_prefect:
        _run_as(monkeypatch, is_scheduled=False)
    with pytest.raises(OutInUse, match="is being written by ann, process 7 on box; wait until it is done"):
        refresh(config)


@pytest.mark.usefixtures("other_writer")
def test_a_scheduled_distillation_that_meets_a_writer_fails(
    plain_flows: None,  # noqa: ARG001
    config: DistillConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only a refresh may be skipped: nothing else repeats a distillation."""
    from flows.distill import distill

    _run_as(monkeypatch, is_scheduled=True)
    with pytest.raises(OutInUse):
        distill(config)
