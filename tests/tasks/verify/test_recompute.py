"""Recomputation finds files that are whole, but differ from what the run's source and networks give."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rded_core.config import DistillConfig
from rded_core.io.formats.sealed import seal
from rded_core.io.formats.shards import read_shard, write_shard
from rded_core.io.layout.run import RunFolder
from rded_core.io.run.records import read_record, write_record
from rded_core.io.storage.files import file_digest
from rded_core.io.verify.findings import Findings
from tasks.run.versions import is_made_as_here
from tasks.verify.files import check_files
from tasks.verify.recompute import check_deep


@pytest.fixture
def run(short_run: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(short_run, tmp_path / "run")))


def _deep(run: RunFolder) -> Findings:
    findings = check_files(run)
    assert not [fault for fault in findings.faults if fault.kind == "damaged"]
    check_deep(run, findings)
    return findings


def _pass_off(path: Path) -> None:
    """Writes the digest of a forged file into its record, so that only its contents give it away."""
    record_path = path.with_suffix(".json")
    record = read_record(record_path)
    record.outputs[path.name] = file_digest(path)
    write_record(record_path, record)


def _forge_column(path: Path, name: str, change: Callable[[Any], Any]) -> None:
    opened = pq.ParquetFile(path)
    groups = [opened.read_row_group(number) for number in range(opened.num_row_groups)]
    field = opened.schema_arrow.field(name)
    with pq.ParquetWriter(path, opened.schema_arrow) as writer:
        for group in groups:
            values = pa.array([change(value) for value in group[name].to_pylist()], type=field.type)
            writer.write_table(group.set_column(group.schema.get_field_index(name), field, values))
    _pass_off(path)


def test_untouched_run_is_reproduced_bit_by_bit(run: RunFolder) -> None:
    findings = _deep(run)
    assert (findings.faults, findings.unchecked) == ([], [])
    assert len(findings.notes) == 5


@pytest.mark.parametrize(
    ("stage", "column", "change", "what"),
    [
        ("realism", "scores_nats", lambda scores: [score - 1e-6 for score in scores], "scores are off by up to"),
        ("realism", "boxes", lambda boxes: [boxes[0] + 1, *boxes[1:]], "different boxes are drawn"),
        ("selection", "rank", lambda rank: rank + 1, "different patches are chosen"),
    ],
)
def test_forged_tables_differ(run: RunFolder, stage: str, column: str, change: Callable[[Any], Any], what: str) -> None:
    for table in run.stage(stage).glob("*.parquet"):
        _forge_column(table, column, change)
    differing = {fault.path.parent.name: fault.what for fault in _deep(run).faults if fault.kind == "differs"}
    assert what in differing[stage]


def test_forged_labels_differ(run: RunFolder) -> None:
    (table,) = run.stage("soft_labels").glob("*.parquet")
    _forge_column(table, "logits", lambda logits: [logits[0] + 0.01, *logits[1:]])
    (fault,) = [fault for fault in _deep(run).faults if fault.kind == "differs"]
    assert (fault.path, fault.what[:24]) == (table, "epoch 0: logits are off ")
    assert fault.remedy.endswith("--redo label")


def test_swapped_images_differ(run: RunFolder) -> None:
    tar = min(run.stage("squeeze").glob("*.tar"))
    samples = list(read_shard(tar))
    write_shard(tar, [(key, other[1]) for (key, _), other in zip(samples, reversed(samples), strict=True)])
    _pass_off(tar)
    differing = {fault.path: fault.what for fault in _deep(run).faults if fault.kind == "differs"}
    assert "differs when cut again" in differing[tar]


def _forge_facts(run: RunFolder, stage: str, change: Callable[[dict[str, Any]], object]) -> None:
    for path in run.stage(stage).glob("*.json"):
        record = read_record(path)
        change(record.facts)
        write_record(path, record)


def _forge_run(run: RunFolder) -> None:
    """Makes run.json that of a later run on another machine, in which nothing was made."""
    for path in (run.run_json, run.run_json_copy):
        described = json.loads(path.read_text())
        described.pop("digest")
        described |= {"device": "cuda:0", "precision": "bfloat16"}
        described["versions"]["cpu"] = "another"
        path.write_text(seal(described))


@pytest.mark.parametrize(
    "elsewhere",
    [
        lambda facts: facts["made_with"].update(cpu="another"),
        lambda facts: facts["made_with"].update(device="cuda"),
        lambda facts: facts.pop("made_with"),
    ],
    ids=["another processor", "another device", "unknown"],
)
def test_results_made_elsewhere_get_tolerances(run: RunFolder, elsewhere: Callable[[dict[str, Any]], object]) -> None:
    """Regardless of run.json: later runs rewrite it even if they make nothing."""
    _forge_facts(run, "realism", elsewhere)
    for table in run.stage("realism").glob("*.parquet"):
        _forge_column(table, "scores_nats", lambda scores: [score - 1e-6 for score in scores])
    _tie_selection(run)
    differing = {fault.path.parent.name for fault in _deep(run).faults if fault.kind == "differs"}
    assert differing == {"selection"}, "selection depends only on the stored scores, on any processor"


def test_different_processor_model_counts_as_elsewhere(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries choose their kernels by processor model, even within one instruction set."""
    record = read_record(min(run.stage("realism").glob("*.json")))
    assert is_made_as_here(record)
    monkeypatch.setattr("tasks.run.versions.cpu_model", lambda: "another")
    assert not is_made_as_here(record)


