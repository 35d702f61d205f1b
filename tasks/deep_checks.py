"""Compute a sample of a run again, on the CPU, and compare: source, scores, selection, pixels, labels.

What was made on such a CPU with these versions, as its record says, must be equal bit by bit when it is computed again;
all else within the tolerances below. What cannot be computed again, since source or weights are gone, is said.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage, decode_image
from rded_core.io.formats.schemas import CANDIDATES, INDEX, SCORES, SELECTED
from rded_core.io.formats.shards import read_shard
from rded_core.io.formats.tables import read_rows
from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import RunFolder
from rded_core.io.layout.units import class_unit
from rded_core.io.parallel import one_torch_thread
from rded_core.io.run.candidates import item_of
from rded_core.io.run.records import Record, find_record
from rded_core.io.sources.spec import read_item
from rded_core.io.verify.findings import Findings
from rded_core.patches.near_ties import largest_error
from tasks.checks import unwritten
from tasks.deep_labels import compare_labels
from tasks.labels.labeller import images_digest
from tasks.labels.passes import images_to_label
from tasks.networks import load_scorer
from tasks.progress import track
from tasks.realism import CANDIDATES_PER_FORWARD, cut_group, network_form, score_group
from tasks.reopen import Reopened, reopen
from tasks.selection import choose_patches
from tasks.squeeze import LostCandidate, make_sample, quadrants_of
from tasks.versions import is_made_as_here

MOST_CLASSES = 64
MOST_BLOCKS = 8
SOURCE_IMAGES = 4
"""What is computed again: so many classes, spread over all, with a group of candidates and an image each; the first
passes of so many blocks of labels; so many images of each class in the source."""

SCORE_TOLERANCE = 0.02
ROUNDED_TOLERANCE = 1.0
"""How far scores of another processor, and those of bfloat16 or a GPU's JPEG decoder, may be off, in log-odds."""

PIXEL_TOLERANCE = {"png": 1, "jpeg": 24, "webp": 24}
"""How many of 255 levels a pixel that other versions resampled and encoded may be off."""

Row = dict[str, Any]


_GIVES: dict[str, tuple[str, Callable[[Record], str]]] = {
    "index": ("images", Record.outputs_digest),
    "candidates": ("candidates", lambda record: record.facts["content"]),
    "realism": ("scores", Record.outputs_digest),
    "selection": ("selection", Record.outputs_digest),
}
"""What later stages call a stage's data among those they were made of, and its digest."""

_Look = tuple[list[Path], Callable[[], str]]
"""The files that a look needs whole, the one that it is about first; and the look, which says what differs in that."""


@dataclass(frozen=True, slots=True)
class _DeepCheck:
    """One way to compute a class's files again.

    Attributes:
        what: for people.
        stage: whose file is compared.
        redo: what `rded distill --redo` calls that stage.
        look: returns what differs in a class, or nothing.
        made_of: stages whose files of the class it reads besides.
        network: what it computes with.
    """

    what: str
    stage: str
    redo: str
    look: Callable[[Reopened, int], str]
    made_of: tuple[str, ...]
    network: str = ""


def check_deep(target: RunFolder | DatasetFolder, findings: Findings) -> None:
    """Computes a sample of a run and of its controls again and compares; `findings` tells which files are whole.

    Raises:
        InputError: somebody writes there.
    """
    if isinstance(target, DatasetFolder):
        findings.unchecked.append("scores, labels, pixels: a dataset without its run cannot be computed again")
        return
    with unwritten(target), one_torch_thread():
        for run in (target, *target.controls()):
            try:
                _check_run(reopen(run), findings)
            except InputError as error:
                findings.unchecked.append(f"scores, labels, pixels of {run.root}: {error}")


