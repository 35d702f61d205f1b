"""Choose which labels to store: as the config says, or what loses least within its budget."""

from dataclasses import asdict
from typing import Any

import torch
from prefect import task
from torch import Tensor, nn
from torch.nn import functional

from rded_core.config import DistillConfig
from rded_core.io.label_sizes import measure_epoch_bytes
from rded_core.io.manifest import Record
from rded_core.io.parallel import one_torch_thread
from rded_core.io.soft_label_tables import LabelledBatch
from rded_core.label_budget import CodecMeasure, best_choice, divergence, list_choices, signal, spread_over_views
from rded_core.last_layer import SplitNetwork
from rded_core.sizes import parse_size
from rded_core.soft_labels import Codec, Encoded, FeatureCodec, find_codec
from tasks.label_codecs import Labeller, LabelPlan, default_codec, label_temperature, split_teacher
from tasks.networks import fast_form, load_teacher
from tasks.policies import STAGE_POLICY
from tasks.prepare import RunPlan
from tasks.progress import run_logger
from tasks.soft_labels import STAGE, ImagesToLabel, find_images, images_digest, label_passes, squeeze_records
from tasks.units import StageResult, Unit, run_unit

UNIT = "choice"

SAMPLE_VIEWS = 2000
"""Views that are labelled to choose by: at least two of each image, so that what they differ by shows."""

TOPS = (5, 20, 100)
"""Classes that ``topk`` is tried with."""

MARGIN = 0.99
"""Share of the budget that estimates may fill: tables differ by some bytes."""


@task(name="choose-labels", task_run_name="choose labels", **STAGE_POLICY)
def choose_labels(plan: RunPlan, images: list[StageResult]) -> Any:
    """Returns how labels are stored and for how many epochs; None while a class has no images.

    Raises:
        InputError: nothing fits the budget.
    """
    if not all(done for result in images for done in result.units.values()):
        return None
    config = plan.config
    if config.label_budget is None:
        return LabelPlan(default_codec(config, len(plan.classes)), config.label_epochs)
    squeezed = squeeze_records(images)
    done = run_unit(_unit(plan, squeezed), lambda: _measure(plan, squeezed), scope=plan.scope("label"))
    assert done is not None  # nothing that belongs to all classes is left out
    return LabelPlan(done.record.facts["codec"], done.record.facts["epochs"], done.record.facts["why"])


def _unit(plan: RunPlan, squeezed: dict[int, Record]) -> Unit:
    fields = ("label_epochs", "label_codec", "label_budget", "label_batch_size", "seed", "protocol", "mix", "flip")
    settings = {
        **{field: getattr(plan.config, field) for field in fields},
        "temperature": label_temperature(plan.config),
        **plan.network_settings("teacher"),
    }
    return Unit(plan.run, STAGE, UNIT, settings, {"images": images_digest(plan, squeezed)})


def _measure(plan: RunPlan, squeezed: dict[int, Record]) -> dict[str, Any]:
    """Labels a sample, tries every way to store it, logs the table, and returns what is taken and why."""
    config, budget = plan.config, parse_size(str(plan.config.label_budget))
    stored, split = find_images(plan, squeezed), split_teacher(plan)
    with one_torch_thread():
        sample = _label_sample(plan, stored, split)
    outputs = torch.cat([batch[2]["outputs"] for batch in sample])
    logits = functional.linear(outputs, split.weight, split.bias) if split else outputs
    temperature = label_temperature(config)
    measures = [
        _measure_codec(codec, sample, stored, (outputs, logits), temperature)
        for codec in _codecs(config, logits.shape[1], split)
    ]
    image = torch.cat([batch[0] for batch in sample])
    spread = float(spread_over_views(logits, image, temperature=temperature))
    told = float(signal(logits, temperature=temperature).mean())
    choices = list_choices(measures, spread=spread, wanted=config.label_epochs, budget=int(budget * MARGIN))
    best = best_choice(choices, int(budget * MARGIN))
    why = {
        "budget_bytes": budget,
        "num_views": len(image),
        "temperature": temperature,
        "signal_nats": told,
        "spread_nats": spread,
        "choices": [{**asdict(choice), "loss": choice.loss, "fits": choice.num_bytes <= budget} for choice in choices],
    }
    for line in describe_choices(why, best.codec, best.epochs):
        run_logger().info(line)
    return {"codec": best.codec, "epochs": best.epochs, "why": why, "estimated_bytes": best.num_bytes}


