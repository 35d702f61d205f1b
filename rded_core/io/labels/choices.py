"""Choose how to store labels within so many bytes: each way is tried on a sample, and the table says what it loses."""

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
"""Views to choose by: at least two of each image, so that what they differ by shows."""

TOPS = (5, 20, 100)
"""Classes that ``topk`` is tried with."""

MARGIN = 1.01
"""By how much estimates are raised: epochs differ by some bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelSample:
    """Labelled views of whole epochs.

    Attributes:
        batches: the recorded batches, one epoch after another.
        logits: of all their views, by which losses are measured.
        keys: of the dataset's images.
        class_indices: of the dataset's images.
        temperature: at which students compare.
        source: what the views are, for people.
    """

    batches: list[LabelledBatch]
    logits: Tensor
    keys: list[str]
    class_indices: Tensor
    temperature: float
    source: str


def sample_epochs(num_images: int) -> int:
    """Returns how many epochs a sample takes."""
    return max(2, -(-SAMPLE_VIEWS // num_images))


def list_codecs(num_classes: int, *, with_features: bool) -> list[str]:
    """Lists the codecs to try, the most exact first."""
    tops = [f"topk:{top}" for top in TOPS if top < num_classes]
    return ["float16", "int8", "int4", *(["features"] if with_features else []), *tops]


def choose_labels_within(
    budget: int, sample: LabelSample, encodings: Iterable[tuple[Codec, Encoded]], *, wanted: int
) -> dict[str, Any]:
    """Returns ``codec`` and ``epochs`` of what loses least within `budget` bytes, and ``why``: all that was measured.

    Args:
        budget: in bytes.
        sample: labelled views.
        encodings: each codec to try, with what it stores of the sample.
        wanted: most epochs to store.

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
    """Returns the table of what each way to store labels takes and loses, and what is taken."""
    told = max(why["signal_nats"], 1e-30)  # a teacher that says nothing loses nothing either
    lines = [
        f"{why['num_views']} {why['measured_on']}: at temperature {why['temperature']:g} a label says {told:.4g} nats, "
        f"and those of one image differ by {why['spread_nats']:.4g}; what is lost, as a share of what labels say:",
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


def describe_excess(why: dict[str, Any] | None, num_bytes: int, option: str) -> list[str]:
    """Says that labels took more than their budget, where they did: sizes are estimated from a sample."""
    if why is None or num_bytes <= why["budget_bytes"]:
        return []
    return [f"labels take {num_bytes} bytes, more than the {why['budget_bytes']} of {option}; give a smaller one"]


def _measure_codec(codec: Codec, encoded: Encoded, sample: LabelSample) -> CodecMeasure:
    sizes = measure_bytes(sample.batches, encoded, codec=codec, keys=sample.keys, class_indices=sample.class_indices)
    lost = divergence(sample.logits, codec.decode(encoded), temperature=sample.temperature)
    per_epoch, per_file = MARGIN * sizes.epoch, MARGIN * sizes.file
    return CodecMeasure(codec.name, sizes.fixed, per_epoch, float(lost.mean()), per_file, EPOCHS_PER_FILE)
