"""Recomputed results compared with stored ones, within a stated tolerance."""

import hashlib
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
from rded_core.io.layout.units import class_unit
from rded_core.io.run.candidates import item_of
from rded_core.io.run.records import Record, find_record
from rded_core.io.sources.reading import read_item
from rded_core.patches.near_ties import largest_error
from tasks.maintenance.reopen import Reopened
from tasks.patches.score import CANDIDATES_PER_FORWARD, cut_group, network_form, score_group
from tasks.patches.select import choose_patches
from tasks.patches.tile import make_sample, quadrants_of
from tasks.run.networks import load_scorer
from tasks.run.versions import is_made_as_here

SOURCE_IMAGES = 4
"""What is computed again: so many classes, spread over all, with a group of candidates and an image each; the first
passes of so many blocks of labels; so many images of each class in the source."""

SCORE_TOLERANCE = 0.02
ROUNDED_TOLERANCE = 1.0
"""How far scores of another processor, and those of bfloat16 or a GPU's JPEG decoder, may be off, in log-odds."""

PIXEL_TOLERANCE = {"png": 1, "jpeg": 24, "webp": 24}
"""How many of 255 levels a pixel that other versions resampled and encoded may be off."""

Row = dict[str, Any]


def find_unit_record(again: Reopened, stage: str, index: int) -> Record:
    """Returns a class's record of a stage; raises InputError if it is missing or damaged."""
    path = again.plan.run.record(stage, class_unit(again.plan.classes[index].folder))
    record, _ = find_record(path)
    if record is None:
        raise InputError(f"{path} is not whole")
    return record


def stage_files(again: Reopened, stage: str, index: int) -> list[Path]:
    """Returns the files that a stage has of a class, its table first."""
    run, name = again.plan.run, class_unit(again.plan.classes[index].folder)
    table, tar = run.table(stage, name), run.tar(stage, name)
    if stage == "squeeze":
        return [tar]
    return [table, tar] if stage == "candidates" and tar.exists() else [table]


def _rows(again: Reopened, stage: str, index: int, schema: pa.Schema) -> list[Row]:
    return read_rows(stage_files(again, stage, index)[0], schema)


def compare_source(again: Reopened, index: int) -> str:
    """Reads some of a class's candidates where the source has them; raises RejectedImage where they have gone."""
    listed = {row["key"]: row for row in _rows(again, "index", index, INDEX)}
    for row in _rows(again, "candidates", index, CANDIDATES)[:SOURCE_IMAGES]:
        data = read_item(item_of(listed[row["key"]]))
        if hashlib.sha256(data).hexdigest() != row["source_sha256"]:
            raise RejectedImage("changed", f"{row['source_uri']} is another image in the source now")
    return ""


def compare_scores(again: Reopened, index: int) -> str:
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


def _compare_candidate(stored: Row, now: Row, tolerance: float) -> str:
    """Compares boxes, and scores within a tolerance: with none bit by bit."""
    if stored["boxes"] != now["boxes"]:
        return "other boxes are drawn"
    before, after = torch.tensor(stored["scores_nats"]), torch.tensor(now["scores_nats"])
    is_off = largest_error(before, after) > tolerance if tolerance else not torch.equal(before, after)
    return f"scores are off by up to {float((before - after).abs().max()):.3g} nats" if is_off else ""


def compare_selection(again: Reopened, index: int) -> str:
    """Selects a class's patches again, from its scores as stored."""
    lost = find_unit_record(again, "selection", index).facts["lost"]
    places = {row["position"]: row for row in _rows(again, "candidates", index, CANDIDATES)}
    scored = [row for row in _rows(again, "realism", index, SCORES) if row["position"] not in lost]
    now = choose_patches(again.plan, index, [{**row, **places[row["position"]]} for row in scored])
    stored = _rows(again, "selection", index, SELECTED)
    same = [{name: row[name] for name in SELECTED.names} for row in now] == stored
    return "" if same else "other patches are chosen from these scores"


def compare_pixels(again: Reopened, index: int) -> str:
    """Cuts, tiles and encodes one image of a class again."""
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
    return f"image {number} is another when it is cut again (pixels off by up to {apart} of 255 levels)"
