"""Choose the labels to store: as the config says, or the least lossy within its budget."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rded_core.config.sizes import parse_size
from rded_core.io.device.threads import one_torch_thread
from rded_core.io.formats.soft_labels import LabelledBatch
from rded_core.io.labels.choices import LabelSample, choose_labels_within, describe_choices, list_codecs, sample_epochs
from rded_core.io.run.records import Record
from rded_core.labels.codecs import Codec, Encoded, FeatureCodec
from rded_core.networks.last_layer import SplitNetwork
from tasks.labels.label import STAGE
from tasks.labels.labeller import (
    Labeller,
    LabelPlan,
    default_codec,
    images_digest,
    label_codec,
    label_settings,
    label_temperature,
    split_teacher,
)
from tasks.labels.passes import ImagesToLabel, find_images, label_passes
from tasks.run.networks import fast_form, load_planned
from tasks.run.plan import RunPlan
from tasks.run.results import StageResult, squeeze_records
from tasks.run.worklist import Unit, Worklist
from tasks.runtime.gpu_slot import gpu_slot
from tasks.runtime.logs import run_logger
from tasks.runtime.stage_task import stage_task

UNIT = "choice"


@stage_task("choose-labels", "choose labels · {plan.config.short_name}", runs_network=True)
def choose_labels(plan: RunPlan, images: list[StageResult]) -> Any:
    """Returns the label codec and the number of epochs to label; None while a class has no images.

    Raises:
        InputError: nothing fits the budget.
    """
    if not all(done for result in images for done in result.units.values()):
        return None
    config = plan.config
    if config.label_budget is None:
        return LabelPlan(default_codec(config, len(plan.classes)), config.label_epochs)
    squeezed = squeeze_records(images)
    work = Worklist({0: _unit(plan, squeezed)}, lambda _: plan.scope("label"))
    if work.stale:
        with gpu_slot(config.device):
            work.finish(0, _choose(plan, squeezed))
    choice = work.records[0].facts
    return work.end_with(LabelPlan(choice["codec"], choice["epochs"], choice["why"]))


def _unit(plan: RunPlan, squeezed: dict[int, Record]) -> Unit:
    settings = {
        **{field: getattr(plan.config, field) for field in ("label_epochs", "label_codec", "label_budget")},
        "temperature": label_temperature(plan.config),
        **label_settings(plan, squeezed),
    }
    return Unit(plan.run, STAGE, UNIT, settings, {"images": images_digest(plan, squeezed)})


def _choose(plan: RunPlan, squeezed: dict[int, Record]) -> dict[str, Any]:
    """Labels a sample, tries every codec on it, logs the comparison, and returns the choice and its reason."""
    config = plan.config
    stored, split = find_images(plan, squeezed), split_teacher(plan)
    with one_torch_thread():
        batches = _label_sample(plan, stored, split)
    outputs = torch.cat([batch[2]["outputs"] for batch in batches])
    logits = functional.linear(outputs, split.weight, split.bias) if split else outputs
    sample = LabelSample(
        batches, logits, stored.keys, stored.class_indices, label_temperature(config), "views labelled"
    )
    encodings = _encodings(plan, split, outputs, logits)
    choice = choose_labels_within(parse_size(str(config.label_budget)), sample, encodings, wanted=config.label_epochs)
    for line in describe_choices(choice["why"], choice["codec"], choice["epochs"]):
        run_logger().info(line)
    return choice


class _Outputs:
    """Codec that keeps the teacher's outputs unchanged; only for the sample."""

    name = "outputs"

    def encode(self, outputs: Tensor) -> Encoded:
        """Returns the outputs themselves."""
        return {"outputs": outputs.float()}


def _label_sample(plan: RunPlan, stored: ImagesToLabel, split: SplitNetwork | None) -> list[LabelledBatch]:
    """Labels the first epochs: with features if the teacher has a last layer, else with logits."""
    config = plan.config
    network: nn.Module = split.trunk if split else load_planned(plan, "teacher").classifier
    codec: Any = _Outputs()
    labeller = Labeller(fast_form(network, patch_px=config.size, size=config.size), codec)
    epochs = range(sample_epochs(len(stored.keys)))
    return [batch for _, batch in label_passes(plan, epochs, stored, labeller, what="label a sample for the budget:")]


def _encodings(
    plan: RunPlan, split: SplitNetwork | None, outputs: Tensor, logits: Tensor
) -> Iterator[tuple[Codec, Encoded]]:
    """Yields each codec to try (the config's, or all that suit) with its encoding of the sample."""
    config, num_classes = plan.config, logits.shape[1]
    is_auto = config.label_codec == "auto"
    names = (
        list_codecs(num_classes, with_features=split is not None) if is_auto else [default_codec(config, num_classes)]
    )
    for name in names:
        codec = label_codec(plan, name)
        yield codec, codec.encode(outputs if isinstance(codec, FeatureCodec) else logits)
