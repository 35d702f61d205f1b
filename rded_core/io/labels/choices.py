"""Choice of how to store labels within a byte budget: each codec is tried on a sample, and its loss measured."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from rded_core.io.formats.soft_labels import EPOCHS_PER_FILE, LabelledBatch
from rded_core.io.labels.sizes import measure_bytes
from rded_core.labels.budget import CodecMeasure, best_choice, divergence, list_choices, signal, spread_over_views
from rded_core.labels.codecs import Codec, Encoded

SAMPLE_VIEWS = 2000
"""Views in a sample: at least two of each image, so that their spread can be measured."""

TOPS = (5, 20, 100)
"""Numbers of classes that ``topk`` is tried with."""

MARGIN = 1.01
"""Factor by which size estimates are raised, since epochs differ by a few bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelSample:
    """Labelled views of whole epochs.

    Attributes:
        batches: the recorded batches, one epoch after another.
        logits: logits of all their views, on which losses are measured.
        keys: keys of the dataset's images.
        class_indices: class indices of the dataset's images.
        temperature: temperature of the students' loss.
        source: what the views are, in words.
    """

    batches: list[LabelledBatch]
    logits: Tensor
    keys: list[str]
    class_indices: Tensor
    temperature: float
    source: str


def sample_epochs(num_images: int) -> int:
    """Returns the number of epochs in a sample."""
    return max(2, -(-SAMPLE_VIEWS // num_images))


def list_codecs(num_classes: int, *, with_features: bool) -> list[str]:
    """Returns the codecs to try, the most exact first."""
    tops = [f"topk:{top}" for top in TOPS if top < num_classes]
    return ["float16", "int8", "int4", *(["features"] if with_features else []), *tops]


def choose_labels_within(
    budget: int, sample: LabelSample, encodings: Iterable[tuple[Codec, Encoded]], *, wanted: int
) -> dict[str, Any]:
    """Returns the ``codec`` and ``epochs`` that lose least within a budget, and ``why``: all measurements.

    Args:
        budget: size limit in bytes.
        sample: labelled views.
        encodings: each codec to try, with the sample encoded in it.
        wanted: largest number of epochs to store.

    Raises:
        InputError: nothing fits.
    """
    temperature = sample.temperature
    measures = [_measure_codec(codec, encoded, sample) for codec, encoded in encodings]
    image = torch.cat([batch[0] for batch in sample.batches])
    spread = float(spread_over_views(sample.logits, image, temperature=temperature))
    choices = list_choices(measures, spread=spread, wanted=wanted, budget=budget)
    best = best_choice(choices, budget)
    why = {
        "budget_bytes": budget,
        "measured_on": sample.source,
        "num_views": len(image),
        "temperature": temperature,
        "signal_nats": float(signal(sample.logits, temperature=temperature).mean()),
        "spread_nats": spread,
        "choices": [{**asdict(choice), "loss": choice.loss, "fits": choice.num_bytes <= budget} for choice in choices],
    }
    return {"codec": best.codec, "epochs": best.epochs, "why": why, "estimated_bytes": best.num_bytes}


def describe_choices(why: dict[str, Any], codec: str, epochs: int) -> list[str]:
    """Returns the lines of a table: the size and the loss of each choice, with the chosen one marked."""
    signal_nats = max(why["signal_nats"], 1e-30)  # a teacher that says nothing loses nothing either
    lines = [
        f"{why['num_views']} {why['measured_on']}: at temperature {why['temperature']:g} a label carries "
        f"{signal_nats:.4g} nats, and labels of one image differ by {why['spread_nats']:.4g}; loss in % of the former:",
        f"{'codec':<10} {'epochs':>6} {'MB':>10} {'rounding':>10} {'reuse':>9} {'total':>9}",
    ]
    for choice in why["choices"]:
        shares = [100 * choice[name] / signal_nats for name in ("codec_loss", "reuse_loss", "loss")]
        chosen = (choice["codec"], choice["epochs"]) == (codec, epochs)
        note = "  <- chosen" if chosen else "" if choice["fits"] else "  too large"
        lines.append(
            f"{choice['codec']:<10} {choice['epochs']:>6} {choice['num_bytes'] / 1e6:>10.3f} {shares[0]:>8.3f} % "
            f"{shares[1]:>7.3f} % {shares[2]:>7.3f} %{note}"
        )
    return lines


def describe_excess(why: dict[str, Any] | None, num_bytes: int, option: str) -> list[str]:
    """Returns a note if the labels exceed their budget, which can happen because sizes are estimated from a sample."""
    if why is None or num_bytes <= why["budget_bytes"]:
        return []
    return [f"labels take {num_bytes} bytes, more than the {why['budget_bytes']} of {option}; give a smaller one"]


def _measure_codec(codec: Codec, encoded: Encoded, sample: LabelSample) -> CodecMeasure:
    sizes = measure_bytes(sample.batches, encoded, codec=codec, keys=sample.keys, class_indices=sample.class_indices)
    loss = divergence(sample.logits, codec.decode(encoded), temperature=sample.temperature)
    per_epoch, per_file = MARGIN * sizes.epoch, MARGIN * sizes.file
    return CodecMeasure(codec.name, sizes.fixed, per_epoch, float(loss.mean()), per_file, EPOCHS_PER_FILE)