def test_results_made_here_stay_exact_after_a_run_elsewhere(run: RunFolder) -> None:
    _forge_run(run)
    assert not _deep(run).faults
    for table in run.stage("realism").glob("*.parquet"):
        _forge_column(table, "scores_nats", lambda scores: [score - 1e-6 for score in scores])
    _tie_selection(run)
    differing = {fault.path.parent.name for fault in _deep(run).faults if fault.kind == "differs"}
    assert differing == {"realism", "selection"}


def _tie_selection(run: RunFolder) -> None:
    """Makes the records of selections refer to the present scores."""
    for path in run.stage("selection").glob("*.json"):
        record = read_record(path)
        record.upstream["scores"] = read_record(run.record("realism", path.stem)).outputs_digest()
        write_record(path, record)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (
            "draw_candidates",
            "scores of .*: class 10: a run was stopped before later stages used the present candidates",
        ),
        (
            "score_crops",
            "selections of .*: class 10: a run was stopped before later stages used the present candidates",
        ),
        ("select", "pixels of .*: class 10: a run was stopped before later stages used the present selection"),
        ("tile", "labels of .*not made from the present images"),
    ],
)
def test_stages_around_an_interruption_are_not_checked(
    make_config: Callable[..., DistillConfig], plain_flows: None, image_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, stage: str, message: str,
) -> None:  # fmt: skip
    del plain_flows
    import flows.distill

    run = RunFolder(tmp_path / "run")
    config = make_config(run.root, source=str(image_folder), label_epochs=2)
    flows.distill.distill(config)
    for path in sorted((image_folder / "10").iterdir())[6:8]:  # the same source, by names and sizes
        path.write_bytes(bytes(path.stat().st_size))
    each = flows.distill.each

    def stop_after(task: Any, *arguments: Any) -> Any:
        results = each(task, *arguments)
        if task is getattr(flows.distill, stage):
            raise KeyboardInterrupt
        return results

    monkeypatch.setattr(flows.distill, "each", stop_after)
    with pytest.raises(KeyboardInterrupt):
        flows.distill.distill(config)
    findings = _deep(run)
    assert not [fault for fault in findings.faults if fault.kind == "differs"]
    assert any(re.match(message, unchecked) for unchecked in findings.unchecked), findings.unchecked


def test_images_missing_from_the_source_are_not_a_fault(
    make_config: Callable[..., DistillConfig], run_undecorated: Callable[[DistillConfig], Path], image_folder: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    run = RunFolder(tmp_path / "run")
    run_undecorated(make_config(run.root, source=str(image_folder), label_epochs=2))
    shutil.rmtree(image_folder)
    findings = _deep(run)
    assert not findings.faults
    (unchecked,) = findings.unchecked
    assert unchecked.startswith(f"source images of {run.root}: missing:")
