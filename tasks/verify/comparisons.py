"""Comparisons of recomputed results with stored ones, within stated tolerances."""

import hashlib
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import torch

from rded_core.errors import InputError
from rded_core.io.formats.images import RejectedImage, decode_image
from rded_core.io.formats.rows import ScoredCandidate
from rded_core.io.formats.schemas import CANDIDATES, INDEX, SCORES, SELECTED
from rded_core.io.formats.shards import read_shard
from rded_core.io.formats.tables import read_rows
from rded_core.io.run.candidates import item_of
from rded_core.io.run.records import Record, find_record
from rded_core.io.sources.reading import read_item
from rded_core.patches.near_ties import largest_error
from tasks.patches.score import CANDIDATES_PER_FORWARD, cut_group, network_form, score_group
from tasks.patches.select import choose_patches
from tasks.patches.tile import make_sample, quadrants_of
from tasks.run.networks import load_scorer
from tasks.run.versions import is_made_as_here
from tasks.verify.reopen import Reopened

SOURCE_IMAGES = 4
"""Candidates of each class that are compared with the source."""

SCORE_TOLERANCE = 0.02
ROUNDED_TOLERANCE = 1.0
"""Allowed errors of scores, in log-odds: on a different processor, and from bfloat16 or a GPU's JPEG decoder."""

PIXEL_TOLERANCE = {"png": 1, "jpeg": 24, "webp": 24}
"""Largest allowed error of pixels resampled and encoded by other versions, in levels of 255."""


def find_unit_record(again: Reopened, stage: str, index: int) -> Record:
    """Returns a class's record of a stage; raises InputError if it is missing or damaged."""
    path = again.plan.run.record(stage, again.plan.unit(index))
    record, _ = find_record(path)
    if record is None:
        raise InputError(f"{path} is missing or damaged")
    return record


def stage_files(again: Reopened, stage: str, index: int) -> list[Path]:
    """Returns a stage's files of a class, its table first."""
    run, name = again.plan.run, again.plan.unit(index)
    table, tar = run.table(stage, name), run.tar(stage, name)
    if stage == "squeeze":
        return [tar]
    return [table, tar] if stage == "candidates" and tar.exists() else [table]


def _rows(again: Reopened, stage: str, index: int, schema: pa.Schema) -> list[Any]:
    return read_rows(stage_files(again, stage, index)[0], schema)


def compare_source(again: Reopened, index: int) -> str:
    """Compares some of a class's candidates with the source; raises RejectedImage if one is missing or has changed."""
    listed = {row["key"]: row for row in _rows(again, "index", index, INDEX)}
    for row in _rows(again, "candidates", index, CANDIDATES)[:SOURCE_IMAGES]:
        data = read_item(item_of(listed[row["key"]]))
        if hashlib.sha256(data).hexdigest() != row["source_sha256"]:
            raise RejectedImage("changed", f"{row['source_uri']} has changed in the source")
    return ""


def compare_scores(again: Reopened, index: int) -> str:
    """Scores one group of a class's candidates again; returns what differs, or nothing."""
    plan = again.plan
    candidates = _rows(again, "candidates", index, CANDIDATES)
    numbers = sorted({row["position"] // CANDIDATES_PER_FORWARD for row in candidates})
    number = numbers[index % len(numbers)]
    group = [row for row in candidates if row["position"] // CANDIDATES_PER_FORWARD == number]
    kept, patches, _ = cut_group(plan, index, group)
    if patches:
        score_group(plan, load_scorer(plan), index, kept, patches)
    stored = {row["position"]: row for row in _rows(again, "realism", index, SCORES)}
    expected = [row["position"] for row in group if row["position"] in stored]
    if [row["position"] for row in kept] != expected:
        return f"the candidates that decode are not those at positions {expected}"
    # If fx could trace the network then but not now, or the reverse, the last digits differ.
    record = find_unit_record(again, "realism", index)
    is_same_form = record.facts.get("observer") in (None, network_form(plan))
    rounded = "precision" in record.facts or record.settings["decoder"] != "cpu"
    tolerance = ROUNDED_TOLERANCE if rounded else SCORE_TOLERANCE
    if is_made_as_here(record) and is_same_form and not rounded:
        tolerance = 0.0
    for row in kept:
        if wrong := _compare_candidate(stored[row["position"]], row, tolerance):
            return f"candidate {row['position']}: {wrong}"
    return ""


def _compare_candidate(stored: ScoredCandidate, now: ScoredCandidate, tolerance: float) -> str:
    """Compares boxes, and scores within a tolerance; a tolerance of 0 means bit by bit."""
    if stored["boxes"] != now["boxes"]:
        return "different boxes are drawn"
    before, after = torch.tensor(stored["scores_nats"]), torch.tensor(now["scores_nats"])
    is_off = largest_error(before, after) > tolerance if tolerance else not torch.equal(before, after)
    return f"scores are off by up to {float((before - after).abs().max()):.3g} nats" if is_off else ""


def compare_selection(again: Reopened, index: int) -> str:
    """Selects a class's patches again, from its stored scores; returns what differs, or nothing."""
    lost = find_unit_record(again, "selection", index).facts["lost"]
    places = {row["position"]: row for row in _rows(again, "candidates", index, CANDIDATES)}
    scored = [row for row in _rows(again, "realism", index, SCORES) if row["position"] not in lost]
    now = choose_patches(
        again.plan, index, [cast("ScoredCandidate", {**row, **places[row["position"]]}) for row in scored]
    )
    stored = _rows(again, "selection", index, SELECTED)
    same = [{name: row[name] for name in SELECTED.names} for row in now] == stored
    return "" if same else "different patches are chosen from these scores"


def compare_pixels(again: Reopened, index: int) -> str:
    """Cuts, tiles and encodes one image of a class again; returns what differs, or nothing."""
    images = quadrants_of(again.plan, index)
    number = index % len(images)
    _, stored = next(islice(read_shard(stage_files(again, "squeeze", index)[0]), number, None))
    _, now = make_sample(again.plan, index, images[number])
    if stored == now:
        return ""
    before, after = (decode_image(next(iter(files.values()))).int() for files in (stored, now))
    apart = int((before - after).abs().max()) if before.shape == after.shape else 255
    image_format = again.plan.config.image_format
    exact = is_made_as_here(find_unit_record(again, "squeeze", index))
    if apart <= (0 if exact else PIXEL_TOLERANCE[image_format]) and (image_format == "png" or not exact):
        return ""
    return f"image {number} differs when cut again (pixels are off by up to {apart} of 255 levels)"
