"""Cut the selected patches again, tile them, and store the distilled images."""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, cast

import torch
from torch import Tensor

from rded_core.io.device.threads import one_torch_thread
from rded_core.io.formats.images import RejectedImage, decode_image, encode_image, image_suffix
from rded_core.io.formats.rows import SelectedCandidate
from rded_core.io.formats.schemas import CANDIDATES, SELECTED
from rded_core.io.formats.shards import Sample, write_shard
from rded_core.io.formats.tables import read_rows
from rded_core.io.layout.units import ClassShard
from rded_core.io.parallel import map_ordered
from rded_core.io.run.candidates import read_candidate
from rded_core.io.run.records import Record
from rded_core.io.storage.files import file_stamp, shown_name
from rded_core.patches.crops import cut_patch
from rded_core.patches.tiling import cell_shapes, tile_patches
from tasks.patches.pixel_forms import form_settings
from tasks.patches.select import select_class, selection_unit
from tasks.run.networks import num_workers
from tasks.run.plan import RunPlan
from tasks.run.results import Rejected, StageResult
from tasks.run.versions import made_with
from tasks.run.worklist import Scope, Unit, Worklist, run_unit
from tasks.runtime.logs import run_logger
from tasks.runtime.mirroring import files_of_shard
from tasks.runtime.progress import track
from tasks.runtime.stage_task import stage_task

STAGE = "squeeze"


class LostCandidate(Exception):
    """A selected candidate that is missing, or has changed since it was scored."""

    def __init__(self, index: int, row: SelectedCandidate, reason: str) -> None:
        super().__init__(f"{row['source_uri']}: {reason}")
        self.index, self.position = index, row["position"]
        self.rejected = (reason, row["source_uri"])


@stage_task(STAGE, "tile {shard.name} · {plan.config.short_name}", files=files_of_shard)
def tile(
    plan: RunPlan, shard: ClassShard, candidates: StageResult, scores: StageResult, selected: StageResult
) -> StageResult:
    """Writes each class's distilled images as a tar, best first.

    If a source image is missing or has changed since it was scored (tars are read in place), the class is selected
    again without it; the next run tries it again.
    """
    records = selected.records
    drawn = candidates.records
    units = {
        index: _unit(plan, index, records[index], drawn.get(index)) if index in records else None
        for index in shard.indices
    }
    work = Worklist(units, lambda index: plan.scope("tile", index), why=selected.why, workers=num_workers(plan.config))
    lost: dict[int, tuple[int, ...]] = dict.fromkeys(work.stale, ())
    rejected: dict[int, Rejected] = {index: [] for index in lost}
    pending = list(lost)
    while pending:
        try:
            for index, facts in _tile_classes(plan, shard, pending):
                work.finish(index, {**facts, "rejected": rejected[index]})
                pending.remove(index)
        except LostCandidate as error:
            index = error.index
            folder = shown_name(plan.classes[index].folder)
            run_logger().warning("class %s: %s; using the next-ranked candidate", folder, error)
            lost[index] = (*lost[index], error.position)
            rejected[index].append(error.rejected)
            upstream = (drawn.get(index), scores.records.get(index))
            selection = _select_without(plan, index, upstream, lost[index])
            work.replace(index, _unit(plan, index, selection, drawn.get(index)))
    return work.result(STAGE, shard.name)


def _unit(plan: RunPlan, index: int, selected: Record, candidates: Record | None) -> Unit:
    name = plan.unit(index)
    fields = ("image_format", "image_quality", "size", "factor", "selection")
    forms = form_settings(plan, [(index, candidates)]) if candidates else {}
    return Unit(
        plan.run,
        STAGE,
        name,
        settings={field: getattr(plan.config, field) for field in fields} | forms,
        upstream={"selection": selected.outputs_digest()},
        outputs=(plan.run.tar(STAGE, name),),
    )


def _select_without(
    plan: RunPlan, index: int, upstream: tuple[Record | None, Record | None], lost: tuple[int, ...]
) -> Record:
    unit = selection_unit(plan, index, *upstream)
    assert unit is not None
    done = run_unit(unit, lambda: select_class(plan, index, lost), scope=Scope(redo=True))
    assert done is not None
    return done.record


def _tile_classes(plan: RunPlan, shard: ClassShard, indices: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Writes the images of classes, tiled on all cores; yields each finished class with the facts for its record.

    Raises:
        LostCandidate: a selected candidate is missing or has changed.
    """
    images = [(index, image) for index in indices for image in quadrants_of(plan, index)]
    with one_torch_thread():
        tiled = map_ordered(lambda image: make_sample(plan, *image), images, workers=num_workers(plan.config))
        followed = zip(images, track(tiled, total=len(images), what=f"tile {shard.name}", unit="image"), strict=True)
        for index, samples in groupby(followed, key=lambda entry: entry[0][0]):
            tar = plan.run.tar(STAGE, plan.unit(index))
            digests: list[str] = []
            write_shard(tar, _digested((sample for _, sample in samples), digests))
            versions = made_with(torch.device("cpu"))
            yield index, {"images": len(digests), "bytes": file_stamp(str(tar))[1], "sha256": digests, **versions}


def _digested(samples: Iterable[Sample], digests: list[str]) -> Iterator[Sample]:
    """Passes samples on, and adds the digest of each one's image to `digests`."""
    for key, files in samples:
        digests.append(hashlib.sha256(next(iter(files.values()))).hexdigest())
        yield key, files


def quadrants_of(plan: RunPlan, index: int) -> list[list[SelectedCandidate]]:
    """Returns the patches of each image of a class, with the locations of their candidates."""
    name = plan.unit(index)
    locations = {row["position"]: row for row in read_rows(plan.run.table("candidates", name), CANDIDATES)}
    selected = read_rows(plan.run.table("selection", name), SELECTED)
    rows = [cast("SelectedCandidate", {**locations[row["position"]], **row}) for row in selected]
    return [list(group) for _, group in groupby(rows, key=itemgetter("number"))]


def make_sample(plan: RunPlan, index: int, quadrants: list[SelectedCandidate]) -> Sample:
    """Cuts, tiles and encodes one image; raises LostCandidate."""
    config = plan.config
    factor = config.tile_factor
    patches = list(_cut(plan, index, quadrants, cell_shapes(config.size, factor)))
    data = encode_image(tile_patches(patches, factor), config.image_format, config.image_quality)
    return f"i{quadrants[0]['number']:05d}", {image_suffix(config.image_format): data}


def _cut(
    plan: RunPlan, index: int, quadrants: list[SelectedCandidate], shapes: list[tuple[int, int]]
) -> Iterator[Tensor]:
    unit = plan.unit(index)
    for row, (height_px, width_px) in zip(quadrants, shapes, strict=True):
        try:
            image = decode_image(read_candidate(plan.run, unit, row, verify=True))
        except RejectedImage as error:
            raise LostCandidate(index, row, error.reason) from error
        box = torch.tensor([row["box_top"], row["box_left"], row["box_height"], row["box_width"]])
        yield cut_patch(image, box, height_px, width_px)
