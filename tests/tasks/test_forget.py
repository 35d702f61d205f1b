"""Forgetting: as if the image had never been in the source, and nothing of it left."""

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextvars import Context
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io import tables
from rded_core.io.forgotten import begin_forgetting, end_forgetting, is_forgetting, read_begun, read_forgotten
from rded_core.io.images import RejectedImage
from rded_core.io.known_images import find_images_named
from rded_core.io.locks import only_writer
from rded_core.io.paths import RunFolder
from rded_core.io.shards import write_shard
from tasks.candidates import read_candidate

MakeConfig = Callable[..., DistillConfig]
RunUndecorated = Callable[[DistillConfig], Path]
Forget = Callable[..., dict[str, Any]]


@pytest.fixture
def forget(plain_flows: None) -> Forget:  # noqa: ARG001
    """``forget(run, name, ...)``, without Prefect."""

    def call(run: Path, *names: str) -> dict[str, Any]:
        from flows.forget import forget

        return forget(str(run), list(names))

    return call


@pytest.fixture(scope="module")
def finished(
    make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run, which tests copy."""
    run = tmp_path_factory.mktemp("forget") / "run"
    run_undecorated(make_config(run))
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def _sums(run: Path) -> str:
    return (run / "dataset" / "SHA256SUMS").read_text()


def _lineage(run: Path) -> list[dict[str, Any]]:
    return pq.read_table(run / "dataset" / "lineage").to_pylist()


def _row(run: Path, *, class_index: int = 0, rank: int = 0) -> dict[str, Any]:
    return next(row for row in _lineage(run) if (row["class_index"], row["rank"]) == (class_index, rank))


def _fresh(run: Path, config: DistillConfig, run_undecorated: RunUndecorated) -> str:
    """Returns the sums of a run that never had what `run` has forgotten."""
    fresh = Path(config.out)
    fresh.mkdir()
    shutil.copy(run / "forgotten.json", fresh)
    run_undecorated(config)
    return _sums(fresh)


def _pieces(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yields every file below a folder, every member of its tars, and every column of its tables."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        name = path.relative_to(folder).as_posix()
        yield name, path.read_bytes()
        if path.suffix == ".tar":
            with tarfile.open(path) as archive:
                for member in archive:
                    opened = archive.extractfile(member)
                    yield f"{name}/{member.name}", opened.read() if opened else b""
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            for column in table.column_names:
                yield f"{name}:{column}", json.dumps(table[column].to_pylist(), default=str).encode()


def _traces(run: Path, *needles: bytes) -> set[str]:
    """Names every piece of a run that holds one of the needles, but the list of what is forgotten, and its copy."""
    lists = {"forgotten.json", "work/forgotten.json"}
    return {name for name, data in _pieces(run) if name not in lists and any(needle in data for needle in needles)}


def test_a_run_that_forgot_is_one_that_never_knew(
    run: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    before, used = _sums(run), _row(run)
    done = forget(run, used["source_uri"])
    assert _sums(run) != before
    assert used["source_uri"] not in {row["source_uri"] for row in _lineage(run)}
    assert [row["key"] for row in done["uses"]] == [used["key"]]
    assert [row["class_index"] for row in done["refilled"]] == [0]
    assert (done["num_images"], done["num_labels"]) == (6, 6 * 12)
    assert _sums(run) == _fresh(run, make_config(tmp_path / "fresh"), run_undecorated)


def test_only_passes_that_show_a_changed_image_are_labelled_again(
    forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("tasks.soft_labels.CPU_ROWS", 2)
    run_undecorated(make_config(tmp_path / "run", label_batch_size=2))
    done = forget(tmp_path / "run", _row(tmp_path / "run")["source_uri"])
    assert 0 < done["num_labels_made"] < done["num_labels"]
    fresh = make_config(tmp_path / "fresh", label_batch_size=2)
    assert _sums(tmp_path / "run") == _fresh(tmp_path / "run", fresh, run_undecorated)


def test_nothing_is_scored_again(run: Path, forget: Forget, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("scored")

    monkeypatch.setattr("tasks.realism.score_group", fail)
    forget(run, _row(run)["source_uri"])


def test_nothing_of_it_is_left(run: Path, shared_source: Path, forget: Forget) -> None:
    row = _row(run, class_index=2)
    data = (shared_source / row["source_uri"]).read_bytes()
    digest, uri = row["source_sha256"].encode(), row["source_uri"].encode()
    half = [f"work/candidates/.x.tar.{writer}.tmp" for writer in ("999999999", "elsewhere-1", os.getppid())]
    for stray in (*half, "work/squeeze/.x.tar.elsewhere-1.tmp", "work/dataset/images/x", "work/dataset.old/x"):
        (run / stray).parent.mkdir(parents=True, exist_ok=True)
        (run / stray).write_bytes(data)
    assert _traces(run, data)
    forget(run, row["source_sha256"])
    assert not _traces(run, data, digest)
    assert {name.partition(":")[0] for name in _traces(run, uri)} <= _listings(run), "the source lists it still"


def _listings(run: Path) -> set[str]:
    return {path.relative_to(run).as_posix() for path in (run / "work" / "index").iterdir()}


def test_not_even_its_name_where_the_source_has_it_no_more(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_undecorated(make_config(run, source=str(image_folder)))
    uri = _row(run)["source_uri"]
    (image_folder / uri).unlink()
    forget(run, uri)
    assert not _traces(run, uri.encode())


@pytest.mark.parametrize("killed", [False, True])
def test_nor_its_name_where_it_was_lost_when_its_class_was_tiled(
    run: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, killed: bool,
) -> None:  # fmt: skip
    """No selection shows it then, and tiling again gives the same images: only the records and the report name it."""
    uri, read = _row(run)["source_uri"], read_candidate

    def lose(run: RunFolder, unit: str, row: dict[str, Any], **rest: Any) -> bytes:
        if row["source_uri"] == uri:
            raise RejectedImage("changed", uri)
        return read(run, unit, row, **rest)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tasks.squeeze.read_candidate", lose)
        shutil.rmtree(run / "work" / "squeeze")
        run_undecorated(make_config(run))
    named = {name.partition(":")[0] for name in _traces(run, uri.encode())}
    assert {"dataset/report/index.html", "work/publish/dataset.json"} < named
    assert any(name.startswith("work/squeeze/") for name in named)
    with monkeypatch.context() as patch:
        if killed:  # when candidates and scores are without it, and nothing else is
            patch.setattr("tasks.scrub._images_are_free", die)
            with pytest.raises(KeyboardInterrupt):
                forget(run, uri)
    forget(run, uri)
    assert {name.partition(":")[0] for name in _traces(run, uri.encode())} <= _listings(run)
    assert _sums(run) == _fresh(run, make_config(tmp_path / "fresh"), run_undecorated)


def test_uri_and_sha256_name_the_same(run: Path, finished: Path, forget: Forget, tmp_path: Path) -> None:
    other = Path(shutil.copytree(finished, tmp_path / "other"))
    row = _row(run)
    forget(run, row["source_uri"])
    forget(other, row["source_sha256"].upper())
    assert _sums(run) == _sums(other)
    assert read_forgotten(RunFolder(run)) == read_forgotten(RunFolder(other))


def test_together_is_one_after_the_other(
    finished: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    names = [_row(finished, rank=rank, class_index=index)["source_uri"] for index, rank in ((0, 0), (0, 5), (2, 3))]
    together, singly = (Path(shutil.copytree(finished, tmp_path / name)) for name in ("together", "singly"))
    done = forget(together, *names)
    assert [image["classes"] for image in sorted(done["images"], key=lambda image: image["uris"])] == [
        ["1"], ["1"], ["2"],
    ]  # fmt: skip
    for name in reversed(names):
        forget(singly, name)
    assert _sums(together) == _sums(singly) == _fresh(together, make_config(tmp_path / "new"), run_undecorated)


def test_twice_is_once(run: Path, forget: Forget) -> None:
    row = _row(run)
    forget(run, row["source_uri"])
    sums = _sums(run)
    before = _files(run)
    assert forget(run, row["source_uri"], row["source_sha256"]) == {"already": [row["source_sha256"]]}
    assert _files(run) == before
    other = _row(run, class_index=1)
    done = forget(run, row["source_uri"], other["source_uri"])
    assert {use["source_sha256"] for use in done["uses"]} == {other["source_sha256"]}
    assert _sums(run) != sums


def test_killed_after_the_note_the_next_run_does_the_rest(
    run: Path, finished: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    uri = _row(run)["source_uri"]
    with monkeypatch.context() as patch:
        patch.setattr("tasks.forget.scrub", die)
        with pytest.raises(KeyboardInterrupt):
            forget(run, uri)
    again = Path(shutil.copytree(run, tmp_path / "again"))
    forget(whole, uri)
    run_undecorated(make_config(run))
    assert _sums(run) == _sums(whole)
    done = forget(again, uri)
    assert done["uses"]
    assert _sums(again) == _sums(whole)


@pytest.mark.parametrize("killed", ["write_rows", "write_record", "write_shard", "drop_unit"])
def test_killed_while_it_takes_out(
    run: Path, finished: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, killed: str,
) -> None:  # fmt: skip
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    uri = _row(run)["source_uri"]
    with monkeypatch.context() as patch:
        patch.setattr(f"tasks.scrub.{killed}", die)
        with pytest.raises(KeyboardInterrupt):
            forget(run, uri)
    forget(whole, uri)
    run_undecorated(make_config(run))
    assert _sums(run) == _sums(whole)


@pytest.mark.parametrize("killed", ["tasks.forget.write_forgotten", "tasks.forget.scrub", "flows.forget.distill"])
def test_killed_it_is_ended_by_the_same_name_though_the_source_has_it_no_more(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, killed: str,
) -> None:  # fmt: skip
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    config = make_config(tmp_path / "run", source=str(image_folder))
    run_undecorated(config)
    run_undecorated(make_config(tmp_path / "run/work/controls/random", source=str(image_folder), selection="random"))
    run, row = tmp_path / "run", _row(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(killed, die)
        with pytest.raises(KeyboardInterrupt):
            forget(run, row["source_uri"])
    (image_folder / row["source_uri"]).unlink()
    if "distill" in killed:
        run_undecorated(config)
    done = forget(run, row["source_uri"])
    assert [(image["sha256"], image["uris"]) for image in done["images"]] == [
        (row["source_sha256"], [row["source_uri"]])
    ]
    assert not _traces(run, row["source_uri"].encode(), row["source_sha256"].encode())
    with pytest.raises(InputError, match="of an image that was forgotten, no more than that is kept"):
        forget(run, row["source_uri"])


def test_a_forgetting_that_was_killed_is_ended_with_the_next(
    run: Path, forget: Forget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    rows = [_row(run, class_index=index) for index in (0, 1)]
    with monkeypatch.context() as patch:
        patch.setattr("tasks.forget.scrub", die)
        with pytest.raises(KeyboardInterrupt):
            forget(run, rows[0]["source_uri"])
    done = forget(run, rows[1]["source_uri"])
    assert {image["sha256"] for image in done["images"]} == {row["source_sha256"] for row in rows}
    assert not _traces(run, *(row["source_sha256"].encode() for row in rows))


def test_tables_are_read_once_whatever_is_asked_for(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    find_rows = tables.find_rows
    for module in ("lineage", "known_images"):
        monkeypatch.setattr(
            f"rded_core.io.{module}.find_rows", lambda path, *rest: read.append(path) or find_rows(path, *rest)
        )
    rows = [_row(run, class_index=index, rank=rank) for index in range(3) for rank in range(3)]
    names = [row["source_uri"] for row in rows] + [row["source_sha256"] for row in rows]
    found = find_images_named(RunFolder(run), names)
    assert {(name, *images) for name, images in found.items()} == {
        (row[key], row["source_sha256"]) for row in rows for key in ("source_uri", "source_sha256")
    }
    assert len(read) == len(set(read))


@pytest.mark.parametrize("change", [{}, {"num_candidates": 12}, {"observer": "rded:convnet4"}, {"seed": 3}])
def test_no_later_run_brings_it_back(
    run: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, save_untrained: Any,
    change: dict[str, Any],
) -> None:  # fmt: skip
    row = _row(run)
    forget(run, row["source_uri"])
    if "observer" in change:
        change = {**change, "weights": str(save_untrained(arch="convnet4")), "force": True}
    run_undecorated(make_config(run, **change))
    assert not _traces(run, row["source_sha256"].encode())


def test_image_that_nothing_shows_is_noted(
    run: Path, shared_source: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated
) -> None:
    drawn = {
        row["source_uri"] for row in pq.read_table(next((run / "work/candidates").glob("1-*.parquet"))).to_pylist()
    }
    left_over = next(
        f"1/{path.name}" for path in sorted((shared_source / "1").iterdir()) if f"1/{path.name}" not in drawn
    )
    before, data = _sums(run), (shared_source / left_over).read_bytes()
    done = forget(run, left_over, hashlib.sha256(b"never seen").hexdigest())
    assert _sums(run) == before
    assert sorted(image["uris"] for image in done["images"]) == [[], [left_over]]
    run_undecorated(make_config(run, num_candidates=12))
    assert not _traces(run, data)


def test_too_few_left_is_told_before_anything_is_changed(run: Path, forget: Forget) -> None:
    before = _files(run)
    names = [_row(run, rank=rank)["source_uri"] for rank in range(3)]
    with pytest.raises(InputError, match=r"class '1' would have 7 usable candidates left, but 8 are needed; nothing"):
        forget(run, *names)
    assert _files(run) == before


def _files(run: Path) -> dict[Path, bytes]:
    """Returns every file but run.json, which says where the run was copied to."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "run.json"}


def test_too_few_left_make_fewer_images_where_allowed(
    forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    config = make_config(tmp_path / "run", allow_fewer=True)
    run_undecorated(config)
    names = [_row(tmp_path / "run", rank=rank)["source_uri"] for rank in range(3)]
    forget(tmp_path / "run", *names)
    assert [entry["num_images"] for entry in json.loads((tmp_path / "run/dataset/classes.json").read_text())] == [
        1,
        2,
        2,
    ]
    fresh = make_config(tmp_path / "fresh", allow_fewer=True)
    assert _sums(tmp_path / "run") == _fresh(tmp_path / "run", fresh, run_undecorated)


def test_unknown_name_says_what_was_looked_through(run: Path, shared_source: Path, forget: Forget) -> None:
    with pytest.raises(InputError, match=rf"'1/nowhere.jpg'.*3 classes.*lineage.*36 images of {shared_source}"):
        forget(run, "1/nowhere.jpg")
    assert not (run / "forgotten.json").exists()


def test_replaced_source_image_is_forgotten_as_it_was_and_as_it_is(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_undecorated(make_config(run, source=str(image_folder)))
    row = _row(run)
    path = image_folder / row["source_uri"]
    path.write_bytes((image_folder / "2" / "000.jpg").read_bytes() + b"\0")
    now = hashlib.sha256(path.read_bytes()).hexdigest()
    forget(run, row["source_uri"])
    assert read_forgotten(RunFolder(run)).sha256 == {row["source_sha256"], now}


def test_tars_read_in_place(
    shared_source: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget, tmp_path: Path
) -> None:
    samples = [
        (f"s{name}_{path.stem}", {"jpg": path.read_bytes(), "cls": name.encode()})
        for name in ("1", "10", "2")
        for path in sorted((shared_source / name).iterdir())
    ]
    write_shard(tmp_path / "tars" / "part-000000.tar", samples)
    source = str(tmp_path / "tars")
    run_undecorated(make_config(tmp_path / "run", source=source))
    row = _row(tmp_path / "run", class_index=1, rank=2)
    assert row["source_uri"].startswith("part-000000.tar/s2_")
    forget(tmp_path / "run", row["source_uri"])
    assert not _traces(tmp_path / "run", row["source_sha256"].encode())
    fresh = make_config(tmp_path / "fresh", source=source)
    assert _sums(tmp_path / "run") == _fresh(tmp_path / "run", fresh, run_undecorated)


def test_class_that_left_the_run_forgets_too(
    run: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    row = _row(run, class_index=1)
    run_undecorated(make_config(run, classes=("1", "2")))
    without = _sums(run)
    assert _traces(run, row["source_sha256"].encode())
    done = forget(run, row["source_uri"])
    assert _sums(run) == without
    assert [image["classes"] for image in done["images"]] == [["10"]]
    assert not _traces(run, row["source_sha256"].encode())
    run_undecorated(make_config(run))
    assert not _traces(run, row["source_sha256"].encode())
    assert _sums(run) == _fresh(run, make_config(tmp_path / "fresh"), run_undecorated)


def test_labels_of_epochs_no_longer_recorded_go(
    run: Path, make_config: MakeConfig, run_undecorated: RunUndecorated
) -> None:
    stale = run / "work" / "soft_labels" / "epochs-000010-000011.parquet"
    assert stale.exists()
    run_undecorated(make_config(run, label_epochs=8))
    assert not stale.exists()


def test_a_copy_of_yours_of_a_table_is_neither_taken_for_a_class_nor_removed(run: Path, forget: Forget) -> None:
    (table,) = (run / "work" / "candidates").glob("1-*.parquet")
    yours = Path(shutil.copy(table, table.with_name("backup.parquet")))
    forget(run, _row(run)["source_uri"])
    assert yours.is_file()
    assert list(read_forgotten(RunFolder(run)).by_class) == ["1"]


@pytest.mark.parametrize("name", ["random", "mosaic"])
def test_control_that_shows_it_is_removed(
    run: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, name: str
) -> None:
    control = RunFolder(run).control(name)
    run_undecorated(make_config(control, selection=name, force=True))
    shown = {row["source_uri"] for row in _lineage(control)}
    assert forget(run, min(_drawn(run, "1") - shown))["controls"] == []
    assert control.exists()
    assert forget(run, _lineage(control)[0]["source_uri"])["controls"] == [name]
    assert not control.exists()


def _drawn(run: Path, folder: str) -> set[str]:
    """Returns the URIs of a class's candidates."""
    (table,) = (run / "work" / "candidates").glob(f"{folder}-*.parquet")
    return set(pq.read_table(table)["source_uri"].to_pylist())


def test_damaged_candidates_are_drawn_again_without_it(
    run: Path, finished: Path, forget: Forget, tmp_path: Path
) -> None:
    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    row = _row(run)
    (tar,) = (run / "work" / "candidates").glob("1-*.tar")
    tar.write_bytes(tar.read_bytes()[:-1000])
    for place in (run, whole):
        forget(place, row["source_uri"])
    assert _sums(run) == _sums(whole)
    assert not _traces(run, row["source_sha256"].encode())


def test_someone_else_writing_is_told(run: Path, forget: Forget) -> None:
    other, lock = Context(), only_writer(RunFolder(run))
    other.run(lock.__enter__)
    with pytest.raises(InputError, match="is being written by"):
        forget(run, _row(run)["source_uri"])
    other.run(lock.__exit__, None, None, None)
    assert not (run / "forgotten.json").exists()


def test_nobody_else_writes_between_its_steps(run: Path, forget: Forget, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else another forgetting might begin there, and be ended with this one."""
    import flows.forget

    distil, tried = flows.forget.distill, list[DistillConfig]()

    def meddle(config: DistillConfig) -> dict[str, Any]:
        tried.append(config)
        with pytest.raises(InputError, match="is being written by"):
            Context().run(only_writer(RunFolder(run)).__enter__)
        return distil(config)

    monkeypatch.setattr("flows.forget.distill", meddle)
    forget(run, _row(run)["source_uri"])
    assert tried


def test_only_what_was_asked_for_is_ended(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    begin_forgetting(run, {"a": ["1/a"]}, ["1/a"])
    begin_forgetting(run, {"b": ["1/b"]}, ["1/b"])
    end_forgetting(run, ["a"])
    assert read_begun(run).images == {"b": ["1/b"]}
    end_forgetting(run, ["b"])
    assert not is_forgetting(run)


@pytest.mark.parametrize("names", [[], ["SHA-256"]])
def test_a_damaged_note_ends_nothing(
    run: Path, forget: Forget, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    digest = _row(run)["source_sha256"]
    with monkeypatch.context() as patch:
        patch.setattr("tasks.forget.write_forgotten", die)
        with pytest.raises(KeyboardInterrupt):
            forget(run, digest)
    note = run / "work" / "forgetting.json"
    note.write_bytes(note.read_bytes()[:-9])
    with pytest.raises(
        InputError, match=r"forgetting\.json is damaged: .*delete the file, then name them again: rded f"
    ):
        forget(run, *(digest for _ in names))
    note.unlink()
    forget(run, digest)
    assert not _traces(run, digest.encode())


def test_copies_under_other_names_and_in_other_classes_go_with_it(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget, tmp_path: Path
) -> None:
    for folder, number in (("1", "100"), ("2", "100"), ("2", "101")):
        shutil.copy(image_folder / "1" / "000.jpg", image_folder / folder / f"{number}.jpg")
    config = make_config(tmp_path / "run", source=str(image_folder), num_candidates=14)
    run_undecorated(config)
    done = forget(tmp_path / "run", "2/101.jpg")
    assert [(image["uris"], image["classes"]) for image in done["images"]] == [
        (["1/000.jpg", "1/100.jpg", "2/100.jpg", "2/101.jpg"], ["1", "2"])
    ]
    assert not _traces(tmp_path / "run", (image_folder / "1" / "000.jpg").read_bytes())


def test_run_that_never_finished_is_finished_without_it(
    run: Path, finished: Path, forget: Forget, tmp_path: Path
) -> None:
    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    uri = _row(run)["source_uri"]
    shutil.rmtree(run / "dataset")
    for stage in ("squeeze", "soft_labels", "publish"):
        shutil.rmtree(run / "work" / stage)
    for place in (run, whole):
        forget(place, uri)
    assert _sums(run) == _sums(whole)


@pytest.mark.slow
def test_rounded_scores_are_made_exact_again_where_a_best_one_went(
    forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated, tmp_path: Path
) -> None:
    run_undecorated(make_config(tmp_path / "run", precision="bfloat16"))
    forget(tmp_path / "run", _row(tmp_path / "run")["source_uri"])
    fresh = make_config(tmp_path / "fresh", precision="bfloat16")
    assert _sums(tmp_path / "run") == _fresh(tmp_path / "run", fresh, run_undecorated)


def test_images_that_do_not_decode_are_forgotten_by_name_too(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget, tmp_path: Path
) -> None:
    broken = image_folder / "1" / "000.jpg"
    broken.write_bytes(broken.read_bytes()[:700])
    run = tmp_path / "run"
    run_undecorated(make_config(run, source=str(image_folder), num_candidates=12))
    run_undecorated(
        make_config(run / "work/controls/random", source=str(image_folder), num_candidates=12, selection="random")
    )
    assert any("report" in name for name in _traces(run, b"1/000.jpg"))
    done = forget(run, "1/000.jpg")
    assert done["controls"] == ["random"]
    assert {name.partition(":")[0] for name in _traces(run, b"1/000.jpg")} <= _listings(run)


def test_failure_on_the_way_says_what_the_dataset_still_shows(
    run: Path, finished: Path, forget: Forget, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise InputError("the disk is full")

    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    uri = _row(run)["source_uri"]
    with monkeypatch.context() as patch:
        patch.setattr("tasks.publish.write_shard", fail)
        told = "the disk is full; the images are noted as forgotten, but .*/run/dataset shows them until rded distill"
        with pytest.raises(InputError, match=told):
            forget(run, uri)
    for place in (run, whole):
        forget(place, uri)
    assert _sums(run) == _sums(whole)


def test_the_list_outlives_its_first_copy(
    run: Path, forget: Forget, make_config: MakeConfig, run_undecorated: RunUndecorated
) -> None:
    row = _row(run)
    forget(run, row["source_uri"])
    sums = _sums(run)
    (run / "forgotten.json").unlink()
    run_undecorated(make_config(run))
    assert _sums(run) == sums


def test_a_source_that_is_gone_is_told_before_anything_is_changed(
    image_folder: Path, make_config: MakeConfig, run_undecorated: RunUndecorated, forget: Forget, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_undecorated(make_config(run, source=str(image_folder)))
    before, uri = _files(run), _row(run)["source_uri"]
    shutil.rmtree(image_folder)
    with pytest.raises(InputError):
        forget(run, uri)
    assert _files(run) == before
