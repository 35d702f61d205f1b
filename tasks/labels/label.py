"""Label views of the stored images with the teacher, one block of epochs at a time."""

from typing import Any

from rded_core.io.device.threads import one_torch_thread
from rded_core.io.formats.sealed import digest_of
from rded_core.io.formats.soft_labels import EPOCHS_PER_FILE, write_soft_labels
from rded_core.io.layout.units import block_name, epoch_blocks
from rded_core.io.run.records import Record
from rded_core.io.storage.files import file_stamp
from rded_core.labels.views import ViewRecipe
from tasks.labels.labeller import (
    Labeller,
    LabelPlan,
    images_digest,
    label_settings,
    load_labeller,
    tail_temperature,
    view_recipe,
)
from tasks.labels.passes import find_images, label_passes, rows_of_passes
from tasks.labels.reuse import PASSES, EarlierLabels, key_images
from tasks.run.plan import RunPlan
from tasks.run.results import StageResult, squeeze_records
from tasks.run.versions import made_with
from tasks.run.worklist import Unit, Worklist
from tasks.runtime.gpu_slot import gpu_slot
from tasks.runtime.mirroring import files_of_block
from tasks.runtime.stage_task import stage_task

STAGE = "soft_labels"


def label_blocks(chosen: LabelPlan | None) -> list[range]:
    """Returns the blocks of epochs that share a table, the units of this stage; empty while a class has no images."""
    return list(epoch_blocks(chosen.epochs, EPOCHS_PER_FILE)) if chosen else []


def label_units(chosen: LabelPlan | None) -> list[str]:
    """Returns the names of a run's units in this stage: its blocks, and the choice within a budget if there is one."""
    return [*map(block_name, label_blocks(chosen)), *(["choice"] if chosen and chosen.why else [])]


def _run_name(parameters: dict[str, Any]) -> str:
    plan, block = parameters["plan"], parameters["block"]
    return f"label epochs {block.start}-{block.stop - 1} · {plan.config.short_name}"


@stage_task(STAGE, _run_name, runs_network=True, files=files_of_block)
def label_views(plan: RunPlan, block: range, chosen: LabelPlan, images: list[StageResult]) -> StageResult:
    """Writes the views of a block of epochs with the teacher's labels, computed from the stored images.

    If only some images have changed since the block was written, only passes with views of those are computed again.
    """
    squeezed = squeeze_records(images)
    unit = _unit(plan, block, chosen, squeezed)
    work = Worklist({block.start: unit}, lambda _: plan.scope("label"))
    if work.stale:
        with gpu_slot(plan.config.device):
            work.finish(block.start, _label(plan, block, unit, load_labeller(plan, chosen.codec), squeezed))
    return work.result(STAGE, f"epochs {block.start}-{block.stop - 1}")


def _unit(plan: RunPlan, block: range, chosen: LabelPlan, squeezed: dict[int, Record]) -> Unit:
    settings = {
        "epochs": [block.start, block.stop],
        "codec": chosen.codec,
        **tail_temperature(plan.config, chosen.codec),
        **label_settings(plan, squeezed),
    }
    name = block_name(block)
    upstream = {"images": images_digest(plan, squeezed)}
    return Unit(plan.run, STAGE, name, settings, upstream, outputs=(plan.run.table(STAGE, name),))


def _label(plan: RunPlan, block: range, unit: Unit, labeller: Labeller, squeezed: dict[int, Record]) -> dict[str, Any]:
    """Writes one block's table and returns the facts for its record."""
    table = unit.outputs[0]
    stored = find_images(plan, squeezed)
    device = stored.passes.device
    facts = {**made_with(device), PASSES: f"{rows_of_passes(unit.settings['batch_size'], device)} rows"}
    earlier = EarlierLabels.find(unit, key_images(squeezed), labeller.codec, facts)
    with one_torch_thread():
        write_soft_labels(
            table,
            label_passes(plan, block, stored, labeller, earlier),
            keys=stored.keys,
            class_indices=stored.class_indices,
            codec=labeller.codec,
            metadata=_metadata(plan, stored.digest, labeller.codec.name),
        )
    counts = {"views": len(stored.keys) * len(block), "bytes": file_stamp(str(table))[1]}
    return {**counts, **facts, **(earlier.facts() if earlier else {})}


def _metadata(plan: RunPlan, pixels: str, codec: str) -> dict[str, Any]:
    """Returns the metadata of a label table, with which it can be read without this project."""
    recipe = view_recipe(plan.config)
    return {
        "teacher": plan.teacher,
        **tail_temperature(plan.config, codec),
        "classes": digest_of([label.folder for label in plan.classes]),
        "images": pixels,
        "views": {name: getattr(recipe, name) for name in ViewRecipe.__slots__},
        "seed": plan.config.seed,
    }