def _check_run(again: Reopened, findings: Findings) -> None:
    plan = again.plan
    scoring = "observer" if plan.config.selection == "realism" else ""
    for check in (
        _DeepCheck("source images", "candidates", "draw", _compare_source, ("index",)),
        _DeepCheck("scores", "realism", "score", _compare_scores, ("candidates",), scoring),
        _DeepCheck("selections", "selection", "select", _compare_selection, ("candidates", "realism")),
        _DeepCheck("pixels", "squeeze", "tile", _compare_pixels, ("candidates", "selection")),
    ):
        looks: list[_Look] = []
        for index in spread(len(plan.classes), MOST_CLASSES):
            files = [file for stage in (check.stage, *check.made_of) for file in _files(again, stage, index)]
            looks.append((files, partial(_look_at, again, check, index)))
        _take(again, findings, check.what, looks, network=check.network, redo=check.redo)
    tables = sorted(plan.run.stage("soft_labels").glob("*.parquet"))
    _check_labels(again, findings, [tables[number] for number in spread(len(tables), MOST_BLOCKS)])


def _check_labels(again: Reopened, findings: Findings, tables: list[Path]) -> None:
    tars = {label.index: _files(again, "squeeze", label.index)[0] for label in again.plan.classes}
    looks: list[_Look] = []
    if findings.whole.issuperset(tars.values()):
        digest = images_digest(again.plan, {index: _record(again, "squeeze", index) for index in tars})
        images = images_to_label(tuple(tars.items()), digest, torch.device("cpu"))
        looks = [([table], partial(compare_labels, again, images, digest, table)) for table in tables]
    _take(again, findings, "labels", looks, network="teacher", redo="label")


def _take(again: Reopened, findings: Findings, what: str, looks: list[_Look], *, network: str, redo: str) -> None:
    """Takes one check file by file, where all it needs is whole; what cannot be checked is told once."""
    run = again.plan.run
    remedy = f"rded distill --config {run.run_json} --redo {redo}"
    gone = [again.absent[network]] if network in again.absent else [] if looks else ["images are not whole"]
    done = 0
    for files, look in track([] if gone else looks, total=len(looks), what=f"check {what}"):
        try:
            _require_whole(files, findings)
            wrong = look()
        except (InputError, RejectedImage, LostCandidate) as error:
            gone.append(str(error))
            continue
        done += 1
        if wrong:
            findings.add("differs", files[0], wrong, remedy=remedy)
    if done:
        findings.notes.append(f"{what} of {run.root}: a part of {done} files computed again and compared")
    if gone:
        more = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
        findings.unchecked.append(f"{what} of {run.root}: {gone[0]}{more}")


def _look_at(again: Reopened, check: _DeepCheck, index: int) -> str:
    """Takes one look at a class.

    Raises:
        InputError: its files do not belong together: a run was stopped when it had made some of them again.
    """
    records = {stage: _record(again, stage, index) for stage in (check.stage, *check.made_of)}
    for stage in check.made_of:
        name, digest_of = _GIVES[stage]
        now = digest_of(records[stage])
        others = (record for other, record in records.items() if other != stage)
        if any(record.upstream.get(name, now) != now for record in others):
            raise InputError(
                f"class {again.plan.classes[index].folder} has other {name} than what was made of them: a run was "
                f"stopped between the two; rded distill --config {again.plan.run.run_json} goes on"
            )
    return check.look(again, index)


def _record(again: Reopened, stage: str, index: int) -> Record:
    path = again.plan.run.record(stage, class_unit(again.plan.classes[index].folder))
    record, _ = find_record(path)
    if record is None:
        raise InputError(f"{path} is not whole")
    return record


def _require_whole(files: list[Path], findings: Findings) -> None:
    damaged = next((file for file in files if file not in findings.whole), None)
    if damaged:
        raise InputError(f"{findings.where(damaged)} is not whole")


def _files(again: Reopened, stage: str, index: int) -> list[Path]:
    """Returns the files that a stage has of a class, its table first."""
    run, name = again.plan.run, class_unit(again.plan.classes[index].folder)
    table, tar = run.table(stage, name), run.tar(stage, name)
    if stage == "squeeze":
        return [tar]
    return [table, tar] if stage == "candidates" and tar.exists() else [table]


def _rows(again: Reopened, stage: str, index: int, schema: pa.Schema) -> list[Row]:
    return read_rows(_files(again, stage, index)[0], schema)