def describe_choices(why: dict[str, Any], codec: str, epochs: int) -> list[str]:
    """Returns the table of what each way to store labels takes and loses, and what is taken."""
    told = why["signal_nats"]
    lines = [
        f"{why['num_views']} views labelled: at temperature {why['temperature']:g} a label says {told:.4g} nats, and "
        f"those of one image differ by {why['spread_nats']:.4g}; what is lost, as a share of what labels say:",
        f"{'codec':<10} {'epochs':>6} {'MB':>10} {'rounding':>9} {'reuse':>8} {'in all':>8}",
    ]
    for choice in why["choices"]:
        shares = [100 * choice[name] / told for name in ("codec_loss", "reuse_loss", "loss")]
        taken = (choice["codec"], choice["epochs"]) == (codec, epochs)
        note = "  <- taken" if taken else "" if choice["fits"] else "  too large"
        lines.append(
            f"{choice['codec']:<10} {choice['epochs']:>6} {choice['num_bytes'] / 1e6:>10.3f} {shares[0]:>8.3f}% "
            f"{shares[1]:>7.3f}% {shares[2]:>7.3f}%{note}"
        )
    return lines


class _Outputs:
    """Keeps what the teacher gives as it is, for the sample alone."""

    name = "outputs"

    def encode(self, outputs: Tensor) -> Encoded:
        """Returns the outputs themselves."""
        return {"outputs": outputs.float()}


def _label_sample(plan: RunPlan, stored: ImagesToLabel, split: SplitNetwork | None) -> list[LabelledBatch]:
    """Labels the first epochs: with features where the teacher has a last layer, else with logits."""
    config = plan.config
    network: nn.Module = split.trunk if split else load_teacher(config, plan.classes).classifier
    codec: Any = _Outputs()
    labeller = Labeller(fast_form(network, patch_px=config.size, size=config.size), codec)
    epochs = max(2, -(-SAMPLE_VIEWS // len(stored.keys)))
    return [batch for _, batch in label_passes(plan, range(epochs), stored, labeller)]


def _codecs(config: DistillConfig, num_classes: int, split: SplitNetwork | None) -> list[Codec]:
    """Lists the codecs to try: the one that the config names, or all that suit."""
    if config.label_codec != "auto":
        names = [default_codec(config, num_classes)]
    else:
        tops = [f"topk:{top}" for top in TOPS if top < num_classes]
        names = ["float16", "int8", "int4", *(["features"] if split else []), *tops]
    head = (split.weight, split.bias) if split else None
    temperature = label_temperature(config)
    return [find_codec(name, num_classes=num_classes, temperature=temperature, head=head) for name in names]


def _measure_codec(
    codec: Codec, sample: list[LabelledBatch], stored: ImagesToLabel, given: tuple[Tensor, Tensor], temperature: float
) -> CodecMeasure:
    """Stores the sample in a codec, and measures bytes and what is lost; `given` are the outputs and the logits."""
    outputs, logits = given
    encoded = codec.encode(outputs if isinstance(codec, FeatureCodec) else logits)
    fixed, per_epoch = measure_epoch_bytes(
        sample, encoded, codec=codec, keys=stored.keys, class_indices=stored.class_indices
    )
    lost = divergence(logits, codec.decode(encoded), temperature=temperature)
    return CodecMeasure(codec.name, fixed, per_epoch, float(lost.mean()))