def _compare_source(again: Reopened, index: int) -> str:
    """Reads some of a class's candidates where the source has them; raises RejectedImage where they have gone."""
    listed = {row["key"]: row for row in _rows(again, "index", index, INDEX)}
    for row in _rows(again, "candidates", index, CANDIDATES)[:SOURCE_IMAGES]:
        data = read_item(item_of(listed[row["key"]]))
        if hashlib.sha256(data).hexdigest() != row["source_sha256"]:
            raise RejectedImage("changed", f"{row['source_uri']} is another image in the source now")
    return ""


def _compare_scores(again: Reopened, index: int) -> str:
    """Scores one group of a class's candidates again."""
    plan = again.plan
    candidates = _rows(again, "candidates", index, CANDIDATES)
    numbers = sorted({row["position"] // CANDIDATES_PER_FORWARD for row in candidates})
    number = numbers[index % len(numbers)]
    group = [row for row in candidates if row["position"] // CANDIDATES_PER_FORWARD == number]
    kept, patches, _ = cut_group(plan, index, group)
    if patches:
        score_group(plan, load_scorer(plan), index, kept, patches)
    stored = {row["position"]: row for row in _rows(again, "realism", index, SCORES)}
    there = [row["position"] for row in group if row["position"] in stored]
    if [row["position"] for row in kept] != there:
        return f"other candidates decode than positions {there}"
    # Where fx could follow the network then and cannot now, or the other way round, last digits are others.
    record = _record(again, "realism", index)
    is_same_form = record.facts.get("observer") in (None, network_form(plan))
    rounded = "precision" in record.facts or record.settings["decoder"] != "cpu"
    tolerance = ROUNDED_TOLERANCE if rounded else SCORE_TOLERANCE
    if is_made_as_here(record) and is_same_form and not rounded:
        tolerance = 0.0
    for row in kept:
        if wrong := _compare_candidate(stored[row["position"]], row, tolerance):
            return f"candidate {row['position']}: {wrong}"
    return ""


def _compare_candidate(stored: Row, now: Row, tolerance: float) -> str:
    """Compares boxes, and scores within a tolerance: with none bit by bit."""
    if stored["boxes"] != now["boxes"]:
        return "other boxes are drawn"
    before, after = torch.tensor(stored["scores_nats"]), torch.tensor(now["scores_nats"])
    is_off = largest_error(before, after) > tolerance if tolerance else not torch.equal(before, after)
    return f"scores are off by up to {float((before - after).abs().max()):.3g} nats" if is_off else ""


def _compare_selection(again: Reopened, index: int) -> str:
    """Selects a class's patches again, from its scores as stored."""
    lost = _record(again, "selection", index).facts["lost"]
    places = {row["position"]: row for row in _rows(again, "candidates", index, CANDIDATES)}
    scored = [row for row in _rows(again, "realism", index, SCORES) if row["position"] not in lost]
    now = choose_patches(again.plan, index, [{**row, **places[row["position"]]} for row in scored])
    stored = _rows(again, "selection", index, SELECTED)
    same = [{name: row[name] for name in SELECTED.names} for row in now] == stored
    return "" if same else "other patches are chosen from these scores"


def _compare_pixels(again: Reopened, index: int) -> str:
    """Cuts, tiles and encodes one image of a class again."""
    images = quadrants_of(again.plan, index)
    number = index % len(images)
    _, stored = next(islice(read_shard(_files(again, "squeeze", index)[0]), number, None))
    _, now = make_sample(again.plan, index, images[number])
    if stored == now:
        return ""
    before, after = (decode_image(next(iter(files.values()))).int() for files in (stored, now))
    apart = int((before - after).abs().max()) if before.shape == after.shape else 255
    image_format = again.plan.config.image_format
    exact = is_made_as_here(_record(again, "squeeze", index))
    if apart <= (0 if exact else PIXEL_TOLERANCE[image_format]) and (image_format == "png" or not exact):
        return ""
    return f"image {number} is another when it is cut again (pixels off by up to {apart} of 255 levels)"


def spread(count: int, most: int) -> list[int]:
    """Returns at most `most` numbers below `count`, evenly spread."""
    shown = min(count, most)
    return [number * count // shown for number in range(shown)]
